use super::*;
use crate::host::{Bytes, MilliCpu};

mod files;

const GIB: Bytes = Bytes::GIB;

fn machine() -> Machine {
    Machine {
        memory: Some(Bytes(16 << 30)),
        swap: Some(Bytes(8 << 30)),
        cpus: Some(4),
    }
}

fn member(pid: u32) -> Member {
    Member {
        pid,
        name: "python".into(),
        user: Some(1000),
        resident: Some(Bytes(200 << 20)),
        resident_peak: Some(Bytes(400 << 20)),
        open_files: Some(10),
        most_open_files: Effective::held(1024, "ulimit -n"),
        oom_score: Some(0),
        address_space: Effective::Unlimited,
        data: Effective::Unlimited,
    }
}

/// Two processes that are limited as they should be.
fn fine() -> Subject {
    let mut subject = Subject::new(Kind::Processes, "chat");
    subject.members = vec![member(7), member(8)];
    subject.memory = Effective::held(GIB, "memory.max");
    subject.swap = Effective::held(Bytes(0), "memory.swap.max");
    subject.cpu = Effective::held(MilliCpu(2000), "cpu.max");
    subject.tasks = Effective::held(64, "pids.max");
    subject.oom_whole = Some(true);
    subject.oom_kills = Some(0);
    subject.used = Some(Bytes(500 << 20));
    subject
}

fn rules(subject: &Subject) -> Vec<Rule> {
    check(subject, &machine()).iter().map(|f| f.rule).collect()
}

#[test]
fn what_is_limited_as_it_should_be_is_not_complained_about() {
    assert_eq!(rules(&fine()), []);
}

#[test]
fn each_rule_alone_finds_what_it_is_for() {
    type Break = fn(&mut Subject);
    let cases: [(Break, Rule); 21] = [
        (|s| s.memory = Effective::Unlimited, Rule::MemoryUnlimited),
        (
            |s| s.memory = Effective::held(Bytes(16 << 30), "x"),
            Rule::MemoryOverMachine,
        ),
        (
            |s| {
                s.memory = Effective::Unlimited;
                s.memory_high = Effective::held(GIB, "memory.high");
            },
            Rule::MemoryHighAlone,
        ),
        (
            |s| {
                s.memory = Effective::Held(Held {
                    shared: true,
                    ..Held::new(GIB, "above")
                });
            },
            Rule::MemoryShared,
        ),
        (|s| s.memory = Effective::unknown("no"), Rule::LimitUnknown),
        (
            |s| s.used = Some(Bytes(GIB.0 / 10 * 9 + 10)),
            Rule::MemoryNear,
        ),
        (|s| s.swap = Effective::Unlimited, Rule::SwapUnlimited),
        (|s| s.swap = Effective::unknown("no"), Rule::LimitUnknown),
        (|s| s.cpu = Effective::Unlimited, Rule::CpuUnlimited),
        (|s| s.cpu = Effective::unknown("no"), Rule::LimitUnknown),
        (|s| s.tasks = Effective::Unlimited, Rule::ProcessesUnlimited),
        (|s| s.tasks = Effective::unknown("no"), Rule::LimitUnknown),
        (
            |s| s.members[1].address_space = Effective::held(GIB, "ulimit -v"),
            Rule::AddressSpaceLimited,
        ),
        (
            |s| s.members[0].data = Effective::held(GIB, "ulimit -d"),
            Rule::AddressSpaceLimited,
        ),
        (
            |s| s.members[1].open_files = Some(1000),
            Rule::OpenFilesNear,
        ),
        (|s| s.members[0].oom_score = Some(-1000), Rule::OomExempt),
        (|s| s.members[1].oom_score = Some(-1), Rule::OomProtected),
        (|s| s.oom_killer_off = Some(true), Rule::OomKillerOff),
        (|s| s.oom_whole = Some(false), Rule::OomPart),
        (|s| s.oom_kills = Some(1), Rule::OomKilled),
        (|s| s.gpus = Gpus::All, Rule::GpuAll),
    ];
    for (at, (spoil, rule)) in cases.into_iter().enumerate() {
        let mut subject = fine();
        spoil(&mut subject);
        assert_eq!(rules(&subject), [rule], "case {at}");
    }
}

