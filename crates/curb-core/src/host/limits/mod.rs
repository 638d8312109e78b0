//! `limits.yaml`: the limits of a host's workloads, each a number with a reason. The values (`model`), how the file is
//! read (`parse`), described (`fields`) and written (`show`).

mod diff;
mod fields;
mod key;
mod model;
mod network;
mod parse;
mod render;
mod show;

pub use crate::yaml::{Diagnostic, Severity};
pub use diff::{Change, Way, diff};
pub use fields::{field_names, schema, schema_draft07};
pub use key::{Hold, Key, Row, Takes, Value};
pub use model::*;
pub use network::{BadNetwork, Network};
pub use parse::{
    Host, MAX_ARGUMENTS, MAX_LADDER, MAX_TEXT, MAX_WEIGHT, MAX_WHY, MAX_WORKLOADS, Parsed,
};
pub use render::{Form, Note, Rendered, Source, render};
pub use show::{show, step};
