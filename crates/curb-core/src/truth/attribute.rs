//! Which of Curb's jobs a driver belongs to, and which drivers came past the gate.
//!
//! What a driver says of itself is its own word. Where an agent watches its node, descent counts and the word does not
//! ([`Proofs`]); as long as the agent has not told, what the driver holds is in the job's upper bound alone, so that nobody is
//! stopped for it. Where nobody watches, the word is all there is.

use std::collections::{BTreeMap, HashMap};

use super::account::{Account, Span};
use super::proof::{Proof, Proofs, supervisors};
use super::sample::{Driver, DriverId, Held, Sample};
use crate::subject::JobId;

/// What Curb's own records say of a submission's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The present attempt of a job that holds a grant, and its number.
    Job(JobId, u32),
    /// A job of Curb's that holds nothing any more, or an attempt of it that never started.
    Past(JobId),
    /// Not one of Curb's.
    Nobody,
}

/// What one of Curb's jobs holds in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobHeld {
    /// Which attempt of it.
    pub attempt: u32,
    /// All of it, between two bounds; what was reserved for its entrypoint too.
    pub held: Span,
    /// Its drivers.
    pub drivers: Vec<DriverId>,
    /// Actors that live.
    pub actors: u64,
    /// Actors that live and outlive their driver.
    pub detached: u64,
    /// Tasks that run.
    pub tasks: u64,
    /// Drivers that say they belong to it, on nodes whose agents have not told yet: what they hold is in the upper bound alone.
    pub unproven: u64,
}

impl JobHeld {
    fn add(&mut self, account: &Account, driver: DriverId, certain: bool) {
        self.drivers.push(driver);
        self.unproven += u64::from(!certain);
        if let Some(holding) = account.drivers.get(&driver) {
            let held = holding.held();
            if certain {
                self.held.least.add_all(&held.least);
            }
            self.held.most.add_all(&held.most);
            self.actors += holding.alive;
            self.detached += holding.detached;
            self.tasks += holding.running;
        }
    }
}

/// Something in the cluster that Curb did not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmanaged {
    /// What it is.
    pub what: What,
    /// The job of Curb's that it says it belonged to, which is over.
    pub of: Option<JobId>,
    /// The job of Curb's that runs, that it says it belongs to, and that it does not descend from.
    pub forges: Option<JobId>,
    /// What it holds.
    pub held: Span,
}

/// What came past the gate, or stayed behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A program that joined the cluster: by Ray's client, by the control store's address, from within a job.
    Driver {
        /// Ray's number of it.
        id: DriverId,
        /// Whether it still runs: one that does not may have left detached actors.
        alive: bool,
        /// The host where it runs or ran.
        address: String,
        /// Its process there.
        pid: u32,
        /// Its command, as it says.
        entrypoint: String,
        /// The submission that it says it belongs to.
        claims: Option<String>,
    },
    /// A submission that Ray took from somebody else than Curb.
    Submission {
        /// Its id.
        id: String,
    },
}

/// Who holds what, in Curb's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    /// By job. Jobs of which nothing is in the cluster are not here.
    pub jobs: BTreeMap<JobId, JobHeld>,
    /// What Curb did not grant.
    pub unmanaged: Vec<Unmanaged>,
    /// Whose each driver is, where that is certain: as it says where nobody watches.
    pub owners: BTreeMap<DriverId, JobId>,
    /// Processes of supervisors and of workers that were started for nobody, by their node's address, with the job.
    pub processes: BTreeMap<(String, u32), JobId>,
    /// What the nodes say is taken.
    pub taken: Held,
    /// What of it nobody is known to hold.
    pub unexplained: Held,
}

