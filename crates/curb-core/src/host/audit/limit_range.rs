//! LimitRange and ResourceQuota: what a namespace gives to, and asks of, its containers.

use std::collections::BTreeMap;

use super::quantity::kubernetes_milli;
use super::yaml::Node;

/// A quantity in thousandths, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Amount {
    pub milli: u128,
    pub text: String,
    pub at: String,
}

/// What holds in one namespace, by resource (`memory`, `cpu`).
#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    /// The limit of a container that says none.
    pub default: BTreeMap<String, Amount>,
    /// The least limit that a container may have.
    pub min: BTreeMap<String, Amount>,
    /// The highest.
    pub max: BTreeMap<String, Amount>,
    /// Resources of which a quota wants each container to say its limit, and where.
    pub wanted: BTreeMap<String, String>,
}

/// Reads the ranges and quotas among the documents, by namespace (`""` where none is named).
pub(super) fn namespaces(documents: &[&Node]) -> BTreeMap<String, Namespace> {
    let mut all: BTreeMap<String, Namespace> = BTreeMap::new();
    for document in documents {
        let kind = document.text_at("kind").unwrap_or_default();
        let name = document
            .path(&["metadata", "namespace"])
            .and_then(Node::text);
        if !matches!(kind, "LimitRange" | "ResourceQuota") {
            continue;
        }
        let namespace = all.entry(name.unwrap_or_default().to_owned()).or_default();
        match kind {
            "LimitRange" => namespace.range(document),
            _ => namespace.quota(document),
        }
    }
    all
}

impl Namespace {
    fn range(&mut self, document: &Node) {
        let limits = document.path(&["spec", "limits"]).map(Node::items);
        for item in limits.unwrap_or_default() {
            if item.text_at("type") != Some("Container") {
                continue;
            }
            for (field, into) in [
                ("default", &mut self.default),
                ("min", &mut self.min),
                ("max", &mut self.max),
            ] {
                for entry in item.get(field).map(Node::entries).unwrap_or_default() {
                    if let Some(amount) = amount(&entry.node) {
                        into.insert(entry.key.clone(), amount);
                    }
                }
            }
        }
        // Where only the highest is said, it is the default as well.
        for (resource, max) in &self.max {
            self.default
                .entry(resource.clone())
                .or_insert_with(|| max.clone());
        }
    }

    fn quota(&mut self, document: &Node) {
        let hard = document.path(&["spec", "hard"]).map(Node::entries);
        for entry in hard.unwrap_or_default() {
            if let Some(resource) = entry.key.strip_prefix("limits.") {
                let at = entry.at.spot().to_string();
                self.wanted.insert(resource.to_owned(), at);
            }
        }
    }
}

pub(super) fn amount(node: &Node) -> Option<Amount> {
    let text = node.text()?;
    Some(Amount {
        milli: kubernetes_milli(text)?,
        text: text.to_owned(),
        at: node.spot.spot().to_string(),
    })
}
