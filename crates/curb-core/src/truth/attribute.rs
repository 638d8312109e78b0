//! Which of Curb's jobs a driver belongs to, and which drivers came past the gate.
//!
//! What a driver says of itself is its own word. It counts as long as nothing contradicts it, and what Curb tells of it says
//! so; whoever stops a job for what another driver holds needs more than that word.

use std::collections::BTreeMap;

use super::account::{Account, Span};
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
}

impl JobHeld {
    fn add(&mut self, account: &Account, driver: DriverId) {
        self.drivers.push(driver);
        if let Some(holding) = account.drivers.get(&driver) {
            let held = holding.held();
            self.held.least.add_all(&held.least);
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
pub fn attribute(sample: &Sample, account: &Account, whose: impl Fn(&str) -> Owner) -> Attributed {
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
                held,
            }),
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
        let owner = driver.claims.as_deref().map_or(Owner::Nobody, &whose);
        match owner {
            Owner::Job(job, attempt) => {
                let entry = all.jobs.entry(job).or_default();
                entry.attempt = attempt;
                entry.add(account, driver.id);
            }
            Owner::Past(job) => all.unmanaged.push(unmanaged(account, driver, Some(job))),
            Owner::Nobody => all.unmanaged.push(unmanaged(account, driver, None)),
        }
    }
    all
}

fn unmanaged(account: &Account, driver: &Driver, of: Option<JobId>) -> Unmanaged {
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
        held: account
            .drivers
            .get(&driver.id)
            .map(super::Holding::held)
            .unwrap_or_default(),
    }
}
