//! How values of `curb-core` look in JSON, for the description.
//!
//! `curb-core` says how its values are serialised and knows nothing of this description. These types mirror that form
//! and are never instantiated; the tests prove that what the core serialises validates against them.

#![allow(dead_code, reason = "described, never made")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// An amount in the resource's smallest unit: thousandths of CPUs, GPUs and custom resources; bytes of memory.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Amount(u64);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Timestamp(i64);

/// A span of time in milliseconds.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Millis(u64);

/// Amounts by resource: `cpu`, `memory`, `gpu`, `gpu:MODEL`, or a custom name.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Resources(BTreeMap<String, Amount>);

/// When a job may start.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It may start now.
    Now,
    /// When something ends, opens or is reset.
    Later,
    /// Only under another policy.
    AfterPolicyChange,
    /// The cluster does not have so much.
    Never,
}

/// The stable code of a reason. Each has a page at `/curb/v1/reasons/{code}`.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(crate) enum Code {
    JobType,
    ClusterAccess,
    PerJobLimit,
    DurationLimit,
    DurationNeeded,
    PriorityLimit,
    ConcurrentLimit,
    JobsLimit,
    QueuedLimit,
    SubmitRate,
    Budget,
    Capacity,
    CapacityUnknown,
    Guarantee,
    Borrowing,
    Turn,
    StartRate,
    ClusterDown,
}

/// A number with what it counts.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Quantity {
    /// An amount of a resource.
    Amount {
        /// Of what.
        resource: String,
        /// How much.
        amount: Amount,
    },
    /// A number of jobs.
    Jobs(u64),
    /// A span of time in milliseconds.
    Time(Millis),
    /// An amount of a resource for a time, in the resource's smallest unit times milliseconds.
    ResourceTime {
        /// Of what.
        resource: String,
        /// How much; may need 128 bits.
        amount: u128,
    },
    /// So many in so long.
    Rate {
        /// How many.
        count: u32,
        /// In how long.
        per: Millis,
    },
    /// A priority.
    Priority(i32),
}

/// When a limit could be met.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum When {
    /// When running jobs end; at about this time if they end as they said.
    JobsEnd(Option<Timestamp>),
    /// At this moment.
    At(Timestamp),
    /// Once others that are ahead have started.
    Turn,
    /// When the cluster is back.
    ClusterBack,
    /// When Ray has said what the cluster has.
    CapacityKnown,
    /// Not under this policy.
    PolicyChange,
    /// Not on this cluster as it is.
    Never,
}

/// Somebody who holds what is asked for. What the policy hides from the asker is left empty.
#[derive(JsonSchema)]
pub(crate) struct Holder {
    /// User.
    user: String,
    /// Team.
    #[schemars(default)]
    team: Option<String>,
    /// Which job.
    job: String,
    /// How much.
    holds: Quantity,
    /// When it should end.
    #[schemars(default)]
    until: Option<Timestamp>,
}

/// One limit that is in the way, with the numbers.
#[derive(JsonSchema)]
pub(crate) struct Violation {
    /// The reason code.
    code: Code,
    /// The quota, unless it is the cluster itself.
    #[schemars(default)]
    quota: Option<String>,
    /// Which bucket of it.
    bucket: String,
    /// The limit in force.
    #[schemars(default)]
    limit: Option<Quantity>,
    /// What is used of it.
    #[schemars(default)]
    used: Option<Quantity>,
    /// What this job asks for.
    #[schemars(default)]
    asked: Option<Quantity>,
    /// By how much that is too much.
    #[schemars(default)]
    over: Option<Quantity>,
    /// When it could fit.
    when: When,
    /// Whether the quota refuses rather than queues.
    rejects: bool,
    /// Who holds it, largest first.
    #[schemars(default)]
    holders: Vec<Holder>,
    /// How many more hold it.
    #[schemars(default)]
    more_holders: u64,
    /// Why the quota is there, as the policy says.
    #[schemars(default)]
    reason: Option<String>,
    /// What else is to be said.
    #[schemars(default)]
    note: Option<String>,
    /// Of a budget that has enough left in the present period: the begin of the period that has not, and to which the
    /// numbers belong.
    #[schemars(default)]
    period: Option<Timestamp>,
}

