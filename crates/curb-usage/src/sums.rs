//! Sums over a span of time.

use std::collections::{BTreeMap, HashMap};

use curb_core::resource::Resources;
use curb_core::subject::Subject;
use curb_core::time::Timestamp;
use curb_core::usage::{By, ResourceTime, Sum};
use rusqlite::params;

use crate::{Books, Error};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// By what.
    pub by: By,
    /// From when.
    pub since: Timestamp,
    /// Until when. Grants that are still open count until then.
    pub until: Timestamp,
    /// Only this user's.
    pub user: Option<String>,
    /// Only this team's.
    pub team: Option<String>,
    /// At most so many names; the rest is in the total only.
    pub limit: usize,
}

/// A name and what was used under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name; `None` for what has none.
    pub name: Option<String>,
    /// What was used.
    pub sum: Sum,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By name, the largest first: by GPUs, then by CPUs, then by jobs.
    pub named: Vec<Named>,
    /// Whether there are more names than were asked for.
    pub more: bool,
    /// All together.
    pub total: Sum,
}

/// Who, on which cluster.
struct Who {
    subject: Subject,
    cluster: String,
}

impl Books {
    /// Sums up what the table has; catch up first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn sums(&self, query: &Query) -> Result<Sums, Error> {
        let (who, requests) = (self.who(query)?, self.requests()?);
        let mut sums: BTreeMap<Option<String>, Sum> = BTreeMap::new();
        let mut total = Sum::default();
        self.granted(query, &who, &requests, &mut sums, &mut total)?;
        self.held(query, &who, &mut sums, &mut total)?;
        let mut named: Vec<Named> = sums
            .into_iter()
            .map(|(name, sum)| Named { name, sum })
            .collect();
        named.sort_by(|a, b| size(&b.sum).cmp(&size(&a.sum)).then(a.name.cmp(&b.name)));
        let more = named.len() > query.limit;
        named.truncate(query.limit);
        Ok(Sums { named, more, total })
    }

    /// Those whose grants count.
    fn who(&self, query: &Query) -> Result<HashMap<i64, Who>, Error> {
        let mut all = HashMap::new();
        let conn = &self.table.conn;
        let mut statement = conn.prepare_cached("SELECT id, cluster, body FROM subjects")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let body: String = row.get(2)?;
            let subject: Subject = serde_json::from_str(&body).unwrap_or_default();
            let is = |wanted: &Option<String>, name: Option<&String>| {
                wanted.is_none() || wanted.as_ref() == name
            };
            if is(&query.user, Some(&subject.user)) && is(&query.team, subject.team.as_ref()) {
                let cluster = row.get(1)?;
                all.insert(row.get(0)?, Who { subject, cluster });
            }
        }
        Ok(all)
    }

    fn requests(&self) -> Result<HashMap<i64, Resources>, Error> {
        let conn = &self.table.conn;
        let mut statement = conn.prepare_cached("SELECT id, body FROM requests")?;
        let rows = statement.query_map([], |row| {
            let body: String = row.get(1)?;
            Ok((row.get(0)?, serde_json::from_str(&body).unwrap_or_default()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn granted(
        &self,
        query: &Query,
        who: &HashMap<i64, Who>,
        requests: &HashMap<i64, Resources>,
        sums: &mut BTreeMap<Option<String>, Sum>,
        total: &mut Sum,
    ) -> Result<(), Error> {
        // Milliseconds of all grants of a decade stay far below 2^63. What was watched of a grant that lies in the span in part
        // counts in proportion.
        let job = if query.by == By::Job { "job" } else { "NULL" };
        let sql = format!(
            "SELECT subject, request, {job} AS name,
                    COUNT(DISTINCT job),
                    SUM(part),
                    SUM(CASE WHEN whole > 0 THEN CAST(watched * (1.0 * part / whole) AS INTEGER) ELSE 0 END)
             FROM (SELECT job, subject, request, watched,
                          MIN(COALESCE(ended, ?2), ?2) - MAX(began, ?1) AS part,
                          COALESCE(ended, ?2) - began AS whole
                   FROM grants WHERE began < ?2 AND (ended IS NULL OR ended > ?1))
             GROUP BY subject, request, name"
        );
        let mut statement = self.table.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params![query.since.0, query.until.0])?;
        while let Some(row) = rows.next()? {
            let (Some(who), Some(request)) = (who.get(&row.get(0)?), requests.get(&row.get(1)?))
            else {
                continue;
            };
            let (jobs, part, watched): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let (part, watched) = (part.max(0).unsigned_abs(), watched.max(0).unsigned_abs());
            let add = |sum: &mut Sum| {
                sum.jobs += jobs.unsigned_abs();
                sum.add(request, part, watched.min(part));
            };
            add(total);
            for name in names(query, who, row.get(2)?) {
                add(sums.entry(name).or_default());
            }
        }
        Ok(())
    }

    fn held(
        &self,
        query: &Query,
        who: &HashMap<i64, Who>,
        sums: &mut BTreeMap<Option<String>, Sum>,
        total: &mut Sum,
    ) -> Result<(), Error> {
        let mut statement = self.table.conn.prepare_cached(
            "SELECT subject, job, began, COALESCE(ended, ?2), held FROM grants
             WHERE held IS NOT NULL AND began < ?2 AND (ended IS NULL OR ended > ?1)",
        )?;
        let mut rows = statement.query(params![query.since.0, query.until.0])?;
        while let Some(row) = rows.next()? {
            let Some(who) = who.get(&row.get(0)?) else {
                continue;
            };
            let (began, ended, held): (i64, i64, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let held: ResourceTime = serde_json::from_str(&held).unwrap_or_default();
            let whole = Timestamp(ended).since(Timestamp(began)).0;
            let from = Timestamp(began.max(query.since.0));
            let part = Timestamp(ended.min(query.until.0)).since(from).0;
            total.add_held(&held, part, whole);
            for name in names(query, who, Some(row.get(1)?)) {
                sums.entry(name).or_default().add_held(&held, part, whole);
            }
        }
        Ok(())
    }
}

fn names(query: &Query, who: &Who, job: Option<String>) -> Vec<Option<String>> {
    if query.by == By::Job {
        return vec![job];
    }
    let names = query.by.names(&who.subject, &who.cluster).into_iter();
    names.map(|name| name.map(str::to_owned)).collect()
}

fn size(sum: &Sum) -> (u128, u128, u64) {
    use curb_core::resource::Resource::{Cpu, Gpu};
    let of = |resource| sum.granted.get(&resource).copied().unwrap_or(0);
    (of(Gpu), of(Cpu), sum.jobs)
}
