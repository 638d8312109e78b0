//! The fields of a file: one table for each map, from which the reader takes the names and the JSON Schema takes names,
//! types and descriptions. What is not in a table does not exist.

use serde_json::{Map, Value, json};

/// A field of a map of the file.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    doc: &'static str,
    of: fn() -> Value,
}

/// A field with its form and what it means.
pub const fn field(name: &'static str, of: fn() -> Value, doc: &'static str) -> Field {
    Field { name, doc, of }
}

pub const MEMORY_PATTERN: &str =
    r"^\s*[0-9]+(\.[0-9]+)?(\s*(B|[kK]B?|[MGTP]B?|[KMGTP]iB?)|[eE]\+?[0-9]+)?\s*$";
pub const COUNT_PATTERN: &str = r"^\s*[0-9]+(\.[0-9]+)?m?\s*$";
pub const SPAN_PATTERN: &str = r"^\s*([0-9]+(ms|s|sec|m|min|h|d|w)\s*)+$";

/// A schema of draft 2020-12 in draft 07, for editors that read no newer one.
pub fn draft07(schema: Value) -> Value {
    let mut root = older(schema);
    if let Value::Object(map) = &mut root {
        map.insert(
            "$schema".into(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        if let Some(definitions) = map.remove("$defs") {
            map.insert("definitions".into(), definitions);
        }
    }
    root
}

/// Draft 07 keeps shared parts elsewhere, and ignores what stands beside a reference.
fn older(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let beside = map.len() > 1;
            let mut out = Map::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        let to = to.replace("#/$defs/", "#/definitions/");
                        if beside {
                            out.insert("allOf".into(), json!([{"$ref": to}]));
                        } else {
                            out.insert(key, json!(to));
                        }
                    }
                    (_, value) => {
                        out.insert(key, older(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(older).collect()),
        other => other,
    }
}

/// A shared part of the schema.
pub fn refer(to: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{to}") })
}

/// The fields of tables.
pub fn properties(tables: &[&[Field]]) -> Map<String, Value> {
    let mut all = Map::new();
    for field in tables.iter().flat_map(|t| t.iter()) {
        let mut value = (field.of)();
        if let Value::Object(map) = &mut value {
            map.insert("description".into(), json!(field.doc));
        }
        all.insert(field.name.to_owned(), value);
    }
    all
}

/// A map of these fields and no others.
pub fn object(table: &[Field], required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties(&[table]),
        "required": required,
        "additionalProperties": false,
    })
}

/// One of a few words.
pub fn words(words: &[&str]) -> Value {
    json!({ "enum": words })
}
