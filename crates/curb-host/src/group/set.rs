//! The group's limits, also of one that runs.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::files::{at, number, write};
use super::{Group, Place};
use crate::devices::Device;
use crate::layout::Controller;
use crate::limits::{Bytes, CpuSet, Limits, MilliCpu};

/// CPU quotas are for this period (the kernel's own default).
const PERIOD_MICROS: u64 = 100_000;
/// Weights of version 2 are told in parts of 100, shares of version 1 in parts of 1024; so does systemd.
const USUAL_WEIGHT: u64 = 100;
const USUAL_SHARES: u64 = 1024;

impl Group {
    pub(super) fn set(&self, limits: &Limits) -> io::Result<()> {
        if let Some(most) = limits.memory {
            self.set_memory(most, limits.swap.unwrap_or(Bytes(0)))?;
        }
        if limits.memory_high.is_some() && self.is_v2(Controller::Memory) {
            self.set_memory_high(limits.memory_high)?;
        }
        if limits.cpu.is_some() {
            self.set_cpu(limits.cpu)?;
        }
        if let Some(weight) = limits.cpu_weight {
            self.set_weight(u64::from(weight))?;
        }
        if let Some(cpus) = &limits.cpu_set {
            self.set_cpus(cpus)?;
        }
        match (self.place(Controller::Pids), limits.tasks) {
            (Some(place), Some(most)) => write(&place.dir.join("pids.max"), most),
            _ => Ok(()),
        }
    }

    fn is_v2(&self, controller: Controller) -> bool {
        self.place(controller).is_some_and(|p| p.v2)
    }

    /// Limits memory, also anew: more of it, or less. Nothing where the kernel offers no such limit here.
    ///
    /// # Errors
    /// The kernel refused it: less than there is now, and nothing could be given back.
    pub fn set_memory(&self, Bytes(most): Bytes, Bytes(swap): Bytes) -> io::Result<()> {
        let Some(Place { dir, v2 }) = self.place(Controller::Memory) else {
            return Ok(());
        };
        if *v2 {
            write(&dir.join("memory.max"), most)?;
            // Not there where the kernel was built or started without counting swap.
            let file = dir.join("memory.swap.max");
            return if file.exists() {
                write(&file, swap)
            } else {
                Ok(())
            };
        }
        let (memory, both) = (
            dir.join("memory.limit_in_bytes"),
            dir.join("memory.memsw.limit_in_bytes"),
        );
        let together = most.saturating_add(swap);
        match number(&both) {
            None => write(&memory, most),
            // The two together are never less than memory alone: which is first depends on the direction.
            Some(now) if together > now => {
                write(&both, together)?;
                write(&memory, most)
            }
            Some(_) => {
                write(&memory, most)?;
                write(&both, together)
            }
        }
    }

    /// Slows it down above so much memory; `None` never does.
    ///
    /// # Errors
    /// There is no such limit (version 1), or the kernel refused it.
    pub fn set_memory_high(&self, high: Option<Bytes>) -> io::Result<()> {
        match self.place(Controller::Memory) {
            Some(Place { dir, v2: true }) => {
                let text = high.map_or_else(|| "max".to_owned(), |b| b.0.to_string());
                write(&dir.join("memory.high"), text)
            }
            _ => Err(io::Error::other(
                "memory.high needs control groups of version 2",
            )),
        }
    }

    /// Whether it waits at its memory limit until that is raised, in place of being killed (version 1).
    ///
    /// # Errors
    /// There is no such choice (version 2), or the kernel refused it.
    pub fn wait_at_memory_limit(&self, wait: bool) -> io::Result<()> {
        match self.place(Controller::Memory) {
            Some(Place { dir, v2: false }) => {
                write(&dir.join("memory.oom_control"), u8::from(wait))
            }
            _ => Err(io::Error::other(
                "to wait at the limit needs control groups of version 1",
            )),
        }
    }

    /// Limits CPU time, also anew; `None` takes the limit away.
    ///
    /// # Errors
    /// There is no such limit here, or the kernel refused it.
    pub fn set_cpu(&self, cpu: Option<MilliCpu>) -> io::Result<()> {
        let Some(Place { dir, v2 }) = self.place(Controller::Cpu) else {
            return Ok(());
        };
        let quota = cpu.map(|c| c.0.saturating_mul(PERIOD_MICROS) / 1000);
        if *v2 {
            let quota = quota.map_or_else(|| "max".to_owned(), |q| q.to_string());
            return write(&dir.join("cpu.max"), format!("{quota} {PERIOD_MICROS}"));
        }
        write(&dir.join("cpu.cfs_period_us"), PERIOD_MICROS)?;
        let quota = quota.map_or_else(|| "-1".to_owned(), |q| q.to_string());
        write(&dir.join("cpu.cfs_quota_us"), quota)
    }

    pub(super) fn set_weight(&self, weight: u64) -> io::Result<()> {
        match self.place(Controller::Cpu) {
            None => Ok(()),
            Some(Place { dir, v2: true }) => write(&dir.join("cpu.weight"), weight),
            Some(Place { dir, .. }) => {
                let shares = weight.saturating_mul(USUAL_SHARES) / USUAL_WEIGHT;
                write(&dir.join("cpu.shares"), shares.max(2))
            }
        }
    }

    pub(super) fn set_cpus(&self, cpus: &CpuSet) -> io::Result<()> {
        let Some(Place { dir, v2 }) = self.place(Controller::Cpuset) else {
            return Ok(());
        };
        if !v2 {
            // Without memory nodes nothing can enter: those of the group above.
            let above = dir.parent().unwrap_or(dir).join("cpuset.mems");
            let nodes = fs::read_to_string(&above).map_err(at(&above))?;
            write(&dir.join("cpuset.mems"), nodes.trim())?;
        }
        write(&dir.join("cpuset.cpus"), cpus)
    }

    /// Takes the limits on reading and writing away, of all disks that have one here.
    pub fn lift_io(&self) {
        let Some(Place { dir, v2 }) = self.place(Controller::Io) else {
            return;
        };
        let files: &[(&str, &str)] = match v2 {
            true => &[("io.max", "rbps=max wbps=max")],
            false => &[
                ("blkio.throttle.read_bps_device", "0"),
                ("blkio.throttle.write_bps_device", "0"),
            ],
        };
        for (file, none) in files {
            let file = dir.join(file);
            let text = fs::read_to_string(&file).unwrap_or_default();
            for device in text.lines().filter_map(|l| l.split_whitespace().next()) {
                // A disk that is gone takes nothing, and limits nothing.
                let _it_may_be_gone = write(&file, format!("{device} {none}"));
            }
        }
    }

    /// Limits reading from and writing to disks, in bytes a second. Gives those that the kernel refused, with the reason.
    pub fn set_io(&self, limits: &Limits, devices: &BTreeSet<Device>) -> Vec<String> {
        let Some(Place { dir, v2 }) = self.place(Controller::Io) else {
            return Vec::new();
        };
        let mut refused = Vec::new();
        for device in devices {
            let sides = [
                (limits.io_read, "rbps", "blkio.throttle.read_bps_device"),
                (limits.io_write, "wbps", "blkio.throttle.write_bps_device"),
            ];
            for (limit, key, file) in sides {
                let Some(limit) = limit else { continue };
                let written = match v2 {
                    true => write(&dir.join("io.max"), format!("{device} {key}={}", limit.0)),
                    false => write(&dir.join(file), format!("{device} {}", limit.0)),
                };
                refused.extend(written.err().map(|e| e.to_string()));
            }
        }
        refused
    }
}
