use proptest::prelude::*;

use super::*;

fn desk(in_flight: usize, queue: usize, per_client: usize) -> Desk<char> {
    let room = Room {
        in_flight,
        queue,
        per_client,
    };
    Desk::new(room, false)
}

fn arrive(desk: &mut Desk<char>, client: char) -> Place {
    let place = desk.enter(client).expect("a place");
    desk.wait(place, false);
    place
}

fn started(desk: &mut Desk<char>) -> Vec<Place> {
    std::iter::from_fn(|| desk.call_next())
        .map(|turn| match turn {
            Turn::Run(place) | Turn::Alone(place) => place,
        })
        .collect()
}

#[test]
fn no_more_run_than_may_and_no_more_are_here_than_have_room() {
    let mut desk = desk(2, 1, 9);
    let first: Vec<Place> = "abc".chars().map(|c| arrive(&mut desk, c)).collect();
    assert_eq!(started(&mut desk), first[..2]);
    assert_eq!(desk.enter('d'), Err(Full::Queue));
    desk.leave(first[0]);
    assert_eq!(started(&mut desk), first[2..]);
    assert_eq!((desk.running(), desk.waiting(), desk.present()), (2, 0, 2));
}

#[test]
fn a_client_has_its_share_of_places_whether_they_run_or_wait() {
    let mut desk = desk(1, 9, 2);
    let first = arrive(&mut desk, 'a');
    arrive(&mut desk, 'a');
    assert_eq!(desk.enter('a'), Err(Full::Client));
    assert!(desk.enter('b').is_ok());
    desk.leave(first);
    assert!(desk.enter('a').is_ok());
}

#[test]
fn one_who_asks_for_much_waits_behind_its_own_requests_and_not_in_front_of_another_s() {
    let mut desk = desk(1, 9, 9);
    let of_a: Vec<Place> = (0..3).map(|_| arrive(&mut desk, 'a')).collect();
    let of_b: Vec<Place> = (0..2).map(|_| arrive(&mut desk, 'b')).collect();
    let mut order = Vec::new();
    while let Some(Turn::Run(place)) = desk.call_next() {
        order.push(place);
        desk.leave(place);
    }
    assert_eq!(order, [of_a[0], of_b[0], of_a[1], of_b[1], of_a[2]]);
}

#[test]
fn who_left_the_queue_is_not_called_and_leaves_its_place_once() {
    let mut desk = desk(1, 9, 9);
    let (first, gone, next) = (
        arrive(&mut desk, 'a'),
        arrive(&mut desk, 'b'),
        arrive(&mut desk, 'c'),
    );
    assert_eq!(started(&mut desk), [first]);
    desk.leave(gone);
    desk.leave(gone);
    desk.leave(first);
    assert_eq!(started(&mut desk), [next]);
    desk.leave(next);
    assert_eq!((desk.present(), desk.clients(), desk.running()), (0, 0, 0));
}

#[test]
fn who_is_to_run_alone_begins_when_nobody_runs_is_not_overtaken_and_has_nobody_beside_it() {
    let mut desk = desk(4, 9, 9);
    let before = arrive(&mut desk, 'a');
    assert_eq!(started(&mut desk), [before]);
    let suspect = desk.enter('b').expect("a place");
    desk.wait(suspect, true);
    let after = arrive(&mut desk, 'c');
    assert_eq!(started(&mut desk), []);
    desk.leave(before);
    assert_eq!(started(&mut desk), [suspect]);
    desk.leave(suspect);
    assert_eq!(started(&mut desk), [after]);
}

#[test]
fn one_who_runs_already_may_become_alone_and_one_at_a_time() {
    let mut desk = desk(3, 9, 9);
    let [one, two, three] = ['a', 'b', 'c'].map(|c| arrive(&mut desk, c));
    started(&mut desk);
    assert_eq!(desk.seclude(one), Solitude::Later);
    assert_eq!(desk.seclude(two), Solitude::Taken);
    arrive(&mut desk, 'd');
    desk.leave(three);
    assert_eq!(desk.call_next(), None);
    desk.leave(two);
    assert_eq!(desk.call_next(), Some(Turn::Alone(one)));
    assert_eq!(desk.call_next(), None);
    desk.leave(one);
    assert_eq!(started(&mut desk).len(), 1);
}

#[test]
fn nobody_begins_while_it_is_closed_and_who_waits_keeps_its_place() {
    let mut desk = desk(2, 9, 9);
    let waits = arrive(&mut desk, 'a');
    desk.close(true);
    assert_eq!(started(&mut desk), []);
    assert_eq!(desk.all_waiting(), [waits]);
    desk.close(false);
    assert_eq!(started(&mut desk), [waits]);
}

