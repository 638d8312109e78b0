//! Recommended limits into a file of limits that people write: only the limits of the workloads change, comments elsewhere
//! and all else stay as they are.

use crate::host::limits::{self, File, Host, Workload};

use super::recommend::Recommendation;

/// Why the limits could not be put into a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// The file is wrong; what is wrong with it, for people.
    #[error("{0}")]
    Wrong(String),
    /// It is written in a way that this cannot change.
    #[error(
        "workload `{0}` is not written in lines of its own in it: put the limits there by hand (`curb limits recommend` without --into prints them)"
    )]
    Form(String),
}

/// The file with these limits. The limits of a workload that are not recommended stay; a new workload comes last.
///
/// # Errors
/// The text is no file of limits, or is written in a form that cannot be changed line by line. Nothing is guessed: what
/// would come out is read again, and must be what was meant.
pub fn put_into(
    name: &str,
    text: &str,
    all: &[(Recommendation, Option<String>)],
) -> Result<String, NotPut> {
    let mut text = text.to_owned();
    for (made, baseline) in all {
        let before = read(name, &text)?;
        let mut wanted = before.clone();
        let one = match wanted
            .workloads
            .iter_mut()
            .find(|w| w.name == made.workload)
        {
            Some(one) => {
                one.limits = one.limits.with(&made.limits);
                one.clone()
            }
            None => {
                let one = workload(made, baseline.as_deref());
                wanted.workloads.push(one.clone());
                one
            }
        };
        let changed = match before.workload(&made.workload) {
            Some(_) => replaced(&text, &one),
            None => added(&text, &one, before.workloads.is_empty()),
        };
        text = changed
            .filter(|new| read(name, new).is_ok_and(|file| file == wanted))
            .ok_or_else(|| NotPut::Form(made.workload.clone()))?;
    }
    Ok(text)
}

/// A file with nothing but these.
#[must_use]
pub fn new_file(all: &[(Recommendation, Option<String>)]) -> String {
    let workloads = all.iter().map(|(made, b)| workload(made, b.as_deref()));
    limits::show(&File {
        version: 1,
        workloads: workloads.collect(),
        ..File::default()
    })
}

fn workload(made: &Recommendation, baseline: Option<&str>) -> Workload {
    Workload {
        name: made.workload.clone(),
        baseline: baseline.map(str::to_owned),
        limits: made.limits.clone(),
        ..Workload::default()
    }
}

fn read(name: &str, text: &str) -> Result<File, NotPut> {
    File::parse(name, text, &Host::default())
        .map(|parsed| parsed.file)
        .map_err(|errors| {
            let all: Vec<String> = errors.iter().map(limits::Diagnostic::render).collect();
            NotPut::Wrong(all.join("\n\n"))
        })
}

/// The lines of a workload as they are shown, each at two blanks.
fn shown(one: &Workload) -> Vec<String> {
    let text = limits::show(&File {
        version: 1,
        workloads: vec![one.clone()],
        ..File::default()
    });
    let from_list = text.lines().skip_while(|l| !l.starts_with("  - "));
    from_list.map(str::to_owned).collect()
}

/// The lines of its limits alone.
fn shown_limits(one: &Workload) -> Vec<String> {
    let only = Workload {
        name: one.name.clone(),
        limits: one.limits.clone(),
        ..Workload::default()
    };
    shown(&only).into_iter().skip(1).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn says_something(line: &str) -> bool {
    let text = line.trim_start();
    !text.is_empty() && !text.starts_with('#')
}

/// The end of what begins at a line: the first that says something and stands no deeper than `depth`; comments and blank
/// lines before that are of what follows.
fn end_of(lines: &[&str], start: usize, depth: usize) -> usize {
    let rest = lines.iter().enumerate().skip(start + 1);
    let mut last = start;
    for (i, line) in rest {
        if !says_something(line) {
            continue;
        }
        if indent(line) <= depth {
            break;
        }
        last = i;
    }
    last + 1
}

fn replaced(text: &str, one: &Workload) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_it = |line: &&str| {
        let rest = line.trim_start().strip_prefix("- name:").map(str::trim);
        let name = rest.map(|r| r.split(" #").next().unwrap_or(r).trim());
        name.is_some_and(|n| n.trim_matches(['"', '\'']) == one.name)
    };
    let start = lines.iter().position(is_it)?;
    let depth = indent(lines[start]);
    let end = end_of(&lines, start, depth);
    let margin = depth + 2;
    let is_limits = |i: &usize| {
        let text = lines[*i].trim();
        indent(lines[*i]) == margin && (text == "limits:" || text.starts_with("limits: "))
    };
    let (from, to) = match (start + 1..end).find(is_limits) {
        Some(at) => (at, end_of(&lines, at, margin).min(end)),
        None => (end, end),
    };
    // They are shown for a list at two blanks.
    let new = shown_limits(one)
        .into_iter()
        .map(|line| format!("{:margin$}{}", "", line.get(4..).unwrap_or_default()));
    let mut out: Vec<String> = lines[..from].iter().map(|l| (*l).to_owned()).collect();
    out.extend(new);
    out.extend(lines[to..].iter().map(|l| (*l).to_owned()));
    Some(out.join("\n") + "\n")
}

