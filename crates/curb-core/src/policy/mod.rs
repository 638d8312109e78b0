//! Policies: the values ([`model`]), how the file is read (`parse`), described (`schema`) and written (`show`).

mod model;
mod parse;
mod schema;
mod show;

pub use model::*;
pub use parse::*;
pub use schema::{field_names, schema, schema_draft07};
pub use show::show;