/// The ids of submissions that a sample names: those of which [`attribute`] asks whose they are.
#[must_use]
pub fn named(sample: &Sample, account: &Account) -> Vec<String> {
    let claimed = sample.drivers.iter().filter_map(|d| d.claims.clone());
    let mut ids: Vec<String> = claimed.chain(account.supervisors.keys().cloned()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Puts Curb's names on an account.
#[must_use]
pub fn attribute(
    sample: &Sample,
    account: &Account,
    proofs: &Proofs,
    whose: impl Fn(&str) -> Owner,
) -> Attributed {
    let by_id: HashMap<DriverId, &Driver> = sample.drivers.iter().map(|d| (d.id, d)).collect();
    let mut all = Attributed {
        taken: account.taken.clone(),
        unexplained: account.unexplained.clone(),
        ..Attributed::default()
    };
    for (id, held) in &account.supervisors {
        let held = Span {
            least: held.clone(),
            most: held.clone(),
        };
        match whose(id) {
            Owner::Job(job, attempt) => {
                let entry = all.jobs.entry(job).or_default();
                entry.attempt = attempt;
                entry.held.least.add_all(&held.least);
                entry.held.most.add_all(&held.most);
            }
            // It ends by itself, a moment after its job.
            Owner::Past(_) => {}
            Owner::Nobody => all.unmanaged.push(Unmanaged {
                what: What::Submission { id: id.clone() },
                of: None,
                forges: None,
                held,
            }),
        }
    }
    for (address, pids) in supervisors(sample, account) {
        for (pid, id) in pids {
            if let Owner::Job(job, _) = whose(id) {
                all.processes.insert((address.to_owned(), pid), job);
            }
        }
    }
    for driver in &sample.drivers {
        let holds = account.drivers.get(&driver.id);
        // The dashboard's driver makes supervisors and holds nothing else.
        let is_there =
            driver.alive || holds.is_some_and(|h| !h.held().most.is_nothing() || h.alive > 0);
        if !is_there || Some(driver.id) == account.dashboard {
            continue;
        }
        let (owner, certain) = owner(driver, &by_id, proofs, &whose);
        let (of, forges) = match owner {
            Owner::Job(job, attempt) => {
                let entry = all.jobs.entry(job.clone()).or_default();
                entry.attempt = attempt;
                entry.add(account, driver.id, certain);
                if certain {
                    all.owners.insert(driver.id, job);
                }
                continue;
            }
            Owner::Past(job) => (Some(job), None),
            Owner::Nobody => match driver.claims.as_deref().map_or(Owner::Nobody, &whose) {
                Owner::Job(job, _) => (None, Some(job)),
                _ => (None, None),
            },
        };
        let one = unmanaged(account, driver, of, forges);
        all.unmanaged.push(one);
    }
    for (at, driver) in proofs.workers() {
        if let Some(job) = all.owners.get(&driver) {
            all.processes.insert(at.clone(), job.clone());
        }
    }
    all
}

/// From driver to driver that a worker of another started: more of them than anybody needs.
const DEEP: usize = 8;

/// Whose a driver is, and whether that is certain or its own word on a node whose agent has not told yet.
fn owner(
    driver: &Driver,
    by_id: &HashMap<DriverId, &Driver>,
    proofs: &Proofs,
    whose: &impl Fn(&str) -> Owner,
) -> (Owner, bool) {
    let claimed = |d: &Driver| d.claims.as_deref().map_or(Owner::Nobody, whose);
    let mut at = driver;
    for _ in 0..DEEP {
        match proofs.of(at.id) {
            Some(Proof::Submission(id)) => return (whose(id), true),
            Some(Proof::Driver(maker)) => match by_id.get(maker) {
                Some(maker) => at = maker,
                None => return (Owner::Nobody, true),
            },
            Some(Proof::Outside) => return (Owner::Nobody, true),
            Some(Proof::Open) => return (claimed(at), false),
            None => return (claimed(at), true),
        }
    }
    (Owner::Nobody, true)
}

fn unmanaged(
    account: &Account,
    driver: &Driver,
    of: Option<JobId>,
    forges: Option<JobId>,
) -> Unmanaged {
    Unmanaged {
        what: What::Driver {
            id: driver.id,
            alive: driver.alive,
            address: driver.address.clone(),
            pid: driver.pid,
            entrypoint: driver.entrypoint.clone(),
            claims: driver.claims.clone(),
        },
        of,
        forges,
        held: account
            .drivers
            .get(&driver.id)
            .map(super::Holding::held)
            .unwrap_or_default(),
    }
}
