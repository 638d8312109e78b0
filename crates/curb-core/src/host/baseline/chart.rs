//! Memory over time as SVG, a panel for each scenario on one scale, and a page that needs nothing but itself.
//!
//! Whole numbers throughout: coordinates are tenths of a pixel. Light and dark follow the reader's system. What comes from a
//! file is escaped.

use std::fmt::Write as _;

use crate::host::Bytes;

use super::model::{Baseline, EDGE, Figure, Of, START, Scenario};

const WIDTH: u64 = 960;
const HEIGHT: u64 = 380;
const LEFT: u64 = 76;
const RIGHT: u64 = 16;
const TOP: u64 = 64;
const BOTTOM: u64 = 52;
const GAP: u64 = 14;
/// Lines of the scale, at most.
const LINES: u64 = 5;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'b> {
    /// Of this baseline.
    pub baseline: &'b Baseline,
    /// With this limit on memory, where one is recommended.
    pub limit: Option<Bytes>,
}

const STYLE: &str = "\
.curb-chart{--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--panel:#f6f8fa;--data:#0969da;--over:#cf222e;--limit:#9a6700}\
@media (prefers-color-scheme:dark){.curb-chart{--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--panel:#151b23;--data:#4493f8;--over:#f85149;--limit:#d29922}}\
.curb-chart text{fill:var(--ink);font:12px system-ui,sans-serif}\
.curb-chart .title{font-size:15px;font-weight:600}\
.curb-chart .soft{fill:var(--soft)}\
.curb-chart .name{font-size:13px;font-weight:600}\
.curb-chart .panel{fill:var(--panel)}\
.curb-chart .grid{stroke:var(--line);stroke-width:1}\
.curb-chart .line{fill:none;stroke:var(--data);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.curb-chart .area{fill:var(--data);opacity:.16}\
.curb-chart .most{fill:var(--data)}\
.curb-chart .over .line{stroke:var(--over)}\
.curb-chart .over .area,.curb-chart .over .most{fill:var(--over)}\
.curb-chart .limit{stroke:var(--limit);stroke-width:2;stroke-dasharray:7 4}\
.curb-chart .limit-text{fill:var(--limit);font-weight:600}";

/// Text that means nothing to XML.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The order in which people think of them: start, idle, average, peak, others by name, and edge.
#[must_use]
pub fn ordered(baseline: &Baseline) -> Vec<(&str, &Scenario)> {
    let usual = [START, "idle", "average", "peak"];
    let rank = |name: &str| match usual.iter().position(|u| *u == name) {
        Some(at) => at,
        None if name == EDGE => usize::MAX,
        None => usual.len(),
    };
    let mut all: Vec<_> = baseline
        .scenarios
        .iter()
        .map(|(n, s)| (n.as_str(), s))
        .collect();
    all.sort_by_key(|(name, _)| (rank(name), *name));
    all
}

/// In KiB for people: `92.3 MiB`.
fn size(kib: u64) -> String {
    let (unit, name) = match kib {
        0..1024 => return format!("{kib} KiB"),
        1024..1_048_576 => (1024, "MiB"),
        _ => (1_048_576, "GiB"),
    };
    let tenths = kib * 10 / unit;
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

/// The top of the scale in KiB and the step of its lines: powers of two, so that they have round names.
fn scale(most: u64) -> (u64, u64) {
    let room = most.saturating_add(most / 12).max(1024);
    let step = room.div_ceil(LINES).next_power_of_two();
    let half = step / 2;
    let step = if half > 0 && room.div_ceil(half) <= LINES + 1 {
        half
    } else {
        step
    };
    (room.max(step), step.max(1))
}

/// Tenths of a pixel as a number of pixels.
fn px(tenths: u64) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
    }
}

struct Scale {
    top_kib: u64,
}

impl Scale {
    /// How far down, in tenths of a pixel.
    fn y(&self, kib: u64) -> u64 {
        let height = u128::from((HEIGHT - TOP - BOTTOM) * 10);
        let up = u128::from(kib.min(self.top_kib)) * height / u128::from(self.top_kib.max(1));
        (HEIGHT - BOTTOM) * 10 - u64::try_from(up).unwrap_or(0)
    }
}

/// The chart alone.
#[must_use]
pub fn svg(chart: &Chart<'_>) -> String {
    let scenarios = ordered(chart.baseline);
    let limit = chart.limit.map(|l| l.0.div_ceil(1024));
    let peaks = scenarios.iter().filter_map(|(_, s)| s.need_kib());
    let (top_kib, step) = scale(peaks.chain(limit).max().unwrap_or(0));
    let scale = Scale { top_kib };
    let mut out = String::new();
    head(&mut out, chart, &scenarios);
    let count = (scenarios.len() as u64).max(1);
    let width = (WIDTH - LEFT - RIGHT - GAP * (count - 1)) / count;
    for (i, (name, scenario)) in scenarios.iter().enumerate() {
        let x = LEFT + (width + GAP) * i as u64;
        panel(&mut out, (x, width), name, scenario, &scale, step, limit);
    }
    grid_names(&mut out, &scale, step);
    if let Some(limit) = limit {
        limit_line(&mut out, limit, &scale);
    }
    out.push_str("</svg>\n");
    out
}

