//! Names of headers and media types.

/// Carries `Bearer TOKEN`.
pub const AUTHORIZATION: &str = "authorization";
/// Names a request in the server's log; only ever set by the server.
pub const REQUEST_ID: &str = "x-request-id";
/// In how many seconds to try again.
pub const RETRY_AFTER: &str = "retry-after";

/// Bodies of the API.
pub const JSON: &str = "application/json";
/// Errors, for those who ask for JSON.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// A policy file.
pub const YAML: &str = "application/yaml";
/// A page of the documents.
pub const MARKDOWN: &str = "text/markdown; charset=utf-8";
/// Everything for people.
pub const TEXT: &str = "text/plain; charset=utf-8";
