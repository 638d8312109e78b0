//! What enforcing would have changed, from what the journal has recorded besides each decision.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use curb_api::{Preview, PreviewCount, PreviewJob};
use curb_core::decide::Shadow;
use curb_core::ledger::{Event, NewJob};
use curb_core::time::{Millis, Timestamp};

use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// Jobs that are shown.
const SAMPLES: usize = 20;

#[derive(Default)]
struct Sum {
    preview: Preview,
    quotas: BTreeMap<String, (u64, u64)>,
    users: BTreeMap<String, (u64, u64)>,
    samples: VecDeque<PreviewJob>,
}

impl Sum {
    fn job(&mut self, at: Timestamp, job: &NewJob, shadow: Vec<Shadow>, waited: bool) {
        self.preview.seen += 1;
        if shadow.is_empty() {
            // One that waits for what is enforced already is not untouched.
            *if waited {
                &mut self.preview.waited
            } else {
                &mut self.preview.untouched
            } += 1;
            return;
        }
        let refused = shadow.iter().any(|s| s.refuse);
        *if refused {
            &mut self.preview.would_refuse
        } else {
            &mut self.preview.would_wait
        } += 1;
        let count =
            |at: &mut (u64, u64), refused: bool| if refused { at.1 += 1 } else { at.0 += 1 };
        count(
            self.users.entry(job.subject.user.clone()).or_default(),
            refused,
        );
        // Once under each rule that was in its way, of however many resources.
        let mut rules: BTreeMap<String, bool> = BTreeMap::new();
        for s in &shadow {
            let name = format!("{} ({})", s.quota.as_deref().unwrap_or("cluster"), s.code);
            *rules.entry(name).or_default() |= s.refuse;
        }
        for (name, refuse) in rules {
            count(self.quotas.entry(name).or_default(), refuse);
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_back();
        }
        self.samples.push_front(PreviewJob {
            id: job.id.as_str().to_owned(),
            user: job.subject.user.clone(),
            at,
            request: job.request.clone(),
            refused,
            rules: shadow,
        });
    }
}

/// `GET /curb/v1/preview`.
pub async fn preview(call: &Call) -> Result<Reply, Failure> {
    let span = match call.query.get("since") {
        None => Millis(7 * Millis::DAY.0),
        Some(text) => {
            Millis::parse(text).map_err(|e| Failure::bad_request(format!("curb: since: {e}")))?
        }
    };
    let until = call.app.clock.now();
    let since = until.before(span);
    let sum = call
        .app
        .readers
        .run(move |reader| {
            let mut sum = Sum::default();
            let after = reader.last_before(since.0)?;
            reader.for_each(after, |record| {
                let relevant = matches!(
                    record.kind,
                    "admitted" | "queued" | "refused" | "refusals_counted"
                );
                let at = Timestamp(record.at_ms);
                if relevant && let Ok(event) = serde_json::from_slice::<Event>(record.payload) {
                    match event {
                        Event::Admitted { job, shadow, .. } => sum.job(at, &job, shadow, false),
                        Event::Queued { job, shadow, .. } => sum.job(at, &job, shadow, true),
                        Event::Refused { .. } => {
                            (sum.preview.seen, sum.preview.refused) =
                                (sum.preview.seen + 1, sum.preview.refused + 1)
                        }
                        Event::RefusalsCounted { count, .. } => {
                            (sum.preview.seen, sum.preview.refused) =
                                (sum.preview.seen + count, sum.preview.refused + count);
                        }
                        _ => {}
                    }
                }
                ControlFlow::<()>::Continue(())
            })?;
            Ok(sum)
        })
        .await?;
    json(&Preview {
        since,
        until,
        by_quota: counts(sum.quotas),
        by_user: counts(sum.users),
        samples: sum.samples.into(),
        ..sum.preview
    })
}

fn counts(all: BTreeMap<String, (u64, u64)>) -> Vec<PreviewCount> {
    let mut counts: Vec<PreviewCount> = all
        .into_iter()
        .map(|(name, (would_wait, would_refuse))| PreviewCount {
            name,
            would_wait,
            would_refuse,
        })
        .collect();
    counts.sort_by_key(|c| std::cmp::Reverse(c.would_wait + c.would_refuse));
    counts.truncate(100);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow(quota: &str, code: &str, refuse: bool) -> Shadow {
        let text = serde_json::json!({
            "code": code, "quota": quota, "bucket": "user ana", "refuse": refuse,
        });
        serde_json::from_value(text).expect("a shadow")
    }

    fn job() -> NewJob {
        let text = serde_json::json!({
            "id": "train", "subject": {"user": "ana"}, "cluster": "main", "request": {"cpu": 1000},
            "spec": "", "stamp": "",
        });
        serde_json::from_value(text).expect("a job")
    }

    #[test]
    fn a_job_counts_once_under_each_rule_and_by_what_would_have_become_of_it() {
        let mut sum = Sum::default();
        // Two resources of one limit, which it would wait for, and a rule that would refuse it.
        let all = vec![
            shadow("each", "concurrent-limit", false),
            shadow("each", "concurrent-limit", false),
            shadow("strict", "per-job-limit", true),
        ];
        sum.job(Timestamp(1), &job(), all, false);
        assert_eq!(
            (sum.preview.would_wait, sum.preview.would_refuse),
            (0, 1),
            "it would have been refused, and not have waited as well"
        );
        assert_eq!(sum.quotas["each (concurrent-limit)"], (1, 0));
        assert_eq!(sum.quotas["strict (per-job-limit)"], (0, 1));
        assert_eq!(sum.users.values().collect::<Vec<_>>(), [&(0, 1)]);
    }
}
