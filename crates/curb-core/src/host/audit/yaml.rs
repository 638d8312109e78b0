//! YAML as other tools' files have it: several documents, anchors, aliases, merge keys, tags. Every node knows where it
//! stands. The text may be hostile: size, depth and the number of nodes, those that aliases repeat included, are bounded.
//!
//! Why not the reader of our own files ([`crate::yaml`]): that one is there to refuse what this one has to read. It takes one
//! document and no anchor, alias, merge key or tag (Compose and Kubernetes files are made of these), wants each scalar in one
//! form, and refuses the whole file at its first error, where an audit goes on with the documents before it. Both stand on
//! the same parser.

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, Span, Tag};

use super::Spot;

/// The largest file, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// The most nodes of a file, with what its aliases repeat.
const MAX_NODES: usize = 200_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub spot: Mark,
    pub tag: Option<String>,
    pub value: Value,
}

/// A place whose file's name is shared by all of them.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    file: Rc<str>,
    line: u32,
    column: u32,
    width: u32,
}

impl Mark {
    pub(super) fn spot(&self) -> Spot {
        Spot {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            width: self.width,
        }
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Scalar { text: String },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Mark,
    pub node: Node,
}

/// What is wrong with a text as YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub spot: Spot,
    pub message: String,
}

impl Node {
    /// A map with nothing in it.
    pub fn empty(file: &str) -> Node {
        let spot = Mark {
            file: Rc::from(file),
            line: 1,
            column: 1,
            width: 1,
        };
        Node {
            spot,
            tag: None,
            value: Value::Map(Vec::new()),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key)
            .map(|e| &e.node)
            .filter(|n| !matches!(n.value, Value::Null))
    }

    /// A key with its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The value at the end of these keys.
    pub fn path(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The entries, if it is a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if it is a list.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is a single value.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text behind a key.
    pub fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }
}

/// All documents of a text, as far as it can be read; and why no further.
pub(super) fn read(file: &str, text: &str) -> (Vec<Node>, Option<Fault>) {
    let file: Rc<str> = Rc::from(file);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        ..Builder::default()
    };
    if text.len() > MAX_BYTES {
        let fault = builder.fault(1, 1, format!("the file is larger than {MAX_BYTES} bytes"));
        return (Vec::new(), Some(fault));
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    for step in Parser::new_from_str_with_options(text, options) {
        let taken = match step {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let at = error.marker();
                let (line, column) = (number(at.line().max(1)), number(at.col() + 1));
                Err(builder.fault(line, column, error.to_string()))
            }
        };
        if let Err(fault) = taken {
            return (builder.documents, Some(fault));
        }
    }
    (builder.documents, None)
}

#[derive(Default)]
struct Builder {
    file: Rc<str>,
    documents: Vec<Node>,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

struct Frame {
    spot: Mark,
    tag: Option<String>,
    anchor: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Mark)>,
    },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let spot = self.place(span);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == granit_parser::ScalarStyle::Plain;
                return self.scalar(&text, plain, anchor, tag.as_deref(), spot);
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.fault_at(
                        &spot,
                        "an alias of something that is not there, or of itself",
                    ));
                };
                self.count(size(&node), &spot)?;
                return self.put(Node { spot, ..node }, 0);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(spot, anchor, tag.as_deref(), Body::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let body = Body::Map {
                    entries: Vec::new(),
                    key: None,
                };
                self.open(spot, anchor, tag.as_deref(), body)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else {
                    return Ok(());
                };
                let value = match frame.body {
                    Body::List(items) => Value::List(items),
                    Body::Map { entries, .. } => Value::Map(merged(entries)),
                };
                let node = Node {
                    spot: frame.spot,
                    tag: frame.tag,
                    value,
                };
                return self.put(node, frame.anchor);
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        anchor: usize,
        tag: Option<&Tag>,
        spot: Mark,
    ) -> Result<(), Fault> {
        self.count(1, &spot)?;
        if let Some(Frame {
            body: Body::Map {
                key: key @ None, ..
            },
            ..
        }) = self.stack.last_mut()
        {
            *key = Some((text.to_owned(), spot));
            return Ok(());
        }
        let value = match text {
            "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
            _ => Value::Scalar {
                text: text.to_owned(),
            },
        };
        let tag = tag.map(ToString::to_string);
        self.put(Node { spot, tag, value }, anchor)
    }

    fn open(
        &mut self,
        spot: Mark,
        anchor: usize,
        tag: Option<&Tag>,
        body: Body,
    ) -> Result<(), Fault> {
        self.count(1, &spot)?;
        let in_key = matches!(
            self.stack.last(),
            Some(Frame {
                body: Body::Map { key: None, .. },
                ..
            })
        );
        if in_key || self.stack.len() >= MAX_DEPTH {
            return Err(self.fault_at(&spot, "wanted a name here, got a list or a map"));
        }
        let tag = tag.map(ToString::to_string);
        self.stack.push(Frame {
            spot,
            tag,
            anchor,
            body,
        });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let twice = match self.stack.last_mut().map(|f| &mut f.body) {
            None => {
                self.documents.push(node);
                None
            }
            Some(Body::List(items)) => {
                items.push(node);
                None
            }
            Some(Body::Map { entries, key }) => match key.take() {
                // An alias in the place of a name.
                None => return Err(self.fault_at(&node.spot, "wanted a name here")),
                Some((key, at)) if key != "<<" && entries.iter().any(|e| e.key == key) => {
                    Some((key, at))
                }
                Some((key, at)) => {
                    entries.push(Entry { key, at, node });
                    None
                }
            },
        };
        match twice {
            Some((key, at)) => Err(self.fault_at(&at, &format!("`{key}` is given twice"))),
            None => Ok(()),
        }
    }

    fn count(&mut self, more: usize, spot: &Mark) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(more);
        match self.nodes > MAX_NODES {
            true => Err(self.fault_at(spot, &format!("the file has more than {MAX_NODES} values"))),
            false => Ok(()),
        }
    }

    fn place(&self, span: &Span) -> Mark {
        let one_line = span.start.line() == span.end.line();
        let width = match one_line {
            true => span.end.col().saturating_sub(span.start.col()).max(1),
            false => 1,
        };
        Mark {
            file: Rc::clone(&self.file),
            line: number(span.start.line().max(1)),
            column: number(span.start.col() + 1),
            width: number(width),
        }
    }

    fn fault(&self, line: u32, column: u32, message: String) -> Fault {
        let spot = Spot {
            file: self.file.to_string(),
            line,
            column,
            width: 1,
        };
        Fault { spot, message }
    }

    fn fault_at(&self, spot: &Mark, message: &str) -> Fault {
        Fault {
            spot: spot.spot(),
            message: message.to_owned(),
        }
    }
}

