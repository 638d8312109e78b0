//! Each accepted field lands in the model.

use curb_core::amount::Amount;
use curb_core::policy::*;
use curb_core::resource::{Resource, Resources};
use curb_core::time::{Millis, Timestamp};

use crate::accepted;

/// A check of what a text became.
type Check = fn(&Policy) -> bool;

fn whole(r: Resource, n: u64) -> (Resource, Amount) {
    (r, Amount::whole(n))
}

fn h100() -> Resource {
    Resource::GpuModel("H100".into())
}

fn one_of(names: &[&str]) -> Option<Match> {
    Some(Match::OneOf(
        names.iter().map(|n| (*n).to_owned()).collect(),
    ))
}

/// Each fragment is put behind `version: 1`; the check must hold with it and must not hold without.
fn each_lands(cases: &[(&str, Check)], frame: impl Fn(&str) -> String) {
    let without = accepted(&frame(""));
    for (text, check) in cases {
        let with = accepted(&frame(text));
        assert!(check(&with), "{text}: {with:#?}");
        assert!(
            !check(&without),
            "{text}: the check holds without the field"
        );
    }
}

const FILE_FIELDS: &[(&str, Check)] = &[
    (
        "capacity: {cpu: 64, memory: 512GiB, \"gpu:H100\": 8}",
        |p| {
            let all: Resources = [
                whole(Resource::Cpu, 64),
                (Resource::Memory, Amount(512 << 30)),
                whole(Resource::Gpu, 8),
                whole(h100(), 8),
            ]
            .into_iter()
            .collect();
            p.capacity == Capacity::Fixed(all)
        },
    ),
    (
        "capacity: {by_cluster: {main: {cpu: 4}, spare: {licence: 0.5}}}",
        |p| {
            let Capacity::PerCluster(by) = &p.capacity else {
                return false;
            };
            by["main"].get(&Resource::Cpu) == Amount::whole(4)
                && by["spare"].get(&Resource::Custom("licence".into())) == Amount(500)
        },
    ),
    ("timezone: europe/berlin", |p| p.timezone == "Europe/Berlin"),
    ("mode: observe", |p| p.mode == Mode::Audit),
    ("refusal: job", |p| p.refusal == RefusalStyle::Job),
    ("when_ray_is_down: refuse", |p| {
        p.when_ray_is_down == WhenDown::Refuse
    }),
    ("orgs: {research: {parent: acme, weight: 2}}", |p| {
        p.orgs.get("research")
            == Some(&Org {
                parent: Some("acme".into()),
                weight: 2,
            })
    }),
    ("orgs: {research: {parent: acme}}", |p| {
        p.orgs.get("acme")
            == Some(&Org {
                parent: None,
                weight: 1,
            })
    }),
    (
        "teams: {vision: {org: research, members: [ana, \"1001\"], weight: 3}}",
        |p| {
            p.teams.get("vision").is_some_and(|t| {
                t.org.as_deref() == Some("research")
                    && t.members.contains("ana")
                    && t.members.contains("1001")
                    && t.weight == 3
            })
        },
    ),
    ("teams: {vision: {org: research}}", |p| {
        p.orgs.contains_key("research")
    }),
    ("users: {ana: {weight: 4}}", |p| {
        p.users.get("ana").is_some_and(|u| u.weight == 4)
    }),
    (
        "users: {ana: {default_team: vision}}\nteams: {vision: {members: [ana]}}",
        |p| {
            p.users
                .get("ana")
                .is_some_and(|u| u.default_team.as_deref() == Some("vision"))
        },
    ),
    ("users: {ana: {labels: {grade: senior}}}", |p| {
        p.users
            .get("ana")
            .is_some_and(|u| u.labels["grade"] == "senior")
    }),
    (
        "job_types: {t: {default_request: {cpu: 500m, duration: 90m}}}",
        |p| {
            p.job_types.get("t").is_some_and(|t| {
                t.default_request.resources.get(&Resource::Cpu) == Some(&Amount(500))
                    && t.default_request.duration == Some(Millis(5_400_000))
            })
        },
    ),
    ("job_types: {t: {allowed: {user: [ana, li]}}}", |p| {
        p.job_types.get("t").is_some_and(|t| {
            t.allowed
                == [Selector {
                    user: one_of(&["ana", "li"]),
                    ..Selector::default()
                }]
        })
    }),
    (
        "job_types: {t: {allowed: [{user: ana}, {label: {grade: senior}}]}}",
        |p| p.job_types.get("t").is_some_and(|t| t.allowed.len() == 2),
    ),
    ("job_types: {t: {priority: -5}}", |p| {
        p.job_types
            .get("t")
            .is_some_and(|t| t.priority == -5 && t.max_priority == -5)
    }),
    ("job_types: {t: {max_priority: 7}}", |p| {
        p.job_types
            .get("t")
            .is_some_and(|t| t.priority == 0 && t.max_priority == 7)
    }),
    ("default_job_type: t\njob_types: {t: {}}", |p| {
        p.default_job_type.as_deref() == Some("t")
    }),
    ("default_request: {gpu: 1, duration: 2h}", |p| {
        p.default_request.resources.get(&Resource::Gpu) == Some(&Amount::whole(1))
            && p.default_request.duration == Some(Millis(7_200_000))
    }),
    ("job_types: {t: {allowed: everybody}}", |p| {
        p.job_types.get("t").is_some_and(|t| t.allowed.is_empty())
    }),
    (
        "clusters: {main: {allowed: [everybody, {user: ana}]}}",
        |p| p.clusters.get("main").is_some_and(|c| c.allowed.is_empty()),
    ),
    ("clusters: {main: {allowed: {user: \"*\"}}}", |p| {
        p.clusters
            .get("main")
            .is_some_and(|c| c.allowed[0].user == Some(Match::Each))
    }),
    ("queue: {half_life: 1d}", |p| {
        p.queue.half_life == Millis::DAY
    }),
    ("queue: {pass_bound: 10m}", |p| {
        p.queue.pass_bound == Millis(600_000)
    }),
    ("visibility: {jobs: team}", |p| {
        p.visibility.jobs == SeeJobs::Team
    }),
    ("visibility: {jobs: all}", |p| {
        p.visibility.jobs == SeeJobs::All
    }),
    ("visibility: {holders: names}", |p| {
        p.visibility.holders == SeeHolders::Names
    }),
    ("visibility: {holders: counts}", |p| {
        p.visibility.holders == SeeHolders::Counts
    }),
    (
        "quotas: [{name: a, limits: {cpu: 1}}, {name: b, limits: {cpu: 1}}]",
        |p| p.quotas.iter().map(|q| q.name.as_str()).eq(["a", "b"]),
    ),
];

