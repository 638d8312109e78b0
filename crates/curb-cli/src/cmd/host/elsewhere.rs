//! Where this is not Linux: commands that read what only Linux tells say so.
#![expect(missing_docs, reason = "each is as its namesake of Linux")]

use crate::fail::Failure;

fn needs_linux(command: &str) -> Failure {
    Failure::local(format!(
        "{command} needs Linux: it reads /proc and control groups, which this system does not have"
    ))
    .help("here there are: curb run (memory, processes, CPU time, duration), curb limits check | show | diff | render")
}

pub mod agent {
    use std::process::ExitCode;

    use crate::args::AgentArgs;
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &AgentArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb agent"))
    }

    pub fn without_command_line(_: impl FnOnce() -> Ctx) -> Option<ExitCode> {
        None
    }
}

pub mod apply {
    use crate::args::LimitsApplyArgs;
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &LimitsApplyArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb limits apply"))
    }
}

pub mod audit {
    use crate::args::AuditArgs;
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &AuditArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb audit"))
    }
}

pub mod drill {
    use crate::args::{DrillArgs, DrillLoadArgs};
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &DrillArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb drill"))
    }

    pub fn load(_: &DrillLoadArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb drill"))
    }
}

pub mod profile {
    use std::process::ExitCode;

    use crate::args::ProfileArgs;
    use crate::ctx::Ctx;
    use crate::fail::Failure;

    pub fn run(_: &ProfileArgs, _: &mut Ctx) -> Result<ExitCode, Failure> {
        Err(super::needs_linux("curb profile"))
    }
}

pub mod recommend {
    use crate::args::LimitsRecommendArgs;
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &LimitsRecommendArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb limits recommend"))
    }
}

pub mod top {
    use crate::args::TopArgs;
    use crate::ctx::Ctx;
    use crate::fail::Done;

    pub fn run(_: &TopArgs, _: &mut Ctx) -> Done {
        Err(super::needs_linux("curb top"))
    }
}
