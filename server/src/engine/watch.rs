//! Watching jobs: a stream that can be cut anywhere and taken up again without missing what matters.
//!
//! A watcher holds no buffer. It registers with the hub, looks at the store, tells what is new since its position, and
//! waits for a hint or for the next look. A slow reader costs nothing but its own delay; a token is the position.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;

use super::hub::Followed;
use super::unit::unit;
use super::{
    Core, Engine, Error, ListCall, Result, WatchCall, WatchEvent, WatchManyEvent, WatchManyWhat, WatchWhat,
};
use crate::model::{
    Epoch, Filter, JobId, Level, LogLine, Order, Run, State, View, digest, limits, read_token, write_token,
};
use crate::store::LogPosition;

const JOB_TOKEN: &str = "w1";
const JOBS_TOKEN: &str = "m1";
/// How often a watcher looks without having been told: for what happens through other servers.
const LOOK_INTERVAL: Duration = Duration::from_millis(1_000);
/// How soon after a look the next one comes at the earliest, so that a busy job is not read without end.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Log lines of one event.
const LINES_PER_EVENT: i64 = 500;
/// Events on their way to a reader; beyond it the watcher waits, and looks again when there is room.
const EVENTS_MAX: usize = 16;

/// What a watcher of one job has told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    run: Run,
    epoch: Epoch,
    phase: u8,
    log: LogPosition,
}

/// What of a job is not in its position.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    state: State,
    progress: Option<f64>,
    status: String,
    cancel: bool,
}

