//! Whose a driver is, by what agents on the nodes saw: descent, not its own word.

use std::collections::{BTreeMap, HashMap};

use super::account::{Account, supervises};
use super::sample::{Driver, DriverId, Life, NodeId, Sample};

/// Where an agent found a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It is a process that the raylet started, or descends from one.
    Below {
        /// That process, if it still runs.
        root: Option<u32>,
        /// The driver that it was started for.
        driver: Option<DriverId>,
    },
    /// It descends from none.
    Outside,
}

/// What the agents tell, by the address of the node: those that told it just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Where processes are.
    pub seats: BTreeMap<String, HashMap<u32, Seat>>,
    /// Workers that were started for nobody, with when: whose they became the agent cannot tell.
    pub unnamed: BTreeMap<String, HashMap<u32, u64>>,
}

/// What is known of a driver's descent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its process descends from the supervisor of this submission.
    Submission(String),
    /// It descends from a worker of this driver.
    Driver(DriverId),
    /// It descends from nothing that Ray started on its node.
    Outside,
    /// Its node has an agent, which has not told of it yet.
    Open,
}

/// Proofs, kept as long as the driver is in Ray's table: what a program left is still that program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    cluster: Vec<u8>,
    known: BTreeMap<DriverId, Proof>,
    /// Whose workers became that were started for nobody: by address and process, with when it started. Ray gives a worker to
    /// one driver and to no other after it.
    workers: BTreeMap<(String, u32), (u64, DriverId)>,
}

impl Proofs {
    /// What is known of a driver. `None`: nobody watches its node, and its word is all there is.
    #[must_use]
    pub fn of(&self, driver: DriverId) -> Option<&Proof> {
        self.known.get(&driver)
    }

    /// Workers that were started for nobody, by address and process, with the driver that has them.
    pub fn workers(&self) -> impl Iterator<Item = (&(String, u32), DriverId)> {
        self.workers.iter().map(|(at, (_, driver))| (at, *driver))
    }

    /// By the table of actors, which is the scheduler's own, and else by what running tasks report.
    fn look_for_workers(&mut self, sample: &Sample, account: &Account, hosts: &Hosts) {
        let nodes = addresses(sample);
        let mut running: HashMap<(&str, u32), DriverId> = HashMap::new();
        for task in &sample.tasks {
            if let (Some(node), Some(pid)) = (task.node.and_then(|n| nodes.get(&n)), task.pid) {
                running.insert((node, pid), task.driver);
            }
        }
        for actor in sample
            .actors
            .iter()
            .filter(|a| Some(a.driver) != account.dashboard)
        {
            if let (Life::Alive, Some(node)) = (actor.life, actor.node.and_then(|n| nodes.get(&n)))
            {
                running.insert((node, actor.pid), actor.driver);
            }
        }
        // Where nobody looks at the moment, what was known stays.
        self.workers.retain(|(address, pid), (start, _)| {
            let here = hosts.unnamed.get(address);
            here.is_none_or(|all| all.get(pid) == Some(start))
        });
        for (address, all) in &hosts.unnamed {
            for (pid, start) in all {
                let at = (address.clone(), *pid);
                if let (Some(driver), false) = (
                    running.get(&(address.as_str(), *pid)),
                    self.workers.contains_key(&at),
                ) {
                    self.workers.insert(at, (*start, *driver));
                }
            }
        }
    }