/// A rule that would have been in the way, in short.
#[derive(JsonSchema)]
pub(crate) struct Shadow {
    /// The reason code.
    code: Code,
    /// The quota, unless it is the cluster itself.
    #[schemars(default)]
    quota: Option<String>,
    /// Which bucket of it.
    bucket: String,
    /// The limit.
    #[schemars(default)]
    limit: Option<Quantity>,
    /// What was used.
    #[schemars(default)]
    used: Option<Quantity>,
    /// What was asked.
    #[schemars(default)]
    asked: Option<Quantity>,
    /// Whether it would have been refused, rather than queued.
    refuse: bool,
}

/// Who a job is charged to.
#[derive(JsonSchema)]
pub(crate) struct Subject {
    /// The user.
    user: String,
    /// The team.
    #[schemars(default)]
    team: Option<String>,
    /// The team's org unit and all above it, nearest first.
    #[schemars(default)]
    orgs: Vec<String>,
    /// The kind of job.
    #[schemars(default)]
    job_type: Option<String>,
    /// Labels of the user and of the token.
    #[schemars(default)]
    labels: BTreeMap<String, String>,
}

/// Who wants a job stopped, why and since when.
#[derive(JsonSchema)]
pub(crate) struct StopWish {
    /// Who.
    by: String,
    /// Why.
    why: String,
    /// Since when.
    at: Timestamp,
}

/// That no ladder acts on a job for a time.
#[derive(JsonSchema)]
pub(crate) struct Exemption {
    /// The first moment without it.
    until: Timestamp,
    /// Who.
    by: String,
    /// Why.
    why: String,
}

/// What a signed-in person may do.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Role {
    /// An agent on a node: tells what runs there, and may do nothing else. The token's user is the node's name.
    Agent,
    /// Submits, sees and stops their own jobs.
    User,
    /// Sees all jobs and stops any.
    Operator,
    /// Operator, and policy, tokens and overrides.
    Admin,
}

/// The period of a budget.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Period {
    /// A calendar day.
    Day,
    /// A calendar week from Monday.
    Week,
    /// A calendar month.
    Month,
    /// The last so many milliseconds.
    Rolling(Millis),
}

/// Which subjects are meant. Every dimension that is named must match; none named is everybody.
#[derive(JsonSchema)]
pub(crate) struct Selector {
    /// Users.
    #[schemars(default)]
    user: Option<Match>,
    /// Teams.
    #[schemars(default)]
    team: Option<Match>,
    /// Org units; a unit covers all below it.
    #[schemars(default)]
    org: Option<Match>,
    /// Job types.
    #[schemars(default)]
    job_type: Option<Match>,
    /// Clusters.
    #[schemars(default)]
    cluster: Option<Match>,
    /// Labels by key.
    #[schemars(default)]
    labels: BTreeMap<String, Match>,
}

/// What a dimension of a selector matches.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Match {
    /// Any value.
    Each,
    /// One of these.
    OneOf(Vec<String>),
}

/// A temporary change of limits.
#[derive(JsonSchema)]
pub(crate) struct Override {
    /// Its number.
    id: u64,
    /// Whose buckets.
    selector: Selector,
    /// In one quota only.
    #[schemars(default)]
    quota: Option<String>,
    /// How much more or less, in the resource's smallest unit.
    amounts: BTreeMap<String, i64>,
    /// How many more or fewer running jobs.
    #[schemars(default)]
    jobs: i64,
    /// The first moment without it.
    until: Timestamp,
    /// Who.
    by: String,
    /// Why.
    why: String,
}

#[cfg(test)]
mod tests {
    use curb_core::{amount, decide, ledger, policy, resource, subject, time};
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    use super::*;

    fn check<T: JsonSchema>(value: &Value) -> Result<(), String> {
        let schema = SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>();
        let validator = jsonschema::validator_for(schema.as_value()).expect("a schema");
        validator
            .validate(value)
            .map_err(|e| format!("{value}: {e}"))
    }

    fn accepts<T: JsonSchema>(value: impl serde::Serialize) {
        let value = serde_json::to_value(value).expect("JSON");
        assert_eq!(check::<T>(&value), Ok(()));
    }

