//! Reading a baseline: text in, values or everything that is wrong with it out, by line and column.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::time::{Millis, Timestamp};
use crate::yaml::form::{Field, field, words};
use crate::yaml::{Diagnostic, Kind, Place, Reader, Value, is_string, read, values};

use super::model::{
    Baseline, Ended, Evidence, Figure, Machine, MemoryAs, ModelFile, Of, Parts, Program, Scenario,
    ThreadCpu,
};
use super::{MAX_POINTS, Series, Spread};

const KIND: Kind = Kind {
    a: "a baseline",
    star: "write the values out",
    star_alone: "write the values out",
    home_of: |_| None,
};

/// The longest text in it, in characters.
const MAX_TEXT: usize = 500;
/// The most scenarios of a workload.
const MAX_SCENARIOS: usize = 64;
/// The most runs of a scenario, and files of a model.
const MAX_LIST: usize = 1000;

fn text() -> Json {
    json!({"type": "string"})
}
fn number() -> Json {
    json!({"type": "integer", "minimum": 0})
}
fn object() -> Json {
    json!({"type": "object"})
}
fn list() -> Json {
    json!({"type": "array"})
}
fn how() -> Json {
    words(&["charged", "pss", "rss"])
}
fn end() -> Json {
    words(&["itself", "asked"])
}

const TOP: &[Field] = &[
    field("version", number, "Version of the format: 1"),
    field("workload", text, "Of which workload"),
    field("evidence", object, "With what it was measured"),
    field("scenarios", object, "By name"),
];
const EVIDENCE: &[Field] = &[
    field("program", object, "The program"),
    field("frameworks", object, "Versions, by name"),
    field("model", list, "The model's files"),
    field("machine", object, "The machine"),
];
const PROGRAM: &[Field] = &[
    field("name", text, "The file's name"),
    field("version", text, "Its version"),
    field("sha256", text, "Of the file"),
];
const MODEL: &[Field] = &[
    field("file", text, "Its name"),
    field("bytes", number, "Its size"),
    field("sha256", text, "Of what `of` says"),
    field("of", text, "all or ends"),
];
const MACHINE: &[Field] = &[
    field("system", text, "System and architecture"),
    field("cpu", text, "The CPU's model"),
    field("cpus", number, "How many"),
    field("memory_kib", number, "Its memory"),
    field("gpus", list, "Models of its GPUs"),
];
const SCENARIO: &[Field] = &[
    field("measured", text, "When"),
    field("runs", number, "How many"),
    field("samples", number, "How many"),
    field("every", text, "From one sample to the next"),
    field("memory_as", how, "How memory was measured"),
    field("ended", end, "How its runs ended"),
    field("cut_short", text, "Why it is no basis for a limit"),
    field("stale", list, "What has changed since"),
    field("notes", list, "What a reader should know"),
    field("parts_kib", object, "What its memory is made of"),
    field(
        "threads_by_cpu",
        list,
        "The threads that used most CPU time",
    ),
    field("run_peaks_kib", list, "The most that each run needed"),
    field("series", object, "Memory over time"),
];
const THREAD: &[Field] = &[
    field("name", text, "The name that it gave itself"),
    field("cpu_ms", number, "CPU time while it was watched"),
];
const PARTS: &[Field] = &[
    field("interpreter", number, "Before the framework"),
    field("framework", number, "Added by importing it"),
    field("model", number, "Added by the weights"),
    field("work", number, "Added by the work"),
];
const SERIES: &[Field] = &[
    field("every", text, "From one point to the next"),
    field("memory_kib", list, "Points; `~` is a gap"),
];
const SPREAD: &[Field] = &[
    field("p0", number, "The least"),
    field("p50", number, "Half"),
    field("p90", number, "Nine in ten"),
    field("p95", number, "Nineteen in twenty"),
    field("p99", number, "Ninety-nine in a hundred"),
    field("p100", number, "The most"),
    field("mean", number, "The mean"),
];

/// Reads a baseline. `file_name` is only for the messages.
///
/// # Errors
/// All that is wrong with it, by position. A file that was cut off in the middle lacks what is required.
pub fn parse(file_name: &str, text: &str) -> Result<Baseline, Vec<Diagnostic>> {
    crate::yaml::parse(&KIND, file_name, text, top).map(|(baseline, _)| baseline)
}

