//! The policy file: read at the start, on SIGHUP and whenever it changes. A broken one changes nothing.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use curb_core::policy::{Diagnostic, Parsed, Policy};
use tokio::io::AsyncReadExt as _;
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
        Err(wrong) => {
            let told = in_full(&wrong);
            *shown = PolicyFile {
                problem: Some(wrong.0),
            };
            Err(told)
        }
    }
}

/// Whether the file could be put in force; nothing is. A pipe, which gives its text once, is left for the reading itself.
///
/// # Errors
/// What is wrong with it, for people.
pub async fn check(path: &Path) -> Result<(), String> {
    let meta = tokio::fs::metadata(path).await;
    if meta.is_ok_and(|m| m.file_type().is_fifo()) {
        return Ok(());
    }
    let loaded = load(path).await;
    loaded.map(|_| ()).map_err(|wrong| in_full(&wrong))
}

/// A problem in one line, and all that the checks found.
type Wrong = (String, Vec<Diagnostic>);

fn in_full((problem, all): &Wrong) -> String {
    if all.is_empty() {
        return problem.clone();
    }
    let rendered: Vec<String> = all.iter().map(Diagnostic::render).collect();
    rendered.join("\n")
}

async fn load(path: &Path) -> Result<(Parsed, String), Wrong> {
    let name = path.display().to_string();
    let text = text_of(path)
        .await
        .map_err(|e| (format!("cannot read the policy {name}: {e}"), Vec::new()))?;
    match Policy::parse(&name, &text) {
        Ok(parsed) => Ok((parsed, text)),
        Err(all) => {
            let first = all.first().map_or_else(String::new, |d| {
                let more = match all.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} more: curb policy check {name})"),
                };
                format!("{}:{}:{}: {}{more}", d.file, d.line, d.column, d.message)
            });
            Err((first, all))
        }
    }
}

/// The text, no further than the bound: what is no plain file says no size and may have no end (`/dev/zero`), and one may
/// grow while it is read.
async fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).await?;
    if text.len() as u64 > MAX_BYTES {
        let told = format!("it is larger than {MAX_BYTES} bytes");
        return Err(std::io::Error::other(told));
    }
    String::from_utf8(text).map_err(|_| std::io::Error::other("it is not UTF-8 text"))
}

async fn read_and_apply(app: &App, path: &Path) -> Result<(), Wrong> {
    let name = path.display().to_string();
    let (parsed, text) = load(path).await?;
    for warning in &parsed.warnings {
        tracing::warn!(target: "curb_server::policy", "{}", warning.render());
    }
    let applied = apply_text(app, parsed, text, "file").await;
    let (version, changed) =
        applied.map_err(|e| (format!("it could not be applied: {e}"), Vec::new()))?;
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
