//! Builders that store jobs: one, several at once, or none at all for a transient run.

use std::marker::PhantomData;
use std::time::Duration;

use futures::future::BoxFuture;
use haulier_proto::v1 as pb;
use haulier_proto::v1::enqueue_item::Work;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::client::Client;
use crate::errors::{Error, Result};
use crate::handle::{JobHandle, cancellation, failure};
use crate::options::{ApiCall, JobOptions, duration, duration_read, job_option_setters};
use crate::payload::Payload;
use crate::retry::Repeat;

/// Longest time of one attempt when the options set none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// A job about to be stored. Await it to send it.
#[must_use = "a job is only stored when this is awaited"]
#[derive(Debug)]
pub struct Enqueue<T = serde_json::Value> {
    client: Client,
    command: String,
    request: Result<Payload>,
    options: pb::JobOptions,
    request_id: Option<String>,
    output: PhantomData<fn() -> T>,
}

impl<T> Enqueue<T> {
    pub(crate) fn new(client: Client, command: String, request: Result<Payload>) -> Self {
        Self { client, command, request, options: Default::default(), request_id: None, output: PhantomData }
    }

    /// All options at once, over those set before.
    pub fn options(mut self, options: impl Into<JobOptions>) -> Self {
        self.options = options.into().into();
        self
    }

    /// Id of this intent to store a job, at most 128 characters: calls that carry the same one within 24 h store it once.
    /// Default: a fresh one for each await.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    job_option_setters!();

    fn options_mut(&mut self) -> &mut pb::JobOptions {
        &mut self.options
    }

    async fn send(self) -> Result<JobHandle<T>> {
        let request = pb::EnqueueCommandRequest {
            command: self.command,
            request: self.request?.into(),
            options: Some(self.client.inherited(self.options)),
            request_id: self.request_id.unwrap_or_else(fresh_request_id),
        };
        let enqueue = async |mut jobs: Jobs, request| jobs.enqueue_command(request).await;
        let answer = self.client.call("EnqueueCommand", Repeat::Safe, request, enqueue).await?;
        let job = pb::EnqueuedJob {
            local_key: String::new(),
            job_id: answer.job_id,
            ref_id: answer.ref_id,
            created: answer.created,
            state: answer.state,
        };
        Ok(JobHandle::new(self.client, job))
    }

    fn into_item(self, local_key: String) -> Result<pb::EnqueueItem> {
        let options = Some(self.client.inherited(self.options));
        let item = pb::EnqueueCommandItem { command: self.command, request: self.request?.into(), options };
        Ok(pb::EnqueueItem { local_key, work: Some(Work::Command(item)) })
    }
}

impl<T: Send + 'static> IntoFuture for Enqueue<T> {
    type Output = Result<JobHandle<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

type Jobs = pb::job_service_client::JobServiceClient<crate::connect::Transport>;

/// A job that calls an API, about to be stored. Await it to send it.
#[must_use = "a job is only stored when this is awaited"]
#[derive(Debug)]
pub struct EnqueueApi {
    client: Client,
    api: ApiCall,
    request: Result<Payload>,
    options: pb::JobOptions,
    request_id: Option<String>,
}

impl EnqueueApi {
    pub(crate) fn new(client: Client, api: ApiCall, request: Result<Payload>) -> Self {
        Self { client, api, request, options: Default::default(), request_id: None }
    }

    /// All options at once, over those set before.
    pub fn options(mut self, options: impl Into<JobOptions>) -> Self {
        self.options = options.into().into();
        self
    }

    /// Id of this intent to store a job, at most 128 characters: calls that carry the same one within 24 h store it once.
    /// Default: a fresh one for each await.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    job_option_setters!();

    fn options_mut(&mut self) -> &mut pb::JobOptions {
        &mut self.options
    }

