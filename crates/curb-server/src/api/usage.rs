//! Use over time.

use curb_api::{DEFAULT_USAGE, MAX_USAGE, Usage, UsageRow};
use curb_core::time::{Millis, Timestamp};
use curb_core::usage::{By, ByError};
use curb_usage::Query;

use super::parameter;
use crate::gateway::Call;
use crate::reply::{Failure, Reply, json};

/// So long back, if nothing else is asked.
const SINCE: Millis = Millis(30 * 86_400_000);

/// `GET /curb/v1/usage`.
pub async fn usage(call: &Call) -> Result<Reply, Failure> {
    let by: By = match call.query.get("by") {
        None => By::User,
        Some(text) => text
            .parse()
            .map_err(|e: ByError| Failure::bad_request(format!("curb: {e}")))?,
    };
    let now = call.app.clock.now();
    let moment = |name| {
        let millis = parameter::<u64>(call, name)?;
        Ok::<_, Failure>(millis.map(|n| Timestamp(i64::try_from(n).unwrap_or(i64::MAX))))
    };
    let until = moment("until")?.unwrap_or(now).min(now);
    let since = moment("since")?
        .unwrap_or_else(|| Timestamp(until.0.saturating_sub(SINCE.0.cast_signed())));
    if since > until {
        return Err(Failure::bad_request(
            "curb: `since` is after `until`, or after now: give a moment before it",
        ));
    }
    let limit = parameter::<u32>(call, "limit")?
        .unwrap_or(DEFAULT_USAGE)
        .clamp(1, MAX_USAGE) as usize;
    let asked = call.query.get("user").map(str::to_owned);
    let own = call.who.user().to_owned();
    if !call.who.is_operator() && asked.as_ref().is_some_and(|user| *user != own) {
        return Err(Failure::forbidden(
            "curb: only operators see what others used",
            "leave the other user out to see your own, or ask an operator",
        ));
    }
    let user = if call.who.is_operator() {
        asked
    } else {
        Some(own)
    };
    let query = Query {
        by: by.clone(),
        since,
        until,
        user,
        team: call.query.get("team").map(str::to_owned),
        limit,
    };
    let (sums, seq) = call.app.books.sums(query).await?;
    let rows = sums.named.into_iter().map(|named| UsageRow {
        name: named.name,
        sum: named.sum.into(),
    });
    json(&Usage {
        by: by.to_string(),
        since,
        until,
        seq,
        rows: rows.collect(),
        more: sums.more,
        total: sums.total.into(),
    })
}
