//! What a client is told when its request is not passed on: what happened, and what to do next.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use curb_http::body::BodyError;
use curb_http::request_id::RequestId;
use curb_http::response::{Format, Problem, size_text};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::counts::Outcome;
use crate::state::State;

/// What a problem's `type` begins with; the code follows. No address: the paths here are the model server's.
const TYPE_BASE: &str = "urn:curb:reason:";
/// When to come back where nothing better is known.
const SOON: Duration = Duration::from_secs(1);
/// Longest `Retry-After` that is told.
const LATEST: Duration = Duration::from_secs(3600);

/// Why a request is not passed on, or why no answer came.
#[derive(Debug)]
pub(crate) enum Refusal {
    QueueFull {
        most: usize,
        back_in: Duration,
    },
    ClientShare {
        most: usize,
        back_in: Duration,
    },
    Body(BodyError),
    Upgrade,
    NotUp(State),
    /// The state says that the fallback has it, and the fallback does not answer.
    NoFallback {
        state: State,
        at: SocketAddr,
    },
    Starting {
        at: SocketAddr,
        since: Duration,
    },
    Unreachable {
        at: SocketAddr,
        why: String,
        ever: bool,
    },
    WaitedTooLong {
        after: Duration,
        back_in: Duration,
    },
    ServerTooLong {
        after: Duration,
    },
    Died {
        deaths: u32,
    },
    BrokeOff {
        why: String,
    },
    Suspected {
        deaths: u32,
        left: Duration,
    },
    SuspectBusy,
}

