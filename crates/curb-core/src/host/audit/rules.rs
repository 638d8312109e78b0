//! The rules: what each one means, why it matters, what mends it. Their ids are a promise.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Severity;

/// A rule of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// No limit on memory.
    MemoryUnlimited,
    /// A limit on memory that never binds.
    MemoryOverMachine,
    /// Only a bound that slows down.
    MemoryHighAlone,
    /// The limit is shared with others.
    MemoryShared,
    /// Hardly anything is left below the limit.
    MemoryNear,
    /// The kernel has killed for memory.
    OomKilled,
    /// Swap on top of memory that nobody asked for.
    SwapUnlimited,
    /// A limit on address space or data.
    AddressSpaceLimited,
    /// No limit on CPU time.
    CpuUnlimited,
    /// No limit on processes.
    ProcessesUnlimited,
    /// Hardly any file can be opened any more.
    OpenFilesNear,
    /// The kernel never takes it.
    OomExempt,
    /// The kernel takes others first.
    OomProtected,
    /// At its limit it is paused.
    OomKillerOff,
    /// At its limit a part of it is killed.
    OomPart,
    /// It is given all GPUs.
    GpuAll,
    /// A file that cannot be read.
    FileUnreadable,
    /// A value that is none.
    ValueInvalid,
    /// A field that has no effect.
    FieldIgnored,
    /// Two fields that contradict each other.
    LimitsConflict,
    /// A quota or range refuses it.
    QuotaRefuses,
    /// A value that is put in later.
    ValueUnresolved,
    /// A limit that could not be read.
    LimitUnknown,
    /// Processes that could not be looked into.
    ProcessUnreadable,
}

impl Rule {
    /// All, in the order of the reference.
    pub const ALL: [Rule; 24] = [
        Rule::MemoryUnlimited,
        Rule::MemoryOverMachine,
        Rule::MemoryHighAlone,
        Rule::MemoryShared,
        Rule::MemoryNear,
        Rule::OomKilled,
        Rule::SwapUnlimited,
        Rule::AddressSpaceLimited,
        Rule::CpuUnlimited,
        Rule::ProcessesUnlimited,
        Rule::OpenFilesNear,
        Rule::OomExempt,
        Rule::OomProtected,
        Rule::OomKillerOff,
        Rule::OomPart,
        Rule::GpuAll,
        Rule::FileUnreadable,
        Rule::ValueInvalid,
        Rule::FieldIgnored,
        Rule::LimitsConflict,
        Rule::QuotaRefuses,
        Rule::ValueUnresolved,
        Rule::LimitUnknown,
        Rule::ProcessUnreadable,
    ];

