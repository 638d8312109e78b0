//! Upgrades that were granted, for the service that asked to.
//!
//! hyper hands a connection on to whoever polls its [`OnUpgrade`], and to one of them alone. Here the listener keeps it
//! until the answer is settled: a service gets the connection if its 101 goes out, and learns otherwise that it does not.

use http::Request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::sync::oneshot;

/// What a request that asks for an upgrade has in its extensions.
#[derive(Debug)]
struct Asked(oneshot::Receiver<OnUpgrade>);

// Extensions have to be `Clone`; a clone of a request is not the one that asked.
impl Clone for Asked {
    fn clone(&self) -> Self {
        Self(oneshot::channel().1)
    }
}

/// The listener's end: dropped, it declines.
#[derive(Debug)]
pub(crate) struct Grant(OnUpgrade, oneshot::Sender<OnUpgrade>);

impl Grant {
    /// Takes hyper's upgrade out of the request, and leaves one that waits for the answer.
    pub(crate) fn of<B>(request: &mut Request<B>) -> Option<Self> {
        let upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
        let (grant, asked) = oneshot::channel();
        request.extensions_mut().insert(Asked(asked));
        Some(Self(upgrade, grant))
    }

    /// The 101 goes out: the service has the connection. One that does not want it any more closes it.
    pub(crate) fn give(self) {
        let Self(upgrade, grant) = self;
        let _nobody_waits = grant.send(upgrade);
    }

    /// No 101 goes out: the service is told, and the caller has the connection.
    pub(crate) fn decline(self) -> OnUpgrade {
        self.0
    }
}

/// The connection, once the 101 that answers the request has gone out. `None` if none went out, or if the request asked
/// for no upgrade, or if this was asked before.
pub fn on<B>(request: &mut Request<B>) -> impl Future<Output = Option<Upgraded>> + Send + use<B> {
    let asked = request.extensions_mut().remove::<Asked>();
    async move {
        let upgrade = asked?.0.await.ok()?;
        upgrade.await.ok()
    }
}
