//! The steps of a ladder, each by itself.

use super::MAX_LADDER;
use super::values;
use crate::host::limits::fields;
use crate::host::limits::model::{Action, Checkpoint, Condition, Step};
use crate::time::Millis;
use crate::yaml::read::value;
use crate::yaml::{Place, Reader, quoted};

/// How long a step waits at most, and an action takes at most.
const MOST: Millis = Millis::DAY;
const WITHIN: Millis = Millis(30_000);
const GRACE: Millis = Millis(30_000);

/// Which fields each action has.
const ACTIONS: [(&str, &[&str]); 5] = [
    ("warn", &[]),
    ("throttle", &["cpu", "memory_high"]),
    ("pause", &["raise", "most"]),
    ("checkpoint", &["signal", "hook", "within"]),
    ("stop", &["grace"]),
];

/// Reads a ladder. A step of which anything is wrong is left out.
pub fn read(r: &mut Reader<'_>, at: &Place<'_>) -> Vec<Step> {
    if !r.is_list(
        at,
        "a list of steps such as `{when: memory > 90%, do: warn}`",
    ) {
        return Vec::new();
    }
    let count = at.items().count();
    if count > MAX_LADDER {
        let message = format!("{count} steps: at most {MAX_LADDER} fit on a ladder");
        r.error_at_key(at, &message, "");
        return Vec::new();
    }
    let before = r.errors();
    let steps: Vec<Step> = at.items().filter_map(|one| step(r, &one)).collect();
    // Their places are by number: with one left out, the others are not compared.
    if r.errors() == before {
        steps
    } else {
        Vec::new()
    }
}

fn step(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Step> {
    if !r.is_map_of(
        at,
        fields::STEP,
        "a step such as `{when: memory > 90%, do: warn}`",
    ) {
        return None;
    }
    for field in ["when", "do"] {
        if at.field(field).is_none() {
            r.missing(at, field, "write `{when: memory > 90%, do: warn}`");
        }
    }
    let when: Option<Condition> = at.field("when").and_then(|f| {
        value(
            r,
            &f,
            "a condition such as `memory > 90%`",
            values::condition,
        )
    });
    let after = match at.field("after") {
        Some(field) => values::span(r, &field, Millis(0), MOST)?,
        None => Millis(0),
    };
    let action = at.field("do").and_then(|f| action(r, at, &f));
    Some(Step {
        when: when?,
        after,
        action: action?,
    })
}

fn action(r: &mut Reader<'_>, step: &Place<'_>, at: &Place<'_>) -> Option<Action> {
    let words = ACTIONS.map(|(word, _)| (word, word));
    let word = r.choice(at, &words)?;
    let own = ACTIONS.iter().find(|(w, _)| *w == word)?.1;
    for (name, field) in step.fields() {
        let of = ACTIONS.iter().find(|(_, fields)| fields.contains(&name));
        if let Some((other, _)) = of.filter(|(_, fields)| *fields != own) {
            let message = format!("`{word}` has no field {}", quoted(name));
            r.error_at_key(&field, &message, &format!("it is a field of `{other}`"));
        }
    }
    match word {
        "warn" => Some(Action::Warn),
        "throttle" => throttle(r, step),
        "pause" => pause(r, step),
        "checkpoint" => checkpoint(r, step),
        _ => Some(Action::Stop {
            grace: span(r, step, "grace", GRACE)?,
        }),
    }
}

fn span(r: &mut Reader<'_>, step: &Place<'_>, field: &str, default: Millis) -> Option<Millis> {
    match step.field(field) {
        Some(field) => values::span(r, &field, Millis(100), MOST),
        None => Some(default),
    }
}

fn throttle(r: &mut Reader<'_>, step: &Place<'_>) -> Option<Action> {
    let (cpu, high) = (step.field("cpu"), step.field("memory_high"));
    if cpu.is_none() && high.is_none() {
        r.missing(
            step,
            "cpu",
            "say how it is slowed down: `cpu: 0.5`, or `memory_high: 1GiB`",
        );
        return None;
    }
    let before = r.errors();
    let action = Action::Throttle {
        cpu: cpu.and_then(|f| values::cpu(r, &f)),
        memory_high: high.and_then(|f| values::some_bytes(r, &f)),
    };
    (r.errors() == before).then_some(action)
}

fn pause(r: &mut Reader<'_>, step: &Place<'_>) -> Option<Action> {
    for (field, help) in [
        ("raise", "say how much more it gets: `raise: 25%`"),
        ("most", "say how far it may be raised: `most: 2GiB`"),
    ] {
        if step.field(field).is_none() {
            r.missing(step, field, help);
        }
    }
    let raise = step.field("raise").and_then(|f| values::growth(r, &f));
    let most = step.field("most").and_then(|f| values::some_bytes(r, &f));
    Some(Action::Pause {
        raise: raise?,
        most: most?,
    })
}

fn checkpoint(r: &mut Reader<'_>, step: &Place<'_>) -> Option<Action> {
    let within = span(r, step, "within", WITHIN);
    let how = match (step.field("signal"), step.field("hook")) {
        (Some(signal), None) => {
            value(r, &signal, "a signal such as `USR1`", values::signal).map(Checkpoint::Signal)
        }
        (None, Some(hook)) => values::argv(r, &hook).map(Checkpoint::Hook),
        (None, None) => {
            r.missing(
                step,
                "signal",
                "say how it is told: `signal: USR1`, or `hook: [./save.sh]`",
            );
            None
        }
        (Some(_), Some(hook)) => {
            r.error_at_key(
                &hook,
                "both `signal` and `hook`",
                "write two steps, or keep one of them",
            );
            None
        }
    };
    Some(Action::Checkpoint {
        how: how?,
        within: within?,
    })
}