fn added(text: &str, one: &Workload, is_first: bool) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    let head = lines.iter().position(|l| l.starts_with("workloads:"));
    let new = shown(one);
    match head {
        Some(head) if is_first => {
            out[head] = "workloads:".to_owned();
            out.splice(head + 1..head + 1, new);
        }
        Some(head) => {
            let items = lines.iter().skip(head + 1);
            let depth = items
                .filter(|l| l.trim_start().starts_with("- "))
                .map(|l| indent(l))
                .min()?;
            // The items of a list may stand no deeper than its key.
            let inside = |l: &&str| {
                indent(l) > depth || (indent(l) == depth && l.trim_start().starts_with("- "))
            };
            let said = lines.iter().enumerate().skip(head + 1);
            let mut list = said
                .filter(|(_, l)| says_something(l))
                .take_while(|(_, l)| inside(l));
            let end = list.by_ref().last()?.0 + 1;
            let moved = new.iter().map(|l| match depth {
                0 => l.get(2..).unwrap_or_default().to_owned(),
                _ => format!("{:1$}{l}", "", depth - 2),
            });
            out.splice(end..end, moved.collect::<Vec<String>>());
        }
        None => {
            out.push("workloads:".to_owned());
            out.extend(new);
        }
    }
    Some(out.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::recommend::{Host as For, recommend};
    use super::super::tests::chat;
    use super::*;
    use crate::host::Bytes;

    fn made() -> Vec<(Recommendation, Option<String>)> {
        let host = For {
            memory: Some(Bytes(24 << 30)),
            cpus: Some(2),
            memory_high: false,
        };
        let made = recommend(&chat(), &Default::default(), &host).expect("recommended");
        vec![(made, Some("baselines/chat.yaml".to_owned()))]
    }

    const MINE: &str = "\
# Ours.
version: 1
host: {keep_free: {memory: 2GiB}}   # for all else

workloads:
  # the trainer
  - name: train
    limits:
      memory: {value: 1GiB, why: \"as always\"}

  # the server
  - name: chat   # by ana
    command: [python, server.py]
    limits:
      # an old guess
      memory: {value: 8GiB, why: \"a guess\"}
      io_read: {value: 100MiB/s, why: \"others read too\"}

    # it is asked to end
    ladder:
      - {when: memory > 95%, after: 60s, do: stop, grace: 30s}
";

    #[test]
    fn a_new_file_reads_back_as_what_was_recommended() {
        let file = read("limits.yaml", &new_file(&made())).expect("right");
        let chat = file.workload("chat").expect("there");
        assert_eq!(chat.limits, made()[0].0.limits);
        assert_eq!(chat.baseline.as_deref(), Some("baselines/chat.yaml"));
    }

    #[test]
    fn only_the_limits_of_the_workload_change_in_a_file_of_people() {
        let new = put_into("limits.yaml", MINE, &made()).expect("put");
        insta::assert_snapshot!(new);
        assert_eq!(
            put_into("limits.yaml", &new, &made()).as_deref(),
            Ok(new.as_str()),
            "twice is once"
        );
    }

    #[test]
    fn a_workload_that_is_not_there_comes_last_whatever_the_file_has() {
        for text in [
            "version: 1\n",
            "version: 1\nworkloads: []\n",
            "version: 1\nworkloads:\n- name: a\n  limits:\n    swap: {value: 0B, why: x}\nhost: {keep_free: {memory: 2GiB}}\n",
            "version: 1\nworkloads:\n    - name: a\n      limits:\n        swap: {value: 0B, why: x}\n# end\n",
            "version: 1\nworkloads:\n  - name: a\n    command: [x]\n",
        ] {
            let new =
                put_into("limits.yaml", text, &made()).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let file = read("limits.yaml", &new).expect("right");
            assert_eq!(
                file.workloads.last().map(|w| w.name.as_str()),
                Some("chat"),
                "{new}"
            );
        }
    }

    #[test]
    fn what_cannot_be_changed_line_by_line_and_what_is_wrong_is_refused() {
        let flow =
            "version: 1\nworkloads: [{name: chat, limits: {memory: {value: 1GiB, why: x}}}]\n";
        assert_eq!(
            put_into("limits.yaml", flow, &made()),
            Err(NotPut::Form("chat".into()))
        );
        let wrong =
            put_into("limits.yaml", "version: 1\nworkload: []\n", &made()).expect_err("wrong");
        assert!(
            wrong.to_string().starts_with("limits.yaml:2:1: error: "),
            "{wrong}"
        );
    }
}
