//! A client that sends what it is told to, byte by byte, and reads what comes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::model::PATIENCE;

/// One answer, whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Reply {
    /// A refusal's code; panics where it is none of the front's.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(
            self.headers.get("content-type").map(String::as_str),
            Some("application/problem+json"),
            "{self:?}"
        );
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub fn retry_after(&self) -> Option<u64> {
        let value = self.headers.get("retry-after")?;
        Some(value.parse().expect("whole seconds"))
    }
}

pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn to(at: SocketAddr) -> Client {
        Client::of(TcpStream::connect(at).expect("the front takes connections"))
    }

    /// From another address of this machine: 127.0.0.`last`.
    pub fn from(last: u8, at: SocketAddr) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let address = IpAddr::from([127, 0, 0, last]);
            socket.bind(SocketAddr::new(address, 0)).unwrap();
            let stream = socket.connect(at).await.unwrap();
            stream.into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Client::of(stream)
    }

    fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader
            .get_mut()
            .write_all(bytes.as_ref())
            .expect("it is taken");
        self
    }

    pub fn get(&mut self, path: &str) -> &mut Self {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: models\r\n\r\n"))
    }

    pub fn post(&mut self, path: &str, body: &str) -> &mut Self {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nhost: models\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends, whether anybody takes it or not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _it_may_be_closed = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// A frame of a websocket server: its first byte and what it holds; what answers a ping is passed over.
    #[track_caller]
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head).expect("a frame in time");
            let mut length = usize::from(head[1]);
            assert!(length < 127, "masked, or longer than these tests send");
            if length == 126 {
                let mut long = [0; 2];
                self.reader.read_exact(&mut long).expect("a length");
                length = usize::from(u16::from_be_bytes(long));
            }
            let mut payload = vec![0; length];
            self.reader.read_exact(&mut payload).expect("all of it");
            if head[0] != 0x8a {
                return (head[0], payload);
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self.reader.read_line(&mut line).expect("an answer in time");
        assert!(n > 0, "closed without an answer");
        line.trim_end().to_owned()
    }

    /// The status of an answer, if one comes.
    pub fn status(&mut self) -> Option<u16> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// The head of an answer.
    pub fn head(&mut self) -> Reply {
        let line = self.line();
        let status = line.split(' ').nth(1).expect("a status").parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        Reply {
            status,
            headers,
            body: String::new(),
        }
    }

    /// One chunk of a body; empty at its end, `None` where it is cut short.
    pub fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        if self.reader.read_line(&mut size).ok()? == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        let mut data = vec![0; size + 2];
        self.reader.read_exact(&mut data).ok()?;
        data.truncate(size);
        Some(String::from_utf8(data).expect("text"))
    }

    /// A whole answer.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        if reply.headers.contains_key("transfer-encoding") {
            loop {
                let chunk = self.chunk().expect("it is not cut short");
                if chunk.is_empty() {
                    return reply;
                }
                reply.body.push_str(&chunk);
            }
        }
        let length = reply.headers.get("content-length");
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.reader.read_exact(&mut body).expect("a whole body");
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Whether the other side has closed; waits for it.
    pub fn is_closed(&mut self) -> bool {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match self.reader.read(&mut [0]) {
            Ok(read) => read == 0,
            // Not in time is not closed.
            Err(error) => !matches!(error.kind(), TimedOut | WouldBlock),
        }
    }
}

/// One request on a connection of its own.
pub fn get(at: SocketAddr, path: &str) -> Reply {
    Client::to(at).get(path).reply()
}

pub fn post(at: SocketAddr, path: &str, body: &str) -> Reply {
    Client::to(at).post(path, body).reply()
}
