//! Group commit: one transaction serves every caller that arrived while the one before it was in flight.
//!
//! Nobody waits for company. A caller that finds the group idle starts a transaction of its own at once; those who
//! come meanwhile form the next one. A lone caller pays one commit, a thousand callers pay a few. Callers are taken
//! round-robin by their stripe (a queue, say), so that a flood in one does not starve another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Error, Result};
use crate::model::limits;
use crate::store::StoreError;

/// What a group does with the members of one transaction.
#[async_trait]
pub(crate) trait Commit: Send + Sync + 'static {
    /// What a caller brings.
    type Member: Send + Sync + 'static;
    /// What it gets.
    type Answer: Send + 'static;

    /// Does the work of all `members` in one transaction; answers in their order.
    async fn commit(&self, members: &[Self::Member]) -> Result<Vec<Self::Answer>, StoreError>;

    /// Members with the same stripe take turns with those of others.
    fn stripe(&self, _member: &Self::Member) -> u64 {
        0
    }

    /// How many rows of the transaction a member stands for.
    fn rows(&self, _member: &Self::Member) -> usize {
        1
    }

    /// What the member adds to the transaction, bytes.
    fn bytes(&self, _member: &Self::Member) -> usize {
        0
    }
}

struct Waiting<C: Commit> {
    member: C::Member,
    answer: oneshot::Sender<Result<C::Answer>>,
}

struct Line<C: Commit> {
    stripes: BTreeMap<u64, VecDeque<Waiting<C>>>,
    /// The stripe that was served last.
    turn: u64,
    /// Rows of those who wait.
    waiting: usize,
    waiting_bytes: usize,
    busy: bool,
}

/// Callers who share commits of one kind; one commit is in flight at a time.
pub(crate) struct Group<C: Commit> {
    work: C,
    line: Mutex<Line<C>>,
}

impl<C: Commit> Group<C> {
    pub(crate) fn new(work: C) -> Arc<Self> {
        let line = Line { stripes: BTreeMap::new(), turn: 0, waiting: 0, waiting_bytes: 0, busy: false };
        Arc::new(Self { work, line: Mutex::new(line) })
    }

    /// Joins the next transaction and waits for its answer. Dropping this future takes a member back only before its
    /// transaction begins.
    pub(crate) async fn join(self: &Arc<Self>, member: C::Member) -> Result<C::Answer> {
        let (answer, answered) = oneshot::channel();
        if self.enter(member, answer)? {
            tokio::spawn(Arc::clone(self).drain());
        }
        answered.await.unwrap_or_else(|_| Err(Error::Internal("a shared transaction panicked".into())))
    }

    /// Takes a place in the line; says whether the caller must start the draining.
    fn enter(&self, member: C::Member, answer: oneshot::Sender<Result<C::Answer>>) -> Result<bool> {
        let mut line = self.lock();
        let (rows, bytes) = (self.work.rows(&member), self.work.bytes(&member));
        let full = line.waiting >= limits::GROUP_WAITING_MAX;
        if full || (line.waiting > 0 && line.waiting_bytes + bytes > limits::GROUP_WAITING_BYTES_MAX) {
            let message = format!("{} calls wait for the database already", line.waiting);
            return Err(Error::Overloaded { message, retry: Duration::from_millis(200) });
        }
        line.waiting += rows;
        line.waiting_bytes += bytes;
        line.stripes.entry(self.work.stripe(&member)).or_default().push_back(Waiting { member, answer });
        Ok(!std::mem::replace(&mut line.busy, true))
    }

    /// Serves transaction after transaction until nobody waits.
    async fn drain(self: Arc<Self>) {
        let mut guard = Idle { group: &self, done: false };
        while let Some(batch) = self.next_batch() {
            self.serve(batch).await;
        }
        guard.done = true;
    }