type R<'r, 'a> = &'r mut Reader<'a>;

/// The field of that name; an error at its map where it is not there.
fn need<'p>(r: R<'_, '_>, at: &'p Place<'p>, name: &str) -> Option<Place<'p>> {
    let found = at.field(name);
    if found.is_none() {
        r.error_at_key(
            at,
            &format!("`{name}` is missing"),
            "baselines are written by `curb profile`: a file that was cut off has to be measured again",
        );
    }
    found
}

fn whole(r: R<'_, '_>, at: &Place<'_>) -> Option<u64> {
    read::value(r, at, "a whole number", |t| {
        t.parse::<u64>().map_err(|_| values::Wrong {
            message: format!("wanted a whole number, got {}", crate::yaml::quoted(t)),
            help: String::new(),
        })
    })
}

fn short(r: R<'_, '_>, at: &Place<'_>) -> Option<String> {
    read::sentence(r, at, "a text", MAX_TEXT)
}

fn top(r: R<'_, '_>, at: &Place<'_>) -> Option<Baseline> {
    if !r.is_map_of(at, TOP, "a baseline") {
        return None;
    }
    let version = need(r, at, "version").and_then(|v| {
        let number = whole(r, &v)?;
        if number != 1 {
            r.error(&v, "this curb reads version 1 only", "");
        }
        Some(number)
    });
    let workload = need(r, at, "workload").and_then(|p| short(r, &p));
    let evidence = need(r, at, "evidence").and_then(|p| evidence(r, &p));
    let scenarios = need(r, at, "scenarios").and_then(|p| scenarios(r, &p));
    version?;
    Some(Baseline {
        workload: workload?,
        evidence: evidence?,
        scenarios: scenarios?,
    })
}

fn evidence(r: R<'_, '_>, at: &Place<'_>) -> Option<Evidence> {
    if !r.is_map_of(at, EVIDENCE, "what it was measured with") {
        return None;
    }
    let program = need(r, at, "program").and_then(|p| program(r, &p));
    let frameworks = need(r, at, "frameworks").and_then(|p| versions(r, &p));
    let model = need(r, at, "model").and_then(|p| {
        let read = |r: R<'_, '_>, one: &Place<'_>| model_file(r, one);
        items(r, &p, "files", read)
    });
    let machine = need(r, at, "machine").and_then(|p| machine(r, &p));
    Some(Evidence {
        program: program?,
        frameworks: frameworks?,
        model: model?,
        machine: machine?,
    })
}

/// A list of bounded length, each item read; `None` if one of them is wrong.
fn items<T>(
    r: R<'_, '_>,
    at: &Place<'_>,
    what: &str,
    mut one: impl FnMut(R<'_, '_>, &Place<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if !r.is_list(at, &format!("a list of {what}")) {
        return None;
    }
    let mut all = Some(Vec::new());
    for (i, item) in at.items().enumerate() {
        if i == MAX_LIST {
            r.error_at_key(at, &format!("more than {MAX_LIST} {what}"), "");
            return None;
        }
        match (one(r, &item), &mut all) {
            (Some(value), Some(all)) => all.push(value),
            _ => all = None,
        }
    }
    all
}

fn program(r: R<'_, '_>, at: &Place<'_>) -> Option<Program> {
    if !r.is_map_of(at, PROGRAM, "a program") {
        return None;
    }
    Some(Program {
        name: need(r, at, "name").and_then(|p| r.string(&p, "a name").map(str::to_owned))?,
        version: optional(r, at, "version", short)?,
        sha256: optional(r, at, "sha256", digest)?,
    })
}

/// A field that may be missing: `None` in `Some`. `None` is an error that was told.
fn optional<T>(
    r: R<'_, '_>,
    at: &Place<'_>,
    name: &str,
    read: impl FnOnce(R<'_, '_>, &Place<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match at.field(name) {
        None => Some(None),
        Some(place) => read(r, &place).map(Some),
    }
}

fn digest(r: R<'_, '_>, at: &Place<'_>) -> Option<String> {
    read::value(r, at, "a SHA-256", |t| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match t.len() == 64 && t.bytes().all(hex) {
            true => Ok(t.to_owned()),
            false => values::wrong("wanted a SHA-256 in 64 hexadecimal digits".to_owned(), ""),
        }
    })
}

fn versions(r: R<'_, '_>, at: &Place<'_>) -> Option<BTreeMap<String, String>> {
    if !r.is_map(at, "versions by name") {
        return None;
    }
    let mut all = BTreeMap::new();
    for (name, place) in at.fields().take(MAX_LIST) {
        all.insert(name.to_owned(), short(r, &place)?);
    }
    Some(all)
}

fn model_file(r: R<'_, '_>, at: &Place<'_>) -> Option<ModelFile> {
    if !r.is_map_of(at, MODEL, "a file") {
        return None;
    }
    let of = |r: R<'_, '_>, p: &Place<'_>| word(r, p, &[("all", Of::All), ("ends", Of::Ends)]);
    Some(ModelFile {
        file: need(r, at, "file").and_then(|p| short(r, &p))?,
        bytes: need(r, at, "bytes").and_then(|p| whole(r, &p))?,
        sha256: need(r, at, "sha256").and_then(|p| digest(r, &p))?,
        of: need(r, at, "of").and_then(|p| of(r, &p))?,
    })
}

/// One of a few words.
fn word<T: Copy>(r: R<'_, '_>, at: &Place<'_>, known: &[(&str, T)]) -> Option<T> {
    let text = r.string(at, "a word")?;
    let found = known.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
        r.error(
            at,
            &format!("wanted {}, got `{text}`", names.join(" or ")),
            "",
        );
    }
    found.map(|(_, value)| *value)
}

