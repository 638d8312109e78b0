//! The body of `POST /api/jobs/`: parsed once, strictly, into what the ledger is asked and what is kept.
//!
//! Whatever is not understood is refused with the key's name: what Curb does not know it must not pass on, and what it
//! passes on it must have read.

mod fields;
mod runtime_env;
mod unique;
mod wrong;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use curb_core::amount::Amount;
use curb_core::resource::Resource;
use curb_core::subject::{JobId, check_name};
use curb_core::time::Millis;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use fields::{entrypoint_amounts, job_id};
use runtime_env::runtime_env;
use unique::Unique;
pub use wrong::BadRequest;
use wrong::{FORM, all_of, at_most, bad, clip, explain_json};

use crate::spec::{JobSpec, STAMP_KEY, USER_KEY};

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
    metadata: Option<Unique<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, default)]
    entrypoint_num_cpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_num_gpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_memory: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_resources: Option<Unique<String, &'a RawValue>>,
    #[serde(default)]
    entrypoint_label_selector: Option<Unique<String, String>>,
}

impl Submission {
    /// Reads a body. `entrypoint_needed` is false where a request is only judged, not run.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(body: &[u8], entrypoint_needed: bool) -> Result<Submission, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| bad("body", "is not UTF-8 text"))?;
        // To the parser a list would do as well, its values taken for the fields in their order.
        if !text.trim_start().starts_with('{') {
            return Err(bad("body", format!("is not a JSON object: {FORM}")));
        }
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
        let custom = raw.entrypoint_resources.map(|r| r.0);
        let named = custom.as_ref().map_or(0, BTreeMap::len);
        at_most("entrypoint_resources", named, MAX_RESOURCES)?;
        let labels = raw.entrypoint_label_selector.map(|l| l.0);
        let labels = labels.unwrap_or_default();
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
                custom,
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
            submission.read_metadata(metadata.0)?;
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
        // Also where two keys say it: `curb.cpu`, and `cpu` in `curb.resources`.
        if self.declared.contains_key(&r) {
            return Err(format!("says anew how much `{r}` it needs: say it once"));
        }
        self.declared.insert(r, amount);
        Ok(())
    }

    /// `name=2,other=0.5`, or a JSON object.
    fn declare_resources(&mut self, value: &str) -> Result<(), String> {
        let form = "write name=2,other=0.5 or a JSON object";
        let mut all: Vec<(String, String)> = Vec::new();
        if value.trim_start().starts_with('{') {
            let map: Unique<String, Value> = serde_json::from_str(value)
                .map_err(|e| format!("is not a JSON object that can be read ({e}): {form}"))?;
            for (k, v) in map.0 {
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

#[cfg(test)]
mod tests;
