//! Hints about wrong indentation, from the text alone: YAML's own errors name a place, not the reason.

use super::tree::Pos;

/// An indentation that is open at some line.
struct Level {
    spaces: usize,
    /// Whether items of a list begin there (with `-`), else fields.
    dash: bool,
}

/// If line `number` (from 1) is indented unlike its siblings: its column and what to say.
pub fn hint(lines: &[&str], number: u32) -> Option<(u32, String)> {
    let index = (number as usize).checked_sub(1)?;
    let line = lines.get(index)?;
    let spaces = leading(line);
    let dash = is_item(&line[spaces..]);
    // What is open is told by the lines since the last one without indentation; a bound keeps this linear.
    let levels = open_levels(&lines[index.saturating_sub(2000)..index]);
    if levels.iter().any(|l| l.dash == dash && l.spaces == spaces) {
        return None;
    }
    let sibling = levels
        .iter()
        .filter(|l| l.dash == dash)
        .min_by_key(|l| (l.spaces.abs_diff(spaces), usize::MAX - l.spaces))?;
    let unit = if spaces == 1 { "space" } else { "spaces" };
    let text = format!(
        "line {number} is indented {spaces} {unit}; its siblings have {}",
        sibling.spaces
    );
    Some((u32::try_from(spaces).ok()? + 1, text))
}

/// The first tab in an indentation at or after `from`.
pub fn first_tab(lines: &[&str], from: Pos) -> Option<Pos> {
    let start = from.line.saturating_sub(1) as usize;
    lines.iter().enumerate().skip(start).find_map(|(i, line)| {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        let column = line[..blank].find('\t')?;
        Some(Pos {
            line: u32::try_from(i).ok()? + 1,
            column: u32::try_from(column).ok()? + 1,
            width: 1,
        })
    })
}

fn open_levels(lines: &[&str]) -> Vec<Level> {
    let mut open: Vec<Level> = Vec::new();
    for line in lines {
        let mut spaces = leading(line);
        let mut rest = &line[spaces..];
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        // A list may begin in the column of the field it belongs to.
        open.retain(|l| l.spaces < spaces || (l.spaces == spaces && (is_item(rest) || !l.dash)));
        // A line may open several levels: `- - name: x`.
        while is_item(rest) && open.len() < 64 {
            push(&mut open, Level { spaces, dash: true });
            let after = &rest[1..];
            let gap = leading(after);
            spaces += 1 + gap;
            rest = &after[gap..];
        }
        if rest.contains(':') {
            push(
                &mut open,
                Level {
                    spaces,
                    dash: false,
                },
            );
        }
    }
    open
}

fn push(open: &mut Vec<Level>, level: Level) {
    let known = open
        .iter()
        .any(|l| l.spaces == level.spaces && l.dash == level.dash);
    if !known {
        open.push(level);
    }
}

fn leading(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_item(rest: &str) -> bool {
    rest == "-" || rest.starts_with("- ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(text: &str, line: u32) -> Option<String> {
        let lines: Vec<&str> = text.split('\n').collect();
        hint(&lines, line).map(|(_, text)| text)
    }

    #[test]
    fn a_line_unlike_its_siblings_is_told_so() {
        let cases = [
            (
                "q:\n  - name: a\n    limits: x\n   borrow: y",
                4,
                "3 spaces; its siblings have 4",
            ),
            (
                "q:\n  - name: a\n   - name: b",
                3,
                "3 spaces; its siblings have 2",
            ),
            (
                "q:\n  - name: a\n - name: b",
                3,
                "1 space; its siblings have 2",
            ),
            ("a: 1\n  b: 2", 2, "2 spaces; its siblings have 0"),
            ("a:\n    b: 1\n  c: 2", 3, "2 spaces; its siblings have 4"),
        ];
        for (text, line, wanted) in cases {
            let got = hint_for(text, line).unwrap_or_default();
            assert!(got.ends_with(wanted), "{text}: {got}");
        }
    }

    #[test]
    fn a_line_like_its_siblings_gets_no_hint() {
        assert_eq!(hint_for("a:\n  b: 1\n  c: 2", 3), None);
        assert_eq!(hint_for("", 1), None);
        assert_eq!(hint_for("a: 1", 9), None);
    }
}