    async fn send(self) -> Result<JobHandle<serde_json::Value>> {
        let request = pb::EnqueueApiRequest {
            api: Some(self.api.into()),
            request: self.request?.into(),
            options: Some(self.client.inherited(self.options)),
            request_id: self.request_id.unwrap_or_else(fresh_request_id),
        };
        let enqueue = async |mut jobs: Jobs, request| jobs.enqueue_api(request).await;
        let answer = self.client.call("EnqueueApi", Repeat::Safe, request, enqueue).await?;
        let job = pb::EnqueuedJob {
            local_key: String::new(),
            job_id: answer.job_id,
            ref_id: answer.ref_id,
            created: answer.created,
            state: answer.state,
        };
        Ok(JobHandle::new(self.client, job))
    }

    fn into_item(self, local_key: String) -> Result<pb::EnqueueItem> {
        let options = Some(self.client.inherited(self.options));
        let item = pb::EnqueueApiItem { api: Some(self.api.into()), request: self.request?.into(), options };
        Ok(pb::EnqueueItem { local_key, work: Some(Work::Api(item)) })
    }
}

impl IntoFuture for EnqueueApi {
    type Output = Result<JobHandle<serde_json::Value>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// One job of several that are stored together: an [`Enqueue`] or an [`EnqueueApi`].
pub trait EnqueueItem: private::Sealed {
    /// The item as it travels.
    #[doc(hidden)]
    fn into_enqueue_item(self, local_key: String) -> Result<pb::EnqueueItem>;
}

mod private {
    pub trait Sealed {}
    impl<T> Sealed for super::Enqueue<T> {}
    impl Sealed for super::EnqueueApi {}
}

impl<T> EnqueueItem for Enqueue<T> {
    fn into_enqueue_item(self, local_key: String) -> Result<pb::EnqueueItem> {
        self.into_item(local_key)
    }
}

impl EnqueueItem for EnqueueApi {
    fn into_enqueue_item(self, local_key: String) -> Result<pb::EnqueueItem> {
        self.into_item(local_key)
    }
}

/// Several jobs about to be stored in one transaction, all or none. Await it to send it.
///
/// ```no_run
/// # async fn example(client: haulier::Client) -> haulier::Result<()> {
/// use haulier::Dependency;
/// let stored = client
///     .enqueue_batch()
///     .push_as("fetch", client.enqueue_named("Fetch", "https://example.org/"))
///     .push(client.enqueue_named("Index", ()).depends_on(Dependency::local_key("fetch")))
///     .await?;
/// assert_eq!(stored.jobs.len(), 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "jobs are only stored when this is awaited"]
#[derive(Debug)]
pub struct EnqueueBatch {
    client: Client,
    items: Result<Vec<pb::EnqueueItem>>,
    batch_id: String,
    request_id: Option<String>,
}

impl EnqueueBatch {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, items: Ok(Vec::new()), batch_id: String::new(), request_id: None }
    }

    /// Adds a job; 1,000 in all by default.
    pub fn push(self, item: impl EnqueueItem) -> Self {
        self.push_as("", item)
    }

    /// Adds a job on which others of the batch can depend, by this key.
    pub fn push_as(mut self, local_key: impl Into<String>, item: impl EnqueueItem) -> Self {
        if let Ok(items) = &mut self.items {
            match item.into_enqueue_item(local_key.into()) {
                Ok(item) => items.push(item),
                Err(error) => self.items = Err(error),
            }
        }
        self
    }

    /// Batch id of every job that sets none itself. Default: the server makes one.
    pub fn batch_id(mut self, batch_id: impl Into<String>) -> Self {
        self.batch_id = batch_id.into();
        self
    }

    /// Id of this intent, at most 128 characters: calls that carry the same one within 24 h store the jobs once. Default: a fresh
    /// one for each await.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    async fn send(self) -> Result<EnqueuedBatch> {
        let request = pb::EnqueueBatchRequest {
            items: self.items?,
            batch_id: self.batch_id,
            request_id: self.request_id.unwrap_or_else(fresh_request_id),
        };
        let enqueue = async |mut jobs: Jobs, request| jobs.enqueue_batch(request).await;
        let answer = self.client.call("EnqueueBatch", Repeat::Safe, request, enqueue).await?;
        let jobs = answer.jobs.into_iter().map(|job| JobHandle::new(self.client.clone(), job)).collect();
        Ok(EnqueuedBatch { batch_id: answer.batch_id, jobs })
    }
}

