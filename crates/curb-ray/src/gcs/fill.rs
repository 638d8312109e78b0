//! From the messages to a [`Sample`]: what is malformed is counted and left out, never guessed.

use curb_core::resource::Resource;
use curb_core::truth::{
    Actor, ActorId, Demand, Driver, DriverId, GRAIN, Gaps, Grains, Group, Held, Life, Node, NodeId,
    Task, TaskId,
};

use super::wire;

/// More of a resource than any node has: what is beyond it was not an amount.
const MOST: f64 = 1e18;
/// What Ray's command line sets, and a program can change.
const CLAIM: &str = "job_submission_id";

/// A resource by Ray's own name of it; `None` where it is no amount of anything that a job could be granted: marks of places
/// and models, the object store, and the copies of amounts that stand for what is inside of a placement group.
fn resource(name: &str) -> Option<Resource> {
    let mark = name.starts_with("node:")
        || name.starts_with("accelerator_type:")
        || name.starts_with("bundle_group_")
        || name == "object_store_memory"
        || is_of_a_group(name);
    match name {
        _ if mark => None,
        "CPU" => Some(Resource::Cpu),
        "GPU" => Some(Resource::Gpu),
        "memory" => Some(Resource::Memory),
        custom => Resource::parse(custom).ok(),
    }
}

/// `CPU_group_<36 hex>` and `CPU_group_<index>_<36 hex>`.
fn is_of_a_group(name: &str) -> bool {
    name.split_once("_group_").is_some_and(|(_, rest)| {
        let id = rest.rsplit('_').next().unwrap_or(rest);
        id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Counts what could not be read.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) gaps: Gaps,
}

impl Reader {
    fn held(&mut self, amounts: &wire::Amounts) -> Held {
        let mut held = Held::default();
        for (name, &amount) in amounts {
            if !(0.0..=MOST).contains(&amount) {
                self.gaps.unreadable += 1;
                continue;
            }
            if let Some(resource) = resource(name) {
                // Ray's own amounts are whole at this grain; what it sends is their nearest double.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "checked to be neither negative nor beyond 10^18 just above"
                )]
                let grains = (amount * GRAIN as f64).round() as u128;
                held.add(resource, Grains(grains));
            }
        }
        held
    }

    /// Ray's "no such id" is all ones, or nothing.
    fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        let id: [u8; N] = bytes.try_into().ok()?;
        (id != [0xff; N]).then_some(id)
    }

    fn all<M, T>(&mut self, rows: &[M], read: impl Fn(&mut Reader, &M) -> Option<T>) -> Vec<T> {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            match read(self, row) {
                Some(value) => all.push(value),
                None => self.gaps.unreadable += 1,
            }
        }
        all
    }

    pub(super) fn drivers(&mut self, reply: &wire::GetAllJobInfoReply) -> Vec<Driver> {
        self.all(&reply.job_info_list, |_, job| {
            Some(Driver {
                id: DriverId(Reader::id(&job.job_id)?),
                alive: !job.is_dead,
                address: job.driver_ip_address.clone(),
                pid: u32::try_from(job.driver_pid).ok()?,
                claims: job
                    .config
                    .as_ref()
                    .and_then(|c| c.metadata.get(CLAIM).cloned()),
                entrypoint: job.entrypoint.clone(),
            })
        })
    }

    pub(super) fn actors(&mut self, reply: &wire::GetAllActorInfoReply) -> Vec<Actor> {
        // It may have died between the question and the answer: then it is in nobody's way.
        let live = |a: &&wire::ActorTableData| a.state != wire::actor_state::DEAD;
        let rows: Vec<_> = reply.actor_table_data.iter().filter(live).collect();
        self.all(&rows, |reader, actor| {
            let life = match actor.state {
                wire::actor_state::ALIVE => Life::Alive,
                wire::actor_state::DEPENDENCIES_UNREADY | wire::actor_state::PENDING_CREATION => {
                    Life::Waiting
                }
                wire::actor_state::RESTARTING => Life::Restarting,
                _ => return None,
            };
            Some(Actor {
                id: ActorId(Reader::id(&actor.actor_id)?),
                driver: DriverId(Reader::id(&actor.job_id)?),
                life,
                name: actor.name.clone(),
                namespace: actor.ray_namespace.clone(),
                node: actor
                    .address
                    .as_ref()
                    .and_then(|a| Reader::id(&a.node_id))
                    .map(NodeId),
                pid: actor.pid,
                detached: actor.is_detached,
                in_group: in_group(actor.placement_group_id.as_deref()),
                required: reader.held(&actor.required_resources),
            })
        })
    }

    pub(super) fn groups(&mut self, reply: &wire::GetAllPlacementGroupReply) -> Vec<Group> {
        let there = |g: &&wire::PlacementGroupTableData| g.state != wire::group_state::REMOVED;
        let rows: Vec<_> = reply
            .placement_group_table_data
            .iter()
            .filter(there)
            .collect();
        self.all(&rows, |reader, group| {
            let bundle = |b: &wire::Bundle| {
                let node = Reader::id(&b.node_id).map(NodeId);
                (node, reader.held(&b.unit_resources))
            };
            Some(Group {
                driver: DriverId(Reader::id(&group.creator_job_id)?),
                detached: group.is_detached,
                bundles: group.bundles.iter().map(bundle).collect(),
            })
        })
    }

    pub(super) fn tasks(&mut self, reply: &wire::GetTaskEventsReply) -> Vec<Task> {
        self.gaps.dropped_events = u64::try_from(reply.num_status_task_events_dropped).unwrap_or(0);
        self.gaps.cut += u64::try_from(reply.num_truncated).unwrap_or(0);
        // A call of an actor holds nothing: the actor does.
        let holds = |t: &&wire::TaskEvents| {
            let info = t.task_info.as_ref();
            info.is_none_or(|i| i.r#type != wire::task_type::ACTOR_TASK)
        };
        let rows: Vec<_> = reply.events_by_task.iter().filter(holds).collect();
        self.all(&rows, |reader, task| {
            let info = task.task_info.as_ref()?;
            let node = task
                .state_updates
                .as_ref()
                .and_then(|s| s.node_id.as_deref());
            Some(Task {
                id: TaskId(Reader::id(&task.task_id)?),
                // A driver's own call has none in some versions.
                parent: TaskId(Reader::id(&info.parent_task_id).unwrap_or([0; 24])),
                driver: DriverId(Reader::id(&task.job_id)?),
                node: node.and_then(Reader::id).map(NodeId),
                pid: task
                    .state_updates
                    .as_ref()
                    .and_then(|s| u32::try_from(s.worker_pid?).ok()),
                in_group: in_group(info.placement_group_id.as_deref()),
                makes_actor: info.r#type == wire::task_type::ACTOR_CREATION_TASK,
                required: reader.held(&info.required_resources),
            })
        })
    }

    pub(super) fn nodes(&mut self, state: &wire::ClusterResourceState) -> Vec<Node> {
        let there = |n: &&wire::NodeState| n.status != wire::node_status::DEAD;
        let rows: Vec<_> = state.node_states.iter().filter(there).collect();
        self.all(&rows, |reader, node| {
            Some(Node {
                id: NodeId(Reader::id(&node.node_id)?),
                address: node.node_ip_address.clone(),
                total: reader.held(&node.total_resources),
                available: reader.held(&node.available_resources),
            })
        })
    }

    pub(super) fn demand(&mut self, state: &wire::ClusterResourceState) -> Vec<Demand> {
        self.all(&state.pending_resource_requests, |reader, wanted| {
            let request = wanted.request.as_ref()?;
            Some(Demand {
                shape: reader.held(&request.resources_bundle),
                count: u64::try_from(wanted.count).ok()?,
            })
        })
    }
}

