//! Columns without borders.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::clean::clean_line;
use super::view::{Ink, View};

/// One field of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    /// A field. What a terminal would act on is dropped.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell {
            text: clean_line(text.as_ref()).into_owned(),
            ink: Ink::Plain,
        }
    }

    /// In a colour.
    #[must_use]
    pub fn ink(mut self, ink: Ink) -> Cell {
        self.ink = ink;
        self
    }
}

/// A table. On a terminal the last column is cut to what fits; where hardly anything of it would fit, it goes below its
/// row. In a pipe nothing is cut.
#[derive(Clone, Debug)]
pub struct Table {
    heads: Vec<&'static str>,
    right: Vec<usize>,
    whole: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

/// With less room than this (and less than it needs) the last column goes below.
const LAST_ROOM: usize = 20;
/// How far it stands to the right there.
const INDENT: usize = 4;
/// No column is cut to less.
const LEAST: usize = 6;

/// Widths of the columns, and whether the last one stands below.
struct Layout {
    widths: Vec<usize>,
    below: bool,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(heads: &[&'static str]) -> Table {
        Table {
            heads: heads.to_vec(),
            right: Vec::new(),
            whole: vec![0],
            rows: Vec::new(),
        }
    }

    /// Aligns columns to the right.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Table {
        self.right.extend_from_slice(columns);
        self
    }

    /// Columns that are cut only when no other can be, as the first is (an id is no good in part).
    #[must_use]
    pub fn whole(mut self, columns: &[usize]) -> Table {
        self.whole.extend_from_slice(columns);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As text, each line ended.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let layout = self.layout(view);
        let heads: Vec<Cell> = self
            .heads
            .iter()
            .map(|h| Cell::new(h).ink(Ink::Bold))
            .collect();
        let mut out = String::new();
        if layout.below {
            self.line(&mut out, &heads[..heads.len() - 1], &layout.widths, view);
        } else {
            self.line(&mut out, &heads, &layout.widths, view);
        }
        for row in &self.rows {
            match row.split_last() {
                Some((last, others)) if layout.below => {
                    self.line(&mut out, others, &layout.widths, view);
                    below(&mut out, last, view);
                }
                _ => self.line(&mut out, row, &layout.widths, view),
            }
        }
        out
    }

    fn layout(&self, view: &View) -> Layout {
        let mut widths: Vec<usize> = self.heads.iter().map(|h| h.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some((columns, (last, others))) = view.width.zip(widths.split_last_mut()) else {
            return Layout {
                widths,
                below: false,
            };
        };
        let room = columns.saturating_sub(taken(others) + 2);
        let below = room < (*last).min(LAST_ROOM);
        if below {
            squeeze(others, columns, &self.whole);
        } else {
            *last = (*last).min(room);
        }
        Layout { widths, below }
    }

    fn line(&self, out: &mut String, row: &[Cell], widths: &[usize], view: &View) {
        let start = out.len();
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            if i > 0 {
                out.push_str("  ");
            }
            let text = cut(&cell.text, *width);
            let pad = " ".repeat(width.saturating_sub(text.width()));
            let inked = view.ink(cell.ink, &text);
            if self.right.contains(&i) {
                out.push_str(&pad);
                out.push_str(&inked);
            } else {
                out.push_str(&inked);
                out.push_str(&pad);
            }
        }
        out.truncate(start + out[start..].trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// Columns of these widths with their gaps.
fn taken(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

/// Cuts the widest column that may be cut until all fit, or none can be cut any more; then those that should stay whole,
/// but for the first.
fn squeeze(widths: &mut [usize], columns: usize, whole: &[usize]) {
    for keep in [whole, &[0]] {
        while taken(widths) > columns {
            let cut = widths.iter_mut().enumerate();
            let widest = cut.filter(|(i, _)| !keep.contains(i)).map(|(_, w)| w).max();
            match widest {
                Some(widest) if *widest > LEAST => *widest -= 1,
                _ => break,
            }
        }
    }
}

fn below(out: &mut String, cell: &Cell, view: &View) {
    if cell.text.is_empty() {
        return;
    }
    let room = view
        .width
        .unwrap_or(80)
        .saturating_sub(INDENT)
        .max(LAST_ROOM);
    out.push_str(&" ".repeat(INDENT));
    out.push_str(&view.ink(cell.ink, &cut(&cell.text, room)));
    out.push('\n');
}

/// At most `width` columns, with `…` where something is cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use curb_core::time::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "N", "REASON"]).right(&[1]);
        table.row(vec![
            Cell::new("a"),
            Cell::new("10"),
            Cell::new("a long reason that is cut somewhere"),
        ]);
        table.row(vec![
            Cell::new("漢字"),
            Cell::new("5"),
            Cell::new("x\n\x1b[2Jy"),
        ]);
        table
    }

    fn view(width: Option<usize>, color: bool) -> View {
        View {
            width,
            color,
            now: Timestamp(0),
            zone: Some(TimeZone::UTC),
        }
    }

    #[test]
    fn on_a_terminal_the_last_column_is_cut() {
        let text = table().render(&view(Some(32), false));
        assert_eq!(
            text,
            "ID     N  REASON\na     10  a long reason that is…\n漢字   5  x [2Jy\n"
        );
        assert!(text.lines().all(|l| l.width() <= 32));
    }

    #[test]
    fn where_hardly_anything_of_it_would_fit_the_last_column_goes_below() {
        let mut table = Table::new(&["ID", "NAME", "REASON"]);
        table.row(vec![
            Cell::new("an-id-of-15-char"),
            Cell::new("a-longer-name"),
            Cell::new("the reason is as long as this"),
        ]);
        table.row(vec![Cell::new("b"), Cell::new("c"), Cell::new("")]);
        let text = table.render(&view(Some(28), false));
        assert_eq!(
            text,
            "ID                NAME\nan-id-of-15-char  a-longer-…\n    the reason is as long a…\nb                 c\n"
        );
    }

    #[test]
    fn in_a_pipe_nothing_is_cut() {
        assert!(
            table()
                .render(&view(None, false))
                .contains("a long reason that is cut somewhere\n")
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = table().render(&view(Some(32), false));
        let colored = table().render(&view(Some(32), true));
        assert_eq!(colored.replace("\x1b[1m", "").replace("\x1b[0m", ""), plain);
    }
}
