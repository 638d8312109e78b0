//! Amounts of resources, spans of time, and what a job asks for.

use std::collections::BTreeMap;

use super::values;
use crate::amount::Amount;
use crate::policy::model::Defaults;
use crate::policy::schema;
use crate::resource::Resource;
use crate::time::Millis;
use crate::yaml::read::{span, value};
use crate::yaml::{Field, Place, Reader, quoted};

/// A resource by its name in the file; an error at the key if it is none.
pub fn resource(r: &mut Reader<'_>, at: &Place<'_>, name: &str) -> Option<Resource> {
    if let Some((_, meant)) = schema::NOT_RESOURCES.iter().find(|(n, _)| *n == name) {
        let help = match (*meant, schema::home_of(meant)) {
            (meant, Some(home)) if meant == name => format!("`{name}` is a field of {home}"),
            ("by_cluster", _) => "`by_cluster` is a field of `capacity`".to_owned(),
            (meant, _) => format!("did you mean `{meant}`?"),
        };
        r.error_at_key(at, &format!("{} is not a resource", quoted(name)), &help);
        return None;
    }
    match Resource::parse(name) {
        Ok(mark) if mark.is_name_of_a_node() => {
            r.error_at_key(
                at,
                &format!(
                    "{} is Ray's mark of one node, of which jobs are charged nothing",
                    quoted(name)
                ),
                "limit what the node has (cpu, memory, gpu), or give it a custom resource of its own",
            );
            None
        }
        Ok(resource) => Some(resource),
        Err(_) => {
            let help = "use cpu, memory, gpu, gpu:MODEL, or a custom name of at most 64 letters, digits and `._:/-`";
            r.error_at_key(
                at,
                &format!("{} cannot name a resource", quoted(name)),
                help,
            );
            None
        }
    }
}

/// Amounts of a map, but for the fields of `others`. Zero is kept.
pub fn amounts(r: &mut Reader<'_>, at: &Place<'_>, others: &[Field]) -> BTreeMap<Resource, Amount> {
    let mut all = BTreeMap::new();
    if !r.is_map(at, "amounts such as `{cpu: 4, memory: 16GiB}`") {
        return all;
    }
    for (name, entry) in at.fields() {
        if others.iter().any(|f| f.name == name) {
            continue;
        }
        let Some(resource) = resource(r, &entry, name) else {
            continue;
        };
        let before = r.errors();
        let form = values::amount_form(&resource);
        let found = value(r, &entry, &form, |t| values::amount(&resource, t));
        doubtful(r, &entry, name, &resource, found, before);
        if let Some(amount) = found {
            all.insert(resource, amount);
        }
    }
    all
}

/// Names that people write for a model of GPUs.
const GPU_MODELS: [&str; 24] = [
    "A10", "A10G", "A30", "A40", "A100", "B100", "B200", "GB200", "GH200", "H20", "H100", "H200",
    "K80", "L4", "L40", "L40S", "M60", "MI250", "MI300", "MI300X", "P100", "T4", "V100", "RTX",
];

/// `H100`, `a100-80GB`: the model alone, or with what memory it has.
fn is_gpu_model(name: &str) -> bool {
    let first = name.split(['-', '_']).next().unwrap_or(name);
    GPU_MODELS.iter().any(|m| m.eq_ignore_ascii_case(first))
}

/// Warns of what is right in form and hardly meant.
fn doubtful(
    r: &mut Reader<'_>,
    at: &Place<'_>,
    name: &str,
    resource: &Resource,
    found: Option<Amount>,
    errors_before: usize,
) {
    // Four letters and more: shorter names are all alike (`tpu` is no slip of `cpu`).
    if matches!(resource, Resource::Custom(_)) && name.len() > 3 {
        let near = r.nearest(name, ["memory", "jobs", "queued", "duration"]);
        if let Some(near) = near.filter(|_| errors_before == r.errors() || found.is_none()) {
            let message = format!(
                "{} is taken for a custom resource of the cluster",
                quoted(name)
            );
            r.warn(at, &message, &format!("did you mean `{near}`?"));
        }
    }
    if let Resource::Custom(_) = resource
        && is_gpu_model(name)
    {
        let message = format!(
            "{} is taken for a custom resource of the cluster",
            quoted(name)
        );
        r.warn(at, &message, &format!("did you mean `gpu:{name}`?"));
    }
    if *resource == Resource::Memory
        && let Some(Amount(bytes @ 1..=1_048_575)) = found
    {
        let message = format!("this is {bytes} bytes of memory");
        r.warn(at, &message, "put the unit behind the number: `16GiB`");
    }
}

/// Amounts and a duration.
pub fn request(r: &mut Reader<'_>, at: &Place<'_>) -> Defaults {
    Defaults {
        resources: amounts(r, at, schema::REQUEST),
        duration: at
            .field("duration")
            .and_then(|d| span(r, &d, Millis::SECOND)),
    }
}
