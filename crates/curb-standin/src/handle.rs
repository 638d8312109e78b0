//! A running stand-in, held by a test.

use crate::fault::{Chaos, Fault};
use crate::options::Options;
use crate::server::{Command, Shared, run};
use crate::world::{Memory, PackageHasher, Request, Start, World};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Commands that may wait for the listener.
const MAX_COMMANDS: usize = 16;

/// Starts stand-ins.
#[derive(Debug)]
pub struct Standin;

impl Standin {
    /// Starts one on a thread of its own, with a runtime of its own: usable from tests with and
    /// without async. It ends when the handle is dropped.
    pub fn spawn(options: Options) -> io::Result<Handle> {
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (stop, stopped) = watch::channel(());
        let shared = Arc::new(Shared::new(World::new(options)?, commands));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("ray-standin".to_owned())
            .spawn(move || {
                let result = runtime.block_on(async {
                    run(
                        tokio::net::TcpListener::from_std(listener)?,
                        served,
                        inbox,
                        stopped,
                    )
                    .await
                });
                runtime.shutdown_background();
                result
            })?;
        Ok(Handle {
            addr,
            shared,
            stop,
            thread: Some(thread),
        })
    }
}

/// A running stand-in: its address, its counters, and its troubles. Dropping it ends it.
pub struct Handle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The name of the pretended head's session.
    pub fn session(&self) -> String {
        self.shared.lock().session().to_owned()
    }

    /// How many jobs were started, over all sessions, claims among them.
    pub fn total_starts(&self) -> usize {
        self.shared.lock().total_starts()
    }

    /// How often an id was started, over all sessions.
    pub fn starts_of(&self, id: &str) -> u32 {
        self.shared.lock().starts_of(id)
    }

    /// Every start in order.
    pub fn starts(&self) -> Vec<Start> {
        self.shared.lock().starts(0, usize::MAX)
    }

    /// How many requests came for Ray's API.
    pub fn requests(&self) -> u64 {
        self.shared.lock().requests.count()
    }

    /// The requests for Ray's API that came after the first `before` of them (see [`Handle::requests`]), in order; those
    /// that were refused or not understood are among them.
    ///
    /// # Panics
    /// More came than are kept (4,096): a test that looks for what did not come would prove nothing.
    pub fn requests_after(&self, before: u64) -> Vec<Request> {
        self.shared
            .lock()
            .requests
            .after(before)
            .expect("no more requests than are kept")
    }

    /// Adds a fault behind those that wait.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().script.add(fault);
    }

    /// Makes submissions go wrong at random from now on.
    pub fn chaos(&self, chaos: Chaos) {
        let mut world = self.shared.lock();
        let seed = world.options.seed;
        world.script.set_chaos(chaos, seed);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().script.clear();
    }

    /// The head goes and comes back; returns the name of its session. Connections stay: for the time
    /// in between, see [`Handle::refuse_connections`].
    pub fn restart(&self, memory: Memory) -> String {
        self.shared.lock().restart(memory)
    }

    /// Closes all connections and refuses new ones for `pause`. Returns once nothing listens.
    pub fn refuse_connections(&self, pause: Duration) {
        let (closed, wait) = std::sync::mpsc::sync_channel(1);
        if self.shared.command(Command::Refuse(pause, closed)) {
            let _an_ended_server_refuses_too = wait.recv_timeout(Duration::from_secs(5));
        }
    }

    /// Deletes a record behind everybody's back; false if there is none.
    pub fn forget(&self, id: &str) -> bool {
        self.shared.lock().forget(id)
    }

    /// Tells another status of a job than it has; none for the truth. False if there is no record.
    pub fn lie(&self, id: &str, status: Option<&str>) -> bool {
        self.shared.lock().lie(id, status.map(str::to_owned))
    }

    /// Ends a job now; false if it is not there or has ended.
    pub fn finish(&self, id: &str, exit_code: i32) -> bool {
        self.shared.lock().finish(id, exit_code)
    }

    /// Whether there is a record under `id`.
    pub fn has_job(&self, id: &str) -> bool {
        self.shared.lock().has_job(id)
    }

    /// Whether a package of exactly these bytes is there.
    pub fn has_package(&self, name: &str, bytes: &[u8]) -> bool {
        let mut hasher = PackageHasher::default();
        hasher.feed(bytes);
        self.shared.lock().package(name) == Some(hasher.finish())
    }

    /// Drops a package, as Ray does with what nothing refers to; false if there was none.
    pub fn drop_package(&self, name: &str) -> bool {
        self.shared.lock().drop_package(name)
    }

    /// Waits until it ends by itself, which it does only by an error of its listener.
    pub fn wait(mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the stand-in's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _already_ended = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _nobody_asks_how_it_ended = thread.join();
        }
    }
}
