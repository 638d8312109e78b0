//! Which disks a command works on: what limits on reading and writing are set for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::proc::Process;

/// A block device by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    major: u32,
    minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The disks behind the working directory and the files that the command names (its model, its data); empty where none is
/// known (a file system that is not on one disk of its own).
#[must_use]
pub fn behind(command: &[OsString]) -> BTreeSet<Device> {
    let named = command.iter().map(Path::new).filter(|p| p.exists());
    let paths = std::iter::once(Path::new(".")).chain(named);
    paths.filter_map(of).collect()
}

/// The disk that a process works on, by its working directory.
#[must_use]
pub fn of_process(process: &Process) -> Option<Device> {
    let (major, minor) = process.working_device().ok()?;
    whole(Device { major, minor })
}

fn of(path: &Path) -> Option<Device> {
    let number = std::fs::metadata(path).ok()?.dev();
    let device = Device {
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
    };
    whole(device)
}

/// Limits are for whole disks, a partition has none of its own.
fn whole(device: Device) -> Option<Device> {
    let dir = Path::new("/sys/dev/block").join(device.to_string());
    if !dir.join("partition").exists() {
        return dir.exists().then_some(device);
    }
    let text = std::fs::read_to_string(dir.join("../dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}
