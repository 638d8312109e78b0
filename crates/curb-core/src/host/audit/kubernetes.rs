//! Kubernetes manifests: what each container of each pod may take.

use std::collections::BTreeMap;

use super::limit_range::{Namespace, amount, namespaces};
use super::quantity::kubernetes_milli;
use super::yaml::{self, Node};
use super::{Effective, Finding, Gpus, Kind, Machine, Report, Rule, Subject, Target, check};
use crate::host::{Bytes, MilliCpu};

/// Less memory than this is a unit that was forgotten: 1 MiB.
const LEAST_MEMORY: u128 = 1 << 20;
/// Kinds with a pod template at `spec.template`.
const TEMPLATED: [&str; 6] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
];

/// Audits manifests (name and text of each).
#[must_use]
pub fn audit(files: &[(String, String)], machine: &Machine) -> Report {
    let mut findings = Vec::new();
    let mut unread = Vec::new();
    let mut documents = Vec::new();
    for (file, text) in files {
        let (read, fault) = yaml::read(file, text);
        if let Some(fault) = fault {
            let hint = match text.contains("{{") {
                true => {
                    "; a template has to be rendered first (`helm template … | curb audit kubernetes -`)"
                }
                false => "",
            };
            let finding = Finding::new(Rule::FileUnreadable, file, fault.message + hint);
            findings.push(finding.at(Some(fault.spot)));
        }
        documents.extend(read);
    }
    let documents: Vec<&Node> = documents.iter().flat_map(unlisted).collect();
    let spaces = namespaces(&documents);
    let mut subjects = Vec::new();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for document in &documents {
        let pods = pods(document);
        let kind = document.text_at("kind").unwrap_or("no kind");
        if pods.is_empty() && !matches!(kind, "LimitRange" | "ResourceQuota") {
            *others.entry(kind).or_default() += 1;
        }
        let space = document
            .path(&["metadata", "namespace"])
            .and_then(Node::text);
        let space = spaces.get(space.unwrap_or_default());
        for (name, pod) in pods {
            let mut found = Pod {
                name,
                pod,
                space,
                findings: Vec::new(),
                subjects: Vec::new(),
            };
            found.read();
            for subject in &found.subjects {
                findings.extend(check(subject, machine));
            }
            findings.append(&mut found.findings);
            subjects.append(&mut found.subjects);
        }
    }
    for (kind, count) in others {
        unread.push(format!("{count} of kind {kind}: nothing in it is audited"));
    }
    Report::new(Target::Kubernetes, subjects, findings, unread)
}

/// The document, or what is in it where it is a `List`.
fn unlisted(document: &Node) -> Vec<&Node> {
    match document.text_at("kind") {
        Some("List") => document
            .get("items")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .collect(),
        _ => vec![document],
    }
}

/// The pod specifications of a document, each with its name.
fn pods(document: &Node) -> Vec<(String, &Node)> {
    let kind = document.text_at("kind").unwrap_or_default();
    let name = document.path(&["metadata", "name"]).and_then(Node::text);
    let name = format!("{kind}/{}", name.unwrap_or("?"));
    let one = |path: &[&str]| {
        let pod = document.path(path);
        pod.map(|p| (name.clone(), p))
            .into_iter()
            .collect::<Vec<_>>()
    };
    match kind {
        "Pod" => one(&["spec"]),
        "CronJob" => one(&["spec", "jobTemplate", "spec", "template", "spec"]),
        "RayCluster" => ray(&name, document.get("spec")),
        "RayService" => ray(&name, document.path(&["spec", "rayClusterConfig"])),
        "RayJob" => {
            let mut all = ray(&name, document.path(&["spec", "rayClusterSpec"]));
            let submitter = document.path(&["spec", "submitterPodTemplate", "spec"]);
            all.extend(submitter.map(|p| (format!("{name} submitter"), p)));
            all
        }
        kind if TEMPLATED.contains(&kind) => one(&["spec", "template", "spec"]),
        _ => Vec::new(),
    }
}

