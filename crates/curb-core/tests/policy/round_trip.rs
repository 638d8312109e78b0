//! What is shown of a policy reads back as the same policy.

use std::collections::{BTreeMap, BTreeSet};

use curb_core::amount::{Amount, MAX_AMOUNT};
use curb_core::policy::*;
use curb_core::resource::{Resource, Resources};
use curb_core::time::{Millis, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::accepted;

const TEAMS: &[&str] = &["vision", "serving", "1e3", "null"];
const ORGS: &[&str] = &["research", "product", "acme", "true"];
const TYPES: &[&str] = &["training", "inference", "0x10"];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9][a-zA-Z0-9._@-]{0,12}",
        select(vec!["null", "1", "no", "1.5", "0o7", "ana@x.org"]).prop_map(str::to_owned)
    ]
}

fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        Just(Resource::Cpu),
        Just(Resource::Memory),
        Just(Resource::Gpu),
        Just(Resource::GpuModel("H100".into())),
        Just(Resource::GpuModel("A100:80-GB".into())),
        Just(Resource::Custom("licence".into())),
        Just(Resource::Custom("-x:".into())),
    ]
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![0u64..5000, (0u64..64).prop_map(|g| g << 30), 0..=MAX_AMOUNT].prop_map(Amount)
}

fn amounts() -> impl Strategy<Value = BTreeMap<Resource, Amount>> {
    btree_map(resource(), amount(), 0..4)
}

fn resources() -> impl Strategy<Value = Resources> {
    amounts().prop_map(|all| all.into_iter().collect())
}

fn span() -> impl Strategy<Value = Millis> {
    prop_oneof![
        1000u64..10_000_000,
        (1u64..500).prop_map(|h| h * 3_600_000),
        1000..=Millis::MAX.0
    ]
    .prop_map(Millis)
}

