//! The ladder and the course under a clock that is moved by hand.

use proptest::prelude::*;

use super::*;
use crate::host::limits::{Action, Checkpoint, Condition, Reach, Resource, Retry, Step};
use crate::host::{Bytes, MilliCpu, Permille};
use crate::time::{Millis, Timestamp};

const LIMIT: u64 = 1000;

fn step(above: u32, after: u64, action: Action) -> Step {
    let reach = match above {
        1000 => Reach::Met,
        part => Reach::Above(Permille(part)),
    };
    Step {
        when: Condition {
            what: Resource::Memory,
            reach,
        },
        after: Millis(after),
        action,
    }
}

fn throttle() -> Action {
    Action::Throttle {
        cpu: Some(MilliCpu(500)),
        memory_high: None,
    }
}

fn pause() -> Action {
    Action::Pause {
        raise: Permille(250),
        most: Bytes(4000),
    }
}

fn checkpoint(within: u64) -> Action {
    Action::Checkpoint {
        how: Checkpoint::Signal(10),
        within: Millis(within),
    }
}

fn stop() -> Action {
    Action::Stop {
        grace: Millis(30_000),
    }
}

fn memory(used: u64) -> Reading {
    let what = Use {
        used,
        limit: LIMIT,
        met: used >= LIMIT,
        thrashing: false,
    };
    Reading::from([(Resource::Memory, what)])
}

/// What the ladder orders, in a word each.
fn at(ladder: &mut Ladder, now: u64, used: u64) -> Vec<String> {
    ladder
        .read(Millis(now), &memory(used))
        .iter()
        .map(word)
        .collect()
}

fn word(order: &Order) -> String {
    match order {
        Order::Begin { exceedance, .. } => format!("begin {exceedance}"),
        Order::Act { action, .. } => action.name().to_owned(),
        Order::Undo { action, .. } => format!("undo {}", action.name()),
        Order::End {
            peak, lasted, done, ..
        } => {
            let done: Vec<String> = done.iter().map(Done::text).collect();
            format!("end peak {peak} lasted {lasted}: {}", done.join(", "))
        }
    }
}

#[test]
fn each_step_comes_once_and_not_before_its_delay_and_all_is_undone_in_the_end() {
    let steps = vec![
        step(900, 1000, Action::Warn),
        step(950, 2000, throttle()),
        step(950, 9000, stop()),
    ];
    let mut ladder = Ladder::new(steps);
    assert_eq!(at(&mut ladder, 0, 900), [""; 0], "not more than 90%");
    assert_eq!(at(&mut ladder, 100, 960), ["begin 1"]);
    assert_eq!(at(&mut ladder, 1099, 960), [""; 0]);
    assert_eq!(at(&mut ladder, 1100, 960), ["warn"]);
    assert!(!ladder.is_over_limit(), "a warning alone turns nobody away");
    assert_eq!(at(&mut ladder, 2100, 970), ["throttle"]);
    assert!(ladder.is_over_limit());
    assert_eq!(at(&mut ladder, 5000, 970), [""; 0], "each once");
    assert_eq!(at(&mut ladder, 6000, 100), [""; 0]);
    assert_eq!(at(&mut ladder, 6999, 100), [""; 0]);
    assert_eq!(
        at(&mut ladder, 7000, 100),
        ["undo throttle", "end peak 970 lasted 6s: warn, throttle"]
    );
    assert!(!ladder.is_over_limit());
    assert_eq!(
        at(&mut ladder, 8000, 960),
        ["begin 2"],
        "from the beginning"
    );
    assert_eq!(at(&mut ladder, 9000, 960), ["warn"]);
}

