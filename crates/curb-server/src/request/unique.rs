//! A JSON object in which no key stands twice: of two amounts for one key nobody could say which was meant.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::wrong::clip;

/// Begins the text of the error for a key that stands twice, as `serde`'s own for the fields of a struct does.
pub(super) const TWICE: &str = "duplicate field `";

/// The entries of an object; a key that stands twice is an error that names it.
#[derive(Debug)]
pub(super) struct Unique<K, V>(pub BTreeMap<K, V>);

impl<'de, K, V> Deserialize<'de> for Unique<K, V>
where
    K: Deserialize<'de> + Ord + AsRef<str>,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Entries<K, V>
where
    K: Deserialize<'de> + Ord + AsRef<str>,
    V: Deserialize<'de>,
{
    type Value = Unique<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(key) = entries.next_key::<K>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("{TWICE}{}`", clip(key.as_ref()))));
            }
            all.insert(key, entries.next_value()?);
        }
        Ok(Unique(all))
    }
}
