//! A message of the hook: fields between tabs. Pure; the sender may be anybody.

use curb_core::host::Bytes;

/// What a process of the workload said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The process, as it says.
    pub pid: u32,
    /// What.
    pub said: Said,
}

/// What can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has come so far.
    Mark {
        /// `interpreter`, `importing`, `imported`, `weights`, `work`, or the program's own.
        name: String,
        /// What it had in memory.
        resident: Option<Bytes>,
        /// Which module, of an import.
        module: Option<String>,
        /// Of the interpreter or the module.
        version: Option<String>,
        /// How it was found out.
        by: Option<String>,
    },
    /// MLX's counters.
    Mlx(MlxCounters),
    /// A limit of MLX's own was set, or not.
    Limit {
        /// `cache`, `memory`, `wired`.
        name: String,
        /// To what.
        bytes: Option<Bytes>,
        /// Why not.
        error: Option<String>,
    },
}

/// What MLX counts of its own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlxCounters {
    /// In arrays.
    pub active: Bytes,
    /// Kept of what was freed.
    pub cache: Bytes,
    /// The most in arrays.
    pub peak: Bytes,
}

impl Message {
    /// `None` where it is none of ours.
    pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
        let text = std::str::from_utf8(bytes).ok()?;
        let field = |name: &str| {
            text.split('\t')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let owned = |name: &str| field(name).map(str::to_owned);
        let size = |name: &str| field(name)?.parse::<u64>().ok().map(Bytes);
        let said = match field("kind")? {
            "mark" => Said::Mark {
                name: owned("name")?,
                resident: size("resident"),
                module: owned("module"),
                version: owned("version"),
                by: owned("by"),
            },
            "mlx" => Said::Mlx(MlxCounters {
                active: size("active")?,
                cache: size("cache")?,
                peak: size("peak")?,
            }),
            "limit" => Said::Limit {
                name: owned("name")?,
                bytes: size("bytes"),
                error: owned("error"),
            },
            _ => return None,
        };
        Some(Message {
            pid: field("pid")?.parse().ok()?,
            said,
        })
    }
}
