use std::collections::HashMap;

use super::*;
use crate::resource::Resource;
use crate::subject::JobId;

const ONE: NodeId = NodeId([1; 28]);
const RAY: DriverId = DriverId([1, 0, 0, 0]);
const ANA: DriverId = DriverId([2, 0, 0, 0]);
const LI: DriverId = DriverId([3, 0, 0, 0]);
const HOST: &str = "10.0.0.1";

fn cpus(n: u128) -> Held {
    [(Resource::Cpu, Grains(n * GRAIN))].into_iter().collect()
}

fn job(id: &str) -> JobId {
    JobId::parse(id).expect("an id")
}

fn driver(id: DriverId, pid: u32, claims: &str) -> Driver {
    Driver {
        id,
        alive: true,
        address: HOST.into(),
        pid,
        claims: Some(claims.into()),
        entrypoint: String::new(),
    }
}

fn actor(driver: DriverId, pid: u32, name: &str, n: u128) -> Actor {
    Actor {
        id: ActorId([9; 16]),
        driver,
        life: Life::Alive,
        name: name.into(),
        namespace: "SUPERVISOR_ACTOR_RAY_NAMESPACE".into(),
        node: Some(ONE),
        pid,
        detached: false,
        in_group: false,
        required: cpus(n),
    }
}

/// Two jobs run: ana's supervisor is process 100 and li's is 200. Ana's driver (110) holds one CPU and li's (210) four, in workers
/// 111 and 211; both say that they are ana's.
fn forged() -> Sample {
    Sample {
        cluster: vec![7],
        nodes: vec![Node {
            id: ONE,
            address: HOST.into(),
            total: cpus(16),
            available: cpus(11),
        }],
        drivers: vec![
            driver(RAY, 50, ""),
            driver(ANA, 110, "ana"),
            driver(LI, 210, "ana"),
        ],
        actors: vec![
            actor(RAY, 100, "_ray_internal_job_actor_ana", 0),
            actor(RAY, 200, "_ray_internal_job_actor_li", 0),
            actor(ANA, 111, "", 1),
            actor(LI, 211, "", 4),
        ],
        ..Sample::default()
    }
}

fn below(root: u32, driver: DriverId) -> Seat {
    Seat::Below {
        root: Some(root),
        driver: Some(driver),
    }
}

fn hosts(seats: &[(u32, Seat)]) -> Hosts {
    Hosts {
        seats: [(HOST.to_owned(), seats.iter().copied().collect())].into(),
        unnamed: [(HOST.to_owned(), HashMap::new())].into(),
    }
}

/// What an agent says of that.
fn honest() -> Hosts {
    hosts(&[
        (100, below(100, RAY)),
        (110, below(100, RAY)),
        (200, below(200, RAY)),
        (210, below(200, RAY)),
    ])
}

fn look(proofs: &mut Proofs, sample: &Sample, hosts: &Hosts) -> Attributed {
    let account = account(sample);
    proofs.look(sample, &account, hosts);
    let whose = |id: &str| match id {
        "ana" | "li" => Owner::Job(job(id), 1),
        _ => Owner::Nobody,
    };
    attribute(sample, &account, proofs, whose)
}

fn least(all: &Attributed, id: &str) -> Held {
    all.jobs
        .get(&job(id))
        .map(|j| j.held.least.clone())
        .unwrap_or_default()
}

fn most(all: &Attributed, id: &str) -> Held {
    all.jobs
        .get(&job(id))
        .map(|j| j.held.most.clone())
        .unwrap_or_default()
}

#[test]
fn where_nobody_watches_a_drivers_word_is_all_there_is() {
    let all = look(&mut Proofs::default(), &forged(), &Hosts::default());
    assert_eq!(
        (least(&all, "ana"), least(&all, "li")),
        (cpus(5), Held::NOTHING)
    );
}

#[test]
fn what_a_program_holds_that_says_it_is_anothers_is_counted_to_its_own_job() {
    let all = look(&mut Proofs::default(), &forged(), &honest());
    assert_eq!((most(&all, "ana"), least(&all, "ana")), (cpus(1), cpus(1)));
    assert_eq!(least(&all, "li"), cpus(4));
    assert!(all.unmanaged.is_empty(), "{:?}", all.unmanaged);
}

