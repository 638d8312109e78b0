//! What a front has counted, as a page for Prometheus, on an address of its own that only this machine has.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use curb_http::listener::ServeOptions;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::counts::{BUCKETS_MS, Counts, Histogram, Outcome};
use crate::exchange::Answer;
use crate::shared::Shared;
use crate::state::State;

const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections for it alone.
const MOST_CONNECTIONS: usize = 32;

/// Serves them until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let service = tower::service_fn(move |request: Request<_>| {
        let answer = answer(&shared, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let options = ServeOptions {
        max_connections: MOST_CONNECTIONS,
        ..ServeOptions::default()
    };
    curb_http::listener::serve(listener, service, options, std::future::pending()).await;
}

fn answer<B>(shared: &Shared, request: &Request<B>) -> Response<Answer> {
    let known = request.uri().path() == "/metrics";
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, text) = match (known, reads) {
        (true, true) => {
            let accepts = request.headers().get_all(header::ACCEPT).iter();
            let open = accepts
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.contains("application/openmetrics-text"));
            let page = page(
                &shared.counts(),
                &shared.refusals(),
                &shared.state(),
                &shared.limits,
                open,
            );
            (StatusCode::OK, if open { OPEN } else { PLAIN }, page)
        }
        (true, false) => (
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET\n".to_owned(),
        ),
        (false, _) => {
            let text = "there is no such page; /metrics has the front's figures\n";
            (StatusCode::NOT_FOUND, PLAIN, text.to_owned())
        }
    };
    let mut response = Response::new(Answer::Ours(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A page that is being written. Labels are words of our own: nothing in them needs escaping.
struct Page {
    text: String,
    open: bool,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // In the older form the name of a counter has its ending here too.
        let total = if kind == "counter" && !self.open {
            "_total"
        } else {
            ""
        };
        // A `String` takes everything, here and below.
        let _never_fails = write!(
            self.text,
            "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: u64) {
        let _never_fails = match label {
            Some((key, of)) => writeln!(self.text, "{name}{{{key}=\"{of}\"}} {value}"),
            None => writeln!(self.text, "{name} {value}"),
        };
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), None, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.family(name, "gauge", help);
        self.sample(name, None, value as u64);
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for (end, count) in BUCKETS_MS.iter().zip(&of.buckets) {
            so_far += count;
            let end = format!("{}.{:03}", end / 1000, end % 1000);
            self.sample(&bucket, Some(("le", &end)), so_far);
        }
        self.sample(&bucket, Some(("le", "+Inf")), of.count());
        let (whole, part) = (of.sum_us / 1_000_000, of.sum_us % 1_000_000);
        let _never_fails = writeln!(self.text, "{name}_sum {whole}.{part:06}");
        self.sample(&format!("{name}_count"), None, of.count());
    }
}

fn page(
    counts: &Counts,
    refusals: &BTreeMap<String, u64>,
    state: &State,
    limits: &crate::FrontLimits,
    open: bool,
) -> String {
    let mut page = Page {
        text: String::with_capacity(8 << 10),
        open,
    };
    let name = "curb_front_requests";
    page.family(
        name,
        "counter",
        "Requests that are over, by how they ended.",
    );
    for outcome in Outcome::ALL {
        let label = Some(("outcome", outcome.as_str()));
        page.sample("curb_front_requests_total", label, counts.ended(outcome));
    }
    let help = "Of these, requests that the front answered by itself, by the code of the answer.";
    page.family("curb_front_refused", "counter", help);
    for (code, count) in refusals {
        page.sample("curb_front_refused_total", Some(("reason", code)), *count);
    }
    page.gauge(
        "curb_front_in_flight",
        "Requests that the server has.",
        counts.in_flight,
    );
    page.gauge(
        "curb_front_in_flight_limit",
        "Requests that it may have.",
        limits.in_flight,
    );
    page.gauge(
        "curb_front_queued",
        "Requests that wait for their turn.",
        counts.queued,
    );
    page.gauge(
        "curb_front_queue_limit",
        "Requests that may wait.",
        limits.queue,
    );
    let help = "Requests that are here: with the server, waiting, or whose body still comes.";
    page.gauge("curb_front_present", help, counts.present);
    let help = "Requests that are remembered since the server died with them in flight.";
    page.gauge("curb_front_suspects", help, counts.suspects);
    let help = "How the server is: 1 for the state that it is in.";
    page.family("curb_front_server_state", "gauge", help);
    for word in State::WORDS {
        let label = Some(("state", word));
        page.sample(
            "curb_front_server_state",
            label,
            u64::from(state.as_str() == word),
        );
    }
    let help = "Deaths of the server by itself or for a limit.";
    page.counter("curb_front_server_deaths", help, counts.deaths);
    let help = "How often the server was started again.";
    page.counter("curb_front_server_restarts", help, counts.restarts);
    let help = "Requests that were sent over another connection, the kept one having closed before a byte was sent.";
    page.counter("curb_front_retries", help, counts.retried);
    let help = "From the head of a request to its turn, of those that had one.";
    page.histogram("curb_front_wait_seconds", help, &counts.wait);
    let help = "From the head of a request to the head of its answer.";
    page.histogram("curb_front_first_byte_seconds", help, &counts.first_byte);
    let help = "From the head of a request to the last byte of its answer, of answers that were passed on whole.";
    page.histogram("curb_front_answer_seconds", help, &counts.whole);
    if open {
        page.text.push_str("# EOF\n");
    }
    page.text
}
