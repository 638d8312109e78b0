//! The policy and the mode.

use curb_api::Kind;
use curb_api::{
    Finding, ModeView, PolicyApplied, PolicyCheck, PolicyView, SetMode, Severity, WantedMode,
};
use curb_core::ledger::Event;
use curb_core::policy::{self, Diagnostic, Mode, Parsed, Policy};
use curb_core::time::Timestamp;
use curb_journal::{Filter, SideWrite};
use http::StatusCode;

use super::{parameter, read, why};
use crate::app::App;
use crate::engine::{Decision, Draft, EngineError};
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// How a policy that came without a file is named in messages.
const FILE_NAME: &str = "policy.yaml";

/// Diagnostics as they go over the wire.
fn findings(all: &[Diagnostic]) -> Vec<Finding> {
    all.iter()
        .map(|d| Finding {
            severity: match d.severity {
                policy::Severity::Error => Severity::Error,
                policy::Severity::Warning => Severity::Warning,
            },
            line: u64::from(d.line),
            column: u64::from(d.column),
            field: d.field.clone(),
            message: d.message.clone(),
            help: d.help.clone().unwrap_or_default(),
            rendered: d.render(),
        })
        .collect()
}

/// Puts a policy in force by an event; the same text again changes nothing. Gives the version and whether it is new.
///
/// # Errors
/// The journal is not writable, or the engine is busy.
pub async fn apply_text(
    app: &App,
    parsed: Parsed,
    text: String,
    by: &str,
) -> Result<(u32, bool), EngineError> {
    let by = by.to_owned();
    app.engine
        .change(move |state, _| {
            if state.policy_version() > 0 && state.policy_sha256() == parsed.sha256 {
                // It may be on its way to disk.
                return Decision::durable(Vec::new(), (state.policy_version(), false));
            }
            let version = state.policy_version().saturating_add(1);
            let event = Event::PolicyApplied {
                version,
                sha256: parsed.sha256.clone(),
                policy: Box::new(parsed.policy),
                by,
            };
            let side = vec![SideWrite::put_spec(parsed.sha256, text.into_bytes())];
            Decision {
                events: vec![Draft { event, side }],
                reply: (version, true),
                wait: true,
            }
        })
        .await
}

/// `GET /curb/v1/policy`.
pub async fn get(call: &Call) -> Result<Reply, Failure> {
    let wanted = parameter::<u32>(call, "version")?;
    let found = call
        .app
        .readers
        .run(move |reader| {
            let filter = Filter {
                kinds: &["policy_applied"],
                since_ms: None,
            };
            let records = reader.last(&filter, curb_journal::MAX_RANGE)?;
            for record in records.iter().rev() {
                let Ok(Event::PolicyApplied {
                    version,
                    sha256,
                    policy,
                    by,
                }) = serde_json::from_slice(&record.payload)
                else {
                    continue;
                };
                if wanted.is_some_and(|w| w != version) {
                    continue;
                }
                let kept = reader.spec(&sha256)?;
                // A text that was erased is written anew from its meaning.
                let text = kept.map_or_else(
                    || policy::show(&policy),
                    |t| String::from_utf8_lossy(&t).into_owned(),
                );
                return Ok(Some(PolicyView {
                    version,
                    sha256,
                    applied: Timestamp(record.at_ms),
                    by,
                    text,
                }));
            }
            Ok(None)
        })
        .await?;
    match (found, wanted) {
        (Some(view), _) => json(&view),
        (None, Some(v)) => Err(Failure::not_found(
            format!("curb: there is no version {v} of the policy in the journal"),
            "`curb policy show` shows the one in force, with its version",
        )),
        (None, None) => Err(Failure::not_found(
            "curb: no policy was applied yet: everything passes and nothing is limited",
            "apply one: curb policy apply FILE; curb init writes a first one",
        )),
    }
}

/// `PUT /curb/v1/policy`.
pub async fn put(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    if let Some(path) = &call.app.config.policy {
        return Err(Failure::conflict(
            format!("curb: this server reads its policy from {}", path.display()),
            "change that file, and it is in force within seconds; or start the server without --policy to change it here",
        ));
    }
    let (parsed, text) = parse(body)?;
    let warnings = findings(&parsed.warnings);
    let sha256 = parsed.sha256.clone();
    let (version, changed) = apply_text(&call.app, parsed, text, call.who.user()).await?;
    json(&PolicyApplied {
        version,
        sha256,
        changed,
        warnings,
    })
}

pub(crate) fn parse(body: &[u8]) -> Result<(Parsed, String), Failure> {
    let text = String::from_utf8(body.to_vec()).map_err(|_| {
        Failure::bad_request("curb: the policy is not UTF-8 text\n  next: save it as UTF-8")
    })?;
    match Policy::parse(FILE_NAME, &text) {
        Ok(parsed) => Ok((parsed, text)),
        Err(all) => {
            let rendered: Vec<String> = all.iter().map(Diagnostic::render).collect();
            let mut failure = Failure::said(
                StatusCode::UNPROCESSABLE_ENTITY,
                Kind::BadPolicy,
                format!(
                    "curb: the policy is not right, and the one in force stays:\n{}",
                    rendered.join("\n")
                ),
            );
            failure.findings = findings(&all);
            Err(failure)
        }
    }
}

/// `POST /curb/v1/policy/check`.
pub fn check(body: &[u8]) -> Result<Reply, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| {
        Failure::bad_request("curb: the policy is not UTF-8 text\n  next: save it as UTF-8")
    })?;
    let (ok, all) = match Policy::parse(FILE_NAME, text) {
        Ok(parsed) => (true, parsed.warnings),
        Err(all) => (false, all),
    };
    json(&PolicyCheck {
        ok,
        findings: findings(&all),
    })
}

/// `GET /curb/v1/mode`.
pub async fn mode(call: &Call) -> Result<Reply, Failure> {
    let view = call
        .app
        .engine
        .look(|state, _| ModeView {
            mode: state.mode().into(),
            policy: state.policy().mode.into(),
            set: state.mode_set().is_some(),
        })
        .await?;
    json(&view)
}

/// `PUT /curb/v1/mode`.
pub async fn set_mode(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let wish: SetMode = read(body)?;
    let (reason, by) = (why(&wish.why)?, call.who.user().to_owned());
    let wanted = match wish.mode {
        WantedMode::Enforce => Some(Mode::Enforce),
        WantedMode::Observe => Some(Mode::Audit),
        WantedMode::Policy => None,
    };
    call.app
        .engine
        .change(move |state, _| {
            let events = if state.mode_set() == wanted {
                vec![]
            } else {
                vec![Event::ModeSet {
                    mode: wanted,
                    by,
                    why: reason,
                }]
            };
            Decision::durable(events, ())
        })
        .await?;
    mode(call).await
}
