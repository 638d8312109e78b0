//! Jobs: the list, and one.

use curb_api::{HeldSpan, JobHeldView, JobState, JobUsedView, JobView, MemoryAs, Waiting};
use curb_core::amount::Amount;
use curb_core::resource::{Resource, Resources};
use curb_core::time::Millis;

use super::explain::{start, violations};
use super::journal::records_head;
use crate::term::{Cell, Ink, Table, View, clean_line, clean_text, wrap_indented};

/// The list, as `squeue` users know it.
#[must_use]
pub fn jobs(jobs: &[JobView], view: &View) -> String {
    let watched = jobs.iter().any(|j| j.held.is_some());
    // In 80 columns what is held is worth more than the team, which the user's name tells.
    let team = !watched || view.width.is_none_or(|w| w >= 100);
    let agents = jobs.iter().any(|j| j.used.is_some());
    let kind = !agents || view.width.is_none_or(|w| w >= 100);
    let mut heads = vec!["ID", "USER"];
    heads.extend(team.then_some("TEAM"));
    heads.extend(kind.then_some("TYPE"));
    heads.extend(["STATE", "ASKED"]);
    heads.extend(watched.then_some("HELD"));
    heads.extend(agents.then_some("USED"));
    heads.extend(["AGE", "REASON"]);
    let mut table = Table::new(&heads);
    for job in jobs {
        let mut row = vec![Cell::new(job.id.as_str()), Cell::new(&job.subject.user)];
        if team {
            row.push(Cell::new(job.subject.team.as_deref().unwrap_or("-")));
        }
        if kind {
            row.push(Cell::new(job.subject.job_type.as_deref().unwrap_or("-")));
        }
        row.push(Cell::new(job.state.as_str()).ink(ink(job.state)));
        row.push(Cell::new(short(&job.request)));
        if watched {
            row.push(held_cell(job, view));
        }
        if agents {
            row.push(used_cell(job, view));
        }
        row.push(Cell::new(view.age(job.submitted)));
        row.push(Cell::new(reason(job, view)));
        table.row(row);
    }
    let mut out = table.render(view);
    // Only these have a time of day in their line.
    let timed = |j: &JobView| match j.state {
        JobState::Queued => j.waiting.as_ref().is_some_and(|w| w.expected.is_some()),
        JobState::Running => j.expected_end.is_some_and(|at| at >= view.now),
        _ => false,
    };
    // In a pipe each line is a job.
    if view.width.is_some() && jobs.iter().any(timed) {
        out.push_str(&format!("{}\n", records_head(view)));
    }
    out
}

/// What Ray says that it holds, in a sentence.
fn held_words(held: &JobHeldView, job: &JobView, view: &View) -> String {
    let HeldSpan { least, most } = &held.held;
    let amounts = match (most.is_empty(), least == most) {
        (true, _) => "nothing".to_owned(),
        (false, true) => most.to_string(),
        (false, false) if least.is_empty() => format!("at most {most}"),
        (false, false) => format!("between {least} and {most}"),
    };
    let over = if over(least, &job.holds) {
        ", MORE THAN GRANTED"
    } else {
        ""
    };
    let detached = match held.detached {
        0 => String::new(),
        n => format!(" ({n} detached)"),
    };
    let unproven = match held.unproven {
        0 => String::new(),
        n => format!(" ({n} not proven yet)"),
    };
    let count = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!(
        "{amounts} in Ray{over}, by {}{unproven}, {}{detached}, {}; seen {} ago",
        count(held.drivers, "driver"),
        count(held.actors, "actor"),
        count(held.tasks, "running task"),
        view.age(held.as_of)
    )
}

/// What was seen longer ago than this is told as it was then.
const FRESH: Millis = Millis(15_000);

/// What it holds at most; red when even the least is more than it was granted.
fn held_cell(job: &JobView, view: &View) -> Cell {
    let Some(held) = &job.held else {
        let unknown = job.state == JobState::Running;
        return Cell::new(if unknown { "?" } else { "-" });
    };
    let old = if view.now.since(held.as_of) > FRESH {
        "?"
    } else {
        ""
    };
    let most = match held.held.most.is_empty() {
        true => "nothing".to_owned(),
        false => short(&held.held.most),
    };
    let cell = Cell::new(format!("{most}{old}"));
    if over(&held.held.least, &job.holds) {
        cell.ink(Ink::Red)
    } else {
        cell
    }
}

/// What its processes use: CPUs and memory. A `+` behind it: more of it may be on nodes of which nobody tells.
fn used_cell(job: &JobView, view: &View) -> Cell {
    let Some(used) = &job.used else {
        let unknown = job.state == JobState::Running;
        return Cell::new(if unknown { "?" } else { "-" });
    };
    let more = if used.unseen > 0 { "+" } else { "" };
    let old = if view.now.since(used.as_of) > OLD {
        "?"
    } else {
        ""
    };
    Cell::new(format!("{}{more}{old}", short(&used_amounts(used))))
}

