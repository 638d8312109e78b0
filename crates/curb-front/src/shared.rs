//! What all requests of a front share with whoever steers it: one lock, held for microseconds and never across a wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::counts::{Counts, Outcome};
use crate::desk::{Desk, Full, Place, Room, Solitude, Turn};
use crate::flight::Flight;
use crate::limits::FrontLimits;
use crate::pool::Pool;
use crate::reply::Refusal;
use crate::state::{Route, State, Target};
use crate::suspects::{Fingerprint, Standing, Suspects};

/// The news of a death comes when all processes have ended: that long after its connections broke, they belong together.
const TOGETHER: Duration = Duration::from_secs(10);
/// Most broken connections that are remembered for that.
const MOST_LOST: usize = 1024;
/// How long a request whose connection broke waits to learn whether the server died.
const NEWS_WITHIN: Duration = Duration::from_millis(250);

/// Who is so much over its deadline did not notice by itself.
const LATE: Duration = Duration::from_millis(500);

/// Who asks: an address; of IPv6 the network of 64 bits, since one host has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

impl Client {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            v4 => v4,
        })
    }
}

/// What one who waits is told.
pub(crate) enum Called {
    Turn,
    Shut,
}

struct Sent {
    target: Target,
    print: Option<Fingerprint>,
    /// A websocket has none; it ends by itself.
    deadline: Option<Instant>,
    connection: AbortHandle,
}

struct Inner {
    state: State,
    desk: Desk<Client>,
    suspects: Suspects,
    counts: Counts,
    /// Requests that were answered here, by code: a handful.
    refusals: BTreeMap<String, u64>,
    callers: HashMap<Place, oneshot::Sender<Called>>,
    sent: HashMap<Place, Sent>,
    lost: VecDeque<(Instant, Target, Fingerprint)>,
    /// Since when the server was said to be up the last time.
    up_since: Instant,
    /// Whether it has taken a connection since.
    listened: bool,
    /// How long an answer takes, as of late.
    mean: Duration,
}

pub(crate) struct Shared {
    pub(crate) limits: FrontLimits,
    primary: Pool,
    fallback: Option<Pool>,
    inner: Mutex<Inner>,
    /// Counts changes of the state and deaths.
    news: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(limits: FrontLimits) -> Arc<Self> {
        let room = Room {
            in_flight: limits.in_flight,
            queue: limits.queue,
            per_client: limits.share(),
        };
        let inner = Inner {
            state: State::Starting,
            desk: Desk::new(room, true),
            suspects: Suspects::new(limits.suspicion),
            counts: Counts::default(),
            refusals: BTreeMap::new(),
            callers: HashMap::new(),
            sent: HashMap::new(),
            lost: VecDeque::new(),
            up_since: Instant::now(),
            listened: false,
            mean: Duration::ZERO,
        };
        Arc::new(Self {
            primary: Pool::new(limits.to, limits.in_flight),
            fallback: limits.fallback.map(|at| Pool::new(at, limits.in_flight)),
            limits,
            inner: Mutex::new(inner),
            news: watch::Sender::new(0),
        })
    }