fn in_group(id: Option<&[u8]>) -> bool {
    id.is_some_and(|id| Reader::id::<18>(id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_copies_are_no_amounts_and_odd_names_are_customs() {
        let id = "c3fdded28b9cc43098414acce54b02000000";
        for mark in [
            "node:10.0.0.1",
            "object_store_memory",
            "accelerator_type:H100",
            &format!("CPU_group_{id}"),
            &format!("CPU_group_1_{id}"),
            &format!("bundle_group_0_{id}"),
        ] {
            assert_eq!(resource(mark), None, "{mark}");
        }
        // A user's own name that only looks like it.
        assert_eq!(
            resource("my_group_7"),
            Some(Resource::Custom("my_group_7".into()))
        );
        assert_eq!(resource("CPU"), Some(Resource::Cpu));
    }

    #[test]
    fn amounts_that_are_none_are_counted_and_left_out() {
        let mut reader = Reader::default();
        let odd = [f64::NAN, -1.0, f64::INFINITY, 1e300];
        let amounts: wire::Amounts = odd
            .into_iter()
            .enumerate()
            .map(|(i, v)| (format!("r{i}"), v))
            .collect();
        assert!(reader.held(&amounts).is_nothing());
        assert_eq!(reader.gaps.unreadable, 4);
        let third = [("CPU".to_owned(), 0.1 + 0.2)].into_iter().collect();
        assert_eq!(reader.held(&third).get(&Resource::Cpu), Grains(3000));
    }

    #[test]
    fn states_and_ids_of_another_version_are_counted_and_left_out() {
        let mut reader = Reader::default();
        let actor = |state, id: usize| wire::ActorTableData {
            actor_id: vec![1; id],
            job_id: vec![1, 0, 0, 0],
            state,
            ..Default::default()
        };
        let reply = wire::GetAllActorInfoReply {
            actor_table_data: vec![actor(2, 16), actor(9, 16), actor(2, 20), actor(4, 16)],
            ..Default::default()
        };
        assert_eq!(reader.actors(&reply).len(), 1);
        assert_eq!(reader.gaps.unreadable, 2);
    }
}
