//! Request targets that have exactly one spelling.
//!
//! Two parsers that disagree about `%2e`, `//` or `;` are how path rules get bypassed. So nothing
//! is normalised here: a target is in its only legal spelling already, or it is refused.

use std::fmt;

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 2 * 1024;
/// Longest query, in bytes as sent.
pub const MAX_QUERY_BYTES: usize = 4 * 1024;
/// Most key/value pairs in a query.
pub const MAX_QUERY_PAIRS: usize = 32;

/// A path in its only legal spelling, with the query decoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath {
    path: String,
    query: Query,
}

/// Decoded query parameters, in the order sent. No key occurs twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Why a target is refused. The text is meant for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The target is absolute-form, authority-form, `*` or empty.
    #[error("the request target must begin with '/'")]
    NotOrigin,
    /// The path is longer than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    PathTooLong,
    /// The path holds `//`.
    #[error("the path has an empty segment ('//')")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// A segment ends in a dot, which some file systems drop.
    #[error("a path segment ends in a dot")]
    TrailingDot,
    /// The path holds a `%` escape. No path of this service needs one.
    #[error("the path has a percent escape; write the character itself")]
    Escape,
    /// The path holds a byte that no path of this service needs.
    #[error(
        "the path has a character that is not allowed (byte 0x{0:02x}); allowed are letters, digits and - . _ ~ : @ +"
    )]
    Character(u8),
    /// The target has a fragment.
    #[error("the request target has a fragment ('#')")]
    Fragment,
    /// The query is longer than [`MAX_QUERY_BYTES`].
    #[error("the query is longer than {MAX_QUERY_BYTES} bytes")]
    QueryTooLong,
    /// The query has more than [`MAX_QUERY_PAIRS`] parameters.
    #[error("the query has more than {MAX_QUERY_PAIRS} parameters")]
    TooManyPairs,
    /// A parameter has no name (`?`, `&&`, `=value`).
    #[error("the query has a parameter without a name")]
    EmptyKey,
    /// A name is given twice.
    #[error("the query names a parameter twice")]
    DuplicateKey,
    /// A byte in the query must be percent-encoded.
    #[error("the query has a character that must be percent-encoded (byte 0x{0:02x})")]
    QueryCharacter(u8),
    /// An escape in the query is not `%` and two hex digits.
    #[error("the query has a percent escape that is not two hex digits")]
    BadEscape,
    /// A decoded name or value is not UTF-8, or has a control character.
    #[error("the query has a value that is not plain UTF-8 text")]
    NotText,
}

impl CanonicalPath {
    /// Parses an origin-form request target as it stood in the request line.
    pub fn parse(raw_target: &str) -> Result<Self, PathError> {
        let (path, query) = split(raw_target)?;
        check_path(path)?;
        let query = query.map_or(Ok(Query::default()), Query::parse)?;
        Ok(Self {
            path: path.to_owned(),
            query,
        })
    }

    /// The path, beginning with `/`. A trailing slash is significant and kept.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The segments between slashes; a trailing slash adds none. `/` has no segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|s| !s.is_empty())
    }

    /// Whether the path ends in a slash (`/` alone does).
    pub fn has_trailing_slash(&self) -> bool {
        self.path.ends_with('/')
    }

    /// The decoded query.
    pub fn query(&self) -> &Query {
        &self.query
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl Query {
    /// Parses a query (without its `?`), decoding each name and value once.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > MAX_QUERY_BYTES {
            return Err(PathError::QueryTooLong);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.split('&') {
            if pairs.len() == MAX_QUERY_PAIRS {
                return Err(PathError::TooManyPairs);
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            if key.is_empty() {
                return Err(PathError::EmptyKey);
            }
            if pairs.iter().any(|(k, _)| *k == key) {
                return Err(PathError::DuplicateKey);
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; `""` if it was given without one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// All parameters, in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Checks the path of a target without keeping anything; the first step of [`CanonicalPath::parse`].
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathError::PathTooLong);
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PathError::NotOrigin);
    };
    for byte in rest.bytes() {
        match byte {
            b'%' => return Err(PathError::Escape),
            b'/' => {}
            _ if is_path_byte(byte) => {}
            _ => return Err(PathError::Character(byte)),
        }
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // Empty only as the last one, which is what a trailing slash leaves.
            "" if segments.peek().is_none() => {}
            "" => return Err(PathError::EmptySegment),
            "." | ".." => return Err(PathError::DotSegment),
            s if s.ends_with('.') => return Err(PathError::TrailingDot),
            _ => {}
        }
    }
    Ok(())
}

fn split(raw: &str) -> Result<(&str, Option<&str>), PathError> {
    if raw.contains('#') {
        return Err(PathError::Fragment);
    }
    Ok(match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (raw, None),
    })
}

/// Unreserved characters of RFC 3986, and `:` `@` `+`, which names and versions need and no
/// parser gives a meaning to inside a path.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'+')
}