fn ray<'a>(name: &str, cluster: Option<&'a Node>) -> Vec<(String, &'a Node)> {
    let Some(cluster) = cluster else {
        return Vec::new();
    };
    let head = cluster.path(&["headGroupSpec", "template", "spec"]);
    let mut all: Vec<_> = head
        .map(|p| (format!("{name} head"), p))
        .into_iter()
        .collect();
    let groups = cluster.get("workerGroupSpecs").map(Node::items);
    for group in groups.unwrap_or_default() {
        let group_name = group.text_at("groupName").unwrap_or("?");
        let pod = group.path(&["template", "spec"]);
        all.extend(pod.map(|p| (format!("{name} workers {group_name}"), p)));
    }
    all
}

struct Pod<'a> {
    name: String,
    pod: &'a Node,
    space: Option<&'a Namespace>,
    findings: Vec<Finding>,
    subjects: Vec<Subject>,
}

impl Pod<'_> {
    fn read(&mut self) {
        for list in ["initContainers", "containers"] {
            for container in self.pod.get(list).map(Node::items).unwrap_or_default() {
                let subject = self.container(container, list == "initContainers");
                self.subjects.push(subject);
            }
        }
    }

    fn container(&mut self, node: &Node, init: bool) -> Subject {
        let own = node.text_at("name").unwrap_or("?").to_owned();
        let what = if init { "init container" } else { "container" };
        let name = format!("{} {what} {own}", self.name);
        let kind = Kind::Kubernetes { container: own };
        let mut subject = Subject::new(kind, name);
        subject.spot = Some(node.get("name").unwrap_or(node).spot.spot());
        subject.memory = self.limit(&subject.name, node, "memory", |milli| {
            Some(Bytes(u64::try_from(milli.div_ceil(1000)).ok()?))
        });
        subject.cpu = self.limit(&subject.name, node, "cpu", |milli| {
            Some(MilliCpu(u64::try_from(milli).ok()?))
        });
        subject.tasks = Effective::elsewhere("the node: podPidsLimit of its kubelet");
        subject.swap = Effective::elsewhere("the node: swapBehavior of its kubelet");
        subject.open_files = Effective::elsewhere("the node: its container runtime");
        subject.gpus = self.gpus(&subject.name, node);
        subject
    }

    /// The container's own limit, the pod's, and what the namespace gives where none is said.
    fn limit<T: Ord>(
        &mut self,
        name: &str,
        node: &Node,
        resource: &str,
        make: impl Fn(u128) -> Option<T>,
    ) -> Effective<T> {
        let said = node.path(&["resources", "limits", resource]);
        let own = self.value(name, said, resource, &make);
        let whole = self.pod.path(&["resources", "limits", resource]);
        let whole = self.value(name, whole, resource, &make);
        self.request(name, node, resource);
        if said.is_none() {
            if let Some(default) = self.space.and_then(|s| s.default.get(resource)) {
                let by = format!(
                    "the LimitRange's default of {} at {}",
                    default.text, default.at
                );
                if let Some(value) = make(default.milli) {
                    return Effective::held(value, by).tighter(whole);
                }
            }
            self.wanted(name, node, resource);
        }
        if let Some(said) = said {
            self.range(name, said, resource);
        }
        own.tighter(whole)
    }

    fn value<T>(
        &mut self,
        name: &str,
        node: Option<&Node>,
        resource: &str,
        make: impl Fn(u128) -> Option<T>,
    ) -> Effective<T> {
        let Some(node) = node else {
            return Effective::Unlimited;
        };
        let text = node.text().unwrap_or_default();
        let spot = node.spot.spot();
        let wrong = |message: String| Finding::new(Rule::ValueInvalid, name, message);
        let Some(milli) = kubernetes_milli(text) else {
            let form = "a quantity such as 4Gi, 512Mi, 2 or 500m";
            let finding = wrong(format!("limits.{resource}: `{text}` is not {form}"));
            self.findings.push(finding.at(Some(spot)));
            return Effective::unknown(format!("limits.{resource}: `{text}`"));
        };
        if resource == "memory" && milli / 1000 < LEAST_MEMORY {
            let bytes = milli.div_ceil(1000);
            let plural = if bytes == 1 { "byte" } else { "bytes" };
            let text = format!("limits.memory: `{text}` is {bytes} {plural}: Mi or Gi was meant");
            self.findings.push(wrong(text).at(Some(spot.clone())));
        }
        match make(milli) {
            Some(value) => Effective::held(value, format!("limits.{resource} at {spot}")),
            None => Effective::unknown(format!("limits.{resource}: `{text}` is too large")),
        }
    }

    /// A request above the limit is refused.
    fn request(&mut self, name: &str, node: &Node, resource: &str) {
        let request = node.path(&["resources", "requests", resource]);
        let limit = node
            .path(&["resources", "limits", resource])
            .and_then(amount);
        let (Some(request), Some(limit)) = (request, limit) else {
            return;
        };
        if amount(request).is_some_and(|r| r.milli > limit.milli) {
            let text = format!(
                "requests.{resource} of {} is more than its limit of {}: Kubernetes refuses it",
                request.text().unwrap_or_default(),
                limit.text
            );
            let finding = Finding::new(Rule::LimitsConflict, name, text);
            self.findings.push(finding.at(Some(request.spot.spot())));
        }
    }

    fn wanted(&mut self, name: &str, node: &Node, resource: &str) {
        let Some(at) = self.space.and_then(|s| s.wanted.get(resource)) else {
            return;
        };
        let text = format!(
            "it says no limit on {resource}, and the ResourceQuota at {at} wants one: its pod is refused"
        );
        let finding = Finding::new(Rule::QuotaRefuses, name, text);
        let line = match resource {
            "cpu" => "cpu: \"2\"",
            _ => "memory: 4Gi",
        };
        self.findings.push(finding.at(Some(node.spot.spot())).mend(
            "in its container (with your figure)",
            format!("resources:\n  limits:\n    {line}"),
        ));
    }

    fn range(&mut self, name: &str, said: &Node, resource: &str) {
        let Some((space, own)) = self.space.zip(amount(said)) else {
            return;
        };
        let (min, max) = (space.min.get(resource), space.max.get(resource));
        let over = max
            .filter(|m| own.milli > m.milli)
            .map(|m| (m, "more than the most"));
        let under = min
            .filter(|m| own.milli < m.milli)
            .map(|m| (m, "less than the least"));
        if let Some((bound, how)) = over.or(under) {
            let text = format!(
                "its {resource} limit of {} is {how} that the LimitRange allows ({} at {}): its pod is refused",
                own.text, bound.text, bound.at
            );
            let finding = Finding::new(Rule::QuotaRefuses, name, text);
            self.findings.push(finding.at(Some(said.spot.spot())));
        }
    }

    /// GPUs are given by limits alone.
    fn gpus(&mut self, name: &str, node: &Node) -> Gpus {
        let is_gpu = |key: &str| key.ends_with("/gpu") || key.contains("/mig-");
        let of = |list: &str| {
            let entries = node.path(&["resources", list]).map(Node::entries);
            entries
                .unwrap_or_default()
                .iter()
                .filter(|e| is_gpu(&e.key))
        };
        let sum: u64 = of("limits")
            .filter_map(|e| e.node.text()?.parse::<u64>().ok())
            .sum();
        for request in of("requests") {
            if !of("limits").any(|l| l.key == request.key) {
                let text = format!(
                    "{} is requested and not limited: Kubernetes refuses it",
                    request.key
                );
                let finding = Finding::new(Rule::ValueInvalid, name, text);
                let line = format!("{}: {}", request.key, request.node.text().unwrap_or("1"));
                self.findings.push(finding.at(Some(request.at.spot())).mend(
                    "in the container",
                    format!("resources:\n  limits:\n    {line}"),
                ));
            }
        }
        match sum {
            0 => Gpus::None,
            sum => Gpus::Some(sum),
        }
    }
}
