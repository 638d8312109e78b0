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
        Cell { text: clean_line(text.as_ref()).into_owned(), ink: Ink::Plain }
    }

    /// In a colour.
    #[must_use]
    pub fn ink(mut self, ink: Ink) -> Cell {
        self.ink = ink;
        self
    }
}

/// A table. On a terminal the last column is cut to what fits; in a pipe nothing is.
#[derive(Clone, Debug)]
pub struct Table {
    heads: Vec<&'static str>,
    right: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

/// Less than this is never left of the last column.
const LAST_COLUMN: usize = 12;

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(heads: &[&'static str]) -> Table {
        Table { heads: heads.to_vec(), right: Vec::new(), rows: Vec::new() }
    }

    /// Aligns a column to the right.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Table {
        self.right.extend_from_slice(columns);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, each line ended.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let widths = self.widths(view);
        let heads: Vec<Cell> = self.heads.iter().map(|h| Cell::new(h).ink(Ink::Bold)).collect();
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            self.line(&mut out, row, &widths, view);
        }
        out
    }

    fn widths(&self, view: &View) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|h| h.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        if let (Some(columns), Some((last, others))) = (view.width, widths.split_last_mut()) {
            let taken: usize = others.iter().map(|w| w + 2).sum();
            *last = (*last).min(columns.saturating_sub(taken).max(LAST_COLUMN));
        }
        widths
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

/// At most `width` columns, with `…` where something is cut.
fn cut(text: &str, width: usize) -> String {
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
        table.row(vec![Cell::new("a"), Cell::new("10"), Cell::new("a long reason that is cut somewhere")]);
        table.row(vec![Cell::new("漢字"), Cell::new("5"), Cell::new("x\n\x1b[2Jy")]);
        table
    }

    fn view(width: Option<usize>, color: bool) -> View {
        View { width, color, now: Timestamp(0), zone: TimeZone::UTC }
    }

    #[test]
    fn on_a_terminal_the_last_column_is_cut() {
        let text = table().render(&view(Some(24), false));
        assert_eq!(text, "ID     N  REASON\na     10  a long reason…\n漢字   5  x [2Jy\n");
        assert!(text.lines().all(|l| l.width() <= 24));
    }

    #[test]
    fn in_a_pipe_nothing_is_cut() {
        assert!(table().render(&view(None, false)).contains("a long reason that is cut somewhere\n"));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = table().render(&view(Some(24), false));
        let colored = table().render(&view(Some(24), true));
        assert_eq!(colored.replace("\x1b[1m", "").replace("\x1b[0m", ""), plain);
    }
}
