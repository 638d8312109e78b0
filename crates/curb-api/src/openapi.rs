//! The OpenAPI 3.1 description, built from [`ROUTES`] and the types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::metadata::{SubmitBody, Submitted};
use crate::problem::Problem;
use crate::routes::{self, Access, Method, ROUTES, Route};
use crate::types::*;

/// The description of this version.
#[must_use]
pub fn document() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|s| s.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas);
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_lowercase()] = operation;
    }
    let problem = schemas.subschema_for::<Problem>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Curb",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "A token made by `curb token create`.",
            }},
            "responses": {"Problem": {
                "description": "What went wrong and what to do. Plain text unless JSON is asked for.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/problem+json": {"schema": problem},
                },
            }},
            "schemas": schemas.take_definitions(true),
        },
    })
}

/// The description as the committed file has it.
#[must_use]
pub fn text() -> String {
    // `{:#}` of a JSON value is its pretty form and cannot fail.
    format!("{:#}\n", document())
}

const DESCRIPTION: &str = "Quotas in front of Ray. Amounts are whole numbers of the resource's smallest unit \
(thousandths of CPUs, GPUs and custom resources; bytes of memory), moments are milliseconds since 1970-01-01 UTC, \
spans are milliseconds. Unknown members of requests are errors; unknown members of answers are to be ignored.";

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let shape = shape(route, schemas);
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [if route.path.starts_with("/api/") { "ray" } else { "curb" }],
        "responses": {
            "default": {"$ref": "#/components/responses/Problem"},
        },
    });
    operation["responses"][shape.status] = match shape.answer {
        Some((media, schema)) => {
            json!({"description": "Done.", "content": {media: {"schema": schema}}})
        }
        None => json!({"description": "Done."}),
    };
    if let Some((media, schema)) = shape.body {
        operation["requestBody"] =
            json!({"required": true, "content": {media: {"schema": schema}}});
    }
    let mut parameters = path_parameters(route.path);
    parameters.extend(shape.query);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::User => {}
        Access::Agent => operation["x-curb-role"] = json!("agent"),
        Access::Operator => operation["x-curb-role"] = json!("operator"),
        Access::Admin => operation["x-curb-role"] = json!("admin"),
    }
    operation
}

/// `GET /curb/v1/jobs/{id}` is `getCurbV1JobsId`.
fn operation_id(route: &Route) -> String {
    let mut id = route.method.as_str().to_lowercase();
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric());
    for word in words.filter(|w| !w.is_empty()) {
        id.push_str(&word[..1].to_uppercase());
        id.push_str(&word[1..]);
    }
    if route.path.ends_with('/') {
        id.push_str("All");
    }
    id
}

fn path_parameters(path: &str) -> Vec<Value> {
    let name = path
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(name, _)| name);
    name.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    )
    .into_iter()
    .collect()
}

