//! Compose files: what each service may take, as `docker compose up` sets it.

use super::merge::merge;
use super::quantity::{docker_bytes, plain_milli};
use super::yaml::{self, Node};
use super::{Effective, Finding, Gpus, Kind, Machine, Report, Rule, Subject, Target, check};
use crate::host::{Bytes, MilliCpu};

/// Docker's own period for `cpu_quota`, in microseconds.
const PERIOD: u64 = 100_000;

/// Audits Compose files (name and text of each), later ones on top of earlier ones.
#[must_use]
pub fn audit(files: &[(String, String)], machine: &Machine) -> Report {
    let mut findings = Vec::new();
    let mut unread = Vec::new();
    let name = files.first().map_or("", |f| f.0.as_str());
    let mut project = Node::empty(name);
    for (file, text) in files {
        let (documents, fault) = yaml::read(file, text);
        if let Some(fault) = fault {
            let finding = Finding::new(Rule::FileUnreadable, file, fault.message);
            findings.push(finding.at(Some(fault.spot)));
        }
        // Compose reads further documents of a file as further files.
        for document in documents {
            project = merge(project, document);
        }
    }
    if let Some(node) = project.get("include") {
        let text = "`include` is not followed: services of other files are not audited";
        let finding = Finding::new(Rule::ValueUnresolved, name, text);
        findings.push(finding.at(Some(node.spot.spot())));
    }
    let services = project
        .get("services")
        .map(Node::entries)
        .unwrap_or_default();
    if services.is_empty() && findings.is_empty() {
        findings.push(Finding::new(
            Rule::FileUnreadable,
            name,
            "there are no services in it",
        ));
    }
    let mut subjects = Vec::new();
    for entry in services {
        let mut service = Service {
            name: &entry.key,
            node: &entry.node,
            findings: Vec::new(),
        };
        let mut subject = service.read();
        subject.spot = Some(entry.at.spot());
        if let Some(profiles) = entry.node.get("profiles") {
            let names: Vec<&str> = profiles.items().iter().filter_map(Node::text).collect();
            unread.push(format!(
                "services.{}: audited as if its profiles ({}) were on",
                entry.key,
                names.join(", ")
            ));
        }
        findings.extend(check(&subject, machine));
        findings.append(&mut service.findings);
        subjects.push(subject);
    }
    Report::new(Target::Compose, subjects, findings, unread)
}

struct Service<'a> {
    name: &'a str,
    node: &'a Node,
    findings: Vec<Finding>,
}

