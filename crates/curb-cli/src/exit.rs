//! Exit codes: a promise to scripts. The table is the source of `curb help exit-codes` and `docs/exit-codes.md`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The job failed or was stopped, or a check found something.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A quota is in the way.
    Refused = 3,
    /// Not signed in, or not allowed.
    NotAllowed = 4,
    /// The server or Ray does not answer.
    Unreachable = 5,
    /// The journal is damaged.
    Journal = 6,
    /// A local file, policy or configuration is wrong.
    Local = 7,
    /// The server said no for another reason.
    Other = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Each code with its meaning.
pub const TABLE: [(Exit, &str); 10] = [
    (
        Exit::Ok,
        "Done. For `curb explain`: the job would start now, or wait and start later.",
    ),
    (
        Exit::Failed,
        "The job failed or was stopped, or a check found something (`curb policy check`).",
    ),
    (
        Exit::Usage,
        "The command line is wrong, or the value of a variable of the environment (`CURB_RAY`).",
    ),
    (
        Exit::Refused,
        "Refused by a quota: the job was not taken (HTTP 422 or 429).",
    ),
    (
        Exit::NotAllowed,
        "Not signed in, or not allowed: set CURB_TOKEN, or ask somebody with the role for it.",
    ),
    (
        Exit::Unreachable,
        "The server or Ray does not answer, or not in time.",
    ),
    (Exit::Journal, "The journal is damaged or cannot be read."),
    (
        Exit::Local,
        "A local file, a policy or a configuration is missing, wrong or in use.",
    ),
    (
        Exit::Other,
        "The server said no for another reason: no such job, a conflict, a bad request.",
    ),
    (
        Exit::Interrupted,
        "Interrupted with Ctrl-C. A job that was being watched goes on.",
    ),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What the table is not for.
const RUN: &str = "`curb run` ends as its command does: see `curb run --help`.";

/// The table for a terminal.
#[must_use]
pub fn text() -> String {
    let mut text = String::from("Exit codes of curb:\n\n");
    for (exit, meaning) in TABLE {
        let lines = crate::term::wrap(meaning, 72);
        for (i, line) in lines.iter().enumerate() {
            let code = if i == 0 {
                (exit as u8).to_string()
            } else {
                String::new()
            };
            text.push_str(&format!("{code:>5}  {line}\n"));
        }
    }
    text.push_str(&format!("\n{RUN}\n"));
    text
}

/// The table as a page of the documents.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Exit codes\n\nThe same for every command of `curb` but `run`. They keep their meaning.\n\n| code | meaning |\n| ---: | --- |\n",
    );
    for (exit, meaning) in TABLE {
        text.push_str(&format!("| {} | {meaning} |\n", exit as u8));
    }
    text.push_str(&format!("\n{RUN}\n"));
    text
}
