//! Builders of the calls that look at jobs, cancel them and requeue them. Each is sent when it is awaited.

use std::time::Duration;

use futures::future::BoxFuture;
use haulier_proto::v1 as pb;

use crate::client::Client;
use crate::connect::Transport;
use crate::enqueue::fresh_request_id;
use crate::errors::Result;
use crate::options::duration;
use crate::pages::{Page, Pages};
use crate::retry::Repeat;

type Jobs = pb::job_service_client::JobServiceClient<Transport>;

/// Which job: its id, or its ref id. Transient runs have only a ref id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTarget {
    /// Its id.
    Id(i64),
    /// Its ref id.
    RefId(String),
}

impl From<i64> for JobTarget {
    fn from(id: i64) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for JobTarget {
    fn from(ref_id: &str) -> Self {
        Self::RefId(ref_id.to_owned())
    }
}

impl From<String> for JobTarget {
    fn from(ref_id: String) -> Self {
        Self::RefId(ref_id)
    }
}

impl JobTarget {
    pub(crate) fn into_explain(self) -> pb::explain_job_request::Target {
        match self {
            Self::Id(id) => pb::explain_job_request::Target::JobId(id),
            Self::RefId(ref_id) => pb::explain_job_request::Target::RefId(ref_id),
        }
    }

    pub(crate) fn into_watch(self) -> pb::watch_job_request::Target {
        match self {
            Self::Id(id) => pb::watch_job_request::Target::JobId(id),
            Self::RefId(ref_id) => pb::watch_job_request::Target::RefId(ref_id),
        }
    }

    fn into_cancel(self) -> pb::cancel_job_request::Target {
        match self {
            Self::Id(id) => pb::cancel_job_request::Target::JobId(id),
            Self::RefId(ref_id) => pb::cancel_job_request::Target::RefId(ref_id),
        }
    }
}

/// Makes a builder awaitable by its `send`.
macro_rules! sent_when_awaited {
    ($($builder:ty => $answer:ty),+ $(,)?) => {$(
        impl IntoFuture for $builder {
            type Output = Result<$answer>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.send())
            }
        }
    )+};
}

sent_when_awaited!(
    GetJob => pb::JobResult,
    CancelJob => pb::CancelJobResponse,
    CancelJobs => pb::CancelJobsResponse,
    RequeueJob => pb::RequeueJobResponse,
    RequeueJobs => pb::RequeueJobsResponse,
);

/// Looks at a job.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct GetJob {
    client: Client,
    job: JobTarget,
    run: i32,
    include_parent: bool,
}

impl GetJob {
    pub(crate) fn new(client: Client, job: JobTarget) -> Self {
        Self { client, job, run: 0, include_parent: false }
    }

    /// Run to show. Default: the latest.
    pub fn run(mut self, run: i32) -> Self {
        self.run = run;
        self
    }

    /// Adds the job that this one descends from.
    pub fn include_parent(mut self) -> Self {
        self.include_parent = true;
        self
    }

    async fn send(self) -> Result<pb::JobResult> {
        let Self { client, job, run, include_parent } = self;
        let job = match job {
            JobTarget::Id(job_id) => {
                let request = pb::GetJobRequest { job_id, run, include_parent };
                let get = async |mut jobs: Jobs, request| jobs.get_job(request).await;
                client.call("GetJob", Repeat::Safe, request, get).await?.job
            }
            JobTarget::RefId(ref_id) => {
                let request = pb::GetJobByRefIdRequest { ref_id, run, include_parent };
                let get = async |mut jobs: Jobs, request| jobs.get_job_by_ref_id(request).await;
                client.call("GetJobByRefId", Repeat::Safe, request, get).await?.job
            }
        };
        Ok(job.unwrap_or_default())
    }
}

/// Cancels a job.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct CancelJob {
    client: Client,
    job: JobTarget,
    reason: String,
    grace: Option<Duration>,
}

impl CancelJob {
    pub(crate) fn new(client: Client, job: JobTarget) -> Self {
        Self { client, job, reason: String::new(), grace: None }
    }

