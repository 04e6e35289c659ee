//! Named locks with fencing tokens, renewed while they are held.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use haulier_proto::v1 as pb;
use haulier_proto::v1::lock_service_client::LockServiceClient;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::client::Client;
use crate::connect::Transport;
use crate::errors::{Error, Result};
use crate::keeper::Keeper;
use crate::options::{duration, duration_read};
use crate::pages::{Page, Pages};
use crate::retry::{self, Backoff, Repeat};

type Locks = LockServiceClient<Transport>;

/// How long a lock is held unless it is renewed, when nothing is said.
pub(crate) const LEASE_TIME: Duration = Duration::from_secs(30);
/// Longest wait for a lock in one call; a longer wish is asked for again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the release of a lock that was dropped may take; then its lease time ends it.
const RELEASE_TIME: Duration = Duration::from_secs(5);
/// Pauses before each try to give back what a call without an answer may have acquired: the server may be at that call still.
const GIVE_BACK_PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500)];
/// Of its lease time, how much a lock counts as surely held without a renewal.
const FENCE_AT: f64 = 0.8;
/// Longest wait between two tries of a renewal.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

impl Client {
    /// Acquires a named lock: one holder at a time over all servers and programs. At most 128 characters of `A-Za-z0-9._:/-`.
    ///
    /// Await the builder to wait for it as long as it takes, or say how long.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn write_report(_fence: i64) {}
    /// # async fn example(client: haulier::Client) -> haulier::Result<()> {
    /// let Some(lock) = client.lock("nightly-report").acquire_within(Duration::from_secs(10)).await? else {
    ///     return Ok(()); // another program has it
    /// };
    /// lock.while_held(write_report(lock.fencing_token())).await?;
    /// lock.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, name: impl Into<String>) -> AcquireLock {
        let request = pb::AcquireLockRequest {
            name: name.into(),
            owner_id: Uuid::new_v4().to_string(),
            lease_time: Some(duration(LEASE_TIME)),
            ..Default::default()
        };
        AcquireLock { client: self.clone(), request, is_fresh: true }
    }

    /// The locks that are held and whose names begin so, by name; all with an empty prefix.
    pub fn list_locks(&self, name_prefix: impl Into<String>) -> Pages<pb::Lock> {
        let (client, name_prefix) = (self.clone(), name_prefix.into());
        Pages::new(move |page_token| {
            let (client, name_prefix) = (client.clone(), name_prefix.clone());
            Box::pin(async move {
                let request = pb::ListLocksRequest { name_prefix, page_token, page_size: 0 };
                let list = async |mut locks: Locks, request| locks.list_locks(request).await;
                let answer = call(&client, "ListLocks", client.deadline(), request, list).await?;
                Ok(Page { items: answer.locks, next_page_token: answer.next_page_token })
            })
        })
    }

    /// Takes a lock from its holder, who hears of it at its next renewal.
    pub fn break_lock(&self, name: impl Into<String>) -> BreakLock {
        let request = pb::BreakLockRequest { name: name.into(), ..Default::default() };
        BreakLock { client: self.clone(), request }
    }

    /// Holds a lock for longer that nothing renews by itself: one of [`Lock::detach`] or of another process. Answers for how long
    /// from now. [`Error::LockLost`] when another holds it or it was broken; a late renewal of a lock that nobody took is fine.
    pub async fn renew_lock(&self, lock: &LockKey, lease_time: Duration) -> Result<Duration> {
        let sent = Instant::now();
        let request = renewal(lock, lease_time);
        let renew = async |mut locks: Locks, request| locks.renew_lock(request).await;
        let answer = call(self, "RenewLock", self.deadline(), request, renew).await;
        let answer = answer.map_err(|error| told_lost(lock, error))?;
        Ok(duration_read(answer.lease_time).unwrap_or(lease_time).saturating_sub(sent.elapsed()))
    }

    /// Releases a lock of [`Lock::detach`] or of another process. Answers whether it was held until now.
    pub async fn release_lock(&self, lock: &LockKey) -> Result<bool> {
        let release = async |mut locks: Locks, request| locks.release_lock(request).await;
        Ok(call(self, "ReleaseLock", self.deadline(), release_of(lock), release).await?.released)
    }
}