    /// The rule with this id.
    #[must_use]
    pub fn by_id(id: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|r| r.id() == id)
    }

    /// Its id.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.facts().0
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.facts().1
    }

    /// What it finds, in one line.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.facts().2
    }

    /// Why that matters.
    #[must_use]
    pub fn why(self) -> &'static str {
        self.facts().3
    }

    /// What mends it.
    #[must_use]
    pub fn mend(self) -> &'static str {
        self.facts().4
    }

    /// Id, severity, what it finds, why it matters, what mends it.
    fn facts(
        self,
    ) -> (
        &'static str,
        Severity,
        &'static str,
        &'static str,
        &'static str,
    ) {
        use Severity::{Error, Note, Warning};
        match self {
            Rule::MemoryUnlimited => (
                "memory-unlimited",
                Error,
                "Nothing limits its memory",
                "It can take all memory of the machine. Then the kernel chooses whom to kill, and that need not be the one that took it.",
                "Limit the memory of all its processes together: `curb run --memory`, `MemoryMax=`, `deploy.resources.limits.memory`, `resources.limits.memory`.",
            ),
            Rule::MemoryOverMachine => (
                "memory-over-machine",
                Error,
                "The limit on its memory is not below what the machine has",
                "Such a limit never binds: the machine runs out of memory first.",
                "Lower it below the machine's memory, and leave room for everything else that runs there.",
            ),
            Rule::MemoryHighAlone => (
                "memory-high-alone",
                Warning,
                "It is slowed down at a bound, and never stopped",
                "Above `memory.high` the kernel slows a program down; one that goes on to allocate, as MLX does, nearly stands still and is never ended.",
                "Set a limit (`MemoryMax=`, `memory.max`) above the bound.",
            ),
            Rule::MemoryShared => (
                "memory-shared",
                Warning,
                "The only limit on its memory is one that it shares with others",
                "The limit belongs to a group above that holds other processes too: at the limit the kernel may kill one of those, and what they use is missing here.",
                "Give it a limit of its own.",
            ),
            Rule::MemoryNear => (
                "memory-near",
                Warning,
                "It uses more than nine tenths of its memory limit",
                "The next larger batch or longer context is killed. What can be given back at once (files that were read and not used lately) is not counted.",
                "Raise the limit, or give it less to do at once.",
            ),
            Rule::OomKilled => (
                "oom-killed",
                Warning,
                "The kernel has killed in its group for memory",
                "The limit was met at least once since the group was made: it is too low, or the program takes more and more.",
                "Look at its peak and its growth (`curb profile`), then raise the limit or mend the program.",
            ),
            Rule::SwapUnlimited => (
                "swap-unlimited",
                Warning,
                "Its memory is limited, and swap comes on top",
                "What does not fit goes to swap: it becomes slow for itself and for all others in place of being stopped at its limit.",
                "Set the limit on swap to nothing: `MemorySwapMax=0`, `memory.swap.max` 0, `memswap_limit` the same as the memory limit.",
            ),
            Rule::AddressSpaceLimited => (
                "address-space-limited",
                Error,
                "A limit on address space or data (`ulimit -v`, `ulimit -d`)",
                "Frameworks that do not check every allocation, such as MLX, crash with a segmentation fault at it in place of an error.",
                "Take it away, and limit the memory of the group.",
            ),
            Rule::CpuUnlimited => (
                "cpu-unlimited",
                Warning,
                "Nothing limits its CPU time",
                "Its threads can take every CPU, and what else runs on the machine waits.",
                "Set a quota (`curb run --cpu`, `CPUQuota=`, `cpus`, `resources.limits.cpu`) or give it CPUs of its own.",
            ),
            Rule::ProcessesUnlimited => (
                "processes-unlimited",
                Warning,
                "Nothing limits how many processes it may have",
                "A loader that starts workers in a loop fills the machine's table of processes, and then nobody can log in any more.",
                "Limit processes and threads together: `curb run --processes`, `TasksMax=`, `pids_limit`.",
            ),
            Rule::OpenFilesNear => (
                "open-files-near",
                Warning,
                "It has more than nine tenths of the files open that it may",
                "The next connection or file is refused.",
                "Raise the limit on open files, or find what is never closed.",
            ),
            Rule::OomExempt => (
                "oom-exempt",
                Error,
                "The kernel may not kill it for memory (-1000)",
                "When the machine, or its group, is out of memory, everything else is killed and it goes on growing; a group of nothing else hangs.",
                "Set its score to 0 or above: `choom -n 0 -p PID`, `OOMScoreAdjust=0`, `oom_score_adj: 0`.",
            ),
            Rule::OomProtected => (
                "oom-protected",
                Warning,
                "The kernel takes others first (a score below 0)",
                "What takes the most memory should be the first to go, and not the shell of whoever comes to look.",
                "Set its score to 0 or above: `choom -n 0 -p PID`, `OOMScoreAdjust=0`, `oom_score_adj: 0`.",
            ),
            Rule::OomKillerOff => (
                "oom-killer-off",
                Warning,
                "At its memory limit it is paused, and not killed",
                "Unless something raises the limit, it stands still for ever.",
                "Let the kernel kill at the limit, or run something that raises it (the ladder of `curb run`).",
            ),
            Rule::OomPart => (
                "oom-part",
                Note,
                "At its memory limit one of its processes is killed, and the others stay",
                "A server that lost one of its workers often looks alive and answers nothing.",
                "Have the kernel take all of it: `memory.oom.group` 1, `OOMPolicy=kill`.",
            ),
            Rule::GpuAll => (
                "gpu-all",
                Warning,
                "It is given every GPU of the machine",
                "Frameworks take memory on every GPU that they see, also on those that they do not use.",
                "Say how many, or which.",
            ),
            Rule::FileUnreadable => (
                "file-unreadable",
                Error,
                "A file, or a part of one, cannot be read",
                "Nothing is known of the limits in it.",
                "Mend the place that is named.",
            ),
            Rule::ValueInvalid => (
                "value-invalid",
                Error,
                "A value that is none, or cannot be meant",
                "The tool that reads the file refuses it, or ignores it and sets no limit. `512m` of memory is half a byte in Kubernetes.",
                "Write the value as that tool wants it.",
            ),
            Rule::FieldIgnored => (
                "field-ignored",
                Error,
                "A limit in a place where it has no effect",
                "It looks like a limit and is none.",
                "Move it to where it is read.",
            ),
            Rule::LimitsConflict => (
                "limits-conflict",
                Error,
                "Two fields say different limits",
                "The tool refuses the file, or one of the two has no effect.",
                "Keep one of them.",
            ),
            Rule::QuotaRefuses => (
                "quota-refuses",
                Error,
                "A LimitRange or ResourceQuota in the same files refuses it",
                "Its pods are never made.",
                "Say the limits that the quota asks for, within the range.",
            ),
            Rule::ValueUnresolved => (
                "value-unresolved",
                Warning,
                "A limit comes from a variable, or may come from a file that was not read",
                "Whether it is limited is not known from these files.",
                "Audit what the tool makes of them: `docker compose config | curb audit compose -`.",
            ),
            Rule::LimitUnknown => (
                "limit-unknown",
                Warning,
                "A limit could not be read",
                "Unknown is not fine: nothing is said about this limit.",
                "Run the audit where it can be read: as root, and outside of the container.",
            ),
            Rule::ProcessUnreadable => (
                "process-unreadable",
                Warning,
                "Processes could not be looked into",
                "They may do machine learning without a limit: what they have loaded only their user and root can see.",
                "Run the audit as root.",
            ),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
