//! What can be made to go wrong.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which requests a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Every one of the below.
    Any,
    /// `POST /api/jobs/`
    Submit,
    /// `GET /api/jobs/{id}`
    Get,
    /// `GET /api/jobs/`
    List,
    /// `POST /api/jobs/{id}/stop`
    Stop,
    /// `DELETE /api/jobs/{id}`
    Delete,
    /// `GET /api/jobs/{id}/logs`
    Logs,
    /// `GET /api/jobs/{id}/logs/tail`
    Tail,
    /// `GET` and `PUT /api/packages/…`
    Packages,
    /// `GET /api/version`
    Version,
    /// `GET /api/v0/nodes`
    Nodes,
}

/// What happens instead of, or besides, the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Trouble {
    /// Answer this status and do nothing.
    Answer {
        /// The status.
        status: u16,
    },
    /// Do it, then answer this status all the same.
    AnswerAfter {
        /// The status.
        status: u16,
    },
    /// Close the connection without an answer; nothing was done.
    DropBefore,
    /// Do it, then close the connection without an answer.
    DropAfter,
    /// Do it, then send half of the answer and close the connection.
    HalfAnswer,
    /// Never answer; nothing was done.
    HangBefore,
    /// Do it and never answer.
    HangAfter,
    /// Wait, then do it and answer as always.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Answer as always, and deliver the same request once more later.
    LateCopy {
        /// Milliseconds until the copy arrives.
        ms: u64,
    },
    /// Close the connection without an answer, and do it later: a request that was on its way.
    LandLater {
        /// Milliseconds until it lands.
        ms: u64,
    },
    /// Do it and answer 200 for another id.
    WrongId,
}

/// A trouble for the next few requests of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// For which requests.
    pub on: Route,
    /// Only for this id.
    #[serde(default)]
    pub id: Option<String>,
    /// Let so many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How often.
    #[serde(default = "one")]
    pub times: u32,
    /// What.
    #[serde(rename = "do")]
    pub trouble: Trouble,
}

fn one() -> u32 {
    1
}

impl Fault {
    /// For the next matching request only.
    pub fn once(on: Route, trouble: Trouble) -> Fault {
        Fault {
            on,
            id: None,
            skip: 0,
            times: 1,
            trouble,
        }
    }

    /// The same for the next `times` matching requests.
    #[must_use]
    pub fn times(self, times: u32) -> Fault {
        Fault { times, ..self }
    }

    /// The same for one id only.
    #[must_use]
    pub fn only(self, id: impl Into<String>) -> Fault {
        Fault {
            id: Some(id.into()),
            ..self
        }
    }
}

/// Troubles of submissions at random, in thousandths. What happens depends on the seed, the id and
/// how often the id was tried, and not on the order in which requests arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chaos {
    /// [`Trouble::DropBefore`].
    pub drop_before: u16,
    /// [`Trouble::DropAfter`].
    pub drop_after: u16,
    /// [`Trouble::AnswerAfter`] with 500.
    pub answer_500_after: u16,
    /// [`Trouble::Answer`] with 503.
    pub answer_503: u16,
    /// [`Trouble::LateCopy`].
    pub late_copy: u16,
    /// [`Trouble::LandLater`].
    pub land_later: u16,
    /// [`Trouble::Delay`].
    pub delay: u16,
    /// The milliseconds of the last three are drawn from 0 to this.
    pub max_ms: u64,
}

impl Chaos {
    fn draw(&self, mut random: u64) -> Option<Trouble> {
        let ms = if self.max_ms == 0 {
            0
        } else {
            mix(random) % (self.max_ms + 1)
        };
        random %= 1000;
        let mut below = 0;
        let table = [
            (self.drop_before, Trouble::DropBefore),
            (self.drop_after, Trouble::DropAfter),
            (self.answer_500_after, Trouble::AnswerAfter { status: 500 }),
            (self.answer_503, Trouble::Answer { status: 503 }),
            (self.late_copy, Trouble::LateCopy { ms }),
            (self.land_later, Trouble::LandLater { ms }),
            (self.delay, Trouble::Delay { ms }),
        ];
        for (share, trouble) in table {
            below += u64::from(share);
            if random < below {
                return Some(trouble);
            }
        }
        None
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: Vec<Fault>,
    chaos: Option<(Chaos, u64)>,
    tries: HashMap<String, u64>,
}

impl Script {
    pub(crate) fn add(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.faults.push(fault);
        }
    }

