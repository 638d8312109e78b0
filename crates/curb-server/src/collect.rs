//! Removing uploaded packages that no job needs any more: now and then, and when the store is full.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use curb_core::ledger::Phase;

use crate::app::App;
use crate::spec::user_tag;

/// How often packages that nothing needs are looked for.
const EVERY: Duration = Duration::from_secs(3600);
/// When the store is full, packages go that nobody has used for so long: whoever has just uploaded one is about to submit
/// the job that needs it.
const IDLE: Duration = Duration::from_secs(600);

/// Looks for them until the server stops.
pub async fn now_and_then(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        collect(&app, app.config.limits.package_age).await;
    }
}

/// Makes room in a full store. Says whether there is more of it.
pub async fn make_room(app: &App) -> bool {
    collect(app, IDLE.min(app.config.limits.package_age)).await > 0
}

/// Removes packages that no waiting or running job needs and nobody has used for `age`; says how many.
pub async fn collect(app: &App, age: Duration) -> usize {
    // Of what is durable: a job whose end a crash could take back still needs its packages.
    let keys = app.engine.look(|state, _| {
        let open = |p: &Phase| !matches!(p, Phase::Ended(_));
        let jobs = state.jobs().filter(|j| open(&j.phase));
        jobs.map(|j| j.new.spec.clone()).collect::<Vec<_>>()
    });
    let Ok(keys) = keys.await else { return 0 };
    let mut needed = HashSet::new();
    // A part at a time: all specs at once could be large. What cannot be read keeps everything.
    for part in keys.chunks(256) {
        let specs = match app.specs(part.to_vec()).await {
            Ok(specs) => specs,
            Err(failure) => {
                let cause = failure.cause.as_deref().unwrap_or(&failure.detail);
                tracing::warn!(%cause, "which packages jobs need cannot be read; none is removed");
                return 0;
            }
        };
        let packages = |s: &crate::spec::JobSpec| {
            let tag = user_tag(&s.user);
            s.packages
                .iter()
                .map(|p| (tag.clone(), p.clone()))
                .collect::<Vec<_>>()
        };
        needed.extend(specs.values().flat_map(|s| packages(s)));
    }
    let gone = app.packages.collect(&needed, age);
    if gone > 0 {
        tracing::info!(gone, "packages that nothing needs were removed");
    }
    gone
}
