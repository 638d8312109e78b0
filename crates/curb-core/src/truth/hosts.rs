//! Which processes of a host belong to which program in Ray, by descent: what a process says of itself counts for nothing.
//!
//! Ray's node process (raylet) starts one process for each worker and each submission's supervisor: a *root* here. Whatever
//! descends from a root belongs to it for good, also once its parents have ended and it is init's child. Two things tell of a
//! descent that was not seen: the session, which is inherited and in which nobody can enter, and nothing else.
//!
//! A worker's driver stands in the environment that the raylet started it with. It is read once, when the process is first
//! seen as a program of its own, and never again: the process may write there what it likes.

use std::collections::{BTreeMap, HashMap};

use super::sample::DriverId;

/// A process: a number is used again, with its start time it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    pub start: u64,
}

/// A process as it was read in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub id: Pid,
    /// Its parent.
    pub parent: u32,
    /// Its session: the number of the process that began it.
    pub session: u32,
}

/// Where a process belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is a raylet.
    Raylet,
    /// It is this root, or descends from it.
    Under(Pid),
    /// It is neither.
    Outside,
}

/// What a look at a process that is new tells, where it may be a raylet or has a raylet for a parent.
pub trait Look {
    /// Whether its program is Ray's raylet.
    fn is_raylet(&mut self, id: Pid) -> bool;
    /// The driver in the environment of a root; `None` where there is none or it cannot be read.
    fn driver(&mut self, root: Pid) -> Option<DriverId>;
}

/// A root, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The driver that it was started for. That of Ray's dashboard for supervisors; none for Ray's own helpers.
    pub driver: Option<DriverId>,
    /// The raylet that started it.
    pub raylet: u32,
}

/// All processes of a host, by where they belong. What was known in one round is kept for the next.
#[derive(Debug, Default)]
pub struct Forest {
    places: HashMap<u32, (Pid, Place)>,
    roots: BTreeMap<Pid, Root>,
    /// Sessions that began below a root.
    sessions: HashMap<u32, Pid>,
    raylet_sessions: Vec<u32>,
}

/// How many steps up a descent may have: deeper ones are taken for a cycle.
const DEEP: usize = 512;

impl Forest {
    /// Takes over a round: all processes that there are now.
    pub fn round(&mut self, rows: &[Row], look: &mut impl Look) {
        let mut known = std::mem::take(&mut self.places);
        // Only what belongs under a root stays as it was. A parent's number means that parent: the kernel changes it when that ends.
        known.retain(|_, (_, place)| matches!(place, Place::Under(_)));
        let by_pid: HashMap<u32, Row> = rows.iter().map(|row| (row.id.pid, *row)).collect();
        for row in rows {
            if let Some((id, place)) = known.get(&row.id.pid)
                && *id == row.id
            {
                self.places.insert(row.id.pid, (row.id, *place));
            }
        }
        for row in rows {
            self.place_with_parents(*row, &by_pid, look);
        }
        self.forget(rows);
    }

    fn place_with_parents(&mut self, row: Row, by_pid: &HashMap<u32, Row>, look: &mut impl Look) {
        // Up to where it is known, then down again.
        let mut chain = vec![row];
        while let Some(last) = chain.last().copied() {
            if self.places.contains_key(&last.id.pid) || chain.len() > DEEP {
                break;
            }
            match by_pid.get(&last.parent) {
                Some(parent) if parent.id.pid != last.id.pid => chain.push(*parent),
                _ => break,
            }
        }
        for row in chain.into_iter().rev() {
            if !self.places.contains_key(&row.id.pid) {
                let place = self.place(row, look);
                self.places.insert(row.id.pid, (row.id, place));
            }
        }
    }