impl IntoFuture for EnqueueBatch {
    type Output = Result<EnqueuedBatch>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Jobs that were stored together.
#[derive(Debug)]
pub struct EnqueuedBatch {
    /// The batch id.
    pub batch_id: String,
    /// The jobs, in the order in which they were added.
    pub jobs: Vec<JobHandle<serde_json::Value>>,
}

/// A transient run about to start: nothing is stored, and it is tried once. Await it for the result.
///
/// Of the options only ref id, queue, named worker, priority, timeout, strict, tag, parent, user, created by, arguments and trace
/// context may be set.
#[must_use = "nothing runs until this is awaited"]
#[derive(Debug)]
pub struct RunCommand<T = serde_json::Value> {
    client: Client,
    command: String,
    request: Result<Payload>,
    options: pb::JobOptions,
    wait: Option<Duration>,
    output: PhantomData<fn() -> T>,
}

impl<T> RunCommand<T> {
    pub(crate) fn new(client: Client, command: String, request: Result<Payload>) -> Self {
        Self { client, command, request, options: Default::default(), wait: None, output: PhantomData }
    }

    /// All options at once, over those set before.
    pub fn options(mut self, options: impl Into<JobOptions>) -> Self {
        self.options = options.into().into();
        self
    }

    /// How long to wait for the result; after that the run goes on and [`Error::WaitOver`] tells so. Default: until
    /// it has ended, which its timeout sees to.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    job_option_setters!();

    fn options_mut(&mut self) -> &mut pb::JobOptions {
        &mut self.options
    }

    /// Starts it and answers at once with its ref id. [`Client::watch`], [`Client::get`] and [`Client::cancel`] know it while it
    /// runs and 60 s after.
    pub async fn detach(self) -> Result<String> {
        let deadline = self.client.deadline();
        Ok(self.send(true, deadline).await?.ref_id)
    }

    /// Starts it and waits, and gives back the answer as the server sent it: state, result and error, also of a failed run.
    pub async fn outcome(self) -> Result<pb::RunCommandResponse> {
        let deadline = self.waits().saturating_add(self.client.deadline());
        self.send(false, deadline).await
    }

    fn waits(&self) -> Duration {
        self.wait.or(duration_read(self.options.timeout)).unwrap_or(DEFAULT_TIMEOUT)
    }

    async fn send(self, detach: bool, deadline: Duration) -> Result<pb::RunCommandResponse> {
        let request = pb::RunCommandRequest {
            command: self.command,
            request: self.request?.into(),
            options: Some(self.client.inherited(self.options)),
            wait: self.wait.filter(|_| !detach).map(duration),
            detach,
        };
        let run = async |mut jobs: Jobs, request| jobs.run_command(request).await;
        self.client.call_within(deadline, "RunCommand", Repeat::Unsafe, request, run).await
    }
}

impl<T: DeserializeOwned + Send + 'static> RunCommand<T> {
    async fn wait_for_result(self) -> Result<T> {
        let waited = self.waits();
        let answer = self.outcome().await?;
        match answer.state() {
            pb::JobState::Executed | pb::JobState::Completed => Payload::from(answer.result).read(),
            pb::JobState::Failed => Err(failure(&answer.ref_id, 1, answer.error)),
            pb::JobState::Cancelled => {
                let message = answer.error.map(|error| error.message).unwrap_or_default();
                Err(cancellation(&answer.ref_id, pb::CancelReason::Client, &message))
            }
            _ => Err(Error::WaitOver { what: format!("run {}", answer.ref_id), waited }),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for RunCommand<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait_for_result())
    }
}

/// An id that names one intent over all its retries.
pub(crate) fn fresh_request_id() -> String {
    Uuid::now_v7().to_string()
}
