//! The body of `POST /api/jobs/`: parsed once, strictly, into what the ledger is asked and what is kept.
//!
//! Whatever is not understood is refused with the key's name: what Curb does not know it must not pass on, and what it
//! passes on it must have read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use curb_core::amount::Amount;
use curb_core::resource::{Resource, Resources};
use curb_core::subject::{JobId, check_name};
use curb_core::time::Millis;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::spec::{JobSpec, STAMP_KEY, USER_KEY, takes_packages};

/// Longest entrypoint, in bytes.
const MAX_ENTRYPOINT: usize = 64 << 10;
/// Most entries of the metadata.
const MAX_METADATA: usize = 256;
/// Most resources of one job, declared and of the entrypoint together: all of them are in its event.
const MAX_RESOURCES: usize = 64;
/// Most labels that a job selects its node by.
const MAX_LABELS: usize = 64;
/// Ray's label of a node for its accelerator.
const ACCELERATOR_LABEL: &str = "ray.io/accelerator-type";
/// What Ray puts before an accelerator's name to make the resource of its nodes.
const ACCELERATOR_RESOURCE: &str = "accelerator_type:";
/// Longest idempotency key.
const MAX_KEY: usize = 200;
/// Most packages of one job.
const MAX_PACKAGES: usize = 64;

/// What a job may say to Curb in its metadata.
pub const DECLARABLE: [&str; 10] = [
    "curb.job_type",
    "curb.cpu",
    "curb.gpu",
    "curb.memory",
    "curb.resources",
    "curb.duration",
    "curb.priority",
    "curb.team",
    "curb.cluster",
    "curb.key",
];

/// Metadata that the gateway or Ray itself sets: what a job says there is dropped.
const RESERVED: [&str; 4] = ["job_submission_id", "job_name", USER_KEY, STAMP_KEY];

/// Top-level keys of a runtime_env (Ray 2.60 and before).
const RUNTIME_ENV_KEYS: [&str; 21] = [
    "_inject_current_ray",
    "_nsight",
    "_ray_commit",
    "_ray_release",
    "_rocprof_sys",
    "conda",
    "config",
    "container",
    "eager_install",
    "env_vars",
    "excludes",
    "image_uri",
    "java_jars",
    "nsight",
    "pip",
    "py_executable",
    "py_modules",
    "rocprof_sys",
    "uv",
    "worker_process_setup_hook",
    "working_dir",
];

/// Why a body is not a submission. The text names the key and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct BadRequest {
    /// Which key.
    pub key: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

/// A submission, understood.
#[derive(Debug)]
pub struct Submission {
    /// The id that the client chose, if it did.
    pub id: Option<JobId>,
    /// The team it is to be charged to.
    pub team: Option<String>,
    /// Its type.
    pub job_type: Option<String>,
    /// The cluster it is for.
    pub cluster: Option<String>,
    /// Amounts that it declares. A zero is not less than a default.
    pub declared: BTreeMap<Resource, Amount>,
    /// How long it says that it runs.
    pub duration: Option<Millis>,
    /// The priority it asks for.
    pub priority: Option<i32>,
    /// The client's idempotency key.
    pub key: Option<String>,
    /// The rest; user and id are empty until they are known.
    pub spec: JobSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow, default)]
    entrypoint: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    submission_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    job_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    runtime_env: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, default)]
    entrypoint_num_cpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_num_gpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_memory: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_resources: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    entrypoint_label_selector: Option<BTreeMap<String, String>>,
}