#[test]
fn who_has_left_cannot_keep_others_waiting() {
    let mut desk = desk(2, 9, 9);
    let gone = arrive(&mut desk, 'a');
    started(&mut desk);
    desk.leave(gone);
    assert_eq!(desk.seclude(gone), Solitude::Taken);
    let next = arrive(&mut desk, 'b');
    assert_eq!(started(&mut desk), [next]);
}

/// One thing that may happen at a desk; the numbers choose among those who are there.
#[derive(Clone, Debug)]
enum Happens {
    Arrives { client: char, alone: bool },
    Leaves(usize),
    Secludes(usize),
    Closes(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => ((0..4_u8), prop::bool::weighted(0.2))
            .prop_map(|(n, alone)| Happens::Arrives { client: char::from(b'a' + n), alone }),
        4 => (0..20_usize).prop_map(Happens::Leaves),
        1 => (0..20_usize).prop_map(Happens::Secludes),
        1 => any::<bool>().prop_map(Happens::Closes),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_bounds_hold_who_is_alone_is_alone_and_all_are_served_in_the_end(
        story in prop::collection::vec(happens(), 0..200),
    ) {
        let (in_flight, queue, per_client) = (3, 5, 4);
        let mut desk = desk(in_flight, queue, per_client);
        // By client, in the order in which they came; and those who run, with whether they are alone.
        let mut waiting: Vec<(char, Place, bool)> = Vec::new();
        let mut running: Vec<(char, Place, bool)> = Vec::new();
        let mut wants: Option<Place> = None;
        for what in story {
            match what {
                Happens::Arrives { client, alone } => {
                    let here = waiting.len() + running.len();
                    let of_client = waiting.iter().chain(&running).filter(|w| w.0 == client).count();
                    match desk.enter(client) {
                        Ok(place) => {
                            prop_assert!(here < in_flight + queue && of_client < per_client);
                            desk.wait(place, alone);
                            waiting.push((client, place, alone));
                        }
                        Err(Full::Client) => prop_assert_eq!(of_client, per_client),
                        Err(Full::Queue) => prop_assert_eq!(here, in_flight + queue),
                    }
                }
                Happens::Leaves(n) => {
                    let all: Vec<Place> = running.iter().chain(&waiting).map(|w| w.1).collect();
                    if let Some(place) = all.get(n) {
                        desk.leave(*place);
                        waiting.retain(|w| w.1 != *place);
                        running.retain(|w| w.1 != *place);
                        wants = wants.filter(|w| w != place);
                    }
                }
                Happens::Secludes(n) => {
                    if let Some(one) = running.get(n).copied() {
                        match desk.seclude(one.1) {
                            Solitude::Now => {
                                prop_assert_eq!(running.len(), 1);
                                running[0].2 = true;
                            }
                            Solitude::Later => wants = Some(one.1),
                            Solitude::Taken => {
                                let other = running.iter().any(|w| w.2) || wants.is_some();
                                prop_assert!(other);
                            }
                        }
                    }
                }
                Happens::Closes(closed) => desk.close(closed),
            }
            while let Some(turn) = desk.call_next() {
                match turn {
                    Turn::Run(place) => {
                        let at = waiting.iter().position(|w| w.1 == place).expect("it waits");
                        let one = waiting.remove(at);
                        let before = waiting[..at].iter().any(|w| w.0 == one.0);
                        prop_assert!(!before, "first in, first out within a client");
                        running.push(one);
                    }
                    Turn::Alone(place) => {
                        prop_assert_eq!(wants.take(), Some(place));
                        let one = running.iter_mut().find(|w| w.1 == place);
                        one.expect("it runs").2 = true;
                    }
                }
                prop_assert!(running.len() <= in_flight);
                let alone = running.iter().any(|w| w.2);
                prop_assert!(!alone || running.len() == 1);
            }
            prop_assert_eq!(desk.running(), running.len());
            prop_assert_eq!(desk.waiting(), waiting.len());
        }
        desk.close(false);
        let mut steps = 0;
        while desk.present() > 0 {
            while let Some(turn) = desk.call_next() {
                if let Turn::Run(place) = turn {
                    running.push(('x', place, false));
                }
            }
            let (_, place, _) = running.pop().expect("somebody runs as long as somebody is here");
            desk.leave(place);
            steps += 1;
            prop_assert!(steps < 100);
        }
        prop_assert_eq!(desk.clients(), 0);
    }
}
