//! `haulier.v1.QueueService`: list, pause and resume queues. Convert, call the engine, convert.

use std::cmp::Ordering;

use haulier_proto::v1 as pb;
use haulier_proto::v1::queue_service_server::QueueService;
use tonic::{Request, Response, Status};

use super::check::Check;
use super::convert;
use super::paging::Named;
use super::status::{self, not_built};
use crate::engine::{Engine, Error, Queue};
use crate::model::limits;

const QUEUES: Named<'static> = Named { kind: "q1", narrowed_by: "", later: Ordering::Greater };

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

/// Serves those who look after queues.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) engine: Engine,
}

#[tonic::async_trait]
impl QueueService for Queues {
    async fn get_queue(&self, request: Request<pb::GetQueueRequest>) -> Answer<pb::GetQueueResponse> {
        let name = named(request.into_inner().name).map_err(status::of)?;
        let queue = self.engine.queue(&name).await.map_err(status::of)?;
        Ok(Response::new(pb::GetQueueResponse { queue: Some(message(queue)) }))
    }

    async fn list_queues(&self, request: Request<pb::ListQueuesRequest>) -> Answer<pb::ListQueuesResponse> {
        let given = request.into_inner();
        let page = QUEUES.page(Check::new(), given.page_size, &given.page_token).map_err(status::of)?;
        let all = self.engine.queues().await.map_err(status::of)?;
        let (queues, next_page_token) = page.cut(all, |queue| queue.name.clone());
        let queues = queues.into_iter().map(message).collect();
        Ok(Response::new(pb::ListQueuesResponse { queues, next_page_token }))
    }

    async fn pause_queue(&self, request: Request<pb::PauseQueueRequest>) -> Answer<pb::PauseQueueResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.name("name", &given.name);
        check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
        let given = check.pass(given).map_err(status::of)?;
        let queue = self.engine.pause_queue(given.name, given.reason).await.map_err(status::of)?;
        Ok(Response::new(pb::PauseQueueResponse { queue: Some(message(queue)) }))
    }

    async fn resume_queue(
        &self,
        request: Request<pb::ResumeQueueRequest>,
    ) -> Answer<pb::ResumeQueueResponse> {
        let name = named(request.into_inner().name).map_err(status::of)?;
        let queue = self.engine.resume_queue(name).await.map_err(status::of)?;
        Ok(Response::new(pb::ResumeQueueResponse { queue: Some(message(queue)) }))
    }

    async fn update_queue(&self, _: Request<pb::UpdateQueueRequest>) -> Answer<pb::UpdateQueueResponse> {
        Err(not_built("QueueService.UpdateQueue"))
    }
}

fn named(name: String) -> Result<String, Error> {
    let mut check = Check::new();
    check.name("name", &name);
    check.pass(name)
}

fn message(queue: Queue) -> pb::Queue {
    let pause = queue.pause;
    pb::Queue {
        name: queue.name,
        paused: pause.is_some(),
        pause_time: pause.as_ref().map(|pause| convert::timestamp(pause.pause_time)),
        pause_reason: pause.map(|pause| pause.reason).unwrap_or_default(),
        counts: Some(convert::live_counts(&queue.live)),
        oldest_ready_time: queue.live.oldest_ready.map(convert::timestamp),
        worker_count: i32::try_from(queue.workers).unwrap_or(i32::MAX),
        ..Default::default()
    }
}
