//! Fields of a body that are more than text: ids and amounts.

use std::collections::BTreeMap;

use curb_core::amount::Amount;
use curb_core::resource::{Resource, Resources};
use curb_core::subject::JobId;
use serde_json::value::RawValue;

use super::wrong::{BadRequest, bad, clip};

pub(super) fn job_id(
    submission: Option<&str>,
    job: Option<&str>,
) -> Result<Option<JobId>, BadRequest> {
    let (key, text) = match (submission, job) {
        (Some(a), Some(b)) if a != b => {
            return Err(bad(
                "job_id",
                "differs from submission_id: it is its old name, leave it out",
            ));
        }
        (Some(a), _) => ("submission_id", a),
        (None, Some(b)) => ("job_id", b),
        (None, None) => return Ok(None),
    };
    let id = JobId::parse(text).map_err(|e| bad(key, e.to_string()))?;
    // Where Ray takes "a job id or a submission id" it looks for a driver's job id first, and those are counted up: a
    // submission of that name would lead to somebody else's driver.
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad(
            key,
            "may not be exactly 8 hex digits: Ray numbers its own drivers so and would take one for the other; add a letter or a word, such as run-01000000",
        ));
    }
    // Somebody could otherwise sit on the id that another one's key will lead to.
    if text
        .strip_prefix("raysubmit_k")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(bad(
            key,
            "has the form of the ids that Curb makes from idempotency keys: send metadata `curb.key` and leave the id out, or choose another",
        ));
    }
    // Ids of later attempts are made from the first: a job of that name could stand in their way.
    if text
        .rsplit_once(".attempt-")
        .is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(bad(
            key,
            "may not end in `.attempt-` and a number: Curb names repeated attempts so",
        ));
    }
    Ok(Some(id))
}

pub(super) fn entrypoint_amounts(
    cpus: Option<&RawValue>,
    gpus: Option<&RawValue>,
    memory: Option<&RawValue>,
    custom: Option<BTreeMap<String, &RawValue>>,
) -> Result<Resources, BadRequest> {
    let mut all = Resources::none();
    for (key, r, raw) in [
        ("entrypoint_num_cpus", Resource::Cpu, cpus),
        ("entrypoint_num_gpus", Resource::Gpu, gpus),
        ("entrypoint_memory", Resource::Memory, memory),
    ] {
        if let Some(raw) = raw {
            all.set(r.clone(), number(key, &r, raw)?);
        }
    }
    for (name, raw) in custom.unwrap_or_default() {
        let key = format!("entrypoint_resources `{}`", clip(&name));
        let r = Resource::parse(&name).map_err(|e| bad(&key, e.to_string()))?;
        if !matches!(r, Resource::Custom(_)) {
            return Err(bad(
                key,
                "has a field of its own: entrypoint_num_cpus, entrypoint_num_gpus or entrypoint_memory",
            ));
        }
        all.set(r.clone(), number(&key, &r, raw)?);
    }
    Ok(all)
}

/// A JSON number as an exact amount: never through a binary float.
pub(super) fn number(key: &str, r: &Resource, raw: &RawValue) -> Result<Amount, BadRequest> {
    let text = raw.get();
    if text == "null" {
        return Ok(Amount::ZERO);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err(bad(key, format!("`{}` is not a number", clip(text))));
    }
    Amount::parse(r.unit(), text).map_err(|e| bad(key, e.to_string()))
}
