//! `curb top`: workloads as lines of a screen.

use curb_core::host::audit::{Effective, Machine};
use curb_core::host::top::{Board, Exceeded, MemoryFrom, Met, Row, Sort};
use curb_core::host::{Bytes, Permille};
use curb_core::time::Timestamp;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::term::{Ink, View, clean_line, cut};

/// What the screen is made of besides the workloads.
#[derive(Clone, Debug)]
pub struct Screen<'a> {
    /// The workloads.
    pub board: &'a Board,
    /// The machine.
    pub machine: Machine,
    /// By what they are ordered.
    pub sort: Sort,
    /// Which of them.
    pub filter: &'a str,
    /// The filter is being typed.
    pub typing: bool,
    /// Letters beyond ASCII can be shown.
    pub unicode: bool,
    /// What went wrong with the last look.
    pub trouble: Option<&'a str>,
}

/// Columns that have one width on every screen: memory, limit, left, CPU, of, tasks, met.
const FIXED: usize = 9 + 9 + 4 + 5 + 4 + 9 + 8 + 7;
/// The least columns of a name.
const LEAST_NAME: usize = 12;
/// The most columns of the trend.
const TREND: usize = 60;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];

/// The lines of the screen, each not wider than the view and not more than `height`.
#[must_use]
pub fn lines(screen: &Screen<'_>, view: &View, height: usize) -> Vec<String> {
    let width = view.width.unwrap_or(100).max(40);
    let rows = screen.board.rows(screen.sort, screen.filter);
    let mut out = vec![head(screen, rows.len(), view, width)];
    if let Some(trouble) = screen.trouble {
        out.push(view.ink(Ink::Red, &cut(&clean_line(trouble), width)));
    }
    let (name, trend) = widths(width, &rows);
    out.push(view.ink(Ink::Bold, &cut(&titles(name, trend), width)));
    let room = height.saturating_sub(out.len() + 1).max(1);
    let shown = if rows.len() > room { room - 1 } else { room };
    out.extend(
        rows.iter()
            .take(shown)
            .map(|row| line(row, screen, view, (name, trend))),
    );
    if rows.len() > shown {
        out.push(format!(
            "... and {} more: / filters, s orders",
            rows.len() - shown
        ));
    }
    if rows.is_empty() {
        out.push("no workload: no group that curb made, no machine learning process".to_owned());
    }
    out.push(view.ink(Ink::Dim, &cut(&foot(screen, &rows), width)));
    out
}

/// Names get what they need, up to what the trend leaves; the trend gets the rest.
fn widths(width: usize, rows: &[&Row]) -> (usize, usize) {
    let longest = rows
        .iter()
        .map(|r| clean_line(&r.reading.name).width())
        .max()
        .unwrap_or(0);
    let room = width.saturating_sub(FIXED);
    let name = longest
        .clamp(LEAST_NAME, 40)
        .min(room.saturating_sub(1 + 8))
        .max(LEAST_NAME);
    (name, room.saturating_sub(name + 1).min(TREND))
}

fn titles(name: usize, trend: usize) -> String {
    let head = format!(
        "{:<name$} {:>9} {:>9} {:>4} {:>5} {:>4} {:>9} {:<8}",
        "WORKLOAD", "MEMORY", "OF", "LEFT", "CPU", "OF", "TASKS", "MET"
    );
    match trend {
        0..=5 => head,
        _ => format!("{head} MEMORY"),
    }
}

fn head(screen: &Screen<'_>, rows: usize, view: &View, width: usize) -> String {
    let machine = screen.machine;
    let mut parts = vec![format!("curb top {}", view.clock(view.now))];
    parts.push(format!(
        "{rows} workload{}",
        if rows == 1 { "" } else { "s" }
    ));
    if !screen.filter.is_empty() && !screen.typing {
        parts.push(format!("only /{}", clean_line(screen.filter)));
    }
    if let Some(memory) = machine.memory {
        parts.push(format!("machine {}", short(memory)));
    }
    if let Some(cpus) = machine.cpus {
        parts.push(format!("{cpus} CPUs"));
    }
    parts.push(format!("by {}", screen.sort.name()));
    cut(&parts.join("  "), width)
}