#[test]
fn at_the_mark_itself_nothing_is_near() {
    let mut subject = fine();
    subject.used = Some(Bytes(GIB.0 * 9 / 10));
    subject.members[0].open_files = Some(921);
    assert_eq!(rules(&subject), []);
    subject.members[0].open_files = Some(922);
    assert_eq!(rules(&subject), [Rule::OpenFilesNear]);
}

#[test]
fn cpus_of_its_own_are_a_limit_and_a_machine_without_swap_gives_none() {
    let mut subject = fine();
    subject.cpu = Effective::Unlimited;
    subject.cpus = Some(3);
    assert_eq!(rules(&subject), []);
    subject.cpus = Some(4);
    assert_eq!(rules(&subject), [Rule::CpuUnlimited]);
    subject = fine();
    subject.swap = Effective::Unlimited;
    let none = Machine {
        swap: Some(Bytes(0)),
        ..machine()
    };
    assert_eq!(check(&subject, &none), []);
    // That it is not known is not that there is none.
    let unknown = Machine::default();
    assert_eq!(check(&subject, &unknown)[0].rule, Rule::SwapUnlimited);
}

#[test]
fn the_tightest_wins_and_what_is_not_known_stays_said() {
    let held = |n: u64, by: &str| Effective::held(Bytes(n), by);
    let unknown = || Effective::<Bytes>::unknown("closed");
    assert_eq!(held(2, "a").tighter(held(1, "b")), held(1, "b"));
    assert_eq!(held(1, "a").tighter(held(1, "b")), held(1, "a"));
    assert_eq!(held(1, "a").tighter(Effective::Unlimited), held(1, "a"));
    assert_eq!(Effective::Unlimited.tighter(unknown()), unknown());
    assert_eq!(
        Effective::<Bytes>::Unlimited.tighter(Effective::Unlimited),
        Effective::Unlimited
    );
    for both in [
        held(1, "a").tighter(unknown()),
        unknown().tighter(held(1, "a")),
    ] {
        let held = both.as_held().expect("held");
        assert_eq!(
            (held.value, held.unread.as_deref()),
            (Bytes(1), Some("closed"))
        );
    }
}

/// What mends `memory-unlimited` for each kind of place that it may run in.
#[test]
fn each_place_is_mended_by_its_own_tool() {
    let mended = |spoil: fn(&mut Subject)| {
        let mut subject = fine();
        subject.memory = Effective::Unlimited;
        spoil(&mut subject);
        let found = check(&subject, &machine()).remove(0);
        found.mend.expect("mended").text
    };
    // 800 MiB at the peak and a quarter more, in steps of 64 MiB.
    assert_eq!(mended(|_| {}), "curb run --memory 1024MiB -- COMMAND");
    let of = |runtime: &str| {
        Some(Container {
            runtime: runtime.into(),
            id: "ab".repeat(32),
        })
    };
    let mut subject = fine();
    subject.swap = Effective::Unlimited;
    subject.container = of("docker");
    let found = check(&subject, &machine()).remove(0).mend.expect("mended");
    assert_eq!(
        found.text,
        "docker update --memory 1073741824 --memory-swap 1073741824 abababababab"
    );
    assert_eq!(
        mended(|s| s.unit = Some("chat.service".into())),
        "systemctl set-property chat.service MemoryMax=1024M"
    );
    assert_eq!(
        mended(|s| {
            s.unit = Some("chat.service".into());
            s.group = Some("/user.slice/user-1000.slice/user@1000.service/chat.service".into());
        }),
        "systemctl --user set-property chat.service MemoryMax=1024M"
    );
}

#[test]
fn every_rule_has_an_id_of_its_own_that_finds_it_and_a_section_in_the_page() {
    let page = page();
    let mut ids = std::collections::BTreeSet::new();
    for rule in Rule::ALL {
        assert!(ids.insert(rule.id()), "{rule} twice");
        assert_eq!(Rule::by_id(rule.id()), Some(rule));
        assert!(page.contains(&format!("### {}\n", rule.id())));
        assert!(one_rule(rule).contains(rule.mend()));
    }
}
