//! Names of resources and amounts of several of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, AmountError, ShowAmount, Unit};

/// A resource that can be asked for and limited.
///
/// Its text form is `cpu`, `memory`, `gpu`, `gpu:MODEL`, or any other name for a custom resource of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Resource {
    /// Logical CPUs, in thousandths.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// GPUs of any model, in thousandths.
    Gpu,
    /// GPUs of one model (`gpu:H100`), in thousandths. They count as [`Resource::Gpu`] as well.
    GpuModel(String),
    /// A custom resource by its name in the cluster, in thousandths.
    Custom(String),
}

/// Why a text cannot name a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a resource: use cpu, memory, gpu, gpu:MODEL, or a custom name of at most 64 letters, digits and `._:/-`"
)]
pub struct ResourceError(pub String);

impl Resource {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Resource, ResourceError> {
        let bad = || ResourceError(text.to_owned());
        let ok = |s: &str| {
            !s.is_empty()
                && s.len() <= 64
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b))
        };
        match text {
            "cpu" => Ok(Resource::Cpu),
            "memory" => Ok(Resource::Memory),
            "gpu" => Ok(Resource::Gpu),
            // Names that Ray or the policy give another meaning: a custom resource of that name would never be
            // counted as what the reader takes it for.
            "CPU" | "GPU" | "jobs" | "queued" | "object_store_memory" => Err(bad()),
            _ => match text.strip_prefix("gpu:") {
                Some(model) if ok(model) => Ok(Resource::GpuModel(model.to_owned())),
                Some(_) => Err(bad()),
                None if ok(text) => Ok(Resource::Custom(text.to_owned())),
                None => Err(bad()),
            },
        }
    }

    /// What one unit of an amount of it is.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Resource::Memory => Unit::Bytes,
            _ => Unit::Milli,
        }
    }

    /// The amount for people, with its unit.
    #[must_use]
    pub fn show(&self, amount: Amount) -> ShowAmount {
        amount.show(self.unit())
    }

    /// Whether it is the mark that Ray puts on one node so that work can be sent to it (`node:10.0.0.7`,
    /// `node:__internal_head__`): a place, not an amount of anything.
    #[must_use]
    pub fn is_name_of_a_node(&self) -> bool {
        matches!(self, Resource::Custom(name) if name.starts_with("node:"))
    }

    /// What a person calls it: `CPU`, `memory`, `GPU`, `H100 GPU`, or the custom name.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Resource::Cpu => "CPU".into(),
            Resource::Memory => "memory".into(),
            Resource::Gpu => "GPU".into(),
            Resource::GpuModel(m) => format!("{m} GPU"),
            Resource::Custom(name) => name.clone(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Cpu => f.write_str("cpu"),
            Resource::Memory => f.write_str("memory"),
            Resource::Gpu => f.write_str("gpu"),
            Resource::GpuModel(m) => write!(f, "gpu:{m}"),
            Resource::Custom(name) => f.write_str(name),
        }
    }
}

impl From<Resource> for String {
    fn from(r: Resource) -> String {
        r.to_string()
    }
}

impl TryFrom<String> for Resource {
    type Error = ResourceError;
    fn try_from(text: String) -> Result<Resource, ResourceError> {
        Resource::parse(&text)
    }
}

/// Amounts of several resources. A resource that is not named is zero in a request, and unlimited in a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(pub BTreeMap<Resource, Amount>);

impl Resources {
    /// None of anything.
    #[must_use]
    pub fn none() -> Resources {
        Resources::default()
    }

    /// The amount of one resource, zero when it is not named.
    #[must_use]
    pub fn get(&self, r: &Resource) -> Amount {
        self.0.get(r).copied().unwrap_or(Amount::ZERO)
    }

    /// Sets an amount; zero removes it, so that equal amounts are equal values.
    pub fn set(&mut self, r: Resource, amount: Amount) {
        if amount == Amount::ZERO {
            self.0.remove(&r);
        } else {
            self.0.insert(r, amount);
        }
    }

