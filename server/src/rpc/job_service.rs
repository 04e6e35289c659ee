//! `haulier.v1.JobService`: what applications call. Convert, call the engine, convert.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use haulier_proto::v1 as pb;
use haulier_proto::v1::job_service_server::JobService;
use tonic::{Request, Response, Status};

use super::bulk;
use super::check::Check;
use super::convert::{self, Settings};
use super::paging;
use super::run;
use super::status;
use crate::engine::{CancelCall, CancelResult, Engine, Error, JobKey, ListCall, LogsCall, WatchCall};
use crate::model::{CancelReason, JobId, Level, Phase, Run, View, Wait, limits};
use crate::rpc::check::up_to;

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;
/// What a method that streams answers.
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves applications.
#[derive(Clone)]
pub(crate) struct Jobs {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
}

impl Jobs {
    async fn result(
        &self,
        key: JobKey,
        run: Option<Run>,
        include_parent: bool,
    ) -> Result<pb::JobResult, Error> {
        let view = self.engine.job(&key, run).await?;
        let mut more =
            convert::Read { checkpoint: self.engine.checkpoint(view.job.id).await?, ..Default::default() };
        if matches!(view.phase, Phase::Ready(Wait::Parents)) {
            more.waiting_for = self.engine.waiting_for(view.job.id).await?;
        }
        let mut result = convert::job_result(&view, &more, self.engine.now());
        if include_parent {
            result.parent = self.parent(&view).await?;
        }
        Ok(result)
    }

