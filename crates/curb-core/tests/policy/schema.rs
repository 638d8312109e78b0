//! The JSON Schema and the reader agree on the form of a policy.

use curb_core::policy::{Policy, schema, schema_draft07};
use jsonschema::Validator;
use serde_json::Value;

use crate::accepted::EXAMPLES;
use crate::checked::accepted_texts;
use crate::said_of;

fn validators() -> [Validator; 2] {
    [schema(), schema_draft07()].map(|s| jsonschema::validator_for(&s).expect("a schema"))
}

/// The text as another YAML reader takes it, for the schema.
fn as_json(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

#[test]
fn the_committed_schema_is_the_one_of_this_program() {
    let committed: Value =
        serde_json::from_str(include_str!("../../../../docs/policy.schema.json"))
            .expect("docs/policy.schema.json is JSON");
    let shown = serde_json::to_string_pretty(&schema()).expect("a schema is JSON");
    assert!(
        committed == schema(),
        "docs/policy.schema.json should be:\n{shown}"
    );
}

#[test]
fn both_drafts_are_valid_schemas_of_their_kind() {
    for schema in [schema(), schema_draft07()] {
        jsonschema::meta::validate(&schema).expect("the schema follows its own");
    }
    let older = schema_draft07().to_string();
    assert!(!older.contains("$defs"), "draft 07 calls them definitions");
    assert!(older.contains("#/definitions/name"));
}

#[test]
fn what_the_reader_accepts_the_schema_accepts() {
    let examples = EXAMPLES.iter().map(|(_, text)| (*text).to_owned());
    let shown = EXAMPLES.iter().map(|(name, text)| {
        let policy = Policy::parse(name, text).expect("an example").policy;
        curb_core::policy::show(&policy)
    });
    for text in examples.chain(shown).chain(accepted_texts()) {
        let json = as_json(&text);
        for validator in validators() {
            let errors: Vec<String> = validator
                .iter_errors(&json)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{text}\n{}", errors.join("\n"));
        }
    }
}

#[test]
fn what_is_wrong_in_form_both_refuse() {
    let quota = |body: &str| format!("version: 1\nquotas: [{{name: a, {body}}}]\n");
    let files = [
        "{}",
        "[]",
        "version: 2",
        "version: \"1\"",
        "version: 1\nqoutas: []",
        "version: 1\nmode: audit",
        "version: 1\nteams:",
        "version: 1\nteams: []",
        "version: 1\nteams: {a b: {}}",
        "version: 1\nteams: {a: {members: ana}}",
        "version: 1\nteams: {a: {members: [1001]}}",
        "version: 1\nteams: {a: {weight: 0}}",
        "version: 1\nteams: {a: {weight: 1.5}}",
        "version: 1\nteams: {a: {weight: \"2\"}}",
        "version: 1\nteams: {a: {weight: 10001}}",
        "version: 1\nusers: {ana: {labels: {a: 1}}}",
        "version: 1\njob_types: {t: {priority: 1001}}",
        "version: 1\njob_types: {t: {allowed: []}}",
        "version: 1\njob_types: {t: {allowed: {}}}",
        "version: 1\nclusters: {main: {open: true}}",
        "version: 1\nqueue: {half_life: 7}",
        "version: 1\nqueue: {half_life: 7y}",
        "version: 1\nvisibility: {jobs: some}",
        "version: 1\ncapacity: all",
        "version: 1\ncapacity: {}",
        "version: 1\ncapacity: {by_cluster: {main: {}}}",
        "version: 1\ncapacity: {by_cluster: {main: {cpu: 1}}, cpu: 1}",
        "version: 1\ntimezone: 5",
        "version: 1\nquotas: {name: a}",
        "version: 1\nquotas: [{limits: {cpu: 1}}]",
        "version: 1\nquotas: [a]",
    ]
    .map(str::to_owned);
    let quotas = [
        "limits: 5",
        "limits: {cpu: lots}",
        "limits: {cpu: -1}",
        "limits: {cpu: \"-1\"}",
        "limits: {cpu: null}",
        "limits: {memory: 16Gb}",
        "limits: {jobs: 1.5}",
        "limits: {jobs: \"1\"}",
        "limits: {cpus: 1}",
        "limits: {CPU: 1}",
        "limits: {duration: 1}",
        "limits: {a b: 1}",
        "limits: {\"gpu:\": 1}",
        "borrow: {jobs: 1}",
        "guarantee: {queued: 1}",
        "per_job: {duration: 24}",
        "per_job: {jobs: 1}",
        "reclaim: stop",
        "reclaim: {}",
        "reclaim: {stop_after: 5}",
        "ladder: stop",
        "ladder: {when: held}",
        "ladder: {do: stop}",
        "ladder: {when: held, do: kill}",
        "ladder: [{when: used, do: stop}]",
        "ladder: {when: held, after: 5, do: stop}",
        "ladder: {when: held, grace: 5s, do: stop}",
        "submit_rate: 30",
        "submit_rate: many",
        "budget: {gpu_hours: 5}",
        "budget: {per: day}",
        "budget: {gpu: 5, per: day}",
        "budget: {gpu_hours: -5, per: day}",
        "budget: {gpu_hours: 5, per: year}",
        "when: {days: [monday]}",
        "when: {days: []}",
        "when: {hours: 9-17}",
        "when: {hour: \"08:00-20:00\"}",
        "valid: {until: soon}",
        "valid: {to: 2027-01-01}",
        "above: wait",
        "mode: observe",
        "alert_at: 80%",
        "alert_at: [80]",
        "for: all",
        "for: {}",
        "for: {user: []}",
        "for: {user: [\"*\"]}",
        "for: {user: 5}",
        "for: {group: x}",
        "for: {label: {}}",
        "reason: 5",
        "reason: [x]",
        "limit: {cpu: 1}",
    ]
    .map(quota);
    for text in files.into_iter().chain(quotas) {
        let json = as_json(&text);
        assert!(
            Policy::parse("p", &text).is_err(),
            "the reader accepts:\n{text}"
        );
        for validator in validators() {
            assert!(!validator.is_valid(&json), "the schema accepts:\n{text}");
        }
    }
}

#[test]
fn resources_close_to_a_refused_name_are_free() {
    let text = "version: 1\nquotas: [{name: a, limits: {cpu_slots: 1, gpu_mem: 2}}]\n";
    assert!(said_of(text).is_empty());
    assert!(validators().iter().all(|v| v.is_valid(&as_json(text))));
}
