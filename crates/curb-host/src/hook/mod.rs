//! What a Python program tells of itself: a module of ours in its interpreter, and the socket that it sends to.
//!
//! The module comes with this binary and is written to a directory that only this user can look into. It is found through
//! `PYTHONPATH`, as a `sitecustomize` that runs the program's own after it. Whoever starts Python with `-S`, `-I` or `-E`, or
//! is no Python program, sends nothing: the hook is then *not there*, and no reading of it is made up.
//!
//! What it says is the program's own word. Figures may come from it; who somebody is, and what is signalled, never do.

mod message;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::scratch::{Kind, Scratch};
pub use message::{Message, MlxCounters, Said};

const PACKAGE: &str = include_str!("../../../../python/src/curb_hook/__init__.py");
const SHIM: &str = include_str!("../../../../python/src/curb_hook/sitecustomize.py");

/// The longest message that is read; longer ones are cut, and then make no sense.
const LONGEST: usize = 2048;
/// The most messages that are taken at a time, so that one who sends without end keeps nobody busy.
const AT_A_TIME: usize = 1000;

/// MLX's own limits, which the hook sets once MLX is there. `None` is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MlxLimits {
    /// What it keeps of freed memory. It holds itself to this.
    pub cache: Option<u64>,
    /// Its memory. Advisory: it goes past it.
    pub memory: Option<u64>,
    /// macOS: what it keeps resident.
    pub wired: Option<u64>,
}

/// The hook's files and its socket. Dropping it removes them.
#[derive(Debug)]
pub struct Hook {
    dir: Scratch,
    socket: UnixDatagram,
}

impl Hook {
    /// Writes the files to a new directory below that of temporary files, and listens.
    ///
    /// # Errors
    /// Nothing can be written there. A program runs without its hook as well.
    pub fn install() -> io::Result<Hook> {
        Hook::install_in(&std::env::temp_dir())
    }

    /// The same, below another directory.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn install_in(parent: &Path) -> io::Result<Hook> {
        let dir = Scratch::new_in(Kind::Hook, parent)?;
        fill(dir.path())?;
        let socket = listen(dir.path())?;
        Ok(Hook { dir, socket })
    }

    /// What a command has to find in its environment, given the `PYTHONPATH` that it would have had.
    #[must_use]
    pub fn environment(
        &self,
        path: Option<&OsStr>,
        limits: &MlxLimits,
    ) -> Vec<(OsString, OsString)> {
        let mut python_path = self.dir.path().as_os_str().to_owned();
        // An empty one means the working directory only where something stands before or after it.
        if let Some(path) = path.filter(|p| !p.is_empty()) {
            python_path.push(":");
            python_path.push(path);
        }
        let mut all = vec![
            ("PYTHONPATH".into(), python_path),
            (
                "CURB_HOOK".into(),
                self.dir.path().join("socket").into_os_string(),
            ),
        ];
        for (name, value) in [
            ("CURB_MLX_CACHE", limits.cache),
            ("CURB_MLX_MEMORY", limits.memory),
            ("CURB_MLX_WIRED", limits.wired),
        ] {
            all.extend(value.map(|bytes| (name.into(), bytes.to_string().into())));
        }
        all
    }

    /// Puts it into the environment of a command that inherits ours.
    pub fn put_into(&self, command: &mut Command, limits: &MlxLimits) {
        let path = std::env::var_os("PYTHONPATH");
        command.envs(self.environment(path.as_deref(), limits));
    }

    /// What has come since it was last asked. Never waits; what is no message of ours is left out.
    pub fn received(&self) -> Vec<Message> {
        let mut buffer = [0_u8; LONGEST];
        let mut all = Vec::new();
        for _ in 0..AT_A_TIME {
            match self.socket.recv(&mut buffer) {
                Ok(length) => all.extend(Message::parse(&buffer[..length])),
                Err(_nothing_waits) => break,
            }
        }
        all
    }
}

fn fill(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("curb_hook"))?;
    fs::write(dir.join("curb_hook/__init__.py"), PACKAGE)?;
    fs::write(dir.join("sitecustomize.py"), SHIM)
}

fn listen(dir: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind(dir.join("socket"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
