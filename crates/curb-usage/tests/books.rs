//! The table of grants against a real journal.

use curb_core::amount::Amount;
use curb_core::ledger::{AfterNotStarted, Event, NewJob, Outcome};
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Subject};
use curb_core::time::{Millis, Timestamp};
use curb_core::usage::{By, Sum};
use curb_journal::{Entry, Journal, Reader};
use curb_usage::{Books, FILE, Query, Sums};
use tempfile::TempDir;

const HOUR: i64 = 3_600_000;

/// A data directory, and the events that go into its journal at hours of their own.
struct World {
    dir: TempDir,
    journal: Journal,
}

impl World {
    fn new() -> World {
        let dir = TempDir::new().expect("a directory");
        let journal = Journal::open(dir.path()).expect("a journal");
        World { dir, journal }
    }

    fn at(&mut self, hour: i64, event: &Event) {
        let payload = serde_json::to_vec(event).expect("JSON");
        let entry = Entry::new(hour * HOUR, event.kind(), payload);
        self.journal.append(&[entry]).expect("written");
    }

    fn books(&self) -> Books {
        let mut books = Books::open(self.dir.path()).expect("a table");
        self.catch_up(&mut books);
        books
    }

    fn catch_up(&self, books: &mut Books) -> u64 {
        let reader = Reader::open(self.dir.path()).expect("a reader");
        books.catch_up(&reader).expect("read")
    }

    /// ana's job of two CPUs waits from 0, runs from 1 to 4 with a second start at 2, and li's of one from 2 on.
    fn history(&mut self) {
        self.at(0, &queued("a", "ana", 2));
        self.at(1, &granted("a"));
        self.at(2, &requeued("a", 1));
        self.at(2, &granted("a"));
        self.at(2, &admitted("l", "li", 1));
        self.at(4, &ended("a"));
    }
}

fn id(text: &str) -> JobId {
    JobId::parse(text).expect("an id")
}

fn job(name: &str, user: &str, cpus: u64) -> Box<NewJob> {
    let mut request = Resources::none();
    request.set(Resource::Cpu, Amount(cpus * 1000));
    Box::new(NewJob {
        id: id(name),
        subject: Subject {
            user: user.into(),
            team: (user == "ana").then(|| "vision".into()),
            orgs: vec!["labs".into(), "acme".into()],
            ..Subject::default()
        },
        cluster: "main".into(),
        request,
        duration: None,
        priority: 0,
        spec: String::new(),
        stamp: String::new(),
        key: None,
    })
}

fn queued(name: &str, user: &str, cpus: u64) -> Event {
    Event::Queued {
        job: job(name, user, cpus),
        code: "concurrent-limit".into(),
        shadow: Vec::new(),
    }
}

fn admitted(name: &str, user: &str, cpus: u64) -> Event {
    Event::Admitted {
        job: job(name, user, cpus),
        borrowed: false,
        lent_by: Vec::new(),
        shadow: Vec::new(),
    }
}

fn granted(name: &str) -> Event {
    Event::Granted {
        id: id(name),
        borrowed: false,
        lent_by: Vec::new(),
    }
}

fn requeued(name: &str, attempt: u32) -> Event {
    Event::NotStarted {
        id: id(name),
        attempt,
        then: AfterNotStarted::Requeue,
        why: "a restart".into(),
    }
}

fn ended(name: &str) -> Event {
    Event::Ended {
        id: id(name),
        outcome: Outcome::Succeeded,
        message: String::new(),
        exit_code: None,
        ran: None,
    }
}

fn metered(name: &str, attempt: u32, cpu_hours: u64, hours: u64) -> Event {
    let hour = HOUR.unsigned_abs();
    Event::Metered {
        id: id(name),
        attempt,
        held: [(Resource::Cpu, u128::from(cpu_hours * 1000 * hour))].into(),
        watched: Millis(hours * hour),
    }
}

fn query(by: By, since: i64, until: i64) -> Query {
    Query {
        by,
        since: Timestamp(since * HOUR),
        until: Timestamp(until * HOUR),
        user: None,
        team: None,
        limit: 100,
    }
}

/// `name jobs granted/watched/held` in CPU-hours, for each name, and the total.
fn told(sums: &Sums) -> Vec<String> {
    let hours = |sum: &std::collections::BTreeMap<Resource, u128>| {
        let cpu = sum.get(&Resource::Cpu).copied().unwrap_or(0);
        cpu / 1000 / HOUR.unsigned_abs() as u128
    };
    let one = |name: &str, s: &Sum| {
        let (granted, watched, held) = (hours(&s.granted), hours(&s.watched), hours(&s.held));
        format!("{name} {} {granted}/{watched}/{held}", s.jobs)
    };
    let named = sums.named.iter();
    let mut all: Vec<String> = named
        .map(|n| one(n.name.as_deref().unwrap_or("-"), &n.sum))
        .collect();
    all.push(one("all", &sums.total));
    all
}

#[test]
fn each_is_charged_what_it_was_granted_for_as_long_as_it_had_it() {
    let mut w = World::new();
    w.history();
    let books = w.books();
    let of = |by| told(&books.sums(&query(by, 0, 6)).expect("sums"));
    assert_eq!(of(By::User), ["ana 1 6/0/0", "li 1 4/0/0", "all 2 10/0/0"]);
    assert_eq!(
        of(By::Team),
        ["vision 1 6/0/0", "- 1 4/0/0", "all 2 10/0/0"]
    );
    assert_eq!(
        of(By::Org),
        ["acme 2 10/0/0", "labs 2 10/0/0", "all 2 10/0/0"],
        "a unit has what is below it, and all is counted once"
    );
}

