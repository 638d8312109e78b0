//! Compose files on top of each other, as Compose merges them.

use super::yaml::{Entry, Node, Value};

/// Lists that are replaced and not added to.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// One file's tree with a later one's on top.
pub(super) fn merge(base: Node, over: Node) -> Node {
    merge_at("", base, over)
}

fn merge_at(key: &str, base: Node, over: Node) -> Node {
    if over.tag.as_deref() == Some("!override") {
        return over;
    }
    let (base, over) = match key {
        "environment" | "labels" => (as_map(base), as_map(over)),
        _ => (base, over),
    };
    match (base.value, over.value) {
        (Value::Map(mut entries), Value::Map(later)) => {
            for entry in later {
                put(&mut entries, entry);
            }
            Node {
                value: Value::Map(entries),
                spot: base.spot,
                tag: base.tag,
            }
        }
        (Value::List(mut items), Value::List(later)) if !REPLACED.contains(&key) => {
            items.extend(later);
            Node {
                value: Value::List(items),
                spot: base.spot,
                tag: base.tag,
            }
        }
        // `key:` with nothing behind it says nothing.
        (value, Value::Null) => Node {
            value,
            spot: base.spot,
            tag: base.tag,
        },
        (_, value) => Node {
            value,
            spot: over.spot,
            tag: over.tag,
        },
    }
}

fn put(entries: &mut Vec<Entry>, later: Entry) {
    let at = entries.iter().position(|e| e.key == later.key);
    if later.node.tag.as_deref() == Some("!reset") {
        if let Some(at) = at {
            entries.remove(at);
        }
        return;
    }
    match at {
        None => entries.push(later),
        Some(at) => {
            let base = entries.remove(at);
            let node = merge_at(&base.key.clone(), base.node, later.node);
            entries.insert(
                at,
                Entry {
                    key: base.key,
                    at: base.at,
                    node,
                },
            );
        }
    }
}

/// `[A=b]` as `{A: b}`.
fn as_map(node: Node) -> Node {
    let Value::List(items) = node.value else {
        return node;
    };
    let entry = |item: Node| {
        let text = item.text()?.to_owned();
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        Some(Entry {
            key: key.to_owned(),
            at: item.spot.clone(),
            node: Node {
                value: Value::Scalar {
                    text: value.to_owned(),
                },
                ..item
            },
        })
    };
    Node {
        value: Value::Map(items.into_iter().filter_map(entry).collect()),
        spot: node.spot,
        tag: node.tag,
    }
}
