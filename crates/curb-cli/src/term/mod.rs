//! Writing for people: what is safe on a terminal, how wide it is, colours, tables, times.

mod clean;
mod log;
mod table;
mod view;

pub use clean::{clean_line, clean_text, json_for_terminal, sink_filter};
pub use log::{LogFilter, LogSplitter, Piece};
pub use table::{Cell, Table, cut};
pub use view::{Ink, View, wrap, wrap_indented};
