//! What is wrong with a body, told by its key and within a bound.

use super::unique::TWICE;

/// Why a body is not a submission. The text names the key and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct BadRequest {
    /// Which key.
    pub key: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

pub(super) fn bad(key: impl Into<String>, message: impl Into<String>) -> BadRequest {
    let message: String = message.into();
    // The client's own text is in it: bound it.
    let message = if message.len() > 900 {
        message.chars().take(900).collect()
    } else {
        message
    };
    BadRequest {
        key: key.into(),
        message,
    }
}

/// Several mistakes as one: the first with the others below it.
pub(super) fn all_of(wrong: Vec<BadRequest>) -> Result<(), BadRequest> {
    const TOLD: usize = 10;
    let more = wrong.len().saturating_sub(TOLD);
    let mut wrong = wrong.into_iter().take(TOLD);
    let Some(mut first) = wrong.next() else {
        return Ok(());
    };
    for other in wrong {
        first.message.push_str(&format!("\n  {other}"));
    }
    if more > 0 {
        first.message.push_str(&format!("\n  and {more} more"));
    }
    Err(first)
}

pub(super) fn at_most(key: &str, entries: usize, most: usize) -> Result<(), BadRequest> {
    if entries <= most {
        return Ok(());
    }
    Err(bad(
        key,
        format!("leads to {entries} entries; at most {most} are taken in all"),
    ))
}

pub(super) fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A JSON error that names the key it is about where that can be found out.
pub(super) fn explain_json(text: &str, error: &serde_json::Error) -> BadRequest {
    let message = error.to_string();
    let place = text
        .split('\n')
        .take(error.line().saturating_sub(1))
        .map(|l| l.len() + 1)
        .sum::<usize>();
    let end = (place + error.column()).min(text.len());
    let before = text.get(..end).unwrap_or_default();
    let after = text.get(end.saturating_sub(1)..).unwrap_or_default();
    for word in ["NaN", "Infinity", "-Infinity"] {
        if after.starts_with(word) {
            let key = last_key(before).unwrap_or_else(|| "body".to_owned());
            return bad(
                key,
                format!("`{word}` is not an amount: write a number such as 2 or 0.5"),
            );
        }
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let name = rest.split('`').next().unwrap_or_default();
        return bad(
            clip(name),
            "is not part of a submission: see the fields of Ray's job API (entrypoint, submission_id, runtime_env, metadata, entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources, entrypoint_label_selector)",
        );
    }
    if let Some(rest) = message.strip_prefix(TWICE) {
        let name = rest.split('`').next().unwrap_or_default();
        return bad(clip(name), "is given twice: send it once");
    }
    let key = match error.classify() {
        serde_json::error::Category::Data => last_key(before),
        _ => None,
    };
    let message = format!("is not a submission as JSON: {message}");
    match key {
        Some(key) => bad(key, message),
        None => bad("body", format!("{message}; {FORM}")),
    }
}

/// What a body that is no JSON at all should be.
pub(super) const FORM: &str = r#"send an object such as {"entrypoint": "python train.py"}"#;

/// The last `"key":` in a piece of JSON.
pub(super) fn last_key(before: &str) -> Option<String> {
    let colon = before.rfind("\":")?;
    let start = before.get(..colon)?.rfind('"')?;
    before.get(start + 1..colon).map(clip)
}