impl Engine {
    /// Follows one job until its outcome is settled. The first event and the last are snapshots; the stream ends only
    /// after the last.
    pub fn watch(&self, call: WatchCall) -> impl Stream<Item = Result<WatchEvent>> + Send + 'static {
        let core = Arc::clone(&self.core);
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(async move {
            if let Err(error) = Watcher::follow(core, call, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(receiver)
    }

    /// Follows the jobs that match a filter: those that do now, then every change. Ends only with the server.
    pub fn watch_many(
        &self,
        filter: Filter,
        resume_token: String,
    ) -> impl Stream<Item = Result<WatchManyEvent>> + Send + 'static {
        let core = Arc::clone(&self.core);
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(async move {
            if let Err(error) = Follower::follow(core, filter, resume_token, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(receiver)
    }
}

/// A reader that has gone ends the watch without an error.
enum Told {
    GoOn,
    Gone,
}

type Events = mpsc::Sender<Result<WatchEvent>>;

struct Watcher<'a> {
    core: Arc<Core>,
    job: JobId,
    logs: bool,
    until_notified: bool,
    at: Position,
    shown: Option<Shown>,
    events: &'a Events,
}

impl<'a> Watcher<'a> {
    async fn follow(core: Arc<Core>, call: WatchCall, events: &'a Events) -> Result<()> {
        let (finder, key) = (Arc::clone(&core), call.job);
        let job = unit(async move { finder.id_of(&key).await }).await?;
        let at = read_job_token(job, &call.resume_token)?;
        let watched = core.hub.watch(job);
        let mut watcher = Watcher {
            core,
            job,
            logs: call.logs,
            until_notified: call.until_notified,
            at,
            shown: None,
            events,
        };
        loop {
            let changed = watched.next();
            match watcher.look().await? {
                Look::Told(Told::GoOn) => {}
                Look::Told(Told::Gone) | Look::Settled => return Ok(()),
            }
            watcher.pause(changed).await?;
        }
    }

    /// Waits for a hint, or for the next look; ends the watch when the server stops or the reader has gone.
    async fn pause(&self, changed: tokio::sync::futures::OwnedNotified) -> Result<()> {
        tokio::time::sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = changed => Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => Ok(()),
            () = self.events.closed() => Ok(()),
            () = self.core.stopping.cancelled() => Err(Error::ShuttingDown),
        }
    }

    /// Reads the job and tells what is new; the lines come before the outcome that was stored with or after them.
    async fn look(&mut self) -> Result<Look> {
        if self.events.is_closed() {
            return Ok(Look::Told(Told::Gone));
        }
        let (core, job) = (Arc::clone(&self.core), self.job);
        let view = unit(async move { core.view(job).await }).await?;
        let settled =
            view.state(self.core.clock.now()).is_settled() && (!self.until_notified || view.is_notified());
        if !settled && let Told::Gone = self.tell_state(&view).await {
            return Ok(Look::Told(Told::Gone));
        }
        if self.logs
            && let Told::Gone = self.tell_logs().await?
        {
            return Ok(Look::Told(Told::Gone));
        }
        if !settled {
            return Ok(Look::Told(Told::GoOn));
        }
        self.advance(&view);
        self.send(WatchWhat::Snapshot(Box::new(view))).await;
        Ok(Look::Settled)
    }

    async fn tell_state(&mut self, view: &View) -> Told {
        let shown = Shown {
            state: view.state(self.core.clock.now()),
            progress: view.progress,
            status: view.status.clone(),
            cancel: view.cancel.is_some(),
        };
        let before = self.shown.replace(shown.clone());
        let moved = self.advance(view);
        let Some(before) = before else {
            return self.send(WatchWhat::Snapshot(Box::new(view.clone()))).await;
        };
        let state_changed = moved || before.state != shown.state || before.cancel != shown.cancel;
        if state_changed && let Told::Gone = self.send(WatchWhat::State(Box::new(view.clone()))).await {
            return Told::Gone;
        }
        if (before.progress, &before.status) != (shown.progress, &shown.status) {
            return self.send(WatchWhat::Progress(Box::new(view.clone()))).await;
        }
        Told::GoOn
    }

    /// Moves the position to the view's; says whether it did.
    fn advance(&mut self, view: &View) -> bool {
        let (run, epoch, phase) = view.position();
        let moved = (run, epoch, phase) != (self.at.run, self.at.epoch, self.at.phase);
        self.at = Position { run, epoch, phase, ..self.at };
        moved
    }

    async fn tell_logs(&mut self) -> Result<Told> {
        loop {
            let lines = self.core.lines(self.job, self.at.log, Level::Trace, LINES_PER_EVENT).await?;
            let Some(last) = lines.last() else { return Ok(Told::GoOn) };
            self.at.log = position_of(last);
            let full = lines.len() as i64 == LINES_PER_EVENT;
            if let Told::Gone = self.send(WatchWhat::Logs(lines)).await {
                return Ok(Told::Gone);
            }
            if !full {
                return Ok(Told::GoOn);
            }
        }
    }

    async fn send(&self, what: WatchWhat) -> Told {
        let event =
            WatchEvent { token: write_job_token(self.job, self.at), now: self.core.clock.now(), what };
        if self.events.send(Ok(event)).await.is_ok() { Told::GoOn } else { Told::Gone }
    }
}

enum Look {
    Told(Told),
    Settled,
}

fn position_of(line: &LogLine) -> LogPosition {
    LogPosition { run: line.run, epoch: line.epoch, sequence: line.sequence }
}

fn write_job_token(job: JobId, at: Position) -> String {
    let parts = [
        job.0,
        i64::from(at.run.0),
        at.epoch.0,
        i64::from(at.phase),
        i64::from(at.log.run.0),
        at.log.epoch.0,
        at.log.sequence,
    ];
    write_token(JOB_TOKEN, &parts.map(i64::to_be_bytes).concat())
}

fn read_job_token(job: JobId, token: &str) -> Result<Position> {
    if token.is_empty() {
        return Ok(Position::default());
    }
    let bad = |message: &str| Error::BadToken { field: "resume_token", message: message.into() };
    let bytes = read_token(JOB_TOKEN, token).map_err(|error| bad(&error.to_string()))?;
    let parts: Vec<i64> =
        bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(std::array::from_fn(|at| chunk[at]))).collect();
    match parts.as_slice() {
        [of, ..] if *of != job.0 => Err(bad("belongs to another job")),
        [_, run, epoch, phase, log_run, log_epoch, sequence] => Ok(Position {
            run: Run(*run as i32),
            epoch: Epoch(*epoch),
            phase: *phase as u8,
            log: LogPosition { run: Run(*log_run as i32), epoch: Epoch(*log_epoch), sequence: *sequence },
        }),
        _ => Err(bad("is not a token of this kind")),
    }
}

type ManyEvents = mpsc::Sender<Result<WatchManyEvent>>;

/// What a watcher over many jobs last told of each.
type Seen = HashMap<JobId, Mark>;

/// Run, epoch, phase, state, progress and status.
type Mark = (Run, Epoch, u8, State, Option<u64>, String);

struct Follower<'a> {
    core: Arc<Core>,
    filter: Filter,
    /// The filter without its states: a job that leaves them is told once more.
    wide: Filter,
    followed: Followed,
    seen: Seen,
    /// The smallest id among live jobs that were told, for the token.
    events: &'a ManyEvents,
}