    fn quantities() -> Vec<decide::Quantity> {
        use decide::Quantity as Q;
        vec![
            Q::Amount {
                resource: resource::Resource::Gpu,
                amount: amount::Amount(1500),
            },
            Q::Jobs(3),
            Q::Time(time::Millis(5)),
            Q::ResourceTime {
                resource: resource::Resource::Memory,
                amount: 1 << 60,
            },
            Q::Rate {
                count: 3,
                per: time::Millis(1000),
            },
            Q::Priority(-3),
        ]
    }

    fn whens() -> Vec<decide::When> {
        use decide::When as W;
        let t = time::Timestamp(-1);
        vec![
            W::JobsEnd(None),
            W::JobsEnd(Some(t)),
            W::At(t),
            W::Turn,
            W::ClusterBack,
            W::CapacityKnown,
            W::PolicyChange,
            W::Never,
        ]
    }

    fn violation() -> decide::Violation {
        let q = quantities();
        decide::Violation {
            code: decide::Code::Budget,
            quota: Some("q".into()),
            bucket: "user ana".into(),
            limit: Some(q[0].clone()),
            used: Some(q[1].clone()),
            asked: Some(q[3].clone()),
            over: None,
            when: decide::When::Turn,
            rejects: true,
            holders: vec![decide::Holder {
                user: "li".into(),
                team: None,
                job: "j".into(),
                holds: q[0].clone(),
                until: Some(time::Timestamp(1)),
            }],
            more_holders: 2,
            reason: Some("r".into()),
            note: Some("n".into()),
            period: Some(time::Timestamp(1)),
        }
    }

    #[test]
    fn what_the_core_writes_is_what_is_described() {
        decide::Code::ALL.iter().for_each(accepts::<Code>);
        quantities().iter().for_each(accepts::<Quantity>);
        whens().iter().for_each(accepts::<When>);
        accepts::<Violation>(violation());
        accepts::<Shadow>(decide::Shadow::from(&violation()));
        for verdict in [
            decide::Verdict::Now,
            decide::Verdict::Later,
            decide::Verdict::AfterPolicyChange,
            decide::Verdict::Never,
        ] {
            accepts::<Verdict>(verdict);
        }
        for role in [
            subject::Role::Agent,
            subject::Role::User,
            subject::Role::Operator,
            subject::Role::Admin,
        ] {
            accepts::<Role>(role);
        }
        for period in [
            policy::Period::Day,
            policy::Period::Week,
            policy::Period::Month,
            policy::Period::Rolling(time::Millis(1)),
        ] {
            accepts::<Period>(period);
        }
        accepts::<Subject>(subject::Subject {
            user: "ana".into(),
            team: Some("vision".into()),
            orgs: vec!["acme".into()],
            ..Default::default()
        });
        accepts::<StopWish>(ledger::StopWish {
            by: "a".into(),
            why: "b".into(),
            at: time::Timestamp(1),
        });
        accepts::<Exemption>(ledger::Exemption {
            until: time::Timestamp(1),
            by: "a".into(),
            why: "b".into(),
        });
    }

    #[test]
    fn overrides_and_their_selectors_are_described() {
        let mut selector = policy::Selector {
            user: Some(policy::Match::Each),
            ..Default::default()
        };
        selector
            .labels
            .insert("k".into(), policy::Match::OneOf(["v".to_owned()].into()));
        let change = ledger::Override {
            id: 1,
            selector,
            quota: None,
            amounts: [(resource::Resource::Gpu, -2000)].into(),
            jobs: -1,
            until: time::Timestamp(5),
            by: "kim".into(),
            why: "w".into(),
        };
        accepts::<Override>(change);
    }

    #[test]
    fn what_the_core_would_not_write_is_not_accepted() {
        assert!(check::<Quantity>(&json!({"jobs": -1})).is_err());
        assert!(check::<When>(&json!("soon")).is_err());
        assert!(check::<Code>(&json!("gpu")).is_err());
        assert!(check::<Resources>(&json!({"cpu": 1.5})).is_err());
        assert!(check::<Violation>(&json!({"code": "budget"})).is_err());
    }
}