/// `<<`: what the merged maps have and this one does not; of several the first wins.
fn merged(entries: Vec<Entry>) -> Vec<Entry> {
    let (merges, mut own): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|e| e.key == "<<");
    for merge in merges {
        let maps = match merge.node.value {
            Value::List(items) => items,
            _ => vec![merge.node],
        };
        for entry in maps.into_iter().flat_map(|m| match m.value {
            Value::Map(entries) => entries,
            _ => Vec::new(),
        }) {
            if !own.iter().any(|e| e.key == entry.key) {
                own.push(entry);
            }
        }
    }
    own
}

fn size(node: &Node) -> usize {
    let below: usize = match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|e| 1 + size(&e.node)).sum(),
        _ => 0,
    };
    1 + below
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let (mut documents, fault) = read("a.yaml", text);
        assert_eq!(fault, None);
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    #[test]
    fn anchors_aliases_and_merge_keys_mean_what_they_repeat() {
        let node = one(
            "base: &b {mem: 1g, cpus: 2}\nx:\n  <<: *b\n  cpus: 3\ny: *b\nz:\n  <<: [{mem: 5g}, *b]\n",
        );
        let at = |path: &[&str]| node.path(path).and_then(Node::text).map(str::to_owned);
        assert_eq!(at(&["x", "mem"]).as_deref(), Some("1g"));
        assert_eq!(at(&["x", "cpus"]).as_deref(), Some("3"));
        assert_eq!(at(&["y", "cpus"]).as_deref(), Some("2"));
        assert_eq!(at(&["z", "mem"]).as_deref(), Some("5g"));
        let spot = node.path(&["x", "cpus"]).expect("there").spot.spot();
        assert_eq!((spot.line, spot.column), (4, 9));
    }

    #[test]
    fn several_documents_are_read_up_to_the_broken_one() {
        let (documents, fault) = read("a.yaml", "a: 1\n---\nb: 2\n---\nc: [\n");
        assert_eq!(documents.len(), 2);
        let fault = fault.expect("broken");
        assert!(fault.spot.line >= 5, "{fault:?}");
    }

    #[test]
    fn a_text_that_grows_when_it_is_read_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let alias = format!("*a{}", i - 1);
            text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(",")));
        }
        let (_, fault) = read("a.yaml", &text);
        let message = fault.expect("refused").message;
        assert!(message.contains("more than 200000 values"), "{message}");
    }

    #[test]
    fn odd_texts_are_faults_with_a_place_and_never_a_panic() {
        for text in [
            "a: *a\n",
            "a: 1\na: 2\n",
            "? [a]\n: b\n",
            "{[",
            "a:\n\t- b\n - c",
            "a: &x {b: *x}\n",
            "*a: b\n",
            "- !!\u{1}",
        ] {
            let (_, fault) = read("a.yaml", text);
            assert!(fault.is_some(), "{text:?}");
        }
        assert!(read("a.yaml", "").1.is_none());
        assert!(read("a.yaml", &"[".repeat(100_000)).1.is_some());
    }
}
