//! The client: connect, enqueue, look, follow, cancel, requeue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::job_service_client::JobServiceClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::calls::{
    CancelJob, CancelJobs, GetJob, JobTarget, ListAttempts, ListJobs, ListLogs, RequeueJob, RequeueJobs,
    delivery_pages,
};
use crate::command::{Command, command_name};
use crate::connect::{Connector, DEFAULT_ADDRESS, MESSAGE_BYTES_MAX, TlsSettings, Transport};
use crate::enqueue::{Enqueue, EnqueueApi, EnqueueBatch, RunCommand};
use crate::errors::{Error, Result};
use crate::handle::{result_of, settled};
use crate::keeper::{Keeper, Keeping};
use crate::options::{ApiCall, Heritage};
use crate::pages::Pages;
use crate::payload::Payload;
use crate::retry::{self, Backoff, Repeat};
use crate::watch::{Watch, WatchJobs};

/// How long a call, retries included, may take when nothing else is said.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// A client of one Haulier service. Cloning is cheap; clones share a connection, which mends itself.
///
/// Calls retry what may pass (the server is away, or has as much in hand as it may) with jitter until their deadline, 30 s unless
/// [`ClientBuilder::deadline`] says otherwise. A call that stores something carries an id of its own over its retries, so that a
/// retry never makes a second job.
#[derive(Clone)]
pub struct Client {
    jobs: JobServiceClient<Transport>,
    transport: Transport,
    connector: Connector,
    deadline: Duration,
    heritage: Option<Arc<Heritage>>,
    keeping: Keeping,
}

impl Client {
    /// Connects to a server at an address such as `http://127.0.0.1:4285` or `https://jobs.example.org`, trying again for 30 s.
    pub async fn connect(address: impl Into<String>) -> Result<Self> {
        Self::builder(address).connect().await
    }

