//! A group that was made before, by another process of ours, and other limits for it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::files::write;
use super::{Group, Place};
use crate::layout::{Controller, Layout};
use crate::limits::{Bytes, Limits};

/// No limit, as a number that both versions take.
const NO_LIMIT: Bytes = Bytes(1 << 62);

impl Group {
    /// A group of this name that is there already, below our own place.
    #[must_use]
    pub fn find(layout: &Layout, name: &str) -> Option<Group> {
        let mut group = Group {
            name: name.to_owned(),
            places: BTreeMap::new(),
            unified: None,
            missing: Vec::new(),
        };
        for (controller, own) in &layout.v1 {
            let dir = own.join(name);
            if is_directory(&dir) {
                group.places.insert(*controller, Place { dir, v2: false });
            }
        }
        if let Some(unified) = &layout.v2 {
            let dir = unified.dir.join(name);
            if is_directory(&dir) {
                let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
                for controller in Controller::ALL {
                    if text.split_whitespace().any(|c| c == controller.name()) {
                        let place = Place {
                            dir: dir.clone(),
                            v2: true,
                        };
                        group.places.entry(controller).or_insert(place);
                    }
                }
                group.unified = Some(dir);
            }
        }
        group.is_any().then_some(group)
    }

    /// Other limits from here on; what is not given is no longer limited. Gives what could not be changed, and why; the
    /// limits before stay there.
    pub fn change(&self, limits: &Limits) -> Vec<String> {
        let mut failed = Vec::new();
        failed.extend(self.change_memory(limits).err());
        let mut tried = |what: &str, result: io::Result<()>| {
            failed.extend(result.err().map(|e| format!("{what}: {e}")));
        };
        if self.place(Controller::Memory).is_some_and(|p| p.v2) {
            tried("memory_high", self.set_memory_high(limits.memory_high));
        }
        tried("cpu", self.set_cpu(limits.cpu));
        if let Some(weight) = limits.cpu_weight {
            tried("cpu_weight", self.set_weight(u64::from(weight)));
        }
        if let Some(cpus) = &limits.cpu_set {
            tried("cpu_set", self.set_cpus(cpus));
        }
        if let Some(place) = self.place(Controller::Pids) {
            let most = limits
                .tasks
                .map_or_else(|| "max".to_owned(), |n| n.to_string());
            tried("processes", write(&place.dir.join("pids.max"), most));
        }
        failed
    }

    /// The kernel would end processes at once that hold more than a new limit: such a limit is refused here.
    fn change_memory(&self, limits: &Limits) -> Result<(), String> {
        let now = self.counts();
        if let (Some(most), Some(held)) = (limits.memory, now.memory) {
            let cache = now.memory_idle_cache.map_or(0, |b| b.0);
            let held = Bytes(held.0.saturating_sub(cache));
            let lower = now.memory_limit.is_none_or(|was| most < was);
            if lower && held > most {
                return Err(format!(
                    "memory: it holds {held} now: with a limit of {most} the kernel would end it; the limit stays as it was"
                ));
            }
        }
        let (most, swap) = match limits.memory {
            Some(most) => (most, limits.swap.unwrap_or(Bytes(0))),
            None => (NO_LIMIT, limits.swap.unwrap_or(NO_LIMIT)),
        };
        self.set_memory(most, swap)
            .map_err(|e| format!("memory: {e}"))
    }

    /// Removes it; it stays known if that fails.
    ///
    /// # Errors
    /// Something still lives in it.
    pub fn remove_within(&mut self, within: Duration) -> io::Result<()> {
        self.take_down(within)
    }
}

fn is_directory(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir())
}
