//! systemd units: what each may take, by its file, its drop-ins, and the slices above it.

use super::quantity::systemd_bytes;
use super::unit_file::{Setting, settings};
use super::{Effective, Finding, Kind, Machine, Report, Rule, Subject, Target, check};
use crate::host::{Bytes, MilliCpu};

/// One file of a unit: its path and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitText {
    /// Its path.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A unit with everything that sets it, in the order in which systemd reads it: the unit file, then its drop-ins by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name: `chat.service`.
    pub name: String,
    /// Its files.
    pub files: Vec<UnitText>,
    /// The slices above it that have files of their own, the nearest first.
    pub slices: Vec<Unit>,
    /// What of it could not be read.
    pub unread: Vec<String>,
}

/// Sections in which limits are read.
const LIMITED: [&str; 6] = ["Service", "Slice", "Socket", "Mount", "Swap", "Scope"];
/// What is a limit, wherever it stands.
const LIMITS: [&str; 13] = [
    "MemoryMax",
    "MemoryHigh",
    "MemorySwapMax",
    "MemoryLimit",
    "CPUQuota",
    "TasksMax",
    "LimitNOFILE",
    "LimitAS",
    "LimitDATA",
    "OOMPolicy",
    "OOMScoreAdjust",
    "AllowedCPUs",
    "CPUWeight",
];

/// The slices that a unit in this slice is below: `a-b.slice` is below `a.slice`. The nearest first.
#[must_use]
pub fn slice_chain(slice: &str) -> Vec<String> {
    let mut bare = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut all = Vec::new();
    // The root is `-.slice`; a name has no more parts than this in practice.
    while !bare.is_empty() && bare != "-" && all.len() < 16 {
        all.push(format!("{bare}.slice"));
        bare = bare.rsplit_once('-').map_or("", |(head, _)| head);
    }
    all
}

/// The slice that a unit's files put it in; systemd's own choice where they do not say.
#[must_use]
pub fn slice_of(files: &[UnitText]) -> String {
    let all = files.iter().flat_map(|f| settings(&f.path, &f.text).0);
    let slices = all.filter(|s| s.key == "Slice" && s.section == "Service");
    let slice = slices.reduce(|_, last| last);
    slice.map_or_else(|| "system.slice".to_owned(), |s| s.value)
}

