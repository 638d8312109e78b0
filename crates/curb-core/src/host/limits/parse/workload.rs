//! One workload.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{ladder, limits, values};
use crate::host::Permille;
use crate::host::limits::Network;
use crate::host::limits::fields;
use crate::host::limits::model::{Fallback, Front, Glob, Match, Retry, User, Workload};
use crate::time::Millis;
use crate::yaml::read::{too_many, value};
use crate::yaml::values::wrong;
use crate::yaml::{Place, Reader, Value, quoted};

/// Reads a workload.
pub fn read(r: &mut Reader<'_>, at: &Place<'_>) -> Workload {
    let wanted = "a workload such as `{name: chat, limits: {…}}`";
    if !r.is_map_of(at, fields::WORKLOAD, wanted) {
        return Workload::default();
    }
    let argv = |r: &mut Reader<'_>, field: &str| values::argv(r, &at.field(field)?);
    Workload {
        name: name(r, at).unwrap_or_default(),
        matches: at.field("match").and_then(|m| rule(r, &m)),
        command: argv(r, "command"),
        baseline: at.field("baseline").and_then(|b| baseline(r, &b)),
        limits: at
            .field("limits")
            .map(|l| limits::read(r, &l))
            .unwrap_or_default(),
        ladder: at
            .field("ladder")
            .map(|l| ladder::read(r, &l))
            .unwrap_or_default(),
        end_thrashing: at.field("end_thrashing").and_then(|f| {
            value(
                r,
                &f,
                "a time such as `30s`, or `never`",
                values::end_thrashing,
            )
        }),
        on_warn: argv(r, "on_warn"),
        retry: at.field("retry").and_then(|f| retry(r, &f)),
        fallback: at.field("fallback").and_then(|f| fallback(r, &f)),
        front: at.field("front").and_then(|f| front(r, &f)),
    }
}

fn name(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    let Some(field) = at.field("name") else {
        r.error(
            at,
            "this workload has no `name`",
            "add `name:`, unique in the file",
        );
        return None;
    };
    let text = r.string(&field, "the name of a workload")?;
    let fits = (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        let message = format!("{} cannot be the name of a workload", quoted(text));
        let help = "use 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter or digit";
        r.error(&field, &message, help);
        return None;
    }
    Some(text.to_owned())
}

/// A path below the file's own directory, or beside it.
fn baseline(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    let path = values::text(r, at, "a path such as `baselines/chat.yaml`")?;
    if path.starts_with('/') {
        let help = "write it relative to this file, so that it means the same on each machine";
        r.error(at, "the path of a baseline is not relative", help);
        return None;
    }
    Some(path)
}