    /// The members of the next transaction; none, and the group is idle again, when nobody waits.
    fn next_batch(&self) -> Option<Vec<Waiting<C>>> {
        let mut line = self.lock();
        let (mut batch, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while rows < limits::GROUP_ROWS_MAX && bytes < limits::GROUP_BYTES_MAX {
            let Some(next) = line.next() else { break };
            let (more, size) = (self.work.rows(&next.member), self.work.bytes(&next.member));
            line.waiting -= more;
            line.waiting_bytes -= size;
            if next.answer.is_closed() {
                continue;
            }
            (rows, bytes) = (rows + more, bytes + size);
            batch.push(next);
        }
        line.busy = !batch.is_empty();
        line.busy.then_some(batch)
    }

    /// Commits a batch. When the database refuses it as a whole for a reason that may lie in one member, it is halved
    /// until that member stands alone.
    async fn serve(&self, batch: Vec<Waiting<C>>) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let (members, callers): (Vec<_>, Vec<_>) = part.into_iter().map(|w| (w.member, w.answer)).unzip();
            match self.work.commit(&members).await {
                Ok(answers) => {
                    for (caller, answer) in callers.into_iter().zip(answers) {
                        let _ = caller.send(Ok(answer));
                    }
                }
                Err(StoreError::Other(_) | StoreError::Corrupt(_)) if members.len() > 1 => {
                    let mut first: Vec<_> = members
                        .into_iter()
                        .zip(callers)
                        .map(|(member, answer)| Waiting { member, answer })
                        .collect();
                    let second = first.split_off(first.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => {
                    let error = Error::from(error);
                    for caller in callers {
                        let _ = caller.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Line<C>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Commit> Line<C> {
    /// The next member, from the stripe after the one served last.
    fn next(&mut self) -> Option<Waiting<C>> {
        let after = self.stripes.range(self.turn.saturating_add(1)..).next().map(|(stripe, _)| *stripe);
        let stripe = after.or_else(|| self.stripes.keys().next().copied())?;
        let members = self.stripes.get_mut(&stripe)?;
        let member = members.pop_front();
        if members.is_empty() {
            self.stripes.remove(&stripe);
        }
        self.turn = stripe;
        member
    }
}

/// Makes the group usable again should a commit panic: those who waited with it get an error, the next caller starts
/// afresh.
struct Idle<'a, C: Commit> {
    group: &'a Group<C>,
    done: bool,
}

impl<C: Commit> Drop for Idle<'_, C> {
    fn drop(&mut self) {
        if !self.done {
            let mut line = self.group.lock();
            line.busy = false;
            line.stripes.clear();
            (line.waiting, line.waiting_bytes) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Commits when it is allowed to; refuses any batch that holds a 13.
    struct Gate {
        allowed: Semaphore,
        commits: AtomicUsize,
    }

    #[async_trait]
    impl Commit for Gate {
        type Member = u64;
        type Answer = u64;

        async fn commit(&self, members: &[u64]) -> Result<Vec<u64>, StoreError> {
            self.allowed.acquire().await.unwrap().forget();
            self.commits.fetch_add(1, Ordering::Relaxed);
            if members.contains(&13) {
                return Err(StoreError::Other("thirteen".into()));
            }
            Ok(members.iter().map(|member| member * 10).collect())
        }

        fn stripe(&self, member: &u64) -> u64 {
            member / 1_000
        }

        fn rows(&self, member: &u64) -> usize {
            if *member < 5_000 { 1 } else { limits::GROUP_ROWS_MAX / 2 }
        }
    }

    fn gate(allowed: usize) -> Arc<Group<Gate>> {
        Group::new(Gate { allowed: Semaphore::new(allowed), commits: AtomicUsize::new(0) })
    }

    #[tokio::test]
    async fn callers_who_come_during_a_commit_share_the_next_one() {
        let group = gate(0);
        let calls: Vec<_> = (100..200)
            .map(|n| {
                let group = Arc::clone(&group);
                tokio::spawn(async move { group.join(n).await })
            })
            .collect();
        tokio::task::yield_now().await;
        group.work.allowed.add_permits(2);
        for (n, call) in (100..200).zip(calls) {
            assert_eq!(call.await.unwrap().unwrap(), n * 10);
        }
        assert!(group.work.commits.load(Ordering::Relaxed) <= 2);
    }

    #[tokio::test]
    async fn one_bad_member_does_not_fail_its_neighbours() {
        let group = gate(1_000);
        let calls: Vec<_> = (0..40)
            .map(|n| {
                let group = Arc::clone(&group);
                tokio::spawn(async move { group.join(n).await })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().is_ok(), n != 13, "member {n}");
        }
    }

    #[tokio::test]
    async fn a_transaction_is_full_by_the_rows_of_its_members() {
        let group = gate(0);
        let enter = |member| {
            let (answer, answered) = oneshot::channel();
            group.enter(member, answer).unwrap();
            answered
        };
        let _answered = [5_000, 5_001, 5_002, 5_003, 5_004].map(enter);
        let sizes: Vec<usize> = std::iter::from_fn(|| group.next_batch().map(|batch| batch.len())).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(group.lock().waiting, 0);
    }

    #[tokio::test]
    async fn stripes_take_turns() {
        let group = gate(0);
        for member in [0, 1, 2, 3, 1_000, 2_000] {
            let (answer, _answered) = oneshot::channel();
            // The receivers are kept by nobody: closed callers would be left out, so look at the line itself.
            group.enter(member, answer).unwrap();
        }
        let mut line = group.lock();
        let order: Vec<u64> = std::iter::from_fn(|| line.next().map(|waiting| waiting.member)).collect();
        assert_eq!(order, [1_000, 2_000, 0, 1, 2, 3]);
    }
}
