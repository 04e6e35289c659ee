//! Following jobs live: streams that come back by themselves, with the token of the last event, when they are cut.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use haulier_proto::v1 as pb;
use haulier_proto::v1::watch_job_response::Event as Wire;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::calls::JobTarget;
use crate::client::Client;
use crate::errors::{Error, Result};
use crate::handle::is_settled;
use crate::retry::{Backoff, Repeat, worth_retrying};

/// What happened to a job, with the token to go on after it.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchEvent {
    /// What happened.
    pub event: JobEvent,
    /// Token for [`Watch::resume_token`].
    pub resume_token: String,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobEvent {
    /// The job with its full record: the first event, and the last one, which shows the outcome.
    Snapshot(Box<pb::JobResult>),
    /// The state or attempt changed.
    State(Box<pb::JobSummary>),
    /// Progress or status changed. The latest wins; some may be left out.
    Progress(pb::ProgressEvent),
    /// Log lines, in order.
    Logs(Vec<pb::LogLine>),
    /// Lines were left out.
    Gap(pb::GapEvent),
}

/// Follows one job: a [`Stream`] of events that ends only after a snapshot that shows the outcome.
///
/// When the connection is cut it comes back with the token of the last event, for as long as it takes; only the first connection
/// is bound to the client's deadline. An error, such as a job that does not exist, ends it.
#[must_use = "nothing is sent until the stream is read"]
pub struct Watch {
    inner: Resuming<JobSource>,
}

impl Watch {
    pub(crate) fn new(client: Client, job: JobTarget) -> Self {
        let request = pb::WatchJobRequest { target: Some(job.into_watch()), ..Default::default() };
        Self { inner: Resuming::new(JobSource { client, request, has_outcome: false }) }
    }

    /// Goes on after an event whose token was kept, also from another process.
    pub fn resume_token(mut self, token: impl Into<String>) -> Self {
        self.inner.with_source(|source| source.request.resume_token = token.into());
        self
    }

    /// When it ends: when the outcome is settled, which is the default, or when callback and notification have ended too.
    pub fn until(mut self, until: pb::WatchUntil) -> Self {
        self.inner.with_source(|source| source.request.until = until.into());
        self
    }

    /// Whether to give log lines. Default: yes.
    pub fn include_logs(mut self, include: bool) -> Self {
        self.inner.with_source(|source| source.request.include_logs = Some(include));
        self
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().inner.poll(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}

/// What happened to the jobs that match a filter, with the token to go on after it.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchJobsEvent {
    /// What happened.
    pub event: JobsEvent,
    /// Token for [`WatchJobs::resume_token`].
    pub resume_token: String,
}

/// What happened to the jobs that match a filter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobsEvent {
    /// A job that matches, as it is now. (id, run, epoch, state) tells a repeated event from a new one.
    Job(Box<pb::JobSummary>),
    /// The initial set is complete; what follows are changes.
    Synced(pb::SyncedEvent),
    /// Changes were left out: the present state of all jobs that match follows.
    Gap(pb::GapEvent),
}

/// Follows the jobs that match a filter: those that now do, then every change. Never ends by itself; comes back with the token of
/// the last event when the connection is cut.
#[must_use = "nothing is sent until the stream is read"]
pub struct WatchJobs {
    inner: Resuming<JobsSource>,
}

impl WatchJobs {
    pub(crate) fn new(client: Client, filter: pb::JobFilter) -> Self {
        let request = pb::WatchJobsRequest { filter: Some(filter), ..Default::default() };
        Self { inner: Resuming::new(JobsSource { client, request }) }
    }

    /// Goes on after an event whose token was kept; the filter must be the same.
    pub fn resume_token(mut self, token: impl Into<String>) -> Self {
        self.inner.with_source(|source| source.request.resume_token = token.into());
        self
    }
}

impl Stream for WatchJobs {
    type Item = Result<WatchJobsEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().inner.poll(cx)
    }
}

impl fmt::Debug for WatchJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchJobs(..)")
    }
}

/// What is watched, and how an event of it is read.
trait Source: Send + 'static {
    const OPERATION: &'static str;
    type Message: Send + 'static;
    type Event: Send + 'static;

    fn client(&self) -> &Client;

    fn open(&self) -> impl Future<Output = Result<Streaming<Self::Message>, Status>> + Send;

    /// Reads a message and keeps its token. None: it is of a kind that this version does not know.
    fn take(&mut self, message: Self::Message) -> Option<Self::Event>;

    /// Whether a stream that ended well has told everything.
    fn is_complete(&self) -> bool;

    /// Forgets the token. False: there was none.
    fn forget_token(&mut self) -> bool;
}

struct JobSource {
    client: Client,
    request: pb::WatchJobRequest,
    has_outcome: bool,
}

impl Source for JobSource {
    const OPERATION: &'static str = "WatchJob";
    type Message = pb::WatchJobResponse;
    type Event = WatchEvent;

    fn client(&self) -> &Client {
        &self.client
    }

    async fn open(&self) -> Result<Streaming<Self::Message>, Status> {
        Ok(self.client.jobs().watch_job(self.request.clone()).await?.into_inner())
    }

    fn take(&mut self, message: Self::Message) -> Option<WatchEvent> {
        self.request.resume_token.clone_from(&message.resume_token);
        self.has_outcome = matches!(&message.event, Some(Wire::Snapshot(job)) if job.summary.as_ref()
            .is_some_and(|summary| is_settled(summary.state())));
        let event = match message.event? {
            Wire::Snapshot(job) => JobEvent::Snapshot(Box::new(job)),
            Wire::State(summary) => JobEvent::State(Box::new(summary)),
            Wire::Progress(progress) => JobEvent::Progress(progress),
            Wire::Logs(logs) => JobEvent::Logs(logs.lines),
            Wire::Gap(gap) => JobEvent::Gap(gap),
        };
        Some(WatchEvent { event, resume_token: message.resume_token })
    }