const QUOTA_FIELDS: &[(&str, Check)] = &[
    ("reason: >\n      One user\n      does not take all", |p| {
        p.quotas[0].reason.as_deref() == Some("One user does not take all")
    }),
    ("for: {user: ana}", |p| {
        p.quotas[0].selector.user == one_of(&["ana"])
    }),
    ("for: {user: \"*\"}", |p| {
        p.quotas[0].selector.user == Some(Match::Each)
    }),
    ("for: {team: [vision, serving]}", |p| {
        p.quotas[0].selector.team == one_of(&["serving", "vision"])
    }),
    ("for: {org: research}", |p| {
        p.quotas[0].selector.org == one_of(&["research"])
    }),
    ("for: {job_type: training}", |p| {
        p.quotas[0].selector.job_type == one_of(&["training"])
    }),
    ("for: {cluster: '*'}", |p| {
        p.quotas[0].selector.cluster == Some(Match::Each)
    }),
    ("for: {label: {grade: \"*\"}}", |p| {
        p.quotas[0].selector.labels.get("grade") == Some(&Match::Each)
    }),
    ("limits: {cpu: 2, gpu:H100: 4, memory: 1e9}", |p| {
        let limits = &p.quotas[0].limits.resources;
        limits.get(&Resource::Cpu) == Some(&Amount::whole(2))
            && limits.get(&h100()) == Some(&Amount::whole(4))
            && limits.get(&Resource::Memory) == Some(&Amount(1_000_000_000))
    }),
    ("limits: {gpu: 0}", |p| {
        p.quotas[0].limits.resources.get(&Resource::Gpu) == Some(&Amount(0))
    }),
    ("limits: {jobs: 0}", |p| p.quotas[0].limits.jobs == Some(0)),
    ("limits: {queued: 50}", |p| {
        p.quotas[0].limits.queued == Some(50)
    }),
    ("limits: {gpu: 2}\n    borrow: {gpu: 0.5}", |p| {
        p.quotas[0].borrow.get(&Resource::Gpu) == Amount(500)
    }),
    ("guarantee: {gpu: 1}", |p| {
        p.quotas[0].guarantee.get(&Resource::Gpu) == Amount::whole(1)
    }),
    ("reclaim: {stop_after: 10m}", |p| {
        p.quotas[0].reclaim == Reclaim::StopAfter(Millis(600_000))
    }),
    ("per_job: {cpu: 0}", |p| {
        p.quotas[0].per_job.resources.get(&Resource::Cpu) == Some(&Amount(0))
    }),
    ("per_job: {duration: 24h}", |p| {
        p.quotas[0].per_job.duration == Some(Millis::DAY)
    }),
    ("submit_rate: 30/min", |p| {
        p.quotas[0].submit_rate
            == Some(Rate {
                count: 30,
                per: Millis::MINUTE,
            })
    }),
    (
        "budget: {gpu_hours: 500, memory_gib_hours: 0.5, per: month}",
        |p| {
            p.quotas[0].budgets
                == [
                    Budget {
                        resource: Resource::Gpu,
                        amount: 500 * 1000 * 3_600_000,
                        per: Period::Month,
                        without_duration: WithoutDuration::Meter,
                    },
                    Budget {
                        resource: Resource::Memory,
                        amount: (1 << 29) * 3_600_000,
                        per: Period::Month,
                        without_duration: WithoutDuration::Meter,
                    },
                ]
        },
    ),
    (
        "budget: [{gpu:H100_hours: 0, per: day}, {licence_hours: 1, per: rolling 30d}]",
        |p| {
            p.quotas[0].budgets
                == [
                    Budget {
                        resource: h100(),
                        amount: 0,
                        per: Period::Day,
                        without_duration: WithoutDuration::Meter,
                    },
                    Budget {
                        resource: Resource::Custom("licence".into()),
                        amount: 3_600_000_000,
                        per: Period::Rolling(Millis(30 * Millis::DAY.0)),
                        without_duration: WithoutDuration::Meter,
                    },
                ]
        },
    ),
    (
        "budget: {cpu_hours: 1, per: week, without_duration: refuse}",
        |p| {
            let refuses = |b: &Budget| b.without_duration == WithoutDuration::Refuse;
            !p.quotas[0].budgets.is_empty() && p.quotas[0].budgets.iter().all(refuses)
        },
    ),
    ("budget: {cpu_hours: 1, per: week}", |p| {
        p.quotas[0].budgets.iter().any(|b| b.per == Period::Week)
    }),
    ("when: {days: [mon-fri, sun]}", |p| {
        p.quotas[0].when
            == Some(Window {
                days: [true, true, true, true, true, false, true],
                from: 0,
                to: 1440,
                tz: "Asia/Tokyo".into(),
            })
    }),
    ("when: {hours: 22:00-06:00, tz: UTC}", |p| {
        p.quotas[0].when
            == Some(Window {
                days: [true; 7],
                from: 1320,
                to: 360,
                tz: "UTC".into(),
            })
    }),
    ("valid: {from: 2027-01-01}", |p| {
        // Midnight in Tokyo is 15:00 of the day before in UTC.
        p.quotas[0].valid.from == Some(Timestamp(1_798_729_200_000))
    }),
    ("valid: {until: 2027-06-30T00:00:00.5+02:00}", |p| {
        p.quotas[0].valid.until == Some(Timestamp(1_814_306_400_500))
    }),
    ("above: reject", |p| p.quotas[0].above == Above::Reject),
    ("mode: audit", |p| p.quotas[0].mode == Mode::Audit),
    ("alert_at: [80%, 90%]", |p| p.quotas[0].alert_at == [80, 90]),
];

