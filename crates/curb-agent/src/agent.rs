//! The agent itself: one round after the other, each a look at all processes and all workloads.
//!
//! It runs without privilege. What needs hands is asked of the helper; what is dear is asked of it only about processes that
//! are new or have changed, and for which everything cheap of a rule holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use curb_core::host::Bytes;
use curb_core::host::detect::{Change, Progress, Settings, Usual};
use curb_core::host::ladder::HeldBy;
use curb_core::host::limits::{CpuSet, Host};
use curb_core::time::{Millis, Timestamp};
use curb_host::layout::Layout;
use curb_host::scan::{Pages, Scan};
use curb_host::totals::Totals;

use crate::act::why;
use crate::find::{About, Look};
use crate::hands::{Hands, Lost};
use crate::helper::PREFIX;
use crate::homes::Homes;
use crate::limits_file::{LimitsFile, Reading};
use crate::log::{Log, What};
use crate::rules::Rules;
use crate::watch::{Member, Seen, Watch};
use crate::wire::{Answer, Name, Verb, Who};

/// How often the progress of a busy workload is looked at.
const PROGRESS_EACH: Millis = Millis(10_000);
/// Of so many of its processes at most.
const PROGRESS_OF: usize = 16;
/// A group whose rule is gone is looked at each so many rounds, until it is empty.
const LET_GO_EACH: u64 = 10;
/// Errors and warnings of a file that are told at once.
const MOST_TOLD: usize = 20;

/// What is set for each process, and by where they work; as it is told where it cannot be.
const EACH: [&str; 2] = ["open_files", "reading and writing"];

/// How the agent looks and acts.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Nothing is confined.
    pub watch_only: bool,
    /// Processes of services and containers are taken out of where they are kept.
    pub also_kept: bool,
    /// When something is odd.
    pub detect: Settings,
}

/// Numbers about the agent itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Rounds until now, and how long they took together, in microseconds.
    pub rounds: u64,
    /// See `rounds`.
    pub rounds_micros: u64,
    /// Scrapes until now, and how long they took together, in microseconds.
    pub scrapes: u64,
    /// See `scrapes`.
    pub scrapes_micros: u64,
    /// Processes at the last look.
    pub processes: u64,
    /// When the last round ended, on the wall.
    pub last_round: Option<Timestamp>,
    /// Whether the file of limits was right when it was last read.
    pub limits_right: bool,
    /// When it was last read and right.
    pub limits_read: Option<Timestamp>,
    /// How often it was read and wrong.
    pub limits_refused: u64,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    pub(crate) limits_file: LimitsFile,
    pub(crate) watches: Vec<Watch>,
    pub(crate) hands: Hands,
    pub(crate) log: Log,
    /// Numbers about itself.
    pub own: Own,
    settings: AgentSettings,
    host: Host,
    layout: Layout,
    homes: Homes,
    rules: Rules,
    scan: Scan<About>,
    /// Groups whose rule is gone.
    let_go: BTreeSet<Name>,
    progress_at: Millis,
}

impl Agent {
    /// An agent that has read its limits and taken up the groups of an earlier one.
    ///
    /// # Errors
    /// The file of limits is wrong, `/proc` cannot be read, or the helper is gone.
    pub fn begin(
        limits: &Path,
        settings: AgentSettings,
        layout: Layout,
        hands: Hands,
        log: Log,
    ) -> io::Result<Agent> {
        let (memory, cpus) = curb_host::host::machine();
        let mut agent = Agent {
            limits_file: LimitsFile::new(limits.to_owned()),
            watches: Vec::new(),
            hands,
            log,
            own: Own::default(),
            settings,
            host: Host {
                memory,
                cpus: cpus.and_then(|n| Some(CpuSet((0..u32::try_from(n).ok()?).collect()))),
            },
            layout,
            homes: Homes::of_this_process()?,
            rules: Rules::default(),
            scan: Scan::at(Path::new("/proc"))?,
            let_go: BTreeSet::new(),
            progress_at: Millis(0),
        };
        agent.reload(true).map_err(io::Error::other)?;
        if !agent.own.limits_right {
            return Err(io::Error::other("the file of limits is wrong (above)"));
        }
        agent.take_up().map_err(io::Error::other)?;
        Ok(agent)
    }

