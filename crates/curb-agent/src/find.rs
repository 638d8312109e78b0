//! A close look at one process: is it a workload, and which?

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use curb_host::proc::Process;
use curb_host::scan::{Pages, cpu_and_threads};

use crate::hands::{Hands, Lost};
use crate::helper::PREFIX;
use crate::homes::Homes;
use crate::rules::{Closer, Facts, Place, Rules};
use crate::wire::{Answer, Name, Verb, Who};

/// What is known of a process.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// Which.
    pub who: Who,
    /// The workload that it is, by its place among them.
    pub is: Option<usize>,
    /// Why it is not in its group.
    pub outside: Option<String>,
    /// Its `stat`, where it is only watched.
    pub stat: Option<Rc<OwnedFd>>,
}

impl About {
    /// CPU time in microseconds, and threads.
    pub fn used(&self) -> Option<(u64, u64)> {
        cpu_and_threads(self.stat.as_deref()?)
    }
}

/// A process that was found to be a workload and is not in its group yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub watch: usize,
    pub who: Who,
    pub user: Option<u32>,
    pub by: String,
    /// A service or a container has it.
    pub kept_by: Option<String>,
}

/// The looks of one round.
pub(crate) struct Look<'a> {
    pub homes: &'a Homes,
    pub rules: &'a Rules,
    pub hands: &'a mut Hands,
    pub names: &'a BTreeMap<Name, usize>,
    /// Members of workloads by number.
    pub parents: &'a BTreeMap<u32, usize>,
    pub found: Vec<Found>,
    pub lost: Option<Lost>,
}

impl Look<'_> {
    /// Whether a process that is new or has changed is a workload.
    pub fn at(
        &mut self,
        process: &Process,
        pages: Pages,
        before: Option<&About>,
    ) -> io::Result<About> {
        let id = process.id();
        let who = Who {
            pid: id.pid,
            start: id.start,
        };
        let mut about = About {
            who,
            is: None,
            outside: None,
            stat: None,
        };
        if let Some(before) = before.filter(|b| b.who == who && b.outside.is_some()) {
            // It is known what it is, and why it is only watched.
            return Ok(before.clone());
        }
        // A part of the kernel, or one that has ended.
        if pages.resident == 0 || self.lost.is_some() {
            return Ok(about);
        }
        let groups = process.text("cgroup")?;
        let place = Place::parse(&groups);
        if let Some(ours) = &place.ours {
            // In a group of ours already; one of `curb run` is in good hands, and so is one of another agent.
            let of_this_agent = self.homes.have(&groups);
            let name = ours.strip_prefix(PREFIX).filter(|_| of_this_agent);
            let name = name.and_then(Name::new);
            about.is = name.and_then(|n| self.names.get(&n).copied());
            return Ok(about);
        }
        let user = process.status()?.user;
        let parent = match before {
            None => process.stat().ok().map(|s| s.parent),
            Some(_) => None,
        };
        let kept_by = place.keeper();
        let of_a_member = parent.and_then(|p| Some((p, *self.parents.get(&p)?)));
        let (watch, by) = match of_a_member {
            Some((parent, watch)) => (watch, format!("being started by process {parent}")),
            None => {
                let facts = Facts { user, place };
                let mut closer = Looker {
                    process,
                    who,
                    hands: &mut *self.hands,
                    lost: None,
                };
                let which = self
                    .rules
                    .which(&facts, &mut closer)
                    .map(|(r, by)| (r.name.clone(), by));
                self.lost = closer.lost;
                let Some((name, by)) = which else {
                    return Ok(about);
                };
                let Some(watch) = self.names.get(&name) else {
                    return Ok(about);
                };
                (*watch, by)
            }
        };
        about.stat = process.open("stat").ok().map(Rc::new);
        self.found.push(Found {
            watch,
            who,
            user,
            by,
            kept_by,
        });
        Ok(about)
    }
}

/// Looks at what is dear: its arguments by itself, the rest through the helper.
struct Looker<'a> {
    process: &'a Process,
    who: Who,
    hands: &'a mut Hands,
    lost: Option<Lost>,
}

impl Looker<'_> {
    fn ask(&mut self, verb: &Verb) -> Option<Answer> {
        match self.hands.ask(verb) {
            Ok(answer) => Some(answer),
            Err(lost) => {
                self.lost = Some(lost);
                None
            }
        }
    }
}

impl Closer for Looker<'_> {
    fn command(&mut self) -> Option<String> {
        self.process.command_line().ok()
    }

    fn libraries(&mut self, names: &[String]) -> Option<Vec<usize>> {
        let verb = Verb::Libraries {
            who: self.who,
            names: names.to_vec(),
        };
        match self.ask(&verb)? {
            Answer::Found { places } => Some(places),
            _ => None,
        }
    }

    fn variable(&mut self, name: &str, value: &str) -> Option<bool> {
        let verb = Verb::Variable {
            who: self.who,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        match self.ask(&verb)? {
            Answer::Is { yes } => Some(yes),
            _ => None,
        }
    }
}
