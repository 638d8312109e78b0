//! What a disk holds, and what may be left of it when the power goes.
//!
//! What was synced is there. Of what was written since, each write is there, or not, or some of its sectors are; where a
//! file grew, anything may stand in what was not written. Names of files count as contents of their directory, which is
//! synced with the first sync of a new file (as SQLite's layer for Unix does it) and with a removal that asks for it.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::vfs::Step;

/// What a drive writes at once or not at all.
const SECTOR: usize = 512;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    /// As of the last sync.
    synced: Vec<u8>,
    since: Vec<Change>,
    /// Whether its name is on the disk.
    named: bool,
}

/// A disk while it has power.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, File>,
    /// Removed, but perhaps not on the disk.
    removed: BTreeMap<String, File>,
}

impl Disk {
    /// A disk that has just been given power.
    pub(crate) fn with(files: &Files) -> Disk {
        let file = |bytes: &Vec<u8>| File {
            synced: bytes.clone(),
            since: Vec::new(),
            named: true,
        };
        let files = files.iter().map(|(name, b)| (name.clone(), file(b)));
        Disk {
            files: files.collect(),
            removed: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Open(name) => drop(self.files.entry(name.clone()).or_default()),
            Step::Write(name, at, bytes) => self.change(name, Change::Write(*at, bytes.clone())),
            Step::Truncate(name, size) => self.change(name, Change::Truncate(*size)),
            Step::Sync(name) => self.sync(name),
            Step::Delete(name, sync) => {
                if let Some(file) = self.files.remove(name)
                    && file.named
                {
                    self.removed.insert(name.clone(), file);
                }
                if *sync {
                    self.sync_names();
                }
            }
            Step::Told(_) | Step::ToldSnapshot(_) => {}
        }
    }

    fn change(&mut self, name: &str, change: Change) {
        let file = self.files.get_mut(name).expect("it was opened");
        file.since.push(change);
    }

    fn sync(&mut self, name: &str) {
        let file = self.files.get_mut(name).expect("it was opened");
        for change in std::mem::take(&mut file.since) {
            match change {
                Change::Write(at, bytes) => put(&mut file.synced, at, &bytes, &mut |_| 0),
                Change::Truncate(size) => file.synced.resize(size, 0),
            }
        }
        if !file.named {
            self.sync_names();
        }
    }

    fn sync_names(&mut self) {
        self.removed.clear();
        self.files.values_mut().for_each(|file| file.named = true);
    }

    /// What is left when the power goes now.
    pub(crate) fn cut(&self, dice: &mut Dice) -> Files {
        let weather = Weather {
            // Of a hundred: how many of the writes are there, how many partly.
            whole: [0, 5, 50, 95, 100][dice.index(5)],
            torn: [0, 20, 60][dice.index(3)],
            garbage: dice.below(2) == 0,
        };
        let mut left = Files::new();
        for (name, file) in &self.removed {
            if dice.below(2) == 0 {
                left.insert(name.clone(), weather.left_of(file, dice));
            }
        }
        for (name, file) in &self.files {
            if file.named || dice.below(2) == 0 {
                left.insert(name.clone(), weather.left_of(file, dice));
            }
        }
        left
    }
}

/// How bad it is.
struct Weather {
    whole: u64,
    torn: u64,
    garbage: bool,
}

impl Weather {
    fn left_of(&self, file: &File, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = file.synced.clone();
        for change in &file.since {
            let luck = dice.below(100);
            match change {
                Change::Truncate(size) if luck < self.whole => bytes.resize(*size, 0),
                Change::Truncate(_) => {}
                Change::Write(at, new) if luck < self.whole => {
                    put(&mut bytes, *at, new, &mut self.filler(dice));
                }
                Change::Write(at, new) if luck < self.whole + self.torn => {
                    for (at, sector) in sectors(*at, new) {
                        if dice.below(2) == 0 {
                            put(&mut bytes, at, sector, &mut self.filler(dice));
                        }
                    }
                }
                // The file may have grown all the same.
                Change::Write(at, new) if luck.is_multiple_of(2) => {
                    put(&mut bytes, at + new.len(), &[], &mut self.filler(dice));
                }
                Change::Write(..) => {}
            }
        }
        bytes
    }

    /// What stands in what was never written.
    fn filler(&self, dice: &mut Dice) -> impl FnMut(usize) -> u8 + use<> {
        let (garbage, salt) = (self.garbage, dice.below(251));
        move |at| match garbage {
            true => u8::try_from((at as u64 * 31 + salt) % 251).expect("a byte"),
            false => 0,
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8], filler: &mut dyn FnMut(usize) -> u8) {
    let end = at + bytes.len();
    while file.len() < end {
        file.push(filler(file.len()));
    }
    file[at..end].copy_from_slice(bytes);
}

/// A write as the drive's sectors.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - at % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR).enumerate();
    std::iter::once((at, head)).chain(rest.map(move |(n, b)| (at + first + n * SECTOR, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: usize, bytes: &[u8]) -> Step {
        Step::Write("a".into(), at, bytes.to_vec())
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_not_is_there_in_some_worlds() {
        let mut disk = Disk::default();
        let steps = [
            Step::Open("a".into()),
            write(0, &[1; 2048]),
            Step::Sync("a".into()),
            write(1024, &[2; 2048]),
        ];
        steps.iter().for_each(|step| disk.take(step));
        let mut dice = Dice(7);
        let worlds: Vec<Vec<u8>> = (0..200).map(|_| disk.cut(&mut dice)["a"].clone()).collect();
        assert!(worlds.iter().all(|w| w[..1024] == [1; 1024]));
        let is = |wanted: &dyn Fn(&[u8]) -> bool| worlds.iter().any(|w| wanted(w));
        assert!(
            is(&|w| w.len() == 2048 && w[1024..] == [1; 1024]),
            "nothing"
        );
        assert!(is(&|w| w.len() == 3072 && w[1024..] == [2; 2048]), "all");
        assert!(is(&|w| w.get(1024) != w.get(1024 + SECTOR)), "torn");
        assert!(is(&|w| w.len() == 3072 && w[2048..] == [0; 1024]), "grown");
    }

    #[test]
    fn a_name_is_there_when_it_was_synced_and_a_removal_when_the_next_name_was() {
        let mut disk = Disk::default();
        let name = || "a".to_owned();
        let mut worlds = |steps: &[Step]| -> Vec<bool> {
            steps.iter().for_each(|step| disk.take(step));
            let mut dice = Dice(7);
            let mut all: Vec<bool> = (0..50)
                .map(|_| disk.cut(&mut dice).contains_key("a"))
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        assert_eq!(worlds(&[Step::Open(name())]), [false, true]);
        assert_eq!(worlds(&[Step::Sync(name())]), [true]);
        assert_eq!(worlds(&[Step::Delete(name(), false)]), [false, true]);
        let next = [Step::Open("b".into()), Step::Sync("b".into())];
        assert_eq!(worlds(&next), [false]);
    }
}
