//! A job's whole request as it is kept beside the journal, and the body that Ray is given for it.

use std::collections::BTreeMap;

use curb_core::resource::Resources;
use curb_core::time::Millis;
use curb_ray::{Milli, SubmitRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Metadata key under which Ray shows who a job is charged to.
pub const USER_KEY: &str = "curb.user";
/// Metadata key of the random mark by which a record in Ray is known to be ours.
pub const STAMP_KEY: &str = "curb.stamp";

/// Keys whose `gcs://` values name packages.
const PACKAGE_KEYS: [&str; 3] = ["working_dir", "py_modules", "java_jars"];

/// What was asked for, in the words of the user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobSpec {
    /// Who asked.
    pub user: String,
    /// The job's id.
    pub id: String,
    /// The shell command.
    pub entrypoint: String,
    /// As it was sent, except for its formatting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_env: Option<Box<RawValue>>,
    /// The user's own metadata and what it declared to Curb; reserved keys are not in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Amounts of the entrypoint itself, as Ray is told.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub entrypoint_resources: Resources,
    /// Labels of the node for the entrypoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub label_selector: BTreeMap<String, String>,
    /// Names of packages that must be in Ray before it starts, as the user knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// The declared duration, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Millis>,
}

/// A spec as bytes with its key.
pub struct EncodedSpec {
    /// The job's id, a dot, and the SHA-256 of the body in hex. What comes together is kept together by that; see
    /// `new_id` of the gateway.
    pub key: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl JobSpec {
    /// The bytes that are kept and their key. User and id are part of both, so that no two jobs share a body.
    ///
    /// # Errors
    /// JSON refuses (it does not for these types).
    pub fn encode(&self) -> Result<EncodedSpec, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        Ok(EncodedSpec {
            key: format!("{}.{}", self.id, hex::encode(Sha256::digest(&body))),
            body,
        })
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Of an entry in a map or a list, beside its text.
        const EACH: usize = 64;
        let texts = |map: &BTreeMap<String, String>| -> usize {
            map.iter().map(|(k, v)| k.len() + v.len() + EACH).sum()
        };
        let packages: usize = self.packages.iter().map(|p| p.len() + EACH).sum();
        let env = self.runtime_env.as_ref().map_or(0, |env| env.get().len());
        std::mem::size_of::<JobSpec>()
            + self.user.len()
            + self.id.len()
            + self.entrypoint.len()
            + env
            + texts(&self.metadata)
            + texts(&self.label_selector)
            + self.entrypoint_resources.0.len() * 2 * EACH
            + packages
    }

    /// Reads what [`JobSpec::encode`] wrote.
    ///
    /// # Errors
    /// It is not a spec.
    pub fn decode(body: &[u8]) -> Result<JobSpec, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The submission for Ray: rebuilt from parsed values, packages under the user's names in Ray, our stamps on it.
    ///
    /// # Errors
    /// The kept runtime_env is not JSON any more.
    pub fn to_ray(
        &self,
        ray_id: &str,
        stamp: &str,
        user: &str,
    ) -> Result<SubmitRequest, serde_json::Error> {
        let mut request = SubmitRequest::new(ray_id, self.entrypoint.as_str());
        request.runtime_env = match &self.runtime_env {
            Some(env) if !self.packages.is_empty() => {
                let mut value: Value = serde_json::from_str(env.get())?;
                rename_packages(&mut value, |name| ray_package_name(user, name));
                Some(serde_json::value::to_raw_value(&value)?)
            }
            other => other.clone(),
        };
        request.metadata = self.metadata.clone();
        request
            .metadata
            .insert(USER_KEY.to_owned(), user.to_owned());
        request
            .metadata
            .insert(STAMP_KEY.to_owned(), stamp.to_owned());
        for (resource, amount) in self.entrypoint_resources.iter() {
            use curb_core::resource::Resource;
            match resource {
                Resource::Cpu => request.entrypoint_num_cpus = Some(Milli(amount.0)),
                Resource::Gpu => request.entrypoint_num_gpus = Some(Milli(amount.0)),
                Resource::Memory => request.entrypoint_memory = Some(amount.0),
                Resource::GpuModel(_) => {}
                Resource::Custom(name) => {
                    request
                        .entrypoint_resources
                        .insert(name.clone(), Milli(amount.0));
                }
            }
        }
        request.entrypoint_label_selector = self.label_selector.clone();
        Ok(request)
    }
}