fn file_with(fragment: &str) -> String {
    format!("version: 1\n{fragment}\n")
}

fn quota_with(fragment: &str) -> String {
    format!(
        "version: 1\ntimezone: Asia/Tokyo\norgs: {{research: {{}}}}\n\
         teams: {{vision: {{}}, serving: {{}}}}\njob_types: {{training: {{}}}}\n\
         quotas:\n  - name: a\n    {fragment}\n"
    )
}

/// All texts of the tables: each is accepted.
pub fn accepted_texts() -> Vec<String> {
    let files = FILE_FIELDS.iter().map(|(fragment, _)| file_with(fragment));
    let quotas = QUOTA_FIELDS
        .iter()
        .map(|(fragment, _)| quota_with(fragment));
    files.chain(quotas).collect()
}

#[test]
fn each_field_of_the_file_lands_in_the_policy() {
    each_lands(FILE_FIELDS, file_with);
}

#[test]
fn each_field_of_a_quota_lands_in_the_quota() {
    each_lands(QUOTA_FIELDS, quota_with);
}

#[test]
fn defaults_are_what_the_reference_says() {
    let policy = accepted("version: 1\n");
    assert_eq!(
        policy,
        Policy {
            timezone: "UTC".into(),
            ..Policy::default()
        }
    );
    assert_eq!(policy.queue.half_life, Millis(7 * Millis::DAY.0));
    assert_eq!(policy.queue.pass_bound, Millis::HOUR);
    let quota = &accepted("version: 1\nquotas: [{name: a}]\n").quotas[0];
    assert_eq!(
        (quota.above, quota.mode, quota.reclaim),
        (Above::Queue, Mode::Enforce, Reclaim::Drain)
    );
    assert!(quota.selector.is_everybody());
    assert_eq!(
        accepted("version: 1\nquotas: [{name: a, for: everybody}]\n").quotas[0],
        *quota
    );
}

