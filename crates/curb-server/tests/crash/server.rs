//! The server as a process that is killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::send;

/// A killed process is waited for, also when the test fails.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts it; it is up later.
    pub(crate) fn start(dir: &Path, addr: SocketAddr) -> Server {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .expect("a log");
        let child = Command::new(binary())
            .args(["--config", dir.join("curb.yaml").to_str().expect("a path")])
            .args(["--listen", &addr.to_string()])
            .env_clear()
            .env("CURB_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        Server(child)
    }

    pub(crate) async fn wait_until_up(&mut self, addr: SocketAddr, dir: &Path) {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if tokio::net::TcpStream::connect(addr).await.is_ok()
                && send(addr, "GET", "/healthz", None, "", b"").await.status == 200
            {
                return;
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                let log = tail_of(dir);
                panic!("the server ended by itself ({status}): {log}");
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("the server is not up: {}", tail_of(dir));
    }

    /// Lets it end in good order, which leaves a snapshot.
    pub(crate) async fn end(mut self, dir: &Path) {
        let pid = self.0.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill").success());
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.0.try_wait() {
                // It may not have come so far that it listens to signals.
                assert!(status.success() || status.code().is_none(), "{status}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not end: {}", tail_of(dir));
    }
}

fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("this test's path");
    let path = exe
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE")
        .join("examples")
        .join("curb-serve");
    assert!(
        path.exists(),
        "{} is not built: run the tests with their examples",
        path.display()
    );
    path
}

/// The end of the server's log.
pub(crate) fn tail_of(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}