fn rule(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Match> {
    if !r.is_map_of(at, fields::MATCH, "a rule such as `{library: libmlx}`") {
        return None;
    }
    let before = r.errors();
    let pattern = |text: &str| match text.trim_matches('*') {
        "" => wrong(
            format!("{} fits every command", quoted(text)),
            "write more of it, such as `python* server.py*`, or leave it out",
        ),
        _ => Ok(Glob(text.to_owned())),
    };
    let rule = Match {
        library: at.field("library").and_then(|f| library(r, &f)),
        user: at.field("user").and_then(|f| user(r, &f)),
        command: at.field("command").and_then(|f| {
            values::text(r, &f, "a pattern such as `python* server.py*`")?;
            value(r, &f, "a pattern", pattern)
        }),
        unit: at.field("unit").and_then(|f| unit(r, &f)),
        container: at.field("container").and_then(|f| container(r, &f)),
        environment: at
            .field("environment")
            .map(|f| environment(r, &f))
            .unwrap_or_default(),
    };
    let refused = |(_, field): (&str, Place<'_>)| matches!(field.node.value, Value::Refused);
    // What of it is wrong is told; the rest alone would mean more processes than its author wants.
    (r.errors() == before && !at.fields().any(refused)).then_some(rule)
}

/// Libraries that every program has mapped begin with these.
const EVERYWHERE: [&str; 3] = ["libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

fn library(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    let name = values::text(
        r,
        at,
        "the beginning of a library's file name, such as `libmlx`",
    )?;
    let (message, help) = if name.contains('/') {
        let file = name.rsplit('/').next().unwrap_or_default();
        let help = format!("write the file's name alone: `{file}`");
        (format!("{} is a path", quoted(&name)), help)
    } else if EVERYWHERE.iter().any(|every| every.starts_with(&name)) {
        let help = "name one that only this workload has, such as `libmlx`".to_owned();
        (
            format!(
                "every program has mapped a file that begins with {}",
                quoted(&name)
            ),
            help,
        )
    } else {
        return Some(name);
    };
    r.error(at, &message, &help);
    None
}

fn user(r: &mut Reader<'_>, at: &Place<'_>) -> Option<User> {
    value(r, at, "a user by name or number", |text| {
        if let Ok(id) = text.parse::<u32>() {
            return Ok(User::Id(id));
        }
        let body = text.strip_suffix('$').unwrap_or(text);
        let fits = (1..=64).contains(&text.len())
            && body.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && body
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
        if fits {
            return Ok(User::Name(text.to_owned()));
        }
        wrong(
            format!("{} cannot be a user", quoted(text)),
            "write a name such as `ana`, or a number",
        )
    })
}

fn unit(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    let name = values::text(r, at, "a systemd unit such as `chat.service`")?;
    let kinds = [".service", ".scope", ".slice"];
    if name.contains('/')
        || !kinds
            .iter()
            .any(|k| name.len() > k.len() && name.ends_with(k))
    {
        let message = format!(
            "wanted a systemd unit such as `chat.service`, got {}",
            quoted(&name)
        );
        let help = match name.contains(['/', '.']) {
            true => "processes live in services, scopes and slices".to_owned(),
            false => format!("did you mean `{name}.service`?"),
        };
        r.error(at, &message, &help);
        return None;
    }
    Some(name)
}

fn container(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    // A short id may well be all digits.
    let id = r.text(at, "the beginning of a container's id")?;
    let fits = (1..=128).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !fits {
        r.error(
            at,
            &format!("{} cannot begin a container's id", quoted(id)),
            "write the first letters and digits of it, such as `4f1a`",
        );
        return None;
    }
    Some(id.to_owned())
}

fn environment(r: &mut Reader<'_>, at: &Place<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if !r.is_map(at, "variables such as `{CURB_WORKLOAD: chat}`")
        || too_many(r, at, at.fields().count(), "variables")
    {
        return all;
    }
    if at.fields().next().is_none() {
        r.error(
            at,
            "no variable is named",
            "name one, or leave `environment` out",
        );
    }
    for (name, field) in at.fields() {
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            r.error_at_key(
                &field,
                &format!("{} cannot name a variable", quoted(name)),
                "use letters, digits and `_`, not beginning with a digit",
            );
            continue;
        }
        if let Some(text) = values::text(r, &field, "the value of a variable") {
            all.insert(name.to_owned(), text);
        }
    }
    all
}

fn retry(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Retry> {
    if !r.is_map_of(at, fields::RETRY, "such as `{times: 3, memory: +25%}`") {
        return None;
    }
    let before = r.errors();
    let times = match at.field("times") {
        Some(field) => r
            .whole(&field, "how often it is started again", 1, 100)
            .unwrap_or(1),
        None => {
            r.missing(at, "times", "say how often: `{times: 3}`");
            1
        }
    };
    let mut span = |field: &str, default: Millis, most: Millis| match at.field(field) {
        Some(field) => values::span(r, &field, Millis(100), most).unwrap_or(default),
        None => default,
    };
    let retry = Retry {
        times: u32::try_from(times).unwrap_or(1),
        first: span("first", Millis::SECOND, Millis::HOUR),
        most: span("most", Millis::MINUTE, Millis::DAY),
        within: span("within", Millis(600_000), Millis(31 * Millis::DAY.0)),
        memory: at
            .field("memory")
            .and_then(|f| values::growth(r, &f))
            .unwrap_or(Permille(0)),
    };
    (r.errors() == before).then_some(retry)
}

fn fallback(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Fallback> {
    if !r.is_map_of(
        at,
        fields::FALLBACK,
        "such as `{command: [python, small.py]}`",
    ) {
        return None;
    }
    let limits = at
        .field("limits")
        .map(|l| limits::read(r, &l))
        .unwrap_or_default();
    let Some(command) = at.field("command") else {
        r.missing(
            at,
            "command",
            "say what is run: `{command: [python, small.py]}`",
        );
        return None;
    };
    Some(Fallback {
        command: values::argv(r, &command)?,
        limits,
    })
}

fn front(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Front> {
    let wanted = "such as `{listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\"}`";
    if !r.is_map_of(at, fields::FRONT, wanted) {
        return None;
    }
    for field in ["listen", "to"] {
        if at.field(field).is_none() {
            r.missing(at, field, wanted);
        }
    }
    let address = |r: &mut Reader<'_>, field: &str| -> Option<SocketAddr> {
        values::address(r, &at.field(field)?)
    };
    let count = |r: &mut Reader<'_>, field: &str, least: i64, default: u32| -> u32 {
        let read = at
            .field(field)
            .and_then(|f| r.whole(&f, "a number of requests", least, 10_000));
        read.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    let (listen, to) = (address(r, "listen"), address(r, "to"));
    let fallback = address(r, "fallback");
    let metrics = address(r, "metrics");
    let trust = at.field("trust").map(|f| networks(r, &f));
    let in_flight = count(r, "in_flight", 1, Front::IN_FLIGHT);
    let queue = count(r, "queue", 0, Front::QUEUE);
    let per_client = count(r, "per_client", 1, (in_flight + queue).div_ceil(2));
    let body = at.field("body").and_then(|f| values::some_bytes(r, &f));
    let deadline = at
        .field("deadline")
        .and_then(|f| values::span(r, &f, Millis(100), Millis::DAY));
    Some(Front {
        listen: listen?,
        to: to?,
        in_flight,
        queue,
        body: body.unwrap_or(Front::BODY),
        per_client,
        deadline: deadline.unwrap_or(Front::DEADLINE),
        fallback,
        metrics,
        trust: trust.unwrap_or_default(),
    })
}

fn networks(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<Network> {
    if !r.is_list(at, "a list of networks, such as `[\"10.0.0.0/8\"]`") {
        return Vec::new();
    }
    let given: Vec<Place<'_>> = at.items().collect();
    if too_many(r, at, given.len(), "networks") {
        return Vec::new();
    }
    given.iter().filter_map(|n| values::network(r, n)).collect()
}

/// Whether a field of a place is there with a value of some kind.
pub fn has(at: &Place<'_>, field: &str) -> bool {
    at.field(field)
        .is_some_and(|f| !matches!(f.node.value, Value::Null | Value::Refused))
}
