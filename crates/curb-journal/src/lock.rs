//! One writer per data directory: an advisory lock that the kernel drops with the process, however it dies.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::OpenError;

/// Name of the lock file in the data directory. It holds the pid of the writer as decimal text.
pub const LOCK_FILE: &str = "lock";

/// Held for as long as this process may write the journal.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file would not be enough while a child that was forked a moment ago still has it: until it executes
        // its program, it holds the lock as well. That this fails has no remedy, and closing is tried by the system.
        let _ = self.file.unlock();
    }
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(LOCK_FILE);
        let file_error = |doing| {
            let path = path.clone();
            move |source| OpenError::File {
                doing,
                path,
                source,
            }
        };
        // Not truncated here: until the lock is ours, the text in it is the holder's.
        let mut file = crate::files::private_file(&path).map_err(file_error("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    dir: dir.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(file_error("lock")(source)),
        }
        // The pid is only for the message that the next one gets, but a message that names a wrong pid is
        // worse than none: when it cannot be written the old text must be gone.
        file.set_len(0).map_err(file_error("empty"))?;
        let pid = std::process::id().to_string();
        if file.write_all(pid.as_bytes()).is_err() {
            file.set_len(0).map_err(file_error("empty"))?;
        }
        Ok(Self { file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
