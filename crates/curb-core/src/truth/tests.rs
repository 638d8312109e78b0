use proptest::prelude::*;

use super::*;
use crate::resource::Resource;
use crate::subject::JobId;

const ONE: NodeId = NodeId([1; 28]);
const TWO: NodeId = NodeId([2; 28]);
const RAY: DriverId = DriverId([1, 0, 0, 0]);
const ANA: DriverId = DriverId([2, 0, 0, 0]);
const LI: DriverId = DriverId([3, 0, 0, 0]);

fn cpus(n: u128) -> Held {
    [(Resource::Cpu, Grains(n * GRAIN))].into_iter().collect()
}

fn node(id: NodeId, total: u128, available: u128) -> Node {
    Node {
        id,
        address: "10.0.0.1".into(),
        total: cpus(total),
        available: cpus(available),
    }
}

fn task(driver: DriverId, node: NodeId, n: u128) -> Task {
    Task {
        id: TaskId([1; 24]),
        parent: TaskId([0; 24]),
        driver,
        node: Some(node),
        pid: None,
        in_group: false,
        makes_actor: false,
        required: cpus(n),
    }
}

fn actor(driver: DriverId, n: u128) -> Actor {
    Actor {
        id: ActorId([9; 16]),
        driver,
        life: Life::Alive,
        name: String::new(),
        namespace: String::new(),
        node: Some(ONE),
        pid: 7,
        detached: false,
        in_group: false,
        required: cpus(n),
    }
}

fn supervisor(driver: DriverId, id: &str, n: u128) -> Actor {
    Actor {
        name: format!("_ray_internal_job_actor_{id}"),
        namespace: "SUPERVISOR_ACTOR_RAY_NAMESPACE".into(),
        detached: true,
        ..actor(driver, n)
    }
}

fn exactly(n: u128) -> Span {
    Span {
        least: cpus(n),
        most: cpus(n),
    }
}

#[test]
fn groups_count_whole_and_what_lives_in_them_does_not() {
    let sample = Sample {
        nodes: vec![node(ONE, 16, 9)],
        groups: vec![Group {
            driver: ANA,
            detached: false,
            bundles: vec![(Some(ONE), cpus(3)), (Some(ONE), cpus(1)), (None, cpus(8))],
        }],
        actors: vec![
            Actor {
                in_group: true,
                ..actor(ANA, 2)
            },
            actor(ANA, 1),
        ],
        tasks: vec![
            Task {
                in_group: true,
                ..task(ANA, ONE, 1)
            },
            task(ANA, ONE, 2),
        ],
        ..Sample::default()
    };
    let account = account(&sample);
    let ana = &account.drivers[&ANA];
    assert_eq!(
        (&ana.groups, &ana.actors, &ana.tasks),
        (&cpus(4), &cpus(1), &exactly(2))
    );
    assert_eq!((ana.alive, ana.running, ana.held()), (2, 2, exactly(7)));
    assert_eq!(account.taken, cpus(7));
    assert!(account.unexplained.is_nothing() && account.surplus.is_nothing());
}

#[test]
fn what_a_node_says_is_taken_and_nobody_reports_is_a_line_of_its_own() {
    // Ana's tasks report nothing: their events are switched off.
    let sample = Sample {
        nodes: vec![node(ONE, 16, 4), node(TWO, 16, 16)],
        actors: vec![actor(ANA, 4)],
        // Told late: it has ended. It does not make up for what is missing on the other node.
        tasks: vec![task(LI, TWO, 8)],
        ..Sample::default()
    };
    let account = account(&sample);
    assert_eq!(account.unexplained, cpus(8));
    assert_eq!(account.surplus, cpus(8));
    assert!(account.drivers[&LI].tasks.least.is_nothing());
}

#[test]
fn tasks_that_wait_for_a_result_are_counted_against_nobody_for_certain() {
    // Three CPUs are taken, five are reported: two CPUs' worth of somebody's tasks wait.
    let sample = Sample {
        nodes: vec![node(ONE, 4, 1)],
        tasks: vec![task(ANA, ONE, 1), task(LI, ONE, 3), task(LI, ONE, 1)],
        ..Sample::default()
    };
    let account = account(&sample);
    let spans = [ANA, LI].map(|d| account.drivers[&d].tasks.clone());
    assert!(spans[0].least.is_nothing());
    assert_eq!(spans[0].most, cpus(1));
    assert_eq!((&spans[1].least, &spans[1].most), (&cpus(2), &cpus(4)));
}