    /// Why, in words: shown on the job and given to the handler; at most 4 KiB.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// How long a running handler may take to stop before the job is taken from it. Default: 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    async fn send(self) -> Result<pb::CancelJobResponse> {
        let request = pb::CancelJobRequest {
            target: Some(self.job.into_cancel()),
            reason: self.reason,
            grace: self.grace.map(duration),
        };
        let cancel = async |mut jobs: Jobs, request| jobs.cancel_job(request).await;
        self.client.call("CancelJob", Repeat::Safe, request, cancel).await
    }
}

/// Cancels all jobs that match a filter.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct CancelJobs {
    client: Client,
    request: pb::CancelJobsRequest,
}

impl CancelJobs {
    pub(crate) fn new(client: Client, filter: pb::JobFilter) -> Self {
        Self { client, request: pb::CancelJobsRequest { filter: Some(filter), ..Default::default() } }
    }

    /// Why, in words; at most 4 KiB.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.request.reason = reason.into();
        self
    }

    /// How long running handlers may take to stop. Default: 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.request.grace = Some(duration(grace));
        self
    }

    /// Only count, cancel nothing.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    async fn send(self) -> Result<pb::CancelJobsResponse> {
        let cancel = async |mut jobs: Jobs, request| jobs.cancel_jobs(request).await;
        self.client.call("CancelJobs", Repeat::Safe, self.request, cancel).await
    }
}

/// Requeues a job.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct RequeueJob {
    client: Client,
    request: pb::RequeueJobRequest,
}

impl RequeueJob {
    pub(crate) fn new(client: Client, job_id: i64) -> Self {
        Self { client, request: pb::RequeueJobRequest { job_id, ..Default::default() } }
    }

    /// Run to do again; when the next run exists already, the answer is that one. Default: the latest.
    pub fn run(mut self, run: i32) -> Self {
        self.request.run = run;
        self
    }

    /// Requeues the dependants too that were cancelled because of it, all the way down.
    pub fn include_dependants(mut self) -> Self {
        self.request.include_dependants = true;
        self
    }

    async fn send(mut self) -> Result<pb::RequeueJobResponse> {
        self.request.request_id = fresh_request_id();
        let requeue = async |mut jobs: Jobs, request| jobs.requeue_job(request).await;
        self.client.call("RequeueJob", Repeat::Safe, self.request, requeue).await
    }
}

/// Requeues all failed or cancelled jobs that match a filter.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct RequeueJobs {
    client: Client,
    request: pb::RequeueJobsRequest,
}

impl RequeueJobs {
    pub(crate) fn new(client: Client, filter: pb::JobFilter) -> Self {
        Self { client, request: pb::RequeueJobsRequest { filter: Some(filter), ..Default::default() } }
    }

    /// Requeues the dependants too that were cancelled because of them.
    pub fn include_dependants(mut self) -> Self {
        self.request.include_dependants = true;
        self
    }

    /// Only count, requeue nothing.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    /// Month of creation to look in, as `YYYY-MM` in UTC. Default: the two newest.
    pub fn month(mut self, month: impl Into<String>) -> Self {
        self.request.month = month.into();
        self
    }

    async fn send(self) -> Result<pb::RequeueJobsResponse> {
        // A repeat whose first answer was lost finds the jobs waiting, and passes over them.
        let requeue = async |mut jobs: Jobs, request| jobs.requeue_jobs(request).await;
        self.client.call("RequeueJobs", Repeat::Safe, self.request, requeue).await
    }
}

/// Lists jobs.
#[must_use = "nothing is sent until this is read as a stream or by page"]
#[derive(Debug)]
pub struct ListJobs {
    client: Client,
    request: pb::ListJobsRequest,
}

impl ListJobs {
    pub(crate) fn new(client: Client, filter: pb::JobFilter) -> Self {
        Self { client, request: pb::ListJobsRequest { filter: Some(filter), ..Default::default() } }
    }

    /// Order. Default: newest first.
    pub fn order(mut self, order: pb::ListOrder) -> Self {
        self.request.order = order.into();
        self
    }

    /// Most jobs on a page. Default: 50; at most 500.
    pub fn page_size(mut self, size: i32) -> Self {
        self.request.page_size = size;
        self
    }

    /// Month of creation to look in, as `YYYY-MM` in UTC. Default: live jobs and the history of the two newest months.
    pub fn month(mut self, month: impl Into<String>) -> Self {
        self.request.month = month.into();
        self
    }