    /// Connects to `HAULIER_ADDRESS` (default `http://127.0.0.1:4285`) with the key in `HAULIER_API_KEY`, or in the file that
    /// `HAULIER_API_KEY_FILE` names, if any.
    pub async fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.connect().await
    }

    /// Settings for a client of the server at an address.
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            address: address.into(),
            key: None,
            tls: TlsSettings::default(),
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// Stores a job that runs a command. Await the builder to send it.
    pub fn enqueue<C: Command>(&self, command: C) -> Enqueue<C::Output> {
        Enqueue::new(self.clone(), command_name::<C>().to_owned(), Payload::json(&command))
    }

    /// As [`Self::enqueue`], for a command known by its name only; its result reads as any JSON value.
    pub fn enqueue_named<A: Serialize>(
        &self,
        command: impl Into<String>,
        args: A,
    ) -> Enqueue<serde_json::Value> {
        Enqueue::new(self.clone(), command.into(), Payload::json(&args))
    }

    /// As [`Self::enqueue_named`], with a payload as it is: JSON text or raw bytes.
    pub fn enqueue_payload(
        &self,
        command: impl Into<String>,
        request: Payload,
    ) -> Enqueue<serde_json::Value> {
        Enqueue::new(self.clone(), command.into(), Ok(request))
    }

    /// Stores a job in which the server itself calls an API of a target that its configuration names. A request of a gRPC method is
    /// its message as JSON.
    pub fn enqueue_api<A: Serialize>(&self, api: ApiCall, request: A) -> EnqueueApi {
        EnqueueApi::new(self.clone(), api, Payload::json(&request))
    }

    /// As [`Self::enqueue_api`], with a payload as it is: JSON text, raw bytes for HTTP, or nothing.
    pub fn enqueue_api_payload(&self, api: ApiCall, request: Payload) -> EnqueueApi {
        EnqueueApi::new(self.clone(), api, Ok(request))
    }

    /// Stores several jobs in one transaction, all or none.
    pub fn enqueue_batch(&self) -> EnqueueBatch {
        EnqueueBatch::new(self.clone())
    }

    /// Runs a command on a worker now without storing anything, and waits for its result. It is tried once.
    pub fn run_command<C: Command>(&self, command: C) -> RunCommand<C::Output> {
        RunCommand::new(self.clone(), command_name::<C>().to_owned(), Payload::json(&command))
    }

    /// As [`Self::run_command`], for a command known by its name only.
    pub fn run_command_named<A: Serialize>(
        &self,
        command: impl Into<String>,
        args: A,
    ) -> RunCommand<serde_json::Value> {
        RunCommand::new(self.clone(), command.into(), Payload::json(&args))
    }

    /// As [`Self::run_command_named`], with a payload as it is: JSON text or raw bytes.
    pub fn run_command_payload(
        &self,
        command: impl Into<String>,
        request: Payload,
    ) -> RunCommand<serde_json::Value> {
        RunCommand::new(self.clone(), command.into(), Ok(request))
    }

    /// A job with its full record, by id or ref id.
    pub fn get(&self, job: impl Into<JobTarget>) -> GetJob {
        GetJob::new(self.clone(), job.into())
    }

    /// The jobs that match a filter, newest first.
    pub fn list_jobs(&self, filter: pb::JobFilter) -> ListJobs {
        ListJobs::new(self.clone(), filter)
    }

    /// The attempts of a job, oldest first: of every run, or of one.
    pub fn list_attempts(&self, job_id: i64) -> ListAttempts {
        ListAttempts::new(self.clone(), job_id)
    }

    /// The log lines of a run of a job, oldest first.
    pub fn list_logs(&self, job_id: i64) -> ListLogs {
        ListLogs::new(self.clone(), job_id)
    }

    /// Follows one job until its outcome is settled.
    pub fn watch(&self, job: impl Into<JobTarget>) -> Watch {
        Watch::new(self.clone(), job.into())
    }

    /// Waits until the outcome of a job is settled, well or not, and gives back its full record.
    pub async fn settled(&self, job: impl Into<JobTarget>) -> Result<pb::JobResult> {
        settled(self.watch(job).include_logs(false)).await
    }

    /// Waits until a job has ended and reads its result. [`Error::JobFailed`] and [`Error::JobCancelled`] say that there is none.
    pub async fn wait<T: DeserializeOwned>(&self, job: impl Into<JobTarget>) -> Result<T> {
        result_of(self.settled(job).await?)?.read()
    }

    /// Follows the jobs that match a filter; never ends by itself.
    pub fn watch_jobs(&self, filter: pb::JobFilter) -> WatchJobs {
        WatchJobs::new(self.clone(), filter)
    }

    /// Cancels a job, by id or ref id: at once when it waits, cooperatively when it runs. Its dependants are cancelled too.
    pub fn cancel(&self, job: impl Into<JobTarget>) -> CancelJob {
        CancelJob::new(self.clone(), job.into())
    }

    /// Cancels all jobs that match a filter, which must not be empty.
    pub fn cancel_jobs(&self, filter: pb::JobFilter) -> CancelJobs {
        CancelJobs::new(self.clone(), filter)
    }

    /// Starts a new run of a failed or cancelled job under the same id.
    pub fn requeue(&self, job_id: i64) -> RequeueJob {
        RequeueJob::new(self.clone(), job_id)
    }

    /// Requeues all failed or cancelled jobs that match a filter, which must not be empty.
    pub fn requeue_jobs(&self, filter: pb::JobFilter) -> RequeueJobs {
        RequeueJobs::new(self.clone(), filter)
    }

    /// Says why a job is not running, as a code and a sentence.
    pub async fn explain(&self, job: impl Into<JobTarget>) -> Result<pb::ExplainJobResponse> {
        let target = Some(job.into().into_explain());
        let request = pb::ExplainJobRequest { target };
        self.call("ExplainJob", Repeat::Safe, request, async |mut jobs, request| {
            jobs.explain_job(request).await
        })
        .await
    }

    /// Counts the jobs of a batch by state.
    pub async fn get_batch(&self, batch_id: impl Into<String>) -> Result<pb::Batch> {
        let request = pb::GetBatchRequest { batch_id: batch_id.into() };
        let answer = self
            .call("GetBatch", Repeat::Safe, request, async |mut jobs, request| jobs.get_batch(request).await)
            .await?;
        Ok(answer.batch.unwrap_or_default())
    }

    /// Notifications with their tries, newest first; of one job, or of all with 0.
    pub fn list_deliveries(&self, job_id: i64, states: Vec<pb::DeliveryState>) -> Pages<pb::Delivery> {
        delivery_pages(self.clone(), job_id, states)
    }

    /// Sends a notification once more, delivered or given up.
    pub async fn replay_delivery(&self, delivery_id: i64) -> Result<pb::Delivery> {
        let request = pb::ReplayDeliveryRequest { delivery_id };
        let replay =
            async |mut jobs: JobServiceClient<Transport>, request| jobs.replay_delivery(request).await;
        let answer = self.call("ReplayDelivery", Repeat::Unsafe, request, replay).await?;
        Ok(answer.delivery.unwrap_or_default())
    }

    /// The connection, for the services that have no typed calls here: `AdminServiceClient::new(client.transport())`. Calls made
    /// so are not retried.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// Address of the server.
    pub fn address(&self) -> &str {
        self.connector.address()
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// What renews the locks of this client and its clones.
    pub(crate) fn keeper(&self) -> Result<Arc<Keeper>> {
        self.keeping.keeper(&self.connector)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Transport> {
        self.jobs.clone()
    }

    /// A client whose jobs descend from a running job.
    pub(crate) fn inheriting(&self, heritage: Arc<Heritage>) -> Self {
        Self { heritage: Some(heritage), ..self.clone() }
    }

    /// The options with what the running job passes on.
    pub(crate) fn inherited(&self, mut options: pb::JobOptions) -> pb::JobOptions {
        if let Some(heritage) = &self.heritage {
            heritage.pass_on(&mut options);
        }
        options
    }

    /// Makes a call with retries within the client's deadline.
    pub(crate) async fn call<Q, T, F>(
        &self,
        operation: &'static str,
        repeat: Repeat,
        request: Q,
        call: F,
    ) -> Result<T>
    where
        Q: Clone,
        F: AsyncFn(JobServiceClient<Transport>, Request<Q>) -> Result<Response<T>, Status>,
    {
        self.call_service(self.jobs(), operation, repeat, request, call).await
    }

    /// As [`Self::call`], of another service than that of jobs.
    pub(crate) async fn call_service<S, Q, T, F>(
        &self,
        service: S,
        operation: &'static str,
        repeat: Repeat,
        request: Q,
        call: F,
    ) -> Result<T>
    where
        S: Clone,
        Q: Clone,
        F: AsyncFn(S, Request<Q>) -> Result<Response<T>, Status>,
    {
        let made = |left| call(service.clone(), timed(request.clone(), left));
        retry::call(operation, self.deadline, repeat, made).await
    }

    /// As [`Self::call`], within another time than the client's deadline.
    pub(crate) async fn call_within<Q, T, F>(
        &self,
        deadline: Duration,
        operation: &'static str,
        repeat: Repeat,
        request: Q,
        call: F,
    ) -> Result<T>
    where
        Q: Clone,
        F: AsyncFn(JobServiceClient<Transport>, Request<Q>) -> Result<Response<T>, Status>,
    {
        let made = |left| call(self.jobs(), timed(request.clone(), left));
        retry::call(operation, deadline, repeat, made).await
    }

    fn over(transport: Transport, connector: Connector, deadline: Duration) -> Self {
        let jobs = JobServiceClient::new(transport.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { jobs, transport, connector, deadline, heritage: None, keeping: Keeping::default() }
    }
}

fn timed<Q>(request: Q, left: Duration) -> Request<Q> {
    let mut request = Request::new(request);
    request.set_timeout(left);
    request
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).field("deadline", &self.deadline).finish()
    }
}

