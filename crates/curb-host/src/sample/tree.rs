//! The processes below one, where no group says who belongs together.

use std::collections::BTreeSet;

use crate::proc::{Procfs, Stat};

/// The most processes that are followed.
const MOST: usize = 4096;

/// The processes below these (children, their children and so on), without themselves, ascending. One whose parent has ended
/// belongs to whoever has taken it over.
#[must_use]
pub fn descendants(procfs: &Procfs, roots: &[u32]) -> Vec<u32> {
    let mut found = BTreeSet::new();
    let mut open: Vec<u32> = roots.to_vec();
    while let Some(pid) = open.pop() {
        let Some(children) = children(procfs, pid) else {
            return by_parents(procfs, roots);
        };
        for child in children {
            if found.len() < MOST && found.insert(child) {
                open.push(child);
            }
        }
    }
    found.into_iter().collect()
}

/// As the kernel lists them for each thread. `None`: this kernel does not; no children: the process has ended.
fn children(procfs: &Procfs, pid: u32) -> Option<Vec<u32>> {
    let Ok(process) = procfs.process(pid) else {
        return Some(Vec::new());
    };
    let mut all = Vec::new();
    for (tid, _) in process.threads().unwrap_or_default() {
        match process.text_below("task", tid, "children") {
            Ok(text) => all.extend(
                text.split_ascii_whitespace()
                    .filter_map(|n| n.parse::<u32>().ok()),
            ),
            // Its thread has ended; or there is no such file at all.
            Err(_) if process.stat().is_err() => {}
            Err(_) if tid == pid => return None,
            Err(_) => {}
        }
    }
    Some(all)
}

/// By everybody's parent: dear on a machine with many processes.
pub(super) fn by_parents(procfs: &Procfs, roots: &[u32]) -> Vec<u32> {
    let pids = procfs.pids().unwrap_or_default();
    let parent = |pid: u32| {
        let stat: Stat = procfs.process(pid).ok()?.stat().ok()?;
        Some((pid, stat.parent))
    };
    let pairs: Vec<(u32, u32)> = pids.into_iter().filter_map(parent).collect();
    let mut found: BTreeSet<u32> = BTreeSet::new();
    loop {
        let below = |p: &&(u32, u32)| roots.contains(&p.1) || found.contains(&p.1);
        let new: Vec<u32> = pairs
            .iter()
            .filter(below)
            .map(|p| p.0)
            .filter(|pid| !found.contains(pid))
            .collect();
        if new.is_empty() || found.len() >= MOST {
            return found.into_iter().collect();
        }
        found.extend(new);
    }
}