fn told_lost(lock: &LockKey, error: Error) -> Error {
    match error.server() {
        Some(told) if told.code == Code::Aborted => {
            Error::LockLost { name: lock.name.clone(), why: told.message.clone() }
        }
        _ => error,
    }
}

/// Makes a call that may be repeated, with retries within a deadline.
async fn call<Q, T, F>(
    client: &Client,
    operation: &'static str,
    deadline: Duration,
    request: Q,
    call: F,
) -> Result<T>
where
    Q: Clone,
    F: AsyncFn(Locks, Request<Q>) -> Result<Response<T>, Status>,
{
    let made = |left: Duration| {
        let mut request = Request::new(request.clone());
        request.set_timeout(left);
        call(Locks::new(client.transport()), request)
    };
    retry::call(operation, deadline, Repeat::Safe, made).await
}

/// What proves that a program holds a lock: enough to renew or release it from elsewhere. The owner id is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LockKey {
    /// Name of the lock.
    pub name: String,
    /// Secret of the owner.
    pub owner_id: String,
    /// Fencing token of this holder.
    pub fencing_token: i64,
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, fencing_token, .. } = self;
        f.debug_struct("LockKey")
            .field("name", name)
            .field("fencing_token", fencing_token)
            .finish_non_exhaustive()
    }
}

fn renewal(lock: &LockKey, lease_time: Duration) -> pb::RenewLockRequest {
    pb::RenewLockRequest {
        name: lock.name.clone(),
        owner_id: lock.owner_id.clone(),
        fencing_token: lock.fencing_token,
        lease_time: Some(duration(lease_time)),
    }
}

fn release_of(lock: &LockKey) -> pb::ReleaseLockRequest {
    pb::ReleaseLockRequest {
        name: lock.name.clone(),
        owner_id: lock.owner_id.clone(),
        fencing_token: lock.fencing_token,
    }
}

/// Acquires a lock. When the future is dropped before it has an answer, or fails, what it may have acquired is given back, unless
/// the owner id is one of your own: then whoever asks with it again gets it, else its lease time ends it.
#[must_use = "it acquires nothing until it is awaited"]
#[derive(Debug)]
pub struct AcquireLock {
    client: Client,
    request: pb::AcquireLockRequest,
    /// Nobody else knows the owner id.
    is_fresh: bool,
}

