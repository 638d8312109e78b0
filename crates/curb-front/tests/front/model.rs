//! A model server as bad as they come: what it does is in the path. Raw sockets and threads, no library in between.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing here waits longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Facts {
    seen: Vec<Seen>,
    sockets: HashMap<u64, TcpStream>,
    connections: u64,
    running: usize,
    most_running: usize,
    released: usize,
    /// Answers whose reader went away before their end.
    left: usize,
    dead: bool,
    /// Messages that came over websockets.
    messages: Vec<Vec<u8>>,
}

struct Shared {
    facts: Mutex<Facts>,
    changed: Condvar,
    pieces: Mutex<Receiver<String>>,
}

/// A running one. Dropped, it is gone with all its connections.
pub struct Model {
    pub at: SocketAddr,
    shared: Arc<Shared>,
    pieces: Option<SyncSender<String>>,
    listens: Mutex<Option<JoinHandle<()>>>,
}

impl Model {
    pub fn start() -> Model {
        Model::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Again where one was before.
    pub fn start_at(at: SocketAddr) -> Model {
        let until = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(at) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < until, "{at}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let at = listener.local_addr().unwrap();
        let (pieces, receiver) = sync_channel(1000);
        let shared = Arc::new(Shared {
            facts: Mutex::default(),
            changed: Condvar::new(),
            pieces: Mutex::new(receiver),
        });
        let serving = Arc::clone(&shared);
        let listens = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut facts = serving.facts.lock().unwrap();
                if facts.dead {
                    break;
                }
                facts.connections += 1;
                let number = facts.connections;
                facts.sockets.insert(number, stream.try_clone().unwrap());
                drop(facts);
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || {
                    let _it_ends_as_it_ends = shared.serve(stream);
                    shared.facts.lock().unwrap().sockets.remove(&number);
                    shared.changed.notify_all();
                });
            }
        });
        Model {
            at,
            shared,
            pieces: Some(pieces),
            listens: Mutex::new(Some(listens)),
        }
    }

    fn facts<T>(&self, what: impl FnOnce(&mut Facts) -> T) -> T {
        what(&mut self.shared.facts.lock().unwrap())
    }

    fn wait(&self, what: &str, ready: impl Fn(&Facts) -> bool) {
        let facts = self.shared.facts.lock().unwrap();
        let (_facts, timeout) = self
            .shared
            .changed
            .wait_timeout_while(facts, PATIENCE, |facts| !ready(facts))
            .unwrap();
        assert!(!timeout.timed_out(), "{what}");
    }

    /// Dies: stops listening and cuts all connections, as the kernel does it.
    pub fn die(&self) {
        let Some(listens) = self.listens.lock().unwrap().take() else {
            return;
        };
        self.facts(|facts| {
            facts.dead = true;
            for socket in facts.sockets.values() {
                let _it_may_have_ended = socket.shutdown(Shutdown::Both);
            }
        });
        self.shared.changed.notify_all();
        // Wakes the loop, so that it sees that it is dead.
        let _it_may_be_gone = TcpStream::connect(self.at);
        listens.join().unwrap();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.facts(|facts| facts.seen.clone())
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.facts(|facts| facts.messages.clone())
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        let asked = self.seen();
        let of_path = |seen: &&Seen| seen.line.split(' ').nth(1) == Some(path);
        asked.iter().filter(of_path).count()
    }

    pub fn wait_for_requests(&self, count: usize) {
        self.wait("so many requests come", |facts| facts.seen.len() >= count);
    }

    pub fn wait_until_left(&self, count: usize) {
        self.wait("the reader goes away", |facts| facts.left >= count);
    }

    pub fn wait_until_no_connections(&self) {
        self.wait("all connections end", |facts| facts.sockets.is_empty());
    }

    /// Lets so many requests for `/gate` go.
    pub fn release(&self, count: usize) {
        self.facts(|facts| facts.released += count);
        self.shared.changed.notify_all();
    }

    pub fn most_running(&self) -> usize {
        self.facts(|facts| facts.most_running)
    }

    pub fn connections(&self) -> u64 {
        self.facts(|facts| facts.connections)
    }

    /// Sends a piece of the answer to `/stream`.
    pub fn piece(&self, text: &str) {
        let pieces = self.pieces.as_ref().expect("the stream goes on");
        pieces.send(text.to_owned()).unwrap();
    }

    /// Ends the answer to `/stream`.
    pub fn no_more_pieces(&mut self) {
        self.pieces = None;
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.die();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut out = stream;
        while let Some(seen) = read_request(&mut reader)? {
            let path = seen.line.split(' ').nth(1).unwrap_or("").to_owned();
            let head = seen.line.starts_with("HEAD ");
            let echo = format!(
                "{} {}",
                seen.line,
                String::from_utf8_lossy(&seen.body[..seen.body.len().min(100)])
            );
            let mut facts = self.facts.lock().unwrap();
            facts.seen.push(seen);
            facts.running += 1;
            facts.most_running = facts.most_running.max(facts.running);
            drop(facts);
            self.changed.notify_all();
            let go_on = match path.starts_with("/ws") {
                true => self.websocket(&path, &mut reader, &mut out),
                false => self.answer(&path, &echo, head, &mut reader, &mut out),
            };
            self.facts.lock().unwrap().running -= 1;
            self.changed.notify_all();
            if !go_on? {
                return out.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Opens a websocket and echoes its messages; or does not, or something else.
    fn websocket(
        &self,
        path: &str,
        reader: &mut BufReader<TcpStream>,
        out: &mut TcpStream,
    ) -> std::io::Result<bool> {
        let seen = self.facts.lock().unwrap().seen.last().cloned().unwrap();
        let known = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let key = seen.headers.get("sec-websocket-key").map_or("", |k| k);
        let digest = <sha1::Sha1 as sha1::Digest>::digest(format!("{key}{known}"));
        let accept = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest);
        let (accept, more, first) = match path {
            "/ws-no" => {
                whole(out, "403 Forbidden\r\nupgrade: websocket", "not here")?;
                return Ok(true);
            }
            "/ws-lies" => ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(), "", ""),
            "/ws-compresses" => (
                accept,
                "sec-websocket-extensions: permessage-deflate\r\n",
                "",
            ),
            "/ws-twice" => (accept, "upgrade: h2c\r\n", ""),
            "/ws-speaks-first" => (accept, "", "\u{7}welcome"),
            _ => (accept, "", ""),
        };
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n{more}\r\n"
        )
        .into_bytes();
        if !first.is_empty() {
            answer.push(0x81);
            answer.extend(first.as_bytes());
        }
        out.write_all(&answer)?;
        while let Some((first, payload)) = read_frame(reader)? {
            let first = match first {
                0x89 => 0x8a,
                0x88 => return Ok(false),
                other => {
                    self.facts.lock().unwrap().messages.push(payload.clone());
                    other
                }
            };
            let mut frame = vec![first];
            match payload.len() {
                n @ 0..126 => frame.push(n as u8),
                n => {
                    frame.push(126);
                    frame.extend((n as u16).to_be_bytes());
                }
            }
            frame.extend(&payload);
            out.write_all(&frame)?;
        }
        Ok(false)
    }

    /// Whether the connection goes on.
    fn answer(
        &self,
        path: &str,
        echo: &str,
        head: bool,
        reader: &mut BufReader<TcpStream>,
        out: &mut TcpStream,
    ) -> std::io::Result<bool> {
        match path.split('?').next().unwrap_or("") {
            "/gate" => {
                let facts = self.facts.lock().unwrap();
                let wait = |facts: &mut Facts| facts.released == 0 && !facts.dead;
                let (mut facts, _) = self
                    .changed
                    .wait_timeout_while(facts, PATIENCE, wait)
                    .unwrap();
                if facts.dead {
                    return Ok(false);
                }
                facts.released -= 1;
                drop(facts);
                whole(out, "200 OK", "through")?;
                Ok(true)
            }
            "/hang" => {
                let mut rest = Vec::new();
                let _cut_is_left_too = reader.read_to_end(&mut rest);
                self.leave();
                Ok(false)
            }
            "/close" => Ok(false),
            "/cut" => {
                out.write_all(
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
                )?;
                Ok(false)
            }
            "/stream" => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
                let pieces = self.pieces.lock().unwrap();
                while let Ok(piece) = pieces.recv_timeout(PATIENCE) {
                    if write!(out, "{:x}\r\n{piece}\r\n", piece.len()).is_err() {
                        self.leave();
                        return Ok(false);
                    }
                }
                out.write_all(b"0\r\n\r\n")?;
                Ok(true)
            }
            "/flood" => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")?;
                let block = [b'x'; 65536];
                let mut sent = 0_usize;
                out.set_write_timeout(Some(Duration::from_millis(500)))?;
                // Until nobody takes it any more.
                while out.write_all(&block).is_ok() {
                    sent += block.len();
                }
                self.facts.lock().unwrap().left = sent;
                self.changed.notify_all();
                Ok(false)
            }
            "/empty" => {
                out.write_all(b"HTTP/1.1 204 No Content\r\nx-model: tiny\r\n\r\n")?;
                Ok(true)
            }
            "/busy" => {
                whole(out, "429 Too Many Requests", "the server's own words")?;
                Ok(true)
            }
            "/both" => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n")?;
                Ok(true)
            }
            "/early" => {
                whole(out, "401 Unauthorized", "who are you?")?;
                // It reads no further, and keeps the connection.
                reader.get_ref().set_read_timeout(Some(PATIENCE))?;
                let mut rest = Vec::new();
                let _cut_is_left_too = reader.read_to_end(&mut rest);
                self.leave();
                Ok(false)
            }
            "/old" => {
                out.write_all(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello")?;
                Ok(false)
            }
            "/once" => {
                // Says nothing of closing, and closes.
                whole(out, "200 OK", "once")?;
                Ok(false)
            }
            _ if head => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")?;
                Ok(true)
            }
            _ => {
                whole(out, "200 OK", echo)?;
                Ok(true)
            }
        }
    }

    fn leave(&self) {
        self.facts.lock().unwrap().left += 1;
        self.changed.notify_all();
    }
}

