//! YAML text as a tree in which every node knows where it stands.
//!
//! This is YAML without its traps: one document, no anchors or aliases (so no text can grow when it is read), no tags,
//! no merge keys, no directives, no key twice. Size, depth and number of nodes are bounded before anything is built.

use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};

use super::diagnostic::quoted;
use super::{Kind, indent};

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most nodes (values and keys) a file may have.
pub const MAX_NODES: usize = 200_000;
/// The deepest a file may be nested.
pub const MAX_DEPTH: usize = 24;

/// A place in the file: line and column from 1, and how many characters it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    pub line: u32,
    pub column: u32,
    pub width: u32,
}

/// A value and where it stands.
#[derive(Debug)]
pub struct Node {
    pub pos: Pos,
    pub value: Value,
}

/// What a node is.
#[derive(Debug)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, as it was written; `plain` when without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
    /// Something that was refused already; nothing more is to be said of it.
    Refused,
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub key_pos: Pos,
    pub node: Node,
}

/// Something wrong with the text as YAML.
#[derive(Debug)]
pub struct Fault {
    pub pos: Pos,
    pub field: String,
    pub message: String,
    pub help: Option<String>,
}

/// Reads the text. The tree is there unless the text is not YAML at all; the faults are to be reported in any case.
pub fn read(kind: &'static Kind, text: &str, lines: &[&str]) -> (Option<Node>, Vec<Fault>) {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder {
        kind,
        stack: Vec::new(),
        root: None,
        faults: Vec::new(),
        nodes: 0,
        documents: 0,
    };
    for step in Parser::new_from_str_with_options(text, options) {
        let more = match step {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                builder.broken(&error, lines);
                false
            }
        };
        if !more {
            return (None, builder.faults);
        }
    }
    if builder.root.is_none() && builder.faults.is_empty() {
        builder.fault(
            Pos {
                line: 1,
                column: 1,
                width: 1,
            },
            "the file is empty".into(),
            Some(format!("{} has at least the line `version: 1`", kind.a)),
        );
    }
    (builder.root, builder.faults)
}

/// Splits as YAML counts lines: at `\n`, `\r\n` and a lone `\r`.
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        lines.extend(line.split('\r'));
    }
    lines
}

enum Frame {
    List {
        pos: Pos,
        flow: bool,
        items: Vec<Node>,
    },
    Map {
        pos: Pos,
        flow: bool,
        entries: Vec<Entry>,
        lines: BTreeMap<String, u32>,
        key: Option<(String, Pos)>,
    },
}

struct Builder {
    kind: &'static Kind,
    stack: Vec<Frame>,
    root: Option<Node>,
    faults: Vec<Fault>,
    nodes: usize,
    documents: usize,
}