    fn is_complete(&self) -> bool {
        self.has_outcome
    }

    fn forget_token(&mut self) -> bool {
        !std::mem::take(&mut self.request.resume_token).is_empty()
    }
}

struct JobsSource {
    client: Client,
    request: pb::WatchJobsRequest,
}

impl Source for JobsSource {
    const OPERATION: &'static str = "WatchJobs";
    type Message = pb::WatchJobsResponse;
    type Event = WatchJobsEvent;

    fn client(&self) -> &Client {
        &self.client
    }

    async fn open(&self) -> Result<Streaming<Self::Message>, Status> {
        Ok(self.client.jobs().watch_jobs(self.request.clone()).await?.into_inner())
    }

    fn take(&mut self, message: Self::Message) -> Option<WatchJobsEvent> {
        use pb::watch_jobs_response::Event;
        self.request.resume_token.clone_from(&message.resume_token);
        let event = match message.event? {
            Event::Job(job) => JobsEvent::Job(Box::new(job)),
            Event::Synced(synced) => JobsEvent::Synced(synced),
            Event::Gap(gap) => JobsEvent::Gap(gap),
        };
        Some(WatchJobsEvent { event, resume_token: message.resume_token })
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn forget_token(&mut self) -> bool {
        !std::mem::take(&mut self.request.resume_token).is_empty()
    }
}

/// A watch with the stream that it has open, if any.
struct Following<S: Source> {
    source: S,
    stream: Option<Streaming<S::Message>>,
    backoff: Backoff,
    was_open: bool,
}

impl<S: Source> Following<S> {
    /// The next event; none after the end.
    async fn next(&mut self) -> Result<Option<S::Event>> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => self.open().await?,
            };
            match stream.message().await {
                Ok(Some(message)) => {
                    self.backoff.reset();
                    if let Some(event) = self.source.take(message) {
                        return Ok(Some(event));
                    }
                }
                Ok(None) if self.source.is_complete() => return Ok(None),
                Ok(None) => self.pause(&Status::unavailable("the stream ended before its end")).await?,
                Err(status) => self.pause(&status).await?,
            }
        }
    }

    /// Opens the stream: the first time within the client's deadline, later for as long as it takes.
    async fn open(&mut self) -> Result<&mut Streaming<S::Message>> {
        let deadline = self.source.client().deadline();
        let opened = loop {
            let opening = tokio::time::timeout(deadline, self.source.open());
            let opened = opening.await.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")));
            match opened {
                Ok(stream) => break stream,
                Err(status) if self.was_open => self.pause(&status).await?,
                Err(status) => self.pause_at_first(&status).await?,
            }
        };
        self.was_open = true;
        Ok(self.stream.insert(opened))
    }

    /// Waits before the stream is opened again, or gives up for good.
    async fn pause(&mut self, status: &Status) -> Result<()> {
        self.stream = None;
        if is_bad_token(status) && self.source.forget_token() {
            tracing::warn!(
                operation = S::OPERATION,
                "the resume token is not known any more: watching from the start"
            );
            return Ok(());
        }
        // Servers that stop, and proxies that bound a stream's age, end it so: that is no answer about the job.
        let is_cut = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
        let may_pass = is_cut || worth_retrying(status, Repeat::Safe).is_some();
        if !may_pass {
            return Err(Error::from_status(S::OPERATION, status));
        }
        tracing::debug!(operation = S::OPERATION, code = ?status.code(), "the stream was cut: coming back");
        self.backoff.pause().await;
        Ok(())
    }

    async fn pause_at_first(&mut self, status: &Status) -> Result<()> {
        if self.backoff.spent() > self.source.client().deadline() {
            return Err(Error::from_status(S::OPERATION, status));
        }
        self.pause(status).await
    }
}

fn is_bad_token(status: &Status) -> bool {
    status.get_error_details().error_info().is_some_and(|info| info.reason == "BAD_TOKEN")
}

/// A watch on its way to its next event, with what comes of that.
type NextEvent<S> = BoxFuture<'static, (Box<Following<S>>, Result<Option<<S as Source>::Event>>)>;

/// A watch as a stream: idle, waiting for its next event, or ended.
enum Resuming<S: Source> {
    Idle(Box<Following<S>>),
    Waiting(NextEvent<S>),
    Ended,
}

impl<S: Source> Resuming<S> {
    fn new(source: S) -> Self {
        Self::Idle(Box::new(Following { source, stream: None, backoff: Backoff::calls(), was_open: false }))
    }

    fn with_source(&mut self, change: impl FnOnce(&mut S)) {
        if let Self::Idle(following) = self {
            change(&mut following.source);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<S::Event>>> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Poll::Ready(None),
                Self::Idle(mut following) => {
                    *self = Self::Waiting(Box::pin(async move {
                        let event = following.next().await;
                        (following, event)
                    }));
                }
                Self::Waiting(mut next) => match next.as_mut().poll(cx) {
                    Poll::Pending => {
                        *self = Self::Waiting(next);
                        return Poll::Pending;
                    }
                    Poll::Ready((following, Ok(Some(event)))) => {
                        *self = Self::Idle(following);
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Poll::Ready((_, Ok(None))) => return Poll::Ready(None),
                    Poll::Ready((_, Err(error))) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }
}
