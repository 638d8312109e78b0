//! `/curb/v1/tokens`.

use std::collections::BTreeMap;

use curb_core::ledger::Token;
use curb_core::subject::Role;
use curb_core::time::{Millis, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema as s;

/// Body of `POST /curb/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose.
    pub user: String,
    /// What they may do; `user` if not said.
    #[serde(default)]
    #[schemars(with = "s::Role")]
    pub role: Role,
    /// For how long, in milliseconds; for ever if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Millis>")]
    pub expires_in: Option<Millis>,
    /// Labels that it adds to the user's jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// Its public id.
    pub id: String,
    /// The whole text: the secret. It cannot be shown again.
    pub token: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// All tokens that are not revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// The oldest first.
    pub tokens: Vec<TokenView>,
}

/// A token without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its public id.
    pub id: String,
    /// Whose.
    pub user: String,
    /// What they may do.
    #[schemars(with = "s::Role")]
    pub role: Role,
    /// Labels that it adds to the user's jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The first moment at which it is no longer valid; missing for one that is valid for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<s::Timestamp>")]
    pub expires: Option<Timestamp>,
    /// Who made it.
    pub by: String,
    /// When.
    #[schemars(with = "s::Timestamp")]
    pub created: Timestamp,
}

/// Whether this token is the last one of an admin: without it nobody is left who may make tokens.
pub fn last_admin(tokens: impl IntoIterator<Item = TokenView>, id: &str, now: Timestamp) -> bool {
    let admins: Vec<TokenView> = tokens
        .into_iter()
        .filter(|t| t.role == Role::Admin && t.expires.is_none_or(|at| now < at))
        .collect();
    matches!(&admins[..], [only] if only.id == id)
}

impl From<&Token> for TokenView {
    fn from(token: &Token) -> TokenView {
        TokenView {
            id: token.id.clone(),
            user: token.user.clone(),
            role: token.role,
            labels: token.labels.clone(),
            expires: token.expires,
            by: token.by.clone(),
            created: token.created,
        }
    }
}
