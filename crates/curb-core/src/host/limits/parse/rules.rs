//! Rules that say which processes a workload is: what they may rest on, and whether two can mean one process.

use crate::host::limits::model::User;
use crate::host::limits::model::{File, Glob, Match, Workload};
use crate::yaml::{Place, Reader, Step};

use super::called;

use Step::{Index, Key};

/// How much is compared in all, in characters of one pattern times characters of the other; the rest is not.
const WORK: usize = 4_000_000;

/// Whether a workload is known to use MLX: by its rule, or since it has a limit of MLX.
pub fn is_mlx(w: &Workload) -> bool {
    let library = w.matches.as_ref().and_then(|m| m.library.as_deref());
    w.limits.is_mlx() || library.is_some_and(|l| l.starts_with("libmlx"))
}

/// One rule by itself.
pub fn one(r: &mut Reader<'_>, at: &Place<'_>, rule: &Match) {
    let forgeable = rule.command.is_some() || !rule.environment.is_empty();
    if rule.is_forgeable() {
        let (message, help) = if forgeable {
            (
                "a process can forge its arguments and environment: the rule rests on nothing else",
                "add `user`, `unit`, `container` or `library`",
            )
        } else {
            (
                "the rule is empty: it would mean every process",
                "say at least `library`, `user`, `unit` or `container`, or leave `match` out",
            )
        };
        return r.error(at, message, help);
    }
    let only_user =
        rule.library.is_none() && rule.unit.is_none() && rule.container.is_none() && !forgeable;
    if let Some(user) = rule.user.as_ref().filter(|_| only_user) {
        let message = format!("means every process of user {user}, the shell too");
        at.walk(&[Key("user")], |at| {
            r.warn(at, &message, "add `library`, `unit` or `command`");
        });
    }
}

/// Warns where the rules of two workloads can mean one process.
pub fn overlap(r: &mut Reader<'_>, root: &Place<'_>, file: &File) {
    let rules: Vec<(usize, &Match)> = file
        .workloads
        .iter()
        .enumerate()
        .filter_map(|(i, w)| Some((i, w.matches.as_ref()?)))
        .collect();
    let length = |m: &Match| 16 + m.command.as_ref().map_or(0, |c| c.0.len());
    let mut work = 0;
    for (at, (later, rule)) in rules.iter().enumerate() {
        for (earlier, other) in &rules[..at] {
            work += length(rule) * length(other);
            if work > WORK {
                return;
            }
            if apart(other, rule) {
                continue;
            }
            let first = called(&file.workloads[*earlier].name);
            let message = format!("can mean a process that {first} means too");
            let help = format!(
                "{first} is first in the file and has it; add what tells them apart, such as `unit` or `user`"
            );
            let steps = [Key("workloads"), Index(*later), Key("match")];
            root.walk(&steps, |at| r.warn(at, &message, &help));
            break;
        }
    }
}

/// Whether no process can be meant by both.
fn apart(a: &Match, b: &Match) -> bool {
    fn both<'a, T>(a: &'a Option<T>, b: &'a Option<T>, differ: impl Fn(&T, &T) -> bool) -> bool {
        matches!((a, b), (Some(a), Some(b)) if differ(a, b))
    }
    let no_common_beginning =
        |a: &String, b: &String| !a.starts_with(b.as_str()) && !b.starts_with(a.as_str());
    let other_value = a
        .environment
        .iter()
        .any(|(name, value)| b.environment.get(name).is_some_and(|other| other != value));
    // A name and a number may be one user.
    let other_user = |a: &User, b: &User| match (a, b) {
        (User::Name(_), User::Id(_)) | (User::Id(_), User::Name(_)) => false,
        (a, b) => a != b,
    };
    // A slice has services in it: only two of one kind cannot both name one process.
    let other_unit =
        |a: &String, b: &String| a != b && !a.ends_with(".slice") && !b.ends_with(".slice");
    both(&a.user, &b.user, other_user)
        || both(&a.unit, &b.unit, other_unit)
        || both(&a.container, &b.container, no_common_beginning)
        || both(&a.command, &b.command, |a, b| !common(a, b))
        || other_value
}

/// Whether some text fits both patterns. Takes at most as many steps as the two lengths multiplied.
fn common(a: &Glob, b: &Glob) -> bool {
    let a: Vec<char> = a.0.chars().collect();
    let b: Vec<char> = b.0.chars().collect();
    // row[j]: whether the first i of `a` and the first j of `b` can be one text.
    let mut row: Vec<bool> = Vec::with_capacity(b.len() + 1);
    row.push(true);
    for j in 0..b.len() {
        row.push(row[j] && b[j] == '*');
    }
    for x in &a {
        let mut next: Vec<bool> = Vec::with_capacity(b.len() + 1);
        next.push(row[0] && *x == '*');
        for (j, y) in b.iter().enumerate() {
            let one = row[j] && (x == y || *x == '?' || *y == '?' || *x == '*' || *y == '*');
            // A star that takes this character, or none.
            let star = (*x == '*' || *y == '*') && (row[j + 1] || next[j]);
            next.push(one || star);
        }
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob(text.to_owned())
    }

    #[test]
    fn two_patterns_may_have_a_text_in_common() {
        for (a, b, shared) in [
            ("python* server.py*", "python3 *", true),
            ("python* server.py", "python* train.py", false),
            ("a*", "b*", false),
            ("*a", "b*", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?", "?b", true),
            ("*", "", true),
            ("a", "", false),
            ("x*y", "xy", true),
        ] {
            assert_eq!(common(&glob(a), &glob(b)), shared, "{a} {b}");
            assert_eq!(common(&glob(b), &glob(a)), shared, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn patterns_that_one_text_fits_have_it_in_common(
            text in "[ab]{0,6}", a in "[ab*?]{0,6}", b in "[ab*?]{0,6}"
        ) {
            if glob(&a).matches(&text) && glob(&b).matches(&text) {
                prop_assert!(common(&glob(&a), &glob(&b)));
            }
        }

        #[test]
        fn a_pattern_without_wildcards_has_in_common_what_fits(text in "[ab]{0,6}", a in "[ab*?]{0,6}") {
            prop_assert_eq!(common(&glob(&text), &glob(&a)), glob(&a).matches(&text));
        }
    }
}
