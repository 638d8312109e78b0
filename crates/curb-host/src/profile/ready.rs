//! When a server is ready to be driven.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest URL.
const LONGEST: usize = 2000;

/// What tells that a server is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A plain `http://` URL of it answers with 200 to 299.
    Url {
        /// `host:port`
        address: String,
        /// From `/`.
        path: String,
    },
    /// So much time has passed since its start.
    After(Duration),
    /// One of its processes listens on a TCP port.
    Listens,
}

impl Ready {
    /// From `http://127.0.0.1:8081/healthz`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn url(text: &str) -> Result<Ready, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or("only `http://` is asked")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if authority.is_empty()
            || text.len() > LONGEST
            || text.contains(odd)
            || authority.contains('@')
        {
            return Err("wanted a URL such as http://127.0.0.1:8081/healthz".to_owned());
        }
        let with_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = match with_port {
            true => authority.to_owned(),
            false => format!("{authority}:80"),
        };
        Ok(Ready::Url {
            address,
            path: format!("/{path}"),
        })
    }

    /// Whether it is so now. `pids` are the command's processes.
    pub(super) async fn is_so(&self, started: Instant, pids: &[u32]) -> bool {
        match self {
            Ready::After(span) => started.elapsed() >= *span,
            Ready::Listens => listens(pids),
            Ready::Url { address, path } => {
                let asked = tokio::time::timeout(ANSWER_WITHIN, answers(address, path));
                asked.await.is_ok_and(|answer| answer.unwrap_or(false))
            }
        }
    }

    /// For messages.
    pub(super) fn words(&self) -> String {
        match self {
            Ready::Url { address, path } => {
                format!("http://{address}{path} does not answer with 200")
            }
            Ready::After(span) => format!("{span:?} have not passed"),
            Ready::Listens => "none of its processes listens on a TCP port".to_owned(),
        }
    }
}

async fn answers(address: &str, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut line = [0_u8; 12];
    stream.read_exact(&mut line).await?;
    Ok(line.starts_with(b"HTTP/1.") && line[9] == b'2')
}

/// Whether one of the processes holds a TCP socket that listens.
fn listens(pids: &[u32]) -> bool {
    pids.iter().any(|pid| {
        let listening = listening(*pid);
        !listening.is_empty() && holds(*pid, &listening)
    })
}

/// Inodes of the sockets that listen where the process is (its network may be one of its own).
fn listening(pid: u32) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for file in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // 0A: LISTEN.
            if fields.get(3) == Some(&"0A")
                && let Some(inode) = fields.get(9)
            {
                all.insert(format!("socket:[{inode}]"));
            }
        }
    }
    all
}

fn holds(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    files.into_iter().flatten().flatten().any(|file| {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        sockets.contains(&*target.to_string_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_once_and_what_is_none_is_refused() {
        let url = |text: &str| match Ready::url(text) {
            Ok(Ready::Url { address, path }) => Ok((address, path)),
            other => Err(format!("{other:?}")),
        };
        let pair = |a: &str, p: &str| Ok((a.to_owned(), p.to_owned()));
        assert_eq!(
            url("http://127.0.0.1:8081/healthz"),
            pair("127.0.0.1:8081", "/healthz")
        );
        assert_eq!(url("http://[::1]:80"), pair("[::1]:80", "/"));
        assert_eq!(url("http://host/a/b?c=d"), pair("host:80", "/a/b?c=d"));
        for bad in [
            "https://x/",
            "8081",
            "http://",
            "http:///x",
            "http://u:p@h/",
            "http://h/ x",
            "http://h/\r\nX: y",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_that_listens_is_told_from_one_that_does_not() {
        let own = std::process::id();
        let before = listening(own);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert!(listens(&[own]));
        let client = std::net::TcpStream::connect(listener.local_addr().expect("known"));
        drop(listener);
        drop(client);
        let after: BTreeSet<String> = listening(own);
        assert!(after.difference(&before).next().is_none() || !listens(&[u32::MAX]));
        assert!(!listens(&[u32::MAX]), "there is no such process");
    }
}
