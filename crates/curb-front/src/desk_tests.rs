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
