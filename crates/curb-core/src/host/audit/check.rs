//! The rules that hold for everything alike, whatever it was read from.

use super::{Effective, Finding, Gpus, Held, Kind, Machine, Member, Rule, Subject};
use super::{Mend, mend};
use crate::host::Bytes;

/// From here on a limit is near: nine tenths.
const NEAR: (u64, u64) = (9, 10);

/// What the rules find in a subject.
#[must_use]
pub fn check(subject: &Subject, machine: &Machine) -> Vec<Finding> {
    let mut look = Look {
        subject,
        machine,
        found: Vec::new(),
    };
    look.memory();
    look.swap();
    look.cpu();
    look.tasks();
    look.each_process();
    look.out_of_memory();
    look.found
}

/// What is told of processes whose libraries could not be seen.
#[must_use]
pub fn unreadable_processes(count: usize) -> Option<Finding> {
    let them = match count {
        0 => return None,
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    };
    let text = format!("what {them} loaded could not be seen");
    let finding = Finding::new(Rule::ProcessUnreadable, "this host", text);
    Some(finding.mend(
        "run (it takes root with CAP_SYS_PTRACE)",
        "sudo curb audit host",
    ))
}

struct Look<'a> {
    subject: &'a Subject,
    machine: &'a Machine,
    found: Vec<Finding>,
}