// Writing to a String cannot fail, here and below.
fn head(out: &mut String, chart: &Chart<'_>, scenarios: &[(&str, &Scenario)]) {
    let workload = escape(&chart.baseline.workload);
    let peaks: Vec<String> = scenarios
        .iter()
        .map(|(name, s)| match s.need_kib() {
            Some(kib) => format!("{} at most {}", escape(name), size(kib)),
            None => format!("{} unknown", escape(name)),
        })
        .collect();
    let limit = chart.limit.map_or_else(String::new, |l| {
        format!(" The recommended limit is {}.", size(l.0.div_ceil(1024)))
    });
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"curb-chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"curb-t curb-d\">\n\
         <title id=\"curb-t\">Memory of workload {workload} over time</title>\n\
         <desc id=\"curb-d\">One panel a scenario, on one scale: {}.{limit}</desc>\n\
         <style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"22\">Memory of {workload}</text>\n",
        peaks.join(", ")
    );
}

fn panel(
    out: &mut String,
    (x, width): (u64, u64),
    name: &str,
    scenario: &Scenario,
    scale: &Scale,
    step: u64,
    limit: Option<u64>,
) {
    let (y, height) = (TOP, HEIGHT - TOP - BOTTOM);
    let need = scenario.need_kib();
    let over = limit.zip(need).is_some_and(|(limit, need)| need > limit);
    let class = if over { " class=\"over\"" } else { "" };
    let _ = write!(
        out,
        "<g{class}>\n<rect class=\"panel\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>\n"
    );
    let mut at = 0;
    while at <= scale.top_kib {
        let y = px(scale.y(at));
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{x} {y}H{}\"/>", x + width);
        at += step;
    }
    let middle = x + width / 2;
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        TOP - 12,
        escape(name)
    );
    curve(out, (x * 10, width * 10), scenario, scale);
    let seconds = scenario.series.every().0 * scenario.series.points().len() as u64 / 1000;
    let runs = match scenario.runs {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let told = need.map_or_else(|| "unknown".to_owned(), size);
    let below = HEIGHT - BOTTOM + 18;
    let _ = write!(
        out,
        "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{told}</text>\n\
         <text class=\"soft\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}, {runs}</text>\n</g>\n",
        below + 17,
        crate::time::Millis(seconds.max(1) * 1000)
    );
}

/// The line with the area below it, broken at gaps, and the most of it.
fn curve(out: &mut String, (x, width): (u64, u64), scenario: &Scenario, scale: &Scale) {
    let points = scenario.series.points();
    let last = (points.len() as u64).saturating_sub(1).max(1);
    let pad = 40;
    let at = |i: u64| x + pad + (width - 2 * pad) * i / last;
    let floor = px(scale.y(0));
    let mut index = 0;
    for part in points.split(Option::is_none) {
        let drawn: Vec<(u64, u64)> = part
            .iter()
            .flatten()
            .enumerate()
            .map(|(i, kib)| (at(index + i as u64), scale.y(*kib)))
            .collect();
        index += part.len() as u64 + 1;
        let (Some(first), Some(end)) = (drawn.first(), drawn.last()) else {
            continue;
        };
        let line: Vec<String> = drawn
            .iter()
            .map(|(x, y)| format!("{} {}", px(*x), px(*y)))
            .collect();
        let line = line.join("L");
        let _ = write!(
            out,
            "<path class=\"area\" d=\"M{} {floor}L{line}L{} {floor}Z\"/>\n<path class=\"line\" d=\"M{line}\"/>\n",
            px(first.0),
            px(end.0)
        );
    }
    let most = points
        .iter()
        .enumerate()
        .filter_map(|(i, p)| Some((p.as_ref()?, i)));
    if let Some((kib, i)) = most.max_by_key(|(kib, i)| (**kib, usize::MAX - i)) {
        let _ = writeln!(
            out,
            "<circle class=\"most\" cx=\"{}\" cy=\"{}\" r=\"4\"/>",
            px(at(i as u64)),
            px(scale.y(*kib))
        );
    }
}

fn grid_names(out: &mut String, scale: &Scale, step: u64) {
    let mut at = 0;
    while at <= scale.top_kib {
        let name = if at == 0 { "0".to_owned() } else { size(at) };
        let _ = writeln!(
            out,
            "<text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8,
            px(scale.y(at) + 40)
        );
        at += step;
    }
}

