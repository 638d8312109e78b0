//! Running the queue ahead for those who ask when a job will start: beside the engine, one at a time, so that however many
//! ask, who submits does not wait for it. Each run is bounded to some milliseconds by the core.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::TailCount;

/// How long an answer waits for its turn; after that it is given without an expected start. `curb explain` is to answer
/// within 100 ms.
const TURN_WITHIN: Duration = Duration::from_millis(60);
/// Questions of one user that wait for their turn.
const EACH: usize = 2;
/// Questions that wait for theirs.
const ALL: usize = 32;

const BUSY: &str = "too many ask at the moment; ask again in a while";

/// Whose turn it is.
#[derive(Debug)]
pub struct Forecasts {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
    line: Arc<TailCount>,
}

impl Default for Forecasts {
    fn default() -> Forecasts {
        Forecasts {
            own: Arc::new(Semaphore::new(1)),
            shared: Arc::new(Semaphore::new(1)),
            line: Arc::default(),
        }
    }
}

impl Forecasts {
    /// Does work that runs the queue ahead for its asker alone, if it is `long`. What keeps it from that, if anything, is
    /// told to the work: somebody else's turn for too long, or a user who has asked for [`EACH`] already.
    pub async fn own<T: Send + 'static>(
        &self,
        user: &str,
        long: bool,
        work: impl FnOnce(Option<&'static str>) -> T + Send + 'static,
    ) -> T {
        if !long {
            return work(None);
        }
        let Some(place) = self.line.acquire(user, EACH, ALL) else {
            return work(Some(BUSY));
        };
        in_turn(&self.own, move |without| {
            let told = work(without);
            drop(place);
            told
        })
        .await
    }

    /// Does work that finds what others use too: who comes next finds it done.
    pub async fn shared<T: Send + 'static>(
        &self,
        long: bool,
        work: impl FnOnce(Option<&'static str>) -> T + Send + 'static,
    ) -> T {
        if long {
            in_turn(&self.shared, work).await
        } else {
            work(None)
        }
    }
}

async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce(Option<&'static str>) -> T + Send + 'static,
) -> T {
    let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(turns).acquire_owned()).await;
    match turn {
        // The turn is kept by the work: it may go on after its asker has gone.
        Ok(Ok(turn)) => beside(turn, work).await,
        Ok(Err(_)) | Err(_) => work(Some(BUSY)),
    }
}

async fn beside<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce(Option<&'static str>) -> T + Send + 'static,
) -> T {
    let done = tokio::task::spawn_blocking(move || {
        let told = work(None);
        drop(turn);
        told
    });
    match done.await {
        Ok(told) => told,
        // It has panicked, as it would have here, or the server is over and nobody is answered any more.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asks(f: &Arc<Forecasts>, user: &'static str, takes: Duration) -> bool {
        let work = move |without: Option<&'static str>| {
            if without.is_none() {
                std::thread::sleep(takes);
            }
            without.is_none()
        };
        f.own(user, true, work).await
    }

    fn ask(f: &Arc<Forecasts>, user: &'static str, ms: u64) -> tokio::task::JoinHandle<bool> {
        let f = Arc::clone(f);
        tokio::spawn(async move { asks(&f, user, Duration::from_millis(ms)).await })
    }

    async fn told(asked: Vec<tokio::task::JoinHandle<bool>>) -> usize {
        let mut told = 0;
        for one in asked {
            told += usize::from(one.await.expect("an answer"));
        }
        told
    }

    #[tokio::test]
    async fn one_user_has_two_questions_at_once_and_the_others_are_answered_without() {
        let f = Arc::new(Forecasts::default());
        let many: Vec<_> = (0..20).map(|_| ask(&f, "ana", 5)).collect();
        let li = ask(&f, "li", 5);
        assert_eq!(told(many).await, EACH);
        assert!(li.await.expect("an answer"), "li asked once");
        assert_eq!(
            told(vec![ask(&f, "ana", 1)]).await,
            1,
            "places are given back"
        );
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_answered_without() {
        let f = Arc::new(Forecasts::default());
        let slow = ask(&f, "ana", 400);
        tokio::task::yield_now().await;
        let began = std::time::Instant::now();
        assert!(!asks(&f, "li", Duration::ZERO).await);
        assert!(began.elapsed() < Duration::from_millis(300));
        assert!(slow.await.expect("an answer"));
    }

    #[tokio::test]
    async fn an_asker_who_goes_away_keeps_its_turn_until_its_work_is_done() {
        let f = Arc::new(Forecasts::default());
        let gone = ask(&f, "ana", 300);
        tokio::time::sleep(Duration::from_millis(50)).await;
        gone.abort();
        assert!(!asks(&f, "li", Duration::ZERO).await, "one at a time");
    }
}