/// Audits units.
#[must_use]
pub fn audit(units: &[Unit], machine: &Machine) -> Report {
    let (mut subjects, mut findings, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for unit in units {
        let mut read = Reader::new(unit, machine);
        // Of a unit that is not there nothing is known, and nothing is said of its limits.
        let subject = (!unit.files.is_empty()).then(|| read.subject(unit));
        findings.extend(subject.iter().flat_map(|s| check(s, machine)));
        findings.append(&mut read.findings);
        unread.extend(
            unit.unread
                .iter()
                .map(|why| format!("{}: {why}", unit.name)),
        );
        subjects.extend(subject);
    }
    Report::new(Target::Systemd, subjects, findings, unread)
}

struct Reader<'a> {
    name: &'a str,
    machine: &'a Machine,
    settings: Vec<Setting>,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn new(unit: &'a Unit, machine: &'a Machine) -> Reader<'a> {
        let mut reader = Reader {
            name: &unit.name,
            machine,
            settings: Vec::new(),
            findings: Vec::new(),
        };
        for file in &unit.files {
            let (all, odd) = settings(&file.path, &file.text);
            for line in odd {
                let finding = Finding::new(Rule::FileUnreadable, reader.name, line.message);
                reader.findings.push(finding.at(Some(line.at)));
            }
            reader.settings.extend(all);
        }
        if unit.files.is_empty() {
            let text = "there is no such unit, or none of its files could be read";
            reader
                .findings
                .push(Finding::new(Rule::FileUnreadable, reader.name, text));
        }
        reader.misplaced();
        reader
    }

    fn find(&mut self, rule: Rule, setting: &Setting, text: String) {
        let finding = Finding::new(rule, self.name, text);
        self.findings
            .push(finding.at(Some(setting.value_at.clone())));
    }

    /// A limit in `[Unit]` looks like one and is none.
    fn misplaced(&mut self) {
        let wrong = |s: &&Setting| {
            LIMITS.contains(&s.key.as_str()) && !LIMITED.contains(&s.section.as_str())
        };
        let found: Vec<Setting> = self.settings.iter().filter(wrong).cloned().collect();
        for setting in found {
            let text = format!("{}= in [{}] has no effect", setting.key, setting.section);
            let finding = Finding::new(Rule::FieldIgnored, self.name, text);
            let line = format!("[Service]\n{}={}", setting.key, setting.value);
            self.findings.push(
                finding
                    .at(Some(setting.key_at.clone()))
                    .mend("write it as", line),
            );
        }
    }

    /// The last that is said; nothing behind the `=` takes back what was said before.
    fn last(&self, key: &str) -> Option<Setting> {
        let of = |s: &&Setting| s.key == key && LIMITED.contains(&s.section.as_str());
        self.settings
            .iter()
            .rfind(of)
            .filter(|s| !s.value.is_empty())
            .cloned()
    }

    fn subject(&mut self, unit: &Unit) -> Subject {
        let mut subject = Subject::new(Kind::Unit, self.name);
        subject.unit = Some(self.name.to_owned());
        let first = unit.files.first().map(|f| f.path.clone());
        subject.spot = first.map(|file| super::Spot {
            file,
            line: 1,
            column: 1,
            width: 1,
        });
        subject.memory = self.memory();
        subject.memory_high = self.size("MemoryHigh");
        subject.swap = self.size("MemorySwapMax");
        subject.cpu = self.quota();
        subject.tasks = self.tasks();
        subject.open_files = self.open_files();
        subject.address_space = self.resource_limit("LimitAS");
        subject.data = self.resource_limit("LimitDATA");
        subject.oom_score = self
            .last("OOMScoreAdjust")
            .and_then(|s| s.value.parse().ok());
        subject.oom_whole = self.last("OOMPolicy").map(|s| s.value != "continue");
        subject.cpu_set = self.last("AllowedCPUs").map(|s| s.value);
        let set = subject.cpu_set.as_deref().map(|s| s.replace(' ', ","));
        subject.cpus = set.and_then(|s| super::compose::count_cpus(&s));
        for slice in &unit.slices {
            self.below(&mut subject, slice);
        }
        if !unit.unread.is_empty() {
            unknown_where_open(&mut subject, &unit.unread);
            let text = format!(
                "limits may be set where it could not be read: {}",
                unit.unread.join("; ")
            );
            self.findings
                .push(Finding::new(Rule::LimitUnknown, self.name, text));
        }
        subject
    }

    /// The limits of a slice hold for all that is in it.
    fn below(&mut self, subject: &mut Subject, slice: &Unit) {
        let mut reader = Reader::new(slice, self.machine);
        let shared = |limit: Effective<Bytes>| match limit {
            Effective::Held(held) => Effective::Held(super::Held {
                shared: true,
                ..held
            }),
            other => other,
        };
        let memory = shared(reader.memory());
        let swap = shared(reader.size("MemorySwapMax"));
        subject.memory =
            std::mem::replace(&mut subject.memory, Effective::Unlimited).tighter(memory);
        subject.swap = std::mem::replace(&mut subject.swap, Effective::Unlimited).tighter(swap);
        let cpu = reader.quota();
        subject.cpu = std::mem::replace(&mut subject.cpu, Effective::Unlimited).tighter(cpu);
        if let tasks @ Effective::Held(_) = reader.tasks() {
            subject.tasks =
                std::mem::replace(&mut subject.tasks, Effective::Unlimited).tighter(tasks);
        }
        self.findings.append(&mut reader.findings);
    }

    fn invalid<T>(&mut self, setting: &Setting, form: &str) -> Effective<T> {
        let (key, value) = (&setting.key, &setting.value);
        let text = format!("{key}: `{value}` is not {form}: systemd ignores the line");
        self.find(Rule::ValueInvalid, setting, text);
        Effective::unknown(format!("{key}={value}"))
    }

    /// `MemoryMax=`, else what it was called before.
    fn memory(&mut self) -> Effective<Bytes> {
        match self.last("MemoryMax") {
            Some(_) => self.size("MemoryMax"),
            None => self.size("MemoryLimit"),
        }
    }

    fn size(&mut self, key: &str) -> Effective<Bytes> {
        let Some(setting) = self.last(key) else {
            return Effective::Unlimited;
        };
        let by = format!("{key}={} at {}", setting.value, setting.value_at);
        if setting.value == "infinity" {
            return Effective::Unlimited;
        }
        if let Some(percent) = setting.value.strip_suffix('%') {
            let of = match key {
                "MemorySwapMax" => self.machine.swap,
                _ => self.machine.memory,
            };
            let permille = per_mille(percent);
            return match (permille, of) {
                (Some(part), Some(all)) => {
                    Effective::held(Bytes(crate::host::Permille(part).of(all.0)), by)
                }
                (Some(_), None) => Effective::elsewhere("the memory of the machine it runs on"),
                (None, _) => self.invalid(&setting, "a percentage"),
            };
        }
        match systemd_bytes(&setting.value) {
            Some(bytes) => Effective::held(Bytes(bytes), by),
            None => self.invalid(
                &setting,
                "a size such as 4G or 512M, a percentage or infinity",
            ),
        }
    }

    fn quota(&mut self) -> Effective<MilliCpu> {
        let Some(setting) = self.last("CPUQuota") else {
            return Effective::Unlimited;
        };
        let by = format!("CPUQuota={} at {}", setting.value, setting.value_at);
        let part = setting.value.strip_suffix('%').and_then(per_mille);
        match part.filter(|p| *p > 0) {
            Some(part) => Effective::held(MilliCpu(u64::from(part)), by),
            None => self.invalid(&setting, "a percentage of one CPU such as 200%"),
        }
    }

    fn tasks(&mut self) -> Effective<u64> {
        let Some(setting) = self.last("TasksMax") else {
            return Effective::elsewhere(
                "the manager: DefaultTasksMax, 15% of all unless it was changed",
            );
        };
        let by = format!("TasksMax={} at {}", setting.value, setting.value_at);
        if setting.value == "infinity" {
            return Effective::Unlimited;
        }
        if let Some(percent) = setting.value.strip_suffix('%') {
            return match per_mille(percent) {
                Some(_) => Effective::elsewhere(format!(
                    "{percent}% of the processes that the machine may have"
                )),
                None => self.invalid(&setting, "a percentage"),
            };
        }
        match setting.value.parse::<u64>() {
            Ok(most) if most > 0 => Effective::held(most, by),
            _ => self.invalid(&setting, "a number of processes, a percentage or infinity"),
        }
    }

    fn open_files(&mut self) -> Effective<u64> {
        let Some(setting) = self.last("LimitNOFILE") else {
            return Effective::elsewhere(
                "the manager: DefaultLimitNOFILE, 1024 unless it was changed",
            );
        };
        let by = format!("LimitNOFILE={} at {}", setting.value, setting.value_at);
        let soft = setting.value.split(':').next().unwrap_or_default();
        match (soft, soft.parse::<u64>()) {
            ("infinity", _) => Effective::Unlimited,
            (_, Ok(most)) => Effective::held(most, by),
            _ => self.invalid(&setting, "a number, two with a colon between, or infinity"),
        }
    }

    fn resource_limit(&mut self, key: &str) -> Effective<Bytes> {
        let Some(setting) = self.last(key) else {
            return Effective::Unlimited;
        };
        let soft = setting.value.split(':').next().unwrap_or_default();
        match (soft, systemd_bytes(soft)) {
            ("infinity", _) => Effective::Unlimited,
            (_, Some(most)) => Effective::held(
                Bytes(most),
                format!("{key}={} at {}", setting.value, setting.value_at),
            ),
            _ => self.invalid(&setting, "a size, or infinity"),
        }
    }
}

/// `15`, `12.5` as thousandths.
fn per_mille(percent: &str) -> Option<u32> {
    let milli = super::quantity::plain_milli(percent)?;
    u32::try_from(milli / 100).ok()
}

/// What a file that was not read may say is not known.
fn unknown_where_open(subject: &mut Subject, unread: &[String]) {
    let why = || Effective::unknown(unread.join("; "));
    if subject.memory == Effective::Unlimited {
        subject.memory = why();
    }
    if subject.cpu == Effective::Unlimited {
        subject.cpu = Effective::unknown(unread.join("; "));
    }
    if subject.tasks == Effective::Unlimited {
        subject.tasks = Effective::unknown(unread.join("; "));
    }
}