fn limit_line(out: &mut String, limit: u64, scale: &Scale) {
    let y = scale.y(limit);
    let _ = write!(
        out,
        "<path class=\"limit\" d=\"M{LEFT} {}H{}\"/>\n\
         <text class=\"limit-text\" x=\"{}\" y=\"22\" text-anchor=\"end\">- - recommended limit {}</text>\n",
        px(y),
        WIDTH - RIGHT,
        WIDTH - RIGHT,
        size(limit)
    );
}

const PAGE: &str = "\
:root{color-scheme:light dark}\
body{margin:2rem auto;max-width:62rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:#1f2328;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
svg{width:100%;height:auto}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #d1d9e0;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}\
dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}\
.bad{color:#cf222e}\
@media (prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}th,td{border-color:#3d444d}.bad{color:#f85149}}";

/// The chart in a page with the figures and the evidence. It loads nothing and runs nothing.
#[must_use]
pub fn html(chart: &Chart<'_>) -> String {
    let workload = escape(&chart.baseline.workload);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>Baseline of {workload}</title>\n<style>{PAGE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Baseline of {workload}</h1>\n{}",
        svg(chart)
    );
    figures(&mut out, chart.baseline);
    notes(&mut out, chart.baseline);
    evidence(&mut out, chart.baseline);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn figures(out: &mut String, baseline: &Baseline) {
    out.push_str(
        "<h2>Figures</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">scenario</th>\
         <th scope=\"col\">needed p50</th><th scope=\"col\">p99</th><th scope=\"col\">most</th>\
         <th scope=\"col\">page cache</th><th scope=\"col\">MLX peak</th><th scope=\"col\">CPUs p50</th>\
         <th scope=\"col\">most</th><th scope=\"col\">threads</th><th scope=\"col\">open files</th></tr></thead>\n<tbody>\n",
    );
    for (name, s) in ordered(baseline) {
        let need = s.figure(Figure::Needed).or(s.figure(Figure::Memory));
        let kib = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), size);
        let most = |figure| s.figure(figure).map(|f| f.p100);
        let plain = |v: Option<u64>| v.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
        let cpus = |v: Option<u64>| {
            v.map_or_else(
                || "unknown".to_owned(),
                |v| crate::host::MilliCpu(v).to_string(),
            )
        };
        let cells = [
            kib(need.map(|n| n.p50)),
            kib(need.map(|n| n.p99)),
            kib(need.map(|n| n.p100)),
            kib(most(Figure::PageCache)),
            kib(most(Figure::MlxPeak)),
            cpus(s.figure(Figure::Cpu).map(|f| f.p50)),
            cpus(most(Figure::Cpu)),
            plain(most(Figure::Threads)),
            plain(most(Figure::OpenFiles)),
        ];
        let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th>{cells}</tr>",
            escape(name)
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn notes(out: &mut String, baseline: &Baseline) {
    let mut lines = Vec::new();
    for (name, s) in ordered(baseline) {
        let bad = s.cut_short.iter().map(|w| format!("cut short: {w}"));
        for text in bad.chain(s.stale.iter().map(|w| format!("stale: {w}"))) {
            lines.push(format!(
                "<li class=\"bad\">{}: {}</li>",
                escape(name),
                escape(&text)
            ));
        }
        let as_what = format!("memory {}", s.memory_as.words());
        for text in std::iter::once(&as_what).chain(&s.notes) {
            lines.push(format!("<li>{}: {}</li>", escape(name), escape(text)));
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "<h2>Notes</h2>\n<ul>\n{}\n</ul>", lines.join("\n"));
    }
}

fn evidence(out: &mut String, baseline: &Baseline) {
    let evidence = &baseline.evidence;
    let mut all = vec![("program", evidence.program.name.clone())];
    let versions: Vec<String> = evidence
        .frameworks
        .iter()
        .map(|(n, v)| format!("{n} {v}"))
        .collect();
    all.push(("frameworks", versions.join(", ")));
    for file in &evidence.model {
        let of = match file.of {
            Of::All => "of all of it",
            Of::Ends => "of its size and its ends",
        };
        let text = format!(
            "{}, {}, SHA-256 {of}: {}",
            file.file,
            size(file.bytes.div_ceil(1024)),
            file.sha256
        );
        all.push(("model", text));
    }
    let machine = &evidence.machine;
    let cpu = machine.cpu.as_deref().unwrap_or("CPU unknown");
    all.push((
        "machine",
        format!(
            "{}, {} x {cpu}, {}",
            machine.system,
            machine.cpus,
            size(machine.memory_kib)
        ),
    ));
    let list: Vec<String> = all
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(term, text)| format!("<dt>{term}</dt><dd>{}</dd>", escape(text)))
        .collect();
    let _ = writeln!(
        out,
        "<h2>Measured with</h2>\n<dl>\n{}\n</dl>",
        list.join("\n")
    );
}
