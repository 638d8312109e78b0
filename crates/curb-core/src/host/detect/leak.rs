//! Memory that grows and is not given back.
//!
//! A garbage collector or a cache lets memory rise and fall: of each window only the least counts. Over the last windows
//! nearly each pair must have grown (Kendall's count), most by their share (one leap is no growth), by a robust slope (Theil and Sen: the median of the slopes of all
//! pairs, so that one odd window changes nothing), and by enough to matter. Three lengths of window are looked at: short
//! ones find a fast leak within minutes, long ones a slow one. When memory is given back after all, it was no leak but a
//! long tooth of a saw; windows of that length are not believed again until the next start.

use std::collections::VecDeque;

use super::level::ended;
use super::{Change, Evidence, Kind, Meets, Settings};
use crate::host::Bytes;
use crate::time::Millis;

/// Windows that are looked at together.
const LOOK: usize = 12;
/// The newest of them, which tell whether it has stopped.
const NEWEST: usize = 6;
/// Of a hundred pairs, so many must have grown more than shrunk.
const PAIRS_PERCENT: i64 = 80;
/// Of a hundred steps from one window to the next, so many must be a quarter of the mean step at least.
const STEPS_PERCENT: usize = 70;
/// The longer windows, in short ones.
const LENGTHS: [u64; 3] = [1, 6, 60];
const HOUR: u64 = 3_600_000;

