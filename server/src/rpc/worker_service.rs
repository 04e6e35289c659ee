//! `haulier.v1.WorkerService`: what worker processes call. Convert, call the engine, convert.

use haulier_proto::v1 as pb;
use haulier_proto::v1::worker_service_server::WorkerService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::check::{Check, up_to};
use super::report_stream::{self, Reports};
use super::{convert, paging, status};
use crate::engine::{DrainTarget, Engine, Error};
use crate::model::{SessionId, limits};

/// Jobs of one worker process that a list names.
const RUNNING_JOBS_SHOWN_MAX: usize = 1_000;

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

/// Serves worker processes.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) reports: Reports,
}

impl Workers {
    fn engine(&self) -> &Engine {
        &self.reports.engine
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type ReportJobsStream = ReceiverStream<report_stream::Answer>;

    async fn register_worker(
        &self,
        request: Request<pb::RegisterWorkerRequest>,
    ) -> Answer<pb::RegisterWorkerResponse> {
        let call = convert::register(request.into_inner()).map_err(status::of)?;
        let session = self.engine().register(call).await.map_err(status::of)?;
        Ok(Response::new(convert::registered(&session)))
    }

    async fn claim_job(&self, request: Request<pb::ClaimJobRequest>) -> Answer<pb::ClaimJobResponse> {
        let call = convert::claim(request.into_inner()).map_err(status::of)?;
        let answer = self.engine().claim(call).await.map_err(status::of)?;
        Ok(Response::new(convert::claim_answer(&answer, call.sequence)))
    }

    async fn report_jobs(
        &self,
        request: Request<Streaming<pb::ReportJobsRequest>>,
    ) -> Answer<Self::ReportJobsStream> {
        Ok(Response::new(self.reports.clone().begin(request.into_inner())))
    }

    async fn unregister_worker(
        &self,
        request: Request<pb::UnregisterWorkerRequest>,
    ) -> Answer<pb::UnregisterWorkerResponse> {
        let session = unregister_call(&request.into_inner()).map_err(status::of)?;
        let released_count = self.engine().unregister(session).await.map_err(status::of)?;
        Ok(Response::new(pb::UnregisterWorkerResponse { released_count }))
    }

    async fn list_workers(
        &self,
        request: Request<pb::ListWorkersRequest>,
    ) -> Answer<pb::ListWorkersResponse> {
        let page = paging::workers_page(request.into_inner()).map_err(status::of)?;
        let workers = self.engine().workers().await.map_err(status::of)?;
        let (workers, mut answer) = paging::workers(&page, workers);
        for ((session, _), shown) in workers.iter().zip(&mut answer.workers) {
            let jobs =
                self.engine().running_jobs(session.id, RUNNING_JOBS_SHOWN_MAX).await.map_err(status::of)?;
            shown.running_job_ids = jobs.into_iter().map(|job| job.0).collect();
        }
        Ok(Response::new(answer))
    }

    async fn drain_worker(
        &self,
        request: Request<pb::DrainWorkerRequest>,
    ) -> Answer<pb::DrainWorkerResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
        let grace = check.duration("grace", given.grace, up_to(limits::CANCEL_GRACE_MAX));
        let target = drain_target(&mut check, given.target);
        let target = check.pass(target).map_err(status::of)?;
        let grace = grace.unwrap_or(limits::WORKER_DRAIN);
        let told = self.engine().drain_workers(target, given.reason, grace).await.map_err(status::of)?;
        Ok(Response::new(pb::DrainWorkerResponse {
            workers: told.iter().map(convert::worker_process).collect(),
        }))
    }
}

fn unregister_call(given: &pb::UnregisterWorkerRequest) -> Result<SessionId, Error> {
    let mut check = Check::new();
    check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
    let session = check.session("session_id", &given.session_id);
    check.pass(session)
}

fn drain_target(check: &mut Check, target: Option<pb::drain_worker_request::Target>) -> DrainTarget {
    use pb::drain_worker_request::Target;
    match target {
        Some(Target::InstanceId(instance)) => {
            check.name("instance_id", &instance);
            DrainTarget::Instance(instance)
        }
        Some(Target::Name(name)) => {
            check.required_text("name", &name);
            DrainTarget::Name(name)
        }
        None => {
            check.refuse("target", "is not set: give `instance_id` or `name`");
            DrainTarget::Name(String::new())
        }
    }
}
