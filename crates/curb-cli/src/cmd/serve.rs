//! `curb serve`

use crate::args::ServeArgs;
use crate::fail::{Done, Failure};

/// `curb serve ...`
pub fn run(_args: &ServeArgs) -> Done {
    Err(Failure::local("the server is not part of this build"))
}