struct Shape {
    status: &'static str,
    body: Option<(&'static str, Value)>,
    answer: Option<(&'static str, Value)>,
    query: Vec<Value>,
}

impl Shape {
    fn new() -> Shape {
        Shape {
            status: "200",
            body: None,
            answer: None,
            query: Vec::new(),
        }
    }
    fn answers<T: JsonSchema>(mut self, schemas: &mut SchemaGenerator) -> Shape {
        self.answer = Some(("application/json", schemas.subschema_for::<T>().to_value()));
        self
    }
    fn takes<T: JsonSchema>(mut self, schemas: &mut SchemaGenerator) -> Shape {
        self.body = Some(("application/json", schemas.subschema_for::<T>().to_value()));
        self
    }
    fn answers_as(mut self, media: &'static str, schema: Value) -> Shape {
        self.answer = Some((media, schema));
        self
    }
    fn takes_yaml(mut self) -> Shape {
        self.body = Some((crate::headers::YAML, json!({"type": "string"})));
        self
    }
    fn query(mut self, name: &str, kind: &str, description: &str) -> Shape {
        self.query.push(json!({"name": name, "in": "query", "description": description, "schema": {"type": kind}}));
        self
    }
    fn status(mut self, status: &'static str) -> Shape {
        self.status = status;
        self
    }
}

fn shape(route: &Route, g: &mut SchemaGenerator) -> Shape {
    if route.path.starts_with("/api/") {
        return rays_shape(route, g);
    }
    let text = || Shape::new().answers_as("text/plain", json!({"type": "string"}));
    let new = Shape::new;
    match (route.method, route.path) {
        (_, routes::STATUS) => new().answers::<Status>(g),
        (_, routes::EXPLAIN) => new().takes::<SubmitBody>(g).answers::<ExplainReply>(g),
        (_, routes::JOBS) => jobs_query(new().answers::<JobPage>(g)),
        (_, routes::JOB) => new().answers::<JobView>(g),
        (_, routes::JOB_STOP) => new().takes::<StopRequest>(g).answers::<StopReply>(g),
        (_, routes::JOB_RELEASE) => new().takes::<ReleaseRequest>(g).answers::<JobView>(g),
        (_, routes::JOB_EXEMPT) => new().takes::<ExemptRequest>(g).answers::<JobView>(g),
        (_, routes::USAGE) => usage_query(new().answers::<Usage>(g)),
        (_, routes::QUOTAS) => {
            new()
                .answers::<Quotas>(g)
                .query("all", "boolean", "every bucket; for operators")
        }
        (Method::Get, routes::TOKENS) => new().answers::<Tokens>(g),
        (_, routes::TOKENS) => new()
            .takes::<NewToken>(g)
            .answers::<CreatedToken>(g)
            .status("201"),
        (Method::Get, routes::OVERRIDES) => new().answers::<Overrides>(g),
        (_, routes::OVERRIDES) => new()
            .takes::<NewOverride>(g)
            .answers::<crate::types::MadeOverride>(g)
            .status("201"),
        (_, routes::TOKEN) => new().status("204").query(
            "force",
            "boolean",
            "revoke it even if it is the last one of an admin",
        ),
        (_, routes::OVERRIDE) => new().status("204"),
        (Method::Get, routes::POLICY) => {
            new()
                .answers::<PolicyView>(g)
                .query("version", "integer", "an older version")
        }
        (_, routes::POLICY) => new().takes_yaml().answers::<PolicyApplied>(g),
        (_, routes::POLICY_CHECK) => new().takes_yaml().answers::<PolicyCheck>(g),
        (Method::Get, routes::MODE) => new().answers::<ModeView>(g),
        (_, routes::MODE) => new().takes::<SetMode>(g).answers::<ModeView>(g),
        (_, routes::PREVIEW) => {
            new()
                .answers::<Preview>(g)
                .query("since", "string", "how far back: 7d if not said")
        }
        (_, routes::JOURNAL) => journal_query(new().answers::<JournalPage>(g)),
        (_, routes::AGENT_REPORT) => new().takes::<NodeReport>(g).answers::<ReportReply>(g),
        (_, routes::OPENAPI) => new().answers_as("application/json", json!({"type": "object"})),
        (_, routes::REASON) => new().answers_as("text/markdown", json!({"type": "string"})),
        _ => text(),
    }
}

fn jobs_query(shape: Shape) -> Shape {
    shape
        .query("state", "string", "open (the default), all, or one state")
        .query("user", "string", "only this user's")
        .query("cluster", "string", "only on this cluster")
        .query("limit", "integer", "100 if not said, at most 1000")
        .query("after", "string", "`next` of the page before")
}

fn usage_query(shape: Shape) -> Shape {
    shape
        .query(
            "by",
            "string",
            "user (the default), team, org, job_type, cluster, job or label:KEY",
        )
        .query(
            "since",
            "integer",
            "milliseconds since 1970; 30 days ago if not said",
        )
        .query(
            "until",
            "integer",
            "milliseconds since 1970; now if not said",
        )
        .query("user", "string", "only this user's")
        .query("team", "string", "only this team's")
        .query("limit", "integer", "1000 if not said, at most 10000")
}

fn journal_query(shape: Shape) -> Shape {
    shape
        .query(
            "after",
            "integer",
            "only records with a larger number; the newest ones if not said",
        )
        .query("limit", "integer", "100 if not said, at most 1000")
        .query("kinds", "string", "only these kinds, separated by commas")
        .query(
            "wait",
            "integer",
            "when there is nothing yet, wait so many seconds for something, at most 30",
        )
}

/// Ray's own API: what Ray's clients know already is only named here.
fn rays_shape(route: &Route, g: &mut SchemaGenerator) -> Shape {
    let object = || Shape::new().answers_as("application/json", json!({"type": "object"}));
    let bytes = json!({"type": "string", "format": "binary"});
    match (route.method, route.path) {
        (Method::Post, routes::ray::JOBS) => {
            Shape::new().takes::<SubmitBody>(g).answers::<Submitted>(g)
        }
        (_, routes::ray::JOBS) => Shape::new().answers_as(
            "application/json",
            json!({"type": "array", "items": {"type": "object"}}),
        ),
        (Method::Put, routes::ray::PACKAGE) => {
            let mut shape = Shape::new();
            shape.body = Some(("application/octet-stream", bytes));
            shape
        }
        (_, routes::ray::PACKAGE) => Shape::new(),
        (_, routes::ray::JOB_LOGS_TAIL) => Shape::new().status("101"),
        _ => object(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let mut described = 0;
        for route in ROUTES {
            let operation = &paths[route.path][route.method.as_str().to_lowercase()];
            assert_eq!(operation["summary"], route.summary, "{}", route.path);
        }
        for item in paths.values() {
            described += item.as_object().expect("methods").len();
        }
        assert_eq!(described, ROUTES.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for part in text.split("\"#/components/").skip(1) {
            let path = format!("/components/{}", part.split('"').next().unwrap_or_default());
            assert!(document.pointer(&path).is_some(), "{path}");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let ids: std::collections::BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len(), "{ids:?}");
    }

    #[test]
    fn every_part_is_a_valid_schema() {
        let document = document();
        for (name, schema) in document["components"]["schemas"]
            .as_object()
            .expect("schemas")
        {
            let mut root = schema.clone();
            root["components"] = document["components"].clone();
            assert!(jsonschema::validator_for(&root).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_committed_file_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        if std::env::var_os("CURB_WRITE_GENERATED").is_some() {
            std::fs::write(path, text()).expect("docs/openapi.json can be written");
        }
        let committed = std::fs::read_to_string(path).expect("docs/openapi.json");
        assert!(
            committed == text(),
            "docs/openapi.json is old: run the tests of curb-api with CURB_WRITE_GENERATED=1"
        );
    }
}
