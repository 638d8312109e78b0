//! Room for large request bodies that are on their way.
//!
//! A body is read whole before it is understood. Small ones need no leave: all connections together hold little of them.
//! For the others there is a fixed room, so that many who send slowly cannot fill the memory, and one user gets a part of
//! it, so that nobody keeps the rest out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of at most so many bytes need no leave.
const SMALL: u64 = 16 << 10;
/// The room for all others, in KiB.
const ROOM_KIB: u32 = 64 << 10;
/// How much of it one user gets, in KiB.
const USER_KIB: u32 = 16 << 10;
/// How long a body waits for room that others have.
const WAIT: Duration = Duration::from_secs(5);

/// The room.
#[derive(Debug)]
pub struct BodyRoom {
    free: Arc<Semaphore>,
    by_user: Arc<Mutex<HashMap<String, u32>>>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The user has all that one user gets.
    User,
    /// Others have it, and did not give it back in time.
    All,
}

impl NoRoom {
    /// How much is taken at once, in MiB.
    #[must_use]
    pub fn most_mib(self) -> u32 {
        match self {
            NoRoom::User => USER_KIB / 1024,
            NoRoom::All => ROOM_KIB / 1024,
        }
    }
}

/// The right to hold a body in memory.
#[derive(Debug)]
pub struct BodyPermit {
    _room: Option<OwnedSemaphorePermit>,
    _part: Option<Part>,
}

/// What one user has of the room; given back when dropped.
#[derive(Debug)]
struct Part {
    by_user: Arc<Mutex<HashMap<String, u32>>>,
    user: String,
    kib: u32,
}

impl Default for BodyRoom {
    fn default() -> Self {
        BodyRoom {
            free: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            by_user: Arc::default(),
        }
    }
}

impl BodyRoom {
    /// Room for a body of at most `bytes`.
    ///
    /// # Errors
    /// There is none.
    pub async fn acquire(&self, user: &str, bytes: u64) -> Result<BodyPermit, NoRoom> {
        if bytes <= SMALL {
            return Ok(BodyPermit {
                _room: None,
                _part: None,
            });
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).map_err(|_| NoRoom::User)?;
        let part = self.part(user, kib).ok_or(NoRoom::User)?;
        let room = Arc::clone(&self.free).acquire_many_owned(kib);
        match tokio::time::timeout(WAIT, room).await {
            Ok(Ok(room)) => Ok(BodyPermit {
                _room: Some(room),
                _part: Some(part),
            }),
            Ok(Err(_)) | Err(_) => Err(NoRoom::All),
        }
    }

    fn part(&self, user: &str, kib: u32) -> Option<Part> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let has = by_user.get(user).copied().unwrap_or(0);
        let will = has.checked_add(kib).filter(|all| *all <= USER_KIB)?;
        by_user.insert(user.to_owned(), will);
        Some(Part {
            by_user: Arc::clone(&self.by_user),
            user: user.to_owned(),
            kib,
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = by_user.get_mut(&self.user) {
            *has -= self.kib;
            if *has == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn one_user_gets_a_part_and_all_together_get_the_room() {
        let room = BodyRoom::default();
        let mut held = Vec::new();
        for user in ["ana", "li", "kim", "one more"] {
            for _ in 0..16 {
                held.push(room.acquire(user, MIB).await.expect("room"));
            }
            assert_eq!(room.acquire(user, MIB).await.err(), Some(NoRoom::User));
        }
        assert_eq!(room.acquire("another", MIB).await.err(), Some(NoRoom::All));
        assert!(room.acquire("another", SMALL).await.is_ok());
        held.pop();
        assert!(room.acquire("another", MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_serves_who_waits_and_nothing_is_left_over() {
        let room = Arc::new(BodyRoom::default());
        let mut held = Vec::new();
        for n in 0..64 {
            held.push(room.acquire(&n.to_string(), MIB).await.expect("room"));
        }
        let waiter = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.acquire("ana", MIB).await }
        });
        tokio::time::sleep(WAIT / 2).await;
        assert!(!waiter.is_finished());
        held.clear();
        drop(waiter.await.expect("no panic").expect("room"));
        assert_eq!(room.free.available_permits(), ROOM_KIB as usize);
        assert!(room.by_user.lock().expect("a lock").is_empty());
    }
}