fn foot(screen: &Screen<'_>, rows: &[&Row]) -> String {
    let resident = rows
        .iter()
        .any(|r| r.reading.memory_from == MemoryFrom::Resident);
    let told = if resident {
        "  ~ resident sizes added up"
    } else {
        ""
    };
    match screen.typing {
        true => format!(
            "/{}_  (Enter keeps it, Esc drops it)",
            clean_line(screen.filter)
        ),
        false => format!("q quit  s sort  / filter{told}"),
    }
}

fn line(row: &Row, screen: &Screen<'_>, view: &View, (name, trend): (usize, usize)) -> String {
    let reading = &row.reading;
    let about = match reading.memory_from {
        MemoryFrom::Group => "",
        MemoryFrom::Resident => "~",
    };
    let memory = reading
        .memory
        .map_or_else(|| "?".to_owned(), |m| format!("{about}{}", short(m)));
    let left = row
        .headroom_part()
        .map_or_else(|| "-".to_owned(), |p| format!("{}%", p.0 / 10));
    let tasks = match (
        reading.tasks,
        limit(&reading.tasks_limit, |n| n.to_string()),
    ) {
        (None, _) => "?".to_owned(),
        (Some(tasks), most) if most == "-" => tasks.to_string(),
        (Some(tasks), most) => format!("{tasks}/{most}"),
    };
    let shown = cut(&clean_line(&reading.name), name);
    let pad = " ".repeat(name.saturating_sub(shown.width()));
    let before = format!(
        "{shown}{pad} {:>9} {:>9} ",
        cut(&memory, 9),
        limit(&reading.memory_limit, |m| short(*m))
    );
    let cpu = row.cpu.map_or_else(|| "?".to_owned(), |c| tenths(c.0));
    let after = format!(
        " {:>5} {:>4} {:>9} ",
        cut(&cpu, 5),
        cut(&limit(&reading.cpu_limit, |c| tenths(c.0)), 4),
        cut(&tasks, 9)
    );
    let near = match row.headroom_part() {
        Some(Permille(part)) if part < 50 => Ink::Red,
        Some(Permille(part)) if part < 150 => Ink::Yellow,
        _ => Ink::Plain,
    };
    let met = met(row.exceeded, view.now);
    let met_ink = if met.trim().is_empty() || met.contains('+') {
        Ink::Dim
    } else {
        Ink::Yellow
    };
    let mut out = before;
    out.push_str(&view.ink(near, &format!("{left:>4}")));
    out.push_str(&after);
    out.push_str(&view.ink(met_ink, &format!("{met:<8}")));
    if trend > 5 {
        out.push(' ');
        out.push_str(&spark(&row.trend(), trend, screen.unicode));
    }
    out
}

/// A limit, `-` where there is none, `?` where that is not known.
fn limit<T>(limit: &Effective<T>, text: impl Fn(&T) -> String) -> String {
    match limit {
        Effective::Held(held) => text(&held.value),
        Effective::Unlimited => "-".to_owned(),
        Effective::Elsewhere { .. } | Effective::Unknown { .. } => "?".to_owned(),
    }
}

/// `1.2G`, `340M`, `12K`: at most five letters.
fn short(Bytes(bytes): Bytes) -> String {
    for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        let whole = bytes >> shift;
        if whole > 0 {
            let tenth = ((bytes - (whole << shift)) * 10) >> shift;
            return match whole < 100 && tenth > 0 {
                true => format!("{whole}.{tenth}{unit}"),
                false => format!("{whole}{unit}"),
            };
        }
    }
    format!("{bytes}B")
}

