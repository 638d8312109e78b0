//! Walking the tree: places with their paths, simple values, and the list of what was found wrong.

use crate::subject::check_name;

use super::diagnostic::{Diagnostic, Excerpt, Severity, clip, quoted};
use super::tree::{Entry, Fault, Node, Pos, Value};
use super::{Field, Kind};

/// How many errors, and how many warnings, are told; the rest is counted.
pub const MAX_DIAGNOSTICS: usize = 100;
/// The most entries in one list or map.
pub const MAX_ENTRIES: usize = 10_000;
/// How many names a file's mistakes are compared with, in all, for a "did you mean".
const COMPARISONS: usize = 20_000;

/// A dotted path as text.
#[derive(Default)]
pub struct PathText(pub String);

impl PathText {
    pub fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        let plain = key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-@:/*".contains(&b));
        let key = clip(key, 64);
        if plain && !key.is_empty() {
            self.0.push_str(&key);
        } else {
            self.0.push_str(&format!("\"{key}\""));
        }
    }

    pub fn index(&mut self, index: usize) {
        self.0.push_str(&format!("[{index}]"));
    }
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

/// A node, where its key stands, and the way to it.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    pub node: &'p Node,
    pub key: Pos,
    step: Step<'p>,
    parent: Option<&'p Place<'p>>,
}

impl<'p> Place<'p> {
    pub fn root(node: &'p Node) -> Place<'p> {
        Place {
            node,
            key: node.pos,
            step: Step::Root,
            parent: None,
        }
    }

    /// The line of its value.
    pub fn line(&self) -> u32 {
        self.node.pos.line
    }

    /// The field of that name, if this is a map that has it.
    pub fn field(&'p self, name: &str) -> Option<Place<'p>> {
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        entries
            .iter()
            .find(|e| e.key == name)
            .map(|e| self.entry(e))
    }

    /// All fields; none when this is not a map.
    pub fn fields(&'p self) -> impl Iterator<Item = (&'p str, Place<'p>)> {
        let entries: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|e| (e.key.as_str(), self.entry(e)))
    }

    /// The names of all fields; none when this is not a map.
    pub fn keys(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        let entries: &'p [Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|e| e.key.as_str())
    }

    /// All items; none when this is not a list.
    pub fn items(&'p self) -> impl Iterator<Item = Place<'p>> {
        let items: &[Node] = match &self.node.value {
            Value::List(items) => items,
            _ => &[],
        };
        items.iter().enumerate().map(|(i, node)| Place {
            node,
            key: node.pos,
            step: Step::Index(i),
            parent: Some(self),
        })
    }

    /// The items of a list, or the one value itself.
    pub fn one_or_many(&'p self) -> Vec<Place<'p>> {
        match &self.node.value {
            Value::List(_) => self.items().collect(),
            _ => vec![*self],
        }
    }

    fn entry(&'p self, e: &'p Entry) -> Place<'p> {
        Place {
            node: &e.node,
            key: e.key_pos,
            step: Step::Key(&e.key),
            parent: Some(self),
        }
    }

    /// The place at the end of `steps`, or the nearest above it, passed to `then`.
    pub fn walk<T>(&self, steps: &[Step<'_>], then: impl FnOnce(&Place<'_>) -> T) -> T {
        let next = match steps.first() {
            Some(Step::Key(name)) => self.field(name),
            Some(Step::Index(i)) => self.items().nth(*i),
            _ => None,
        };
        match next {
            Some(place) => place.walk(&steps[1..], then),
            None => then(self),
        }
    }

    pub fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(place) = at {
            steps.push(place.step);
            at = place.parent;
        }
        let mut path = PathText::default();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Key(key) => path.key(key),
                Step::Index(i) => path.index(i),
            }
        }
        path.0
    }
}

/// What was found so far.
pub struct Reader<'a> {
    kind: &'static Kind,
    file: &'a str,
    lines: Vec<&'a str>,
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    comparisons: usize,
}

impl<'a> Reader<'a> {
    pub fn new(kind: &'static Kind, file: &'a str, lines: Vec<&'a str>) -> Reader<'a> {
        Reader {
            kind,
            file,
            lines,
            found: Vec::new(),
            errors: 0,
            warnings: 0,
            comparisons: COMPARISONS,
        }
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether so many errors were found that no other will be told: then another one is only counted, with this call.
    pub fn only_counts(&mut self) -> bool {
        let full = self.errors >= MAX_DIAGNOSTICS;
        self.errors += usize::from(full);
        full
    }

    pub fn lines(&self) -> &[&'a str] {
        &self.lines
    }

    /// Everything found, by position, and a last line for what is not told.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.line, d.column));
        let untold = (self.errors + self.warnings).saturating_sub(self.found.len());
        if untold > 0 {
            let line = self.found.last().map_or(1, |d| d.line);
            self.found.push(Diagnostic {
                severity: if self.errors > 0 {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                file: clip(self.file, 200),
                line,
                column: 1,
                field: String::new(),
                message: format!("{untold} more are not shown"),
                help: Some("mend the ones above and check again".into()),
                source: None,
            });
        }
        self.found
    }

    pub fn fault(&mut self, fault: Fault) {
        self.report(
            Severity::Error,
            fault.pos,
            || fault.field,
            &fault.message,
            fault.help,
        );
    }

    /// An error at the value of a place.
    pub fn error(&mut self, at: &Place<'_>, message: &str, help: &str) {
        self.report(
            Severity::Error,
            at.node.pos,
            || at.path(),
            message,
            some(help),
        );
    }

    /// An error at the key of a place.
    pub fn error_at_key(&mut self, at: &Place<'_>, message: &str, help: &str) {
        self.report(Severity::Error, at.key, || at.path(), message, some(help));
    }

    /// A warning at the key of a place.
    pub fn warn(&mut self, at: &Place<'_>, message: &str, help: &str) {
        self.report(Severity::Warning, at.key, || at.path(), message, some(help));
    }

    fn report(
        &mut self,
        severity: Severity,
        pos: Pos,
        field: impl FnOnce() -> String,
        message: &str,
        help: Option<String>,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count > MAX_DIAGNOSTICS {
            return;
        }
        let line = self.lines.get(pos.line.saturating_sub(1) as usize);
        self.found.push(Diagnostic {
            severity,
            file: clip(self.file, 200),
            line: pos.line,
            column: pos.column,
            field: field(),
            message: message.to_owned(),
            help,
            source: line
                .filter(|l| !l.trim().is_empty())
                .map(|l| Excerpt::cut(l, pos.column, pos.width)),
        });
    }

    /// The known name nearest to what was written, if it is near enough to be a slip.
    pub fn nearest<'n>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        let length = written.len();
        if length == 0 || length > 64 {
            return None;
        }
        let lower = written.to_lowercase();
        let slips = if length <= 3 { 1 } else { 1 + length / 4 };
        let mut best: Option<(usize, &str)> = None;
        for name in known {
            if name.len().abs_diff(length) > slips {
                continue;
            }
            if self.comparisons == 0 {
                break;
            }
            self.comparisons -= 1;
            let distance = strsim::osa_distance(&lower, &name.to_lowercase());
            if distance <= slips && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, name));
            }
        }
        best.map(|(_, name)| name)
    }

    /// "did you mean", or else the names there are.
    pub fn suggest(&mut self, written: &str, known: &[&str]) -> String {
        if let Some(name) = self.nearest(written, known.iter().copied()) {
            return format!("did you mean `{name}`?");
        }
        match known {
            [] => String::new(),
            [only] => format!("there is only `{only}`"),
            many if many.len() <= 20 => format!("one of {}", many.join(", ")),
            many => format!(
                "one of {} and {} more",
                many[..12].join(", "),
                many.len() - 12
            ),
        }
    }

    /// Whether this is a map; an error if it is something else. `wanted` says what would be right.
    pub fn is_map(&mut self, at: &Place<'_>, wanted: &str) -> bool {
        match &at.node.value {
            Value::Map(entries) if entries.len() > MAX_ENTRIES => {
                self.error_at_key(at, &format!("more than {MAX_ENTRIES} entries"), "");
                false
            }
            Value::Map(_) => true,
            _ => {
                self.wanted(at, wanted);
                false
            }
        }
    }

    /// Whether this is a list; an error if it is something else.
    pub fn is_list(&mut self, at: &Place<'_>, wanted: &str) -> bool {
        match &at.node.value {
            Value::List(items) if items.len() > MAX_ENTRIES => {
                self.error_at_key(at, &format!("more than {MAX_ENTRIES} items"), "");
                false
            }
            Value::List(_) => true,
            _ => {
                self.wanted(at, wanted);
                false
            }
        }
    }

    /// Says what was wanted and what is there.
    pub fn wanted(&mut self, at: &Place<'_>, wanted: &str) {
        let (got, help) = match &at.node.value {
            Value::Refused => return,
            Value::Null => {
                let help = "write a value, or leave the field out";
                return self.error_at_key(at, &format!("wanted {wanted}, got nothing"), help);
            }
            Value::Scalar { text, plain: true } => (quoted(text), ""),
            Value::Scalar { text, plain: false } => {
                (format!("the text {} in quotes", quoted(text)), "")
            }
            Value::List(_) => ("a list".to_owned(), ""),
            Value::Map(_) => ("a map of fields".to_owned(), ""),
        };
        self.error(at, &format!("wanted {wanted}, got {got}"), help);
    }

    /// Whether this is a map with fields of the table only; each other one is an error.
    pub fn is_map_of(&mut self, at: &Place<'_>, table: &[Field], wanted: &str) -> bool {
        if !self.is_map(at, wanted) {
            return false;
        }
        let known: Vec<&str> = table.iter().map(|f| f.name).collect();
        for (name, field) in at.fields() {
            if !known.contains(&name) {
                self.unknown(&field, name, &known);
            }
        }
        true
    }

    /// An error for a field that does not exist.
    pub fn unknown(&mut self, at: &Place<'_>, name: &str, known: &[&str]) {
        if self.only_counts() {
            return;
        }
        let near = self.nearest(name, known.iter().copied());
        let help = match (near, (self.kind.home_of)(name)) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(home)) => format!("`{name}` is a field of {home}"),
            (None, None) => self.suggest("", known),
        };
        self.error_at_key(at, &format!("unknown field {}", quoted(name)), &help);
    }

    /// An error for a field that has to be there.
    pub fn missing(&mut self, at: &Place<'_>, name: &str, help: &str) {
        self.error_at_key(at, &format!("missing field `{name}`"), help);
    }

    /// The version of the format, which is 1.
    pub fn version_1(&mut self, root: &Place<'_>) {
        let Some(at) = root.field("version") else {
            let help = "begin the file with `version: 1`";
            return self.error(root, "missing field `version`", help);
        };
        match &at.node.value {
            Value::Scalar { text, plain: true } if text == "1" => {}
            Value::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => self
                .error(
                    &at,
                    &format!("version {} of the format is not known", quoted(text)),
                    "this program reads `version: 1`",
                ),
            _ => self.wanted(&at, "the version of the format, which is `1`"),
        }
    }

    /// A value's text, with or without quotes.
    pub fn text<'p>(&mut self, at: &Place<'p>, wanted: &str) -> Option<&'p str> {
        match &at.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                self.wanted(at, wanted);
                None
            }
        }
    }

    /// A value that YAML takes for text: in quotes, or such that it is no number, truth value or null.
    pub fn string<'p>(&mut self, at: &Place<'p>, wanted: &str) -> Option<&'p str> {
        let text = self.text(at, wanted)?;
        if matches!(at.node.value, Value::Scalar { plain: true, .. }) && !is_string(text) {
            self.error(
                at,
                &format!(
                    "wanted {wanted}, got {}, which YAML takes for a number or a truth value",
                    quoted(text)
                ),
                &format!("put it in quotes: \"{}\"", clip(text, 60)),
            );
            return None;
        }
        Some(text)
    }

    /// A name (see [`check_name`]).
    pub fn name(&mut self, at: &Place<'_>, what: &str) -> Option<String> {
        let text = self.string(at, what)?;
        self.name_ok(at, text, what, false).then(|| text.to_owned())
    }

    /// Whether a text (a value, or a key when `key`) is a name; an error if not.
    pub fn name_ok(&mut self, at: &Place<'_>, text: &str, what: &str, key: bool) -> bool {
        if check_name(text).is_ok() {
            return true;
        }
        let message = format!("{} cannot be {what}", quoted(text));
        let help = "use 1 to 64 letters, digits and `._@-`, beginning with a letter or digit";
        if key {
            self.error_at_key(at, &message, help);
        } else {
            self.error(at, &message, help);
        }
        false
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, at: &Place<'_>, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(w, _)| *w).collect();
        let wanted = format!("one of {}", words.join(", "));
        let text = self.text(at, &wanted)?;
        if let Some((_, value)) = choices.iter().find(|(w, _)| *w == text) {
            return Some(*value);
        }
        let help = match self.nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => String::new(),
        };
        self.error(at, &format!("wanted {wanted}, got {}", quoted(text)), &help);
        None
    }

    /// A whole number in a range.
    pub fn whole(&mut self, at: &Place<'_>, what: &str, least: i64, most: i64) -> Option<i64> {
        let wanted = format!("{what}, a whole number from {least} to {most}");
        if let Value::Scalar { text, plain: true } = &at.node.value {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if is_number
                && let Ok(n) = text.parse::<i64>()
                && (least..=most).contains(&n)
            {
                return Some(n);
            }
        }
        self.wanted(at, &wanted);
        None
    }
}

fn some(help: &str) -> Option<String> {
    (!help.is_empty()).then(|| help.to_owned())
}

/// Whether YAML 1.2 (core schema) takes a text without quotes for text.
pub fn is_string(text: &str) -> bool {
    if matches!(
        text,
        "" | "~"
            | "null"
            | "Null"
            | "NULL"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
    ) {
        return false;
    }
    let radix = |prefix: &str, ok: fn(&u8) -> bool| {
        text.strip_prefix(prefix)
            .is_some_and(|d| !d.is_empty() && d.as_bytes().iter().all(ok))
    };
    if radix("0o", |b| (b'0'..=b'7').contains(b)) || radix("0x", u8::is_ascii_hexdigit) {
        return false;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return false;
    }
    !is_number(unsigned)
}

/// `1`, `1.5`, `.5`, `1.`, `1e3`.
fn is_number(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['-', '+']).unwrap_or(e))),
        None => (unsigned, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_yaml_takes_for_something_else_are_known() {
        for text in [
            "1", "-1", "+1", "1.5", ".5", "1.", "1e3", "1.5E-3", "0x1F", "0o17", "true", "NULL",
            "~", "-.inf", ".nan",
        ] {
            assert!(!is_string(text), "{text}");
        }
        for text in [
            "ana",
            "yes",
            "on",
            "1h",
            "08:00-20:00",
            "2027-06-30",
            "1_000",
            "e3",
            ".",
            "-",
            "0b1",
            "30/min",
            "80%",
            "NaN",
        ] {
            assert!(is_string(text), "{text}");
        }
    }

    #[test]
    fn paths_quote_what_would_be_ambiguous() {
        let mut path = PathText::default();
        path.key("quotas");
        path.index(1);
        path.key("limits");
        path.key("gpu:H100");
        path.key("a.b");
        assert_eq!(path.0, "quotas[1].limits.gpu:H100.\"a.b\"");
    }
}