impl Builder {
    /// Takes one event; false when nothing more can be read.
    fn take(&mut self, event: Event<'_>, span: &Span) -> bool {
        let pos = position(span);
        if event.is_node() {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                self.fault(
                    pos,
                    format!("the file has more than {MAX_NODES} values"),
                    None,
                );
                return false;
            }
            if let Some(tag) = span.tag_span() {
                self.fault(
                    position(&tag),
                    format!("tags are not read in {}", self.kind.a),
                    Some("leave the tag out".into()),
                );
            }
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.fault(
                        pos,
                        format!(
                            "a second document begins here: {} is one document",
                            self.kind.a
                        ),
                        Some(
                            "remove the `---` and what follows it, or make it a file of its own"
                                .into(),
                        ),
                    );
                    return false;
                }
            }
            Event::Scalar(text, style, ..) => return self.scalar(&text, style, pos),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.fault(
                    pos,
                    format!("aliases (`*name`) are not read in {}", self.kind.a),
                    Some(format!("write the value out; {}", self.kind.star)),
                );
                return self.put(Node {
                    pos,
                    value: Value::Refused,
                });
            }
            Event::Anchor(..) => self.fault(
                pos,
                format!("anchors (`&name`) are not read in {}", self.kind.a),
                Some("leave it out, and write the value wherever it is needed".into()),
            ),
            Event::SequenceStart(style, ..) => {
                if !self.may_nest(pos) {
                    return false;
                }
                let flow = style == StructureStyle::Flow;
                self.stack.push(Frame::List {
                    pos,
                    flow,
                    items: Vec::new(),
                });
            }
            Event::MappingStart(style, ..) => {
                if !self.may_nest(pos) {
                    return false;
                }
                self.stack.push(Frame::Map {
                    pos,
                    flow: style == StructureStyle::Flow,
                    entries: Vec::new(),
                    lines: BTreeMap::new(),
                    key: None,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.stack.pop() {
                    Some(Frame::List { pos, items, .. }) => Node {
                        pos,
                        value: Value::List(items),
                    },
                    Some(Frame::Map { pos, entries, .. }) => Node {
                        pos,
                        value: Value::Map(entries),
                    },
                    None => return true,
                };
                return self.put(node);
            }
            _ => {}
        }
        true
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, pos: Pos) -> bool {
        let plain = style == ScalarStyle::Plain;
        if let Some(Frame::Map {
            key: key @ None, ..
        }) = self.stack.last_mut()
        {
            *key = Some((text.to_owned(), pos));
            return true;
        }
        let value = match text {
            "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
            _ => Value::Scalar {
                text: text.to_owned(),
                plain,
            },
        };
        self.put(Node { pos, value })
    }

    /// A list or map may begin here: the file is not too deep, and this is not the place of a key.
    fn may_nest(&mut self, pos: Pos) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            self.fault(pos, format!("nested deeper than {MAX_DEPTH} levels"), None);
            return false;
        }
        if matches!(self.stack.last(), Some(Frame::Map { key: None, .. })) {
            self.not_a_key(pos);
            return false;
        }
        true
    }

    fn not_a_key(&mut self, pos: Pos) {
        self.fault(
            pos,
            "wanted the name of a field here, got something else".into(),
            Some("write `field: value`".into()),
        );
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node) -> bool {
        let mut fault = None;
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map {
                entries,
                lines,
                key,
                ..
            }) => match key.take() {
                None => {
                    self.not_a_key(node.pos);
                    return false;
                }
                Some((name, pos)) if name == "<<" => {
                    fault = Some((
                        pos,
                        format!("merge keys (`<<`) are not read in {}", self.kind.a),
                        "write the fields out".to_owned(),
                    ));
                }
                Some((name, key_pos)) => match lines.get(&name) {
                    Some(first) => {
                        fault = Some((
                            key_pos,
                            format!("{} is given twice", quoted(&name)),
                            format!("it is on line {first} already: keep one of them"),
                        ));
                    }
                    None => {
                        lines.insert(name.clone(), key_pos.line);
                        entries.push(Entry {
                            key: name,
                            key_pos,
                            node,
                        });
                    }
                },
            },
        }
        if let Some((pos, message, help)) = fault {
            self.fault(pos, message, Some(help));
        }
        true
    }

    fn fault(&mut self, pos: Pos, message: String, help: Option<String>) {
        let field = self.field();
        self.faults.push(Fault {
            pos,
            field,
            message,
            help,
        });
    }

    /// The dotted path of what is being read.
    fn field(&self) -> String {
        let mut path = super::reader::PathText::default();
        for frame in &self.stack {
            match frame {
                Frame::List { items, .. } => path.index(items.len()),
                Frame::Map {
                    key: Some((key, _)),
                    ..
                } => path.key(key),
                Frame::Map { .. } => {}
            }
        }
        path.0
    }

    /// Says in the reader's words why the text is not YAML.
    fn broken(&mut self, error: &ScanError, lines: &[&str]) {
        let marker = error.marker();
        let mut pos = Pos {
            line: clamp(marker.line().max(1)),
            column: clamp(marker.col() + 1),
            width: 1,
        };
        let (message, mut help) = syntax(self.kind, error.kind());
        if is_quote(error.kind()) {
            pos = self.open_quote(lines).unwrap_or(pos);
        } else if is_tab(error.kind()) {
            // The tab may stand in a later line than the value that was being read.
            pos = indent::first_tab(lines, pos).unwrap_or(pos);
            return self.faults.push(Fault {
                pos,
                field: String::new(),
                message,
                help,
            });
        } else if is_layout(error.kind()) {
            // The mark of a stray key is at its colon; what is wrong is how the line begins.
            if let Some((column, hint)) = indent::hint(lines, pos.line) {
                pos.column = column;
                help = Some(hint);
            } else if let Some(open) = self.open_bracket() {
                help = Some(open);
            }
        }
        self.fault(pos, message, help);
    }

    /// The quote that opens the value which is being read.
    fn open_quote(&self, lines: &[&str]) -> Option<Pos> {
        let Some(Frame::Map {
            key: Some((_, key)),
            ..
        }) = self.stack.last()
        else {
            return None;
        };
        let line = lines.get(key.line.checked_sub(1)? as usize)?;
        let after = (key.column + key.width).saturating_sub(1) as usize;
        let at = line
            .chars()
            .skip(after)
            .position(|c| c == '"' || c == '\'')?;
        Some(Pos {
            line: key.line,
            column: clamp(after + at + 1),
            width: 1,
        })
    }

    /// The innermost bracket that is still open.
    fn open_bracket(&self) -> Option<String> {
        let (bracket, pos) = self.stack.iter().rev().find_map(|frame| match frame {
            Frame::Map {
                pos, flow: true, ..
            } => Some(('{', pos)),
            Frame::List {
                pos, flow: true, ..
            } => Some(('[', pos)),
            _ => None,
        })?;
        let Pos { line, column, .. } = pos;
        Some(format!(
            "the `{bracket}` at line {line}, column {column} is still open here"
        ))
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn position(span: &Span) -> Pos {
    let same_line = span.start.line() == span.end.line();
    Pos {
        line: clamp(span.start.line().max(1)),
        column: clamp(span.start.col() + 1),
        width: if same_line {
            clamp(span.end.col().saturating_sub(span.start.col()).max(1))
        } else {
            1
        },
    }
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
    )
}