#[test]
fn a_file_may_have_a_byte_order_mark_windows_line_ends_and_many_comments() {
    let comments = "# said at length\r\n".repeat(300);
    let text = format!("\u{feff}{comments}version: 1\r\nmode: observe # for now\r\n");
    assert_eq!(accepted(&text).mode, Mode::Audit);
    let wrong = text.replace("observe", "obsrve");
    let error = &Policy::parse("p", &wrong).expect_err("a slip")[0];
    assert_eq!((error.line, error.column), (302, 7));
}

#[test]
fn the_sum_tells_one_text_from_another() {
    let sum = |text: &str| {
        Policy::parse("p", text)
            .map(|p| p.sha256)
            .unwrap_or_default()
    };
    assert_eq!(
        sum("version: 1\n"),
        "09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847"
    );
    assert_ne!(sum("version: 1\n"), sum("version: 1"));
}

#[test]
fn guarantees_count_only_where_they_are_certain_to_meet() {
    let file = |a: &str, b: &str| {
        let quota =
            |name: &str, more: &str| format!("  - {{name: {name}, guarantee: {{cpu: 5}}{more}}}\n");
        format!(
            "version: 1\ncapacity: {{cpu: 8}}\nquotas:\n{}{}",
            quota("a", a),
            quota("b", b)
        )
    };
    let refused = |a: &str, b: &str| Policy::parse("p", &file(a, b)).is_err();
    assert!(refused("", ""));
    assert!(
        !refused(", mode: audit", ""),
        "an audit quota keeps nothing free"
    );
    assert!(
        !refused(", when: {days: [sat]}", ""),
        "a window may be closed"
    );
    assert!(
        !refused(
            ", valid: {until: 2027-01-01}",
            ", valid: {from: 2027-01-01}"
        ),
        "one ends as the other begins"
    );
    assert!(refused(
        ", valid: {until: 2027-01-02}",
        ", valid: {from: 2027-01-01}"
    ));
    assert!(Policy::parse("p", &file("", "").replace("{cpu: 8}", "discover")).is_ok());
    assert!(Policy::parse("p", &file("", "").replace("{cpu: 8}", "{gpu: 8}")).is_ok());
}