    /// Nothing panics while it is held: what a poisoned lock guards is sound.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pool(&self, target: Target) -> &Pool {
        match (target, &self.fallback) {
            (Target::Fallback, Some(fallback)) => fallback,
            _ => &self.primary,
        }
    }

    pub(crate) fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    pub(crate) fn state(&self) -> State {
        self.inner().state.clone()
    }

    /// Where a request goes now, or why it goes nowhere. `None`: it waits for a server that is being started.
    pub(crate) fn route(&self) -> Result<Option<Target>, Refusal> {
        let inner = self.inner();
        match inner.state.route(self.has_fallback()) {
            Route::To(target) => Ok(Some(target)),
            Route::Wait => Ok(None),
            Route::Hold | Route::Shut => Err(Refusal::NotUp(inner.state.clone())),
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        let mut inner = self.inner();
        let starts = |state: &State| matches!(state, State::Starting | State::Up | State::Fallback);
        // From a pause the same server goes on, which has listened before.
        let goes_on = matches!(
            inner.state,
            State::Starting | State::Paused { .. } | State::OverLimit { .. }
        );
        if starts(&state) && inner.state != state && !(goes_on && state == State::Up) {
            inner.up_since = Instant::now();
            inner.listened = false;
        }
        if starts(&state) && matches!(inner.state, State::Restarting { .. }) {
            inner.counts.restarts += 1;
        }
        inner.state = state;
        self.state_changed(inner);
    }

    fn state_changed(&self, mut inner: MutexGuard<'_, Inner>) {
        let route = inner.state.route(self.has_fallback());
        inner.desk.close(!matches!(route, Route::To(_)));
        if route == Route::Shut {
            for place in inner.desk.all_waiting() {
                if let Some(caller) = inner.callers.remove(&place) {
                    let _it_may_have_left = caller.send(Called::Shut);
                }
            }
        }
        pump(&mut inner);
        drop(inner);
        self.news.send_modify(|n| *n += 1);
    }

    /// The server has died: whoever was in flight is a suspect, and gets no answer from it any more.
    pub(crate) fn server_died(&self) {
        let mut inner = self.inner();
        let (state, now) = (inner.state.clone(), Instant::now());
        let mut prints: Vec<Fingerprint> = inner
            .sent
            .values()
            .filter(|sent| state.supervises(sent.target))
            .filter_map(|sent| sent.print)
            .collect();
        let lately = |(at, target, _): &&(Instant, Target, Fingerprint)| {
            state.supervises(*target) && now.saturating_duration_since(*at) < TOGETHER
        };
        prints.extend(inner.lost.iter().filter(lately).map(|(_, _, print)| *print));
        inner
            .lost
            .retain(|(_, target, _)| !state.supervises(*target));
        inner.suspects.died(prints, now);
        inner.counts.deaths += 1;
        if state == State::Up {
            inner.state = State::Restarting {
                why: "it has just died".to_owned(),
                retry_after: Duration::from_secs(1),
            };
        }
        let tunnels =
            |(_, sent): &(&Place, &Sent)| sent.deadline.is_none() && state.supervises(sent.target);
        let tunnels: Vec<Place> = inner
            .sent
            .iter()
            .filter(tunnels)
            .inspect(|(_, sent)| sent.connection.abort())
            .map(|(place, _)| *place)
            .collect();
        self.state_changed(inner);
        for place in tunnels {
            self.leave(place, Outcome::Died, Duration::ZERO);
        }
        self.primary.cut_all();
        if let Some(fallback) = self.fallback.as_ref().filter(|_| state == State::Fallback) {
            fallback.cut_all();
        }
    }

    pub(crate) fn deaths(&self) -> u64 {
        self.inner().counts.deaths
    }

    /// Whether the server's death is told now or within a moment, since there were `before`.
    pub(crate) async fn died_since(&self, before: u64) -> bool {
        let mut news = self.news.subscribe();
        let told = async {
            while self.deaths() == before {
                if news.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(NEWS_WITHIN, told).await.is_ok()
    }

    /// Waits for news of the server, but not for long.
    pub(crate) async fn news(&self, within: Duration) {
        let mut news = self.news.subscribe();
        let _no_news_is_fine = tokio::time::timeout(within, news.changed()).await;
    }

    /// The server took a connection.
    pub(crate) fn listens(&self) {
        self.inner().listened = true;
    }

    /// How long ago it was started, if it has taken no connection since and may still be starting; and whether it ever did.
    pub(crate) fn starting(&self) -> (Option<Duration>, bool) {
        let inner = self.inner();
        let since = inner.up_since.elapsed();
        let young =
            inner.state == State::Starting || (!inner.listened && since < self.limits.start_within);
        (young.then_some(since), inner.listened)
    }

    /// A place for one who arrives.
    pub(crate) fn enter(self: &Arc<Self>, client: Client) -> Result<Flight, Refusal> {
        let mut inner = self.inner();
        match inner.desk.enter(client) {
            Ok(place) => Ok(Flight::new(Arc::clone(self), place)),
            Err(full) => {
                let back_in = back_in(&inner, &self.limits);
                Err(match full {
                    Full::Queue => Refusal::QueueFull {
                        most: self.limits.in_flight + self.limits.queue,
                        back_in,
                    },
                    Full::Client => Refusal::ClientShare {
                        most: self.limits.share(),
                        back_in,
                    },
                })
            }
        }
    }

    pub(crate) fn standing(&self, print: Fingerprint) -> Standing {
        self.inner().suspects.standing(print, Instant::now())
    }

    /// Queues for a turn; what is given back is told when it comes.
    pub(crate) fn wait(&self, place: Place, alone: bool) -> oneshot::Receiver<Called> {
        let (caller, called) = oneshot::channel();
        let mut inner = self.inner();
        inner.desk.wait(place, alone);
        inner.callers.insert(place, caller);
        if inner.state.route(self.has_fallback()) == Route::Shut
            && let Some(caller) = inner.callers.remove(&place)
        {
            let _it_is_here = caller.send(Called::Shut);
        }
        pump(&mut inner);
        called
    }

    /// Why one whose time is over did not get its turn.
    pub(crate) fn waited(&self, after: Duration) -> Refusal {
        let inner = self.inner();
        match inner.state.route(self.has_fallback()) {
            Route::To(_) => Refusal::WaitedTooLong {
                after,
                back_in: back_in(&inner, &self.limits),
            },
            Route::Wait => Refusal::Starting {
                at: self.limits.to,
                since: inner.up_since.elapsed(),
            },
            Route::Hold | Route::Shut => Refusal::NotUp(inner.state.clone()),
        }
    }

    /// From now on the server has it, or may have.
    pub(crate) fn sent(
        &self,
        place: Place,
        target: Target,
        print: Option<Fingerprint>,
        deadline: Instant,
        connection: AbortHandle,
    ) {
        let sent = Sent {
            target,
            print,
            deadline: Some(deadline),
            connection,
        };
        self.inner().sent.insert(place, sent);
    }

    /// What it has is a websocket from now on: it has no deadline but what it keeps by itself, and nothing is known of it by
    /// which it could be suspected.
    pub(crate) fn is_tunnel(&self, place: Place, task: AbortHandle) {
        if let Some(sent) = self.inner().sent.get_mut(&place) {
            sent.deadline = None;
            sent.print = None;
            sent.connection = task;
        }
    }

    /// Frees the places of those whose time is over and whose clients take so little of the answer that nobody noticed.
    pub(crate) fn cut_late(&self) {
        let now = Instant::now();
        let late: Vec<Place> = {
            let inner = self.inner();
            let late = |(_, sent): &(&Place, &Sent)| sent.deadline.is_some_and(|d| now > d + LATE);
            let late = inner.sent.iter().filter(late);
            late.inspect(|(_, sent)| sent.connection.abort())
                .map(|(place, _)| *place)
                .collect()
        };
        for place in late {
            self.leave(place, Outcome::ServerTooLong, self.limits.deadline);
        }
    }

    /// A request whose body ended only while it was sent has its fingerprint now. What is given back, if anything, is told
    /// when it is alone.
    pub(crate) fn vouch(
        &self,
        place: Place,
        print: Fingerprint,
    ) -> Result<Option<oneshot::Receiver<Called>>, Refusal> {
        let mut inner = self.inner();
        let alone = match inner.suspects.standing(print, Instant::now()) {
            Standing::Clean => Solitude::Now,
            Standing::Suspect => inner.desk.seclude(place),
            Standing::Refused { deaths, left } => {
                return Err(Refusal::Suspected { deaths, left });
            }
        };
        if let Some(sent) = inner.sent.get_mut(&place) {
            sent.print = Some(print);
        }
        match alone {
            Solitude::Now => Ok(None),
            Solitude::Taken => Err(Refusal::SuspectBusy),
            Solitude::Later => {
                let (caller, called) = oneshot::channel();
                inner.callers.insert(place, caller);
                Ok(Some(called))
            }
        }
    }

    /// It is its turn.
    pub(crate) fn has_its_turn(&self, took: Duration) {
        self.inner().counts.wait.add(took);
    }

    /// It is sent over another connection.
    pub(crate) fn retried(&self) {
        self.inner().counts.retried += 1;
    }

    /// A request was answered here.
    pub(crate) fn answered_here(&self, code: String) {
        *self.inner().refusals.entry(code).or_default() += 1;
    }

    /// Requests that were answered here, by code.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
        self.inner().refusals.clone()
    }

    /// The head of an answer has come.
    pub(crate) fn first_byte(&self, took: Duration) {
        self.inner().counts.first_byte.add(took);
    }

    /// A request that had a place is over.
    pub(crate) fn leave(&self, place: Place, outcome: Outcome, took: Duration) {
        let mut inner = self.inner();
        if !inner.desk.leave(place) {
            return;
        }
        inner.counts.end(outcome);
        inner.callers.remove(&place);
        let sent = inner.sent.remove(&place);
        let print = sent.and_then(|sent| Some((sent.target, sent.print?)));
        match (outcome, print) {
            (Outcome::Passed | Outcome::PassedToFallback, print) => {
                inner.counts.whole.add(took);
                inner.mean = if inner.mean.is_zero() {
                    took
                } else {
                    (inner.mean * 7 + took) / 8
                };
                if let Some((_, print)) = print {
                    inner.suspects.clear(print);
                }
            }
            (Outcome::BrokeOff, Some((target, print))) => {
                if inner.lost.len() >= MOST_LOST {
                    inner.lost.pop_front();
                }
                inner.lost.push_back((Instant::now(), target, print));
            }
            _ => {}
        }
        pump(&mut inner);
    }

    /// A request that never had a place is over.
    pub(crate) fn refused(&self, outcome: Outcome) {
        self.inner().counts.end(outcome);
    }

    pub(crate) fn counts(&self) -> Counts {
        let inner = self.inner();
        Counts {
            in_flight: inner.desk.running(),
            queued: inner.desk.waiting(),
            present: inner.desk.present(),
            suspects: inner.suspects.len(),
            ..inner.counts
        }
    }
}

fn pump(inner: &mut Inner) {
    while let Some(turn) = inner.desk.call_next() {
        let (Turn::Run(place) | Turn::Alone(place)) = turn;
        if let Some(caller) = inner.callers.remove(&place) {
            // One that has just left gives its place back by itself.
            let _it_may_have_left = caller.send(Called::Turn);
        }
    }
}

/// When somebody who comes now would have its turn, by how long answers took of late.
fn back_in(inner: &Inner, limits: &FrontLimits) -> Duration {
    let before = u32::try_from(inner.desk.waiting() + 1).unwrap_or(u32::MAX);
    let at_once = u32::try_from(limits.in_flight).unwrap_or(u32::MAX).max(1);
    inner.mean.saturating_mul(before) / at_once
}
