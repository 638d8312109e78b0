//! A small world to decide in: a policy as text, a clock that only goes where it is put, a state that grows by events.

#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use curb_core::amount::Amount;
use curb_core::decide::{
    Ask, Explanation, Gate, Identity, Moment, Pace, Submission, Submitted, explain, next, resolve,
    submit, told_as_job,
};
use curb_core::explain::{Telling, Viewer};
use curb_core::ledger::{Event, FailedJob, Job, Outcome, Phase, Recorded, State};
use curb_core::policy::Policy;
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, Role};
use curb_core::time::{Millis, Timestamp};

/// Sunday 2026-11-22T12:00:00Z.
pub const NOON: i64 = 1_795_348_800_000;
pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;

pub struct World {
    pub state: State,
    pub now: i64,
    pub journal: Vec<Recorded>,
    pub gates: BTreeMap<String, Gate>,
    pub paces: BTreeMap<String, Pace>,
    ids: usize,
}

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub struct Want {
    pub ask: Ask,
    pub id: Option<String>,
    pub key: Option<String>,
}

pub fn want(user: &str) -> Want {
    Want {
        ask: Ask {
            user: user.into(),
            cluster: "main".into(),
            ..Ask::default()
        },
        ..Want::default()
    }
}

impl Want {
    pub fn of(mut self, resource: &str, amount: &str) -> Want {
        let r = Resource::parse(resource).expect("a resource");
        let a = Amount::parse(r.unit(), amount).expect("an amount");
        self.ask.declared.insert(r, a);
        self
    }
    pub fn cpu(self, n: &str) -> Want {
        self.of("cpu", n)
    }
    pub fn gpu(self, n: &str) -> Want {
        self.of("gpu", n)
    }
    pub fn job_type(mut self, t: &str) -> Want {
        self.ask.job_type = Some(t.into());
        self
    }
    pub fn team(mut self, t: &str) -> Want {
        self.ask.team = Some(t.into());
        self
    }
    pub fn on(mut self, cluster: &str) -> Want {
        self.ask.cluster = cluster.into();
        self
    }
    pub fn label(mut self, k: &str, v: &str) -> Want {
        self.ask.labels.insert(k.into(), v.into());
        self
    }
    pub fn hours(mut self, n: u64) -> Want {
        self.ask.duration = Some(Millis(n * Millis::HOUR.0));
        self
    }
    pub fn minutes(mut self, n: u64) -> Want {
        self.ask.duration = Some(Millis(n * Millis::MINUTE.0));
        self
    }
    pub fn priority(mut self, p: i32) -> Want {
        self.ask.priority = Some(p);
        self
    }
    pub fn id(mut self, id: &str) -> Want {
        self.id = Some(id.into());
        self
    }
    pub fn key(mut self, key: &str) -> Want {
        self.key = Some(key.into());
        self
    }
}

pub fn policy(yaml: &str) -> Policy {
    let text = format!("version: 1\n{yaml}");
    match Policy::parse("test.yaml", &text) {
        Ok(parsed) => parsed.policy,
        Err(errors) => {
            let all: Vec<String> = errors.iter().map(|e| e.render()).collect();
            panic!("{}", all.join("\n"))
        }
    }
}

impl World {
    /// A world under a policy (without its `version` line), with a cluster `main` of 100 CPU, 100 GPU, 1 TiB.
    pub fn new(yaml: &str) -> World {
        let mut w = World {
            state: State::new(),
            now: NOON,
            journal: Vec::new(),
            gates: BTreeMap::new(),
            paces: BTreeMap::new(),
            ids: 0,
        };
        w.apply_policy(yaml);
        w.cluster(
            "main",
            "session-1",
            &[("cpu", "100"), ("gpu", "100"), ("memory", "1TiB")],
        );
        w
    }

    pub fn apply_policy(&mut self, yaml: &str) {
        let version = self.state.policy_version() + 1;
        self.apply(Event::PolicyApplied {
            version,
            sha256: format!("{version:064}"),
            policy: Box::new(policy(yaml)),
            by: "test".into(),
        });
    }

    pub fn cluster(&mut self, name: &str, session: &str, has: &[(&str, &str)]) {
        self.apply(Event::ClusterObserved {
            cluster: name.into(),
            session: session.into(),
            capacity: Some(amounts(has)),
        });
    }

    /// A look at a cluster that did not say what it has.
    pub fn cluster_unread(&mut self, name: &str, session: &str) {
        self.apply(Event::ClusterObserved {
            cluster: name.into(),
            session: session.into(),
            capacity: None,
        });
    }