    /// The parent, if it is still known.
    async fn parent(&self, child: &View) -> Result<Option<pb::ParentResult>, Error> {
        let Some(parent) = child.job.spec.parent_id else { return Ok(None) };
        match self.engine.job(&JobKey::Id(parent), None).await {
            Ok(view) => Ok(Some(convert::parent_result(&view, self.engine.now()))),
            Err(Error::JobNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    type WatchJobStream = Events<pb::WatchJobResponse>;
    type WatchJobsStream = Events<pb::WatchJobsResponse>;

    async fn enqueue_command(
        &self,
        request: Request<pb::EnqueueCommandRequest>,
    ) -> Answer<pb::EnqueueCommandResponse> {
        let (metadata, _, given) = request.into_parts();
        let call =
            convert::enqueue(given, &metadata, &self.settings, self.engine.now()).map_err(status::of)?;
        let stored = self.engine.enqueue(call).await.map_err(status::of)?;
        Ok(Response::new(pb::EnqueueCommandResponse {
            job_id: stored.job.0,
            ref_id: stored.ref_id,
            created: stored.created,
            state: convert::state(stored.state).into(),
        }))
    }

    async fn get_job(&self, request: Request<pb::GetJobRequest>) -> Answer<pb::GetJobResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        let asked = (JobKey::Id(check.job_id("job_id", given.job_id)), check.run("run", given.run));
        let (key, run) = check.pass(asked).map_err(status::of)?;
        let job = self.result(key, run, given.include_parent).await.map_err(status::of)?;
        Ok(Response::new(pb::GetJobResponse { job: Some(job) }))
    }

    async fn get_job_by_ref_id(
        &self,
        request: Request<pb::GetJobByRefIdRequest>,
    ) -> Answer<pb::GetJobByRefIdResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        let asked = (convert::job_key(&mut check, None, Some(given.ref_id)), check.run("run", given.run));
        let (key, run) = check.pass(asked).map_err(status::of)?;
        let job = self.result(key, run, given.include_parent).await.map_err(status::of)?;
        Ok(Response::new(pb::GetJobByRefIdResponse { job: Some(job) }))
    }

    async fn list_jobs(&self, request: Request<pb::ListJobsRequest>) -> Answer<pb::ListJobsResponse> {
        let call = list_call(request.into_inner()).map_err(status::of)?;
        let page = self.engine.list(call).await.map_err(status::of)?;
        let now = self.engine.now();
        let jobs = page.items.iter().map(|view| convert::job_summary(view, now)).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token: page.next }))
    }

    async fn watch_job(&self, request: Request<pb::WatchJobRequest>) -> Answer<Self::WatchJobStream> {
        let call = watch_call(request.into_inner()).map_err(status::of)?;
        let events = self.engine.watch(call).map(|event| event.map(convert::watch_event).map_err(status::of));
        Ok(Response::new(Box::pin(events)))
    }

    async fn watch_jobs(&self, request: Request<pb::WatchJobsRequest>) -> Answer<Self::WatchJobsStream> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.token("resume_token", &given.resume_token);
        let filter = check.within("filter", |check| convert::filter(check, given.filter));
        let filter = check.pass(filter).map_err(status::of)?;
        let events = self.engine.watch_many(filter, given.resume_token);
        let events = events.map(|event| event.map(convert::watch_many_event).map_err(status::of));
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel_job(&self, request: Request<pb::CancelJobRequest>) -> Answer<pb::CancelJobResponse> {
        let call = cancel_call(request.into_inner()).map_err(status::of)?;
        let (result, view) = self.engine.cancel(call).await.map_err(status::of)?;
        let result = match result {
            CancelResult::Cancelled => pb::CancelResult::Cancelled,
            CancelResult::Requested => pb::CancelResult::Requested,
            CancelResult::AlreadyFinished => pb::CancelResult::AlreadyFinished,
        };
        let job = convert::job_summary(&view, self.engine.now());
        Ok(Response::new(pb::CancelJobResponse { result: result.into(), job: Some(job) }))
    }

    async fn requeue_job(&self, request: Request<pb::RequeueJobRequest>) -> Answer<pb::RequeueJobResponse> {
        let given = request.into_inner();
        let (job, run) = requeue_call(&given).map_err(status::of)?;
        let (view, created) = self.engine.requeue(job, run, given.request_id).await.map_err(status::of)?;
        let dependants =
            if given.include_dependants { self.engine.requeue_dependants(job).await } else { Ok(0) };
        let dependant_count = dependants.map_err(status::of)?;
        let job = convert::job_summary(&view, self.engine.now());
        Ok(Response::new(pb::RequeueJobResponse { job: Some(job), created, dependant_count }))
    }

    async fn list_job_attempts(
        &self,
        request: Request<pb::ListJobAttemptsRequest>,
    ) -> Answer<pb::ListJobAttemptsResponse> {
        let given = request.into_inner();
        let page = paging::attempts_page(&given).map_err(status::of)?;
        let attempts = self.engine.attempts(page.job).await.map_err(status::of)?;
        Ok(Response::new(paging::attempts(&page, &attempts)))
    }

    async fn list_job_logs(
        &self,
        request: Request<pb::ListJobLogsRequest>,
    ) -> Answer<pb::ListJobLogsResponse> {
        let call = logs_call(request.into_inner()).map_err(status::of)?;
        let page = self.engine.logs(call).await.map_err(status::of)?;
        let lines = page.items.iter().map(convert::log_line).collect();
        Ok(Response::new(pb::ListJobLogsResponse { lines, next_page_token: page.next }))
    }

    async fn enqueue_api(&self, request: Request<pb::EnqueueApiRequest>) -> Answer<pb::EnqueueApiResponse> {
        let (metadata, _, given) = request.into_parts();
        let call =
            convert::enqueue_api(given, &metadata, &self.settings, self.engine.now()).map_err(status::of)?;
        let stored = self.engine.enqueue(call).await.map_err(status::of)?;
        Ok(Response::new(pb::EnqueueApiResponse {
            job_id: stored.job.0,
            ref_id: stored.ref_id,
            created: stored.created,
            state: convert::state(stored.state).into(),
        }))
    }

    async fn enqueue_batch(
        &self,
        request: Request<pb::EnqueueBatchRequest>,
    ) -> Answer<pb::EnqueueBatchResponse> {
        let (metadata, _, given) = request.into_parts();
        let call = convert::batch(given, &metadata, &self.settings, self.engine.now()).map_err(status::of)?;
        let keys: Vec<String> = call.items.iter().map(|item| item.local_key.clone()).collect();
        let stored = self.engine.enqueue_batch(call).await.map_err(status::of)?;
        let jobs = keys.into_iter().zip(stored.jobs).map(|(key, job)| convert::enqueued_job(key, job));
        Ok(Response::new(pb::EnqueueBatchResponse { batch_id: stored.batch_id, jobs: jobs.collect() }))
    }

    async fn run_command(&self, request: Request<pb::RunCommandRequest>) -> Answer<pb::RunCommandResponse> {
        let (metadata, _, given) = request.into_parts();
        let call =
            run::run_command(given, &metadata, &self.settings, self.engine.now()).map_err(status::of)?;
        let answer = self.engine.run(call).await.map_err(status::of)?;
        Ok(Response::new(run::ran(answer)))
    }

    async fn cancel_jobs(&self, request: Request<pb::CancelJobsRequest>) -> Answer<pb::CancelJobsResponse> {
        let call = bulk::cancel_many(request.into_inner()).map_err(status::of)?;
        let done = self.engine.cancel_many(call).await.map_err(status::of)?;
        Ok(Response::new(bulk::cancelled(done)))
    }

    async fn requeue_jobs(
        &self,
        request: Request<pb::RequeueJobsRequest>,
    ) -> Answer<pb::RequeueJobsResponse> {
        let call = bulk::requeue_many(request.into_inner()).map_err(status::of)?;
        let done = self.engine.requeue_many(call).await.map_err(status::of)?;
        Ok(Response::new(bulk::requeued(done)))
    }

    async fn get_batch(&self, request: Request<pb::GetBatchRequest>) -> Answer<pb::GetBatchResponse> {
        let batch_id = request.into_inner().batch_id;
        let mut check = Check::new();
        check.required_text("batch_id", &batch_id);
        let batch_id = check.pass(batch_id).map_err(status::of)?;
        let counts = self.engine.batch(batch_id.clone()).await.map_err(status::of)?;
        let batch = convert::batch_message(batch_id, &counts);
        Ok(Response::new(pb::GetBatchResponse { batch: Some(batch) }))
    }

    async fn list_deliveries(
        &self,
        request: Request<pb::ListDeliveriesRequest>,
    ) -> Answer<pb::ListDeliveriesResponse> {
        let call = convert::list_deliveries(request.into_inner()).map_err(status::of)?;
        let page = self.engine.deliveries(call).await.map_err(status::of)?;
        let deliveries = page.items.iter().map(convert::delivery).collect();
        Ok(Response::new(pb::ListDeliveriesResponse { deliveries, next_page_token: page.next }))
    }

    async fn replay_delivery(
        &self,
        request: Request<pb::ReplayDeliveryRequest>,
    ) -> Answer<pb::ReplayDeliveryResponse> {
        let id = convert::replay_delivery(request.get_ref()).map_err(status::of)?;
        let replayed = self.engine.replay_delivery(id).await.map_err(status::of)?;
        Ok(Response::new(pb::ReplayDeliveryResponse { delivery: Some(convert::delivery(&replayed)) }))
    }

    async fn explain_job(&self, request: Request<pb::ExplainJobRequest>) -> Answer<pb::ExplainJobResponse> {
        use pb::explain_job_request::Target;
        let mut check = Check::new();
        let (job_id, ref_id) = match request.into_inner().target {
            Some(Target::JobId(id)) => (Some(id), None),
            Some(Target::RefId(ref_id)) => (None, Some(ref_id)),
            None => (None, None),
        };
        let key = convert::job_key(&mut check, job_id, ref_id);
        let key = check.pass(key).map_err(status::of)?;
        let explained = self.engine.explain(key).await.map_err(status::of)?;
        Ok(Response::new(convert::explanation(explained, self.engine.now())))
    }
}

