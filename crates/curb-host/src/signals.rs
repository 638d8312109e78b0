//! Signals that the supervisor gets.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Signals that this process gets while it supervises.
pub(crate) struct Signals {
    child: Stream,
    end: Stream,
    hang_up: Stream,
    interrupt: Stream,
    quit: Stream,
    user_1: Stream,
    user_2: Stream,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// A child has ended.
    Child,
    /// We are asked to end.
    End(Signal),
    /// From a terminal, which gives it to all in front; or from elsewhere.
    Typed(Signal),
    /// To be passed on.
    Pass(Signal),
}

impl Signals {
    pub(crate) fn watch() -> io::Result<Signals> {
        Ok(Signals {
            child: signal(SignalKind::child())?,
            end: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Got {
        tokio::select! {
            _ = self.child.recv() => Got::Child,
            _ = self.end.recv() => Got::End(Signal::TERM),
            _ = self.hang_up.recv() => Got::End(Signal::HUP),
            _ = self.interrupt.recv() => Got::Typed(Signal::INT),
            _ = self.quit.recv() => Got::Typed(Signal::QUIT),
            _ = self.user_1.recv() => Got::Pass(Signal::USR1),
            _ = self.user_2.recv() => Got::Pass(Signal::USR2),
        }
    }
}