fn whole(out: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nx-model: tiny\r\n\r\n{body}"
    )
}

/// One frame of a client; `None` where the connection ends.
fn read_frame(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    if reader.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    assert!(head[1] >= 0x80, "a client that does not mask: {head:?}");
    let mut length = usize::from(head[1] & 0x7f);
    assert!(length < 127, "longer than these tests send");
    if length == 126 {
        let mut long = [0; 2];
        reader.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask)?;
    assert_eq!(mask, [0; 4], "these tests mask with nothing");
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    Ok(Some((head[0], payload)))
}

/// Reads one request whole; `None` where the connection ends before one.
fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        let twice = headers.insert(name.to_lowercase(), value.to_owned());
        assert_eq!(twice, None, "{name} is given twice");
    }
    let length = headers.get("content-length");
    let chunked = headers.get("transfer-encoding").map(String::as_str) == Some("chunked");
    assert!(!(chunked && length.is_some()), "two lengths");
    let length = if line.contains(" /early ") {
        None
    } else {
        length
    };
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    while chunked && let Some(chunk) = read_chunk(reader)? {
        body.extend_from_slice(&chunk);
    }
    let line = line.trim_end().to_owned();
    Ok(Some(Seen {
        line,
        headers,
        body,
    }))
}

/// One chunk; `None` at the end. A body that is cut short is an error.
fn read_chunk(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut size = String::new();
    reader.read_line(&mut size)?;
    let size = usize::from_str_radix(size.trim_end(), 16).map_err(std::io::Error::other)?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok((size > 0).then_some(chunk))
}
