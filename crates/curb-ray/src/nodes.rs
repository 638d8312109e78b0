//! How large a cluster is, node by node, from `GET /api/v0/nodes?detail=true`.
//!
//! Not from `/nodes?view=summary`: that one rewrites names into camel case (`acceleratorType:A100`,
//! `objectStoreMemory`), so a custom resource's own name is lost, and carries every worker's
//! command line.

use crate::amount::Milli;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The most nodes that Ray's state API returns at once.
pub(crate) const MAX_NODES: usize = 10_000;

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Ray's id of it.
    #[serde(rename = "node_id")]
    pub id: String,
    /// Its address.
    #[serde(rename = "node_ip", default)]
    pub ip: Option<String>,
    /// Whether it is the head.
    #[serde(rename = "is_head_node", default)]
    pub is_head: bool,
    /// `ALIVE`, `DEAD`, …
    pub state: String,
    /// Every logical resource by Ray's own name, internal ones too.
    #[serde(
        rename = "resources_total",
        default,
        deserialize_with = "null_is_empty"
    )]
    pub resources: BTreeMap<String, Milli>,
    /// Ray's labels of it.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// Whether the node takes work.
    pub fn is_alive(&self) -> bool {
        self.state == "ALIVE"
    }

    /// The model of its GPUs, if it names exactly one.
    pub fn gpu_model(&self) -> Option<&str> {
        let mut models = self
            .resources
            .keys()
            .filter_map(|name| name.strip_prefix(ACCELERATOR));
        models.next().filter(|_| models.next().is_none())
    }
}

const ACCELERATOR: &str = "accelerator_type:";

/// What a cluster has in all, over its living nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterTotals {
    /// Living nodes.
    pub nodes: usize,
    /// Logical CPUs.
    pub cpu: Milli,
    /// Bytes of memory that tasks may ask for.
    pub memory_bytes: u64,
    /// Logical GPUs of all models.
    pub gpu: Milli,
    /// GPUs by model. A node's GPUs are counted for a model only if the node names exactly one.
    pub gpu_by_model: BTreeMap<String, Milli>,
    /// Custom resources by name.
    pub custom: BTreeMap<String, Milli>,
}

/// The nodes and their totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Every node that Ray told of, dead ones too.
    pub nodes: Vec<Node>,
    /// Whether Ray told of all of them. If not, the totals are a lower bound.
    pub complete: bool,
}

impl Cluster {
    /// Sums up the living nodes.
    pub fn totals(&self) -> ClusterTotals {
        let mut totals = ClusterTotals::default();
        for node in self.nodes.iter().filter(|n| n.is_alive()) {
            totals.add(node);
        }
        totals
    }
}

impl ClusterTotals {
    fn add(&mut self, node: &Node) {
        self.nodes += 1;
        for (name, &amount) in &node.resources {
            match name.as_str() {
                "CPU" => self.cpu = self.cpu.saturating_add(amount),
                "memory" => {
                    self.memory_bytes = self.memory_bytes.saturating_add(amount.whole_units())
                }
                "GPU" => self.add_gpus(node, amount),
                "object_store_memory" => {} // not something that a job asks for
                // One a node, so that work can be sent to it by name: as many as there are nodes, and no amount of anything.
                name if name.starts_with("node:") => {}
                name => add(&mut self.custom, name, amount),
            }
        }
    }

    fn add_gpus(&mut self, node: &Node, amount: Milli) {
        self.gpu = self.gpu.saturating_add(amount);
        if let Some(model) = node.gpu_model() {
            add(&mut self.gpu_by_model, model, amount);
        }
    }
}

fn add(sums: &mut BTreeMap<String, Milli>, name: &str, amount: Milli) {
    let sum = sums.entry(name.to_owned()).or_default();
    *sum = sum.saturating_add(amount);
}

/// Ray writes null for what it does not know of a node.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Envelope {
    result: bool,
    #[serde(default)]
    msg: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Listing,
}

#[derive(Deserialize)]
struct Listing {
    total: usize,
    result: Vec<Node>,
    #[serde(default)]
    partial_failure_warning: Option<String>,
}

/// Reads the state API's answer. The error says what is wrong with it.
pub(crate) fn read(body: &[u8]) -> Result<Cluster, String> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let listing = match envelope {
        Envelope {
            result: true,
            data: Some(data),
            ..
        } => data.result,
        Envelope { msg, .. } => return Err(crate::reason::clean(msg.as_bytes())),
    };
    let warned = listing
        .partial_failure_warning
        .is_some_and(|w| !w.is_empty());
    Ok(Cluster {
        complete: !warned && listing.result.len() >= listing.total,
        nodes: listing.result,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(resources: &str) -> String {
        format!(
            r#"{{"node_id":"a","node_ip":"10.0.0.1","is_head_node":true,"state":"ALIVE","state_message":null,"resources_total":{resources},"labels":{{}}}}"#
        )
    }

    fn answer(total: usize, nodes: &[String]) -> String {
        format!(
            r#"{{"result":true,"msg":"","data":{{"result":{{"total":{total},"result":[{}],"partial_failure_warning":""}}}}}}"#,
            nodes.join(",")
        )
    }

    #[test]
    fn gpus_are_counted_by_the_one_model_a_node_names() {
        let nodes = [
            node(
                r#"{"CPU":64.0,"GPU":8.0,"accelerator_type:H100":1.0,"memory":1073741824.0,"node:10.0.0.1":1.0}"#,
            ),
            node(
                r#"{"CPU":4.5,"GPU":2.0,"accelerator_type:H100":1.0,"accelerator_type:A100":1.0,"object_store_memory":5.0}"#,
            ),
            node(r#"{"ssd":1.5,"node:__internal_head__":1.0}"#),
        ];
        let cluster = read(answer(3, &nodes).as_bytes()).unwrap();
        let totals = cluster.totals();
        assert!(cluster.complete);
        assert_eq!(
            (totals.nodes, totals.cpu, totals.gpu, totals.memory_bytes),
            (3, Milli(68_500), Milli(10_000), 1 << 30)
        );
        assert_eq!(
            totals.gpu_by_model,
            BTreeMap::from([("H100".to_owned(), Milli(8000))])
        );
        assert_eq!(
            totals.custom,
            BTreeMap::from([
                ("accelerator_type:A100".to_owned(), Milli(1000)),
                ("accelerator_type:H100".to_owned(), Milli(2000)),
                ("ssd".to_owned(), Milli(1500)),
            ])
        );
    }

    #[test]
    fn dead_nodes_count_for_nothing() {
        let dead = node(r#"{"CPU":4.0}"#).replace("ALIVE", "DEAD");
        let gone = node("null")
            .replace("ALIVE", "DEAD")
            .replace("\"labels\":{}", "\"labels\":null");
        let cluster = read(answer(2, &[dead, gone]).as_bytes()).unwrap();
        assert_eq!(cluster.totals(), ClusterTotals::default());
        assert_eq!(cluster.nodes.len(), 2);
    }

    #[test]
    fn a_cut_list_is_not_called_complete() {
        assert!(!read(answer(2, &[node("{}")]).as_bytes()).unwrap().complete);
    }

    #[test]
    fn a_failure_is_an_error_and_not_an_empty_cluster() {
        for body in [
            r#"{"result":false,"msg":"Failed to query","data":null}"#,
            "{}",
            "[]",
            "",
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