#[test]
fn what_swings_around_a_mark_is_one_exceedance_and_what_falls_well_below_breaks_the_delay() {
    let mut ladder = Ladder::new(vec![step(900, 1000, Action::Warn)]);
    assert_eq!(at(&mut ladder, 0, 905), ["begin 1"]);
    assert_eq!(
        at(&mut ladder, 500, 860),
        [""; 0],
        "within the slack: it still holds"
    );
    assert_eq!(at(&mut ladder, 1000, 905), ["warn"]);
    let mut ladder = Ladder::new(vec![step(900, 1000, Action::Warn)]);
    assert_eq!(at(&mut ladder, 0, 905), ["begin 1"]);
    assert_eq!(at(&mut ladder, 500, 850), [""; 0]);
    assert_eq!(
        at(&mut ladder, 1000, 905),
        [""; 0],
        "counted anew from here"
    );
    assert_eq!(at(&mut ladder, 2000, 905), ["warn"]);
}

#[test]
fn a_later_step_that_is_due_first_passes_the_earlier_ones_over() {
    let mut ladder = Ladder::new(vec![
        step(900, 5000, throttle()),
        step(1000, 0, pause()),
        step(950, 60_000, stop()),
    ]);
    assert_eq!(at(&mut ladder, 0, 1000), ["begin 1", "pause"]);
    assert_eq!(
        at(&mut ladder, 6000, 960),
        [""; 0],
        "no step back to throttling"
    );
    assert_eq!(at(&mut ladder, 60_000, 960), ["stop"]);
    assert_eq!(
        at(&mut ladder, 60_100, 1000),
        [""; 0],
        "nothing after a stop"
    );
}

#[test]
fn a_checkpoint_has_its_time_and_then_it_goes_on() {
    let steps = || vec![step(900, 0, checkpoint(20_000)), step(900, 1000, stop())];
    let mut ladder = Ladder::new(steps());
    assert_eq!(at(&mut ladder, 0, 950), ["begin 1", "checkpoint"]);
    assert_eq!(at(&mut ladder, 19_999, 950), [""; 0]);
    assert_eq!(at(&mut ladder, 20_000, 950), ["stop"]);
    let mut ladder = Ladder::new(steps());
    at(&mut ladder, 0, 950);
    ladder.finished(Resource::Memory);
    assert_eq!(at(&mut ladder, 1000, 950), ["stop"], "it was done before");
    let mut ladder = Ladder::new(steps());
    at(&mut ladder, 0, 950);
    ladder.failed(Resource::Memory, 0, "no such program".to_owned());
    assert_eq!(at(&mut ladder, 1000, 950), ["stop"]);
    let end: Vec<String> = ladder.close(Millis(3000)).iter().map(word).collect();
    assert_eq!(
        end,
        ["end peak 950 lasted 3s: checkpoint (failed: no such program), stop"]
    );
}

#[test]
fn what_could_not_be_done_is_not_undone() {
    let mut ladder = Ladder::new(vec![step(900, 0, throttle())]);
    at(&mut ladder, 0, 950);
    ladder.failed(Resource::Memory, 0, "refused".to_owned());
    at(&mut ladder, 100, 0);
    assert_eq!(
        at(&mut ladder, 1100, 0),
        ["end peak 950 lasted 1s: throttle (failed: refused)"]
    );
}

fn at_limit(ladder: &mut Ladder, now: u64, used: u64, limit: u64) -> Vec<String> {
    let what = Use {
        used,
        limit,
        met: used >= limit,
        thrashing: false,
    };
    let reading = Reading::from([(Resource::Memory, what)]);
    let orders = ladder.read(Millis(now), &reading);
    orders.iter().map(word).collect()
}

