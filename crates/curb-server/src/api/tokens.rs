//! Tokens and overrides.

use curb_api::{CreatedToken, MadeOverride, NewOverride, NewToken, Overrides, TokenView, Tokens};
use curb_core::ledger::{Event, Override, Token};
use curb_core::subject::check_name;
use curb_core::time::Millis;

use super::{parameter, read, why};
use crate::engine::Decision;
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// Most tokens that are kept: each is in memory and in every snapshot.
const MAX_TOKENS: usize = 100_000;
/// Most overrides in force.
const MAX_OVERRIDES: usize = 10_000;

/// `GET /curb/v1/tokens`.
pub async fn list(call: &Call) -> Result<Reply, Failure> {
    let mut tokens: Vec<TokenView> = call
        .app
        .engine
        .look(|state, _| state.tokens().map(TokenView::from).collect())
        .await?;
    tokens.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    json(&Tokens { tokens })
}

/// `POST /curb/v1/tokens`.
pub async fn create(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let new: NewToken = read(body)?;
    check_name(&new.user).map_err(|e| Failure::bad_request(format!("curb: user: {e}")))?;
    for (key, value) in &new.labels {
        check_name(key)
            .and_then(|()| check_name(value))
            .map_err(|e| Failure::bad_request(format!("curb: labels: {e}")))?;
    }
    if new.expires_in.is_some_and(|e| e.0 == 0 || e > Millis::MAX) {
        return Err(Failure::bad_request(
            "curb: expires_in must be from 1 ms to ten years",
        ));
    }
    let mut random = [0u8; curb_api::token::RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|e| Failure::internal(&e))?;
    let made = curb_api::token::make(&random);
    let (id, hash, by) = (
        made.id.clone(),
        curb_api::token::hash(&made.text),
        call.who.user().to_owned(),
    );
    let done = call
        .app
        .engine
        .change(move |state, moment| {
            if state.tokens().count() >= MAX_TOKENS || state.tokens().any(|t| t.id == id) {
                return Decision::durable(Vec::new(), false);
            }
            let token = Token {
                id,
                hash,
                user: new.user,
                role: new.role,
                labels: new.labels,
                expires: new.expires_in.map(|span| moment.now.after(span)),
                by,
                created: moment.now,
            };
            Decision::durable(vec![Event::TokenCreated(token)], true)
        })
        .await?;
    if !done {
        return Err(Failure::conflict(
            format!("curb: there are {MAX_TOKENS} tokens already, which is the most"),
            "revoke those that are not used: curb token list, curb token revoke ID",
        ));
    }
    json(&CreatedToken {
        id: made.id,
        token: made.text,
    })
}

/// What came of a wish to revoke.
enum Revoked {
    Done,
    Unknown,
    LastAdmin,
}

/// `DELETE /curb/v1/tokens/{id}`.
pub async fn revoke(call: &Call) -> Result<Reply, Failure> {
    let (id, by) = (call.parameter.clone(), call.who.user().to_owned());
    let force = parameter::<bool>(call, "force")?.unwrap_or(false);
    let revoked = call
        .app
        .engine
        .change(move |state, moment| {
            if !state.tokens().any(|t| t.id == id) {
                return Decision::durable(vec![], Revoked::Unknown);
            }
            let tokens = state.tokens().map(TokenView::from);
            if !force && curb_api::last_admin(tokens, &id, moment.now) {
                return Decision::durable(Vec::new(), Revoked::LastAdmin);
            }
            Decision::durable(vec![Event::TokenRevoked { id, by }], Revoked::Done)
        })
        .await?;
    match revoked {
        Revoked::Done => json(&serde_json::json!({"revoked": true})),
        Revoked::Unknown => Err(Failure::not_found(
            "curb: there is no token with this id",
            "`curb token list` shows the ids",
        )),
        Revoked::LastAdmin => Err(Failure::conflict(
            "curb: this is the last token of an admin: without it nobody could make tokens or change limits any more while the server runs",
            "make another one first, or revoke it all the same with --force (force=true)",
        )),
    }
}

/// `GET /curb/v1/overrides`.
pub async fn overrides(call: &Call) -> Result<Reply, Failure> {
    let overrides = call
        .app
        .engine
        .look(|state, moment| {
            state
                .overrides()
                .filter(|o| moment.now < o.until)
                .cloned()
                .collect()
        })
        .await?;
    json(&Overrides { overrides })
}

/// `POST /curb/v1/overrides`.
pub async fn add_override(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let new: NewOverride = read(body)?;
    let reason = why(&new.why)?;
    if new.span.0 == 0 || new.span > Millis::MAX {
        return Err(Failure::bad_request(
            "curb: `for` must be from 1 ms to ten years",
        ));
    }
    if new.jobs == 0 && new.amounts.values().all(|a| *a == 0) {
        return Err(Failure::bad_request(
            "curb: an override must change something: give amounts, or jobs",
        ));
    }
    let bound = i64::try_from(curb_core::amount::MAX_AMOUNT).unwrap_or(i64::MAX);
    if new.jobs.unsigned_abs() > 1_000_000
        || new
            .amounts
            .values()
            .any(|a| a.unsigned_abs() > bound.unsigned_abs())
    {
        return Err(Failure::bad_request(
            "curb: an override of that size is a mistake: amounts go to 2^53, jobs to 1,000,000",
        ));
    }
    let by = call.who.user().to_owned();
    let added = call
        .app
        .engine
        .change(move |state, moment| {
            if let Some(name) = &new.quota
                && !state.policy().quotas.iter().any(|q| q.name == *name)
            {
                let text = format!("there is no quota {name} in the policy");
                return Decision::durable(Vec::new(), Err(text));
            }
            if state.overrides().count() >= MAX_OVERRIDES {
                let text = format!(
                    "there are {MAX_OVERRIDES} overrides already: remove those that are over"
                );
                return Decision::durable(Vec::new(), Err(text));
            }
            let added = Override {
                id: state.next_override(),
                selector: new.selector,
                quota: new.quota,
                amounts: new.amounts,
                jobs: new.jobs,
                until: moment.now.after(new.span),
                by,
                why: reason,
            };
            match state.changes_by(&added, moment) {
                Err(why) => Decision::durable(Vec::new(), Err(why)),
                Ok(changes) => {
                    let event = Event::OverrideAdded(added.clone());
                    Decision::durable(
                        vec![event],
                        Ok(MadeOverride {
                            made: added,
                            changes,
                        }),
                    )
                }
            }
        })
        .await?;
    json(&added.map_err(|m| Failure::bad_request(format!("curb: {m}")))?)
}

const LISTED: &str = "`curb override list` shows the numbers";

/// `DELETE /curb/v1/overrides/{id}`.
pub async fn remove_override(call: &Call) -> Result<Reply, Failure> {
    let id: u64 = call
        .parameter
        .parse()
        .map_err(|_| Failure::not_found("curb: overrides have numbers for ids", LISTED))?;
    let by = call.who.user().to_owned();
    let removed = call
        .app
        .engine
        .change(move |state, _| {
            let known = state.overrides().any(|o| o.id == id);
            let events = if known {
                vec![Event::OverrideRemoved { id, by }]
            } else {
                vec![]
            };
            Decision::durable(events, known)
        })
        .await?;
    if removed {
        json(&serde_json::json!({"removed": true}))
    } else {
        Err(Failure::not_found(
            "curb: there is no override with this number",
            LISTED,
        ))
    }
}
