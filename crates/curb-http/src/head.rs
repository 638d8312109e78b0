//! Reads one request head in the only way it can be read, or refuses it. Pure.
//!
//! The accepted grammar is a subset of RFC 9112 in which every parser agrees: ASCII, CR LF line
//! ends, no folding, one `Host`, at most one way to tell the body's length.

use crate::violation::Violation;

/// Bounds on one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest head in bytes, with its empty line.
    pub max_bytes: usize,
    /// Most header lines.
    pub max_headers: usize,
    /// Longest request target in bytes.
    pub max_target_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 16 * 1024,
            max_headers: 100,
            max_target_bytes: 8 * 1024,
        }
    }
}

/// How the body that follows a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body: neither length nor encoding was given.
    Empty,
    /// That many bytes (`Content-Length`), possibly 0.
    Length(u64),
    /// Chunks (`Transfer-Encoding: chunked`).
    Chunked,
}

/// What an accepted head says about the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Length of the head in bytes, with its empty line.
    pub bytes: usize,
    /// How the body is delimited.
    pub framing: Framing,
    /// A well-formed websocket upgrade: no byte may follow before the answer.
    pub upgrade: bool,
}

/// Reads heads line by line as bytes arrive, so that a bad line is refused before the rest is
/// there. Never looks at a byte twice, whatever the pieces they arrive in.
#[derive(Debug)]
pub struct HeadReader {
    limits: HeadLimits,
    /// Bytes looked at for a line end.
    searched: usize,
    /// Where the current line begins.
    line_start: usize,
    lines: usize,
    facts: Facts,
}

/// What the lines read so far have said.
#[derive(Debug, Default)]
struct Facts {
    method_is_get: bool,
    version_11: bool,
    seen: u32,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    connection_upgrade: bool,
}

impl HeadReader {
    /// A reader for one head.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            searched: 0,
            line_start: 0,
            lines: 0,
            facts: Facts::default(),
        }
    }

    /// Reads on. `bytes` holds everything since the head's first byte (so it only grows from call
    /// to call) and may hold what follows the head. `None` means that more bytes are needed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Head>, Violation> {
        let window = &bytes[..bytes.len().min(self.limits.max_bytes)];
        while let Some(at) = window[self.searched..].iter().position(|&b| b == b'\n') {
            let end = self.searched + at;
            self.searched = end + 1;
            let line = &window[self.line_start..end];
            self.line_start = end + 1;
            let line = line.strip_suffix(b"\r").ok_or(Violation::BareLineFeed)?;
            if line.is_empty() && self.lines > 0 {
                return self.facts.finish(end + 1).map(Some);
            }
            self.line(line)?;
        }
        // The unfinished line as well: binary garbage is refused at once, not at the deadline.
        check_bytes_or_cr(&window[self.searched..])?;
        self.searched = window.len();
        if self.searched >= self.limits.max_bytes {
            // A target that fills the whole head is told as what it is.
            return Err(if self.lines == 0 {
                Violation::TargetTooLong
            } else {
                Violation::HeadTooLarge
            });
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.lines += 1;
        if self.lines == 1 {
            return self.facts.request_line(line, self.limits.max_target_bytes);
        }
        if self.lines - 1 > self.limits.max_headers {
            return Err(Violation::TooManyHeaders);
        }
        self.facts.header(line)
    }
}

impl Facts {
    fn request_line(&mut self, line: &[u8], max_target: usize) -> Result<(), Violation> {
        check_bytes(line)?;
        let mut parts = line.split(|&b| b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Violation::RequestLine);
        };
        if method.is_empty() || target.is_empty() || line.contains(&b'\t') {
            return Err(Violation::RequestLine);
        }
        if method.len() > 16 || !method.iter().all(u8::is_ascii_uppercase) || method == b"CONNECT" {
            return Err(Violation::Method);
        }
        self.method_is_get = method == b"GET";
        self.version_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            v if v.starts_with(b"HTTP/") => return Err(Violation::Version),
            _ => return Err(Violation::RequestLine),
        };
        check_target(target, max_target)
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Violation> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Violation::ObsoleteFold);
        }
        check_bytes(line)?;
        let colon = line
            .iter()
            .position(|&b| b == b':')
            .ok_or(Violation::NoColon)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        check_name(name)?;
        if let Some(kind) = Singleton::of(name) {
            self.once(kind)?;
            self.note(kind, value)?;
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.connection_upgrade |= list(value).any(|t| t.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case(b"trailer") {
            return Err(Violation::Trailers);
        }
        Ok(())
    }

    fn once(&mut self, kind: Singleton) -> Result<(), Violation> {
        let bit = 1u32 << kind as u32;
        if self.seen & bit != 0 {
            return Err(match kind {
                Singleton::ContentLength => Violation::ContentLength,
                Singleton::TransferEncoding => Violation::TransferEncoding,
                _ => Violation::DuplicateHeader,
            });
        }
        self.seen |= bit;
        Ok(())
    }

    fn note(&mut self, kind: Singleton, value: &[u8]) -> Result<(), Violation> {
        match kind {
            Singleton::Host => {
                self.host = true;
                check_host(value)
            }
            Singleton::ContentLength => {
                self.length = Some(parse_length(value).ok_or(Violation::ContentLength)?);
                Ok(())
            }
            Singleton::TransferEncoding => {
                self.chunked = true;
                (value == b"chunked")
                    .then_some(())
                    .ok_or(Violation::TransferEncoding)
            }
            Singleton::Upgrade => {
                self.upgrade = true;
                value
                    .eq_ignore_ascii_case(b"websocket")
                    .then_some(())
                    .ok_or(Violation::Upgrade)
            }
            Singleton::Expect => value
                .eq_ignore_ascii_case(b"100-continue")
                .then_some(())
                .ok_or(Violation::Expectation),
            _ => Ok(()),
        }
    }

    fn finish(&self, bytes: usize) -> Result<Head, Violation> {
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Violation::LengthAndEncoding),
            (_, true) if !self.version_11 => return Err(Violation::EncodingOnOldVersion),
            (_, true) => Framing::Chunked,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::Empty,
        };
        if !self.host {
            return Err(Violation::MissingHost);
        }
        let upgrade = self.upgrade || self.connection_upgrade;
        let bodiless = matches!(framing, Framing::Empty | Framing::Length(0));
        let whole = self.upgrade && self.connection_upgrade;
        if upgrade && !(whole && self.method_is_get && self.version_11 && bodiless) {
            return Err(Violation::Upgrade);
        }
        Ok(Head {
            bytes,
            framing,
            upgrade,
        })
    }
}

