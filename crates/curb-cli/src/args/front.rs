//! The front of `curb run`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use curb_core::amount::{Amount, Unit};
use curb_core::time::Millis;
use curb_front::FrontLimits;

/// A proxy in front of a model server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Front")]
pub struct FrontArgs {
    /// Take HTTP requests at LISTEN, within bounds, and pass them to the command's server at TO, such as
    /// 127.0.0.1:8080=127.0.0.1:8081, or 8080=8081 on this machine alone
    #[arg(long, value_name = "LISTEN=TO", value_parser = pair)]
    pub front: Option<Pair>,
    /// Requests that the server has at once [default: 8]
    #[arg(long, value_name = "N", requires = "front")]
    pub front_in_flight: Option<u32>,
    /// Requests that wait beside them [default: 32]
    #[arg(long, value_name = "N", requires = "front")]
    pub front_queue: Option<u32>,
    /// Requests of one client, running and waiting [default: half of all]
    #[arg(long, value_name = "N", requires = "front")]
    pub front_per_client: Option<u32>,
    /// The largest body of a request [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "front")]
    pub front_body: Option<Amount>,
    /// From a request's head to the last byte of its answer, waiting included [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = time, requires = "front")]
    pub front_deadline: Option<Millis>,
    /// Another server that takes the requests while this one cannot
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "front")]
    pub front_fallback: Option<SocketAddr>,
}

/// Where it listens, and where it passes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    listen: SocketAddr,
    to: SocketAddr,
}

impl FrontArgs {
    /// The bounds, if there is to be a front.
    #[must_use]
    pub fn limits(&self) -> Option<FrontLimits> {
        let Pair { listen, to } = self.front?;
        let mut limits = FrontLimits::new(listen, to);
        limits.in_flight = self
            .front_in_flight
            .map_or(limits.in_flight, |n| n as usize);
        limits.queue = self.front_queue.map_or(limits.queue, |n| n as usize);
        limits.per_client = self.front_per_client.map(|n| n as usize);
        limits.body = self.front_body.map_or(limits.body, |Amount(bytes)| bytes);
        limits.fallback = self.front_fallback;
        if let Some(Millis(deadline)) = self.front_deadline {
            limits.deadline = Duration::from_millis(deadline);
        }
        Some(limits)
    }
}

fn pair(text: &str) -> Result<Pair, String> {
    let (listen, to) = text
        .split_once('=')
        .ok_or("write where it listens and where the server does: 127.0.0.1:8080=127.0.0.1:8081")?;
    Ok(Pair {
        listen: address(listen)?,
        to: address(to)?,
    })
}

/// An address with a port, or a port alone on this machine. Names are not looked up: they may mean another machine later.
fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = local.trim_start_matches(':').parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse()
        .map_err(|_| format!("`{text}` is not an address with a port, such as 127.0.0.1:8081"))
}

fn size(text: &str) -> Result<Amount, String> {
    Amount::parse_declared(Unit::Bytes, text).map_err(|e| e.to_string())
}

fn time(text: &str) -> Result<Millis, String> {
    Millis::parse(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them_and_names_are_refused() {
        for (text, listen, to) in [
            (
                "127.0.0.1:8080=127.0.0.1:8081",
                "127.0.0.1:8080",
                "127.0.0.1:8081",
            ),
            ("8080=8081", "127.0.0.1:8080", "127.0.0.1:8081"),
            (":8080=localhost:8081", "127.0.0.1:8080", "127.0.0.1:8081"),
            ("0.0.0.0:80=[::1]:8081", "0.0.0.0:80", "[::1]:8081"),
        ] {
            let [listen, to] = [listen, to].map(|at| at.parse().expect("an address"));
            assert_eq!(pair(text), Ok(Pair { listen, to }), "{text}");
        }
        for text in [
            "8080",
            "8080=",
            "=8081",
            "models:80=8081",
            "8080=99999",
            "127.0.0.1=8081",
        ] {
            assert!(pair(text).is_err(), "{text}");
        }
    }
}
