//! Who asks: the bearer token, looked up by its hash.

use curb_api::Kind;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use curb_api::routes::Access;
use curb_core::ledger::{State, Token};
use curb_core::subject::Role;
use curb_core::time::Timestamp;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, StatusCode};

use crate::reply::Failure;

/// Ray's clients may send the token here instead.
const X_RAY_AUTHORIZATION: HeaderName = HeaderName::from_static("x-ray-authorization");

/// Somebody who has shown a valid token.
#[derive(Clone, Debug)]
pub struct Principal(pub Arc<Token>);

impl Principal {
    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Whether they see all jobs and stop any.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.0.role >= Role::Operator
    }

    /// Whether the role is enough.
    #[must_use]
    pub fn may(&self, access: Access) -> bool {
        match access {
            Access::Open => true,
            // The token of an agent lies on a node where jobs run: it is good for nothing else.
            Access::Agent => self.0.role == Role::Agent,
            Access::User => self.0.role >= Role::User,
            Access::Operator => self.0.role >= Role::Operator,
            Access::Admin => self.0.role >= Role::Admin,
        }
    }
}

/// The tokens by hash: a copy of the ledger's, so that signing in does not ask the engine.
#[derive(Debug, Default)]
pub struct Tokens(RwLock<Arc<HashMap<String, Arc<Token>>>>);

impl Tokens {
    /// Takes over the ledger's tokens.
    pub fn publish(&self, state: &State) {
        let all = state
            .tokens()
            .map(|t| (t.hash.clone(), Arc::new(t.clone())))
            .collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }

    /// Whether there is an administrator's token that is still valid.
    #[must_use]
    pub fn has_admin(&self, now: Timestamp) -> bool {
        let all = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        all.values()
            .any(|t| t.role == Role::Admin && t.expires.is_none_or(|e| now < e))
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// 401, with what to set.
    pub fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Principal, Failure> {
        let text = bearer(headers)?;
        let hash = curb_api::token::hash(text);
        let all = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let token = all
            .get(&hash)
            .ok_or_else(|| unauthorized("the token is not known here (wrong, or revoked)"))?;
        match token.expires {
            Some(end) if now >= end => Err(unauthorized(&format!("the token expired at {end}"))),
            _ => Ok(Principal(Arc::clone(token))),
        }
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut sent = headers
        .get_all(AUTHORIZATION)
        .iter()
        .chain(headers.get_all(X_RAY_AUTHORIZATION));
    let Some(value) = sent.next() else {
        return Err(unauthorized("no token was sent"));
    };
    if sent.any(|other| other != value) {
        return Err(unauthorized("two different tokens were sent"));
    }
    let text = value
        .to_str()
        .map_err(|_| unauthorized("the header is not readable"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or(("", text));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(unauthorized("the header does not say `Bearer TOKEN`"));
    }
    Ok(token.trim())
}

fn unauthorized(what: &str) -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        Kind::NotSignedIn,
        format!("curb: {what}"),
        "send `Authorization: Bearer TOKEN`. For Ray's clients set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=TOKEN (or RAY_JOB_HEADERS), for curb set CURB_TOKEN. An administrator makes one: curb token create --user NAME",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (k, v) in pairs {
            all.append(HeaderName::from_static(k), v.parse().expect("a value"));
        }
        all
    }

    #[test]
    fn a_token_may_come_in_either_header_but_not_two_different_ones() {
        assert_eq!(
            bearer(&headers(&[("authorization", "Bearer x")])).ok(),
            Some("x")
        );
        assert_eq!(
            bearer(&headers(&[("x-ray-authorization", "bearer x")])).ok(),
            Some("x")
        );
        for bad in [
            &[][..],
            &[("authorization", "x")],
            &[("authorization", "Basic x")],
            &[("authorization", "Bearer ")],
            &[
                ("authorization", "Bearer x"),
                ("x-ray-authorization", "Bearer y"),
            ],
        ] {
            let failure = bearer(&headers(bad)).expect_err("refused");
            assert_eq!(failure.status, StatusCode::UNAUTHORIZED);
            assert!(
                failure.detail.contains("RAY_AUTH_TOKEN") && failure.detail.contains("CURB_TOKEN")
            );
        }
    }
}
