//! Requests that were in flight when the server died. Pure.
//!
//! One death makes all that were in flight suspects; a suspect runs alone the next time. An answer clears it, a death in
//! its company of none convicts it: from [`Rules::deaths`] deaths on it is refused for a time.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// What a request is known by: method, path with query, and body. 128 bits of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes a [`Fingerprint`] as the body comes.
#[derive(Debug, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Begins with what is known from the head.
    pub fn new(method: &str, target: &str) -> Self {
        let mut hash = Sha256::new();
        // Neither can have a line feed: what is told apart here stays apart.
        for part in [method, "\n", target, "\n"] {
            hash.update(part.as_bytes());
        }
        Self(hash)
    }

    /// Goes on with a piece of the body. Into which pieces it is cut does not matter.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The whole body has been seen.
    pub fn finish(self) -> Fingerprint {
        let mut print = [0; 16];
        print.copy_from_slice(&self.0.finalize()[..16]);
        Fingerprint(print)
    }
}

/// How suspicion works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From so many deaths on it is refused.
    pub deaths: u32,
    /// For so long after the last of them.
    pub refused_for: Duration,
    /// So long after the last death it is forgotten.
    pub forget_after: Duration,
    /// Most that are remembered; the oldest go first.
    pub most: usize,
}

impl Default for Rules {
    /// 2 deaths, refused for 10 minutes, forgotten after an hour, 1,024 remembered.
    fn default() -> Self {
        Self {
            deaths: 2,
            refused_for: Duration::from_secs(600),
            forget_after: Duration::from_secs(3600),
            most: 1024,
        }
    }
}

/// What is held against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Clean,
    /// It was in flight at a death: it runs alone.
    Suspect,
    /// It is not passed on for now.
    Refused {
        /// At how many deaths it was in flight.
        deaths: u32,
        /// How long it is still refused.
        left: Duration,
    },
}

#[derive(Debug, Clone, Copy)]
struct Record {
    deaths: u32,
    last: Instant,
}

/// All that are suspected.
#[derive(Debug)]
pub struct Suspects {
    rules: Rules,
    records: HashMap<Fingerprint, Record>,
}

impl Suspects {
    /// None.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            records: HashMap::new(),
        }
    }

    /// What is held against this one.
    pub fn standing(&self, print: Fingerprint, now: Instant) -> Standing {
        let Some(record) = self.records.get(&print) else {
            return Standing::Clean;
        };
        let age = now.saturating_duration_since(record.last);
        if age >= self.rules.forget_after {
            return Standing::Clean;
        }
        match self.rules.refused_for.checked_sub(age) {
            Some(left) if record.deaths >= self.rules.deaths && !left.is_zero() => {
                Standing::Refused {
                    deaths: record.deaths,
                    left,
                }
            }
            _ => Standing::Suspect,
        }
    }

    /// The server died while these were in flight. One that is given twice counts once.
    pub fn died(&mut self, mut in_flight: Vec<Fingerprint>, now: Instant) {
        in_flight.sort_unstable_by_key(|print| print.0);
        in_flight.dedup();
        let forget_after = self.rules.forget_after;
        let fresh = |record: &Record| now.saturating_duration_since(record.last) < forget_after;
        self.records.retain(|_, record| fresh(record));
        for print in in_flight {
            let deaths = self.records.get(&print).map_or(0, |record| record.deaths);
            let record = Record {
                deaths: deaths.saturating_add(1),
                last: now,
            };
            if deaths == 0 && self.records.len() >= self.rules.most {
                self.forget_oldest();
            }
            self.records.insert(print, record);
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.records.iter().min_by_key(|(_, record)| record.last);
        if let Some(print) = oldest.map(|(print, _)| *print) {
            self.records.remove(&print);
        }
    }

    /// The server answered it and lived: it was not this one.
    pub fn clear(&mut self, print: Fingerprint) {
        self.records.remove(&print);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(body: &str) -> Fingerprint {
        let mut hasher = Hasher::new("POST", "/v1/chat");
        hasher.update(body.as_bytes());
        hasher.finish()
    }

    fn suspects() -> (Suspects, Instant) {
        (Suspects::new(Rules::default()), Instant::now())
    }

    #[test]
    fn the_innocent_among_those_in_flight_is_cleared_and_the_guilty_is_refused_for_a_time() {
        let (mut suspects, now) = suspects();
        let (guilty, innocent) = (print("bad"), print("good"));
        suspects.died(vec![guilty, innocent, guilty], now);
        assert_eq!(suspects.standing(guilty, now), Standing::Suspect);
        assert_eq!(suspects.standing(innocent, now), Standing::Suspect);
        suspects.clear(innocent);
        assert_eq!(suspects.standing(innocent, now), Standing::Clean);
        suspects.died(vec![guilty], now);
        let refused = Standing::Refused {
            deaths: 2,
            left: Duration::from_secs(600),
        };
        assert_eq!(suspects.standing(guilty, now), refused);
        // After that time it may show itself once more, alone; and one more death is enough.
        let later = now + Duration::from_secs(600);
        assert_eq!(suspects.standing(guilty, later), Standing::Suspect);
        suspects.died(vec![guilty], later);
        assert!(matches!(
            suspects.standing(guilty, later),
            Standing::Refused { deaths: 3, .. }
        ));
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(suspects.standing(guilty, much_later), Standing::Clean);
    }

    #[test]
    fn requests_are_told_apart_by_method_path_and_body_and_not_by_the_pieces_of_it() {
        let whole = print("hello");
        let mut pieces = Hasher::new("POST", "/v1/chat");
        pieces.update(b"he");
        pieces.update(b"llo");
        assert_eq!(pieces.finish(), whole);
        for other in [
            Hasher::new("PUT", "/v1/chat"),
            Hasher::new("POST", "/v1/chats"),
            Hasher::new("POST", "/v1/chat?"),
        ] {
            let mut other = other;
            other.update(b"hello");
            assert_ne!(other.finish(), whole);
        }
        assert_ne!(print("hello "), whole);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_go_first() {
        let (mut suspects, now) = suspects();
        for n in 0..1100_u64 {
            let then = now + Duration::from_millis(n);
            suspects.died(vec![print(&n.to_string())], then);
        }
        let then = now + Duration::from_secs(2);
        assert_eq!(suspects.len(), 1024);
        assert_eq!(suspects.standing(print("75"), then), Standing::Clean);
        assert_eq!(suspects.standing(print("76"), then), Standing::Suspect);
        assert_eq!(suspects.standing(print("1099"), then), Standing::Suspect);
        // What is older than it is remembered goes with the next death.
        suspects.died(Vec::new(), then + Duration::from_secs(3600));
        assert!(suspects.is_empty());
    }
}
