//! The JSON Schema and the reader agree on the form of a file of limits.

use curb_core::host::limits::{File, Host, schema, schema_draft07, show};
use jsonschema::Validator;
use serde_json::Value;

use crate::accepted;
use crate::accepted::EXAMPLES;
use crate::{ladder, limits, one};

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
        serde_json::from_str(include_str!("../../../../docs/limits.schema.json")).expect("JSON");
    assert!(
        committed == schema(),
        "docs/limits.schema.json is old: WRITE=1 make docs-check"
    );
}

#[test]
fn both_drafts_are_valid_schemas_of_their_kind() {
    for schema in [schema(), schema_draft07()] {
        jsonschema::meta::validate(&schema).expect("the schema follows its own");
    }
    assert!(!schema_draft07().to_string().contains("$defs"));
}

#[test]
fn what_the_reader_accepts_the_schema_accepts() {
    let given = EXAMPLES.iter().map(|(_, text)| (*text).to_owned());
    let shown = EXAMPLES.iter().map(|(_, text)| show(&accepted(text)));
    let written = [
        limits(
            "memory: {value: 1073741824, why: w}, cpu: {value: 0.5, why: w}, cpu_set: {value: 3, why: w}",
        ),
        limits(
            "io_read: {value: 10 MB/s, why: w}, gpu_visible: {value: [GPU-1a, MIG-2/3], why: w}",
        ),
        ladder("{when: memory>92.5%, do: checkpoint, signal: 33}"),
        one(
            "limits: {processes: {value: 2, why: w}}, match: {user: 0, container: 12}, command: [a, 1, true]",
        ),
    ];
    for text in given.chain(shown).chain(written) {
        accepted(&text);
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
    let value = |key: &str, value: &str| limits(&format!("{key}: {{value: {value}, why: w}}"));
    let with = |fields: &str| {
        one(&format!(
            "limits: {{memory: {{value: 1GiB, why: w}}}}, {fields}"
        ))
    };
    let files = [
        "{}".to_owned(),
        "[]".into(),
        "version: 2".into(),
        "version: 1\nworkload: []".into(),
        "version: 1\nworkloads: {chat: {}}".into(),
        "version: 1\nworkloads: [{limits: {}}]".into(),
        "version: 1\nworkloads: [{name: My Chat}]".into(),
        "version: 1\nhost: {keep_free: {}}".into(),
        "version: 1\nhost: {wired: lots}".into(),
        limits("memory: 4GiB"),
        limits("memory: {value: 4GiB}"),
        limits("memory: {why: w}"),
        limits("memory: {value: 4GiB, why: \"\"}"),
        limits("memory: {value: 4GiB, why: w, accepted: {by: ana}}"),
        limits("memory: {value: 4GiB, why: w, accepted: {by: ana, on: today}}"),
        limits("cpus: {value: 4, why: w}"),
        value("memory", "-1"),
        value("memory", "4Gb"),
        value("cpu", "lots"),
        value("cpu_weight", "0"),
        value("cpu_weight", "10001"),
        value("cpu_set", "a-b"),
        value("processes", "0"),
        value("processes", "1.5"),
        value("io_read", "100MiB"),
        value("duration", "60"),
        value("gpu_visible", "0"),
        value("gpu_visible", "[H100]"),
        value("gpu_threads", "50"),
        ladder("{do: warn}"),
        ladder("{when: memory > 90%}"),
        ladder("{when: memory > 90%, do: restart}"),
        ladder("{when: memory > 900MiB, do: warn}"),
        ladder("{when: memory = 90%, do: warn}"),
        ladder("{when: cpu thrashing, do: warn}"),
        with("end_thrashing: soon"),
        ladder("{when: disk > 90%, do: warn}"),
        with("command: python server.py"),
        with("command: []"),
        with("match: {process: x}"),
        with("match: {environment: {}}"),
        with("match: {container: ../x}"),
        with("retry: {}"),
        with("retry: {times: 0}"),
        with("retry: {times: 1, memory: -5%}"),
        with("fallback: {}"),
        with("front: {listen: \"127.0.0.1:1\"}"),
        with("front: {listen: localhost:1, to: \"127.0.0.1:2\"}"),
        with("front: {listen: \"127.0.0.1:1\", to: \"127.0.0.1:2\", in_flight: 0}"),
    ];
    for text in files {
        assert!(
            File::parse("l", &text, &Host::default()).is_err(),
            "the reader accepts:\n{text}"
        );
        let json = as_json(&text);
        for validator in validators() {
            assert!(!validator.is_valid(&json), "the schema accepts:\n{text}");
        }
    }
}