/// Settings of a [`Client`].
pub struct ClientBuilder {
    address: String,
    key: Option<String>,
    tls: TlsSettings,
    deadline: Duration,
}

impl ClientBuilder {
    /// Settings from `HAULIER_ADDRESS` (default `http://127.0.0.1:4285`) and `HAULIER_API_KEY` or `HAULIER_API_KEY_FILE`.
    pub fn from_env() -> Result<Self> {
        let address = env_text("HAULIER_ADDRESS").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let mut builder = Client::builder(address);
        builder.key = match (env_text("HAULIER_API_KEY"), env_text("HAULIER_API_KEY_FILE")) {
            (Some(key), _) => Some(key),
            (None, Some(path)) => Some(read_key(&path)?),
            (None, None) => None,
        };
        Ok(builder)
    }

    /// API key, sent as a bearer token. Default: none.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long a call, its retries included, and the first connection may take. Default: 30 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// A certificate authority to trust, as PEM, beside those that everybody does.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca_certificate = Some(pem.into());
        self
    }

    /// Certificate and key of this client, as PEM, for a server that asks for one.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity = Some((certificate_pem.into(), key_pem.into()));
        self
    }

    /// Name that the server's certificate must have. Default: the host of the address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Connects, trying again with jitter until the deadline.
    pub async fn connect(self) -> Result<Client> {
        let connector = self.connector()?;
        let end = Instant::now() + self.deadline;
        let mut backoff = Backoff::calls();
        loop {
            let source = match connector.connect().await {
                Ok(transport) => return Ok(Client::over(transport, connector, self.deadline)),
                Err(source) => source,
            };
            let wait = backoff.next(rand::random());
            if Instant::now() + wait >= end {
                return Err(Error::Connect { address: connector.address().to_owned(), source });
            }
            tracing::debug!(address = connector.address(), ?wait, "connecting again");
            tokio::time::sleep(wait).await;
        }
    }

    /// A client that connects when it is first used. Must be called on a tokio runtime.
    pub fn connect_lazy(self) -> Result<Client> {
        let connector = self.connector()?;
        Ok(Client::over(connector.lazy(), connector, self.deadline))
    }

    fn connector(&self) -> Result<Connector> {
        Connector::new(&self.address, self.key.as_deref(), &self.tls)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("address", &self.address)
            .field("deadline", &self.deadline)
            .finish()
    }
}

fn env_text(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn read_key(path: &str) -> Result<String> {
    let read = std::fs::read_to_string(path);
    let key =
        read.map_err(|error| Error::config(format!("HAULIER_API_KEY_FILE={path}"), error.to_string()))?;
    Ok(key.trim().to_owned())
}