fn bad(key: impl Into<String>, message: impl Into<String>) -> BadRequest {
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

impl Submission {
    /// Reads a body. `entrypoint_needed` is false where a request is only judged, not run.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(body: &[u8], entrypoint_needed: bool) -> Result<Submission, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| bad("body", "is not UTF-8 text"))?;
        let raw: Body<'_> = serde_json::from_str(text).map_err(|e| explain_json(text, &e))?;
        let entrypoint = raw.entrypoint.unwrap_or_default().into_owned();
        if entrypoint_needed && entrypoint.trim().is_empty() {
            return Err(bad("entrypoint", "is missing: write the command to run"));
        }
        if entrypoint.len() > MAX_ENTRYPOINT {
            return Err(bad(
                "entrypoint",
                format!("is longer than {MAX_ENTRYPOINT} bytes"),
            ));
        }
        if entrypoint.contains('\0') {
            return Err(bad(
                "entrypoint",
                "has a NUL character, which no command line can carry",
            ));
        }
        let id = job_id(raw.submission_id.as_deref(), raw.job_id.as_deref())?;
        let (runtime_env, packages) = match raw.runtime_env {
            Some(env) => runtime_env(env)?,
            None => (None, Vec::new()),
        };
        let custom = raw.entrypoint_resources.as_ref().map_or(0, BTreeMap::len);
        at_most("entrypoint_resources", custom, MAX_RESOURCES)?;
        let labels = raw.entrypoint_label_selector.unwrap_or_default();
        at_most("entrypoint_label_selector", labels.len(), MAX_LABELS)?;
        let spec = JobSpec {
            user: String::new(),
            id: String::new(),
            entrypoint,
            runtime_env,
            metadata: BTreeMap::new(),
            entrypoint_resources: entrypoint_amounts(
                raw.entrypoint_num_cpus,
                raw.entrypoint_num_gpus,
                raw.entrypoint_memory,
                raw.entrypoint_resources,
            )?,
            label_selector: labels,
            packages,
            duration: None,
        };
        let mut submission = Submission {
            id,
            team: None,
            job_type: None,
            cluster: None,
            declared: BTreeMap::new(),
            duration: None,
            priority: None,
            key: None,
            spec,
        };
        if let Some(metadata) = raw.metadata {
            submission.read_metadata(metadata)?;
        }
        submission.count_steered_gpus()?;
        let resources = submission.declared.len() + submission.spec.entrypoint_resources.0.len();
        at_most("metadata `curb.resources`", resources, MAX_RESOURCES)?;
        submission.spec.duration = submission.duration;
        Ok(submission)
    }

    /// Counts GPUs of the model that the job steers itself to: one that asks for `gpu` and is placed on H100 by a label or
    /// by the resource that Ray gives such nodes uses `gpu:H100`, whether it says so or not.
    fn count_steered_gpus(&mut self) -> Result<(), BadRequest> {
        let of = |r: &Resource| self.declared.get(r).copied().unwrap_or(Amount::ZERO);
        let plain = of(&Resource::Gpu).max(self.spec.entrypoint_resources.get(&Resource::Gpu));
        let asked = if plain == Amount::ZERO {
            // Only models are named, which may be others than the one that it goes to.
            let models = self.declared.iter();
            models
                .filter(|(r, _)| matches!(r, Resource::GpuModel(_)))
                .fold(Amount::ZERO, |sum, (_, a)| sum.saturating_add(*a))
        } else {
            plain
        };
        if asked == Amount::ZERO {
            return Ok(());
        }
        for model in self.steered_to()? {
            let counted = self.declared.entry(model).or_insert(Amount::ZERO);
            *counted = (*counted).max(asked);
        }
        Ok(())
    }

    /// The GPU models that the job names for its place.
    fn steered_to(&self) -> Result<BTreeSet<Resource>, BadRequest> {
        let mut found = BTreeSet::new();
        let model = |key: String, name: &str| {
            Resource::parse(&format!("gpu:{name}")).map_err(|_| {
                bad(
                    key,
                    format!(
                        "`{}` is not one accelerator: a job that asks for GPUs names a single one, such as H100, so that it can be counted",
                        clip(name)
                    ),
                )
            })
        };
        if let Some(wanted) = self.spec.label_selector.get(ACCELERATOR_LABEL) {
            let key = format!("entrypoint_label_selector `{ACCELERATOR_LABEL}`");
            let wanted = wanted.trim();
            // `!H100` and `!in(...)` say where it does not go.
            if !wanted.starts_with('!') && !wanted.is_empty() {
                found.insert(model(key, wanted)?);
            }
        }
        for (r, _) in self.spec.entrypoint_resources.iter() {
            if let Resource::Custom(name) = r
                && let Some(wanted) = name.strip_prefix(ACCELERATOR_RESOURCE)
            {
                let key = format!("entrypoint_resources `{}`", clip(name));
                found.insert(model(key, wanted)?);
            }
        }
        Ok(found)
    }

    fn read_metadata(
        &mut self,
        metadata: BTreeMap<Cow<'_, str>, &RawValue>,
    ) -> Result<(), BadRequest> {
        at_most("metadata", metadata.len(), MAX_METADATA)?;
        // All that is wrong is told at once.
        let mut wrong: Vec<BadRequest> = Vec::new();
        for (key, raw) in metadata {
            if RESERVED.contains(&&*key) {
                continue;
            }
            match self.read_entry(&key, raw) {
                Ok(value) => {
                    self.spec.metadata.insert(key.into_owned(), value);
                }
                Err(message) => wrong.push(bad(format!("metadata `{}`", clip(&key)), message)),
            }
        }
        all_of(wrong)
    }

    fn read_entry(&mut self, key: &str, raw: &RawValue) -> Result<String, String> {
        let value: String = serde_json::from_str(raw.get())
            .map_err(|_| "is not a text: write it in quotes".to_owned())?;
        match key.split_at_checked(5) {
            Some(("curb.", name)) => self.declare(name, &value)?,
            Some((prefix, name)) if prefix.eq_ignore_ascii_case("curb.") => {
                let right = format!("curb.{}", name.to_ascii_lowercase());
                return Err(format!(
                    "is not known to Curb, whose keys are in small letters: did you mean `{}`?",
                    clip(&right)
                ));
            }
            _ => {}
        }
        Ok(value)
    }

    fn declare(&mut self, name: &str, value: &str) -> Result<(), String> {
        let checked = |v: &str| {
            check_name(v)
                .map(|()| Some(v.to_owned()))
                .map_err(|e| e.to_string())
        };
        match name {
            "job_type" => self.job_type = checked(value)?,
            "team" => self.team = checked(value)?,
            "cluster" => self.cluster = checked(value)?,
            "cpu" => self.set(Resource::Cpu, value)?,
            "memory" => self.set(Resource::Memory, value)?,
            "gpu" => match value.rsplit_once(':') {
                Some((model, n)) => {
                    let r = Resource::parse(&format!("gpu:{}", model.trim()))
                        .map_err(|e| e.to_string())?;
                    self.set(r, n)?;
                }
                None => self.set(Resource::Gpu, value)?,
            },
            "resources" => self.declare_resources(value)?,
            "duration" => match Millis::parse(value).map_err(|e| e.to_string())? {
                Millis(0) => {
                    return Err("a job of no duration cannot be: leave the key out, or write how long it may run, such as `2h`".to_owned());
                }
                duration => self.duration = Some(duration),
            },
            "priority" => {
                self.priority = Some(value.trim().parse().map_err(|_| {
                    format!(
                        "`{}` is not a priority: write a whole number such as 10",
                        clip(value)
                    )
                })?);
            }
            "key" => {
                if value.is_empty() || value.len() > MAX_KEY || value.chars().any(char::is_control)
                {
                    return Err(format!(
                        "an idempotency key has 1 to {MAX_KEY} printable characters"
                    ));
                }
                self.key = Some(value.to_owned());
            }
            _ => {
                return Err(format!(
                    "is not known to Curb: a job may set {}",
                    DECLARABLE.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn set(&mut self, r: Resource, value: &str) -> Result<(), String> {
        let amount = Amount::parse_declared(r.unit(), value).map_err(|e| e.to_string())?;
        self.declared.insert(r, amount);
        Ok(())
    }

    /// `name=2,other=0.5`, or a JSON object.
    fn declare_resources(&mut self, value: &str) -> Result<(), String> {
        let form = "write name=2,other=0.5 or a JSON object";
        let mut all: Vec<(String, String)> = Vec::new();
        if value.trim_start().starts_with('{') {
            let map: BTreeMap<String, Value> = serde_json::from_str(value)
                .map_err(|e| format!("is not a JSON object ({e}): {form}"))?;
            for (k, v) in map {
                match v {
                    Value::Number(n) => all.push((k, n.to_string())),
                    Value::String(s) => all.push((k, s)),
                    _ => return Err(format!("`{}` is not an amount: {form}", clip(&k))),
                }
            }
        } else {
            for part in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                let (k, v) = part
                    .split_once('=')
                    .ok_or_else(|| format!("`{}` has no `=`: {form}", clip(part)))?;
                all.push((k.trim().to_owned(), v.trim().to_owned()));
            }
        }
        for (k, v) in all {
            let r = Resource::parse(&k).map_err(|e| e.to_string())?;
            self.set(r, &v)?;
        }
        Ok(())
    }
}

/// Several mistakes as one: the first with the others below it.
fn all_of(wrong: Vec<BadRequest>) -> Result<(), BadRequest> {
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

fn at_most(key: &str, entries: usize, most: usize) -> Result<(), BadRequest> {
    if entries <= most {
        return Ok(());
    }
    Err(bad(
        key,
        format!("leads to {entries} entries; at most {most} are taken in all"),
    ))
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

fn job_id(submission: Option<&str>, job: Option<&str>) -> Result<Option<JobId>, BadRequest> {
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

fn entrypoint_amounts(
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
fn number(key: &str, r: &Resource, raw: &RawValue) -> Result<Amount, BadRequest> {
    let text = raw.get();
    if text == "null" {
        return Ok(Amount::ZERO);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err(bad(key, format!("`{}` is not a number", clip(text))));
    }
    Amount::parse(r.unit(), text).map_err(|e| bad(key, e.to_string()))
}

/// Checks a runtime_env and finds the packages that it names.
fn runtime_env(raw: &RawValue) -> Result<(Option<Box<RawValue>>, Vec<String>), BadRequest> {
    // What nearly every job without files sends: nothing to look at.
    if matches!(raw.get(), "{}" | "null") {
        return Ok((None, Vec::new()));
    }
    let map: serde_json::Map<String, Value> = serde_json::from_str(raw.get())
        .map_err(|e| bad("runtime_env", format!("is not a JSON object ({e})")))?;
    let mut packages = Vec::new();
    for (key, value) in &map {
        if !RUNTIME_ENV_KEYS.contains(&key.as_str()) {
            let known = RUNTIME_ENV_KEYS.iter().filter(|k| !k.starts_with('_'));
            let known: Vec<_> = known.copied().collect();
            return Err(bad(
                format!("runtime_env `{}`", clip(key)),
                format!("is not known: use {}", known.join(", ")),
            ));
        }
        // Environment variables are the job's own text, whatever they look like.
        if key != "env_vars" {
            if !LISTS_OF_TEXT.contains(&key.as_str()) {
                no_control(key, value)?;
            }
            find_packages(key, value, &mut packages)?;
        }
    }
    packages.sort();
    packages.dedup();
    if packages.len() > MAX_PACKAGES {
        return Err(bad(
            "runtime_env",
            format!("names more than {MAX_PACKAGES} packages"),
        ));
    }
    // Written anew: what goes on to Ray is what was read here, duplicate keys and all.
    let clean =
        serde_json::value::to_raw_value(&map).map_err(|e| bad("runtime_env", e.to_string()))?;
    Ok((Some(clean), packages))
}

/// Keys that hold lines of other tools' files: a tab or a carriage return is nothing special there.
const LISTS_OF_TEXT: [&str; 4] = ["conda", "excludes", "pip", "uv"];

/// Ray's reader of addresses drops tabs and line feeds, so that what is written `g\tcs://` is read as `gcs://`.
fn no_control(key: &str, value: &Value) -> Result<(), BadRequest> {
    match value {
        Value::String(s) if s.bytes().any(|b| b.is_ascii_control()) => Err(bad(
            format!("runtime_env `{key}`"),
            "has a control character, such as a tab or a line feed: leave it out",
        )),
        Value::Array(list) => list.iter().try_for_each(|v| no_control(key, v)),
        Value::Object(map) => map.values().try_for_each(|v| no_control(key, v)),
        _ => Ok(()),
    }
}

fn find_packages(key: &str, value: &Value, found: &mut Vec<String>) -> Result<(), BadRequest> {
    match value {
        Value::String(s) => {
            let Some(name) = scheme_gcs(s) else {
                return Ok(());
            };
            let at = format!("runtime_env `{key}`");
            if !takes_packages(key) || name.is_none() {
                return Err(bad(
                    at,
                    format!(
                        "`{}` cannot stand there: uploaded packages go into working_dir, py_modules or java_jars as gcs://NAME",
                        clip(s)
                    ),
                ));
            }
            let name = name.unwrap_or_default();
            crate::packages::check_package_name(name).map_err(|e| bad(at, e))?;
            found.push(name.to_owned());
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|v| find_packages(key, v, found)),
        Value::Object(map) => {
            // One level below a key that takes packages nothing is a package to Ray.
            map.values()
                .try_for_each(|v| find_packages("nested", v, found))
        }
        _ => Ok(()),
    }
}

/// `Some(Some(name))` for `gcs://name`; `Some(None)` for a spelling that a lenient reader may take for it.
fn scheme_gcs(text: &str) -> Option<Option<&str>> {
    if let Some(name) = text.strip_prefix("gcs://") {
        return Some(Some(name));
    }
    let head: String = text
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .take(4)
        .collect();
    head.eq_ignore_ascii_case("gcs:").then_some(None)
}

/// A JSON error that names the key it is about where that can be found out.
fn explain_json(text: &str, error: &serde_json::Error) -> BadRequest {
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
    let key = match error.classify() {
        serde_json::error::Category::Data => last_key(before),
        _ => None,
    };
    bad(
        key.unwrap_or_else(|| "body".to_owned()),
        format!("is not a submission as JSON: {message}"),
    )
}

/// The last `"key":` in a piece of JSON.
fn last_key(before: &str) -> Option<String> {
    let colon = before.rfind("\":")?;
    let start = before.get(..colon)?.rfind('"')?;
    before.get(start + 1..colon).map(clip)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<Submission, BadRequest> {
        Submission::parse(json.as_bytes(), true)
    }

    #[test]
    fn what_rays_own_client_sends_is_understood() {
        let s = parse(
            r#"{"entrypoint":"python main.py 'a b'","runtime_env":{"working_dir":"gcs://_ray_pkg_1.zip"},
            "metadata":{"user":"mallory","job_submission_id":"victim","curb.gpu":"H100:2","curb.duration":"1h","curb.resources":"ssd=1.5"},
            "entrypoint_num_cpus":1.0,"entrypoint_memory":1073741824,"entrypoint_resources":{"x":0.25}}"#,
        )
        .expect("fine");
        assert_eq!(s.spec.packages, ["_ray_pkg_1.zip"]);
        assert!(!s.spec.metadata.contains_key("job_submission_id"));
        assert_eq!(s.spec.metadata["user"], "mallory");
        assert_eq!(
            s.spec.entrypoint_resources.get(&Resource::Cpu),
            Amount(1000)
        );
        assert_eq!(s.declared[&Resource::GpuModel("H100".into())], Amount(2000));
        assert_eq!(s.declared[&Resource::Custom("ssd".into())], Amount(1500));
        assert_eq!(s.duration, Some(Millis::HOUR));
        assert_eq!(s.id, None);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (json, key) in [
            (r#"{"entrypoint":""}"#, "entrypoint"),
            (r"{}", "entrypoint"),
            (r#"{"entrypoint":"x\u0000y"}"#, "entrypoint"),
            (
                r#"{"entrypoint":"x","entrypoint_num_cpus":-1}"#,
                "entrypoint_num_cpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_num_cpus":NaN}"#,
                "entrypoint_num_cpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_num_gpus":Infinity}"#,
                "entrypoint_num_gpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_num_cpus":1e400}"#,
                "entrypoint_num_cpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_num_cpus":99999999999999999999}"#,
                "entrypoint_num_cpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_num_cpus":"2"}"#,
                "entrypoint_num_cpus",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_memory":-5}"#,
                "entrypoint_memory",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_resources":{"a":-1}}"#,
                "entrypoint_resources `a`",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_resources":{"CPU":1}}"#,
                "entrypoint_resources `CPU`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.cpu":"NaN"}}"#,
                "metadata `curb.cpu`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.cpu":"-1"}}"#,
                "metadata `curb.cpu`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.memory":"lots"}}"#,
                "metadata `curb.memory`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.gpu":"H100:"}}"#,
                "metadata `curb.gpu`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.cpus":"1"}}"#,
                "metadata `curb.cpus`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.duration":"soon"}}"#,
                "metadata `curb.duration`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.priority":"high"}}"#,
                "metadata `curb.priority`",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"curb.resources":"a"}}"#,
                "metadata `curb.resources`",
            ),
            (r#"{"entrypoint":"x","metadata":{"a":1}}"#, "metadata `a`"),
            (
                r#"{"entrypoint":"x","submission_id":"a/b"}"#,
                "submission_id",
            ),
            (
                r#"{"entrypoint":"x","submission_id":"a.attempt-2"}"#,
                "submission_id",
            ),
            (
                r#"{"entrypoint":"x","submission_id":"a","job_id":"b"}"#,
                "job_id",
            ),
            (
                r#"{"entrypoint":"x","submission_id":"03000000"}"#,
                "submission_id",
            ),
            (
                r#"{"entrypoint":"x","submission_id":"DEADbeef"}"#,
                "submission_id",
            ),
            (r#"{"entrypoint":"x","job_id":"0a000000"}"#, "job_id"),
            (
                r#"{"entrypoint":"x","submission_id":"raysubmit_k0123456789abcdef0123456789abcdef"}"#,
                "submission_id",
            ),
            (r#"{"entrypoint":"x","retry_policy":{}}"#, "retry_policy"),
            (
                r#"{"entrypoint":"x","runtime_env":{"shell":"x"}}"#,
                "runtime_env `shell`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"working_dir":"gcs://../x"}}"#,
                "runtime_env `working_dir`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"working_dir":"GCS://x.zip"}}"#,
                "runtime_env `working_dir`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"pip":["gcs://x.zip"]}}"#,
                "runtime_env `pip`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"py_modules":[{"a":"gcs://x.zip"}]}}"#,
                "runtime_env `nested`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"working_dir":"g\tcs://_ray_pkg_1.zip"}}"#,
                "runtime_env `working_dir`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"working_dir":"https://a/b\u007f.zip"}}"#,
                "runtime_env `working_dir`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"py_modules":["s3://a/b.zip","\u0000gcs://x.zip"]}}"#,
                "runtime_env `py_modules`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"container":{"image":"a\nb"}}}"#,
                "runtime_env `container`",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":{"pip":["g\ncs://x.zip"]}}"#,
                "runtime_env `pip`",
            ),
            ("[1]", "body"),
            ("", "body"),
            (r#"{"entrypoint":5}"#, "entrypoint"),
        ] {
            let error = parse(json).expect_err(json);
            assert_eq!(error.key, key, "{json}: {error}");
        }
    }

    #[test]
    fn a_job_names_a_bounded_number_of_resources_labels_and_metadata() {
        let many = |n: usize, value: Value| -> Value {
            (0..n).map(|i| (format!("x{i}"), value.clone())).collect()
        };
        let list = |n: usize| {
            let all: Vec<String> = (0..n).map(|i| format!("y{i}=1")).collect();
            all.join(",")
        };
        for (field, value, bound) in [
            ("entrypoint_resources", Value::from(1), MAX_RESOURCES),
            // Nothing of each counts as well: it has to be read.
            ("entrypoint_resources", Value::from(0), MAX_RESOURCES),
            ("entrypoint_label_selector", Value::from("a"), MAX_LABELS),
            ("metadata", Value::from("a"), MAX_METADATA),
        ] {
            let body = |n| {
                serde_json::json!({"entrypoint": "x", field: many(n, value.clone())}).to_string()
            };
            parse(&body(bound)).expect(field);
            assert_eq!(parse(&body(bound + 1)).expect_err(field).key, field);
        }
        let both = |n| {
            serde_json::json!({"entrypoint": "x", "entrypoint_resources": many(32, Value::from(1)),
                "metadata": {"curb.resources": list(n)}})
            .to_string()
        };
        parse(&both(32)).expect("64 together");
        let error = parse(&both(33)).expect_err("65 together");
        assert_eq!(error.key, "metadata `curb.resources`");
    }

    #[test]
    fn lines_of_a_requirements_file_and_the_jobs_own_variables_may_have_tabs() {
        parse(r#"{"entrypoint":"x","runtime_env":{"pip":["numpy\t# for sums\r"],"env_vars":{"A":"b\nc"}}}"#)
            .expect("fine");
    }

    #[test]
    fn gpus_are_counted_as_the_model_that_the_job_steers_itself_to() {
        let model = |json: &str, name: &str| {
            let s = parse(json).expect(json);
            s.declared.get(&Resource::GpuModel(name.into())).copied()
        };
        let label =
            r#""entrypoint":"x","entrypoint_label_selector":{"ray.io/accelerator-type":"H100"}"#;
        let resource = r#""entrypoint":"x","entrypoint_resources":{"accelerator_type:H100":0.001}"#;
        for steered in [label, resource] {
            let with = |more: &str| model(&format!("{{{steered}{more}}}"), "H100");
            assert_eq!(with(r#","entrypoint_num_gpus":2"#), Some(Amount(2000)));
            assert_eq!(
                with(r#","metadata":{"curb.gpu":"4"},"entrypoint_num_gpus":2"#),
                Some(Amount(4000))
            );
            // Naming a cheaper one does not help.
            assert_eq!(
                with(r#","metadata":{"curb.gpu":"K80:2"}"#),
                Some(Amount(2000))
            );
            assert_eq!(
                with(r#","metadata":{"curb.gpu":"H100:8"},"entrypoint_num_gpus":1"#),
                Some(Amount(8000))
            );
            // Without GPUs it only stands beside them.
            assert_eq!(with(r#","entrypoint_num_cpus":1"#), None);
        }
        let body = |wanted: &str| {
            format!(
                r#"{{"entrypoint":"x","entrypoint_num_gpus":1,"entrypoint_label_selector":{{"ray.io/accelerator-type":"{wanted}"}}}}"#
            )
        };
        assert_eq!(model(&body("!H100"), "H100"), None);
        let error = parse(&body("in(H100,A100)")).expect_err("two");
        assert_eq!(
            error.key,
            "entrypoint_label_selector `ray.io/accelerator-type`"
        );
    }

    #[test]
    fn an_id_that_only_resembles_a_drivers_or_a_derived_one_may_be_chosen() {
        for id in [
            "3000000",
            "030000000",
            "0300000g",
            "raysubmit_k123456789abcdefX",
            "raysubmit_kABCDEFGHJKLMNPQ",
        ] {
            let json = format!(r#"{{"entrypoint":"x","submission_id":"{id}"}}"#);
            let chosen = parse(&json).expect(id).id.expect("an id");
            assert_eq!(chosen.as_str(), id);
        }
    }

    #[test]
    fn a_message_is_bounded_whatever_was_sent() {
        let long = "x".repeat(100_000);
        for json in [
            format!(r#"{{"{long}":1}}"#),
            format!(r#"{{"entrypoint":"x","metadata":{{"curb.priority":"{long}"}}}}"#),
            format!(r#"{{"entrypoint":"x","runtime_env":{{"{long}":1}}}}"#),
        ] {
            assert!(parse(&json).expect_err("refused").to_string().len() < 2_000);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Submission::parse(&body, true);
        }

        #[test]
        fn reading_text_never_panics(text in "\\PC{0,80}", key in "[a-z._]{0,12}") {
            let json = serde_json::json!({"entrypoint": text, "metadata": {format!("curb.{key}"): text}});
            let _ = Submission::parse(json.to_string().as_bytes(), true);
            let _ = Submission::parse(text.as_bytes(), false);
        }
    }
}
