//! The JSON Schema, put together from the tables of fields.

use serde_json::{Value, json};

use super::{
    AMOUNTS, BUDGET, CAPACITY, LIMITS, NOT_RESOURCES, QUOTA, RECLAIM, REQUEST, RUNG, SELECTOR, TOP,
};
use crate::policy::parse::{MAX_ENTRIES, MAX_PRIORITY, MAX_QUOTAS, MAX_SMALL_LIST, MAX_WEIGHT};
use crate::yaml::form::{
    COUNT_PATTERN, Field, MEMORY_PATTERN, SPAN_PATTERN, draft07, object, properties, refer,
};

/// The JSON Schema of a policy file, in draft 2020-12. It says the form; names that must exist, sums and order are
/// checked by the reader alone.
#[must_use]
pub fn schema() -> Value {
    let mut root = object(TOP, &["version"]);
    if let Value::Object(map) = &mut root {
        map.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.insert("title".into(), json!("Curb policy"));
        map.insert(
            "description".into(),
            json!("Who may use how much of a shared Ray cluster."),
        );
        map.insert("$defs".into(), definitions());
    }
    root
}

/// The same in draft 07, for editors that read no newer one.
#[must_use]
pub fn schema_draft07() -> Value {
    draft07(schema())
}

const RESOURCE_PATTERN: &str = "^[A-Za-z0-9._:/-]{1,64}$|^gpu:[A-Za-z0-9._:/-]{1,64}$";
const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$";

fn definitions() -> Value {
    json!({
        "name": {"type": "string", "pattern": NAME_PATTERN},
        "count": {"type": ["number", "string"], "minimum": 0, "pattern": COUNT_PATTERN},
        "memory": {"type": ["number", "string"], "minimum": 0, "pattern": MEMORY_PATTERN},
        "span": {"type": "string", "pattern": SPAN_PATTERN},
        "match": {"anyOf": [
            {"const": "*"},
            name(),
            {"type": "array", "items": name(), "minItems": 1, "maxItems": MAX_ENTRIES},
        ]},
        "selector": some(object(SELECTOR, &[])),
        "amounts": with_amounts(&[]),
        "limits": with_amounts(LIMITS),
        "request": with_amounts(REQUEST),
        "budget": budget(),
    })
}

/// At least one field.
pub fn some(mut object: Value) -> Value {
    if let Value::Object(map) = &mut object {
        if map.contains_key("$ref") {
            return json!({"allOf": [object], "minProperties": 1});
        }
        map.insert("minProperties".into(), json!(1));
    }
    object
}

pub fn map_of(of: fn() -> Value) -> Value {
    json!({
        "type": "object",
        "propertyNames": name(),
        "additionalProperties": of(),
        "maxProperties": MAX_ENTRIES,
    })
}

/// Amounts, and the fields of the table.
fn with_amounts(table: &[Field]) -> Value {
    let refused: Vec<&str> = NOT_RESOURCES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| table.iter().all(|f| f.name != *name))
        .chain(["gpu:"])
        .collect();
    json!({
        "type": "object",
        "properties": properties(&[AMOUNTS, table]),
        "additionalProperties": count(),
        "propertyNames": {"pattern": RESOURCE_PATTERN, "not": {"enum": refused}},
    })
}

pub fn name() -> Value {
    refer("name")
}
pub fn names() -> Value {
    json!({"type": "array", "items": name(), "maxItems": MAX_ENTRIES})
}
pub fn count() -> Value {
    refer("count")
}
pub fn memory() -> Value {
    refer("memory")
}
pub fn amounts() -> Value {
    refer("amounts")
}
pub fn limits() -> Value {
    refer("limits")
}
pub fn request() -> Value {
    refer("request")
}
pub fn span() -> Value {
    refer("span")
}
pub fn matching() -> Value {
    refer("match")
}
pub fn zone() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 64})
}
pub fn moment() -> Value {
    json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"})
}
pub fn whole() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
}
pub fn weight() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": MAX_WEIGHT})
}
pub fn priority() -> Value {
    json!({"type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY})
}
pub fn covers() -> Value {
    json!({"anyOf": [{"const": "everybody"}, refer("selector")]})
}
pub fn selectors() -> Value {
    json!({"anyOf": [
        covers(),
        {"type": "array", "items": covers(), "minItems": 1, "maxItems": MAX_SMALL_LIST},
    ]})
}
pub fn reclaim() -> Value {
    json!({"anyOf": [{"const": "drain"}, object(RECLAIM, &["stop_after"])]})
}
pub fn ladder() -> Value {
    let step = object(RUNG, &["when", "do"]);
    json!({"anyOf": [step, {"type": "array", "items": step, "maxItems": MAX_SMALL_LIST}]})
}
pub fn capacity() -> Value {
    json!({"anyOf": [{"const": "discover"}, object(CAPACITY, &["by_cluster"]), some(amounts())]})
}
pub fn period() -> Value {
    json!({"type": "string", "pattern": "^(day|week|month|rolling .+)$"})
}
fn budget() -> Value {
    json!({
        "type": "object",
        "properties": properties(&[BUDGET]),
        "required": ["per"],
        "minProperties": 2,
        "patternProperties": {"^.+_hours$": {
            "type": ["number", "string"], "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?$",
            "description": "Hours of a resource: cpu_hours, gpu_hours, gpu:MODEL_hours, memory_gib_hours, NAME_hours. 0 means none.",
        }},
        "additionalProperties": false,
    })
}
pub fn budgets() -> Value {
    json!({"anyOf": [
        refer("budget"),
        {"type": "array", "items": refer("budget"), "maxItems": MAX_SMALL_LIST},
    ]})
}
pub fn days() -> Value {
    let day = "(mon|tue|wed|thu|fri|sat|sun)";
    let one = json!({"type": "string", "pattern": format!("^{day}(-{day})?$")});
    json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_SMALL_LIST}]})
}
pub fn quotas() -> Value {
    json!({"type": "array", "items": object(QUOTA, &["name"]), "maxItems": MAX_QUOTAS})
}