    /// Parses and sets one amount by its resource's unit.
    pub fn set_text(&mut self, r: Resource, text: &str) -> Result<(), AmountError> {
        let amount = Amount::parse(r.unit(), text)?;
        self.set(r, amount);
        Ok(())
    }

    /// The larger of the two, resource by resource.
    #[must_use]
    pub fn max(mut self, other: &Resources) -> Resources {
        for (r, a) in &other.0 {
            if self.get(r) < *a {
                self.set(r.clone(), *a);
            }
        }
        self
    }

    /// Makes `gpu` at least the sum of its models: two H100 are two GPUs.
    #[must_use]
    pub fn with_gpu_total(mut self) -> Resources {
        let models = self
            .0
            .iter()
            .filter(|(r, _)| matches!(r, Resource::GpuModel(_)))
            .fold(Amount::ZERO, |sum, (_, a)| sum.saturating_add(*a));
        if self.get(&Resource::Gpu) < models {
            self.set(Resource::Gpu, models);
        }
        self
    }

    /// Resources and amounts in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Resource, Amount)> {
        self.0.iter().map(|(r, a)| (r, *a))
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Resource, Amount)> for Resources {
    fn from_iter<T: IntoIterator<Item = (Resource, Amount)>>(iter: T) -> Resources {
        let mut all = Resources::none();
        for (r, a) in iter {
            all.set(r, a);
        }
        all
    }
}

impl fmt::Display for Resources {
    /// `2 CPU, 16 GiB memory, 1 GPU`; `nothing` when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        // Models count as GPUs: they are said once, and what is of no model besides.
        let models = |(r, _): &(&Resource, Amount)| matches!(r, Resource::GpuModel(_));
        let of_models = self
            .iter()
            .filter(models)
            .fold(Amount::ZERO, |sum, (_, a)| sum.saturating_add(a));
        let mut between = "";
        for (r, a) in self.iter() {
            let (a, other) = match r {
                Resource::Gpu if of_models > Amount::ZERO => {
                    (a.saturating_sub(of_models), " of any model")
                }
                _ => (a, ""),
            };
            if a == Amount::ZERO {
                continue;
            }
            write!(f, "{between}{} {}{other}", r.show(a), r.label())?;
            between = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_confusable_ones_are_refused() {
        for name in [
            "cpu",
            "memory",
            "gpu",
            "gpu:H100",
            "licence_a",
            "accelerator_type:A100",
        ] {
            assert_eq!(
                Resource::parse(name).map(|r| r.to_string()),
                Ok(name.to_owned())
            );
        }
        for bad in ["", "CPU", "jobs", "gpu:", "a b", "é", "object_store_memory"] {
            assert!(Resource::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_h100_are_two_gpus() {
        let r: Resources = [(Resource::GpuModel("H100".into()), Amount::whole(2))]
            .into_iter()
            .collect();
        assert_eq!(r.with_gpu_total().get(&Resource::Gpu), Amount::whole(2));
    }

    #[test]
    fn amounts_read_as_a_person_would_say_them() {
        let r: Resources = [
            (Resource::Cpu, Amount(2500)),
            (Resource::Memory, Amount(16 << 30)),
        ]
        .into_iter()
        .collect();
        assert_eq!(r.to_string(), "2.5 CPU, 16 GiB memory");
    }

    #[test]
    fn two_h100_do_not_read_as_four_gpus() {
        let h100 = Resource::GpuModel("H100".into());
        let mut r = Resources::none();
        r.set(h100, Amount::whole(2));
        let mut r = r.with_gpu_total();
        assert_eq!(r.to_string(), "2 H100 GPU");
        r.set(Resource::Gpu, Amount::whole(3));
        assert_eq!(r.to_string(), "1 GPU of any model, 2 H100 GPU");
    }
}
