//! Policy files: what is read from them, what is refused and how it is told.
#![allow(missing_docs, clippy::unwrap_used)]

mod accepted;
