//! Ray's list of jobs, of which only some are wanted.
//!
//! Ray has no paging: whoever asks for one job of many gets every record that it ever made. A record costs far more to
//! make than to skip, so that only those that are wanted are made, and one that cannot be read costs nobody else's.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::types::JobDetails;

/// What of Ray's list was wanted.
#[derive(Debug, Default)]
pub struct Listed {
    /// How many records Ray has, drivers too.
    pub total: usize,
    /// Those that were wanted and are there.
    pub records: Vec<JobDetails>,
    /// Those that were wanted and could not be read: the submission id, and why.
    pub unreadable: Vec<(String, String)>,
}

impl Listed {
    /// Reads a list.
    ///
    /// # Errors
    /// It is no JSON array of records.
    pub(crate) fn read(body: &[u8], wanted: &HashSet<String>) -> serde_json::Result<Listed> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let listed = Wanted(wanted).deserialize(&mut json)?;
        json.end()?;
        Ok(listed)
    }
}

/// The one key that says whether a record is wanted.
#[derive(Deserialize)]
struct Head<'a> {
    /// Ids that Curb gives need no escape in JSON, so that one which does is not wanted.
    #[serde(borrow, default)]
    submission_id: Option<&'a RawValue>,
}

struct Wanted<'w>(&'w HashSet<String>);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Listed, A::Error> {
        let mut listed = Listed::default();
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            listed.total += 1;
            // An array too would be read as a head: by position.
            if !raw.get().starts_with('{') {
                return Err(A::Error::custom("not a list of jobs"));
            }
            let head: Head<'_> = serde_json::from_str(raw.get()).map_err(A::Error::custom)?;
            let id = head
                .submission_id
                .and_then(|id| id.get().strip_prefix('"')?.strip_suffix('"'));
            let Some(id) = id.filter(|id| self.0.contains(*id)) else {
                continue;
            };
            match serde_json::from_str(raw.get()) {
                Ok(record) => listed.records.push(record),
                Err(error) => listed.unreadable.push((id.to_owned(), error.to_string())),
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    fn record(id: &str) -> String {
        format!(
            r#"{{"type":"SUBMISSION","job_id":null,"submission_id":{id},"driver_info":null,"status":"RUNNING","entrypoint":"sleep 1","message":null,"error_type":null,"start_time":1,"end_time":null,"metadata":{{}},"runtime_env":{{}},"driver_agent_http_address":null,"driver_node_id":null,"driver_exit_code":null}}"#
        )
    }

    #[test]
    fn only_what_is_wanted_is_read() {
        let body = format!(
            "[{}, {}, {}]",
            record("\"a\""),
            record("null"),
            record("\"b\"")
        );
        let listed = Listed::read(body.as_bytes(), &wanted(&["b", "c"])).unwrap();
        let ids: Vec<_> = listed.records.iter().map(|r| &r.submission_id).collect();
        assert_eq!(ids, [&Some("b".to_owned())]);
        assert_eq!((listed.total, listed.unreadable.len()), (3, 0));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_and_costs_nobody_elses() {
        let body = format!(
            r#"[{{"submission_id":"a","status":"WHO KNOWS"}},{{"submission_id":"x","status":7}},{}]"#,
            record("\"b\"")
        );
        let listed = Listed::read(body.as_bytes(), &wanted(&["a", "b"])).unwrap();
        assert_eq!(listed.records.len(), 1);
        assert_eq!(listed.unreadable.len(), 1);
        assert_eq!(listed.unreadable[0].0, "a");
    }

    #[test]
    fn what_is_no_list_of_records_is_an_error() {
        for body in ["", "{}", "null", "[{}", "[{}] x", "[{},]"] {
            let read = Listed::read(body.as_bytes(), &wanted(&["a"]));
            assert!(read.is_err(), "{body}: {read:?}");
        }
        for body in ["[1]", "[[]]", r#"[["a"]]"#, "[{}, [] ]", "[null]", "[\n[]]"] {
            let error = Listed::read(body.as_bytes(), &wanted(&["a"])).expect_err(body);
            assert!(error.to_string().contains("not a list of jobs"), "{error}");
        }
        assert_eq!(Listed::read(b" [ ] ", &wanted(&[])).unwrap().total, 0);
    }
}
