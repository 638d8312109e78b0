//! Curb's own API.

mod agents;
mod jobs;
mod journal;
pub(crate) mod policy;
mod preview;
pub(crate) mod status;
mod tokens;
mod usage;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::gateway::Call;
use crate::reply::{Failure, Reply, answer, text};
use crate::routes::Endpoint;

pub use policy::apply_text;

/// Routes that need no token.
pub async fn open(
    app: &Arc<App>,
    endpoint: Endpoint,
    parameter: &str,
    _headers: &HeaderMap,
) -> Result<Reply, Failure> {
    match endpoint {
        Endpoint::Healthz => Ok(text("ok\n")),
        Endpoint::Readyz => status::readyz(app).await,
        Endpoint::OpenApi => Ok(answer(
            StatusCode::OK,
            "application/json",
            curb_api::openapi::text(),
        )),
        Endpoint::Reason => match crate::reasons::page(parameter) {
            Some(page) => Ok(answer(StatusCode::OK, curb_api::headers::MARKDOWN, page)),
            None => Err(Failure::not_found(
                "curb: there is no page of this code",
                "`curb help reason` lists the codes",
            )),
        },
        _ => Err(Failure::not_found("curb: there is nothing here", DESCRIBED)),
    }
}

const DESCRIBED: &str = "`curb openapi` describes what there is";

/// Routes of signed-in users; the role was checked.
pub async fn signed_in(call: Call, endpoint: Endpoint, body: Bytes) -> Result<Reply, Failure> {
    match endpoint {
        Endpoint::Status => status::status(&call).await,
        Endpoint::Explain => jobs::explain(&call, &body).await,
        Endpoint::Jobs => jobs::list(&call).await,
        Endpoint::Job => jobs::get(&call).await,
        Endpoint::JobStop => jobs::stop(&call, &body).await,
        Endpoint::JobRelease => jobs::release(&call, &body).await,
        Endpoint::JobExempt => jobs::exempt(&call, &body).await,
        Endpoint::Quotas => jobs::quotas(&call).await,
        Endpoint::Usage => usage::usage(&call).await,
        Endpoint::TokenList => tokens::list(&call).await,
        Endpoint::TokenCreate => tokens::create(&call, &body).await,
        Endpoint::TokenRevoke => tokens::revoke(&call).await,
        Endpoint::OverrideList => tokens::overrides(&call).await,
        Endpoint::OverrideAdd => tokens::add_override(&call, &body).await,
        Endpoint::OverrideRemove => tokens::remove_override(&call).await,
        Endpoint::PolicyGet => policy::get(&call).await,
        Endpoint::PolicyPut => policy::put(&call, &body).await,
        Endpoint::PolicyCheck => policy::check(&body),
        Endpoint::ModeGet => policy::mode(&call).await,
        Endpoint::ModePut => policy::set_mode(&call, &body).await,
        Endpoint::Preview => preview::preview(&call).await,
        Endpoint::Journal => journal::journal(&call).await,
        Endpoint::AgentReport => agents::report(&call, &body),
        // Every other endpoint is served by the gateway or needs no token.
        _ => Err(Failure::not_found("curb: there is nothing here", DESCRIBED)),
    }
}

/// Reads a JSON body.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        let message: String = e.to_string().chars().take(500).collect();
        Failure::bad_request(format!("curb: the body is not what this needs: {message}"))
    })
}

/// What a parameter of the query can be.
trait Parameter: std::str::FromStr {
    /// The right form in words.
    const FORM: &'static str;
}

impl Parameter for bool {
    const FORM: &'static str = "true or false";
}

impl Parameter for u32 {
    const FORM: &'static str = "a whole number from 0 to 4294967295";
}

impl Parameter for u64 {
    const FORM: &'static str = "a whole number from 0 to 18446744073709551615";
}

/// Reads a parameter of the query.
fn parameter<T: Parameter>(call: &Call, name: &str) -> Result<Option<T>, Failure> {
    match call.query.get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Failure::bad_request(format!(
                "curb: `{name}={shown}` is not understood\n  next: give {}, or leave it out",
                T::FORM
            ))
        }),
    }
}

/// A reason that must be given.
fn why(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.is_empty() || text.len() > 1000 || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Failure::bad_request(
            "curb: `why` must say why, in 1 to 1000 printable characters: it is kept in the journal",
        ));
    }
    Ok(text.to_owned())
}
