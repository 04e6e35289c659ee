//! Calls of those who look after a service: queues, worker processes, figures, commands, servers, history.

use std::time::Duration;

use futures::Stream;
use futures::TryStreamExt as _;
use haulier_proto::v1 as pb;
use pb::admin_service_client::AdminServiceClient;
use pb::queue_service_client::QueueServiceClient;
use pb::worker_service_client::WorkerServiceClient;
use tonic::Request;

use crate::client::Client;
use crate::connect::{MESSAGE_BYTES_MAX, Transport};
use crate::errors::{Error, Result};
use crate::options::duration;
use crate::pages::{Page, Pages};
use crate::retry::Repeat;

type Queues = QueueServiceClient<Transport>;
type Workers = WorkerServiceClient<Transport>;
type Admin = AdminServiceClient<Transport>;

/// Limits of a queue to set; those that are not named stay as they are.
///
/// ```no_run
/// # async fn limit(client: haulier::Client) -> haulier::Result<()> {
/// use std::time::Duration;
/// use haulier::QueueLimits;
///
/// client.update_queue("mail", QueueLimits::new().concurrency_limit(5).rate_limit(10, Duration::from_secs(1))).await?;
/// client.update_queue("mail", QueueLimits::new().no_rate_limit()).await?; // lifts one, leaves the other
/// # Ok(())
/// # }
/// ```
#[must_use = "limits do nothing until a queue gets them"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueLimits {
    concurrency: Option<Option<i32>>,
    rate: Option<Option<(i32, Duration)>>,
}

impl QueueLimits {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most jobs that run at once: 1 to 1,000,000.
    pub fn concurrency_limit(mut self, jobs: i32) -> Self {
        self.concurrency = Some(Some(jobs));
        self
    }

    /// As many as there are slots for.
    pub fn no_concurrency_limit(mut self) -> Self {
        self.concurrency = Some(None);
        self
    }

    /// Most jobs that start in any stretch of so much time: 1 to 1,000,000 in 1 s to 1 day.
    pub fn rate_limit(mut self, starts: i32, period: Duration) -> Self {
        self.rate = Some(Some((starts, period)));
        self
    }

    /// As many starts as there are jobs.
    pub fn no_rate_limit(mut self) -> Self {
        self.rate = Some(None);
        self
    }

    fn request(self, name: String) -> pb::UpdateQueueRequest {
        let named = [("concurrency_limit", self.concurrency.is_some()), ("rate_limit", self.rate.is_some())];
        let paths = named.iter().filter(|(_, is_set)| *is_set).map(|(path, _)| (*path).to_owned()).collect();
        let rate = |(count, period)| pb::RateLimit { count, period: Some(duration(period)) };
        let queue = pb::Queue {
            name,
            concurrency_limit: self.concurrency.flatten(),
            rate_limit: self.rate.flatten().map(rate),
            ..Default::default()
        };
        pb::UpdateQueueRequest { queue: Some(queue), update_mask: Some(prost_types::FieldMask { paths }) }
    }
}

impl Client {
    /// A queue by name, with the counts of its live jobs.
    pub async fn get_queue(&self, name: impl Into<String>) -> Result<pb::Queue> {
        let (queues, request) = (self.queue_service(), pb::GetQueueRequest { name: name.into() });
        let get = async |mut queues: Queues, request| queues.get_queue(request).await;
        Ok(self.call_service(queues, "GetQueue", Repeat::Safe, request, get).await?.queue.unwrap_or_default())
    }

