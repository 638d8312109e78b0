//! What the front adds to a request, and to each piece of a stream, beside asking the server directly in the same run.
//!
//! Server, front and client share the machine, and here also the process; each has threads of its own. Direct and through
//! the front take turns in blocks, so that whatever else the machine does falls on both alike.

#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use curb_front::{Front, FrontLimits, State};

/// That of the `curb` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCKS: usize = 40;
const REQUESTS: usize = 500;
const PIECES: usize = 500;
const GAP: Duration = Duration::from_millis(2);
const CLIENTS: usize = 8;
const FOR: Duration = Duration::from_secs(3);
const AIM_US: f64 = 300.0;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now_ns() -> u128 {
    BEGAN.elapsed().as_nanos()
}

/// Answers at once, or streams pieces that say when they were sent.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap_or(0);
            }
            if header.trim_end().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        if !line.contains("/stream") {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello, world\n")?;
            continue;
        }
        out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..PIECES {
            std::thread::sleep(GAP);
            let piece = format!("{:032}", now_ns());
            out.write_all(format!("20\r\n{piece}\r\n").as_bytes())?;
        }
        out.write_all(b"0\r\n\r\n")?;
    }
}

fn model() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _it_ends_with_its_client = serve(stream);
            });
        }
    });
    at
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn to(at: SocketAddr) -> Client {
        let stream = TcpStream::connect(at).expect("it listens");
        stream.set_nodelay(true).expect("an option");
        Client(BufReader::new(stream))
    }

    fn ask(&mut self, path: &str, body: &str) {
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0
            .get_mut()
            .write_all(request.as_bytes())
            .expect("it is taken");
        let mut line = String::new();
        while line != "\r\n" {
            assert!(
                line.is_empty() || !line.starts_with("HTTP/1.1 ") || line.contains(" 200 "),
                "{line}"
            );
            line.clear();
            self.0.read_line(&mut line).expect("an answer");
        }
    }

    /// From the request's first byte to the answer's last.
    fn exchange(&mut self, body: &str) -> f64 {
        let began = Instant::now();
        self.ask("/x", body);
        self.0.read_exact(&mut [0; 13]).expect("a body");
        micros(began.elapsed())
    }

    /// From the sending of each piece to its reading.
    fn stream(&mut self) -> Vec<f64> {
        self.ask("/stream", "");
        let mut took = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("a size");
            if line == "0\r\n" {
                self.0.read_line(&mut line).expect("an end");
                return took;
            }
            let mut piece = [0; 34];
            self.0.read_exact(&mut piece).expect("a piece");
            let now = now_ns();
            let sent = std::str::from_utf8(&piece[..32])
                .ok()
                .and_then(|text| text.parse().ok());
            took.push((now - sent.unwrap_or(now)) as f64 / 1000.0);
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted[at.min(sorted.len() - 1)]
}

fn told(what: &str, mut direct: Vec<f64>, mut through: Vec<f64>, aim: Option<f64>) {
    direct.sort_by(f64::total_cmp);
    through.sort_by(f64::total_cmp);
    let both = |part| (quantile(&direct, part), quantile(&through, part));
    let ((d50, t50), (d99, t99)) = (both(0.5), both(0.99));
    let added = t50 - d50;
    let met = match aim {
        Some(aim) if added > aim => " NOT MET",
        _ => "",
    };
    println!(
        "{what}: direct {d50:.0} us, through the front {t50:.0} us, added {added:.0} us at the median{met} (p99 {d99:.0} and {t99:.0} us), {} each",
        direct.len()
    );
}

/// `at`: the server and the front before it.
fn latency(what: &str, at: [SocketAddr; 2], body: &str, aim: Option<f64>) {
    let mut clients = at.map(Client::to);
    let mut took = [Vec::new(), Vec::new()];
    for client in &mut clients {
        for _warm in 0..REQUESTS {
            client.exchange(body);
        }
    }
    for block in 0..BLOCKS {
        let which = block % 2;
        took[which].extend((0..REQUESTS).map(|_| clients[which].exchange(body)));
    }
    let [direct, through] = took;
    told(what, direct, through, aim);
}

fn pieces(direct: SocketAddr, front: SocketAddr) {
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..4 {
        let at = [direct, front][round % 2];
        took[round % 2].extend(Client::to(at).stream());
    }
    let [direct, through] = took;
    told(
        "from the server's writing of a piece of a stream to its client's reading of it",
        direct,
        through,
        Some(AIM_US),
    );
}

fn rate(at: SocketAddr) -> f64 {
    let began = Instant::now();
    let one = move || {
        let (mut client, mut count) = (Client::to(at), 0_u32);
        while began.elapsed() < FOR {
            client.exchange("hello");
            count += 1;
        }
        count
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| std::thread::spawn(one)).collect();
    let all: u32 = clients
        .into_iter()
        .map(|client| client.join().unwrap_or(0))
        .sum();
    f64::from(all) / began.elapsed().as_secs_f64()
}

fn main() {
    let _begun = *BEGAN;
    let server = model();
    let mut limits = FrontLimits::new(SocketAddr::from(([127, 0, 0, 1], 0)), server);
    limits.per_client = Some(40);
    let front = Front::start(limits).expect("it starts");
    front.state(State::Up);
    let at = front.at();
    let (small, large) = ("x".repeat(1024), "x".repeat(1 << 20));
    latency(
        "a request with a body of 1 KiB",
        [server, at],
        &small,
        Some(AIM_US),
    );
    // Most of it is the hash by which a request is known that kills the server.
    latency("a request with a body of 1 MiB", [server, at], &large, None);
    pieces(server, at);
    let (direct, through) = (rate(server), rate(at));
    println!(
        "requests with {CLIENTS} clients: direct {direct:.0}/s, through the front {through:.0}/s"
    );
    front.stop(Duration::from_secs(1));
}
