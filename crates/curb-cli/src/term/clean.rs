//! Text from elsewhere is not trusted with the terminal.
//!
//! A control character can move the cursor, rename the window, or make what is shown differ from what is there; so can
//! the characters that turn the direction of writing. They are dropped from whatever a server, a file or a cluster says.

use std::borrow::Cow;

/// Characters that a terminal acts on or that change the order of what is shown.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line: line breaks and tabs become spaces, everything unsafe goes.
#[must_use]
pub fn clean_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if is_unsafe(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Several lines: line breaks stay, tabs become spaces, everything unsafe goes.
#[must_use]
pub fn clean_text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(clean_line).collect();
    lines.join("\n")
}

/// JSON whose strings hold nothing that a terminal acts on: such characters are written as `\uXXXX`, which is the same
/// JSON. (They can only stand inside strings.)
#[must_use]
pub fn json_for_terminal(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The last gate before stdout and stderr: lets through text, line breaks, tabs and the colours that this program uses.
///
/// What is shown has been cleaned piece by piece already; this holds even where that was forgotten.
#[must_use]
pub fn sink_filter(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = sgr(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if matches!(c, '\n' | '\t') || !is_unsafe(c) {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The length of a colour sequence (`ESC [ digits and ; m`) at the beginning.
pub(super) fn sgr(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let digits = body
        .bytes()
        .take(16)
        .take_while(|b| b.is_ascii_digit() || *b == b';')
        .count();
    (body.as_bytes().get(digits) == Some(&b'm')).then_some(2 + digits + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hostile_name_cannot_touch_the_terminal() {
        let hostile = "a\x1b]0;owned\x07\x1b[2J\u{9b}31mb\r\u{202e}c\u{200b}\n\td\u{7f}";
        assert_eq!(clean_line(hostile), "a]0;owned[2J31mbc  d");
        assert_eq!(clean_text("x\x1b[A\ny\x08"), "x[A\ny");
        assert_eq!(clean_line("é 漢 ok"), "é 漢 ok");
    }

    #[test]
    fn only_colours_pass_the_last_gate() {
        assert_eq!(
            sink_filter("\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;t\x07\r"),
            "\x1b[1;31mred\x1b[0m[2J]0;t"
        );
        assert_eq!(sink_filter("\x1b[31"), "[31");
    }

    #[test]
    fn tabs_pass_the_last_gate() {
        assert_eq!(sink_filter("a\tb\n"), "a\tb\n");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a": "\u{9b}2J\u{202e}\u{7f}\u{1b}x"});
        let shown = json_for_terminal(&value.to_string());
        assert!(!shown.chars().any(is_unsafe));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).ok(),
            Some(value)
        );
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            prop_assert!(!clean_line(&text).chars().any(is_unsafe));
            prop_assert!(!clean_text(&text).chars().any(|c| c != '\n' && is_unsafe(c)));
            let escapes = sink_filter(&text);
            let mut rest = escapes.as_str();
            while let Some(at) = rest.find('\x1b') {
                prop_assert!(sgr(&rest[at..]).is_some());
                rest = &rest[at + 1..];
            }
        }
    }
}