#[test]
fn a_task_whose_child_runs_most_likely_waits_for_it() {
    // Somebody hides as much as the parent has given back, so that the sums agree.
    let child = Task {
        id: TaskId([2; 24]),
        parent: TaskId([1; 24]),
        ..task(ANA, ONE, 1)
    };
    let sample = Sample {
        nodes: vec![node(ONE, 8, 5)],
        tasks: vec![task(ANA, ONE, 2), child],
        ..Sample::default()
    };
    let tasks = &account(&sample).drivers[&ANA].tasks;
    assert_eq!((&tasks.least, &tasks.most), (&cpus(1), &cpus(3)));
}

#[test]
fn what_was_reserved_for_an_entrypoint_is_its_submissions_and_a_forged_supervisor_is_its_makers() {
    let sample = Sample {
        nodes: vec![node(ONE, 16, 8)],
        actors: vec![
            supervisor(ANA, "kims", 4),
            supervisor(RAY, "anas", 2),
            supervisor(RAY, "lis", 0),
            Actor {
                namespace: "mine".into(),
                ..supervisor(RAY, "x", 2)
            },
        ],
        ..Sample::default()
    };
    let account = account(&sample);
    let ids: Vec<_> = account.supervisors.keys().map(String::as_str).collect();
    assert_eq!(ids, ["anas", "lis"]);
    assert_eq!(account.supervisors["anas"], cpus(2));
    assert_eq!(account.drivers[&ANA].held(), exactly(4));
    assert_eq!(
        (account.drivers[&ANA].detached, account.drivers[&RAY].alive),
        (1, 1)
    );
}

#[test]
fn what_waits_holds_nothing_and_is_counted() {
    let waiting = |life| Actor {
        life,
        node: None,
        ..actor(ANA, 8)
    };
    let sample = Sample {
        nodes: vec![node(ONE, 4, 3)],
        actors: vec![waiting(Life::Waiting), waiting(Life::Restarting)],
        // It makes one of them: what the actor will hold is taken from now on.
        tasks: vec![Task {
            makes_actor: true,
            ..task(ANA, ONE, 1)
        }],
        ..Sample::default()
    };
    let ana = &account(&sample).drivers[&ANA];
    assert_eq!((ana.waiting, ana.held()), (2, exactly(1)));
}

#[test]
fn ten_thousandths_are_not_rounded_up_one_by_one() {
    let sliver = || Actor {
        required: [(Resource::Cpu, Grains(1))].into_iter().collect(),
        ..actor(ANA, 0)
    };
    let sample = Sample {
        actors: (0..1000).map(|_| sliver()).collect(),
        ..Sample::default()
    };
    let held = account(&sample).drivers[&ANA].actors.get(&Resource::Cpu);
    assert_eq!(held, Grains(GRAIN / 10));
}

proptest! {
    /// Whatever is reported, on every node: what is surely held is taken there, and with what is not explained it is never
    /// more than that; bounds never cross; and what is really held (some tasks wait) is within its bounds.
    #[test]
    fn the_truth_is_within_its_bounds(
        tasks in prop::collection::vec((0u8..3, 0u8..2, 1u128..5, any::<bool>(), any::<bool>()), 0..12),
        actors in prop::collection::vec((0u8..3, 1u128..4), 0..5),
    ) {
        let driver = |i: u8| DriverId([i + 2, 0, 0, 0]);
        let at = |i: u8| if i == 0 { ONE } else { TWO };
        let mut taken = [0u128; 2];
        let mut really = [0u128; 3];
        let hides = tasks.iter().any(|t| t.4);
        let mut sample = Sample::default();
        for (who, held) in actors {
            taken[0] += held;
            really[usize::from(who)] += held;
            sample.actors.push(actor(driver(who), held));
        }
        for (who, place, held, waits, silent) in tasks {
            if !waits {
                taken[usize::from(place)] += held;
                really[usize::from(who)] += if silent { 0 } else { held };
            }
            if !silent {
                sample.tasks.push(task(driver(who), at(place), held));
            }
        }
        sample.nodes = vec![node(ONE, 100, 100 - taken[0]), node(TWO, 100, 100 - taken[1])];
        let account = account(&sample);
        let get = |held: &Held| held.get(&Resource::Cpu).0 / GRAIN;
        let mut least = 0;
        for (i, real) in really.iter().enumerate() {
            let span = account.drivers.get(&driver(i as u8)).map(Holding::held).unwrap_or_default();
            prop_assert!(get(&span.most) >= *real, "at most {} of {real}", get(&span.most));
            prop_assert!(hides || get(&span.least) <= *real, "at least {} of {real}", get(&span.least));
            least += get(&span.least);
        }
        let all = taken[0] + taken[1];
        prop_assert_eq!(get(&account.taken), all);
        prop_assert!(least + get(&account.unexplained) <= all + get(&account.surplus).min(all));
    }
}