fn list_call(given: pb::ListJobsRequest) -> Result<ListCall, Error> {
    let mut check = Check::new();
    check.token("page_token", &given.page_token);
    let call = ListCall {
        filter: check.within("filter", |check| convert::filter(check, given.filter)),
        order: convert::list_order(&mut check, given.order),
        month: check.month("month", &given.month),
        page_size: check.page_size("page_size", given.page_size),
        page_token: given.page_token,
    };
    check.pass(call)
}

fn watch_call(given: pb::WatchJobRequest) -> Result<WatchCall, Error> {
    use pb::watch_job_request::Target;
    let mut check = Check::new();
    check.token("resume_token", &given.resume_token);
    let until: pb::WatchUntil = check.one_of("until", given.until);
    let (job_id, ref_id) = match given.target {
        Some(Target::JobId(id)) => (Some(id), None),
        Some(Target::RefId(ref_id)) => (None, Some(ref_id)),
        None => (None, None),
    };
    let job = convert::job_key(&mut check, job_id, ref_id);
    check.pass(WatchCall {
        job,
        resume_token: given.resume_token,
        logs: given.include_logs.unwrap_or(true),
        until_notified: until == pb::WatchUntil::Notified,
    })
}

fn cancel_call(given: pb::CancelJobRequest) -> Result<CancelCall, Error> {
    use pb::cancel_job_request::Target;
    let mut check = Check::new();
    check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
    let grace = check.duration("grace", given.grace, up_to(limits::CANCEL_GRACE_MAX));
    let (job_id, ref_id) = match given.target {
        Some(Target::JobId(id)) => (Some(id), None),
        Some(Target::RefId(ref_id)) => (None, Some(ref_id)),
        None => (None, None),
    };
    let job = convert::job_key(&mut check, job_id, ref_id);
    let grace = grace.unwrap_or(limits::CANCEL_GRACE_DEFAULT);
    check.pass(CancelCall { job, text: given.reason, reason: CancelReason::Client, grace })
}

fn requeue_call(given: &pb::RequeueJobRequest) -> Result<(JobId, Option<Run>), Error> {
    let mut check = Check::new();
    let call = (check.job_id("job_id", given.job_id), check.run("run", given.run));
    check.chars("request_id", &given.request_id, limits::REQUEST_ID_CHARS_MAX);
    check.text("request_id", &given.request_id);
    check.pass(call)
}

fn logs_call(given: pb::ListJobLogsRequest) -> Result<LogsCall, Error> {
    let mut check = Check::new();
    check.token("page_token", &given.page_token);
    let epoch = check.number("epoch", given.epoch, 0..=i64::MAX);
    let from = check.number("from_sequence", given.from_sequence, 0..=i64::MAX);
    if from > 0 && epoch == 0 {
        check.refuse("from_sequence", "counts the lines of one attempt: set `epoch` too");
    }
    let call = LogsCall {
        job: check.job_id("job_id", given.job_id),
        run: check.run("run", given.run),
        epoch: (epoch != 0).then_some(crate::model::Epoch(epoch)),
        after_sequence: from.saturating_sub(1).max(0),
        level: convert::log_level(&mut check, "min_level", given.min_level, Level::Trace),
        page_size: check.page_size("page_size", given.page_size),
        page_token: given.page_token,
    };
    check.pass(call)
}

#[cfg(test)]
mod tests;