impl AcquireLock {
    /// Who wants it, for people; at most 255 characters. Default: none.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.request.owner = owner.into();
        self
    }

    /// Secret of the owner: whoever asks with the same one gets the same lock and token again. At most 128 characters. Default: a
    /// fresh UUID.
    pub fn owner_id(mut self, owner_id: impl Into<String>) -> Self {
        self.request.owner_id = owner_id.into();
        self.is_fresh = false;
        self
    }

    /// How long another must wait when this process dies: 5 s to 10 min. It is renewed at a third of it. Default: 30 s.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.request.lease_time = Some(duration(time));
        self
    }

    /// Acquires it, waiting for as long as it takes. An error of the server that no repeat mends ends the wait.
    pub async fn acquire(self) -> Result<Lock> {
        loop {
            if let Some(lock) = self.ask(WAIT_MAX).await? {
                return Ok(lock);
            }
        }
    }

    /// Acquires it if it becomes free within a time; none if it does not.
    pub async fn acquire_within(self, wait: Duration) -> Result<Option<Lock>> {
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let lock = self.ask(left.min(WAIT_MAX)).await?;
            if lock.is_some() || left <= WAIT_MAX {
                return Ok(lock);
            }
        }
    }

    /// Acquires it if it is free now; none if it is not.
    pub async fn try_acquire(self) -> Result<Option<Lock>> {
        self.ask(Duration::ZERO).await
    }

    /// Asks once, with the answer as the server gives it: nothing renews the lock, and its time ends it unless
    /// [`Client::renew_lock`] does.
    pub async fn send(mut self, wait: Duration) -> Result<pb::AcquireLockResponse> {
        self.request.wait = Some(duration(wait.min(WAIT_MAX)));
        let (_, answer) = self.call(self.request.clone()).await?;
        Ok(answer)
    }

    async fn ask(&self, wait: Duration) -> Result<Option<Lock>> {
        let keeper = self.client.keeper()?;
        let request = pb::AcquireLockRequest { wait: Some(duration(wait)), ..self.request.clone() };
        let mut unanswered =
            Unanswered { keeper: self.is_fresh.then(|| keeper.clone()), request: &self.request };
        let answered = self.call(request).await;
        let is_certain = match &answered {
            Ok(_) => true,
            // Other errors leave open whether it was done.
            Err(error) => error.code() == Some(Code::InvalidArgument),
        };
        if is_certain {
            unanswered.keeper = None;
        }
        drop(unanswered);
        let (sent, answer) = answered?;
        if !answer.acquired {
            return Ok(None);
        }
        let lease_time = duration_read(self.request.lease_time).unwrap_or(LEASE_TIME);
        let held = Held {
            key: LockKey {
                name: self.request.name.clone(),
                owner_id: self.request.owner_id.clone(),
                fencing_token: answer.fencing_token,
            },
            lease_time,
            times: Mutex::new(Times::after(sent, duration_read(answer.lease_time), lease_time)),
            lost: CancellationToken::new(),
            loss: OnceLock::new(),
            ended: CancellationToken::new(),
        };
        Ok(Some(Lock::keep(self.client.clone(), keeper, held)))
    }

    /// Calls, with when the call that was answered was sent.
    async fn call(&self, request: pb::AcquireLockRequest) -> Result<(Instant, pb::AcquireLockResponse)> {
        let deadline = self.client.deadline() + duration_read(request.wait).unwrap_or_default();
        let acquire = async |mut locks: Locks, request| {
            let sent = Instant::now();
            Ok(locks.acquire_lock(request).await?.map(|answer| (sent, answer)))
        };
        call(&self.client, "AcquireLock", deadline, request, acquire).await
    }
}

impl IntoFuture for AcquireLock {
    type Output = Result<Lock>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}

/// A call whose answer never came: what it may have acquired is given back.
struct Unanswered<'a> {
    keeper: Option<Arc<Keeper>>,
    request: &'a pb::AcquireLockRequest,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        let (name, owner_id) = (self.request.name.clone(), self.request.owner_id.clone());
        let whichever = LockKey { name, owner_id, fencing_token: 0 };
        keeper.clone().spawn(async move {
            for pause in GIVE_BACK_PAUSES {
                sleep(pause).await;
                if give_back(&keeper, &whichever).await {
                    break;
                }
            }
        });
    }
}

/// Says whether that settles it: it was held until now, or cannot be released.
async fn give_back(keeper: &Keeper, lock: &LockKey) -> bool {
    let released = retry::call("ReleaseLock", RELEASE_TIME, Repeat::Safe, |_| {
        let request = release_of(lock);
        async move { Locks::new(keeper.transport()).release_lock(request).await }
    });
    match released.await {
        Ok(answer) => answer.released,
        Err(error) => {
            tracing::warn!(lock = lock.name, %error, "a lock could not be released: its lease time ends it");
            true
        }
    }
}

/// Until when a lock is held, as far as is known.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// From then on it is in doubt, and counts as lost.
    doubt_at: Instant,
    /// From then on another may hold it.
    over_at: Instant,
}

impl Times {
    /// After a call that was sent then and answered so. Of an acquisition that waited the answer is longer than the lease time.
    fn after(sent: Instant, held_for: Option<Duration>, lease_time: Duration) -> Self {
        let over_at = sent + held_for.unwrap_or(lease_time);
        Self { doubt_at: over_at - lease_time.mul_f64(1.0 - FENCE_AT), over_at }
    }

    /// A third of the lease time after it was acquired or renewed.
    fn renewal_at(self, lease_time: Duration) -> Instant {
        self.over_at - lease_time * 2 / 3
    }
}

