//! What is seen of a node's processes: where each belongs ([`Forest`]), and what those of each program use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use curb_api::{GroupUse, MemoryAs, PlacedProcess, RayletSeen};
use curb_core::amount::Amount;
use curb_core::time::Millis;
use curb_core::truth::DriverId;
use curb_core::truth::hosts::{Forest, Look, Pid, Place, Root, Row};
use curb_host::proc::{ProcId, Procfs, Stat};
use curb_host::scan::{page_size, since_boot};

/// Groups in a report at most: each is about 150 bytes.
const MOST_GROUPS: usize = 1000;
/// Programs that have ended whose CPU time is kept.
const MOST_ENDED: usize = 4096;
/// The kernel tells CPU time in hundredths of a second.
const MS_A_TICK: u64 = 10;
/// What the raylet is told its node's address with.
const ADDRESS: [&str; 2] = ["--node_ip_address=", "--node-ip-address="];
/// And its cluster's id, in hex.
const CLUSTER: [&str; 2] = ["--cluster-id=", "--cluster_id="];
/// That Ray keeps its processes in control groups of its own.
const ISOLATED: &str = "--enable-resource-isolation";

/// What one report tells of the node.
#[derive(Debug, Default)]
pub struct Seen {
    /// The raylets.
    pub raylets: Vec<RayletSeen>,
    /// What programs use.
    pub groups: Vec<GroupUse>,
    /// Where the processes are that were asked about.
    pub placed: Vec<PlacedProcess>,
    /// Groups left out.
    pub cut: u64,
}

/// CPU time in ticks: all of it, and that since the last report.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    all: u64,
    recent: u64,
}

impl Ticks {
    fn add(&mut self, other: Ticks) {
        self.all = self.all.saturating_add(other.all);
        self.recent = self.recent.saturating_add(other.recent);
    }
}

/// What is told in one line: the raylet's place in the report, the driver, and the root where it was asked about.
type Key = (u32, Option<DriverId>, Option<Pid>);

/// A process that is somebody's.
#[derive(Clone, Copy, Debug)]
struct Known {
    ticks: u64,
}

/// All that is known of the node's processes.
#[derive(Debug)]
pub struct Sight {
    procfs: Procfs,
    forest: Forest,
    known: HashMap<Pid, Known>,
    used: BTreeMap<Pid, Ticks>,
    roots: BTreeMap<Pid, Root>,
    /// Of roots that have ended, by raylet and driver.
    ended: BTreeMap<(u32, DriverId), Ticks>,
    raylets: BTreeMap<Pid, RayletSeen>,
    last_look: Millis,
    news: Vec<String>,
    refused: bool,
}

/// How a new process is looked at.
struct Eyes<'a> {
    procfs: &'a Procfs,
    names: &'a HashMap<Pid, bool>,
    refused: bool,
}

impl Eyes<'_> {
    fn program_is_raylet(&mut self, id: Pid) -> bool {
        let process = self.procfs.same(ProcId {
            pid: id.pid,
            start: id.start,
        });
        match process.and_then(|p| p.program()) {
            Ok(program) => program
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.trim_end_matches(" (deleted)") == "raylet"),
            Err(error) => {
                self.refused |= error.kind() == io::ErrorKind::PermissionDenied;
                false
            }
        }
    }
}

impl Look for Eyes<'_> {
    fn is_raylet(&mut self, id: Pid) -> bool {
        // The name that it gives itself spares a look at each process of the host.
        self.names.get(&id).copied().unwrap_or(false) && self.program_is_raylet(id)
    }

    fn driver(&mut self, root: Pid) -> Option<DriverId> {
        let process = self
            .procfs
            .same(ProcId {
                pid: root.pid,
                start: root.start,
            })
            .ok()?;
        let text = process.variable("RAY_JOB_ID").ok()??;
        driver_of(text.to_str()?)
    }
}

/// A driver's number of its text: eight hex digits.
fn driver_of(text: &str) -> Option<DriverId> {
    // A sign would pass for a digit else.
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut id = [0; 4];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(DriverId(id))
}