fn machine(r: R<'_, '_>, at: &Place<'_>) -> Option<Machine> {
    if !r.is_map_of(at, MACHINE, "a machine") {
        return None;
    }
    Some(Machine {
        system: need(r, at, "system").and_then(|p| short(r, &p))?,
        cpu: optional(r, at, "cpu", short)?,
        cpus: need(r, at, "cpus").and_then(|p| whole(r, &p))?,
        memory_kib: need(r, at, "memory_kib").and_then(|p| whole(r, &p))?,
        gpus: optional(r, at, "gpus", |r, p| items(r, p, "GPUs", short))?,
    })
}

fn scenarios(r: R<'_, '_>, at: &Place<'_>) -> Option<BTreeMap<String, Scenario>> {
    if !r.is_map(at, "scenarios by name") {
        return None;
    }
    let mut all = Some(BTreeMap::new());
    for (i, (name, place)) in at.fields().enumerate() {
        if i == MAX_SCENARIOS {
            r.error_at_key(at, &format!("more than {MAX_SCENARIOS} scenarios"), "");
            return None;
        }
        if !is_name(name) {
            r.error_at_key(&place, "a name has 1 to 63 of a-z, 0-9 and -", "");
        }
        match (scenario(r, &place), &mut all) {
            (Some(one), Some(all)) => {
                all.insert(name.to_owned(), one);
            }
            _ => all = None,
        }
    }
    all
}

fn scenario(r: R<'_, '_>, at: &Place<'_>) -> Option<Scenario> {
    if !r.is_map(at, "a scenario") {
        return None;
    }
    let figures = figures(r, at);
    let measured = need(r, at, "measured").and_then(|p| moment(r, &p));
    let runs = need(r, at, "runs").and_then(|p| whole(r, &p));
    let samples = need(r, at, "samples").and_then(|p| whole(r, &p));
    let every = need(r, at, "every").and_then(|p| read::span(r, &p, Millis(1)));
    let memory_as = need(r, at, "memory_as").and_then(|p| {
        let known = MemoryAs::ALL.map(|how| (how.name(), how));
        word(r, &p, &known)
    });
    let known = [("itself", Ended::Itself), ("asked", Ended::Asked)];
    let ended = need(r, at, "ended").and_then(|p| word(r, &p, &known));
    let texts = |r: R<'_, '_>, name| optional(r, at, name, |r, p| items(r, p, "sentences", short));
    let (notes, stale) = (texts(r, "notes"), texts(r, "stale"));
    let cut_short = optional(r, at, "cut_short", short);
    let parts = optional(r, at, "parts_kib", parts);
    let threads = optional(r, at, "threads_by_cpu", |r, p| {
        items(r, p, "threads", thread)
    });
    let run_peaks_kib = need(r, at, "run_peaks_kib").and_then(|p| items(r, &p, "runs", whole));
    let series = need(r, at, "series").and_then(|p| series(r, &p));
    Some(Scenario {
        measured: measured?,
        runs: u32::try_from(runs?).unwrap_or(u32::MAX),
        samples: samples?,
        every: every?,
        memory_as: memory_as?,
        ended: ended?,
        figures: figures?,
        run_peaks_kib: run_peaks_kib?,
        parts: parts?,
        threads_by_cpu: threads?.unwrap_or_default(),
        notes: notes?.unwrap_or_default(),
        cut_short: cut_short?,
        stale: stale?.unwrap_or_default(),
        series: series?,
    })
}