/// An agent that has not told for so long is silent.
const OLD: Millis = Millis(30_000);

fn used_amounts(used: &JobUsedView) -> Resources {
    let mut all = Resources::default();
    all.set(Resource::Cpu, used.cpu);
    all.set(Resource::Memory, used.memory);
    all
}

/// What its processes use, in a sentence.
fn used_words(used: &JobUsedView, view: &View) -> String {
    let measured = match used.memory_as {
        MemoryAs::Private => "of their own",
        MemoryAs::Group => "as the kernel charges it",
    };
    let unseen = match used.unseen {
        0 => String::new(),
        1 => "; of 1 node nobody tells".to_owned(),
        n => format!("; of {n} nodes nobody tells"),
    };
    format!(
        "{} (memory {measured}) by {} processes on {} node{}{unseen}; seen {} ago",
        used_amounts(used),
        used.processes,
        used.nodes,
        if used.nodes == 1 { "" } else { "s" },
        view.age(used.as_of)
    )
}

/// Whether more of something that was granted an amount, or of CPUs, GPUs or memory at all, is in `held` than in `granted`.
fn over(held: &Resources, granted: &Resources) -> bool {
    held.iter().any(|(r, amount)| amount > granted.get(r))
}

fn ink(state: JobState) -> Ink {
    match state {
        JobState::Queued | JobState::Starting => Ink::Yellow,
        JobState::Running | JobState::Succeeded => Ink::Green,
        JobState::Quarantined | JobState::Failed => Ink::Red,
        JobState::Stopped => Ink::Dim,
    }
}

/// Amounts in one word each: `2cpu 16GiB 1gpu`.
#[must_use]
pub fn short(resources: &Resources) -> String {
    let words: Vec<String> = resources
        .iter()
        .map(|(resource, amount)| match resource {
            Resource::Memory => resource.show(amount).to_string().replace(' ', ""),
            Resource::GpuModel(model) => format!("{}x{model}", resource.show(amount)),
            Resource::Gpu => {
                // Models count as GPUs, and are said by themselves.
                let models = resources
                    .iter()
                    .filter(|(r, _)| matches!(r, Resource::GpuModel(_)));
                let named = models.fold(Amount::ZERO, |sum, (_, a)| sum.saturating_add(a));
                match amount.saturating_sub(named) {
                    Amount::ZERO => String::new(),
                    rest => format!("{}gpu", resource.show(rest)),
                }
            }
            other => format!("{}{other}", resource.show(amount)),
        })
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(" ")
    }
}

/// Why a job is where it is, in one line.
#[must_use]
pub fn reason(job: &JobView, view: &View) -> String {
    if let Some(stop) = &job.stop
        && !job.state.is_ended()
    {
        return format!("being stopped by {}: {}", stop.by, stop.why);
    }
    match job.state {
        JobState::Queued => job
            .waiting
            .as_ref()
            .map_or_else(|| job.message.clone(), |w| waits(w, view)),
        JobState::Starting => "Ray is being told".to_owned(),
        JobState::Running if !job.message.is_empty() => first_line(&job.message),
        JobState::Running => {
            let lent = if job.borrowed {
                "on borrowed capacity"
            } else {
                ""
            };
            let end = job
                .expected_end
                .map(|at| match at < view.now {
                    true => format!("past its declared end by {}", view.age(at)),
                    false => format!("ends by {}", view.at(at)),
                })
                .unwrap_or_default();
            [end.as_str(), lent]
                .into_iter()
                .filter(|t| !t.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        JobState::Quarantined => {
            "Ray restarted under it: `curb jobs release` once nothing of it runs".to_owned()
        }
        JobState::Succeeded => String::new(),
        JobState::Stopped if job.stop.is_some() => stopped(job),
        JobState::Failed | JobState::Stopped => first_line(&job.message),
    }
}

/// Who stopped it, and why if that was said.
fn stopped(job: &JobView) -> String {
    let Some(stop) = &job.stop else {
        return String::new();
    };
    let why = if stop.why.is_empty() {
        String::new()
    } else {
        format!(": {}", stop.why)
    };
    first_line(&format!("by {}{why}", stop.by))
}

/// Ray puts the end of the log behind what it says of a job that failed.
const LOG_FOLLOWS: &str = ", last available logs";
/// Characters of a message in a list.
const LINE: usize = 120;

/// What a message says in its first line, without the log that may follow.
#[must_use]
pub fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let said = line.split_once(LOG_FOLLOWS).map_or(line, |(said, _)| said);
    match said.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said.to_owned(),
    }
}