impl Sight {
    /// Nothing is known yet. `root` is `/proc`, or looks like it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begin(root: &Path) -> io::Result<Sight> {
        Ok(Sight {
            procfs: Procfs::at(root)?,
            forest: Forest::default(),
            known: HashMap::new(),
            used: BTreeMap::new(),
            roots: BTreeMap::new(),
            ended: BTreeMap::new(),
            raylets: BTreeMap::new(),
            last_look: since_boot(),
            news: Vec::new(),
            refused: false,
        })
    }

    /// Looks at all processes.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn round(&mut self) -> io::Result<()> {
        let now = since_boot();
        let stats: Vec<(Pid, Stat)> = self
            .procfs
            .pids()?
            .into_iter()
            .filter_map(|pid| {
                // One that has ended since is none.
                let stat = self.procfs.process(pid).ok()?.stat().ok()?;
                Some((
                    Pid {
                        pid,
                        start: stat.start,
                    },
                    stat,
                ))
            })
            .collect();
        let rows: Vec<Row> = stats
            .iter()
            .map(|(id, stat)| Row {
                id: *id,
                parent: stat.parent,
                session: stat.session,
            })
            .collect();
        let names: HashMap<Pid, bool> = stats
            .iter()
            .filter(|(_, stat)| stat.name == "raylet")
            .map(|(id, _)| (*id, true))
            .collect();
        let mut eyes = Eyes {
            procfs: &self.procfs,
            names: &names,
            refused: false,
        };
        self.forest.round(&rows, &mut eyes);
        let refused = eyes.refused;
        self.count(&stats);
        self.look_for_raylets(refused);
        self.last_look = now;
        Ok(())
    }

    fn count(&mut self, stats: &[(Pid, Stat)]) {
        self.roots.extend(self.forest.roots());
        let mut known = HashMap::with_capacity(self.known.len());
        for (id, stat) in stats {
            let Some((_, Place::Under(root))) = self.forest.of(id.pid) else {
                continue;
            };
            let ticks = stat.user_ticks.saturating_add(stat.system_ticks);
            let before = self.known.get(id).map(|k| k.ticks);
            // Of one that was there before the last look and is new all the same it is not known when it used them.
            let is_young = Millis(id.start.saturating_mul(MS_A_TICK)) >= self.last_look;
            let used = self.used.entry(root).or_default();
            let more = ticks.saturating_sub(before.unwrap_or(0));
            used.all = used.all.saturating_add(more);
            if before.is_some() || is_young {
                used.recent = used.recent.saturating_add(more);
            }
            known.insert(*id, Known { ticks });
        }
        self.known = known;
        let gone = |id: &Pid| self.forest.root(*id).is_none();
        let gone: Vec<Pid> = self.roots.keys().filter(|id| gone(id)).copied().collect();
        for root in gone {
            let about = self.roots.remove(&root);
            let used = self.used.remove(&root).unwrap_or_default();
            if let Some(Root {
                driver: Some(driver),
                raylet,
            }) = about
            {
                self.ended.entry((raylet, driver)).or_default().add(used);
            }
        }
        while self.ended.len() > MOST_ENDED {
            self.ended.pop_first();
        }
    }

    fn look_for_raylets(&mut self, refused: bool) {
        let now: BTreeSet<Pid> = self
            .forest
            .all()
            .filter(|(_, place)| *place == Place::Raylet)
            .map(|(id, _)| id)
            .collect();
        for gone in self
            .raylets
            .keys()
            .filter(|id| !now.contains(id))
            .copied()
            .collect::<Vec<_>>()
        {
            let was = self.raylets.remove(&gone).unwrap_or_default();
            self.news.push(format!(
                "the raylet {} of {} has ended",
                gone.pid, was.address
            ));
        }
        for new in now {
            if self.raylets.contains_key(&new) {
                continue;
            }
            let Some(raylet) = self.raylet(new) else {
                continue;
            };
            self.news.push(format!(
                "found the raylet {} of {}",
                new.pid, raylet.address
            ));
            self.raylets.insert(new, raylet);
        }
        if refused && !std::mem::replace(&mut self.refused, true) {
            self.news.push(
                "there is a raylet of another user, whose processes this agent may not read: run it as Ray's user, or as root"
                    .to_owned(),
            );
        }
    }

    /// What the raylet's command line says: Ray's own code, which nobody else has written there.
    fn raylet(&self, id: Pid) -> Option<RayletSeen> {
        let process = self
            .procfs
            .same(ProcId {
                pid: id.pid,
                start: id.start,
            })
            .ok()?;
        let arguments = process.arguments().ok()?;
        let said = |flags: &[&str]| {
            arguments.iter().find_map(|word| {
                let word = word.to_str()?;
                let value = flags.iter().find_map(|flag| word.strip_prefix(flag))?;
                (value.len() <= 100).then(|| value.to_owned())
            })
        };
        Some(RayletSeen {
            address: said(&ADDRESS)?,
            cluster_id: said(&CLUSTER)?,
            isolated: arguments.iter().any(|word| word == ISOLATED),
        })
    }

    /// What happened since the last time, in lines.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// What is told now. `since`: the time since the last report, `None` in the first.
    pub fn report(&mut self, asked: &BTreeSet<u32>, since: Option<Duration>) -> Seen {
        let mut groups: BTreeMap<Key, GroupUse> = BTreeMap::new();
        let mut ticks: BTreeMap<Key, Ticks> = BTreeMap::new();
        for (id, place) in self.forest.all() {
            let Place::Under(root) = place else { continue };
            let Some(key) = self.key(root, asked) else {
                continue;
            };
            let group = groups.entry(key).or_default();
            group.processes += 1;
            group.memory = Amount(group.memory.0.saturating_add(self.memory(id)));
        }
        let roots: Vec<(Pid, Ticks)> = self
            .used
            .iter()
            .map(|(root, used)| (*root, *used))
            .collect();
        for (root, used) in roots {
            if let Some(key) = self.key(root, asked) {
                ticks.entry(key).or_default().add(used);
            }
        }
        for ((raylet, driver), used) in &self.ended {
            // Of programs of which nothing runs nothing is told.
            let index = self.raylets.keys().position(|id| id.pid == *raylet);
            let key = index.and_then(|i| Some((u32::try_from(i).ok()?, Some(*driver), None)));
            if let Some(key) = key.filter(|key| groups.contains_key(key)) {
                ticks.entry(key).or_default().add(*used);
            }
        }
        self.used.values_mut().for_each(|used| used.recent = 0);
        self.ended.values_mut().for_each(|used| used.recent = 0);
        let cut = groups.len().saturating_sub(MOST_GROUPS) as u64;
        let groups = groups.into_iter().take(MOST_GROUPS).map(|(key, group)| {
            let ticks = ticks.get(&key).copied().unwrap_or_default();
            GroupUse {
                raylet: key.0,
                driver: key.1.map(|d| d.to_string()),
                root: key.2.map(|root| root.pid),
                start: key.2.map_or(0, |root| root.start),
                cpu: Amount(rate(ticks.recent, since)),
                cpu_time: Millis(ticks.all.saturating_mul(MS_A_TICK)),
                memory_as: MemoryAs::Private,
                ..group
            }
        });
        Seen {
            groups: groups.collect(),
            placed: asked.iter().filter_map(|pid| self.placed(*pid)).collect(),
            raylets: self.raylets.values().cloned().collect(),
            cut,
        }
    }

    fn key(&self, root: Pid, asked: &BTreeSet<u32>) -> Option<Key> {
        let about = self.forest.root(root)?;
        // Whose one became that was started for nobody only the server can tell, one by one.
        let split = asked.contains(&root.pid) || about.driver == Some(DriverId::NIL);
        Some((
            self.index(about.raylet)?,
            about.driver,
            split.then_some(root),
        ))
    }

    fn index(&self, raylet: u32) -> Option<u32> {
        let index = self.raylets.keys().position(|id| id.pid == raylet)?;
        u32::try_from(index).ok()
    }

    fn placed(&self, pid: u32) -> Option<PlacedProcess> {
        let (_, place) = self.forest.of(pid)?;
        let Place::Under(root) = place else {
            return Some(PlacedProcess {
                pid,
                ..PlacedProcess::default()
            });
        };
        let about = self.forest.root(root)?;
        // Its number may be another's once it has ended.
        let runs = self.forest.of(root.pid).is_some_and(|(id, _)| id == root);
        Some(PlacedProcess {
            pid,
            // Of one whose raylet has ended nothing is said.
            raylet: Some(self.index(about.raylet)?),
            root: runs.then_some(root.pid),
            driver: about.driver.map(|d| d.to_string()),
        })
    }

    /// What is a process's own in memory; nothing of one that has just ended.
    fn memory(&self, id: Pid) -> u64 {
        let process = self.procfs.same(ProcId {
            pid: id.pid,
            start: id.start,
        });
        process.and_then(|p| p.statm()).map_or(0, |statm| {
            statm
                .resident
                .saturating_sub(statm.shared)
                .saturating_mul(page_size())
        })
    }
}

/// Thousandths of a CPU.
fn rate(ticks: u64, since: Option<Duration>) -> u64 {
    let Some(since) = since else { return 0 };
    let span = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    ticks.saturating_mul(MS_A_TICK * 1000) / span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_eight_hex_digits_are_a_driver() {
        assert_eq!(driver_of("0c000000"), Some(DriverId([12, 0, 0, 0])));
        for bad in ["", "0c00000", "0c0000000", "0c00000g", "+c000000", "ééé é"] {
            assert_eq!(driver_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn cpu_is_told_in_thousandths_over_the_time_since_the_last_report() {
        assert_eq!(rate(100, Some(Duration::from_secs(2))), 500);
        assert_eq!(rate(100, None), 0);
        assert!(rate(u64::MAX, Some(Duration::ZERO)) > 0);
    }
}