#[test]
fn what_is_not_proven_yet_is_in_the_upper_bound_alone() {
    // The agent was not asked about the drivers yet.
    let all = look(&mut Proofs::default(), &forged(), &hosts(&[]));
    assert_eq!(
        (least(&all, "ana"), most(&all, "ana")),
        (Held::NOTHING, cpus(5))
    );
    assert_eq!(all.jobs[&job("ana")].unproven, 2);
}

#[test]
fn what_a_proven_driver_leaves_is_still_its_jobs() {
    let mut proofs = Proofs::default();
    look(&mut proofs, &forged(), &honest());
    let mut sample = forged();
    sample.drivers[2].alive = false;
    // Its process's number is another's by now, one of ana's.
    let mut later = honest();
    later
        .seats
        .get_mut(HOST)
        .expect("seats")
        .insert(210, below(100, RAY));
    let all = look(&mut proofs, &sample, &later);
    assert_eq!((least(&all, "ana"), least(&all, "li")), (cpus(1), cpus(4)));
    // Also when the agent has gone; but not in another cluster, where numbers begin again.
    let all = look(&mut proofs, &sample, &Hosts::default());
    assert_eq!(least(&all, "li"), cpus(4));
    sample.cluster = vec![8];
    let all = look(&mut proofs, &sample, &Hosts::default());
    assert_eq!(least(&all, "li"), Held::NOTHING);
}

#[test]
fn who_descends_from_nothing_of_rays_is_not_the_job_it_says() {
    let mut outside = honest();
    outside
        .seats
        .get_mut(HOST)
        .expect("seats")
        .insert(210, Seat::Outside);
    let all = look(&mut Proofs::default(), &forged(), &outside);
    assert_eq!(most(&all, "ana"), cpus(1));
    assert_eq!(all.unmanaged.len(), 1);
    assert_eq!(all.unmanaged[0].forges, Some(job("ana")));
    assert_eq!(
        (&all.unmanaged[0].of, &all.unmanaged[0].held.most),
        (&None, &cpus(4))
    );
}

#[test]
fn an_agent_that_counts_processes_in_another_way_than_ray_proves_nothing() {
    // It sees no supervisor where Ray says that one is.
    let strange = hosts(&[(110, Seat::Outside), (210, Seat::Outside)]);
    let all = look(&mut Proofs::default(), &forged(), &strange);
    assert!(all.unmanaged.is_empty());
    assert_eq!(
        (least(&all, "ana"), most(&all, "ana")),
        (Held::NOTHING, cpus(5))
    );
}

#[test]
fn a_driver_that_a_worker_started_is_the_workers_job() {
    let mut seats = honest();
    seats
        .seats
        .get_mut(HOST)
        .expect("seats")
        .insert(210, below(111, ANA));
    let all = look(&mut Proofs::default(), &forged(), &seats);
    assert_eq!(
        (least(&all, "ana"), least(&all, "li")),
        (cpus(5), Held::NOTHING)
    );
    // Of each other: that is nobody's, and it ends.
    let mut round = hosts(&[(110, below(211, LI)), (210, below(111, ANA))]);
    round.unnamed.clear();
    let all = look(&mut Proofs::default(), &forged(), &round);
    assert!(
        all.jobs
            .get(&job("ana"))
            .is_none_or(|j| j.drivers.is_empty())
    );
}

#[test]
fn a_worker_that_was_started_for_nobody_becomes_the_first_drivers_that_uses_it_and_stays_that_ones()
{
    let mut seats = honest();
    seats.unnamed.insert(HOST.into(), [(211, 9000)].into());
    let mut proofs = Proofs::default();
    let at = (HOST.to_owned(), 211);
    let all = look(&mut proofs, &forged(), &seats);
    assert_eq!(all.processes.get(&at), Some(&job("li")));
    let mut later = forged();
    later.actors[3].driver = ANA;
    let all = look(&mut proofs, &later, &seats);
    assert_eq!(all.processes.get(&at), Some(&job("li")));
    // The number is another process's: it is looked at anew.
    seats.unnamed.insert(HOST.into(), [(211, 9999)].into());
    let all = look(&mut proofs, &later, &seats);
    assert_eq!(all.processes.get(&at), Some(&job("ana")));
}

#[test]
fn drivers_and_supervisors_are_asked_about_and_nothing_else() {
    let sample = forged();
    let asked = asked(&sample, &account(&sample));
    assert_eq!(asked[HOST], [100, 110, 200, 210]);
}
