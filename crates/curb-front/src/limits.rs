//! The bounds of a front, with their defaults.

use std::net::SocketAddr;
use std::time::Duration;

use curb_core::host::limits::{Front as Model, Network};

use crate::suspects::Rules;

/// Most places that may be configured: each holds up to [`HELD`] bytes and a connection.
const MOST_PLACES: usize = 20_000;
/// Bytes of a body that are read before the request waits for its turn. What goes beyond is streamed once it is its turn.
pub(crate) const HELD: usize = 64 * 1024;

/// Where a front listens, where it passes requests to, and what it takes. Made by [`FrontLimits::new`], then changed field
/// by field; the file `limits.yaml` says the same under `front:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontLimits {
    /// Where clients come to. With port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Where the model server listens.
    pub to: SocketAddr,
    /// Most requests that the server has at once. Default 8.
    pub in_flight: usize,
    /// Most requests that wait beside them, those counted whose body still arrives. Default 32.
    pub queue: usize,
    /// The largest body of a request, in bytes, announced or sent. Default 8 MiB.
    pub body: u64,
    /// Most requests of one client (address; of IPv6 the network of 64 bits), running and waiting ones together. `None`,
    /// the default, is half of all places.
    pub per_client: Option<usize>,
    /// From the head of a request to the last byte of its answer, waiting included. Default 2 minutes.
    pub deadline: Duration,
    /// Where requests go while the server is not up, if anywhere. Default nowhere.
    pub fallback: Option<SocketAddr>,
    /// Where its figures are read, on a loopback address. Default nowhere.
    pub metrics: Option<SocketAddr>,
    /// Proxies that are believed when they say who asks. Default nobody.
    pub trust: Vec<Network>,
    /// How long a request waits for a server that does not listen yet. Default 10 seconds.
    pub start_patience: Duration,
    /// A server that has not listened for so long after its start is told as one that is not there. Default 10 minutes.
    pub start_within: Duration,
    /// How requests are suspected that were in flight when the server died.
    pub suspicion: Rules,
}

/// Why bounds make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFront {
    /// Nothing could pass.
    #[error("{what} of the front may not be 0: nothing could pass")]
    Zero {
        /// Which.
        what: &'static str,
    },
    /// More places than can be kept.
    #[error(
        "the front may have {MOST_PLACES} requests in flight and waiting, not {given}: each takes a connection and up to 64 KiB"
    )]
    TooMany {
        /// In flight and queue together.
        given: usize,
    },
    /// Whoever reads the figures has to prove nothing.
    #[error(
        "the front's figures at {0} could be read from other machines: choose a loopback address, such as 127.0.0.1:9180"
    )]
    Figures(SocketAddr),
    /// It would call itself.
    #[error("the front listens at {0} and cannot pass requests to itself there")]
    Itself(SocketAddr),
}

impl FrontLimits {
    /// The defaults.
    pub fn new(listen: SocketAddr, to: SocketAddr) -> Self {
        Self {
            listen,
            to,
            in_flight: Model::IN_FLIGHT as usize,
            queue: Model::QUEUE as usize,
            body: Model::BODY.0,
            per_client: None,
            deadline: Duration::from_millis(Model::DEADLINE.0),
            fallback: None,
            metrics: None,
            trust: Vec::new(),
            start_patience: Duration::from_secs(10),
            start_within: Duration::from_secs(600),
            suspicion: Rules::default(),
        }
    }

    /// Most requests of one client, the default worked out.
    pub fn share(&self) -> usize {
        let half = (self.in_flight + self.queue).div_ceil(2);
        self.per_client.unwrap_or(half)
    }

    /// Whether the bounds make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), BadFront> {
        let none = [
            ("requests in flight", self.in_flight == 0),
            ("the largest body", self.body == 0),
            ("requests of a client", self.per_client == Some(0)),
            ("the deadline", self.deadline.is_zero()),
        ];
        if let Some((what, _)) = none.into_iter().find(|(_, zero)| *zero) {
            return Err(BadFront::Zero { what });
        }
        let given = self.in_flight.saturating_add(self.queue);
        if given > MOST_PLACES {
            return Err(BadFront::TooMany { given });
        }
        if let Some(at) = self.metrics
            && !at.ip().to_canonical().is_loopback()
        {
            return Err(BadFront::Figures(at));
        }
        let calls_itself = |to: &SocketAddr| {
            to.port() == self.listen.port()
                && to.port() != 0
                && (to.ip() == self.listen.ip()
                    || (self.listen.ip().is_unspecified() && to.ip().is_loopback()))
        };
        match [Some(self.to), self.fallback]
            .into_iter()
            .flatten()
            .find(calls_itself)
        {
            Some(to) => Err(BadFront::Itself(to)),
            None => Ok(()),
        }
    }
}

impl From<&Model> for FrontLimits {
    fn from(front: &Model) -> Self {
        Self {
            in_flight: front.in_flight as usize,
            queue: front.queue as usize,
            body: front.body.0,
            per_client: Some(front.per_client as usize),
            deadline: Duration::from_millis(front.deadline.0),
            fallback: front.fallback,
            metrics: front.metrics,
            trust: front.trust.clone(),
            ..Self::new(front.listen, front.to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> FrontLimits {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        FrontLimits::new(at(8080), at(8081))
    }

    #[test]
    fn bounds_that_let_nothing_pass_or_call_the_front_itself_are_refused_by_name() {
        assert_eq!(limits().check(), Ok(()));
        type Change = fn(&mut FrontLimits);
        let wrong: [(Change, &str); 8] = [
            (|l| l.in_flight = 0, "requests in flight"),
            (|l| l.body = 0, "the largest body"),
            (|l| l.per_client = Some(0), "requests of a client"),
            (|l| l.deadline = Duration::ZERO, "the deadline"),
            (|l| l.queue = 20_000, "not 20008"),
            (
                |l| l.metrics = Some(([0, 0, 0, 0], 1).into()),
                "loopback address",
            ),
            (|l| l.to = l.listen, "to itself"),
            (|l| l.fallback = Some(l.listen), "to itself"),
        ];
        for (change, said) in wrong {
            let mut limits = limits();
            change(&mut limits);
            let told = limits.check().expect_err(said).to_string();
            assert!(told.contains(said), "{told}");
        }
        let mut everywhere = limits();
        everywhere.listen.set_ip([0, 0, 0, 0].into());
        everywhere.to.set_port(everywhere.listen.port());
        assert!(everywhere.check().is_err());
    }

    #[test]
    fn without_a_share_of_its_own_a_client_may_have_half_of_all_places() {
        assert_eq!(limits().share(), 20);
        assert_eq!(
            FrontLimits {
                in_flight: 1,
                queue: 0,
                ..limits()
            }
            .share(),
            1
        );
    }
}