    pub(crate) fn set_chaos(&mut self, chaos: Chaos, seed: u64) {
        self.chaos = (chaos != Chaos::default()).then_some((chaos, seed));
        self.tries.clear();
    }

    pub(crate) fn clear(&mut self) {
        *self = Script::default();
    }

    /// Scripted faults that are still to strike.
    pub(crate) fn waiting(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.chaos.is_none()
    }

    /// The trouble of this request, used up.
    pub(crate) fn next(&mut self, route: Route, id: &str) -> Option<Trouble> {
        if let Some(trouble) = self.scripted(route, id) {
            return Some(trouble);
        }
        let (chaos, seed) = self.chaos.filter(|_| route == Route::Submit)?;
        let tries = self.tries.entry(id.to_owned()).or_default();
        *tries += 1;
        let hash = id
            .bytes()
            .fold(seed, |hash, byte| mix(hash ^ u64::from(byte)));
        chaos.draw(mix(hash ^ *tries))
    }

    fn scripted(&mut self, route: Route, id: &str) -> Option<Trouble> {
        let hit = self.faults.iter().position(|f| {
            (f.on == route || f.on == Route::Any) && f.id.as_deref().is_none_or(|only| only == id)
        })?;
        let fault = &mut self.faults[hit];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        let trouble = fault.trouble.clone();
        if fault.times == 0 {
            self.faults.remove(hit);
        }
        Some(trouble)
    }
}

/// A bijection that scatters (splitmix64's finisher).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_strikes_as_often_as_it_says() {
        let mut script = Script::default();
        script.add(Fault {
            skip: 1,
            ..Fault::once(Route::Submit, Trouble::DropBefore).times(2)
        });
        let seen: Vec<bool> = (0..4)
            .map(|_| script.next(Route::Submit, "a").is_some())
            .collect();
        assert_eq!(seen, [false, true, true, false]);
        assert!(script.is_empty());
    }

    #[test]
    fn a_fault_for_one_id_leaves_the_others_alone() {
        let mut script = Script::default();
        script.add(Fault::once(Route::Any, Trouble::DropAfter).only("a"));
        assert_eq!(script.next(Route::Get, "b"), None);
        assert_eq!(script.next(Route::Get, "a"), Some(Trouble::DropAfter));
    }

    #[test]
    fn chaos_depends_on_seed_id_and_try_and_not_on_the_order() {
        let chaos = Chaos {
            drop_before: 300,
            drop_after: 300,
            late_copy: 200,
            max_ms: 50,
            ..Chaos::default()
        };
        let run = |seed, ids: &[&str]| {
            let mut script = Script::default();
            script.set_chaos(chaos, seed);
            let mut seen: Vec<_> = ids
                .iter()
                .map(|id| (id.to_string(), script.next(Route::Submit, id)))
                .collect();
            seen.sort_by(|a, b| a.0.cmp(&b.0));
            seen
        };
        assert_eq!(run(7, &["a", "b", "c", "a"]), run(7, &["c", "a", "a", "b"]));
        let ids: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_ne!(run(7, &ids), run(8, &ids));
    }

    #[test]
    fn chaos_keeps_its_shares() {
        let chaos = Chaos {
            drop_before: 100,
            ..Chaos::default()
        };
        let hits = (0..10_000u64)
            .filter(|&i| chaos.draw(mix(i)).is_some())
            .count();
        assert!((800..1200).contains(&hits), "{hits}");
    }

    #[test]
    fn faults_are_written_as_readable_json() {
        let text = r#"{"on":"submit","id":"a","times":2,"do":{"kind":"land-later","ms":50}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault,
            Fault::once(Route::Submit, Trouble::LandLater { ms: 50 })
                .times(2)
                .only("a")
        );
        assert!(
            serde_json::from_str::<Fault>(r#"{"on":"submit","do":{"kind":"explode"}}"#).is_err()
        );
    }
}
