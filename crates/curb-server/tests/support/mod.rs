//! What the tests share: a client that sends exactly the bytes it is told, and a server with a stand-in behind it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use curb_core::subject::Role;
use curb_server::testing::{TestOptions, TestServer};
use curb_standin::{Handle, JobTime, Options, Standin};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (k, v) = line.split_once(':')?;
            k.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

/// Sends bytes and reads the answer to the end of the connection.
pub async fn raw(addr: SocketAddr, bytes: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(bytes).await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        Ok::<_, std::io::Error>(all)
    };
    let all = tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        dechunk(body)
    } else {
        body.to_owned()
    };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let n = usize::from_str_radix(size, 16).unwrap_or(0);
        if n == 0 {
            break;
        }
        whole.push_str(&rest[..n]);
        body = &rest[n + 2..];
    }
    whole
}

/// A request as a well-behaved client sends it.
pub async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    extra: &str,
    body: &[u8],
) -> Answer {
    let auth = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: */*\r\nConnection: close\r\n{auth}{extra}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    raw(addr, &bytes).await
}

/// A server, its stand-in, and tokens of some people.
pub struct World {
    pub ray: Handle,
    pub curb: TestServer,
    pub ana: String,
    pub li: String,
    pub ops: String,
    pub admin: String,
    /// The directory of a server that was started again.
    dir: Option<tempfile::TempDir>,
}

/// A world whose server stopped in good order: what it kept, and Ray.
pub struct Stopped {
    pub ray: Handle,
    people: [String; 4],
    data: std::path::PathBuf,
    dir: Option<tempfile::TempDir>,
}

/// Two CPUs at once for each user, at most three a job; what is above waits.
pub const POLICY: &str = "\
version: 1
default_request: {cpu: 1}
teams:
  vision: {org: research, members: [ana, li]}
quotas:
  - name: each-user
    for: {user: \"*\"}
    limits: {cpu: 2, jobs: 10, queued: 5}
    per_job: {cpu: 3, duration: 24h}
";

/// A stand-in whose jobs run until they are told to end.
pub fn standin() -> Handle {
    Standin::spawn(Options {
        job_time: JobTime::Never,
        ..Options::default()
    })
    .expect("a stand-in")
}

impl World {
    pub async fn new() -> World {
        World::with(POLICY, |_| {}).await
    }

    pub async fn with(policy: &str, change: impl FnOnce(&mut TestOptions)) -> World {
        World::before(standin(), policy, change).await
    }

    pub async fn before(ray: Handle, policy: &str, change: impl FnOnce(&mut TestOptions)) -> World {
        let mut options = TestOptions::new(ray.url()).policy(policy);
        change(&mut options);
        let curb = TestServer::start(options).await.expect("a server");
        curb.ready(Duration::from_secs(10))
            .await
            .expect("the cluster is seen");
        let token = |user: &'static str, role| curb.token(user, role);
        World {
            ana: token("ana", Role::User).await.expect("a token"),
            li: token("li", Role::User).await.expect("a token"),
            ops: token("ops", Role::Operator).await.expect("a token"),
            admin: token("root", Role::Admin).await.expect("a token"),
            ray,
            curb,
            dir: None,
        }
    }

    /// Stops the server; what it wrote stays.
    pub async fn stopped(self) -> Stopped {
        let data = self.curb.data.clone();
        let dir = self.curb.stop_keeping().await;
        Stopped {
            ray: self.ray,
            people: [self.ana, self.li, self.ops, self.admin],
            data,
            dir: dir.or(self.dir),
        }
    }

    /// A world whose monitor has looked at Ray and looks again in an hour: whatever reaches Ray from now on, somebody
    /// else has sent. With it, how many requests came until now.
    pub async fn unwatched() -> (World, u64) {
        let w = World::with(POLICY, |o| o.poll = Duration::from_secs(3600)).await;
        let (mut seen, mut since) = (w.ray.requests(), tokio::time::Instant::now());
        let deadline = since + PATIENCE;
        // The look that made the server ready goes on a little.
        while since.elapsed() < Duration::from_millis(200) {
            assert!(tokio::time::Instant::now() < deadline, "the look ends");
            tokio::time::sleep(Duration::from_millis(10)).await;
            if w.ray.requests() != seen {
                (seen, since) = (w.ray.requests(), tokio::time::Instant::now());
            }
        }
        (w, seen)
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        send(self.curb.address(), "GET", path, Some(token), "", b"").await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        send(self.curb.address(), "DELETE", path, Some(token), "", b"").await
    }

    pub async fn post(&self, token: &str, path: &str, body: &str) -> Answer {
        send(
            self.curb.address(),
            "POST",
            path,
            Some(token),
            "",
            body.as_bytes(),
        )
        .await
    }

    pub async fn submit(&self, token: &str, id: &str, cpu: &str) -> Answer {
        let body = serde_json::json!({"entrypoint": "true", "submission_id": id, "metadata": {"curb.cpu": cpu}});
        self.post(token, "/api/jobs/", &body.to_string()).await
    }

    pub async fn status(&self, token: &str, id: &str) -> String {
        let answer = self.get(token, &format!("/api/jobs/{id}")).await;
        answer.json()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the server's status is as wanted, and gives it.
    pub async fn until_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while tokio::time::Instant::now() < deadline {
            last = self.get(&self.admin, "/curb/v1/status").await.json();
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the status does not come to show {what}: {last}");
    }

    /// Waits until a job has a status.
    pub async fn until(&self, token: &str, id: &str, wanted: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut last = String::new();
        while tokio::time::Instant::now() < deadline {
            last = self.status(token, id).await;
            if last == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("job {id} is {last}, not {wanted}");
    }

    /// Waits until Curb's own view of a job is in a state.
    pub async fn until_state(&self, id: &str, wanted: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while tokio::time::Instant::now() < deadline {
            let answer = self.get(&self.admin, &format!("/curb/v1/jobs/{id}")).await;
            // It may not be there yet.
            last = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
            if last["state"] == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("job {id} is not {wanted}: {last}");
    }
}

impl Stopped {
    /// Another server on what the last one kept; the tokens are the same.
    pub async fn started(self, policy: &str, change: impl FnOnce(&mut TestOptions)) -> World {
        let mut options = TestOptions::new(self.ray.url()).policy(policy);
        options.data = Some(self.data);
        change(&mut options);
        let curb = TestServer::start(options).await.expect("a server");
        curb.ready(Duration::from_secs(10))
            .await
            .expect("the cluster is seen");
        let [ana, li, ops, admin] = self.people;
        World {
            ray: self.ray,
            curb,
            ana,
            li,
            ops,
            admin,
            dir: self.dir,
        }
    }
}
