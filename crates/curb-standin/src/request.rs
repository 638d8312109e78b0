//! The body of a submission, read and checked as Ray's dashboard does it.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The metadata key with which Curb marks a no-op that claims an id.
pub(crate) const CLAIM_KEY: &str = "curb.claim";

/// The body of a submission as it lies in the request: nothing is copied.
#[derive(Deserialize)]
pub(crate) struct Asked<'a> {
    #[serde(borrow, default)]
    pub(crate) entrypoint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    submission_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    job_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) runtime_env: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) entrypoint_num_cpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) entrypoint_num_gpus: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) entrypoint_memory: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) entrypoint_resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entrypoint_label_selector: Option<&'a RawValue>,
}

/// A submission that passed Ray's checks of types.
pub(crate) struct Checked<'a> {
    pub(crate) entrypoint: Cow<'a, str>,
    pub(crate) submission_id: Option<Cow<'a, str>>,
    pub(crate) is_claim: bool,
    pub(crate) bad_label: Option<String>,
    pub(crate) runtime_env: Option<&'a RawValue>,
}

impl Checked<'_> {
    /// The packages (`gcs://NAME`) that must be there before the entrypoint can start.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &str> {
        let runtime_env = self.runtime_env.map_or("", RawValue::get);
        runtime_env
            .split("\"gcs://")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    }
}

/// What is wrong with a body, and by which of Ray's ways it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// Not a JSON object: aiohttp's bare 500.
    NotAnObject,
    /// The dashboard's 400.
    TypeError(String),
}

/// The keys that Ray takes; any other is an error by name.
const KEYS: [&str; 10] = [
    "entrypoint",
    "submission_id",
    "job_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
];

impl<'a> Asked<'a> {
    /// Reads and checks a body as Ray's dashboard does.
    pub(crate) fn check(body: &'a [u8]) -> Result<Checked<'a>, BadBody> {
        // serde would read an array as the fields in order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(BadBody::NotAnObject);
        }
        let asked: Asked<'a> = serde_json::from_slice(body).map_err(|_| BadBody::NotAnObject)?;
        if let Some(key) = unknown_key(body) {
            return Err(type_error(format!(
                "JobSubmitRequest.__init__() got an unexpected keyword argument '{key}'"
            )));
        }
        let Some(entrypoint) = asked.entrypoint else {
            return Err(type_error(
                "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'"
                    .to_owned(),
            ));
        };
        asked.check_numbers()?;
        if asked.runtime_env.is_some_and(|v| !v.get().starts_with('{')) {
            return Err(wrong_type("runtime_env must be a dict", asked.runtime_env));
        }
        let metadata = asked
            .metadata
            .map(|v| map_of(v, "metadata", true))
            .transpose()?
            .unwrap_or_default();
        let labels = asked
            .entrypoint_label_selector
            .map(|v| map_of(v, "entrypoint_label_selector", true))
            .transpose()?
            .unwrap_or_default();
        if let Some(resources) = asked.entrypoint_resources {
            map_of(resources, "entrypoint_resources", false)?;
        }
        let submission_id = string(
            asked.submission_id,
            "submission_id must be a string if provided",
        )?;
        let job_id = string(asked.job_id, "job_id must be a string if provided")?;
        let Some(entrypoint) = string(Some(entrypoint), "entrypoint must be a string")? else {
            return Err(BadBody::NotAnObject);
        };
        Ok(Checked {
            entrypoint,
            submission_id: submission_id.or(job_id),
            is_claim: metadata.is_claim,
            bad_label: labels.bad_label,
            runtime_env: asked.runtime_env,
        })
    }

    fn check_numbers(&self) -> Result<(), BadBody> {
        for (value, complaint) in [
            (
                self.entrypoint_num_cpus,
                "entrypoint_num_cpus must be a number",
            ),
            (
                self.entrypoint_num_gpus,
                "entrypoint_num_gpus must be a number",
            ),
            (
                self.entrypoint_memory,
                "entrypoint_memory must be an integer",
            ),
        ] {
            let whole = complaint.ends_with("integer");
            let fits = |text: &str| {
                text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                    && !(whole && text.contains(['.', 'e', 'E']))
            };
            if value.is_some_and(|v| !fits(v.get())) {
                return Err(wrong_type(complaint, value));
            }
        }
        Ok(())
    }
}

fn type_error(sentence: String) -> BadBody {
    BadBody::TypeError(sentence)
}

fn wrong_type(complaint: &str, value: Option<&RawValue>) -> BadBody {
    let python = match value.map_or('n', |v| v.get().chars().next().unwrap_or('n')) {
        '"' => "str",
        '{' => "dict",
        '[' => "list",
        't' | 'f' => "bool",
        _ if value.is_some_and(|v| v.get().contains(['.', 'e', 'E'])) => "float",
        _ => "int",
    };
    type_error(format!("{complaint}, got <class '{python}'>"))
}