/// The least memory of one window.
#[derive(Clone, Copy, Debug)]
struct Low {
    at: Millis,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Scale {
    length: Millis,
    lows: VecDeque<Low>,
    open: Option<Low>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    since: Millis,
    /// Which scale found it.
    scale: usize,
    /// The least memory when the growth began, and the highest of the least since.
    foot: u64,
    top: u64,
    /// Bytes an hour, when it was told.
    slope: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Leak {
    scales: [Scale; 3],
    begun: Option<Millis>,
    active: Option<Active>,
    /// Scales below this one were wrong before.
    believed_from: usize,
    meets: Option<Meets>,
}

/// Growth over some windows.
struct Growth {
    since: Millis,
    foot: u64,
    top: u64,
    over: Millis,
    /// Bytes an hour.
    slope: u64,
}

impl Scale {
    fn new(length: u64) -> Scale {
        Scale {
            length: Millis(length.max(1)),
            lows: VecDeque::with_capacity(LOOK),
            open: None,
        }
    }

    /// Whether a window was closed.
    fn read(&mut self, at: Millis, bytes: u64) -> bool {
        match &mut self.open {
            Some(open) if at.0.saturating_sub(open.at.0) < self.length.0 => {
                open.bytes = open.bytes.min(bytes);
                false
            }
            open => {
                let closed = open.replace(Low { at, bytes });
                let Some(low) = closed else { return false };
                if self.lows.len() == LOOK {
                    self.lows.pop_front();
                }
                self.lows.push_back(low);
                true
            }
        }
    }

    /// Growth over all that is kept, if it is no accident and enough to matter.
    fn growth(&self, settings: &Settings) -> Option<Growth> {
        if self.lows.len() < LOOK {
            return None;
        }
        let lows: Vec<Low> = self.lows.iter().copied().collect();
        let (mut score, mut pairs) = (0_i64, 0_i64);
        for (i, a) in lows.iter().enumerate() {
            for b in &lows[i + 1..] {
                score += i64::from(b.bytes > a.bytes) - i64::from(b.bytes < a.bytes);
                pairs += 1;
            }
        }
        if score * 100 < pairs * PAIRS_PERCENT {
            return None;
        }
        let (first, last) = (lows.first()?, lows.last()?);
        // One leap is no growth: most windows must have their share of it.
        let mean = last.bytes.saturating_sub(first.bytes) / (LOOK as u64 - 1);
        let share = lows
            .windows(2)
            .filter(|two| two[1].bytes.saturating_sub(two[0].bytes) >= (mean / 4).max(1));
        if share.count() * 100 < (LOOK - 1) * STEPS_PERCENT {
            return None;
        }
        let slope = u64::try_from(slope(&lows)?).ok()?;
        let over = last.at.0.saturating_sub(first.at.0);
        let grown = u128::from(slope) * u128::from(over) / u128::from(HOUR);
        let least = settings
            .leak_least
            .0
            .max(settings.leak_least_part.of(first.bytes))
            .max(1);
        (grown >= u128::from(least)).then_some(Growth {
            since: first.at,
            foot: first.bytes,
            top: last.bytes,
            over: Millis(over),
            slope,
        })
    }

    /// The slope of the newest windows.
    fn newest(&self) -> Option<i64> {
        let skip = self.lows.len().saturating_sub(NEWEST);
        let lows: Vec<Low> = self.lows.iter().skip(skip).copied().collect();
        slope(&lows)
    }
}

/// The median of the slopes of all pairs, in bytes an hour.
fn slope(lows: &[Low]) -> Option<i64> {
    let mut slopes = Vec::with_capacity(lows.len() * lows.len() / 2);
    for (i, a) in lows.iter().enumerate() {
        for b in &lows[i + 1..] {
            let span = i128::from(b.at.0) - i128::from(a.at.0);
            if span > 0 {
                let grown = i128::from(b.bytes) - i128::from(a.bytes);
                slopes.push(grown * i128::from(HOUR) / span);
            }
        }
    }
    slopes.sort_unstable();
    let median = slopes.get(slopes.len() / 2)?;
    Some(i64::try_from(*median).unwrap_or(if *median < 0 { i64::MIN } else { i64::MAX }))
}

impl Leak {
    pub fn new(window: Millis) -> Leak {
        Leak {
            scales: LENGTHS.map(|n| Scale::new(window.0.saturating_mul(n))),
            begun: None,
            active: None,
            believed_from: 0,
            meets: None,
        }
    }

    /// `floor`: what is below is usual, and its growth means nothing.
    pub fn read(
        &mut self,
        at: Millis,
        settings: &Settings,
        memory: Bytes,
        floor: Bytes,
        limit: Option<Bytes>,
    ) -> Option<Change> {
        let begun = *self.begun.get_or_insert(at);
        if at.0.saturating_sub(begun.0) < settings.settle.0 {
            return None;
        }
        let bytes = memory.0.max(floor.0);
        let closed: [bool; 3] = std::array::from_fn(|i| self.scales[i].read(at, bytes));
        match self.active {
            Some(active) => closed[active.scale]
                .then(|| self.go_on(active, at, memory, limit))
                .flatten(),
            None => (self.believed_from..LENGTHS.len())
                .filter(|i| closed[*i])
                .find_map(|i| self.begin(i, settings, memory, limit)),
        }
    }

    fn begin(
        &mut self,
        scale: usize,
        settings: &Settings,
        memory: Bytes,
        limit: Option<Bytes>,
    ) -> Option<Change> {
        let growth = self.scales[scale].growth(settings)?;
        let meets = meets(memory, growth.slope, limit);
        if meets.is_some_and(|m| m.within > settings.leak_horizon) {
            return None;
        }
        self.meets = meets;
        self.active = Some(Active {
            since: growth.since,
            scale,
            foot: growth.foot,
            top: growth.top,
            slope: growth.slope,
        });
        Some(Change::Began {
            kind: Kind::Leak,
            since: growth.since,
            evidence: Evidence::Leak {
                now: memory,
                per_hour: Bytes(growth.slope),
                over: growth.over,
                meets,
            },
        })
    }

    fn go_on(
        &mut self,
        mut active: Active,
        at: Millis,
        memory: Bytes,
        limit: Option<Bytes>,
    ) -> Option<Change> {
        let scale = &self.scales[active.scale];
        let low = scale.lows.back()?.bytes;
        let slope = u64::try_from(scale.newest()?.max(0)).unwrap_or(0);
        active.top = active.top.max(low);
        self.active = Some(active);
        self.meets = meets(memory, slope, limit);
        let given_back = low <= active.top - active.top.saturating_sub(active.foot) / 2
            && active.top > active.foot;
        let stopped = slope < active.slope / 4;
        if given_back {
            self.believed_from = (active.scale + 1).min(LENGTHS.len() - 1);
        }
        if !given_back && !stopped {
            return None;
        }
        self.end(at)
    }

    /// All is forgotten, as after a start.
    pub fn restart(&mut self, at: Millis) -> Option<Change> {
        let change = self.end(at);
        *self = Leak::new(self.scales[0].length);
        change
    }

    fn end(&mut self, at: Millis) -> Option<Change> {
        let active = self.active.take()?;
        self.meets = None;
        // What was looked at is used up: the same windows do not tell it again.
        for scale in &mut self.scales {
            scale.lows.clear();
        }
        Some(ended(Kind::Leak, active.since, at))
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    pub fn meets(&self) -> Option<Meets> {
        self.meets
    }
}

/// When memory that grows at this rate meets the limit.
fn meets(memory: Bytes, slope: u64, limit: Option<Bytes>) -> Option<Meets> {
    let limit = limit?;
    let left = limit.0.saturating_sub(memory.0);
    let within = u128::from(left) * u128::from(HOUR) / u128::from(slope.max(1));
    let within = Millis(u64::try_from(within).unwrap_or(u64::MAX));
    Some(Meets { limit, within })
}