fn driver(id: DriverId, alive: bool, claims: Option<&str>) -> Driver {
    Driver {
        id,
        alive,
        address: "10.0.0.1".into(),
        pid: 77,
        claims: claims.map(str::to_owned),
        entrypoint: "python x.py".into(),
    }
}

fn whose(id: &str) -> Owner {
    let job = |id| JobId::parse(id).expect("an id");
    match id {
        "anas" => Owner::Job(job("anas"), 1),
        "old" => Owner::Past(job("old")),
        _ => Owner::Nobody,
    }
}

#[test]
fn a_job_holds_what_its_entrypoint_and_all_of_its_drivers_hold() {
    let sample = Sample {
        nodes: vec![node(ONE, 16, 9)],
        drivers: vec![
            driver(RAY, true, None),
            driver(ANA, true, Some("anas")),
            driver(LI, false, Some("anas")),
        ],
        actors: vec![
            supervisor(RAY, "anas", 1),
            actor(ANA, 2),
            Actor {
                detached: true,
                ..actor(LI, 4)
            },
        ],
        ..Sample::default()
    };
    let all = attribute(&sample, &account(&sample), &Proofs::default(), whose);
    let job = &all.jobs[&JobId::parse("anas").expect("an id")];
    assert_eq!((&job.held, job.actors, job.detached), (&exactly(7), 2, 1));
    assert_eq!(job.drivers, [ANA, LI]);
    assert!(all.unmanaged.is_empty(), "{:?}", all.unmanaged);
}

#[test]
fn what_came_past_the_gate_or_stayed_behind_is_told_apart() {
    let stranger = DriverId([4, 0, 0, 0]);
    let gone = DriverId([5, 0, 0, 0]);
    let sample = Sample {
        drivers: vec![
            driver(RAY, true, None),
            // By Ray's client; says that it is nobody's.
            driver(ANA, true, None),
            // It is over, and a detached actor of it still lives.
            driver(LI, false, Some("old")),
            // A job that a job submitted.
            driver(stranger, true, Some("inner")),
            // Over, and nothing of it is left.
            driver(gone, false, None),
        ],
        actors: vec![
            supervisor(RAY, "inner", 0),
            supervisor(RAY, "old", 0),
            Actor {
                detached: true,
                ..actor(LI, 4)
            },
        ],
        ..Sample::default()
    };
    let all = attribute(&sample, &account(&sample), &Proofs::default(), whose);
    assert!(all.jobs.is_empty());
    let told: Vec<_> = all
        .unmanaged
        .iter()
        .map(|u| match &u.what {
            What::Submission { id } => format!("submission {id}"),
            What::Driver { id, .. } => {
                format!("driver {id} of {:?}", u.of.as_ref().map(JobId::as_str))
            }
        })
        .collect();
    assert_eq!(
        told,
        [
            "submission inner",
            "driver 02000000 of None",
            "driver 03000000 of Some(\"old\")",
            "driver 04000000 of None",
        ]
    );
    assert_eq!(all.unmanaged[2].held, exactly(4));
}

#[test]
fn bounds_are_rounded_away_from_each_other() {
    let held: Held = [
        (Resource::Cpu, Grains(15_001)),
        (Resource::Memory, Grains(GRAIN * 7)),
    ]
    .into_iter()
    .collect();
    let show = |up| {
        held.amounts(up)
            .iter()
            .map(|(r, a)| format!("{r}={}", a.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(show(false), ["cpu=1500", "memory=7"]);
    assert_eq!(show(true), ["cpu=1501", "memory=7"]);
}
