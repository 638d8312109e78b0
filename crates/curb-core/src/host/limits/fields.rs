//! The fields of a file of limits, and its JSON Schema.

use serde_json::{Value, json};

use super::model::CpuSet;
use super::parse::{MAX_ARGUMENTS, MAX_LADDER, MAX_TEXT, MAX_WEIGHT, MAX_WHY, MAX_WORKLOADS};
use crate::yaml::form::{
    COUNT_PATTERN, Field, MEMORY_PATTERN, SPAN_PATTERN, draft07, field, object, refer, words,
};
use crate::yaml::read::MAX_SMALL_LIST;

/// The file.
pub(super) const TOP: &[Field] = &[
    field(
        "version",
        || json!({"const": 1}),
        "Version of this format. Required; 1 is the only one.",
    ),
    field(
        "host",
        || object(HOST, &[]),
        "What holds for the host as a whole.",
    ),
    field(
        "workloads",
        || json!({"type": "array", "items": object(WORKLOAD, &["name"]), "maxItems": MAX_WORKLOADS}),
        "The workloads. Where the rules of two mean one process, the first in the file has it.",
    ),
];

/// The host as a whole.
pub(super) const HOST: &[Field] = &[
    field(
        "keep_free",
        || object(KEEP_FREE, &["memory"]),
        "What no action of curb takes of the host: `pause` and `retry` give more only so far that this stays free. Default: a twentieth of the host is kept.",
    ),
    field(
        "wired",
        bytes,
        "macOS: how much wired memory all workloads together may have. Default: not bounded.",
    ),
];

/// What is kept free.
pub(super) const KEEP_FREE: &[Field] = &[field("memory", bytes, "Memory, such as `2GiB`.")];

/// A workload.
pub(super) const WORKLOAD: &[Field] = &[
    field(
        "name",
        || json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"}),
        "Its name: 1 to 63 of `a-z`, `0-9` and `-`. Required, unique.",
    ),
    field(
        "match",
        || object(MATCH, &[]),
        "Which running processes are it, for the agent and for attaching: all that is given must hold. Default: only what `curb run --workload` starts.",
    ),
    field(
        "command",
        argv,
        "What `curb run --workload NAME` runs when no command is given: program and arguments. Default: one must be given.",
    ),
    field(
        "baseline",
        text,
        "The baseline that it is compared with: a path relative to this file. Default: none.",
    ),
    field("limits", || refer("limits"), "Its limits."),
    field(
        "ladder",
        || json!({"type": "array", "items": object(STEP, &["when", "do"]), "maxItems": MAX_LADDER}),
        "What is done when a limit comes near or is met, in this order; each step once an exceedance. Default: what the kernel does alone.",
    ),
    field(
        "end_thrashing",
        || json!({"type": "string", "anyOf": [refer("span"), {"const": "never"}]}),
        "After how long it is ended when it is at its limit on memory and only reads its own program back from disk, where the kernel kills nobody: 10s at least, or `never`. Default: 30s, or what a step of its ladder that stops it `when: memory thrashing` says.",
    ),
    field(
        "on_warn",
        argv,
        "What is run at a warning, with CURB_* in its environment; it is waited for 10 s at most. Default: nothing.",
    ),
    field(
        "retry",
        || object(RETRY, &["times"]),
        "Whether it is started again after a limit ended it. Default: it is not.",
    ),
    field(
        "fallback",
        || object(FALLBACK, &["command"]),
        "What is run in its place when it is given up. Default: nothing.",
    ),
    field(
        "front",
        || object(FRONT, &["listen", "to"]),
        "The proxy in front of a model server. Default: none.",
    ),
];