fn tenths(milli: u64) -> String {
    match milli >= 10_000 {
        true => (milli / 1000).to_string(),
        false => format!("{}.{}", milli / 1000, milli % 1000 / 100),
    }
}

/// Which limit was met last, and how long ago: `mem 5s`, `cpu now`, `kill +` before anybody looked.
fn met(exceeded: Option<Exceeded>, now: Timestamp) -> String {
    let Some(exceeded) = exceeded else {
        return String::new();
    };
    let what = match exceeded.what {
        Met::Killed => "kill",
        Met::Memory => "mem",
        Met::Forks => "fork",
        Met::Cpu => "cpu",
    };
    let Some(at) = exceeded.at else {
        return format!("{what} +");
    };
    let seconds = now.0.saturating_sub(at.0).max(0) / 1000;
    match seconds {
        0..=1 => format!("{what} now"),
        2..=99 => format!("{what} {seconds}s"),
        100..=5999 => format!("{what} {}m", seconds / 60),
        _ => format!("{what} {}h", (seconds / 3600).min(99)),
    }
}

/// The newest looks as bars; a space where nothing was known.
fn spark(trend: &[Option<Permille>], width: usize, unicode: bool) -> String {
    let bars = if unicode { BLOCKS } else { ASCII };
    let from = trend.len().saturating_sub(width);
    let bar = |part: &Option<Permille>| {
        part.map_or(' ', |Permille(p)| bars[(p as usize * 8 / 1001).min(7)])
    };
    trend[from..].iter().map(bar).collect()
}

/// The same for programs.
#[must_use]
pub fn json(screen: &Screen<'_>, now: Timestamp) -> Value {
    let row = |row: &&Row| {
        let reading = &row.reading;
        json!({
            "name": reading.name,
            "frameworks": reading.frameworks,
            "processes": reading.processes,
            "memory": reading.memory,
            "memory_from": reading.memory_from,
            "memory_limit": reading.memory_limit,
            "headroom": row.headroom(),
            "cpu_milli": row.cpu,
            "cpu_limit": reading.cpu_limit,
            "tasks": reading.tasks,
            "tasks_limit": reading.tasks_limit,
            "counts": reading.counts,
            "exceeded": row.exceeded,
        })
    };
    let rows = screen.board.rows(screen.sort, screen.filter);
    let rows: Vec<Value> = rows.iter().map(row).collect();
    json!({"at": now, "machine": screen.machine, "workloads": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_never_larger_than_they_are() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1 << 20, "1M"),
            ((1 << 30) + (1 << 29), "1.5G"),
            ((1 << 30) - 1, "1023M"),
            (u64::MAX, "16777215T"),
        ] {
            assert_eq!(short(Bytes(bytes)), text);
        }
        assert_eq!(
            (tenths(1950), tenths(64_000), tenths(0)),
            ("1.9".into(), "64".into(), "0.0".into())
        );
    }

    #[test]
    fn what_was_met_is_told_with_its_age() {
        let at = |ms: Option<i64>| {
            let exceeded = Exceeded {
                what: Met::Memory,
                at: ms.map(Timestamp),
                count: 1,
            };
            met(Some(exceeded), Timestamp(10_000_000))
        };
        assert_eq!(at(None), "mem +");
        assert_eq!(at(Some(10_000_000)), "mem now");
        assert_eq!(at(Some(9_950_000)), "mem 50s");
        assert_eq!(at(Some(9_000_000)), "mem 16m");
        assert_eq!(at(Some(0)), "mem 2h");
        // A clock that was set back.
        assert_eq!(at(Some(11_000_000)), "mem now");
        assert_eq!(met(None, Timestamp(0)), "");
    }

    #[test]
    fn bars_reach_from_nothing_to_the_limit() {
        let trend = [
            Some(Permille(0)),
            None,
            Some(Permille(500)),
            Some(Permille(1000)),
        ];
        assert_eq!(spark(&trend, 10, true), "▁ ▄█");
        assert_eq!(spark(&trend, 2, false), "-#");
    }
}
