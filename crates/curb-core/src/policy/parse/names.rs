//! Names and what they refer to: what the file knows, selectors, maps by name.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use crate::policy::model::{Match, Selector};
use crate::policy::schema;

use crate::yaml::read::too_many;
use crate::yaml::{Place, Reader, Value, quoted};

/// What the file knows, for the references in it.
pub struct Known<'p> {
    pub teams: BTreeSet<&'p str>,
    pub orgs: BTreeSet<&'p str>,
    pub job_types: BTreeSet<&'p str>,
    pub timezone: String,
    pub zone: TimeZone,
}

/// The names that the file gives, before anything of them is read: a mistake in a team is not told again at each of
/// its users.
pub fn known<'p>(root: &'p Place<'p>, timezone: String, zone: TimeZone) -> Known<'p> {
    let keys = |name: &str| -> BTreeSet<&'p str> {
        match root.field(name).map(|at| &at.node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|e| e.key.as_str()).collect(),
            _ => BTreeSet::new(),
        }
    };
    let mut orgs = keys("orgs");
    for (section, field) in [("orgs", "parent"), ("teams", "org")] {
        if let Some(Value::Map(entries)) = root.field(section).map(|at| &at.node.value) {
            for entry in entries {
                if let Value::Map(fields) = &entry.node.value
                    && let Some(Value::Scalar { text, .. }) = fields
                        .iter()
                        .find(|f| f.key == field)
                        .map(|f| &f.node.value)
                {
                    orgs.insert(text);
                }
            }
        }
    }
    Known {
        teams: keys("teams"),
        orgs,
        job_types: keys("job_types"),
        timezone,
        zone,
    }
}

/// A name that the file must know.
pub fn reference(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    what: &str,
    known: &BTreeSet<&str>,
) -> Option<String> {
    let name = r.name(at, what)?;
    if !known.contains(name.as_str()) && !r.only_counts() {
        // A name that cannot be one is reported where it stands; it is nothing to propose, and may hold any character.
        let is_name = |name: &&str| crate::subject::check_name(name).is_ok();
        let names: Vec<&str> = known.iter().copied().filter(is_name).collect();
        let help = if known.is_empty() {
            format!("the file has no {} at all", plural(what))
        } else {
            r.suggest(&name, &names)
        };
        r.error(
            at,
            &format!("{what} {} is not in this file", quoted(&name)),
            &help,
        );
    }
    Some(name)
}

/// The section of the file that names them.
fn plural(what: &str) -> &'static str {
    match what {
        "team" => "`teams`",
        "org unit" => "`orgs`",
        _ => "`job_types`",
    }
}

/// The entries of a map by name, each read by `read`.
pub fn named<T>(
    r: &mut Reader<'_>,
    root: &Place<'_>,
    section: &str,
    what: &str,
    mut read: impl FnMut(&mut Reader<'_>, &Place<'_>) -> T,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    let Some(at) = root.field(section) else {
        return all;
    };
    if !r.is_map(&at, &format!("{what}s by name")) {
        return all;
    }
    for (name, entry) in at.fields() {
        let name_ok = r.name_ok(&entry, name, &format!("the name of a {what}"), true);
        let value = read(r, &entry);
        if name_ok {
            all.insert(name.to_owned(), value);
        }
    }
    all
}

pub fn allowed(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Vec<Selector> {
    let Some(at) = at.field("allowed") else {
        return Vec::new();
    };
    let each = at.one_or_many();
    if each.is_empty() {
        r.error(
            &at,
            "nobody is named",
            "leave `allowed` out, or write `everybody`, to let everybody in",
        );
    }
    // As in `for`. In a list of which one must match it leaves nobody out, either.
    let everybody = |at: &Place<'_>| matches!(&at.node.value, Value::Scalar { text, .. } if text == "everybody");
    let (all, each): (Vec<_>, Vec<_>) = each.into_iter().partition(everybody);
    if too_many(r, &at, each.len(), "selectors") {
        return Vec::new();
    }
    let some = each.iter().map(|one| selector(r, one, known)).collect();
    if all.is_empty() { some } else { Vec::new() }
}

/// Who a rule is about: dimensions, each with what it matches.
pub fn selector(r: &mut Reader<'_>, at: &Place<'_>, known: &Known<'_>) -> Selector {
    let mut out = Selector::default();
    if !r.is_map_of(
        at,
        schema::SELECTOR,
        "who it is for, such as `{user: \"*\"}` or `{team: vision}`",
    ) {
        return out;
    }
    if at.keys().next().is_none() {
        r.error(
            at,
            "nobody is named",
            "leave the field out to mean everybody",
        );
    }
    let free = |r: &mut Reader<'_>, at: &Place<'_>, what: &str| matching(r, at, what, None);
    out.user = at.field("user").and_then(|at| free(r, &at, "user"));
    out.cluster = at.field("cluster").and_then(|at| free(r, &at, "cluster"));
    out.team = at
        .field("team")
        .and_then(|at| matching(r, &at, "team", Some(&known.teams)));
    out.org = at
        .field("org")
        .and_then(|at| matching(r, &at, "org unit", Some(&known.orgs)));
    out.job_type = at
        .field("job_type")
        .and_then(|at| matching(r, &at, "job type", Some(&known.job_types)));
    if let Some(label) = at.field("label")
        && r.is_map(&label, "labels such as `{grade: senior}`")
        && !too_many(r, &label, label.keys().count(), "labels")
    {
        if label.keys().next().is_none() {
            r.error(
                &label,
                "no label is named",
                "write `{key: value}`, or leave `label` out",
            );
        }
        for (key, value) in label.fields() {
            let key_ok = r.name_ok(&value, key, "a label", true);
            if let Some(found) = matching(r, &value, "label", None)
                && key_ok
            {
                out.labels.insert(key.to_owned(), found);
            }
        }
    }
    out
}

/// A name, a list of names, or `"*"`.
fn matching(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    what: &str,
    known: Option<&BTreeSet<&str>>,
) -> Option<Match> {
    if let Value::Scalar { text, .. } = &at.node.value
        && text == "*"
    {
        return Some(Match::Each);
    }
    let list = matches!(at.node.value, Value::List(_));
    if list && !r.is_list(at, "a list") {
        return None;
    }
    let each = at.one_or_many();
    if each.is_empty() {
        r.error(
            at,
            &format!("the list names no {what}"),
            "name one, or write \"*\" for each",
        );
        return None;
    }
    let mut names = BTreeSet::new();
    for one in &each {
        if let Value::Scalar { text, .. } = &one.node.value
            && text == "*"
        {
            r.error(
                one,
                "`*` stands alone, not in a list",
                "write \"*\" in place of the list",
            );
            continue;
        }
        let name = match known {
            Some(known) => reference(r, one, what, known),
            None => r.name(one, &format!("the name of a {what}")),
        };
        if let Some(name) = name
            && let Some(name) = names.replace(name)
        {
            r.warn(
                one,
                &format!("{} is in the list already", quoted(&name)),
                "",
            );
        }
    }
    (!names.is_empty()).then_some(Match::OneOf(names))
}