#[test]
fn over_a_raise_the_exceedance_goes_on_and_only_the_pause_comes_again() {
    let steps = vec![
        step(800, 0, Action::Warn),
        step(900, 0, throttle()),
        step(1000, 0, pause()),
    ];
    let mut ladder = Ladder::new(steps);
    assert_eq!(
        at_limit(&mut ladder, 0, 1000, 1000),
        ["begin 1", "warn", "throttle", "pause"]
    );
    ladder.raised(Resource::Memory);
    assert!(ladder.is_over_limit());
    assert_eq!(at_limit(&mut ladder, 100, 1000, 1250), [""; 0]);
    assert_eq!(
        at_limit(&mut ladder, 200, 1250, 1250),
        ["pause"],
        "neither told nor throttled a second time"
    );
    ladder.raised(Resource::Memory);
    assert_eq!(at_limit(&mut ladder, 300, 1100, 1562), [""; 0]);
    assert_eq!(at_limit(&mut ladder, 1299, 1100, 1562), [""; 0]);
    assert_eq!(
        at_limit(&mut ladder, 1300, 1100, 1562),
        [
            "undo throttle",
            "end peak 1250 lasted 1s: warn, throttle, pause, pause"
        ],
        "nothing has held for a second"
    );
    assert!(!ladder.is_open(Resource::Memory));
    assert_eq!(
        at_limit(&mut ladder, 1400, 1562, 1562),
        ["begin 2", "warn", "throttle", "pause"]
    );
}

#[test]
fn who_is_paused_and_not_given_more_is_not_paused_again() {
    let mut ladder = Ladder::new(vec![step(1000, 0, pause()), step(1000, 500, stop())]);
    assert_eq!(at(&mut ladder, 0, 1000), ["begin 1", "pause"]);
    ladder.failed(Resource::Memory, 0, "the host has none".to_owned());
    assert_eq!(at(&mut ladder, 100, 1000), [""; 0]);
    assert_eq!(at(&mut ladder, 500, 1000), ["stop"]);
}

#[test]
fn the_end_names_the_limit_that_is_in_force_then() {
    let mut ladder = Ladder::new(vec![step(900, 0, pause())]);
    at_limit(&mut ladder, 0, 1000, 1000);
    ladder.raised(Resource::Memory);
    at_limit(&mut ladder, 100, 1000, 1250);
    at_limit(&mut ladder, 200, 500, 1500);
    let orders = ladder.close(Millis(300));
    assert!(
        matches!(orders[..], [Order::End { limit: 1500, .. }]),
        "{orders:?}"
    );
}

#[test]
fn a_raised_limit_goes_back_when_its_use_has_been_low_for_ten_seconds() {
    let mut back = GoesBack::new(
        Bytes(1000),
        &[step(800, 0, Action::Warn), step(950, 0, stop())],
    );
    let mut due = |now: u64, used: u64, calm: bool| back.is_due(Millis(now), Some(used), calm);
    assert!(!due(0, 750, true));
    assert!(!due(9_999, 750, true));
    assert!(
        !due(10_000, 751, true),
        "within the slack of the first mark"
    );
    assert!(!due(10_100, 750, true), "counted anew");
    assert!(!due(20_099, 100, true));
    assert!(due(20_100, 100, true));
    assert!(!due(20_200, 100, true), "where it was refused, later again");
    assert!(
        !due(30_000, 100, false),
        "not while anything is done about it"
    );
    assert!(!due(30_200, 100, true));
    assert!(due(40_200, 0, true));
    assert!(!back.is_due(Millis(60_000), None, true));
    assert!(
        !back.is_due(Millis(70_000), Some(0), true),
        "what is not known is not low"
    );
    // Without a mark, nine tenths are near.
    let mut back = GoesBack::new(Bytes(1000), &[step(1000, 0, pause())]);
    assert!(!back.is_due(Millis(0), Some(850), true));
    assert!(back.is_due(Millis(10_000), Some(850), true));
    assert!(!back.is_due(Millis(20_000), Some(851), true));
}

#[test]
fn what_could_not_be_read_neither_begins_nor_ends_anything() {
    let mut ladder = Ladder::new(vec![step(900, 1000, Action::Warn)]);
    at(&mut ladder, 0, 950);
    assert_eq!(ladder.read(Millis(5000), &Reading::new()), []);
    assert_eq!(at(&mut ladder, 5100, 950), ["warn"]);
}