    fn place(&mut self, row: Row, look: &mut impl Look) -> Place {
        let parent = self.places.get(&row.parent).map(|(_, place)| *place);
        match parent {
            Some(Place::Under(root)) => return self.under(row, root),
            // A raylet that has just made a child is in both, for a moment.
            Some(Place::Raylet) if look.is_raylet(row.id) => return Place::Outside,
            Some(Place::Raylet) => {
                let root = Root {
                    driver: look.driver(row.id),
                    raylet: row.parent,
                };
                self.roots.insert(row.id, root);
                return self.under(row, row.id);
            }
            Some(Place::Outside) | None => {}
        }
        if let Some(root) = self.sessions.get(&row.session) {
            // Nobody enters a session from outside.
            return Place::Under(*root);
        }
        if look.is_raylet(row.id) {
            self.raylet_sessions.push(row.session);
            return Place::Raylet;
        }
        Place::Outside
    }

    fn under(&mut self, row: Row, root: Pid) -> Place {
        // All here had the raylet's session once: another one was begun below this root. 0 is one of another name space.
        if row.session != 0 && !self.raylet_sessions.contains(&row.session) {
            self.sessions.insert(row.session, root);
        }
        Place::Under(root)
    }

    /// What has ended is forgotten; a session lives as long as somebody is in it, and its number with it.
    fn forget(&mut self, rows: &[Row]) {
        let live: std::collections::HashSet<u32> = rows.iter().map(|row| row.session).collect();
        self.sessions.retain(|session, _| live.contains(session));
        self.raylet_sessions
            .retain(|session| live.contains(session));
        self.raylet_sessions.sort_unstable();
        self.raylet_sessions.dedup();
        let used: std::collections::HashSet<Pid> = self
            .places
            .values()
            .filter_map(|(_, place)| match place {
                Place::Under(root) => Some(*root),
                _ => None,
            })
            .collect();
        self.roots.retain(|root, _| used.contains(root));
    }

    /// Where the process that has this number now belongs, and when it started; `None`: there is none.
    #[must_use]
    pub fn of(&self, pid: u32) -> Option<(Pid, Place)> {
        self.places.get(&pid).copied()
    }

    /// The roots below which something lives.
    pub fn roots(&self) -> impl Iterator<Item = (Pid, Root)> {
        self.roots.iter().map(|(id, root)| (*id, *root))
    }

    /// A root that has this number, whether or not it still runs itself.
    #[must_use]
    pub fn root(&self, id: Pid) -> Option<Root> {
        self.roots.get(&id).copied()
    }