/// How a lock was lost.
#[derive(Debug, Clone, thiserror::Error)]
enum Loss {
    /// The server said so: another may hold it.
    #[error("{0}")]
    Taken(String),
    /// It was not renewed for most of its lease time: nobody holds it yet, but soon somebody may.
    #[error("it could not be renewed in time: {0}")]
    InDoubt(String),
}

/// What the holder and the keeper share.
pub(crate) struct Held {
    key: LockKey,
    lease_time: Duration,
    times: Mutex<Times>,
    lost: CancellationToken,
    loss: OnceLock<Loss>,
    /// Released, or let go: not renewed any more.
    ended: CancellationToken,
}

impl Held {
    /// Larger than that of every earlier holder.
    pub(crate) fn fencing_token(&self) -> i64 {
        self.key.fencing_token
    }

    /// Whether it is surely held.
    pub(crate) fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.times().doubt_at
    }

    fn times(&self) -> Times {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, loss: Loss) {
        tracing::warn!(lock = self.key.name, why = %loss, "a lock is lost: its holder is told to stop");
        // The first loss counts, and only the keeper tells of one.
        let _ = self.loss.set(loss);
        self.lost.cancel();
    }

    /// Renews until it is released or lost.
    async fn keep(&self, keeper: &Keeper) {
        let mut backoff = Backoff::calls();
        let mut next = self.times().renewal_at(self.lease_time);
        let mut trouble = String::from("no answer");
        loop {
            let doubt_at = self.times().doubt_at;
            sleep_until(next.min(doubt_at)).await;
            let sent = Instant::now();
            if sent >= doubt_at {
                return self.lose(Loss::InDoubt(trouble));
            }
            // Short enough for several tries before it is in doubt.
            let limit = (self.lease_time / 6).min(doubt_at - sent);
            let renew = async {
                Locks::new(keeper.transport()).renew_lock(renewal(&self.key, self.lease_time)).await
            };
            match timeout(limit, renew).await {
                Ok(Ok(answer)) => {
                    let held_for = duration_read(answer.get_ref().lease_time);
                    let times = Times::after(sent, held_for, self.lease_time);
                    *self.times.lock().unwrap_or_else(PoisonError::into_inner) = times;
                    next = times.renewal_at(self.lease_time);
                    backoff.reset();
                    continue;
                }
                Ok(Err(status)) if status.code() == Code::Aborted => {
                    return self.lose(Loss::Taken(status.message().to_owned()));
                }
                Ok(Err(status)) => trouble = format!("{:?}: {}", status.code(), status.message()),
                Err(_) => {
                    trouble = format!("no answer within {limit:?}");
                    keeper.renew_transport();
                }
            }
            tracing::debug!(lock = self.key.name, trouble, "renewing a lock again");
            next = Instant::now() + backoff.next(rand::random()).min(RETRY_PAUSE_MAX);
        }
    }
}

/// A lock that this program holds. It is renewed until it is released, dropped or lost, on a thread of its own, so that code that
/// blocks its runtime does not lose it.
///
/// It counts as lost when another holds it or an operator broke it, and at 80 % of its lease time without a renewal, before another
/// can take it: [`Self::lost`] resolves then, and code that must be single has to stop. A process that was frozen finds out by
/// [`Self::check`] at once. What must never be done by two, not even by one that does not know yet that it was frozen, carries
/// [`Self::fencing_token`] into its own stores, which refuse smaller ones than the largest they have seen.
///
/// Dropping it releases it in the background, as long as the process lives; [`Self::release`] is sure of it.
pub struct Lock {
    client: Client,
    keeper: Arc<Keeper>,
    held: Arc<Held>,
    /// Dropping it does not release it any more.
    is_let_go: bool,
}