impl Look<'_> {
    fn find(&mut self, rule: Rule, message: impl Into<String>) {
        let mut finding = Finding::new(rule, &self.subject.name, message);
        finding.spot = self.subject.spot.clone();
        finding.mend = mend::mend(rule, self.subject).map(|(how, text)| Mend { how, text });
        self.found.push(finding);
    }

    /// What could not be read is told once a limit. Of a file its reader has told it already, with its place.
    fn unknown(&mut self, what: &str, why: &str) {
        if self.subject.kind != Kind::Processes {
            return;
        }
        self.find(Rule::LimitUnknown, format!("{what}: {why}"));
    }

    fn memory(&mut self) {
        let subject = self.subject;
        match &subject.memory {
            Effective::Held(held) => self.memory_held(held),
            Effective::Unlimited => match subject.memory_high.as_held() {
                Some(high) => self.find(
                    Rule::MemoryHighAlone,
                    format!(
                        "above {} it is slowed down ({}), and nothing stops it",
                        high.value, high.by
                    ),
                ),
                None => self.find(Rule::MemoryUnlimited, "nothing limits its memory"),
            },
            Effective::Unknown { why } => self.unknown("memory", why),
            Effective::Elsewhere { .. } => {}
        }
    }

    fn memory_held(&mut self, held: &Held<Bytes>) {
        let here = matches!(self.subject.kind, Kind::Processes | Kind::Unit);
        if here && let Some(has) = self.machine.memory.filter(|has| held.value >= *has) {
            self.find(
                Rule::MemoryOverMachine,
                format!(
                    "its limit of {} ({}) never binds: the machine has {has}",
                    held.value, held.by
                ),
            );
        } else if held.shared {
            self.find(
                Rule::MemoryShared,
                format!(
                    "its only limit, {}, is one that it shares: {}",
                    held.value, held.by
                ),
            );
        }
        if let Some(used) = self.subject.used.filter(|u| is_near(u.0, held.value.0)) {
            self.find(
                Rule::MemoryNear,
                format!("it uses {used} of {} ({})", held.value, held.by),
            );
        }
    }

    fn swap(&mut self) {
        // Without a limit on memory there is nothing that swap could be on top of.
        if self.subject.memory.as_held().is_none() || self.machine.swap == Some(Bytes(0)) {
            return;
        }
        match &self.subject.swap {
            Effective::Unlimited => {
                self.find(Rule::SwapUnlimited, "nothing limits its swap");
            }
            Effective::Unknown { why } => self.unknown("swap", why),
            _ => {}
        }
    }

    fn cpu(&mut self) {
        // CPUs of its own are a limit as well.
        let all = |m: u64| self.subject.cpus.is_none_or(|own| own >= m);
        let pinned = self.machine.cpus.is_some_and(|m| !all(m));
        match &self.subject.cpu {
            Effective::Unlimited if !pinned => {
                self.find(Rule::CpuUnlimited, "nothing limits its CPU time");
            }
            Effective::Unknown { why } if !pinned => self.unknown("cpu", why),
            _ => {}
        }
        if self.subject.gpus == Gpus::All {
            self.find(Rule::GpuAll, "it is given every GPU of the machine");
        }
    }

    fn tasks(&mut self) {
        match &self.subject.tasks {
            Effective::Unlimited => self.find(
                Rule::ProcessesUnlimited,
                "nothing limits how many processes and threads it has",
            ),
            Effective::Unknown { why } => self.unknown("processes", why),
            _ => {}
        }
    }

    fn each_process(&mut self) {
        let subject = self.subject;
        if subject.members.is_empty() {
            self.address_space(&subject.address_space, &subject.data, "");
            self.score(subject.oom_score, "");
        }
        // The same finding of many workers is told once, by the first of them.
        let same = |a: &Member, b: &Member| {
            (&a.address_space, &a.data, a.oom_score) == (&b.address_space, &b.data, b.oom_score)
        };
        for (at, member) in subject.members.iter().enumerate() {
            let whose = format!("pid {}: ", member.pid);
            if !subject.members[..at].iter().any(|m| same(m, member)) {
                self.address_space(&member.address_space, &member.data, &whose);
                self.score(member.oom_score, &whose);
            }
            self.open_files(member, &whose);
        }
    }

    fn address_space(&mut self, space: &Effective<Bytes>, data: &Effective<Bytes>, whose: &str) {
        for (limit, what) in [(space, "address space"), (data, "data")] {
            match limit {
                Effective::Held(held) => self.find(
                    Rule::AddressSpaceLimited,
                    format!(
                        "{whose}its {what} is limited to {} ({})",
                        held.value, held.by
                    ),
                ),
                Effective::Unknown { why } => self.unknown(what, &format!("{whose}{why}")),
                _ => {}
            }
        }
    }

    fn open_files(&mut self, member: &Member, whose: &str) {
        match &member.most_open_files {
            Effective::Held(held) => {
                if let Some(open) = member.open_files.filter(|n| is_near(*n, held.value)) {
                    self.find(
                        Rule::OpenFilesNear,
                        format!(
                            "{whose}{open} of {} files are open ({})",
                            held.value, held.by
                        ),
                    );
                }
            }
            Effective::Unknown { why } => self.unknown("open files", &format!("{whose}{why}")),
            _ => {}
        }
    }

    fn score(&mut self, score: Option<i32>, whose: &str) {
        match score {
            Some(-1000) => self.find(Rule::OomExempt, format!("{whose}its score is -1000")),
            Some(score) if score < 0 => {
                self.find(Rule::OomProtected, format!("{whose}its score is {score}"));
            }
            _ => {}
        }
    }

    fn out_of_memory(&mut self) {
        let subject = self.subject;
        if subject.oom_killer_off == Some(true) {
            self.find(
                Rule::OomKillerOff,
                "at its memory limit the kernel pauses it and kills nothing",
            );
        }
        if let Some(kills) = subject.oom_kills.filter(|n| *n > 0) {
            let plural = if kills == 1 { "process" } else { "processes" };
            self.find(
                Rule::OomKilled,
                format!("the kernel has killed {kills} {plural} of it for memory"),
            );
        }
        let part = subject.oom_whole == Some(false)
            && (subject.members.len() > 1 || subject.kind == Kind::Unit);
        if part && subject.memory.as_held().is_some() {
            self.find(
                Rule::OomPart,
                "at its memory limit one of its processes is killed, and the others stay",
            );
        }
    }
}

fn is_near(used: u64, limit: u64) -> bool {
    u128::from(used) * u128::from(NEAR.1) > u128::from(limit) * u128::from(NEAR.0)
}