#[test]
fn a_step_for_thrashing_is_due_only_while_it_thrashes_and_not_by_how_near_it_is() {
    let when = Condition {
        what: Resource::Memory,
        reach: Reach::Thrashing,
    };
    let mut ladder = Ladder::new(vec![Step {
        when,
        after: Millis(5000),
        action: stop(),
    }]);
    let mut look = |now: u64, thrashing: bool| -> Vec<String> {
        let what = Use {
            used: LIMIT - 1,
            limit: LIMIT,
            met: false,
            thrashing,
        };
        let reading = Reading::from([(Resource::Memory, what)]);
        ladder
            .read(Millis(now), &reading)
            .iter()
            .map(word)
            .collect()
    };
    assert_eq!(look(0, false), [""; 0]);
    assert_eq!(look(100, true), ["begin 1"]);
    assert_eq!(look(4000, true), [""; 0]);
    // One look without it: the time for the step begins anew.
    assert_eq!(look(4100, false), [""; 0]);
    assert_eq!(look(4200, true), [""; 0]);
    assert_eq!(look(9100, true), [""; 0]);
    assert_eq!(look(9200, true), ["stop"]);
}

#[test]
fn a_limit_that_is_met_is_told_without_a_step_but_a_cpu_quota_is_not() {
    let mut ladder = Ladder::new(Vec::new());
    let what = Use {
        used: 10,
        limit: 10,
        met: true,
        thrashing: false,
    };
    let reading = Reading::from([(Resource::Processes, what), (Resource::Cpu, what)]);
    let orders: Vec<String> = ladder.read(Millis(0), &reading).iter().map(word).collect();
    assert_eq!(orders, ["begin 1"]);
}

fn retry(times: u32, within: u64) -> Retry {
    Retry {
        times,
        first: Millis(1000),
        most: Millis(60_000),
        memory: Permille(250),
        within: Millis(within),
    }
}

fn death(host_left: u64) -> Death {
    Death {
        by_limit: true,
        more_helps: true,
        memory: Some(Bytes(400)),
        most: None,
        host_left: Some(Bytes(host_left)),
    }
}

#[test]
fn waits_double_with_jitter_and_memory_grows_within_what_the_host_has() {
    let mut course = Course::new(Some(retry(3, 600_000)), true);
    let again = |attempt, after, memory, less| Next::Again {
        attempt,
        of: 3,
        after: Millis(after),
        memory: Some(Bytes(memory)),
        less_than_wanted: less,
    };
    assert_eq!(
        course.after(Millis(0), death(1000), Permille(1000)),
        again(1, 1000, 500, false)
    );
    assert_eq!(
        course.after(Millis(5000), death(430), Permille(0)),
        again(2, 1000, 430, true)
    );
    let mut unknown = death(0);
    unknown.host_left = None;
    assert_eq!(
        course.after(Millis(9000), unknown, Permille(500)),
        again(3, 3000, 400, true)
    );
    assert_eq!(
        course.after(Millis(15_000), death(0), Permille(0)),
        Next::Fallback { failures: 4 }
    );
    // The fallback has as many tries of its own.
    assert!(matches!(
        course.after(Millis(16_000), death(0), Permille(0)),
        Next::Again { attempt: 1, .. }
    ));
    course.after(Millis(17_000), death(0), Permille(0));
    course.after(Millis(18_000), death(0), Permille(0));
    assert_eq!(
        course.after(Millis(19_000), death(0), Permille(0)),
        Next::GiveUp { failures: 4 }
    );
}