    /// Takes over what the agents tell now.
    pub fn look(&mut self, sample: &Sample, account: &Account, hosts: &Hosts) {
        if self.cluster != sample.cluster {
            // Numbers of drivers begin again.
            self.known.clear();
            self.workers.clear();
            self.cluster.clone_from(&sample.cluster);
        }
        self.look_for_workers(sample, account, hosts);
        let mut before = std::mem::take(&mut self.known);
        let supervisors = supervisors(sample, account);
        for driver in &sample.drivers {
            let kept = before.remove(&driver.id);
            let proof = match kept {
                // What was proven stays so: its process's number may be another's by now.
                Some(proven @ (Proof::Submission(_) | Proof::Driver(_))) => Some(proven),
                kept => {
                    let seats = hosts.seats.get(&driver.address);
                    let here = supervisors.get(driver.address.as_str());
                    match seats {
                        Some(seats) if driver.alive => {
                            Some(self.proof(driver, seats, here, account.dashboard))
                        }
                        Some(_) => Some(kept.unwrap_or(Proof::Open)),
                        // Nobody looks any more: what was not settled by then is its own word again.
                        None => kept.filter(|k| !driver.alive || *k == Proof::Outside),
                    }
                }
            };
            if let Some(proof) = proof {
                self.known.insert(driver.id, proof);
            }
        }
    }

    fn proof(
        &self,
        driver: &Driver,
        seats: &HashMap<u32, Seat>,
        supervisors: Option<&HashMap<u32, &str>>,
        dashboard: Option<DriverId>,
    ) -> Proof {
        let submission = |root: u32| supervisors.and_then(|all| all.get(&root).copied());
        match seats.get(&driver.pid) {
            Some(Seat::Below {
                root,
                driver: Some(DriverId::NIL),
            }) => {
                let worker = root.and_then(|pid| self.workers.get(&(driver.address.clone(), pid)));
                worker.map_or(Proof::Open, |(_, driver)| Proof::Driver(*driver))
            }
            Some(Seat::Below { root, driver }) => match (root.and_then(submission), driver) {
                (Some(id), _) => Proof::Submission(id.to_owned()),
                // A supervisor that is not in the table has just begun, or ended.
                (None, Some(driver)) if Some(*driver) != dashboard => Proof::Driver(*driver),
                (None, _) => Proof::Open,
            },
            None => Proof::Open,
            // The agent must be seen to count processes as Ray does: in a container's own name space numbers mean others.
            Some(Seat::Outside) => {
                let is_root = |(pid, seat): (&u32, &Seat)| {
                    matches!(seat, Seat::Below { root: Some(root), .. } if root == pid)
                        && submission(*pid).is_some()
                };
                match seats.iter().any(is_root) {
                    true => Proof::Outside,
                    false => Proof::Open,
                }
            }
        }
    }
}

/// Processes of supervisors by address, with their submissions.
pub(super) type Supervisors<'a> = HashMap<&'a str, HashMap<u32, &'a str>>;

pub(super) fn supervisors<'a>(sample: &'a Sample, account: &Account) -> Supervisors<'a> {
    let nodes = addresses(sample);
    let mut all: Supervisors<'_> = HashMap::new();
    for actor in &sample.actors {
        // Anybody may give an actor such a name; only the dashboard's are supervisors.
        if Some(actor.driver) == account.dashboard
            && let (Some(id), Some(node)) = (supervises(actor), actor.node)
            && let Some(address) = nodes.get(&node)
        {
            all.entry(address).or_default().insert(actor.pid, id);
        }
    }
    all
}

/// The processes about which agents are asked, by address: drivers, and supervisors.
#[must_use]
pub fn asked(sample: &Sample, account: &Account) -> BTreeMap<String, Vec<u32>> {
    let mut all: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (address, pids) in supervisors(sample, account) {
        all.entry(address.to_owned())
            .or_default()
            .extend(pids.keys());
    }
    for driver in sample
        .drivers
        .iter()
        .filter(|d| d.alive && Some(d.id) != account.dashboard)
    {
        all.entry(driver.address.clone())
            .or_default()
            .push(driver.pid);
    }
    all.values_mut().for_each(|pids| {
        pids.sort_unstable();
        pids.dedup();
    });
    all
}

fn addresses(sample: &Sample) -> HashMap<NodeId, &str> {
    sample
        .nodes
        .iter()
        .map(|n| (n.id, n.address.as_str()))
        .collect()
}
