//! The front of `curb run`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use curb_core::amount::{Amount, Unit};
use curb_core::host::limits::{Front as Model, Network};
use curb_core::time::Millis;
use curb_front::FrontLimits;

/// A proxy in front of a model server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Front")]
pub struct FrontArgs {
    /// Take HTTP requests at LISTEN, within bounds, and pass them to the command's server at TO, such as
    /// 127.0.0.1:8080=127.0.0.1:8081, or 8080=8081 on this machine alone
    #[arg(long, value_name = "LISTEN=TO", value_parser = pair)]
    pub front: Option<Pair>,
    /// Requests that the server has at once [default: 8]
    #[arg(long, value_name = "N")]
    pub front_in_flight: Option<u32>,
    /// Requests that wait beside them [default: 32]
    #[arg(long, value_name = "N")]
    pub front_queue: Option<u32>,
    /// Requests of one client, running and waiting [default: half of all]
    #[arg(long, value_name = "N")]
    pub front_per_client: Option<u32>,
    /// The largest body of a request [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub front_body: Option<Amount>,
    /// From a request's head to the last byte of its answer, waiting included [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub front_deadline: Option<Millis>,
    /// Another server that takes the requests while this one cannot
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub front_fallback: Option<SocketAddr>,
    /// Serve the front's figures for Prometheus there, at /metrics; a loopback address, or a port
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub front_metrics: Option<SocketAddr>,
    /// Believe a proxy in this network, or at this address, when X-Forwarded-For says who asks; may be given several
    /// times
    #[arg(long, value_name = "CIDR")]
    pub front_trust: Vec<Network>,
}

/// Where it listens, and where it passes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    listen: SocketAddr,
    to: SocketAddr,
}

impl FrontArgs {
    /// The bounds, if there is to be a front: those of the workload's file, and what the command line says instead.
    ///
    /// # Errors
    /// Bounds without a front.
    pub fn limits(&self, file: Option<&Model>) -> Result<Option<FrontLimits>, String> {
        let mut limits = match (self.front, file) {
            (Some(Pair { listen, to }), Some(file)) => FrontLimits {
                listen,
                to,
                ..FrontLimits::from(file)
            },
            (Some(Pair { listen, to }), None) => FrontLimits::new(listen, to),
            (None, Some(file)) => FrontLimits::from(file),
            (None, None) => return self.bound().map_or(Ok(None), |bound| Err(lonely(bound))),
        };
        let number = |given: Option<u32>, else_: usize| given.map_or(else_, |n| n as usize);
        limits.in_flight = number(self.front_in_flight, limits.in_flight);
        limits.queue = number(self.front_queue, limits.queue);
        limits.per_client = self
            .front_per_client
            .map(|n| n as usize)
            .or(limits.per_client);
        limits.body = self.front_body.map_or(limits.body, |Amount(bytes)| bytes);
        limits.fallback = self.front_fallback.or(limits.fallback);
        limits.metrics = self.front_metrics.or(limits.metrics);
        if !self.front_trust.is_empty() {
            limits.trust.clone_from(&self.front_trust);
        }
        if let Some(Millis(deadline)) = self.front_deadline {
            limits.deadline = Duration::from_millis(deadline);
        }
        Ok(Some(limits))
    }

    /// The first bound that was given.
    fn bound(&self) -> Option<&'static str> {
        let given = [
            ("--front-in-flight", self.front_in_flight.is_some()),
            ("--front-queue", self.front_queue.is_some()),
            ("--front-per-client", self.front_per_client.is_some()),
            ("--front-body", self.front_body.is_some()),
            ("--front-deadline", self.front_deadline.is_some()),
            ("--front-fallback", self.front_fallback.is_some()),
            ("--front-metrics", self.front_metrics.is_some()),
            ("--front-trust", !self.front_trust.is_empty()),
        ];
        given.iter().find(|(_, is)| *is).map(|(name, _)| *name)
    }
}

fn lonely(bound: &str) -> String {
    format!(
        "{bound} without a front: say where it is with --front LISTEN=TO, or in the workload's file"
    )
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

    #[test]
    fn the_command_line_counts_more_than_the_file_and_bounds_need_a_front() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let file = Model {
            listen: at(1),
            to: at(2),
            in_flight: 3,
            queue: 4,
            body: Model::BODY,
            per_client: 5,
            deadline: Millis(6000),
            fallback: Some(at(7)),
            metrics: Some(at(11)),
            trust: vec!["10.0.0.0/8".parse().expect("a network")],
        };
        let nothing = FrontArgs {
            front: None,
            front_in_flight: None,
            front_queue: None,
            front_per_client: None,
            front_body: None,
            front_deadline: None,
            front_fallback: None,
            front_metrics: None,
            front_trust: Vec::new(),
        };
        assert_eq!(nothing.limits(None), Ok(None));
        assert_eq!(
            nothing.limits(Some(&file)),
            Ok(Some(FrontLimits::from(&file)))
        );
        let more = FrontArgs {
            front: Some(pair("8=9").expect("two ports")),
            front_queue: Some(10),
            front_trust: vec!["::1".parse().expect("an address")],
            ..nothing
        };
        let limits = more.limits(Some(&file)).expect("a front").expect("a front");
        assert_eq!((limits.listen, limits.to), (at(8), at(9)));
        assert_eq!(
            (limits.in_flight, limits.queue, limits.per_client),
            (3, 10, Some(5))
        );
        assert_eq!(
            (limits.deadline, limits.fallback),
            (Duration::from_secs(6), Some(at(7)))
        );
        assert_eq!(
            (limits.metrics, limits.trust),
            (Some(at(11)), more.front_trust.clone())
        );
        let lonely = FrontArgs {
            front: None,
            ..more
        };
        let told = lonely.limits(None).expect_err("there is no front");
        assert!(told.starts_with("--front-queue without a front"), "{told}");
    }
}