/// The name of a user's package in Ray. Each user has names of their own, so that nobody can put code under the name
/// that another one's job will load.
#[must_use]
pub fn ray_package_name(user: &str, name: &str) -> String {
    format!("curb-{}-{name}", user_tag(user))
}

/// 16 hex digits that stand for a user in names of files and packages.
#[must_use]
pub fn user_tag(user: &str) -> String {
    hex::encode(&Sha256::digest(user.as_bytes())[..8])
}

/// Calls `rename` on each package name in a runtime_env and puts the answer in its place.
pub fn rename_packages(env: &mut Value, mut rename: impl FnMut(&str) -> String) {
    let Value::Object(map) = env else { return };
    let mut one = |v: &mut Value| {
        if let Value::String(s) = v
            && let Some(name) = s.strip_prefix("gcs://")
        {
            *s = format!("gcs://{}", rename(name));
        }
    };
    for key in PACKAGE_KEYS {
        match map.get_mut(key) {
            Some(Value::Array(list)) => list.iter_mut().for_each(&mut one),
            Some(v) => one(v),
            None => {}
        }
    }
}

/// Whether a `gcs://` value may stand under this top-level key of a runtime_env.
#[must_use]
pub fn takes_packages(key: &str) -> bool {
    PACKAGE_KEYS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_get_the_names_of_their_user_and_nothing_else_changes() {
        let mut env: Value = serde_json::json!({
            "working_dir": "gcs://_ray_pkg_a.zip",
            "py_modules": ["gcs://_ray_pkg_b.zip", "s3://x/y.zip"],
            "env_vars": {"A": "gcs://not-a-package"},
        });
        rename_packages(&mut env, |n| ray_package_name("ana", n));
        let tag = user_tag("ana");
        assert_eq!(
            env["working_dir"],
            format!("gcs://curb-{tag}-_ray_pkg_a.zip")
        );
        assert_eq!(
            env["py_modules"][0],
            format!("gcs://curb-{tag}-_ray_pkg_b.zip")
        );
        assert_eq!(env["py_modules"][1], "s3://x/y.zip");
        assert_eq!(env["env_vars"]["A"], "gcs://not-a-package");
        assert_ne!(user_tag("ana"), user_tag("li"));
    }

    #[test]
    fn the_key_covers_user_id_and_content() {
        let spec = |user: &str, id: &str, entry: &str| {
            let json = serde_json::json!({"user": user, "id": id, "entrypoint": entry});
            let spec: JobSpec = serde_json::from_value(json).expect("a spec");
            spec.encode().expect("json").key
        };
        let keys = [
            spec("ana", "a", "x"),
            spec("li", "a", "x"),
            spec("ana", "b", "x"),
            spec("ana", "a", "y"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn ray_is_told_who_and_which_whatever_the_user_wrote() {
        let spec = JobSpec {
            user: "ana".into(),
            id: "j".into(),
            entrypoint: "true".into(),
            runtime_env: Some(
                RawValue::from_string(r#"{"working_dir":"gcs://p.zip"}"#.into()).expect("json"),
            ),
            metadata: BTreeMap::from([("team".into(), "x".into())]),
            entrypoint_resources: [(
                curb_core::resource::Resource::Cpu,
                curb_core::amount::Amount(500),
            )]
            .into_iter()
            .collect(),
            label_selector: BTreeMap::new(),
            packages: vec!["p.zip".into()],
            duration: None,
        };
        let request = spec.to_ray("j.attempt-2", "s", "ana").expect("fine");
        assert_eq!(request.submission_id, "j.attempt-2");
        assert_eq!(request.metadata[STAMP_KEY], "s");
        assert_eq!(request.metadata[USER_KEY], "ana");
        assert_eq!(request.entrypoint_num_cpus, Some(Milli(500)));
        assert!(
            request
                .runtime_env
                .expect("kept")
                .get()
                .contains(&ray_package_name("ana", "p.zip"))
        );
    }
}
