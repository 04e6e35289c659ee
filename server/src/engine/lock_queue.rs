//! Who waits for which lock on this server, in the order of their coming. A hint, no more: losing it costs the time to the
//! next look.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Error, Result};
use crate::model::limits;

/// When a caller that finds the queues full may try again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Inner {
    queues: HashMap<String, VecDeque<Arc<Notify>>>,
    count: usize,
}

/// The queues of callers that wait for locks.
#[derive(Default)]
pub(crate) struct LockQueues {
    inner: Mutex<Inner>,
}

impl LockQueues {
    /// Goes to the end of a lock's queue.
    pub(crate) fn enter(self: &Arc<Self>, name: &str) -> Result<Place> {
        let mut inner = self.lock();
        if inner.count >= limits::LOCK_WAITERS_MAX {
            let message =
                format!("{} callers wait for locks on this server already", limits::LOCK_WAITERS_MAX);
            return Err(Error::Overloaded { message, retry: RETRY });
        }
        let turn = Arc::new(Notify::new());
        inner.count += 1;
        inner.queues.entry(name.to_owned()).or_default().push_back(Arc::clone(&turn));
        Ok(Place { queues: Arc::clone(self), name: name.to_owned(), turn })
    }

    /// A lock may be free: its first waiter looks.
    pub(crate) fn wake(&self, name: &str) {
        if let Some(first) = self.lock().queues.get(name).and_then(VecDeque::front) {
            first.notify_one();
        }
    }

    /// The locks that somebody waits for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().queues.keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller's place in a lock's queue; given up when it is dropped.
pub(crate) struct Place {
    queues: Arc<LockQueues>,
    name: String,
    turn: Arc<Notify>,
}

impl Place {
    /// Is it this caller's turn?
    pub(crate) fn is_first(&self) -> bool {
        let inner = self.queues.lock();
        inner.queues.get(&self.name).and_then(VecDeque::front).is_some_and(|first| self.is(first))
    }

    /// Waits until it may be. A wake-up that comes between two waits is kept.
    pub(crate) async fn turn(&self) {
        self.turn.notified().await;
    }

    fn is(&self, turn: &Arc<Notify>) -> bool {
        Arc::ptr_eq(turn, &self.turn)
    }
}

impl Drop for Place {
    /// The next one looks, in case this one was woken and went away.
    fn drop(&mut self) {
        let mut guard = self.queues.lock();
        let inner = &mut *guard;
        let Some(queue) = inner.queues.get_mut(&self.name) else { return };
        let Some(at) = queue.iter().position(|turn| Arc::ptr_eq(turn, &self.turn)) else { return };
        queue.remove(at);
        inner.count -= 1;
        match queue.front() {
            None => {
                inner.queues.remove(&self.name);
            }
            Some(first) if at == 0 => first.notify_one(),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_come_is_woken_first_and_the_next_when_it_leaves() {
        let queues = Arc::<LockQueues>::default();
        let (first, second) = (queues.enter("a").unwrap(), queues.enter("a").unwrap());
        let other = queues.enter("b").unwrap();
        assert!(first.is_first() && !second.is_first() && other.is_first());
        queues.wake("a");
        first.turn().await;
        drop(first);
        assert!(second.is_first());
        second.turn().await;
        let mut names = queues.names();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        drop((second, other));
        assert!(queues.names().is_empty());
        queues.wake("a");
    }

    #[tokio::test]
    async fn one_that_leaves_from_the_middle_wakes_nobody() {
        let queues = Arc::<LockQueues>::default();
        let (first, second, third) =
            (queues.enter("a").unwrap(), queues.enter("a").unwrap(), queues.enter("a").unwrap());
        drop(second);
        assert!(first.is_first() && !third.is_first());
        drop(first);
        assert!(third.is_first());
    }

    #[tokio::test]
    async fn more_than_the_limit_are_told_to_come_again() {
        let queues = Arc::<LockQueues>::default();
        let places: Vec<Place> =
            (0..limits::LOCK_WAITERS_MAX).map(|n| queues.enter(&format!("l{}", n % 7)).unwrap()).collect();
        assert!(matches!(queues.enter("l").map(|_| ()), Err(Error::Overloaded { .. })));
        drop(places);
        queues.enter("l").unwrap();
    }
}