#[test]
fn a_retry_gets_no_more_than_its_ladder_lets_it_have_nor_what_would_not_help() {
    let memory = |death: Death| match Course::new(Some(retry(3, 600_000)), true).after(
        Millis(0),
        death,
        Permille(0),
    ) {
        Next::Again {
            memory,
            less_than_wanted,
            ..
        } => (memory.expect("it has one").0, less_than_wanted),
        other => panic!("{other:?}"),
    };
    assert_eq!(memory(death(1000)), (500, false));
    let most = |bytes| Death {
        most: Some(Bytes(bytes)),
        ..death(1000)
    };
    assert_eq!(memory(most(450)), (450, false));
    assert_eq!(
        memory(most(300)),
        (400, false),
        "never less than it was started with"
    );
    let in_vain = Death {
        more_helps: false,
        ..death(1000)
    };
    assert_eq!(
        memory(in_vain),
        (400, false),
        "its own limit was not in the way"
    );
    assert_eq!(
        memory(death(400)),
        (400, true),
        "all that the host has is what it had"
    );
}

#[test]
fn an_end_that_no_limit_caused_is_an_end() {
    let mut course = Course::new(Some(retry(3, 600_000)), true);
    let itself = Death {
        by_limit: false,
        ..death(1000)
    };
    assert_eq!(course.after(Millis(0), itself, Permille(0)), Next::Over);
    assert_eq!(
        Course::new(None, false).after(Millis(0), death(0), Permille(0)),
        Next::GiveUp { failures: 1 }
    );
    assert_eq!(
        Course::new(None, true).after(Millis(0), death(0), Permille(0)),
        Next::Fallback { failures: 1 }
    );
}

fn any_step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![
        Just(Action::Warn),
        Just(throttle()),
        Just(pause()),
        (0_u64..3000).prop_map(checkpoint),
    ];
    (prop_oneof![800_u32..=999, Just(1000)], 0_u64..5000, action)
        .prop_map(|(above, after, action)| step(above, after, action))
}

/// How far the clock moves, and what is read then.
fn any_path() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec(
        (
            0_u64..1500,
            prop_oneof![0_u64..1000, 850_u64..1000, Just(1000)],
        ),
        1..120,
    )
}

