//! How wide, with which colours, at what time and where.

use curb_core::time::{Millis, Timestamp};
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::clean::clean_line;

/// What rendering depends on besides the data.
#[derive(Clone, Debug)]
pub struct View {
    /// Columns of the terminal; `None` when nobody looks (a pipe, a file): then nothing is cut.
    pub width: Option<usize>,
    /// Whether to colour.
    pub color: bool,
    /// The present.
    pub now: Timestamp,
    /// Where the reader is; `None`: where this machine is, which is found when a time is first told. It is seldom told, and
    /// to find it takes a look at every name of a zone that there is.
    pub zone: Option<TimeZone>,
}

/// The few colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// Less important.
    Dim,
    /// Good.
    Green,
    /// Look here.
    Yellow,
    /// Bad.
    Red,
}

impl View {
    /// Text in a colour, if there are colours.
    #[must_use]
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
        };
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone().unwrap_or_else(TimeZone::system)
    }

    /// Columns for running text: at most 100, 80 where nobody looks.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.width.unwrap_or(80).clamp(40, 100)
    }

    /// A moment, as short as it can be said: `14:20`, `Mon 14:20` within a week, `2026-12-01 00:00` else.
    #[must_use]
    pub fn at(&self, moment: Timestamp) -> String {
        let there = moment.to_jiff().to_zoned(self.zone());
        let here = self.now.to_jiff().to_zoned(self.zone());
        let days = moment.0.abs_diff(self.now.0) / 86_400_000;
        let form = if there.date() == here.date() {
            "%H:%M"
        } else if days < 6 {
            "%a %H:%M"
        } else {
            "%Y-%m-%d %H:%M"
        };
        there.strftime(form).to_string()
    }

    /// A moment in full, with its zone: `2026-11-22 14:20:05 +01:00`.
    #[must_use]
    pub fn at_full(&self, moment: Timestamp) -> String {
        moment
            .to_jiff()
            .to_zoned(self.zone())
            .strftime("%Y-%m-%d %H:%M:%S %:z")
            .to_string()
    }

    /// A moment to the second, without the day where that is today: `14:20:05`, `11-21 14:20:05`.
    #[must_use]
    pub fn at_second(&self, moment: Timestamp) -> String {
        let there = moment.to_jiff().to_zoned(self.zone());
        let here = self.now.to_jiff().to_zoned(self.zone());
        if there.date() == here.date() {
            return self.clock(moment);
        }
        there.strftime("%m-%d %H:%M:%S").to_string()
    }

    /// How long ago a moment is, in whole seconds and more.
    #[must_use]
    pub fn age(&self, moment: Timestamp) -> String {
        let span = self.now.since(moment);
        Millis(span.0 - span.0 % 1000).to_string()
    }

    /// A moment with how far it is: `14:20 (in 35m)`, `14:20 (5m ago)`.
    #[must_use]
    pub fn at_and_far(&self, moment: Timestamp) -> String {
        let far = if moment >= self.now {
            let there = View {
                now: moment,
                ..self.clone()
            };
            format!("in {}", there.age(self.now))
        } else {
            format!("{} ago", self.age(moment))
        };
        // Near moments are told apart by seconds only.
        if moment.0.abs_diff(self.now.0) < 10 * 60_000 {
            return format!("{} ({far})", self.clock(moment));
        }
        format!("{} ({far})", self.at(moment))
    }

    /// The time of day to the second: `14:20:05`.
    #[must_use]
    pub fn clock(&self, moment: Timestamp) -> String {
        let there = moment.to_jiff().to_zoned(self.zone());
        there.strftime("%H:%M:%S").to_string()
    }

    /// How far the reader's zone is from UTC now: `+01:00`.
    #[must_use]
    pub fn offset(&self) -> String {
        let here = self.now.to_jiff().to_zoned(self.zone());
        here.strftime("%:z").to_string()
    }
}

/// Cuts a text into lines of at most `width` columns, at spaces where it can.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in clean_line(text).split(' ').filter(|w| !w.is_empty()) {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// `first` and then the text, its further lines below its first one.
#[must_use]
pub fn wrap_indented(first: &str, text: &str, width: usize) -> String {
    let indent = first.width();
    let mut out = String::new();
    for (i, line) in wrap(text, width.saturating_sub(indent).max(20))
        .iter()
        .enumerate()
    {
        if i == 0 {
            out.push_str(first);
        } else {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        // 2026-11-22 was a Sunday.
        View {
            width: Some(80),
            color: false,
            now: Timestamp(1_795_356_000_000),
            zone: Some(TimeZone::UTC),
        }
    }

    #[test]
    fn a_moment_is_said_as_short_as_it_can_be() {
        let view = view();
        let hour = 3_600_000;
        assert_eq!(view.at_full(view.now), "2026-11-22 14:00:00 +00:00");
        assert_eq!(
            view.at_and_far(Timestamp(view.now.0 + hour)),
            "15:00 (in 1h)"
        );
        assert_eq!(
            view.at_and_far(Timestamp(view.now.0 - 90_000)),
            "13:58:30 (1m 30s ago)"
        );
        assert_eq!(view.at(Timestamp(view.now.0 + 20 * hour)), "Mon 10:00");
        assert_eq!(
            view.at(Timestamp(view.now.0 + 24 * 9 * hour)),
            "2026-12-01 14:00"
        );
    }

    #[test]
    fn text_is_wrapped_at_spaces_and_long_words_stand_alone() {
        assert_eq!(wrap("aa bb cccccc d", 5), ["aa bb", "cccccc", "d"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(
            wrap_indented("- ", "aaaa bbbb cccc dddd eeee", 24),
            "- aaaa bbbb cccc dddd\n  eeee\n"
        );
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        assert_eq!(view().ink(Ink::Red, "x"), "x");
        let colored = View {
            color: true,
            ..view()
        };
        assert_eq!(colored.ink(Ink::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