    /// Queues, by name.
    pub fn list_queues(&self) -> Pages<pb::Queue> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let client = client.clone();
            Box::pin(async move {
                let queues = client.queue_service();
                let request = pb::ListQueuesRequest { page_token, ..Default::default() };
                let list = async |mut queues: Queues, request| queues.list_queues(request).await;
                let answer = client.call_service(queues, "ListQueues", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.queues, next_page_token: answer.next_page_token })
            })
        })
    }

    /// Pauses a queue on all servers: running jobs go on, no other starts. The reason is for people; it may be empty.
    pub async fn pause_queue(&self, name: impl Into<String>, reason: impl Into<String>) -> Result<pb::Queue> {
        let queues = self.queue_service();
        let request = pb::PauseQueueRequest { name: name.into(), reason: reason.into() };
        let pause = async |mut queues: Queues, request| queues.pause_queue(request).await;
        Ok(self
            .call_service(queues, "PauseQueue", Repeat::Safe, request, pause)
            .await?
            .queue
            .unwrap_or_default())
    }

    /// Resumes a queue.
    pub async fn resume_queue(&self, name: impl Into<String>) -> Result<pb::Queue> {
        let (queues, request) = (self.queue_service(), pb::ResumeQueueRequest { name: name.into() });
        let resume = async |mut queues: Queues, request| queues.resume_queue(request).await;
        Ok(self
            .call_service(queues, "ResumeQueue", Repeat::Safe, request, resume)
            .await?
            .queue
            .unwrap_or_default())
    }

    /// Sets limits of a queue over all worker processes; what is not named stays. Running jobs above a new limit go on. The
    /// queue need not exist yet.
    pub async fn update_queue(&self, name: impl Into<String>, limits: QueueLimits) -> Result<pb::Queue> {
        let (queues, request) = (self.queue_service(), limits.request(name.into()));
        let update = async |mut queues: Queues, request| queues.update_queue(request).await;
        Ok(self
            .call_service(queues, "UpdateQueue", Repeat::Safe, request, update)
            .await?
            .queue
            .unwrap_or_default())
    }

    /// Worker processes, by name and start; of one command or one queue alone, where the request names it.
    pub fn list_workers(&self, filter: pb::ListWorkersRequest) -> Pages<pb::WorkerProcess> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let (client, request) = (client.clone(), pb::ListWorkersRequest { page_token, ..filter.clone() });
            Box::pin(async move {
                let workers = client.worker_service();
                let list = async |mut workers: Workers, request| workers.list_workers(request).await;
                let answer = client.call_service(workers, "ListWorkers", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.workers, next_page_token: answer.next_page_token })
            })
        })
    }

    /// Asks worker processes to finish what they run and claim nothing more; answers how many were asked.
    pub async fn drain_worker(&self, request: pb::DrainWorkerRequest) -> Result<pb::DrainWorkerResponse> {
        let workers = self.worker_service();
        let drain = async |mut workers: Workers, request| workers.drain_worker(request).await;
        self.call_service(workers, "DrainWorker", Repeat::Safe, request, drain).await
    }

    /// How everything fares, over so many hours back: 1 to 168. At most 2 s old.
    pub async fn get_overview(&self, hours: u16) -> Result<pb::Overview> {
        let (admin, request) = (self.admin_service(), pb::GetOverviewRequest { hours: i32::from(hours) });
        let get = async |mut admin: Admin, request| admin.get_overview(request).await;
        Ok(self
            .call_service(admin, "GetOverview", Repeat::Safe, request, get)
            .await?
            .overview
            .unwrap_or_default())
    }

    /// Commands that are served, that live jobs name, or that ran in the last week, by name; only those whose name starts so.
    pub fn list_commands(&self, name_prefix: impl Into<String>) -> Pages<pb::Command> {
        let (client, name_prefix) = (self.clone(), name_prefix.into());
        Pages::new(move |page_token| {
            let (client, name_prefix) = (client.clone(), name_prefix.clone());
            Box::pin(async move {
                let admin = client.admin_service();
                let request = pb::ListCommandsRequest { name_prefix, page_token, ..Default::default() };
                let list = async |mut admin: Admin, request| admin.list_commands(request).await;
                let answer = client.call_service(admin, "ListCommands", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.commands, next_page_token: answer.next_page_token })
            })
        })
    }

    /// Servers on the database, by name.
    pub fn list_servers(&self) -> Pages<pb::Server> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let client = client.clone();
            Box::pin(async move {
                let admin = client.admin_service();
                let request = pb::ListServersRequest { page_token, ..Default::default() };
                let list = async |mut admin: Admin, request| admin.list_servers(request).await;
                let answer = client.call_service(admin, "ListServers", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.servers, next_page_token: answer.next_page_token })
            })
        })
    }

    /// Months of history, newest first.
    pub fn list_history_months(&self) -> Pages<pb::HistoryMonth> {
        let client = self.clone();
        Pages::new(move |page_token| {
            let client = client.clone();
            Box::pin(async move {
                let admin = client.admin_service();
                let request = pb::ListHistoryMonthsRequest { page_token, ..Default::default() };
                let list = async |mut admin: Admin, request| admin.list_history_months(request).await;
                let answer =
                    client.call_service(admin, "ListHistoryMonths", Repeat::Safe, request, list).await?;
                Ok(Page { items: answer.months, next_page_token: answer.next_page_token })
            })
        })
    }

    /// A month of history, job by job in ascending id: each finished run with its record, then its attempts, then its log
    /// lines. Not taken up again by itself when it breaks: ask anew with the token of the last message.
    pub async fn export_history_month(
        &self,
        request: pb::ExportHistoryMonthRequest,
    ) -> Result<impl Stream<Item = Result<pb::ExportHistoryMonthResponse>> + Send + use<>> {
        let failed = |status: tonic::Status| Error::from_status("ExportHistoryMonth", &status);
        let call = self.admin_service().export_history_month(Request::new(request)).await;
        Ok(call.map_err(failed)?.into_inner().map_err(failed))
    }

    /// Drops a month of history with its attempts and logs; the answer is the month as it was.
    pub async fn drop_history_month(&self, request: pb::DropHistoryMonthRequest) -> Result<pb::HistoryMonth> {
        let admin = self.admin_service();
        let drop = async |mut admin: Admin, request| admin.drop_history_month(request).await;
        let answer = self.call_service(admin, "DropHistoryMonth", Repeat::Unsafe, request, drop).await?;
        Ok(answer.month.unwrap_or_default())
    }

    fn queue_service(&self) -> Queues {
        QueueServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn worker_service(&self) -> Workers {
        WorkerServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn admin_service(&self) -> Admin {
        AdminServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
