//! The runtime_env: which keys it may have, and which packages it names.

use serde_json::Value;
use serde_json::value::RawValue;

use super::wrong::{BadRequest, bad, clip};
use crate::spec::takes_packages;

/// Most packages of one job.
const MAX_PACKAGES: usize = 64;

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

/// Checks a runtime_env and finds the packages that it names.
pub(super) fn runtime_env(
    raw: &RawValue,
) -> Result<(Option<Box<RawValue>>, Vec<String>), BadRequest> {
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
pub(super) fn no_control(key: &str, value: &Value) -> Result<(), BadRequest> {
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

pub(super) fn find_packages(
    key: &str,
    value: &Value,
    found: &mut Vec<String>,
) -> Result<(), BadRequest> {
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
pub(super) fn scheme_gcs(text: &str) -> Option<Option<&str>> {
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