fn is_quote(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent
    )
}

/// Kinds that a wrongly indented line, or an open bracket, brings about.
fn is_layout(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ExpectedBlockSequenceEntry
            | ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::BlockEntryInFlowCollection
            | ErrorKind::BlockSequenceEntryNotAllowed
            | ErrorKind::InvalidFlowScalarIndent
            | ErrorKind::InvalidIndentation
            | ErrorKind::MappingKeyNotAllowed
            | ErrorKind::MappingValueNotAllowed
            | ErrorKind::SimpleKeyExpected
            | ErrorKind::UnclosedFlowCollection { .. }
    )
}

/// The message and the help for a kind of error.
fn syntax(file: &Kind, kind: &ErrorKind) -> (String, Option<String>) {
    let (message, help) = match kind {
        kind if is_tab(kind) => (
            "a tab where YAML wants spaces".to_owned(),
            "indent with spaces: replace each tab",
        ),
        ErrorKind::MissingAnchorOrAliasName => (
            "`*` or `&` begins an alias or an anchor in YAML".to_owned(),
            file.star_alone,
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!("{} cannot begin a value", quoted(&character.to_string())),
            "put the value in double quotes",
        ),
        ErrorKind::RecursionLimitExceeded => (format!("nested deeper than {MAX_DEPTH} levels"), ""),
        ErrorKind::DirectiveDisallowed => (
            format!("directives (`%YAML`, `%TAG`) are not read in {}", file.a),
            "remove the line",
        ),
        kind if is_quote(kind) => (
            "a quote is opened and not closed".to_owned(),
            "close it on the same line",
        ),
        ErrorKind::UnclosedFlowCollection { open } => (
            format!("this `{open}` is never closed"),
            "close it, or write one field a line",
        ),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => (
            format!("`{open}` is closed by `{close}`"),
            "close each bracket by its own kind",
        ),
        ErrorKind::MappingValueNotAllowed => (
            "a `:` where no field can be".to_owned(),
            "write one `field: value` a line; put a value that has `: ` in it in quotes",
        ),
        ErrorKind::SimpleKeyExpected => (
            "wanted `field: value` on this line".to_owned(),
            "put a `:` and a value after the name of the field",
        ),
        ErrorKind::ExpectedBlockMappingKey => (
            "wanted `field: value` at the indentation of the fields above".to_owned(),
            "",
        ),
        ErrorKind::ExpectedBlockSequenceEntry => (
            "wanted another `- ` item of the list above, or less indentation".to_owned(),
            "",
        ),
        ErrorKind::ExpectedFlowMappingSeparator => ("wanted `,` or `}` here".to_owned(), ""),
        ErrorKind::ExpectedFlowSequenceSeparator => ("wanted `,` or `]` here".to_owned(), ""),
        ErrorKind::FlowMappingValueAdjacentCollection
        | ErrorKind::InvalidMappingValueWhitespace => (
            "a `:` without a space behind it".to_owned(),
            "write `field: value` with a space after the colon",
        ),
        other => (format!("this is not YAML: {other}"), ""),
    };
    (message, (!help.is_empty()).then(|| help.to_owned()))
}