impl<'a> Follower<'a> {
    async fn follow(core: Arc<Core>, filter: Filter, resume: String, events: &'a ManyEvents) -> Result<()> {
        check_many_token(&filter, &resume)?;
        let followed = core.hub.follow();
        let wide = Filter { states: Vec::new(), ..filter.clone() };
        let mut follower = Follower { core, filter, wide, followed, seen: Seen::new(), events };
        let mut last_whole = tokio::time::Instant::now();
        let changed = follower.followed.next();
        let Some(count) = follower.look_at_all().await? else { return Ok(()) };
        let truncated = count >= limits::WATCH_INITIAL_MAX;
        if !follower.send(WatchManyWhat::Synced { count, truncated }).await {
            return Ok(());
        }
        let mut changed = Some(changed);
        loop {
            let next = changed.take().unwrap_or_else(|| follower.followed.next());
            follower.pause(next).await?;
            changed = Some(follower.followed.next());
            let told = follower.followed.take();
            let whole = told.is_none() || last_whole.elapsed() > 2 * LOOK_INTERVAL;
            let open = if whole {
                last_whole = tokio::time::Instant::now();
                follower.look_at_all().await?.is_some()
            } else {
                follower.look_at(&told.unwrap_or_default()).await?
            };
            if !open || events.is_closed() {
                return Ok(());
            }
        }
    }

    async fn pause(&self, changed: tokio::sync::futures::OwnedNotified) -> Result<()> {
        tokio::time::sleep(5 * LOOK_PAUSE).await;
        tokio::select! {
            () = changed => Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => Ok(()),
            () = self.events.closed() => Ok(()),
            () = self.core.stopping.cancelled() => Err(Error::ShuttingDown),
        }
    }

    /// Tells every match that is new or changed; how many match, or none when the reader has gone.
    async fn look_at_all(&mut self) -> Result<Option<usize>> {
        let first = self.seen.is_empty();
        let open = |(job, mark): (&JobId, &Mark)| (!mark.3.is_settled()).then_some(*job);
        let ids: Vec<JobId> = self.seen.iter().filter_map(open).collect();
        if !self.look_at(&ids).await? {
            return Ok(None);
        }
        let (mut token, mut count) = (String::new(), 0);
        loop {
            let call = ListCall {
                filter: self.filter.clone(),
                order: Order::NewestFirst,
                month: None,
                page_size: limits::PAGE_SIZE_MAX as usize,
                page_token: token,
            };
            let core = Arc::clone(&self.core);
            let page = unit(async move { core.list_page(&call).await }).await?;
            count += page.items.len();
            let known = page.items.iter().filter(|view| self.seen.contains_key(&view.job.id)).count();
            // Newer pages come first: after one that holds nothing new, older ones hold nothing new either.
            let nothing_new = !first && known == page.items.len();
            for view in page.items {
                if !self.tell(view).await {
                    return Ok(None);
                }
            }
            token = page.next;
            if token.is_empty() || nothing_new || count >= limits::WATCH_INITIAL_MAX {
                return Ok(Some(count));
            }
        }
    }

    /// Tells those of these jobs that match, or did; false when the reader has gone.
    async fn look_at(&mut self, jobs: &[JobId]) -> Result<bool> {
        for some in jobs.chunks(limits::PAGE_SIZE_MAX as usize) {
            let (core, some) = (Arc::clone(&self.core), some.to_vec());
            let views = unit(async move { core.brief_views(&some).await }).await?;
            for view in views {
                let now = self.core.clock.now();
                let was_told = self.seen.contains_key(&view.job.id);
                if (self.filter.matches(&view, now) || (was_told && self.wide.matches(&view, now)))
                    && !self.tell(view).await
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Tells a job unless it was told as it is; false when the reader has gone.
    async fn tell(&mut self, view: View) -> bool {
        let (run, epoch, phase) = view.position();
        let state = view.state(self.core.clock.now());
        let mark = (run, epoch, phase, state, view.progress.map(f64::to_bits), view.status.clone());
        let job = view.job.id;
        if self.seen.get(&job) == Some(&mark) {
            return true;
        }
        let still_follows = !state.is_settled() && self.filter.matches(&view, self.core.clock.now());
        self.seen.insert(job, mark);
        let open = self.send(WatchManyWhat::Job(Box::new(view))).await;
        if !still_follows && self.seen.len() > limits::WATCH_INITIAL_MAX {
            self.seen.remove(&job);
        }
        open
    }

    async fn send(&self, what: WatchManyWhat) -> bool {
        let event =
            WatchManyEvent { token: write_many_token(&self.filter), now: self.core.clock.now(), what };
        self.events.send(Ok(event)).await.is_ok()
    }
}

fn filter_digest(filter: &Filter) -> [u8; 16] {
    digest([format!("{filter:?}").as_bytes()])
}

fn write_many_token(filter: &Filter) -> String {
    write_token(JOBS_TOKEN, &filter_digest(filter))
}

fn check_many_token(filter: &Filter, token: &str) -> Result<()> {
    let bad = |message: String| Error::BadToken { field: "resume_token", message };
    if token.is_empty() {
        return Ok(());
    }
    let bytes = read_token(JOBS_TOKEN, token).map_err(|error| bad(error.to_string()))?;
    if bytes != filter_digest(filter) {
        return Err(bad("belongs to another filter".into()));
    }
    Ok(())
}
