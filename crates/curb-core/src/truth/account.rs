//! Who holds what: the sum of a [`Sample`], checked against what the nodes themselves say is taken.
//!
//! Placement groups are counted whole and what lives inside of them is not: the group holds for it. Actors outside of groups
//! are counted one by one. Both are the scheduler's own figures and exact. Tasks are what workers report of themselves, a
//! second late, and may be told not to; and one that waits for a result has given its CPUs back, which no report says. So
//! what tasks hold is known between two bounds ([`Span`]), from what the node says is taken:
//!
//! - the upper bound is what is reported;
//! - the lower one leaves out tasks whose own child runs, since they most likely wait for it; and where more is reported than
//!   the node says is taken, somebody's tasks wait: each driver's lower bound is less by all of the difference, since it may
//!   be the one;
//! - what is taken beyond all reports is a line of its own ([`Account::unexplained`]), never dropped.
//!
//! Whoever acts on it takes the lower bound, so that nobody is stopped for what another may hold. It rests on reports all the
//! same: where one job hides its tasks and another's wait for work that has not started, the sums agree, and the one that
//! waits seems to hold what is hidden. What the hosts say tells these two apart.

use std::collections::{BTreeMap, HashSet};

use super::sample::{Actor, DriverId, Held, Life, NodeId, Sample, TaskId};

/// The name space in which Ray's own job supervisors live.
const SUPERVISORS: &str = "SUPERVISOR_ACTOR_RAY_NAMESPACE";
/// What the name of a supervisor begins with; the rest is the id of its submission.
const SUPERVISOR: &str = "_ray_internal_job_actor_";

/// An amount that is known between two bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Not less than this.
    pub least: Held,
    /// Not more than this.
    pub most: Held,
}

impl Span {
    fn add(&mut self, least: &Held, most: &Held) {
        self.least.add_all(least);
        self.most.add_all(most);
    }
}

/// What one driver holds, by what it holds it with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// With placement groups, whether or not something lives in them.
    pub groups: Held,
    /// With actors outside of groups.
    pub actors: Held,
    /// With running tasks outside of groups.
    pub tasks: Span,
    /// Actors that live, in groups or not.
    pub alive: u64,
    /// Actors that live and outlive their driver.
    pub detached: u64,
    /// Actors that wait for resources, or to be started again.
    pub waiting: u64,
    /// Tasks that run, those that wait for a result too.
    pub running: u64,
}

impl Holding {
    /// All of it, between two bounds.
    #[must_use]
    pub fn held(&self) -> Span {
        let mut exact = self.groups.clone();
        exact.add_all(&self.actors);
        let mut all = Span {
            least: exact.clone(),
            most: exact,
        };
        all.add(&self.tasks.least, &self.tasks.most);
        all
    }
}

/// Who holds what in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The driver of Ray's own dashboard, which makes the supervisors; `None` while there is none.
    pub dashboard: Option<DriverId>,
    /// By driver. Those of whom there is nothing are not here, and neither are supervisors.
    pub drivers: BTreeMap<DriverId, Holding>,
    /// By submission: what its supervisor holds, which is what was reserved for its entrypoint.
    pub supervisors: BTreeMap<String, Held>,
    /// What the nodes say is taken.
    pub taken: Held,
    /// What is taken beyond all that is known to be held, node by node: one node's surplus does not hide another's lack.
    pub unexplained: Held,
    /// What is reported to be held beyond what is taken, node by node: tasks that wait for a result, and answers that came
    /// some milliseconds apart.
    pub surplus: Held,
}