fn moment(r: R<'_, '_>, at: &Place<'_>) -> Option<Timestamp> {
    read::value(r, at, "a moment", |t| match t.parse::<jiff::Timestamp>() {
        Ok(moment) => Ok(Timestamp(moment.as_millisecond())),
        Err(_) => values::wrong(
            "wanted a moment such as `2026-11-20T12:00:00Z`".to_owned(),
            "",
        ),
    })
}

/// Figures stand beside the other fields of a scenario; what is neither is unknown.
fn figures(r: R<'_, '_>, at: &Place<'_>) -> Option<BTreeMap<Figure, Spread>> {
    let names = Figure::ALL.iter().map(|f| f.name());
    let known: Vec<&str> = SCENARIO.iter().map(|f| f.name).chain(names).collect();
    let mut all = Some(BTreeMap::new());
    for (name, place) in at.fields() {
        let figure = Figure::ALL.iter().find(|f| f.name() == name);
        match figure {
            None if known.contains(&name) => {}
            None => r.unknown(&place, name, &known),
            Some(figure) => match (spread(r, &place), &mut all) {
                (Some(spread), Some(all)) => {
                    all.insert(*figure, spread);
                }
                _ => all = None,
            },
        }
    }
    all
}

fn spread(r: R<'_, '_>, at: &Place<'_>) -> Option<Spread> {
    if !r.is_map_of(at, SPREAD, "p0 to p100 and mean") {
        return None;
    }
    let mut numbers = [0; 7];
    for (number, name) in numbers.iter_mut().zip(Spread::NAMES) {
        *number = need(r, at, name).and_then(|p| whole(r, &p))?;
    }
    let spread = Spread::of_numbers(numbers);
    if spread.is_none() {
        r.error(at, "p0 to p100 ascend, and the mean is between them", "");
    }
    spread
}

fn thread(r: R<'_, '_>, at: &Place<'_>) -> Option<ThreadCpu> {
    if !r.is_map_of(at, THREAD, "a thread") {
        return None;
    }
    Some(ThreadCpu {
        name: need(r, at, "name").and_then(|p| short(r, &p))?,
        cpu_ms: need(r, at, "cpu_ms").and_then(|p| whole(r, &p))?,
    })
}

fn parts(r: R<'_, '_>, at: &Place<'_>) -> Option<Parts> {
    if !r.is_map_of(at, PARTS, "parts of its memory") {
        return None;
    }
    Some(Parts {
        interpreter_kib: need(r, at, "interpreter").and_then(|p| whole(r, &p))?,
        framework_kib: optional(r, at, "framework", whole)?,
        model_kib: optional(r, at, "model", whole)?,
        work_kib: optional(r, at, "work", whole)?,
    })
}

fn series(r: R<'_, '_>, at: &Place<'_>) -> Option<Series> {
    if !r.is_map_of(at, SERIES, "a series") {
        return None;
    }
    let every = need(r, at, "every").and_then(|p| read::span(r, &p, Millis(1)))?;
    let point = |r: R<'_, '_>, p: &Place<'_>| match p.node.value {
        Value::Null => Some(None),
        _ => whole(r, p).map(Some),
    };
    let points = need(r, at, "memory_kib").and_then(|p| items(r, &p, "points", point))?;
    if points.len() > MAX_POINTS {
        r.error(at, &format!("more than {MAX_POINTS} points"), "");
        return None;
    }
    Some(Series::of_points(every, points))
}

/// Whether a name can be one of a workload or scenario.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(fits)
        && is_string(text)
}