impl Service<'_> {
    fn find(&mut self, rule: Rule, node: &Node, message: String) {
        let finding = Finding::new(rule, self.name, message);
        self.findings.push(finding.at(Some(node.spot.spot())));
    }

    fn read(&mut self) -> Subject {
        let node = self.node;
        let long = node.path(&["deploy", "resources", "limits"]);
        let brief = ["mem_limit", "cpus", "pids_limit"]
            .iter()
            .any(|k| node.get(k).is_some());
        let kind = Kind::Compose {
            service: self.name.to_owned(),
            short: brief && long.is_none(),
        };
        let mut subject = Subject::new(kind, self.name);
        subject.memory = self.memory(long);
        subject.cpu = self.cpu(long);
        subject.tasks = self.tasks(long);
        subject.swap = self.swap(&subject.memory);
        subject.cpu_set = node.text_at("cpuset").map(str::to_owned);
        subject.cpus = subject.cpu_set.as_deref().and_then(count_cpus);
        subject.oom_killer_off = node.text_at("oom_kill_disable").map(|t| t == "true");
        subject.oom_score = node.text_at("oom_score_adj").and_then(|t| t.parse().ok());
        subject.open_files = self
            .ulimit("nofile")
            .unwrap_or_else(|| Effective::elsewhere("the daemon's default-ulimits"));
        subject.data = self
            .ulimit("data")
            .map_or(Effective::Unlimited, |l| match l {
                Effective::Held(held) => Effective::held(Bytes(held.value), held.by),
                Effective::Elsewhere { who } => Effective::Elsewhere { who },
                _ => Effective::Unlimited,
            });
        subject.gpus = self.gpus();
        self.conflicts(long);
        if let Some(extends) = node.get("extends") {
            self.inherited(&mut subject, extends);
        }
        subject
    }

    /// A value; what a variable puts in later and what is none is told.
    fn value<T>(
        &mut self,
        field: &str,
        node: Option<&Node>,
        form: &str,
        parse: impl Fn(&str) -> Option<Option<T>>,
    ) -> Effective<T> {
        let Some(node) = node else {
            return Effective::Unlimited;
        };
        let text = node.text().unwrap_or_default();
        if is_variable(text) {
            self.find(
                Rule::ValueUnresolved,
                node,
                format!("{field} is {text}, which is put in later"),
            );
            return Effective::elsewhere(format!("the variable in {text}"));
        }
        match parse(text) {
            Some(Some(value)) => Effective::held(value, format!("{field} at {}", node.spot.spot())),
            Some(None) => Effective::Unlimited,
            None => {
                self.find(
                    Rule::ValueInvalid,
                    node,
                    format!("{field}: `{text}` is not {form}"),
                );
                Effective::unknown(format!("{field}: `{text}`"))
            }
        }
    }

    fn size(&mut self, field: &str, node: Option<&Node>) -> Effective<Bytes> {
        self.value(field, node, "a size such as 512m or 4g", |text| {
            let bytes = docker_bytes(text)?;
            Some((bytes > 0).then_some(Bytes(bytes)))
        })
    }

    fn memory(&mut self, long: Option<&Node>) -> Effective<Bytes> {
        let deploy = self.size(
            "deploy.resources.limits.memory",
            long.and_then(|l| l.get("memory")),
        );
        let short = self.size("mem_limit", self.node.get("mem_limit"));
        deploy.tighter(short)
    }

    fn cpu(&mut self, long: Option<&Node>) -> Effective<MilliCpu> {
        let node = self.node;
        let number = |text: &str| Some(plain_milli(text)?).map(|m| (m > 0).then_some(MilliCpu(m)));
        let form = "a number of CPUs such as 2 or 0.5";
        let deploy = self.value(
            "deploy.resources.limits.cpus",
            long.and_then(|l| l.get("cpus")),
            form,
            number,
        );
        let short = self.value("cpus", node.get("cpus"), form, number);
        let period = node
            .text_at("cpu_period")
            .and_then(micros)
            .unwrap_or(PERIOD)
            .max(1);
        let quota = self.value("cpu_quota", node.get("cpu_quota"), "microseconds", |text| {
            if text.starts_with('-') {
                return text.parse::<i64>().ok().map(|_| None);
            }
            let quota = micros(text)?;
            Some((quota > 0).then(|| MilliCpu(quota.saturating_mul(1000) / period)))
        });
        deploy.tighter(short).tighter(quota)
    }

    fn tasks(&mut self, long: Option<&Node>) -> Effective<u64> {
        let node = self.node;
        let number = |text: &str| {
            let number = text.parse::<i64>().ok()?;
            Some(u64::try_from(number).ok().filter(|n| *n > 0))
        };
        let form = "a number of processes";
        let deploy = self.value(
            "deploy.resources.limits.pids",
            long.and_then(|l| l.get("pids")),
            form,
            number,
        );
        let short = self.value("pids_limit", node.get("pids_limit"), form, number);
        deploy.tighter(short)
    }

    /// `memswap_limit` is memory and swap together; where it is not given, docker gives as much swap as memory.
    fn swap(&mut self, memory: &Effective<Bytes>) -> Effective<Bytes> {
        let node = self.node.get("memswap_limit");
        let Some(limit) = memory.as_held() else {
            return Effective::Unlimited;
        };
        let together = match node.and_then(Node::text) {
            Some("-1") => return Effective::Unlimited,
            _ => self.size("memswap_limit", node),
        };
        match together {
            Effective::Held(held) => {
                let swap = held.value.0.saturating_sub(limit.value.0);
                if held.value < limit.value
                    && let Some(node) = node
                {
                    let text = format!(
                        "memswap_limit of {} is less than the memory limit of {}: it is memory and swap together",
                        held.value, limit.value
                    );
                    self.find(Rule::ValueInvalid, node, text);
                }
                Effective::held(Bytes(swap), held.by)
            }
            Effective::Unlimited => {
                let text = format!(
                    "it gets {} of swap on top of its memory: docker's default, since memswap_limit is not given",
                    limit.value
                );
                let finding = Finding::new(Rule::SwapUnlimited, self.name, text);
                let line = format!("memswap_limit: {}", limit.value.0);
                let how = format!(
                    "below `services.{}` (the same as its memory: no swap on top)",
                    self.name
                );
                self.findings
                    .push(finding.at(Some(self.node.spot.spot())).mend(how, line));
                Effective::held(limit.value, "docker's default: as much again as memory")
            }
            other => other,
        }
    }

    fn ulimit(&mut self, name: &str) -> Option<Effective<u64>> {
        let node = self.node.path(&["ulimits", name])?;
        // The soft limit is the one that a program meets.
        let node = node.get("soft").unwrap_or(node);
        let field = format!("ulimits.{name}");
        Some(
            self.value(&field, Some(node), "a number", |text| match text {
                "-1" | "unlimited" => Some(None),
                text => text.parse::<u64>().ok().map(Some),
            }),
        )
    }

    fn gpus(&mut self) -> Gpus {
        let node = self.node;
        let devices = node.path(&["deploy", "resources", "reservations", "devices"]);
        let short = node.get("gpus");
        if short.and_then(Node::text) == Some("all") {
            return Gpus::All;
        }
        let is_gpu = |d: &&Node| {
            let all = d.get("capabilities").map(Node::items).unwrap_or_default();
            all.iter().any(|c| c.text() == Some("gpu"))
        };
        let reserved = devices
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .filter(is_gpu);
        let given = short.map(Node::items).unwrap_or_default().iter();
        let mut sum = Gpus::None;
        for device in reserved.chain(given) {
            let ids = device.get("device_ids").map(|d| d.items().len());
            let count = device.text_at("count");
            let some = ids.or_else(|| count.and_then(|c| c.parse().ok()));
            sum = match (sum, some) {
                (Gpus::All, _) => Gpus::All,
                (_, None) => Gpus::All,
                (Gpus::None, Some(n)) => Gpus::Some(n as u64),
                (Gpus::Some(m), Some(n)) => Gpus::Some(m + n as u64),
            };
        }
        let visible = node
            .get("environment")
            .and_then(|e| variable(e, "NVIDIA_VISIBLE_DEVICES"));
        match (sum, node.text_at("runtime"), visible) {
            (Gpus::None, Some("nvidia"), Some("all")) => Gpus::All,
            _ => sum,
        }
    }

    /// Compose refuses a project in which the short field says other than `deploy` (nothing said there counts as other).
    fn conflicts(&mut self, long: Option<&Node>) {
        let Some(long) = long else { return };
        for (short, field) in [
            ("mem_limit", "memory"),
            ("cpus", "cpus"),
            ("pids_limit", "pids"),
        ] {
            let Some(brief) = self.node.get(short) else {
                continue;
            };
            let (one, two) = (brief.text(), long.text_at(field));
            let same = match field {
                "memory" => one.and_then(docker_bytes) == two.and_then(docker_bytes),
                _ => one.and_then(plain_milli) == two.and_then(plain_milli),
            };
            if !same && !one.is_some_and(is_variable) && !two.is_some_and(is_variable) {
                let said =
                    two.map_or_else(|| "does not say it".to_owned(), |t| format!("says {t}"));
                let text = format!(
                    "{short} is {}, and deploy.resources.limits {said}: Compose refuses the project",
                    one.unwrap_or_default()
                );
                let how = format!(
                    "take `{short}` away from `services.{}`, and keep",
                    self.name
                );
                let value = one.unwrap_or_default();
                let lines =
                    format!("deploy:\n  resources:\n    limits:\n      {field}: \"{value}\"");
                let finding = Finding::new(Rule::LimitsConflict, self.name, text);
                self.findings
                    .push(finding.at(Some(brief.spot.spot())).mend(how, lines));
            }
        }
    }

    /// What is not said here may be said by the service that is extended.
    fn inherited(&mut self, subject: &mut Subject, extends: &Node) {
        let from = extends.text_at("file").unwrap_or("this file");
        let service = extends
            .text_at("service")
            .or_else(|| extends.text())
            .unwrap_or("?");
        let who = format!("`{service}` of {from}, which it extends");
        let mut missing = Vec::new();
        let open = |missing: &mut Vec<&str>, what| missing.push(what);
        if subject.memory == Effective::Unlimited {
            subject.memory = Effective::elsewhere(&who);
            open(&mut missing, "memory");
        }
        if subject.cpu == Effective::Unlimited {
            subject.cpu = Effective::elsewhere(&who);
            open(&mut missing, "cpu");
        }
        if subject.tasks == Effective::Unlimited {
            subject.tasks = Effective::elsewhere(&who);
            open(&mut missing, "processes");
        }
        if !missing.is_empty() {
            let text = format!(
                "{} may be limited by {who}; `extends` is not followed",
                missing.join(", ")
            );
            self.find(Rule::ValueUnresolved, extends, text);
        }
    }
}

