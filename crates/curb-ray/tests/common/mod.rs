//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses its own part")]

use curb_ray::{JobDetails, RayClient, RayConfig};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A configuration with short deadlines for what listens at `addr`.
pub fn quick_config(addr: SocketAddr) -> RayConfig {
    let mut config = RayConfig::new(format!("http://{addr}").parse().unwrap());
    config.connect_timeout = Duration::from_secs(2);
    config.request_timeout = Duration::from_secs(10);
    config
}

/// One request by hand; the answer's status and text.
pub fn raw(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        text.to_owned(),
    )
}

/// The record of `id` once `ready` says so.
pub async fn wait_for(
    ray: &RayClient,
    id: &str,
    ready: impl Fn(&JobDetails) -> bool,
) -> JobDetails {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let job = ray
            .get(id)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("no job {id}"));
        if ready(&job) {
            return job;
        }
        assert!(
            Instant::now() < deadline,
            "job {id} is still {:?}",
            job.status
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
