//! The `curb` binary.

use std::process::ExitCode;

/// Many threads make and drop small things for each other here; the allocator of the system takes a sixth of the time of
/// an admission for that, this one half as much (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    curb_cli::run()
}