impl Lock {
    fn keep(client: Client, keeper: Arc<Keeper>, held: Held) -> Self {
        let held = Arc::new(held);
        let (kept, by) = (held.clone(), keeper.clone());
        keeper.spawn(async move {
            tokio::select! {
                () = kept.ended.cancelled() => {}
                () = kept.keep(&by) => {}
            }
        });
        Self { client, keeper, held, is_let_go: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.held.key.name
    }

    /// Larger than that of every earlier holder of this lock: hand it to your own stores, and have them refuse smaller ones than
    /// the largest they have seen. Below 2^53.
    pub fn fencing_token(&self) -> i64 {
        self.held.fencing_token()
    }

    /// Whether it is surely held.
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// Nothing while it is surely held, else [`Error::LockLost`].
    pub fn check(&self) -> Result<()> {
        if self.is_held() { Ok(()) } else { Err(self.lost_error()) }
    }

    /// Resolves when it is lost, with the reason.
    pub async fn lost(&self) -> Error {
        self.held.lost.cancelled().await;
        self.lost_error()
    }

    /// A token that is cancelled when it is lost. Cancelling it does nothing to the lock.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.held.lost.child_token()
    }

    /// Does something for as long as it is held: when it is lost first, the work is dropped where it stands, and the answer is
    /// [`Error::LockLost`].
    pub async fn while_held<F: Future>(&self, work: F) -> Result<F::Output> {
        tokio::select! {
            biased;
            error = self.lost() => Err(error),
            output = work => Ok(output),
        }
    }

    /// Releases it. Answers whether it was held until now. After an error its lease time ends it.
    pub async fn release(mut self) -> Result<bool> {
        self.held.ended.cancel();
        let released = self.client.release_lock(&self.held.key).await;
        // Not before: a future that is dropped half-way may not have called.
        self.is_let_go = true;
        released
    }

    /// Lets go of it without releasing it: its time ends it, unless [`Client::renew_lock`] holds it for longer, here or in another
    /// process that is given the key.
    pub fn detach(mut self) -> LockKey {
        self.is_let_go = true;
        self.held.key.clone()
    }

    /// How long no other can hold it, unless it is broken: what is left of its lease time, until it is renewed. Nothing once the
    /// server said that it is lost.
    pub fn time_left(&self) -> Duration {
        match self.held.loss.get() {
            Some(Loss::Taken(_)) => Duration::ZERO,
            _ => self.held.times().over_at.saturating_duration_since(Instant::now()),
        }
    }

    /// What is known of it, without the lock itself.
    pub(crate) fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    fn lost_error(&self) -> Error {
        // Who asks before the keeper has found out was frozen, and the keeper with it.
        let why = self.held.loss.get().map_or("its time is over".to_owned(), Loss::to_string);
        Error::LockLost { name: self.name().to_owned(), why }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.held.ended.cancel();
        if self.is_let_go {
            return;
        }
        let (keeper, held) = (self.keeper.clone(), self.held.clone());
        self.keeper.spawn(async move {
            give_back(&keeper, &held.key).await;
        });
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("key", &self.held.key).field("is_held", &self.is_held()).finish()
    }
}

/// Breaks a lock. Answers how it was held; the error `RESOURCE_NOT_FOUND` when nobody held it.
#[must_use = "it breaks nothing until it is awaited"]
#[derive(Debug)]
pub struct BreakLock {
    client: Client,
    request: pb::BreakLockRequest,
}

impl BreakLock {
    /// Only while its holder has this token, else the error `LOCK_HELD`. Default: whoever holds it.
    pub fn fencing_token(mut self, token: i64) -> Self {
        self.request.fencing_token = token;
        self
    }

    /// Why, in words, for the log of the server; at most 4 KiB. Default: none.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.request.reason = reason.into();
        self
    }

    async fn send(self) -> Result<pb::Lock> {
        // A repeat could break the lock of the next holder.
        let repeat = if self.request.fencing_token == 0 { Repeat::Unsafe } else { Repeat::Safe };
        let answer = retry::call("BreakLock", self.client.deadline(), repeat, |left| {
            let (mut locks, mut request) =
                (Locks::new(self.client.transport()), Request::new(self.request.clone()));
            request.set_timeout(left);
            async move { locks.break_lock(request).await }
        });
        Ok(answer.await?.lock.unwrap_or_default())
    }
}

impl IntoFuture for BreakLock {
    type Output = Result<pb::Lock>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