/// Sums up a sample.
#[must_use]
pub fn account(sample: &Sample) -> Account {
    let mut sums = Sums {
        account: Account {
            dashboard: dashboard(sample),
            ..Account::default()
        },
        ..Sums::default()
    };
    for group in &sample.groups {
        for (node, bundle) in &group.bundles {
            let Some(node) = node else { continue };
            sums.nodes.entry(*node).or_default().exact.add_all(bundle);
            sums.account
                .drivers
                .entry(group.driver)
                .or_default()
                .groups
                .add_all(bundle);
        }
    }
    sample.actors.iter().for_each(|actor| sums.actor(actor));
    let parents: HashSet<TaskId> = sample.tasks.iter().map(|task| task.parent).collect();
    for task in &sample.tasks {
        sums.account.drivers.entry(task.driver).or_default().running += 1;
        if let (false, Some(node)) = (task.in_group, task.node) {
            let tasks = &mut sums.nodes.entry(node).or_default().tasks;
            let span = tasks.entry(task.driver).or_default();
            span.most.add_all(&task.required);
            if !parents.contains(&task.id) {
                span.least.add_all(&task.required);
            }
        }
    }
    sums.against_the_nodes(sample)
}

/// The submission whose supervisor the actor is by its name. Anybody may give an actor such a name: see [`dashboard`].
#[must_use]
pub fn supervises(actor: &Actor) -> Option<&str> {
    let id = actor.name.strip_prefix(SUPERVISOR)?;
    (actor.namespace == SUPERVISORS && !id.is_empty()).then_some(id)
}

/// The driver of Ray's dashboard, which makes the supervisors: of all that made an actor of such a name the first to join the
/// cluster, since numbers of drivers only grow, and nothing that was submitted can have joined before it.
fn dashboard(sample: &Sample) -> Option<DriverId> {
    let makers = sample.actors.iter().filter(|a| supervises(a).is_some());
    makers
        .map(|a| a.driver)
        .min_by_key(|d| u32::from_le_bytes(d.0))
}

/// One node's sums on the way.
#[derive(Default)]
struct OnNode {
    exact: Held,
    tasks: BTreeMap<DriverId, Span>,
}

#[derive(Default)]
struct Sums {
    account: Account,
    nodes: BTreeMap<NodeId, OnNode>,
}

impl Sums {
    fn actor(&mut self, actor: &Actor) {
        let holds = actor.life == Life::Alive && !actor.in_group;
        if let (true, Some(node)) = (holds, actor.node) {
            self.nodes
                .entry(node)
                .or_default()
                .exact
                .add_all(&actor.required);
        }
        if let (true, Some(id)) = (
            Some(actor.driver) == self.account.dashboard,
            supervises(actor),
        ) {
            let held = self.account.supervisors.entry(id.to_owned()).or_default();
            if holds {
                held.add_all(&actor.required);
            }
            return;
        }
        let holding = self.account.drivers.entry(actor.driver).or_default();
        if holds {
            holding.actors.add_all(&actor.required);
        }
        match actor.life {
            Life::Alive => {
                holding.alive += 1;
                holding.detached += u64::from(actor.detached);
            }
            Life::Waiting | Life::Restarting => holding.waiting += 1,
        }
    }

    fn against_the_nodes(mut self, sample: &Sample) -> Account {
        for node in &sample.nodes {
            let taken = node.total.beyond(&node.available);
            self.account.taken.add_all(&taken);
            let on = self.nodes.remove(&node.id).unwrap_or_default();
            self.account.node(&on, &taken);
        }
        // What is held where no node is: the node has just gone, or joined. Nothing there is taken.
        for on in std::mem::take(&mut self.nodes).into_values() {
            self.account.node(&on, &Held::NOTHING);
        }
        self.account
    }
}

impl Account {
    fn node(&mut self, on: &OnNode, taken: &Held) {
        let mut known = on.exact.clone();
        on.tasks.values().for_each(|span| known.add_all(&span.most));
        let surplus = known.beyond(taken);
        for (driver, span) in &on.tasks {
            let tasks = &mut self.drivers.entry(*driver).or_default().tasks;
            tasks.add(&span.least.beyond(&surplus), &span.most);
        }
        self.unexplained.add_all(&taken.beyond(&known));
        self.surplus.add_all(&surplus);
    }
}