fn string<'a>(
    value: Option<&'a RawValue>,
    complaint: &str,
) -> Result<Option<Cow<'a, str>>, BadBody> {
    let Some(raw) = value else { return Ok(None) };
    let text = raw.get();
    if !text.starts_with('"') {
        return Err(wrong_type(complaint, value));
    }
    let inside = &text[1..text.len() - 1];
    if !inside.contains('\\') {
        return Ok(Some(Cow::Borrowed(inside)));
    }
    serde_json::from_str(text)
        .map(|s: String| Some(Cow::Owned(s)))
        .map_err(|_| BadBody::NotAnObject)
}

/// The first key that Ray's dataclass has not. `null` values are dropped by Ray before it looks.
fn unknown_key(body: &[u8]) -> Option<String> {
    struct Find(Option<String>);
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Find;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Find, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Text<'de>>()? {
                let value = map.next_value::<Option<IgnoredAny>>()?;
                if value.is_some() && found.is_none() && !KEYS.contains(&key.0.as_ref()) {
                    found = Some(key.0.into_owned());
                }
            }
            Ok(Find(found))
        }
    }
    serde_json::Deserializer::from_slice(body)
        .deserialize_map(Keys)
        .ok()
        .and_then(|find| find.0)
}

/// A string, borrowed where it can be.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[derive(Default)]
struct Seen {
    is_claim: bool,
    bad_label: Option<String>,
}

/// Checks a dict of strings (or of numbers) and notes what matters in it.
fn map_of(raw: &RawValue, field: &'static str, of_strings: bool) -> Result<Seen, BadBody> {
    if !raw.get().starts_with('{') {
        return Err(wrong_type(&format!("{field} must be a dict"), Some(raw)));
    }
    struct Dict<'f> {
        field: &'f str,
        of_strings: bool,
    }
    impl<'de> Visitor<'de> for Dict<'_> {
        type Value = Seen;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
            let mut seen = Seen::default();
            while let Some(key) = map.next_key::<Text<'de>>()? {
                let value = map.next_value::<&'de RawValue>()?;
                let (fits, kind) = match self.of_strings {
                    true => (value.get().starts_with('"'), "strings"),
                    false => (
                        value
                            .get()
                            .starts_with(|c: char| c.is_ascii_digit() || c == '-'),
                        "numbers",
                    ),
                };
                if !fits {
                    let BadBody::TypeError(sentence) = wrong_type(
                        &format!("{} values must be {kind}", self.field),
                        Some(value),
                    ) else {
                        continue;
                    };
                    return Err(A::Error::custom(sentence));
                }
                seen.is_claim |= key.0 == CLAIM_KEY;
                if seen.bad_label.is_none() && !is_label_name(&key.0) {
                    seen.bad_label = Some(key.0.into_owned());
                }
            }
            Ok(seen)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer
        .deserialize_map(Dict { field, of_strings })
        .map_err(|error| {
            let text = error.to_string();
            type_error(
                text.split(" at line ")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        })
}

/// Ray's rule for the name of a label, without its optional prefix.
fn is_label_name(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(body: &str) -> String {
        match Asked::check(body.as_bytes()) {
            Err(BadBody::TypeError(sentence)) => sentence,
            Err(BadBody::NotAnObject) => "not an object".to_owned(),
            Ok(_) => "fine".to_owned(),
        }
    }

    #[test]
    fn bodies_are_refused_with_rays_sentences() {
        for (body, sentence) in [
            (
                r#"{"entrypoint":"true","bogus":1}"#,
                "JobSubmitRequest.__init__() got an unexpected keyword argument 'bogus'",
            ),
            (
                r#"{"submission_id":"a"}"#,
                "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'",
            ),
            (
                r#"{"entrypoint":3}"#,
                "entrypoint must be a string, got <class 'int'>",
            ),
            (
                r#"{"entrypoint":"x","runtime_env":"y"}"#,
                "runtime_env must be a dict, got <class 'str'>",
            ),
            (
                r#"{"entrypoint":"x","metadata":{"a":1}}"#,
                "metadata values must be strings, got <class 'int'>",
            ),
            (
                r#"{"entrypoint":"x","entrypoint_memory":1.5}"#,
                "entrypoint_memory must be an integer, got <class 'float'>",
            ),
            ("nojson", "not an object"),
            ("[]", "not an object"),
        ] {
            assert_eq!(complaint(body), sentence, "{body}");
        }
    }

    #[test]
    fn nulls_count_as_absent() {
        assert_eq!(
            complaint(r#"{"entrypoint":"x","submission_id":null,"bogus":null,"metadata":null}"#),
            "fine"
        );
    }

    #[test]
    fn escapes_are_read_and_claims_seen() {
        let checked = Asked::check(br#"{"entrypoint":"echo \"a\"","submission_id":"\u0061","metadata":{"curb.claim":"1"}}"#).ok().unwrap();
        assert_eq!(
            (
                checked.entrypoint.as_ref(),
                checked.submission_id.as_deref(),
                checked.is_claim
            ),
            ("echo \"a\"", Some("a"), true)
        );
    }

    #[test]
    fn packages_are_found_wherever_they_are_named() {
        let body = br#"{"entrypoint":"x","runtime_env":{"working_dir":"gcs://a.zip","py_modules":["gcs://b.zip","s3://c"]}}"#;
        let checked = Asked::check(body).ok().unwrap();
        assert_eq!(checked.packages().collect::<Vec<_>>(), ["a.zip", "b.zip"]);
    }
}