    /// All processes with their places.
    pub fn all(&self) -> impl Iterator<Item = (Pid, Place)> {
        self.places.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: DriverId = DriverId([5, 0, 0, 0]);

    #[derive(Default)]
    struct Host {
        rows: Vec<Row>,
        raylets: Vec<u32>,
        environment: HashMap<u32, DriverId>,
        forest: Forest,
    }

    impl Look for (&[u32], &HashMap<u32, DriverId>) {
        fn is_raylet(&mut self, id: Pid) -> bool {
            self.0.contains(&id.pid)
        }
        fn driver(&mut self, root: Pid) -> Option<DriverId> {
            self.1.get(&root.pid).copied()
        }
    }

    impl Host {
        /// init, a raylet (10) with a supervisor (20) whose shell (21) began a session and runs a driver (22), and a worker (30).
        fn new() -> Host {
            let mut host = Host::default();
            for (pid, parent, session) in [
                (1, 0, 1),
                (10, 1, 10),
                (20, 10, 10),
                (21, 20, 21),
                (22, 21, 21),
                (30, 10, 10),
                (40, 1, 40),
            ] {
                host.starts(pid, parent, session);
            }
            host.raylets.push(10);
            host.environment.insert(30, JOB);
            host.round();
            host
        }

        fn starts(&mut self, pid: u32, parent: u32, session: u32) {
            let start = u64::from(pid);
            self.rows.push(Row {
                id: Pid { pid, start },
                parent,
                session,
            });
        }

        /// Its children become init's.
        fn ends(&mut self, pid: u32) {
            self.rows.retain(|row| row.id.pid != pid);
            self.rows
                .iter_mut()
                .filter(|row| row.parent == pid)
                .for_each(|row| row.parent = 1);
        }

        fn round(&mut self) {
            let mut look = (&self.raylets[..], &self.environment);
            self.forest.round(&self.rows, &mut look);
        }

        fn root_of(&self, pid: u32) -> Option<u32> {
            match self.forest.of(pid)?.1 {
                Place::Under(root) => Some(root.pid),
                _ => None,
            }
        }
    }

    #[test]
    fn whatever_descends_from_a_child_of_the_raylet_belongs_to_it_and_nothing_else_does() {
        let host = Host::new();
        let roots = [1, 10, 20, 21, 22, 30, 40].map(|pid| host.root_of(pid));
        assert_eq!(
            roots,
            [None, None, Some(20), Some(20), Some(20), Some(30), None]
        );
        assert_eq!(
            host.forest.of(10).map(|(_, place)| place),
            Some(Place::Raylet)
        );
        let worker = host
            .forest
            .roots()
            .find(|(id, _)| id.pid == 30)
            .map(|(_, r)| r);
        assert_eq!(
            worker,
            Some(Root {
                driver: Some(JOB),
                raylet: 10
            })
        );
    }

    #[test]
    fn who_was_seen_once_stays_when_its_parents_end_and_when_it_begins_a_session() {
        let mut host = Host::new();
        host.ends(21);
        host.rows
            .iter_mut()
            .filter(|r| r.id.pid == 22)
            .for_each(|r| r.session = 22);
        host.round();
        host.ends(20);
        host.round();
        assert_eq!(host.root_of(22), Some(20));
        host.starts(23, 22, 22);
        host.round();
        assert_eq!(host.root_of(23), Some(20));
    }

    #[test]
    fn who_was_never_seen_below_its_parent_is_known_by_its_session() {
        let mut host = Host::new();
        // Between two rounds: the driver's child made a child, and ended.
        host.starts(51, 1, 21);
        host.round();
        assert_eq!(host.root_of(51), Some(20));
        // A worker's session is the raylet's, and everybody's: it tells nothing.
        host.starts(52, 1, 10);
        host.round();
        assert_eq!(host.root_of(52), None);
    }

    #[test]
    fn a_number_that_is_used_again_is_somebody_else() {
        let mut host = Host::new();
        host.ends(22);
        host.starts(22, 1, 1);
        host.rows.last_mut().expect("a row").id.start = 999;
        host.round();
        assert_eq!(host.root_of(22), None);
    }

    #[test]
    fn the_environment_counts_as_it_was_when_the_worker_was_first_seen() {
        let mut host = Host::new();
        host.environment.insert(30, DriverId([9; 4]));
        host.round();
        let worker = host
            .forest
            .roots()
            .find(|(id, _)| id.pid == 30)
            .map(|(_, r)| r.driver);
        assert_eq!(worker, Some(Some(JOB)));
    }

    #[test]
    fn a_jobs_process_that_calls_itself_a_raylet_is_the_jobs() {
        let mut host = Host::new();
        host.starts(60, 30, 60);
        host.starts(61, 60, 60);
        host.raylets.push(60);
        host.round();
        assert_eq!((host.root_of(60), host.root_of(61)), (Some(30), Some(30)));
        // Also once nobody is left between it and init.
        host.ends(30);
        host.round();
        assert_eq!((host.root_of(60), host.root_of(61)), (Some(30), Some(30)));
    }

    #[test]
    fn a_child_that_is_not_a_program_of_its_own_yet_is_looked_at_again() {
        let mut host = Host::new();
        host.starts(70, 10, 10);
        host.raylets.push(70);
        host.round();
        assert_eq!(host.root_of(70), None);
        host.raylets.pop();
        host.environment.insert(70, JOB);
        host.round();
        assert_eq!(host.root_of(70), Some(70));
        let found = host
            .forest
            .roots()
            .find(|(id, _)| id.pid == 70)
            .map(|(_, r)| r.driver);
        assert_eq!(found, Some(Some(JOB)));
    }

    #[test]
    fn parents_in_a_circle_are_no_reason_to_hang() {
        let mut host = Host::new();
        host.starts(80, 81, 80);
        host.starts(81, 80, 80);
        host.starts(82, 82, 82);
        host.round();
        assert_eq!((host.root_of(80), host.root_of(82)), (None, None));
    }
}
