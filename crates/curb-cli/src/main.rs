//! The `curb` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    curb_cli::run()
}
