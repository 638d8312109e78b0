//! `curb usage`

use std::path::PathBuf;

use clap::Args;
use curb_core::time::{Millis, Timestamp};
use curb_core::usage::By;

use super::ask::name;
use super::{Json, Remote};

/// `curb usage`
#[derive(Debug, Args)]
#[command(
    after_help = "What was granted is exact, from the journal. What was held in Ray's scheduler is known only where that is watched \
    (`curb serve --gcs`): IDLE is the part of what was granted meanwhile that was not held.\n\
    Examples:\n  curb usage --by team --since 30d\n  curb usage --by job --user ana --since 2026-11-01 --until 2026-12-01 --csv"
)]
pub struct UsageArgs {
    /// By what: user, team, org, job_type, cluster, job or label:KEY
    #[arg(long, value_name = "WHAT", default_value = "user", value_parser = by)]
    pub by: By,
    /// From when: so long ago (30d, 12h), a day (2026-11-01) or a moment (2026-11-01T08:00:00Z)
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = when)]
    pub since: When,
    /// Until when, in the same forms; now if not said
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<When>,
    /// Only this user's (yourself, if you are no operator)
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,
    /// Only this team's
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub team: Option<String>,
    /// At most so many names; the total has all
    #[arg(long, value_name = "N", default_value_t = curb_api::DEFAULT_USAGE, value_parser = clap::value_parser!(u32).range(1..=i64::from(curb_api::MAX_USAGE)))]
    pub limit: u32,
    /// Comma-separated values, a line for each name and resource, in hours
    #[arg(long, conflicts_with_all = ["json", "parquet"])]
    pub csv: bool,
    /// The same as a file of Apache Parquet; a file that is there is never overwritten
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub parquet: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub json: Json,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: Remote,
}

/// A moment, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long before now.
    Ago(Millis),
    /// The first moment of a day, or of what else was said.
    At(Timestamp),
}

impl When {
    /// The moment, seen from now.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            When::Ago(span) => Timestamp(now.0.saturating_sub_unsigned(span.0)),
            When::At(at) => at,
        }
    }
}

fn by(text: &str) -> Result<By, String> {
    text.parse()
        .map_err(|e: curb_core::usage::ByError| e.to_string())
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(span) = Millis::parse(text) {
        return Ok(When::Ago(span));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(When::At(Timestamp(at.as_millisecond())));
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    let here = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()).ok());
    let at = here.map(|at| When::At(Timestamp(at.timestamp().as_millisecond())));
    at.ok_or_else(|| {
        "write how long ago (`30d`, `12h`), a day (`2026-11-01`) or a moment (`2026-11-01T08:00:00Z`)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_a_day_or_a_moment() {
        let now = Timestamp(1_000_000);
        let at = |text: &str| when(text).map(|w| w.from(now).0);
        assert_eq!(at("10s"), Ok(990_000));
        assert_eq!(at("1970-01-01T00:00:05Z"), Ok(5_000));
        assert!(
            at("2026-11-01").is_ok_and(|ms| (1_793_400_000_000..1_793_600_000_000).contains(&ms))
        );
        for bad in ["", "yesterday", "30", "2026-13-01", "-5d"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
