//! The policy file: read at the start, on SIGHUP and whenever it changes. A broken one changes nothing.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use curb_core::policy::{Diagnostic, Policy};
use tokio::sync::Notify;

use crate::api::apply_text;
use crate::app::{App, PolicyFile};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// The largest file that is read.
const MAX_BYTES: u64 = 2 << 20;

/// What identifies a version of the file without reading it.
pub type Stamp = (Option<SystemTime>, u64);

/// Reads the file and puts it in force.
///
/// # Errors
/// What is wrong with it, for people.
pub async fn read(app: &App, path: &Path) -> Result<(), String> {
    let outcome = read_and_apply(app, path).await;
    let mut shown = app
        .policy_file
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(()) => {
            *shown = PolicyFile::default();
            Ok(())
        }
        Err((problem, all)) => {
            *shown = PolicyFile {
                problem: Some(problem.clone()),
            };
            let rendered: Vec<String> = all.iter().map(Diagnostic::render).collect();
            Err(if rendered.is_empty() {
                problem
            } else {
                rendered.join("\n")
            })
        }
    }
}

async fn read_and_apply(app: &App, path: &Path) -> Result<(), (String, Vec<Diagnostic>)> {
    let plain = |text: String| (text, Vec::new());
    let name = path.display().to_string();
    let meta = tokio::fs::metadata(path)
        .await
        .map_err(|e| plain(format!("cannot read the policy {name}: {e}")))?;
    if meta.len() > MAX_BYTES {
        return Err(plain(format!("{name} is larger than {MAX_BYTES} bytes")));
    }
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|e| plain(format!("cannot read the policy {name}: {e}")))?;
    let parsed = Policy::parse(&name, &text).map_err(|all| {
        let first = all.first().map_or_else(String::new, |d| {
            let more = match all.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more: curb policy check {name})"),
            };
            format!("{}:{}:{}: {}{more}", d.file, d.line, d.column, d.message)
        });
        (first, all)
    })?;
    for warning in &parsed.warnings {
        tracing::warn!(target: "curb_server::policy", "{}", warning.render());
    }
    let applied = apply_text(app, parsed, text, "file").await;
    let (version, changed) = applied.map_err(|e| plain(format!("it could not be applied: {e}")))?;
    if changed {
        tracing::info!(version, file = %name, "the policy is in force");
    } else {
        tracing::info!(version, file = %name, "the policy was read again: nothing in it changed");
    }
    Ok(())
}

/// Follows the file until the server stops. `seen`: its stamp before it was first read, so that a change since is seen.
pub async fn follow(app: Arc<App>, path: std::path::PathBuf, mut seen: Stamp, reload: Arc<Notify>) {
    let mut failed = false;
    loop {
        let asked = tokio::select! {
            () = app.stopping.cancelled() => return,
            () = reload.notified() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let now = stamp(&path).await;
        // An apply that failed for want of a writable journal is tried again.
        let retry = failed && app.engine.health().problem().is_none();
        if !asked && now == seen && !retry {
            continue;
        }
        let news = asked || now != seen;
        seen = now;
        match read(&app, &path).await {
            Ok(()) => failed = false,
            Err(problem) => {
                failed = true;
                if news {
                    tracing::error!(
                        "the policy file is not right; the policy in force stays:\n{problem}"
                    );
                }
            }
        }
    }
}

/// The file's stamp at the moment.
pub async fn stamp(path: &Path) -> Stamp {
    match tokio::fs::metadata(path).await {
        Ok(meta) => (meta.modified().ok(), meta.len()),
        Err(_) => (None, 0),
    }
}