/// A variable of an environment that is written as a map or as a list.
fn variable<'a>(environment: &'a Node, name: &str) -> Option<&'a str> {
    let listed = environment.items().iter().filter_map(Node::text);
    let mut listed = listed.filter_map(|t| t.split_once('='));
    let found = listed.find(|(n, _)| *n == name).map(|(_, value)| value);
    environment.text_at(name).or(found)
}

fn micros(text: &str) -> Option<u64> {
    match text.strip_suffix("ms") {
        Some(ms) => ms.parse::<u64>().ok()?.checked_mul(1000),
        None => text.strip_suffix("us").unwrap_or(text).parse().ok(),
    }
}

/// `$VAR` or `${VAR…}`; `$$` is a dollar.
fn is_variable(text: &str) -> bool {
    text.replace("$$", "").contains('$')
}

/// How many CPUs `0-3,6` are; `None` where that is no list of CPUs.
#[must_use]
pub fn count_cpus(set: &str) -> Option<u64> {
    let mut sum = 0_u64;
    for part in set.trim().split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (
            from.trim().parse::<u64>().ok()?,
            to.trim().parse::<u64>().ok()?,
        );
        sum = sum.checked_add(to.checked_sub(from)?.checked_add(1)?)?;
    }
    (sum > 0).then_some(sum)
}