/// Bytes that may stand for themselves in a query. `+` means a space, as forms write it.
const fn is_query_byte(byte: u8) -> bool {
    is_path_byte(byte) || matches!(byte, b'/' | b'!' | b'$' | b'(' | b')' | b'*' | b',' | b'=')
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(PathError::BadEscape);
                };
                high << 4 | low
            }
            _ if is_query_byte(byte) => byte,
            _ => return Err(PathError::QueryCharacter(byte)),
        });
    }
    let text = String::from_utf8(out).map_err(|_| PathError::NotText)?;
    if text.chars().any(char::is_control) {
        return Err(PathError::NotText);
    }
    Ok(text)
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathError::*;

    fn refused(target: &str) -> PathError {
        CanonicalPath::parse(target).expect_err(target)
    }

    #[test]
    fn every_trick_in_a_path_is_refused_by_name() {
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        for (target, why) in [
            ("", NotOrigin),
            ("*", NotOrigin),
            ("api/jobs/", NotOrigin),
            ("http://evil/api/jobs/", NotOrigin),
            ("evil:443", NotOrigin),
            ("//", EmptySegment),
            ("//api/jobs/", EmptySegment),
            ("/api//jobs/", EmptySegment),
            ("/api/jobs//", EmptySegment),
            ("/./api", DotSegment),
            ("/api/.", DotSegment),
            ("/..", DotSegment),
            ("/api/../x", DotSegment),
            ("/api/jobs/..", DotSegment),
            ("/api/...", TrailingDot),
            ("/api/jobs.", TrailingDot),
            ("/api./jobs", TrailingDot),
            ("/%2e%2e/", Escape),
            ("/%2E./x", Escape),
            ("/a%2fb", Escape),
            ("/a%5cb", Escape),
            ("/a%252fb", Escape),
            ("/a%00", Escape),
            ("/a%", Escape),
            ("/%c0%ae", Escape),
            ("/%61pi/jobs/", Escape),
            ("/a;x=1", Character(b';')),
            ("/a\\b", Character(b'\\')),
            ("/a b", Character(b' ')),
            ("/a\tb", Character(b'\t')),
            ("/a\0", Character(0)),
            ("/a\x7f", Character(0x7f)),
            ("/a\u{e9}", Character(0xc3)),
            ("/a\u{ff0f}b", Character(0xef)),
            ("/a&b", Character(b'&')),
            ("/a=b", Character(b'=')),
            ("/a*", Character(b'*')),
            ("/a\"", Character(b'"')),
            ("/a<", Character(b'<')),
            ("/a{b}", Character(b'{')),
            ("/a|b", Character(b'|')),
            ("/a^b", Character(b'^')),
            ("/a`b", Character(b'`')),
            ("/a'b", Character(b'\'')),
            ("/a(b)", Character(b'(')),
            ("/a[b]", Character(b'[')),
            ("/a!", Character(b'!')),
            ("/a,b", Character(b',')),
            ("/a$b", Character(b'$')),
            ("/a#b", Fragment),
            ("/a?b#c", Fragment),
            (&long, PathTooLong),
        ] {
            assert_eq!(refused(target), why, "{target:?}");
        }
    }

    #[test]
    fn every_trick_in_a_query_is_refused_by_name() {
        let long = format!("/?a={}", "b".repeat(MAX_QUERY_BYTES));
        let many = format!(
            "/?{}",
            (0..33)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join("&")
        );
        for (target, why) in [
            ("/?", EmptyKey),
            ("/?&", EmptyKey),
            ("/?a&&b", EmptyKey),
            ("/?=v", EmptyKey),
            ("/?a=1&a=2", DuplicateKey),
            ("/?a=1&%61=2", DuplicateKey),
            ("/?a;b", QueryCharacter(b';')),
            ("/?a=b?c", QueryCharacter(b'?')),
            ("/?a=\\", QueryCharacter(b'\\')),
            ("/?a='", QueryCharacter(b'\'')),
            ("/?a=\u{e9}", QueryCharacter(0xc3)),
            ("/?a=%", BadEscape),
            ("/?a=%4", BadEscape),
            ("/?a=%+1", BadEscape),
            ("/?a=%zz", BadEscape),
            ("/?a=%00", NotText),
            ("/?a=%0d%0a", NotText),
            ("/?a=%7f", NotText),
            ("/?a=%c0%ae", NotText),
            ("/?a=%ff", NotText),
            (&long, QueryTooLong),
            (&many, TooManyPairs),
        ] {
            assert_eq!(refused(target), why, "{target:?}");
        }
    }

    #[test]
    fn paths_that_ray_clients_send_pass_unchanged() {
        for path in [
            "/",
            "/api/version",
            "/api/jobs/",
            "/api/jobs/raysubmit_9Zk3",
            "/api/jobs/raysubmit_9Zk3/logs/tail",
            "/api/packages/gcs/_ray_pkg_b6c529132c6403c1.zip",
            "/a/.hidden/b~1:2@3+4",
        ] {
            let parsed = CanonicalPath::parse(path).unwrap();
            assert_eq!(parsed.path(), path);
            assert!(parsed.query().is_empty());
        }
    }

    #[test]
    fn a_trailing_slash_is_kept_and_adds_no_segment() {
        let with = CanonicalPath::parse("/api/jobs/").unwrap();
        let without = CanonicalPath::parse("/api/jobs").unwrap();
        assert_ne!(with, without);
        assert!(with.has_trailing_slash() && !without.has_trailing_slash());
        assert!(with.segments().eq(["api", "jobs"]) && without.segments().eq(["api", "jobs"]));
    }

    #[test]
    fn a_query_is_decoded_exactly_once() {
        let target = CanonicalPath::parse("/q?a=%2541&b=x+y&c=%C3%A9&d&e=a%3Db=c").unwrap();
        assert!(target.query().iter().eq([
            ("a", "%41"),
            ("b", "x y"),
            ("c", "\u{e9}"),
            ("d", ""),
            ("e", "a=b=c")
        ]));
        assert_eq!(
            (target.query().get("d"), target.query().get("z")),
            (Some(""), None)
        );
        assert_eq!(target.query().len(), 5);
    }

    #[test]
    fn the_longest_path_and_query_still_pass() {
        let path = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
        let target = format!("{path}?k={}", "v".repeat(MAX_QUERY_BYTES - 2));
        assert_eq!(CanonicalPath::parse(&target).unwrap().path(), path);
    }
}
