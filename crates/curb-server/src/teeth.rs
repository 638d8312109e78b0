//! Acting on what running jobs take beyond their grants, as the quotas' ladders say (`curb_core::decide::teeth`).
//!
//! What is done is decided on the engine's thread at the moment at which it is written, by what was seen last and is fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use curb_core::decide;
use curb_core::ledger::Event;
use curb_core::time::{Millis, Timestamp};

use crate::app::App;
use crate::engine::Decision;
use crate::truth::EVERY;

/// How often ladders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What was seen longer ago than this moves nothing.
const FRESH: u32 = 4;

/// Climbs ladders until the server stops.
pub async fn climb(app: Arc<App>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        let seen = seen(&app, app.clock.now());
        let done = app
            .engine
            .change(move |state, moment| {
                let events = decide::teeth(state, moment, &seen);
                let steps: Vec<Event> = events
                    .iter()
                    .filter(|e| matches!(e, Event::Stepped { .. }))
                    .cloned()
                    .collect();
                Decision::durable(events, steps)
            })
            .await;
        // A disk that is full stays so for a while: that is said once.
        let failed_before = std::mem::replace(&mut failing, done.is_err());
        match done {
            Ok(steps) if !steps.is_empty() => {
                steps.iter().for_each(say);
                app.steps.send_modify(|n| *n += 1);
                // A wish to stop is passed on at once.
                app.clusters.values().for_each(|c| c.poke.notify_one());
            }
            Ok(_) => {}
            Err(error) if !failed_before => {
                tracing::warn!(%error, "ladders are not climbed until this is over");
            }
            Err(_) => {}
        }
    }
}

fn say(step: &Event) {
    if let Event::Stepped {
        id,
        quota,
        step,
        found,
        only_recorded,
        ..
    } = step
    {
        tracing::warn!(job = %id, %quota, ?step, only_recorded, "a job {found}");
    }
}

/// What is held, of the clusters where that was seen just now.
fn seen(app: &App, now: Timestamp) -> BTreeMap<String, decide::Seen> {
    let fresh = Millis(u64::try_from((EVERY * FRESH).as_millis()).unwrap_or(u64::MAX));
    let mut all = BTreeMap::new();
    for (name, cluster) in &app.clusters {
        let (Some(seen), _) = cluster.truth.last() else {
            continue;
        };
        if now.since(seen.at) <= fresh {
            let held = seen.held.jobs.iter();
            let held =
                held.map(|(id, job)| (id.clone(), (job.attempt, job.held.least.amounts(false))));
            all.insert(name.clone(), held.collect());
        }
    }
    all
}