fn matching(names: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Match> {
    prop_oneof![
        Just(Match::Each),
        btree_set(names, 1..4).prop_map(Match::OneOf)
    ]
}

fn known(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(names).prop_map(str::to_owned)
}

fn selector() -> impl Strategy<Value = Selector> {
    let labels = btree_map(name(), matching(name()), 0..3);
    let (user, cluster) = (of(matching(name())), of(matching(name())));
    let (team, org) = (of(matching(known(TEAMS))), of(matching(known(ORGS))));
    (user, team, org, of(matching(known(TYPES))), cluster, labels).prop_map(
        |(user, team, org, job_type, cluster, labels)| Selector {
            user,
            team,
            org,
            job_type,
            cluster,
            labels,
        },
    )
}

fn allowed() -> impl Strategy<Value = Vec<Selector>> {
    vec(
        selector().prop_filter("names somebody", |s| !s.is_everybody()),
        0..3,
    )
}

fn request() -> impl Strategy<Value = Defaults> {
    (amounts(), of(span())).prop_map(|(resources, duration)| Defaults {
        resources,
        duration,
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    let per = prop_oneof![
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        (ROLLING.0.0..=ROLLING.1.0).prop_map(|ms| Period::Rolling(Millis(ms))),
    ];
    (resource(), 0u64..=MAX_AMOUNT, per, any::<bool>()).prop_map(
        |(resource, milli_hours, per, refuse)| {
            let unit: u128 = if resource == Resource::Memory {
                1 << 30
            } else {
                1000
            };
            // Thousandths of an hour, of 3,600,000 ms.
            Budget {
                resource,
                amount: u128::from(milli_hours) * unit * 3600,
                per,
                without_duration: if refuse {
                    WithoutDuration::Refuse
                } else {
                    WithoutDuration::Meter
                },
            }
        },
    )
}

fn window() -> impl Strategy<Value = Window> {
    let days = any::<[bool; 7]>().prop_filter("a day", |d| d.contains(&true));
    let tz = select(vec![
        "UTC",
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "Etc/GMT+5",
    ]);
    (days, 0u16..1440, 1u16..=1440, tz)
        .prop_filter("not empty", |(_, from, to, _)| from != to)
        .prop_map(|(days, from, to, tz)| Window {
            days,
            from,
            to,
            tz: tz.into(),
        })
}

fn validity() -> impl Strategy<Value = Validity> {
    (
        of(0i64..4_000_000_000_000),
        of(4_000_000_000_000i64..200_000_000_000_000),
    )
        .prop_map(|(from, until)| Validity {
            from: from.map(Timestamp),
            until: until.map(Timestamp),
        })
}

fn limits() -> impl Strategy<Value = Limits> {
    (amounts(), of(any::<u32>()), of(any::<u32>())).prop_map(|(resources, jobs, queued)| Limits {
        resources,
        jobs,
        queued,
    })
}

/// Steps in their order, each once.
fn ladder() -> impl Strategy<Value = Vec<Rung>> {
    let one = |when| {
        (any::<[bool; 2]>(), 0u64..100_000, 0u64..100_000).prop_map(move |(there, after, more)| {
            let rung = |step, after| Rung {
                when,
                after: Millis(after * 1000),
                step,
            };
            let both = [rung(Step::Warn, after), rung(Step::Stop, after + more)];
            let kept = both.into_iter().zip(there).filter(|(_, there)| *there);
            kept.map(|(rung, _)| rung).collect::<Vec<_>>()
        })
    };
    Excess::ALL.map(one).prop_map(|all| all.concat())
}

prop_compose! {
    fn quota()(
        (name, reason, selector, limits) in
            (name(), of("\\PC{1,40}".prop_filter("words", |s| !s.trim().is_empty())), selector(), limits()),
        (share, guaranteed, reclaim) in (0u64..3, any::<bool>(), of(span())),
        (per_job, duration) in (amounts(), of(span())),
        rate in of((1u32..=MAX_RATE, 1000u64..=MAX_RATE_SPAN.0)),
        budgets in vec(budget(), 0..4),
        (when, valid, reject, audit) in (of(window()), validity(), any::<bool>(), any::<bool>()),
        alerts in btree_set(1u8..=100, 0..4),
        ladder in ladder(),
    ) -> Quota {
        let part = |of: u64| -> Resources {
            let all = limits.resources.iter();
            all.map(|(r, a)| (r.clone(), Amount((a.0 / 3).saturating_mul(of)))).collect()
        };
        let mut seen = BTreeSet::new();
        Quota {
            name,
            reason: reason.map(|r| r.split_whitespace().collect::<Vec<_>>().join(" ")),
            selector,
            borrow: part(share),
            guarantee: if guaranteed { part(1) } else { Resources::none() },
            reclaim: reclaim.map_or(Reclaim::Drain, Reclaim::StopAfter),
            per_job: PerJob { resources: per_job, duration },
            submit_rate: rate.map(|(count, per)| Rate { count, per: Millis(per) }),
            budgets: budgets.into_iter().filter(|b| seen.insert((b.resource.clone(), b.per))).collect(),
            ladder,
            when,
            valid,
            above: if reject { Above::Reject } else { Above::Queue },
            mode: if audit { Mode::Audit } else { Mode::Enforce },
            alert_at: alerts.into_iter().collect(),
            limits,
        }
    }
}

/// A cluster's amounts: not nothing, and GPUs by model counted.
fn cluster() -> impl Strategy<Value = Resources> {
    resources()
        .prop_map(Resources::with_gpu_total)
        .prop_filter("something", |r| {
            !r.is_empty() && r.iter().all(|(_, a)| a.0 <= MAX_AMOUNT)
        })
}

fn capacity() -> impl Strategy<Value = Capacity> {
    prop_oneof![
        Just(Capacity::Discover),
        cluster().prop_map(Capacity::Fixed),
        btree_map(name(), cluster(), 1..3).prop_map(Capacity::PerCluster),
    ]
}

prop_compose! {
    fn people()(
        weights in vec(1u32..=10_000, 12),
        members in vec(btree_set(name(), 0..4), TEAMS.len()),
        org in vec(of(known(ORGS)), TEAMS.len()),
        users in btree_map(name(), (1u32..=10_000, of(known(TEAMS)), btree_map(name(), name(), 0..3)), 0..3),
    ) -> Policy {
        let teams = TEAMS.iter().zip(members).zip(org).zip(&weights).map(|(((name, members), org), weight)| {
            ((*name).to_owned(), Team { org, members, weight: *weight })
        });
        // Each unit is below the next: no circle.
        let orgs = ORGS.iter().enumerate().map(|(i, name)| {
            let parent = ORGS.get(i + 1).map(|p| (*p).to_owned());
            ((*name).to_owned(), Org { parent, weight: weights[i + 4] })
        });
        Policy {
            teams: teams.collect(),
            orgs: orgs.collect(),
            users: users.into_iter().map(|(name, (weight, default_team, labels))| {
                (name, User { weight, default_team, labels })
            }).collect(),
            ..Policy::default()
        }
    }
}

prop_compose! {
    fn policy()(
        people in people(),
        capacity in capacity(),
        (observe, job, refuse) in any::<(bool, bool, bool)>(),
        types in vec((request(), allowed(), -1000i32..=1000, 0i32..=1000), TYPES.len()),
        (default_job_type, default_request) in (of(known(TYPES)), request()),
        clusters in btree_map(name(), allowed(), 0..3),
        (half_life, pass_bound) in (span(), span()),
        (jobs, holders) in (
            select(vec![SeeJobs::Own, SeeJobs::Team, SeeJobs::All]),
            select(vec![SeeHolders::Names, SeeHolders::Teams, SeeHolders::Counts]),
        ),
        quotas in vec(quota(), 0..5),
    ) -> Policy {
        let job_types = TYPES.iter().zip(types).map(|(name, (default_request, allowed, priority, above))| {
            let max_priority = (priority + above).min(1000);
            ((*name).to_owned(), JobType { default_request, allowed, priority, max_priority })
        });
        let mut names = BTreeSet::new();
        let discovered = capacity == Capacity::Discover;
        let quotas = quotas.into_iter().filter(|q| names.insert(q.name.clone())).map(|q| Quota {
            // What a fixed capacity holds is another test's.
            guarantee: if discovered { q.guarantee } else { Resources::none() },
            ..q
        });
        Policy {
            capacity,
            timezone: "Asia/Tokyo".into(),
            mode: if observe { Mode::Audit } else { Mode::Enforce },
            refusal: if job { RefusalStyle::Job } else { RefusalStyle::Http },
            when_ray_is_down: if refuse { WhenDown::Refuse } else { WhenDown::Queue },
            job_types: job_types.collect(),
            default_job_type,
            default_request,
            clusters: clusters.into_iter().map(|(name, allowed)| (name, ClusterRule { allowed })).collect(),
            queue: QueueRules { half_life: half_life.max(Millis::MINUTE), pass_bound },
            visibility: Visibility { jobs, holders },
            quotas: quotas.collect(),
            ..people
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_of_any_policy_reads_back_as_that_policy(policy in policy()) {
        let shown = show(&policy);
        prop_assert_eq!(accepted(&shown), policy);
    }

    #[test]
    fn any_policy_goes_through_the_journals_json(policy in policy()) {
        let json = serde_json::to_string(&policy).expect("a policy is JSON");
        let back: Policy = serde_json::from_str(&json).expect("its own JSON");
        prop_assert_eq!(back, policy);
    }
}
