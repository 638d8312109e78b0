//! What an override would change, so that one that changes nothing is not taken for one that does.

use super::event::Override;
use super::rules::{Dims, join};
use super::state::{Bucket, State, is_for};
use crate::amount::Amount;
use crate::decide::{Moment, limits_of};
use crate::policy::{Match, Selector};

/// At most so many changes are told.
const TOLD: usize = 20;
/// Where a name is looked for.
const POLICY: &str = " in the policy";

impl State {
    /// The limits that an override would change at this moment, each in words with the number before and after, at most
    /// twenty of them.
    ///
    /// # Errors
    /// It names what the policy and the tokens do not know, or no limit would be another one. The text says which.
    pub fn changes_by(&self, o: &Override, moment: &Moment) -> Result<Vec<String>, String> {
        self.knows(&o.selector)?;
        let mut told = Vec::new();
        for bucket in self
            .buckets
            .iter()
            .filter(|b| is_for(o, &self.rules[b.quota].name, &b.dims))
        {
            let place = format!("{} ({})", self.rules[bucket.quota].name, bucket.name());
            told.extend(self.changes_of(bucket, &place, o, moment));
        }
        // Buckets are made when somebody first submits; what is said holds for one that is yet to be made, too.
        if told.is_empty() {
            let rules = self.rules.iter().enumerate();
            for (quota, rule) in rules.filter(|(_, r)| could_be_for(o, &r.name, &r.selector)) {
                let bucket = self.new_bucket(quota, rule, dims_to_be(o, &rule.selector));
                let place = format!("{} (once it is used)", rule.name);
                told.extend(self.changes_of(&bucket, &place, o, moment));
            }
        }
        if told.is_empty() {
            return Err(self.nothing_changes(o));
        }
        told.sort();
        let more = told.len().saturating_sub(TOLD);
        told.truncate(TOLD);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Ok(told)
    }

    fn changes_of(
        &self,
        bucket: &Bucket,
        place: &str,
        o: &Override,
        moment: &Moment,
    ) -> Vec<String> {
        let limits = limits_of(self, bucket, moment.now);
        let mut told = Vec::new();
        for (r, by) in &o.amounts {
            let Some(ix) = self.names.find(r) else {
                continue;
            };
            let (Some(before), Some(after)) = (limits.resource(ix), limits.resource_with(ix, *by))
            else {
                continue;
            };
            let (from, to) = (r.show(Amount(before)), r.show(Amount(after)));
            if after != before {
                told.push(format!("{place}: {r} {from} -> {to}"));
            } else if *by > 0 {
                told.push(format!("{place}: {r} stays {from}, others take away more"));
            }
        }
        if let (Some(before), Some(after)) = (limits.jobs(), limits.jobs_with(o.jobs)) {
            if after != before {
                told.push(format!("{place}: jobs {before} -> {after}"));
            } else if o.jobs > 0 {
                told.push(format!(
                    "{place}: jobs stays {before}, others take away more"
                ));
            }
        }
        told
    }

    /// Whether the policy, a token or a job has heard of all that a selector names.
    fn knows(&self, s: &Selector) -> Result<(), String> {
        let policy = self.policy();
        let unknown =
            |what: &str, place: &str, m: &Option<Match>, known: &dyn Fn(&str) -> bool| match m {
                Some(Match::OneOf(set)) => match set.iter().find(|name| !known(name)) {
                    Some(name) => Err(format!("there is no {what} {name}{place}")),
                    None => Ok(()),
                },
                _ => Ok(()),
            };
        unknown("user", "", &s.user, &|user| {
            policy.users.contains_key(user)
                || policy.teams_of(user).next().is_some()
                || self.tokens().any(|t| t.user == user)
                || self.seat_index.keys().any(|subject| subject.user == user)
        })?;
        unknown("team", POLICY, &s.team, &|t| policy.teams.contains_key(t))?;
        unknown("org unit", POLICY, &s.org, &|org| {
            let of_teams = policy.teams.values().filter_map(|t| t.org.as_deref());
            policy.orgs.contains_key(org)
                || of_teams
                    .into_iter()
                    .any(|o| policy.org_path(o).iter().any(|o| o == org))
        })?;
        unknown("job type", POLICY, &s.job_type, &|t| {
            policy.job_types.contains_key(t)
        })
    }

    fn nothing_changes(&self, o: &Override) -> String {
        let mut what: Vec<String> = o.amounts.keys().map(ToString::to_string).collect();
        if o.jobs != 0 {
            what.push("jobs".to_owned());
        }
        let what = what.join(", ");
        match &o.quota {
            Some(quota) => format!(
                "nothing would change: quota {quota} has no limit on {what} in a bucket of theirs"
            ),
            None => format!(
                "nothing would change: no quota limits {what} in a bucket of theirs (a quota's buckets are those of its `for`: a quota for each user has none of a team)"
            ),
        }
    }
}

/// What is known of a bucket that is yet to be made, by whom the override is for: other overrides of theirs count in it.
fn dims_to_be(o: &Override, of: &Selector) -> Dims {
    let s = &o.selector;
    let mut dims = Dims::new();
    let mut add = |dim: &str, wanted: Option<&Match>, there: Option<&Match>| match (wanted, there) {
        (_, Some(Match::OneOf(set))) => dims.push((dim.into(), join(set))),
        (Some(Match::OneOf(set)), Some(Match::Each)) if set.len() == 1 => {
            dims.push((dim.into(), join(set)));
        }
        _ => {}
    };
    add("user", s.user.as_ref(), of.user.as_ref());
    add("team", s.team.as_ref(), of.team.as_ref());
    add("org", s.org.as_ref(), of.org.as_ref());
    add("job_type", s.job_type.as_ref(), of.job_type.as_ref());
    add("cluster", s.cluster.as_ref(), of.cluster.as_ref());
    for (key, there) in &of.labels {
        add(&format!("label {key}"), s.labels.get(key), Some(there));
    }
    dims
}

/// Whether a quota may have a bucket that an override is for.
fn could_be_for(o: &Override, quota: &str, of: &Selector) -> bool {
    if o.quota.as_deref().is_some_and(|q| q != quota) {
        return false;
    }
    let has = |wanted: &Option<Match>, there: &Option<Match>| match (wanted, there) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(Match::OneOf(a)), Some(Match::OneOf(b))) => a.len() == 1 && b == a,
        (Some(_), Some(_)) => true,
    };
    let s = &o.selector;
    has(&s.user, &of.user)
        && has(&s.team, &of.team)
        && has(&s.org, &of.org)
        && has(&s.job_type, &of.job_type)
        && has(&s.cluster, &of.cluster)
        && s.labels
            .iter()
            .all(|(k, m)| has(&Some(m.clone()), &of.labels.get(k).cloned()))
}