/// Which processes.
pub(super) const MATCH: &[Field] = &[
    field(
        "library",
        text,
        "A mapped file's name begins with it: `libmlx`.",
    ),
    field(
        "user",
        || json!({"anyOf": [name_of_user(), {"type": "integer", "minimum": 0, "maximum": u32::MAX}]}),
        "The user it runs as: a name or a number.",
    ),
    field(
        "command",
        text,
        "A pattern for its arguments joined by spaces: `*` is any text, `?` one character. Forgeable: not alone.",
    ),
    field(
        "unit",
        text,
        "The systemd unit that its control group names: `chat.service`.",
    ),
    field(
        "container",
        || json!({"type": ["string", "integer"], "minimum": 0, "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"}),
        "The beginning of the container's id that its control group names.",
    ),
    field(
        "environment",
        || json!({"type": "object", "minProperties": 1, "maxProperties": MAX_SMALL_LIST, "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}, "additionalProperties": {"type": "string", "maxLength": MAX_TEXT}}),
        "Variables of its environment as it was started. Forgeable: not alone.",
    ),
];

/// The limits of a workload.
pub(super) const LIMITS: &[Field] = &[
    field(
        "memory",
        || limit(bytes()),
        "Memory of all its processes together, as the kernel charges it. Above it the kernel kills.",
    ),
    field(
        "memory_high",
        || limit(bytes()),
        "Memory above which the kernel slows it down and takes back what it can (control groups of version 2).",
    ),
    field(
        "swap",
        || limit(bytes()),
        "Swap on top of `memory`; `0B` is none.",
    ),
    field(
        "cpu",
        || limit(json!({"type": ["number", "string"], "pattern": COUNT_PATTERN})),
        "CPU time of all together in each tenth of a second, in CPUs: `2`, `0.5`, `500m`.",
    ),
    field(
        "cpu_weight",
        || limit(json!({"type": "integer", "minimum": 1, "maximum": MAX_WEIGHT})),
        "Its share of the CPU against others when it is short: 1 to 10000; 100 is usual.",
    ),
    field(
        "cpu_set",
        || {
            limit(
                json!({"anyOf": [{"type": "string", "pattern": r"^\s*[0-9]+(-[0-9]+)?\s*(,\s*[0-9]+(-[0-9]+)?\s*)*$"}, {"type": "integer", "minimum": 0, "maximum": CpuSet::HIGHEST}]}),
            )
        },
        "The CPUs that it may run on: \"0-3,6\".",
    ),
    field(
        "processes",
        || limit(count()),
        "Processes and threads together.",
    ),
    field(
        "open_files",
        || limit(count()),
        "Open files of each process.",
    ),
    field(
        "io_read",
        || limit(rate()),
        "Reading from each block device: `100MiB/s`.",
    ),
    field(
        "io_write",
        || limit(rate()),
        "Writing to each block device: `50MiB/s`.",
    ),
    field(
        "duration",
        || limit(span()),
        "From its start to its end: `24h`.",
    ),
    field(
        "cpu_time",
        || limit(span()),
        "CPU time of all its processes together: `10h`.",
    ),
    field(
        "gpu_visible",
        || {
            limit(
                json!({"type": "array", "maxItems": MAX_SMALL_LIST, "items": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": u32::MAX}, {"type": "string", "pattern": "^(GPU|MIG)-[A-Za-z0-9/-]{1,120}$"}]}}),
            )
        },
        "The GPUs that it is shown: `[0, 1]`, or `GPU-…`; `[]` shows none.",
    ),
    field(
        "gpu_threads",
        || limit(json!({"type": "string", "pattern": r"^[0-9]{1,3}\s*%$"})),
        "Its part of a GPU's threads under NVIDIA MPS: `50%`.",
    ),
    field(
        "gpu_memory",
        || limit(bytes()),
        "Memory of each GPU under NVIDIA MPS, in whole MiB.",
    ),
    field(
        "mlx_cache",
        || limit(bytes()),
        "What MLX keeps of freed memory; `0B` keeps nothing.",
    ),
    field(
        "mlx_memory",
        || limit(bytes()),
        "MLX's own memory limit. Advisory: MLX goes past it without an error.",
    ),
    field(
        "mlx_wired",
        || limit(bytes()),
        "macOS: memory that MLX keeps resident.",
    ),
];

/// One limit.
pub(super) const LIMIT: &[Field] = &[
    field("value", || json!({}), "The number. Required."),
    field(
        "why",
        || json!({"type": "string", "minLength": 1, "maxLength": MAX_WHY}),
        "Why it is this one. Required.",
    ),
    field(
        "from",
        text,
        "Scenario and figure of the baseline that it came from.",
    ),
    field(
        "accepted",
        || object(ACCEPTED, &["by", "on"]),
        "Who accepted it, and when: `{by: ana, on: 2026-11-20}`.",
    ),
];

/// Who accepted a limit.
pub(super) const ACCEPTED: &[Field] = &[
    field("by", text, "Who."),
    field(
        "on",
        || json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
        "The day, as `2026-11-20`.",
    ),
];

/// A step of a ladder: what all have, and what each action has.
pub(super) const STEP: &[Field] = &[
    field(
        "when",
        || json!({"type": "string", "pattern": r"^\s*((memory|cpu|processes|duration|cpu_time)\s*(>\s*[0-9]{1,2}(\.[0-9])?|=\s*100)\s*%|memory\s+thrashing)\s*$"}),
        "What must hold: `memory > 90%` of the limit, or `memory = 100%`: the limit is met. Of memory, cpu, processes, duration, cpu_time. `memory thrashing`: it is at its limit and only reads its own program back from disk. Required.",
    ),
    field(
        "after",
        span,
        "For how long without a break. Default: at once.",
    ),
    field(
        "do",
        || words(&["warn", "throttle", "pause", "checkpoint", "stop"]),
        "What is done then. Required.",
    ),
    field(
        "cpu",
        || json!({"type": ["number", "string"], "pattern": COUNT_PATTERN}),
        "throttle: to this CPU quota.",
    ),
    field(
        "memory_high",
        bytes,
        "throttle: by this bound on memory above which the kernel slows it down.",
    ),
    field(
        "raise",
        percent_text,
        "pause: how much more memory it gets, of the limit that it has. Required there.",
    ),
    field(
        "most",
        bytes,
        "pause: the limit is never raised above this. Required there.",
    ),
    field(
        "signal",
        || json!({"type": ["string", "integer"]}),
        "checkpoint: by this signal: `USR1`.",
    ),
    field(
        "hook",
        argv,
        "checkpoint: by this program, run outside of the limits.",
    ),
    field(
        "within",
        span,
        "checkpoint: how long it is waited for. Default: 30s.",
    ),
    field(
        "grace",
        span,
        "stop: from SIGTERM until the kernel ends the whole group. Default: 30s.",
    ),
];

/// Starting again.
pub(super) const RETRY: &[Field] = &[
    field(
        "times",
        || json!({"type": "integer", "minimum": 1, "maximum": 100}),
        "How often within the window; then it is given up. Required.",
    ),
    field(
        "first",
        span,
        "The first wait; each is twice the one before, with jitter. Default: 1s.",
    ),
    field("most", span, "The longest wait. Default: 60s."),
    field(
        "memory",
        percent_text,
        "How much more memory it gets each time, of the limit that it had: `+25%`. Default: none.",
    ),
    field(
        "within",
        span,
        "The window in which the times are counted. Default: 10m.",
    ),
];

/// What is run in its place.
pub(super) const FALLBACK: &[Field] = &[
    field("command", argv, "Program and arguments. Required."),
    field(
        "limits",
        || refer("limits"),
        "Limits that differ from the workload's own; those that are not given stay.",
    ),
];

/// The proxy.
pub(super) const FRONT: &[Field] = &[
    field(
        "listen",
        address,
        "Where clients connect: \"127.0.0.1:8080\". Required.",
    ),
    field(
        "to",
        address,
        "Where the server listens: \"127.0.0.1:8081\". Required.",
    ),
    field(
        "in_flight",
        || json!({"type": "integer", "minimum": 1, "maximum": 10_000}),
        "Requests that the server is given at a time. Default: 8.",
    ),
    field(
        "queue",
        || json!({"type": "integer", "minimum": 0, "maximum": 10_000}),
        "Requests that wait beyond those. Default: 32.",
    ),
    field(
        "body",
        bytes,
        "The largest body of a request. Default: 8MiB.",
    ),
    field(
        "per_client",
        || json!({"type": "integer", "minimum": 1, "maximum": 10_000}),
        "Requests of one client at a time, waiting ones included. Default: half of all.",
    ),
    field(
        "deadline",
        span,
        "From a request's head to the last byte of its answer, waiting included. Default: 120s.",
    ),
    field(
        "fallback",
        address,
        "Where requests go while the server is over its limit, restarting or paused. Default: they are answered with 503.",
    ),
    field(
        "metrics",
        address,
        "Where its figures are read, on a loopback address: \"127.0.0.1:9180\". Default: nowhere.",
    ),
    field(
        "trust",
        || json!({"type": "array", "maxItems": MAX_SMALL_LIST, "items": {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}}),
        "Proxies, by address or network, that are believed when they say in `X-Forwarded-For` who asks: [\"127.0.0.1\", \"10.0.0.0/8\"]. Default: nobody is.",
    ),
];

/// In which map a field lives, for who wrote it elsewhere.
pub(super) fn home_of(name: &str) -> Option<&'static str> {
    let homes: [(&[Field], &str); 9] = [
        (LIMITS, "`limits` of a workload"),
        (MATCH, "`match` of a workload"),
        (WORKLOAD, "a workload: see its indentation"),
        (STEP, "a step of a `ladder`"),
        (RETRY, "`retry` of a workload"),
        (FRONT, "`front` of a workload"),
        (
            LIMIT,
            "a limit, such as `memory: {value: 4GiB, why: \"…\"}`",
        ),
        (HOST, "`host`"),
        (TOP, "the file itself: write it without indentation"),
    ];
    let lives_in = |(table, _): &&(&[Field], &str)| table.iter().any(|f| f.name == name);
    homes.iter().find(lives_in).map(|(_, home)| *home)
}

/// Names of all fields, for the test that the reference tells each one.
#[must_use]
pub fn field_names() -> Vec<&'static str> {
    let tables = [
        TOP, HOST, KEEP_FREE, WORKLOAD, MATCH, LIMITS, LIMIT, ACCEPTED, STEP, RETRY, FALLBACK,
        FRONT,
    ];
    tables
        .iter()
        .flat_map(|t| t.iter().map(|f| f.name))
        .collect()
}

/// The JSON Schema of a file of limits, in draft 2020-12. It says the form; what contradicts, and what the host has, is
/// checked by the reader alone.
#[must_use]
pub fn schema() -> Value {
    let mut root = object(TOP, &["version"]);
    if let Value::Object(map) = &mut root {
        map.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.insert("title".into(), json!("Curb limits"));
        map.insert(
            "description".into(),
            json!("What the workloads of a host may take, and why."),
        );
        map.insert(
            "$defs".into(),
            json!({
                "limits": object(LIMITS, &[]),
                "bytes": {"type": ["number", "string"], "minimum": 0, "pattern": MEMORY_PATTERN},
                "span": {"type": "string", "pattern": SPAN_PATTERN},
                "text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                "address": {"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"},
                "argv": {"type": "array", "minItems": 1, "maxItems": MAX_ARGUMENTS, "items": {"type": ["string", "number", "boolean"]}},
            }),
        );
    }
    root
}

/// The same in draft 07, for editors that read no newer one.
#[must_use]
pub fn schema_draft07() -> Value {
    draft07(schema())
}

/// A value with its reason.
fn limit(value: Value) -> Value {
    let mut whole = object(LIMIT, &["value", "why"]);
    if let Some(slot) = whole.pointer_mut("/properties/value") {
        *slot = value;
    }
    whole
}

fn bytes() -> Value {
    refer("bytes")
}
fn span() -> Value {
    refer("span")
}
fn text() -> Value {
    refer("text")
}
fn address() -> Value {
    refer("address")
}
fn argv() -> Value {
    refer("argv")
}
fn count() -> Value {
    json!({"type": "integer", "minimum": 1})
}
fn rate() -> Value {
    json!({"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kK]B?|[MGTP]B?|[KMGTP]iB?|B)\s*/\s*s\s*$"})
}
fn percent_text() -> Value {
    json!({"type": "string", "pattern": r"^\s*\+?\s*[0-9]{1,4}(\.[0-9])?\s*%\s*$"})
}
fn name_of_user() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.@-]{0,63}\\$?$"})
}