fn waits(waiting: &Waiting, view: &View) -> String {
    let mut text = format!("{} of {}", waiting.position, waiting.of);
    if let Some(first) = waiting.violations.first() {
        text.push_str(&format!(": {}", first.code));
        if let Some(quota) = &first.quota {
            text.push_str(&format!(" {quota}"));
        }
    }
    if let Some(at) = waiting.expected {
        text.push_str(&format!(", start ~{}", view.at(at)));
    }
    text
}

/// One job in words.
#[must_use]
pub fn job(job: &JobView, view: &View) -> String {
    let columns = view.columns();
    let mut out = format!(
        "{} {}\n",
        view.ink(Ink::Bold, job.id.as_str()),
        view.ink(ink(job.state), &state_words(job))
    );
    let mut line = |label: &str, text: &str| {
        out.push_str(&wrap_indented(&format!("  {label:<12}"), text, columns))
    };
    line(
        "charged to",
        &format!("{} on cluster {}", job.subject, job.cluster),
    );
    let duration = job
        .duration
        .map(|d| format!(" for {d}"))
        .unwrap_or_default();
    line(
        "asks for",
        &format!("{}{duration}, priority {}", job.request, job.priority),
    );
    if !job.holds.is_empty() {
        let lent = if job.borrowed {
            " (borrowed: it may be stopped when its owner wants it back)"
        } else {
            ""
        };
        line("granted", &format!("{}{lent}", job.holds));
    }
    if let Some(held) = &job.held {
        line("holds", &held_words(held, job, view));
    }
    if let Some(used) = &job.used {
        line("uses", &used_words(used, view));
    }
    // This one in full, with the zone that the others are in.
    line(
        "came in",
        &format!(
            "{} ({} ago)",
            view.at_full(job.submitted),
            view.age(job.submitted)
        ),
    );
    if let Some(at) = job.started {
        line("started", &view.at_and_far(at));
    }
    match job.expected_end {
        Some(at) if at < view.now => {
            let late = view.age(at);
            line(
                "ends by",
                &format!("past its declared end, {}, by {late}", view.at(at)),
            );
        }
        Some(at) => line("ends by", &view.at_and_far(at)),
        None => {}
    }
    if let Some(exempt) = &job.exempt {
        line(
            "exempt",
            &format!(
                "out of reach of ladders until {}, by {}: {}",
                view.at_and_far(exempt.until),
                exempt.by,
                exempt.why
            ),
        );
    }
    if let Some(at) = job.ended {
        line("ended", &view.at_and_far(at));
    }
    if job.attempt > 1 {
        line("attempt", &job.attempt.to_string());
    }
    if let Some(stop) = &job.stop {
        line(
            "stop",
            &format!("by {} at {}: {}", stop.by, view.at(stop.at), stop.why),
        );
    }
    if let Some(entrypoint) = &job.entrypoint {
        line("runs", entrypoint);
    }
    // What a waiting job waits for is told below in full.
    if !job.message.is_empty() && job.waiting.is_none() {
        line("message", &clean_text(&job.message));
    }
    if job.state == JobState::Quarantined {
        let id = &job.id;
        line(
            "to do",
            &format!(
                "once nothing of it runs any more, an operator says so: curb jobs release {id} --why ..."
            ),
        );
    }
    if let Some(waiting) = &job.waiting {
        out.push_str(&waiting_words(waiting, view));
    }
    out
}

fn state_words(job: &JobView) -> String {
    match job.state {
        JobState::Queued => "waits in the queue; Ray has not heard of it".to_owned(),
        JobState::Starting => "is being started; Ray has not confirmed it yet".to_owned(),
        JobState::Running => "runs".to_owned(),
        JobState::Quarantined => {
            "is quarantined: Ray restarted under it, and it may still run".to_owned()
        }
        ended => {
            let code = job
                .exit_code
                .map(|c| format!(", exit code {c}"))
                .unwrap_or_default();
            let took = match (job.started, job.ended) {
                (Some(from), Some(to)) => format!(" after {}", to.since(from)),
                _ => String::new(),
            };
            format!("{ended}{took}{code}")
        }
    }
}

fn waiting_words(waiting: &Waiting, view: &View) -> String {
    let hopeless = waiting.violations.first().filter(|v| v.is_hopeless());
    let when = match (&waiting.unknown, hopeless) {
        (Some(why), Some(_)) => format!("no start is expected: {}", clean_line(why)),
        (unknown, _) => start(waiting.expected, unknown.as_deref(), view),
    };
    let mut out = format!(
        "\nPosition {} of {}; {when}. It waits for:\n\n",
        waiting.position, waiting.of
    );
    out.push_str(&violations(&waiting.violations, view));
    out
}