/// Headers that may occur once. The first five decide about framing or are answered by the guard;
/// of the others a second copy would let two readers pick different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Singleton {
    Host,
    ContentLength,
    TransferEncoding,
    Upgrade,
    Expect,
    Authorization,
    RayAuthorization,
    ContentType,
    ContentEncoding,
    Cookie,
    Origin,
    FetchSite,
    FetchMode,
    FetchDest,
    WebsocketKey,
    WebsocketVersion,
}

impl Singleton {
    const NAMES: [(&'static [u8], Self); 16] = [
        (b"host", Self::Host),
        (b"content-length", Self::ContentLength),
        (b"transfer-encoding", Self::TransferEncoding),
        (b"upgrade", Self::Upgrade),
        (b"expect", Self::Expect),
        (b"authorization", Self::Authorization),
        (b"x-ray-authorization", Self::RayAuthorization),
        (b"content-type", Self::ContentType),
        (b"content-encoding", Self::ContentEncoding),
        (b"cookie", Self::Cookie),
        (b"origin", Self::Origin),
        (b"sec-fetch-site", Self::FetchSite),
        (b"sec-fetch-mode", Self::FetchMode),
        (b"sec-fetch-dest", Self::FetchDest),
        (b"sec-websocket-key", Self::WebsocketKey),
        (b"sec-websocket-version", Self::WebsocketVersion),
    ];

    fn of(name: &[u8]) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(n, _)| n.len() == name.len() && n.eq_ignore_ascii_case(name))
            .map(|&(_, kind)| kind)
    }
}

fn check_bytes(line: &[u8]) -> Result<(), Violation> {
    if line.contains(&b'\r') {
        Err(Violation::ControlByte)
    } else {
        check_bytes_or_cr(line)
    }
}

fn check_bytes_or_cr(line: &[u8]) -> Result<(), Violation> {
    for &byte in line {
        match byte {
            b' '..=b'~' | b'\t' | b'\r' => {}
            0x80.. => return Err(Violation::NotAscii),
            _ => return Err(Violation::ControlByte),
        }
    }
    Ok(())
}

fn check_name(name: &[u8]) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::HeaderName);
    }
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => {}
            b' ' | b'\t' => return Err(Violation::SpaceBeforeColon),
            // Some servers read `_` as `-`: `Content_Length` must not be a second spelling.
            b'_' => return Err(Violation::UnderscoreInName),
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'.' | b'^' | b'`' | b'|'
            | b'~' => {}
            _ => return Err(Violation::HeaderName),
        }
    }
    Ok(())
}

fn check_target(target: &[u8], max: usize) -> Result<(), Violation> {
    if target.len() > max {
        return Err(Violation::TargetTooLong);
    }
    if target[0] != b'/' {
        return Err(Violation::TargetForm);
    }
    let legal = |&b: &u8| b.is_ascii_alphanumeric() || b"-._~/?%:@!$&'()*+,;=".contains(&b);
    if target.iter().all(legal) {
        Ok(())
    } else {
        Err(Violation::Target)
    }
}

fn check_host(value: &[u8]) -> Result<(), Violation> {
    let legal = |&b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if !value.is_empty() && value.iter().all(legal) {
        Ok(())
    } else {
        Err(Violation::BadHost)
    }
}

/// One plain decimal number: no sign, no leading zero, no list, fits 63 bits.
fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = matches!(value, [b'0'] | [b'1'..=b'9', ..])
        && value.len() <= 18
        && value.iter().all(u8::is_ascii_digit);
    plain.then(|| value.iter().fold(0, |n, &d| n * 10 + u64::from(d - b'0')))
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}