impl Refusal {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::QueueFull { .. } => Outcome::QueueFull,
            Self::ClientShare { .. } => Outcome::ClientShare,
            Self::Body(BodyError::TooLarge { .. }) => Outcome::BodyTooLarge,
            Self::Body(_) => Outcome::BodyNotRead,
            Self::Upgrade => Outcome::Upgrade,
            Self::NotUp(_) | Self::NoFallback { .. } => Outcome::NotUp,
            Self::Starting { .. } => Outcome::Starting,
            Self::Unreachable { .. } => Outcome::Unreachable,
            Self::WaitedTooLong { .. } => Outcome::WaitedTooLong,
            Self::ServerTooLong { .. } => Outcome::ServerTooLong,
            Self::Died { .. } => Outcome::Died,
            Self::BrokeOff { .. } => Outcome::BrokeOff,
            Self::Suspected { .. } | Self::SuspectBusy => Outcome::Suspected,
        }
    }

    fn back_in(&self) -> Option<Duration> {
        let time = match self {
            Self::QueueFull { back_in, .. }
            | Self::ClientShare { back_in, .. }
            | Self::WaitedTooLong { back_in, .. } => *back_in,
            Self::NotUp(state) | Self::NoFallback { state, .. } => match state {
                State::Paused { retry_after, .. }
                | State::OverLimit { retry_after, .. }
                | State::Restarting { retry_after, .. }
                | State::Stopping { retry_after, .. } => *retry_after,
                State::Down { .. } => return None,
                State::Starting | State::Up | State::Fallback => SOON,
            },
            Self::Starting { .. } => Duration::from_secs(5),
            Self::Suspected { left, .. } => *left,
            Self::SuspectBusy => SOON,
            _ => return None,
        };
        Some(time.clamp(SOON, LATEST))
    }

    fn problem(&self) -> Problem {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::QueueFull { most, .. } => {
                Problem::new(unavailable, "front-queue-full", "Too many requests at once")
                    .line(format!("{most} requests are in flight or waiting, and no more are taken"))
                    .next("come back after the time in Retry-After")
            }
            Self::ClientShare { most, .. } => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "front-client-share",
                "Too many requests of one client",
            )
            .line(format!("your address has {most} requests in flight or waiting, which is all that one client may have"))
            .next("wait for an answer before asking on"),
            Self::Body(error @ BodyError::TooLarge { .. }) => {
                Problem::new(error.status(), "body-too-large", "The body is too large")
                    .line(error.to_string())
                    .next("send less: a shorter prompt, smaller images")
            }
            Self::Body(error) => error.problem(),
            Self::Upgrade => Problem::new(
                StatusCode::BAD_GATEWAY,
                "front-upgrade",
                "The server's answer opens no websocket",
            )
            .line("the server changed the protocol, and not to the websocket that was asked for")
            .next("check the request's Sec-WebSocket-Key; else have the operator look at the server"),
            Self::NotUp(state) => of_state(state),
            Self::NoFallback { state, at } => {
                let mut problem = of_state(state);
                let line = format!("the fallback at {at} does not answer either");
                problem.detail.insert(1, line);
                problem
            }
            Self::Starting { at, since } => {
                Problem::new(unavailable, "server-starting", "The model server is starting")
                    .line(format!("nothing listens at {at} yet: it was started {} ago", seconds(*since)))
                    .next("come back after the time in Retry-After")
            }
            Self::Unreachable { at, why, ever } => unreachable(*at, why, *ever),
            Self::WaitedTooLong { after, .. } => {
                Problem::new(unavailable, "front-deadline", "Its time was over")
                    .line(format!("it waited {} for its turn and was never passed to the server", seconds(*after)))
                    .next("come back after the time in Retry-After")
            }
            Self::ServerTooLong { after } => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "front-deadline", "Its time was over")
                    .line(format!("the server had not answered after {}, and was left", seconds(*after)))
                    .next("ask for less at once, or have the operator raise the front's deadline")
            }
            Self::Died { deaths } => {
                Problem::new(StatusCode::BAD_GATEWAY, "server-died", "The model server died")
                    .line("the model server ended while it had this request")
                    .next(format!("send it again; after {deaths} deaths with it in flight it is refused for a time"))
            }
            Self::BrokeOff { why } => {
                Problem::new(StatusCode::BAD_GATEWAY, "server-broke-off", "No answer came")
                    .line(format!("the server closed the connection before it had answered ({why}); what it did is not known"))
                    .next("send it again if doing it twice does no harm")
            }
            Self::Suspected { deaths, left } => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "killed-the-server",
                "This request killed the server",
            )
            .line(format!("the server died {deaths} times while it had this very request; it is refused for another {}", seconds(*left)))
            .next("change it (a shorter prompt, a smaller batch or image), or have the operator give the server more memory"),
            Self::SuspectBusy => Problem::new(
                unavailable,
                "killed-the-server",
                "This request is tried alone",
            )
            .line("the server died while it had this very request; it is tried alone, and another such is being tried")
            .next("come back after the time in Retry-After"),
        }
    }

    /// Its code: one of a handful of words.
    pub(crate) fn code(&self) -> String {
        self.problem().code.into_owned()
    }

    /// The answer: JSON, but for those who name plain text and not JSON.
    pub(crate) fn respond(&self, request: &HeaderMap, id: Option<RequestId>) -> Response<Bytes> {
        let mut problem = self.problem().for_request(id);
        let back_in = self.back_in().map(whole_seconds);
        if let Some(seconds) = back_in {
            problem = problem.with("retry_after", seconds);
        }
        let mut response = if wants_text(request) {
            problem.respond(Format::Text)
        } else {
            as_json(&problem)
        };
        if let Some(seconds) = back_in {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Rounded up: who comes back at that time does not come too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}

fn of_state(state: &State) -> Problem {
    let again = "come back after the time in Retry-After";
    let (code, title, what, next) = match state {
        State::Paused { why, .. } => (
            "server-paused",
            "The model server is paused",
            format!("the model server is paused: {why}"),
            again,
        ),
        State::OverLimit { why, .. } => (
            "server-over-limit",
            "The model server is at its limit",
            format!("the model server is at its limit: {why}"),
            again,
        ),
        State::Restarting { why, .. } => (
            "server-restarting",
            "The model server is restarting",
            format!("the model server is being started again: {why}"),
            again,
        ),
        State::Stopping { why, .. } => (
            "server-stopping",
            "The model server is being stopped",
            format!("the model server is being stopped: {why}"),
            again,
        ),
        State::Down { why } => (
            "server-down",
            "The model server is down",
            format!("the model server is down, and nobody starts it again: {why}"),
            "ask the operator",
        ),
        State::Starting | State::Up | State::Fallback => (
            "server-restarting",
            "The model server is changing",
            "the model server's state changed meanwhile".to_owned(),
            again,
        ),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title)
        .line(what)
        .next(next)
        .with("state", state.as_str())
}

fn unreachable(at: SocketAddr, why: &str, ever: bool) -> Problem {
    let (what, next) = if ever {
        (
            format!("the command runs and does not take connections at {at} any more ({why})"),
            "have the operator look at the server's own log",
        )
    } else {
        (
            format!("the command runs and has never taken a connection at {at} ({why})"),
            "have the operator check that the server listens at the address that --front names",
        )
    };
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "server-unreachable",
        "The model server does not listen",
    )
    .line(what)
    .next(next)
}