    /// One round.
    ///
    /// # Errors
    /// The helper is gone: nothing can be confined any more.
    pub fn round(&mut self) -> Result<(), Lost> {
        let begun = std::time::Instant::now();
        let now = curb_host::scan::since_boot();
        self.reload(false)?;
        self.look(now)?;
        for i in 0..self.watches.len() {
            self.follow(i, now)?;
        }
        if self.own.rounds.is_multiple_of(LET_GO_EACH) {
            self.remove_what_was_let_go()?;
        }
        self.own.rounds += 1;
        self.own.rounds_micros += micros(begun.elapsed());
        self.own.last_round = Some(wall());
        Ok(())
    }

    /// Reads the file of limits again if it has changed.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn reload(&mut self, always: bool) -> Result<(), Lost> {
        let file = self.limits_file.path().display().to_string();
        match self.limits_file.read(&self.host, always) {
            Reading::Same => Ok(()),
            Reading::Wrong { mut errors } => {
                self.own.limits_right = false;
                self.own.limits_refused += 1;
                errors.truncate(MOST_TOLD);
                self.tell(None, What::LimitsRefused { file, errors });
                Ok(())
            }
            Reading::New { mut warnings } => {
                self.own.limits_right = true;
                self.own.limits_read = Some(wall());
                self.rules = Rules::of(self.limits_file.file(), curb_host::users::number);
                for user in &self.rules.unknown_users {
                    warnings.push(format!(
                        "this host has no user `{user}`: its rule fits nothing"
                    ));
                }
                warnings.truncate(MOST_TOLD);
                self.tell(
                    None,
                    What::LimitsRead {
                        file,
                        rules: self.rules.len(),
                        warnings,
                    },
                );
                self.take_over()
            }
        }
    }

    /// The workloads are those of the new file: new ones come, some change, some go.
    fn take_over(&mut self) -> Result<(), Lost> {
        let mut before: BTreeMap<Name, Watch> = std::mem::take(&mut self.watches)
            .into_iter()
            .map(|w| (w.name.clone(), w))
            .collect();
        let rules: Vec<(Name, usize)> = self
            .rules
            .iter()
            .map(|r| (r.name.clone(), r.place))
            .collect();
        let mut changed = Vec::new();
        for (name, place) in &rules {
            let Some(workload) = self.limits_file.file().workloads.get(*place).cloned() else {
                continue;
            };
            let usual = match self.limits_file.usual(&workload) {
                Ok(usual) => usual,
                Err(why) => {
                    self.log
                        .tell(wall(), Some(name.as_str()), What::NoBaseline { why });
                    Usual::default()
                }
            };
            match before.remove(name) {
                Some(mut watch) => {
                    if let Some(done) = watch.change(&workload, usual)
                        && watch.group.is_some()
                    {
                        watch.each_due = true;
                        changed.push((self.watches.len(), done.err()));
                    }
                    self.watches.push(watch);
                }
                None => {
                    let detect = self.settings.detect;
                    self.watches.push(Watch::new(
                        &workload,
                        name.clone(),
                        detect,
                        usual,
                        rules.len(),
                    ));
                }
            }
        }
        for (i, refused) in changed {
            let failed = self.apply(i)?.err();
            if failed.is_some() {
                self.watches[i].keep_what_the_kernel_has();
            }
            let all: Vec<String> = refused.into_iter().chain(failed).collect();
            let failed = (!all.is_empty()).then(|| all.join("; "));
            self.tell(Some(i), What::LimitsChanged { failed });
        }
        for (name, watch) in before {
            if watch.group.is_some() {
                self.let_go_of(&name)?;
            }
        }
        self.scan.look_again();
        Ok(())
    }

    /// The limits of a group are lifted; it goes when it is empty.
    fn let_go_of(&mut self, group: &Name) -> Result<(), Lost> {
        let verb = Verb::Limit {
            group: group.clone(),
            limits: Box::default(),
            wait: false,
        };
        match self.hands.ask(&verb)? {
            Answer::Done | Answer::DoneBut { .. } => {}
            other => self.tell(None, What::Trouble { text: why(other) }),
        }
        self.log.tell(
            wall(),
            Some(group.as_str()),
            What::LetGo {
                group: directory(group),
            },
        );
        self.let_go.insert(group.clone());
        Ok(())
    }

    fn remove_what_was_let_go(&mut self) -> Result<(), Lost> {
        for group in self.let_go.clone() {
            // Not yet empty is refused: it is asked for again.
            if self.hands.ask(&Verb::Remove {
                group: group.clone(),
            })? == Answer::Done
            {
                self.let_go.remove(&group);
            }
        }
        Ok(())
    }

    /// Groups that an earlier agent left go on: those of a rule within its limits, others without.
    fn take_up(&mut self) -> Result<(), Lost> {
        let Answer::Groups { names } = self.hands.ask(&Verb::List)? else {
            return Ok(());
        };
        for name in names {
            let Some(i) = self.watches.iter().position(|w| w.name == name) else {
                self.let_go_of(&name)?;
                continue;
            };
            let watch = &mut self.watches[i];
            watch.group = Totals::open(&self.layout, &directory(&name)).ok();
            watch.held_by = held_by(&self.layout);
            watch.each_due = true;
            watch.not_held = watch.not_for_the_agent();
            watch.take_up();
            let (group, processes) = (directory(&name), watch.counts.tasks.unwrap_or(0));
            if let Err(why) = self.apply(i)? {
                self.watches[i].keep_what_the_kernel_has();
                self.tell(Some(i), What::NotHeld { why });
            }
            let processes = usize::try_from(processes).unwrap_or(usize::MAX);
            self.tell(Some(i), What::TakenUp { group, processes });
        }
        Ok(())
    }

    /// A look at all processes: who is what, and into which group.
    fn look(&mut self, now: Millis) -> Result<(), Lost> {
        let names: BTreeMap<Name, usize> = self
            .watches
            .iter()
            .enumerate()
            .map(|(i, w)| (w.name.clone(), i))
            .collect();
        let parents = self.parents();
        let mut look = Look {
            homes: &self.homes,
            rules: &self.rules,
            hands: &mut self.hands,
            names: &names,
            parents: &parents,
            found: Vec::new(),
            lost: None,
        };
        let round = self
            .scan
            .round(|process, pages, before| look.at(process, pages, before));
        let (found, lost) = (look.found, look.lost);
        if let Some(lost) = lost {
            return Err(lost);
        }
        match round {
            Ok(round) => self.own.processes = u64::try_from(round.alive).unwrap_or(u64::MAX),
            Err(error) => {
                let text = format!("cannot list the processes: {error}");
                self.tell(None, What::Trouble { text });
                return Ok(());
            }
        }
        let mut roots = Vec::new();
        for found in found {
            // It may have come in with its parent a moment ago.
            if self
                .scan
                .about(found.who.pid)
                .is_some_and(|a| a.who == found.who && a.is.is_some())
            {
                continue;
            }
            if self.take_in(found.watch, found.who, found.user, found.by, found.kept_by)? {
                roots.push((found.who.pid, found.watch));
            }
        }
        self.take_in_families(&roots)?;
        self.count_members(now)
    }

    /// What was started by those that came in, before that.
    fn take_in_families(&mut self, roots: &[(u32, usize)]) -> Result<(), Lost> {
        let mut changed = BTreeSet::new();
        for (id, i) in self.scan.descendants(roots) {
            let who = Who {
                pid: id.pid,
                start: id.start,
            };
            let known = self.scan.about(who.pid);
            if known.is_none_or(|a| a.who != who || a.is.is_none()) {
                self.adopt(i, who)?;
            }
            changed.insert(i);
        }
        changed.extend(roots.iter().map(|(_, i)| *i));
        for i in changed {
            if self.watches[i].held_before.0 > 0
                && let Err(why) = self.apply(i)?
            {
                self.tell(Some(i), What::NotHeld { why });
            }
        }
        Ok(())
    }

    /// Which processes are members of what, by number: who is started by one of them belongs to it.
    fn parents(&self) -> BTreeMap<u32, usize> {
        let members = self.watches.iter().enumerate();
        members
            .flat_map(|(i, w)| w.members.keys().map(move |pid| (*pid, i)))
            .collect()
    }

    /// A process that is a workload: into its group. Whether it is in there.
    fn take_in(
        &mut self,
        i: usize,
        who: Who,
        user: Option<u32>,
        by: String,
        kept_by: Option<String>,
    ) -> Result<bool, Lost> {
        self.tell(
            Some(i),
            What::Found {
                pid: who.pid,
                user,
                by,
            },
        );
        let outside = match kept_by.filter(|_| !self.settings.also_kept) {
            _ if self.settings.watch_only => Some("the agent only watches".to_owned()),
            Some(keeper) => Some(format!(
                "it is kept by {keeper}, which is the place for its limits (curb limits render); --also-kept takes it out of there"
            )),
            None => self.make_group(i)?.err(),
        };
        if let Some(why) = outside {
            self.mark(who, i, Some(why.clone()));
            self.tell(Some(i), What::NotConfined { pid: who.pid, why });
            return Ok(false);
        }
        self.adopt(i, who)?;
        Ok(true)
    }

    fn make_group(&mut self, i: usize) -> Result<Result<(), String>, Lost> {
        if self.watches[i].group.is_some() {
            return Ok(Ok(()));
        }
        let watch = &self.watches[i];
        let name = watch.name.clone();
        if self.let_go.remove(&name) {
            // Its rule is back while some of it still runs.
            if let Err(why) = self.open(i, &name) {
                return Ok(Err(why));
            }
            return self.apply(i);
        }
        let verb = Verb::Make {
            group: name.clone(),
            limits: Box::new(watch.told_to_the_kernel()),
            wait: watch.waits(),
        };
        let mut missing = match self.hands.ask(&verb)? {
            Answer::Done => Vec::new(),
            Answer::DoneBut { missing } => missing,
            other => return Ok(Err(why(other))),
        };
        missing.extend(self.watches[i].not_for_the_agent());
        self.not_held_are(i, missing);
        Ok(self.open(i, &name))
    }

    /// These of its limits are not held: told, where it was not told before.
    fn not_held_are(&mut self, i: usize, all: Vec<String>) {
        let before = std::mem::take(&mut self.watches[i].not_held);
        for why in all.iter().filter(|why| !before.contains(why)) {
            self.tell(Some(i), What::NotHeld { why: why.clone() });
        }
        self.watches[i].not_held = all;
    }

    /// What is set for each process of a group, and for the disks that they work on.
    fn set_for_each(&mut self, i: usize) -> Result<(), Lost> {
        if !std::mem::take(&mut self.watches[i].each_due) || self.watches[i].group.is_none() {
            return Ok(());
        }
        let watch = &self.watches[i];
        let group = watch.name.clone();
        let mut all = watch.not_held.clone();
        all.retain(|why| !EACH.iter().any(|name| why.starts_with(name)));
        if let Some(limit) = &watch.workload.limits.open_files {
            let verb = Verb::Files {
                group: group.clone(),
                most: limit.value,
            };
            match self.hands.ask(&verb)? {
                Answer::Count { .. } => {}
                other => all.push(format!("{}: {}", EACH[0], why(other))),
            }
        }
        let watch = &self.watches[i];
        if watch.limits_io() || watch.io_was_limited {
            let verb = Verb::Disks {
                group,
                read: watch.limits.io_read.as_ref().map(|l| l.value.0),
                write: watch.limits.io_write.as_ref().map(|l| l.value.0),
            };
            self.watches[i].io_was_limited = self.watches[i].limits_io();
            match self.hands.ask(&verb)? {
                Answer::Done => {}
                other => all.push(format!("{}: {}", EACH[1], why(other))),
            }
        }
        self.not_held_are(i, all);
        Ok(())
    }

    fn open(&mut self, i: usize, name: &Name) -> Result<(), String> {
        let totals = Totals::open(&self.layout, &directory(name));
        let totals = totals.map_err(|e| format!("its group cannot be read: {e}"))?;
        self.watches[i].group = Some(totals);
        self.watches[i].held_by = held_by(&self.layout);
        Ok(())
    }

    fn adopt(&mut self, i: usize, who: Who) -> Result<(), Lost> {
        // Memory that it has is counted where it is now, and stays counted there.
        let own = self.scan.own_memory(who.pid).unwrap_or_default();
        let group = self.watches[i].name.clone();
        match self.hands.ask(&Verb::Adopt {
            group: group.clone(),
            who,
        })? {
            Answer::Done => {
                let watch = &mut self.watches[i];
                watch.held_before = Bytes(watch.held_before.0.saturating_add(own.0));
                watch.each_due = true;
                self.mark(who, i, None);
                let held_before = (own.0 > 0).then_some(own);
                self.tell(
                    Some(i),
                    What::Confined {
                        pid: who.pid,
                        group: directory(&group),
                        held_before,
                    },
                );
            }
            Answer::Gone => {}
            other => {
                let why = why(other);
                self.mark(who, i, Some(why.clone()));
                self.tell(Some(i), What::NotConfined { pid: who.pid, why });
            }
        }
        Ok(())
    }

    fn mark(&mut self, who: Who, i: usize, outside: Option<String>) {
        self.scan.change(who.pid, |about| {
            if about.who == who {
                about.is = Some(i);
                about.outside = outside;
            }
        });
    }

    /// Which processes each workload has now.
    fn count_members(&mut self, now: Millis) -> Result<(), Lost> {
        let page = curb_host::scan::page_size();
        let mut seen: Vec<BTreeMap<u32, Member>> = vec![BTreeMap::new(); self.watches.len()];
        for (pid, Pages { resident, shared }, about) in self.scan.all() {
            let Some(members) = about.is.and_then(|i| seen.get_mut(i)) else {
                continue;
            };
            if resident == 0 {
                // It has ended and was only not waited for yet.
                continue;
            }
            let used = match about.outside {
                Some(_) => about.used(),
                None => None,
            };
            members.insert(
                pid,
                Member {
                    who: about.who,
                    own: Bytes(resident.saturating_sub(shared).saturating_mul(page)),
                    resident: Bytes(resident.saturating_mul(page)),
                    used,
                    outside: about.outside.clone(),
                },
            );
        }
        for (i, members) in seen.into_iter().enumerate() {
            match self.watches[i].see(now, members) {
                Seen::Started => {
                    let changes = self.watches[i].detector.started(now);
                    self.tell_changes(i, changes);
                }
                Seen::Ended => self.end(i, now)?,
                Seen::Same => {}
            }
        }
        Ok(())
    }

    /// All processes of a workload have ended.
    fn end(&mut self, i: usize, now: Millis) -> Result<(), Lost> {
        let watch = &mut self.watches[i];
        let limit = watch.limits.memory.as_ref().map(|l| l.value);
        let kills_before = watch.counts.oom_kills.unwrap_or(0);
        let (memory_peak, oom_kills) = match &watch.group {
            Some(group) => {
                let last = group.read();
                watch.counts = last;
                (last.memory_peak, last.oom_kills)
            }
            None => (None, None),
        };
        let changes = watch.detector.stopped(now);
        let orders = watch.ladder.close(now);
        watch.held_before = Bytes(0);
        watch.kill_at = None;
        watch.pausing = None;
        watch.thrashes = None;
        watch.cpu = None;
        watch.keep_counts();
        for order in orders {
            self.carry_out(i, order, now)?;
        }
        self.tell_changes(i, changes);
        let processes = oom_kills.unwrap_or(0).saturating_sub(kills_before);
        if processes > 0 {
            self.tell(Some(i), What::OomKilled { processes, limit });
        }
        self.tell(
            Some(i),
            What::Ended {
                memory_peak,
                oom_kills,
            },
        );
        if self.watches[i].group.take().is_some() {
            let group = self.watches[i].name.clone();
            if self.hands.ask(&Verb::Remove {
                group: group.clone(),
            })? != Answer::Done
            {
                // Something is left in it that was not seen; it is asked for again.
                self.let_go.insert(group);
            }
        }
        Ok(())
    }

    /// What a workload does, and what is to be done about it.
    fn follow(&mut self, i: usize, now: Millis) -> Result<(), Lost> {
        if self.watches[i].members.is_empty() {
            let changes = self.watches[i].detector.read(
                curb_core::host::detect::Reading {
                    at: now,
                    ..Default::default()
                },
                None,
            );
            self.tell_changes(i, changes);
            return Ok(());
        }
        self.set_for_each(i)?;
        let kills_before = self.watches[i].counts.oom_kills.unwrap_or(0);
        let counts = self.watches[i].count();
        let killed = counts.oom_kills.unwrap_or(0).saturating_sub(kills_before);
        if killed > 0 {
            let limit = counts.memory_limit;
            self.tell(
                Some(i),
                What::OomKilled {
                    processes: killed,
                    limit,
                },
            );
        }
        let progress = self.progress(i, now)?;
        let changes = self.watches[i].detect(now, progress);
        self.tell_changes(i, changes);
        for order in self.watches[i].climb(now) {
            self.carry_out(i, order, now)?;
        }
        self.try_to_raise(i, now)?;
        self.mind_thrashing(i, now);
        self.end_what_is_left(i, now)
    }

    /// What tells whether a busy workload gets on; not known of others, since it is dear.
    fn progress(&mut self, i: usize, now: Millis) -> Result<Progress, Lost> {
        let due = now.0.saturating_sub(self.progress_at.0) >= PROGRESS_EACH.0;
        if !due || !self.watches[i].is_busy() || self.watches[i].members.len() > PROGRESS_OF {
            return Ok(Progress::default());
        }
        if i + 1 == self.watches.len() {
            self.progress_at = now;
        }
        let mut progress = Progress {
            io_bytes: Some(0),
            waits: Some(0),
            units: None,
        };
        let members: Vec<Who> = self.watches[i].members.values().map(|m| m.who).collect();
        for who in members {
            let waits = self.scan.waits(who.pid);
            progress.waits = progress.waits.zip(waits).map(|(a, b)| a.saturating_add(b));
            let io = match self.hands.ask(&Verb::Io { who })? {
                Answer::Io { bytes } => bytes,
                _ => None,
            };
            progress.io_bytes = progress.io_bytes.zip(io).map(|(a, b)| a.saturating_add(b));
        }
        Ok(progress)
    }

    fn tell_changes(&mut self, i: usize, changes: Vec<Change>) {
        for change in changes {
            let what = match change {
                Change::Began { kind, evidence, .. } => {
                    *self.watches[i].figures.anomalies.entry(kind).or_default() += 1;
                    What::AnomalyBegan {
                        kind,
                        evidence,
                        text: evidence.to_string(),
                    }
                }
                Change::Ended { kind, lasted, .. } => What::AnomalyEnded {
                    kind,
                    lasted_ms: lasted.0,
                },
            };
            self.tell(Some(i), what);
        }
    }

    pub(crate) fn tell(&mut self, i: Option<usize>, what: What) {
        let name = i.and_then(|i| self.watches.get(i)).map(|w| w.name.as_str());
        self.log.tell(wall(), name, what);
    }

    /// Memory of the host that a raise may still take.
    pub(crate) fn memory_left(&self) -> Option<Bytes> {
        curb_host::host::memory_left(&self.layout, self.keep_free())
    }

    pub(crate) fn keep_free(&self) -> Bytes {
        curb_host::host::keep_free(self.limits_file.file().host.keep_free)
    }

    /// What the helper was asked and refused.
    pub(crate) fn helper_counts(&self) -> (u64, u64) {
        self.hands.counts()
    }
}

fn directory(name: &Name) -> String {
    format!("{PREFIX}{}", name.as_str())
}

fn held_by(layout: &Layout) -> HeldBy {
    match layout
        .v1
        .contains_key(&curb_host::layout::Controller::Memory)
    {
        true => HeldBy::GroupV1,
        false => HeldBy::GroupV2,
    }
}

pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The time on the wall.
#[must_use]
pub(crate) fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |d| d.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}