    pub fn apply(&mut self, event: Event) {
        let rec = Recorded {
            seq: self.state.seq() + 1,
            at: Timestamp(self.now.max(self.state.now().0)),
            event,
        };
        self.state.apply(&rec);
        self.journal.push(rec);
    }

    pub fn moment(&self) -> Moment {
        let mut m = Moment::new(&self.state, Timestamp(self.now));
        m.gates.clone_from(&self.gates);
        m.paces = Arc::new(self.paces.clone());
        m
    }

    pub fn submission(&self, want: &Want) -> Submission {
        resolve(&self.state, &want.ask).expect("a request that can be resolved")
    }

    /// Submits, applies, and lets the queue move.
    pub fn submit(&mut self, want: &Want) -> (JobId, Submitted) {
        let done = self.submit_only(want);
        self.run_queue();
        done
    }

    /// Submits and applies.
    pub fn submit_only(&mut self, want: &Want) -> (JobId, Submitted) {
        let id = want.id.clone().unwrap_or_else(|| {
            self.ids += 1;
            format!("job-{}", self.ids)
        });
        let identity = Identity {
            id: JobId::parse(&id).expect("a valid id"),
            spec: format!("{:064}", 1),
            stamp: "stamp".into(),
            key: want.key.clone(),
        };
        let moment = self.moment();
        let (mut events, reply) = submit(&self.state, &self.submission(want), &identity, &moment);
        for event in &mut events {
            if let Event::Refused { as_job, .. } = event
                && told_as_job(&self.state, &want.ask.user, &moment)
            {
                *as_job = Some(Box::new(failed(&identity)));
            }
        }
        events.into_iter().for_each(|e| self.apply(e));
        (identity.id, reply)
    }

    pub fn run_queue(&mut self) -> Vec<JobId> {
        let mut started = Vec::new();
        for _ in 0..10_000 {
            let events = next(&self.state, &self.moment());
            if events.is_empty() {
                return started;
            }
            for e in events {
                if let Event::Granted { id, .. } = &e {
                    started.push(id.clone());
                }
                self.apply(e);
            }
        }
        panic!("the queue does not come to rest");
    }

    pub fn explain(&self, want: &Want) -> Explanation {
        explain(&self.state, &self.submission(want), &self.moment())
    }

    pub fn end(&mut self, id: &JobId) {
        self.apply(Event::Ended {
            id: id.clone(),
            outcome: Outcome::Succeeded,
            message: String::new(),
            exit_code: Some(0),
            ran: None,
        });
    }

    pub fn end_and_run(&mut self, id: &JobId) -> Vec<JobId> {
        self.end(id);
        self.run_queue()
    }

    pub fn job(&self, id: &JobId) -> &Job {
        self.state.job(id).expect("a job that is known")
    }

    pub fn holds(&self, id: &JobId) -> bool {
        self.job(id).grant().is_some()
    }

    pub fn queued(&self, id: &JobId) -> bool {
        self.job(id).phase == Phase::Queued
    }

    pub fn text(&self, want: &Want, user: &str) -> String {
        let viewer = Viewer {
            user: user.into(),
            role: Role::User,
        };
        let telling = Telling {
            viewer: &viewer,
            policy: self.state.policy(),
            now: Timestamp(self.now),
        };
        telling.explanation(&self.explain(want))
    }

    pub fn pass(&mut self, ms: i64) {
        self.now += ms;
    }
}

/// What is told of a refusal in the `job` style.
pub fn failed(identity: &Identity) -> FailedJob {
    FailedJob {
        id: identity.id.clone(),
        spec: identity.spec.clone(),
        key: identity.key.clone(),
        command: "python train.py".into(),
        text: "curb: refused".into(),
    }
}

pub fn amounts(has: &[(&str, &str)]) -> Resources {
    has.iter()
        .map(|(r, a)| {
            let r = Resource::parse(r).expect("a resource");
            let a = Amount::parse(r.unit(), a).expect("an amount");
            (r, a)
        })
        .collect()
}

/// `admitted`, `queued <code>` or `refused <status> <code>`.
pub fn say(reply: &Submitted) -> String {
    let code = |e: &Explanation| {
        e.violations
            .first()
            .map_or_else(String::new, |v| v.code.to_string())
    };
    match reply {
        Submitted::Admitted => "admitted".into(),
        Submitted::Queued(e) => format!("queued {}", code(e)),
        Submitted::Refused(e) => format!("refused {} {}", e.status, code(e)),
        Submitted::Same => "same".into(),
        Submitted::Taken => "taken".into(),
    }
}