fn wants_text(request: &HeaderMap) -> bool {
    let named = |what: &str| {
        let values = request.get_all(header::ACCEPT).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(what))
    };
    named("text/plain") && Format::preferred(request) == Format::Text
}

fn as_json(problem: &Problem) -> Response<Bytes> {
    let mut response = problem.respond(Format::Json);
    let mut members = problem.to_json();
    members["type"] = format!("{TYPE_BASE}{}", problem.code).into();
    *response.body_mut() = members.to_string().into();
    response
}

/// For the log: what is bounded how.
pub(crate) fn bounds_text(limits: &crate::FrontLimits) -> String {
    format!(
        "{} in flight, {} waiting, {} of one client, bodies of {}, {:?}",
        limits.in_flight,
        limits.queue,
        limits.share(),
        size_text(limits.body),
        limits.deadline
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Refusal> {
        let at = SocketAddr::from(([127, 0, 0, 1], 8081));
        let time = Duration::from_millis(12_345);
        let why = || "its memory is at 95% of 4 GiB".to_owned();
        let paused = || State::Paused {
            why: why(),
            retry_after: time,
        };
        vec![
            Refusal::QueueFull {
                most: 40,
                back_in: time,
            },
            Refusal::ClientShare {
                most: 20,
                back_in: Duration::ZERO,
            },
            Refusal::Body(BodyError::TooLarge { limit: 8 << 20 }),
            Refusal::Body(BodyError::Idle {
                after: Duration::from_secs(20),
            }),
            Refusal::Upgrade,
            Refusal::NotUp(paused()),
            Refusal::NotUp(State::OverLimit {
                why: why(),
                retry_after: time,
            }),
            Refusal::NotUp(State::Stopping {
                why: why(),
                retry_after: time,
            }),
            Refusal::NotUp(State::Restarting {
                why: "the kernel killed it for its memory".to_owned(),
                retry_after: Duration::from_secs(90_000),
            }),
            Refusal::NotUp(State::Down {
                why: "it died 5 times in 10 minutes".to_owned(),
            }),
            Refusal::NoFallback {
                state: paused(),
                at,
            },
            Refusal::Starting { at, since: time },
            Refusal::Unreachable {
                at,
                why: "Connection refused (os error 111)".to_owned(),
                ever: false,
            },
            Refusal::Unreachable {
                at,
                why: "Connection refused (os error 111)".to_owned(),
                ever: true,
            },
            Refusal::WaitedTooLong {
                after: time,
                back_in: time,
            },
            Refusal::ServerTooLong {
                after: Duration::from_millis(1500),
            },
            Refusal::Died { deaths: 2 },
            Refusal::BrokeOff {
                why: "connection closed before message completed".to_owned(),
            },
            Refusal::Suspected {
                deaths: 2,
                left: Duration::from_secs(598),
            },
            Refusal::SuspectBusy,
        ]
    }

    #[test]
    fn each_refusal_says_what_happened_and_what_to_do_and_has_a_page() {
        let mut told = String::new();
        for refusal in all() {
            let response = refusal.respond(&HeaderMap::new(), None);
            let back_in = response.headers().get(header::RETRY_AFTER);
            let back_in = back_in.map_or("-", |value| value.to_str().expect("digits"));
            let json: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
            let (code, detail) = (&json["code"], &json["detail"]);
            let (code, detail) = (
                code.as_str().expect("a code"),
                detail.as_str().expect("text"),
            );
            let status = response.status().as_u16();
            told.push_str(&format!(
                "{status} {code}, Retry-After {back_in}\n{detail}\n\n"
            ));
            assert!(detail.contains("\n  next: "), "{detail}");
            let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons");
            let page = std::fs::read_to_string(format!("{docs}/{code}.md"));
            assert!(
                page.is_ok_and(|page| page.starts_with(&format!("# {code}\n"))),
                "{code}"
            );
        }
        insta::assert_snapshot!(told);
    }
}