#[test]
fn a_job_that_was_started_twice_is_one_job() {
    let mut w = World::new();
    w.history();
    let sums = w.books().sums(&query(By::Job, 0, 6)).expect("sums");
    assert_eq!(told(&sums), ["a 1 6/0/0", "l 1 4/0/0", "all 2 10/0/0"]);
}

#[test]
fn a_span_takes_of_each_grant_what_lies_in_it() {
    let mut w = World::new();
    w.history();
    let books = w.books();
    let of = |since, until| told(&books.sums(&query(By::User, since, until)).expect("sums"));
    assert_eq!(of(2, 3), ["ana 1 2/0/0", "li 1 1/0/0", "all 2 3/0/0"]);
    assert_eq!(of(4, 5), ["li 1 1/0/0", "all 1 1/0/0"]);
    assert_eq!(of(0, 1), ["all 0 0/0/0"]);
}

#[test]
fn what_was_held_is_beside_what_was_granted_meanwhile_also_when_it_comes_after_the_end() {
    let mut w = World::new();
    w.at(0, &admitted("a", "ana", 2));
    w.at(2, &metered("a", 1, 1, 2));
    w.at(4, &ended("a"));
    w.at(4, &metered("a", 1, 1, 1));
    w.at(4, &metered("nosuch", 1, 9, 9));
    let books = w.books();
    let of = |since, until| told(&books.sums(&query(By::User, since, until)).expect("sums"));
    assert_eq!(of(0, 9), ["ana 1 8/6/2", "all 1 8/6/2"]);
    assert_eq!(of(0, 2), ["ana 1 4/3/1", "all 1 4/3/1"], "half of it");
}

#[test]
fn the_table_goes_on_where_it_was_and_is_made_anew_where_it_cannot() {
    let mut w = World::new();
    w.at(0, &queued("a", "ana", 2));
    w.at(1, &granted("a"));
    assert_eq!(w.catch_up(&mut w.books()), 2);
    w.at(4, &ended("a"));
    let expected = ["ana 1 6/0/0", "all 1 6/0/0"];
    let sums = |w: &World| told(&w.books().sums(&query(By::User, 0, 9)).expect("sums"));
    assert_eq!(
        sums(&w),
        expected,
        "the job that was open is known after a restart"
    );
    let file = w.dir.path().join(FILE);
    std::fs::write(
        &file,
        b"not a table of anything, and long enough to be looked at",
    )
    .expect("written");
    let _ = std::fs::remove_file(w.dir.path().join(format!("{FILE}-wal")));
    assert_eq!(sums(&w), expected, "a damaged file");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(sums(&w), expected, "none");
}

#[test]
fn a_journal_that_was_restored_from_a_copy_is_read_from_its_beginning() {
    let mut w = World::new();
    w.history();
    drop(w.books());
    let mut other = World::new();
    other.at(0, &admitted("k", "kim", 3));
    other.at(1, &ended("k"));
    for hour in 2..8 {
        other.at(hour, &granted("nosuch"));
    }
    let file = other.dir.path().join(FILE);
    std::fs::copy(w.dir.path().join(FILE), &file).expect("copied");
    let sums = other.books().sums(&query(By::User, 0, 9)).expect("sums");
    assert_eq!(told(&sums), ["kim 1 3/0/0", "all 1 3/0/0"]);
}

#[test]
fn who_and_how_many_can_be_narrowed() {
    let mut w = World::new();
    w.history();
    let books = w.books();
    let sums = |query: &Query| books.sums(query).expect("sums");
    let mut one = query(By::User, 0, 6);
    one.limit = 1;
    let sums_of_one = sums(&one);
    assert!(sums_of_one.more);
    assert_eq!(told(&sums_of_one), ["ana 1 6/0/0", "all 2 10/0/0"]);
    one.user = Some("li".into());
    assert_eq!(told(&sums(&one)), ["li 1 4/0/0", "all 1 4/0/0"]);
    let mut team = query(By::Job, 0, 6);
    team.team = Some("vision".into());
    assert_eq!(told(&sums(&team)), ["a 1 6/0/0", "all 1 6/0/0"]);
}

#[test]
fn the_table_is_for_its_owner_alone_as_the_journal_is() {
    use std::os::unix::fs::PermissionsExt;
    let mut w = World::new();
    w.history();
    drop(w.books());
    let mode = std::fs::metadata(w.dir.path().join(FILE)).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_record_that_is_not_understood_stops_the_reading_and_spoils_nothing_before_it() {
    let mut w = World::new();
    w.history();
    let mut books = w.books();
    w.at(5, &ended("l"));
    let strange = Entry::new(
        5 * HOUR,
        "from_the_future",
        b"{\"from_the_future\":{}}".to_vec(),
    );
    w.journal.append(&[strange]).expect("written");
    let reader = Reader::open(w.dir.path()).expect("a reader");
    for _ in 0..2 {
        let read = books.catch_up(&reader).map_err(|e| e.to_string());
        assert!(read.is_err_and(|e| e.contains("record 8 of the journal is not understood")));
        let sums = books.sums(&query(By::User, 0, 6)).expect("sums");
        assert_eq!(told(&sums), ["ana 1 6/0/0", "li 1 4/0/0", "all 2 10/0/0"]);
    }
}
