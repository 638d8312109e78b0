//! What is wrong with a file: where, which field, and what would be right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; it may not do what its author thinks.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is wrong, or doubtful, in a file.
///
/// All texts are safe to print on a terminal: what comes from the file is shortened and its control characters are
/// replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named to the reader.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Dotted path of the field, such as `quotas[1].limits.gpu`; empty for the file as a whole.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The line it is about; none when the file has no such line.
    pub source: Option<Excerpt>,
}

/// A line of the file, cut to what fits a terminal, and where to point in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The text.
    pub text: String,
    /// Characters before the caret.
    pub caret: u32,
    /// How many characters to underline, at least 1.
    pub width: u32,
}

/// The widest excerpt, in characters.
const EXCERPT: usize = 100;

impl Excerpt {
    /// Cuts `line` around `column` (from 1).
    pub fn cut(line: &str, column: u32, width: u32) -> Excerpt {
        let at = (column.max(1) - 1) as usize;
        let length = line.chars().count();
        let at = at.min(length);
        let start = if length <= EXCERPT || at < EXCERPT / 2 {
            0
        } else {
            at - EXCERPT / 2
        };
        let mut text = String::new();
        let mut caret = at - start;
        if start > 0 {
            text.push('…');
            caret += 1;
        }
        text.extend(line.chars().skip(start).take(EXCERPT).map(printable));
        if length > start + EXCERPT {
            text.push('…');
        }
        let room = text.chars().count().saturating_sub(caret).max(1);
        Excerpt {
            text: text.trim_end().to_owned(),
            caret: caret as u32,
            width: width.clamp(1, room as u32),
        }
    }
}

impl Diagnostic {
    /// For people: `policy.yaml:14:9: error: unknown field`, the line with a caret below the place, the field and the
    /// help. Several lines, without a line break at the end.
    #[must_use]
    pub fn render(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}: {}",
            self.file, self.line, self.column, self.severity, self.message
        )?;
        let number = self.line.to_string();
        let margin = number.len();
        if let Some(source) = &self.source {
            let before = source.caret as usize;
            let carets = "^".repeat(source.width as usize);
            write!(f, "\n{:margin$} |\n{number} | {}", "", source.text)?;
            write!(f, "\n{:margin$} | {:before$}{carets}", "", "")?;
        }
        if !self.field.is_empty() {
            write!(f, "\n{:margin$} = field: {}", "", self.field)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// The character, or a mark in place of one that a terminal would act on or that nobody would see.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Text from the file for use in a message: printable, and cut to `most` characters.
pub fn clip(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(printable).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// Text from the file between backticks.
pub fn quoted(text: &str) -> String {
    format!("`{}`", clip(text, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let cut = Excerpt::cut(&line, 501, 4);
        assert!(cut.text.chars().count() <= EXCERPT + 2);
        let pointed: String = cut.text.chars().skip(cut.caret as usize).take(4).collect();
        assert_eq!(pointed, "HERE");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_replaced() {
        assert_eq!(quoted("a\u{1b}[31m\u{202e}b"), "`a\u{fffd}[31m\u{fffd}b`");
        assert_eq!(clip(&"x".repeat(99), 5), "xxxxx…");
    }

    #[test]
    fn a_column_past_the_line_points_at_its_end() {
        let cut = Excerpt::cut("ab", 99, 50);
        assert_eq!((cut.caret, cut.width), (2, 1));
    }
}
