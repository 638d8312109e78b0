//! Every field of the policy alone decides: for each property of the published schema there is a row with two policies
//! that differ in that one value and in nothing else, and a scene that ends otherwise under the one than under the other.

#[path = "../common/mod.rs"]
mod common;
mod rows;
mod scenes;

use std::collections::BTreeSet;

use common::World;
use serde_json::Value;

/// Fields that no row can be written for, and why.
const WITHOUT_A_ROW: &[(&str, &str)] = &[
    (
        "version",
        "there is one format; any other is an error of the reader",
    ),
    ("quotas.alert_at", "used by alerts, which are not there yet"),
];

/// One field, two values of it, what comes of each.
pub struct Row {
    /// The property in the schema; `*` stands for any name.
    path: String,
    /// The policy without the field.
    base: Value,
    /// Where in it the field is: a JSON pointer.
    at: String,
    /// A value, and what is said under it.
    one: (Value, String),
    /// Another, or nothing at all.
    other: (Option<Value>, String),
    scene: Box<dyn Fn(&mut World) -> String>,
}

/// The policy with the field put in.
fn with(base: &Value, at: &str, value: Option<&Value>) -> Value {
    let mut policy = base.clone();
    let Some(value) = value else { return policy };
    let mut place = &mut policy;
    for key in at.trim_start_matches('/').split('/') {
        place = match key.parse::<usize>() {
            Ok(n) => &mut place[n],
            Err(_) => &mut place[key],
        };
    }
    assert!(place.is_null(), "{at} is in the base already: {base}");
    *place = value.clone();
    policy
}

/// JSON is YAML; each field of the file in a line of its own, since the reader wants no braces around the whole.
fn yaml(policy: &Value) -> String {
    let fields = policy.as_object().expect("a policy is a map");
    fields
        .iter()
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect()
}

fn end(row: &Row, value: Option<&Value>) -> String {
    let mut world = scenes::world(&yaml(&with(&row.base, &row.at, value)));
    (row.scene)(&mut world)
}

#[test]
fn each_field_alone_decides() {
    for row in rows::all() {
        let (one, other) = (end(&row, Some(&row.one.0)), end(&row, row.other.0.as_ref()));
        assert_eq!(one, row.one.1, "{} is {}", row.path, row.one.0);
        assert_eq!(other, row.other.1, "{} is {:?}", row.path, row.other.0);
        assert_ne!(one, other, "{} decides nothing", row.path);
    }
}

#[test]
fn every_field_of_the_schema_has_a_row() {
    let schema = curb_core::policy::schema();
    let mut wanted = BTreeSet::new();
    properties(&schema, &schema, "", &mut wanted);
    // What has fields of its own is decided by these.
    let leaf = |path: &&String| !wanted.iter().any(|p| p.starts_with(&format!("{path}.")));
    let leaves: BTreeSet<&str> = wanted.iter().filter(leaf).map(String::as_str).collect();
    assert!(
        leaves.len() > 80,
        "the schema was not understood: {leaves:?}"
    );
    let rows = rows::all();
    let there: BTreeSet<&str> = rows.iter().map(|r| r.path.as_str()).collect();
    let excused: BTreeSet<&str> = WITHOUT_A_ROW.iter().map(|(path, _)| *path).collect();
    let missing: Vec<_> = leaves
        .iter()
        .filter(|p| !there.contains(*p) && !excused.contains(*p))
        .collect();
    assert!(
        missing.is_empty(),
        "no row shows what these decide: {missing:?}"
    );
    let unknown: Vec<_> = there
        .union(&excused)
        .filter(|p| !leaves.contains(*p))
        .collect();
    assert!(unknown.is_empty(), "no fields of the schema: {unknown:?}");
    assert_eq!(
        there.intersection(&excused).count(),
        0,
        "excused, and there all the same"
    );
}

/// The paths of all properties below a part of the schema. A list of something is the same as one of it.
fn properties(schema: &Value, part: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(to) = part["$ref"].as_str() {
        let to = schema
            .pointer(to.trim_start_matches('#'))
            .expect("a definition");
        properties(schema, to, path, found);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for choice in part[key].as_array().into_iter().flatten() {
            properties(schema, choice, path, found);
        }
    }
    let named = part["properties"].as_object().into_iter().flatten();
    let alike = part["patternProperties"].as_object().into_iter().flatten();
    let others = part["additionalProperties"]
        .as_object()
        .map(|_| &part["additionalProperties"]);
    let named = named.map(|(name, value)| (name.clone(), value));
    let alike = alike.map(|(pattern, value)| (pattern.clone(), value));
    for (name, value) in named
        .chain(alike)
        .chain(others.map(|v| ("*".to_owned(), v)))
    {
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}.{name}")
        };
        properties(schema, value, &path, found);
        found.insert(path);
    }
    if part["items"].is_object() {
        properties(schema, &part["items"], path, found);
    }
}