    /// The jobs as a stream, or page by page.
    pub fn pages(self) -> Pages<pb::JobSummary> {
        let Self { client, request } = self;
        Pages::new(move |page_token| {
            let (client, request) = (client.clone(), pb::ListJobsRequest { page_token, ..request.clone() });
            Box::pin(async move {
                let list = async |mut jobs: Jobs, request| jobs.list_jobs(request).await;
                let answer = client.call("ListJobs", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.jobs, next_page_token: answer.next_page_token })
            })
        })
    }
}

/// Lists the attempts of a job.
#[must_use = "nothing is sent until this is read as a stream or by page"]
#[derive(Debug)]
pub struct ListAttempts {
    client: Client,
    request: pb::ListJobAttemptsRequest,
}

impl ListAttempts {
    pub(crate) fn new(client: Client, job_id: i64) -> Self {
        Self { client, request: pb::ListJobAttemptsRequest { job_id, ..Default::default() } }
    }

    /// Run. Default: all of them.
    pub fn run(mut self, run: i32) -> Self {
        self.request.run = run;
        self
    }

    /// Most attempts on a page. Default: 50; at most 500.
    pub fn page_size(mut self, size: i32) -> Self {
        self.request.page_size = size;
        self
    }

    /// The attempts as a stream, or page by page.
    pub fn pages(self) -> Pages<pb::JobAttempt> {
        let Self { client, request } = self;
        Pages::new(move |page_token| {
            let (client, request) =
                (client.clone(), pb::ListJobAttemptsRequest { page_token, ..request.clone() });
            Box::pin(async move {
                let list = async |mut jobs: Jobs, request| jobs.list_job_attempts(request).await;
                let answer = client.call("ListJobAttempts", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.attempts, next_page_token: answer.next_page_token })
            })
        })
    }
}

/// Lists the log lines of a run.
#[must_use = "nothing is sent until this is read as a stream or by page"]
#[derive(Debug)]
pub struct ListLogs {
    client: Client,
    request: pb::ListJobLogsRequest,
}

impl ListLogs {
    pub(crate) fn new(client: Client, job_id: i64) -> Self {
        Self { client, request: pb::ListJobLogsRequest { job_id, ..Default::default() } }
    }

    /// Run. Default: the latest.
    pub fn run(mut self, run: i32) -> Self {
        self.request.run = run;
        self
    }

    /// Attempt (by its fencing token) and line to begin with. Default: the first.
    pub fn from(mut self, epoch: i64, sequence: i64) -> Self {
        self.request.epoch = epoch;
        self.request.from_sequence = sequence;
        self
    }

    /// Only lines of this level and above. Default: all.
    pub fn min_level(mut self, level: pb::LogLevel) -> Self {
        self.request.min_level = level.into();
        self
    }

    /// Most lines on a page. Default: 50; at most 500.
    pub fn page_size(mut self, size: i32) -> Self {
        self.request.page_size = size;
        self
    }

    /// The lines as a stream, or page by page.
    pub fn pages(self) -> Pages<pb::LogLine> {
        let Self { client, request } = self;
        Pages::new(move |page_token| {
            let (client, request) =
                (client.clone(), pb::ListJobLogsRequest { page_token, ..request.clone() });
            Box::pin(async move {
                let list = async |mut jobs: Jobs, request| jobs.list_job_logs(request).await;
                let answer = client.call("ListJobLogs", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.lines, next_page_token: answer.next_page_token })
            })
        })
    }
}

pub(crate) fn delivery_pages(
    client: Client,
    job_id: i64,
    states: Vec<pb::DeliveryState>,
) -> Pages<pb::Delivery> {
    let states: Vec<i32> = states.into_iter().map(i32::from).collect();
    Pages::new(move |page_token| {
        let (client, states) = (client.clone(), states.clone());
        Box::pin(async move {
            let request = pb::ListDeliveriesRequest { job_id, states, page_token, ..Default::default() };
            let list = async |mut jobs: Jobs, request| jobs.list_deliveries(request).await;
            let answer = client.call("ListDeliveries", Repeat::Safe, request, list).await?;
            Ok(Page { items: answer.deliveries, next_page_token: answer.next_page_token })
        })
    })
}