proptest! {
    #[test]
    fn steps_never_go_back_never_act_early_and_every_action_belongs_to_an_open_exceedance(
        steps in prop::collection::vec(any_step(), 0..6), path in any_path()
    ) {
        let mut ladder = Ladder::new(steps.clone());
        let mut now = 0;
        // Since when each condition could hold at all, at the earliest: with the slack, and a met limit for a second.
        let mut since: Vec<Option<u64>> = vec![None; steps.len()];
        let mut met: Option<u64> = None;
        let mut open: Option<(u64, Vec<usize>)> = None;
        let mut throttled = 0_i32;
        for (wait, used) in path {
            now += wait;
            met = if used >= LIMIT { Some(now) } else { met.filter(|at| now - at < 1000) };
            for (since, step) in since.iter_mut().zip(&steps) {
                let can = match step.when.reach {
                    Reach::Above(part) => used > u64::from(part.0 - HYSTERESIS.0),
                    Reach::Met => met.is_some(),
                    Reach::Thrashing => false,
                };
                *since = can.then(|| since.unwrap_or(now));
            }
            for order in ladder.read(Millis(now), &memory(used)) {
                match order {
                    Order::Begin { exceedance, .. } => {
                        prop_assert!(open.is_none());
                        open = Some((exceedance, Vec::new()));
                    }
                    Order::Act { exceedance, step, action, .. } => {
                        let (number, taken) = open.as_mut().expect("open");
                        prop_assert_eq!(*number, exceedance);
                        prop_assert!(taken.last().is_none_or(|last| *last < step));
                        taken.push(step);
                        prop_assert!(now - since[step].expect("it holds") >= steps[step].after.0);
                        throttled += i32::from(action.name() == "throttle");
                    }
                    Order::Undo { .. } => throttled -= 1,
                    Order::End { exceedance, done, .. } => {
                        let (number, taken) = open.take().expect("open");
                        prop_assert_eq!(number, exceedance);
                        let told: Vec<usize> = done.iter().map(|d| d.step).collect();
                        prop_assert_eq!(told, taken);
                        prop_assert_eq!(throttled, 0, "all is undone");
                    }
                }
            }
        }
    }

    #[test]
    fn a_stop_is_always_reached_when_its_condition_persists(
        mut steps in prop::collection::vec(any_step(), 0..6), after in 0_u64..10_000, fail in any::<bool>()
    ) {
        steps.push(step(900, after, stop()));
        let mut ladder = Ladder::new(steps.clone());
        let longest = steps.iter().map(|s| s.after.0).sum::<u64>() + 3000 * steps.len() as u64;
        let mut stopped = false;
        for tick in 0..=(longest / 100 + 1) {
            for order in ladder.read(Millis(tick * 100), &memory(950)) {
                match order {
                    Order::Act { action: Action::Stop { .. }, .. } => stopped = true,
                    Order::Act { step, resource, .. } if fail => ladder.failed(resource, step, "no".to_owned()),
                    _ => {}
                }
            }
        }
        prop_assert!(stopped);
    }

    #[test]
    fn the_breaker_never_starts_it_more_often_than_so_in_any_window(
        times in 0_u32..5, within in 1_000_u64..100_000, lives in prop::collection::vec((0_u64..30_000, 0_u32..=1000), 1..60)
    ) {
        let mut course = Course::new(Some(retry(times, within)), false);
        let (mut now, mut starts, mut memory) = (0_u64, Vec::new(), 400);
        for (life, jitter) in lives {
            now += life;
            let mut death = death(50);
            death.memory = Some(Bytes(memory));
            match course.after(Millis(now), death, Permille(jitter)) {
                Next::Again { after, memory: more, .. } => {
                    prop_assert!(after.0 <= 60_000);
                    let more = more.expect("it has one").0;
                    prop_assert!((memory..=memory + 50).contains(&more));
                    memory = more;
                    now += after.0;
                    starts.push(now);
                }
                Next::GiveUp { failures } => {
                    prop_assert!(failures >= times);
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        for start in &starts {
            let window = starts.iter().filter(|s| **s >= *start && **s - *start < within).count();
            prop_assert!(window <= times as usize, "{starts:?}");
        }
    }
}

fn event(what: What) -> Event {
    Event {
        time: Timestamp(1_790_000_000_123),
        workload: "chat".to_owned(),
        run: 1,
        state: State::OverLimit,
        what,
    }
}

#[test]
fn an_event_is_one_line_of_json_and_the_same_in_words() {
    let acted = event(What::Acted {
        exceedance: 3,
        step: 2,
        resource: Resource::Memory,
        action: "throttle".to_owned(),
        used: 970 << 20,
        limit: 1 << 30,
        detail: "CPU quota 0.5".to_owned(),
        outcome: Outcome::Done,
    });
    assert_eq!(
        acted.line().expect("JSON"),
        "{\"time\":\"2026-09-21T14:13:20.123Z\",\"workload\":\"chat\",\"run\":1,\"state\":\"over_limit\",\
         \"event\":\"acted\",\"exceedance\":3,\"step\":2,\"resource\":\"memory\",\"action\":\"throttle\",\
         \"used\":1017118720,\"limit\":1073741824,\"detail\":\"CPU quota 0.5\",\"outcome\":\"done\"}\n"
    );
    assert_eq!(acted.words().as_deref(), Some("throttle: CPU quota 0.5"));
    let back: Event = serde_json::from_str(&acted.line().expect("JSON")).expect("the same");
    assert_eq!(back, acted);
    let gone = event(What::Retrying {
        attempt: 1,
        of: 3,
        after_ms: 1500,
        memory: Some(Bytes(1 << 30)),
        less_than_wanted: true,
    });
    assert_eq!(
        gone.words().as_deref(),
        Some(
            "starting it again in 1s (retry 1 of 3), with 1 GiB of memory: the host has no more to give"
        )
    );
    assert_eq!(
        event(What::GaveUp { failures: 4 }).words().as_deref(),
        Some("ended at a limit 4 times: giving up")
    );
}
