//! `haulier.v1.QueueService`: list, pause, resume and limit queues. Convert, call the engine, convert.

use std::cmp::Ordering;

use haulier_proto::v1 as pb;
use haulier_proto::v1::queue_service_server::QueueService;
use tonic::{Request, Response, Status};

use super::check::Check;
use super::convert;
use super::paging::Named;
use super::status;
use crate::engine::{Engine, Error, Queue};
use crate::model::{LimitChange, RateLimit, limits};

const QUEUES: Named<'static> = Named { kind: "q1", narrowed_by: "", later: Ordering::Greater };

/// The fields of a queue that can be set.
const CONCURRENCY: &str = "concurrency_limit";
const RATE: &str = "rate_limit";

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
        let (queues, next_page_token) = page.cut(all, |queue| queue.setting.name.clone());
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

    async fn update_queue(
        &self,
        request: Request<pb::UpdateQueueRequest>,
    ) -> Answer<pb::UpdateQueueResponse> {
        let (name, change) = limits_of(request.into_inner()).map_err(status::of)?;
        let queue = self.engine.limit_queue(name, change).await.map_err(status::of)?;
        Ok(Response::new(pb::UpdateQueueResponse { queue: Some(message(queue)) }))
    }
}

fn named(name: String) -> Result<String, Error> {
    let mut check = Check::new();
    check.name("name", &name);
    check.pass(name)
}

/// Which limits are to be set, and to what.
fn limits_of(given: pb::UpdateQueueRequest) -> Result<(String, LimitChange), Error> {
    let mut check = Check::new();
    let queue = given.queue.unwrap_or_default();
    let (mut sets_concurrency, mut sets_rate) = match &given.update_mask {
        None => (queue.concurrency_limit.is_some(), queue.rate_limit.is_some()),
        Some(_) => (false, false),
    };
    for path in given.update_mask.iter().flat_map(|mask| &mask.paths) {
        match path.as_str() {
            CONCURRENCY => sets_concurrency = true,
            RATE => sets_rate = true,
            other => {
                let message = format!("names {other}: only {CONCURRENCY} and {RATE} of a queue can be set");
                check.refuse("update_mask", message);
            }
        }
    }
    if !sets_concurrency && !sets_rate {
        let message =
            format!("sets nothing: give {CONCURRENCY} or {RATE}, or name the one to lift in update_mask");
        check.refuse("queue", message);
    }
    let change = check.within("queue", |check| {
        check.name("name", &queue.name);
        let most = limits::QUEUE_LIMIT_MAX;
        let concurrency =
            queue.concurrency_limit.map(|limit| check.number(CONCURRENCY, i64::from(limit), 1..=most));
        let rate = queue.rate_limit.map(|rate| check.within(RATE, |check| rate_limit(check, &rate)));
        LimitChange { concurrency: sets_concurrency.then_some(concurrency), rate: sets_rate.then_some(rate) }
    });
    check.pass((queue.name, change))
}

fn rate_limit(check: &mut Check, rate: &pb::RateLimit) -> RateLimit {
    let periods = limits::RATE_PERIOD_MIN..=limits::RATE_PERIOD_MAX;
    RateLimit {
        count: check.number("count", i64::from(rate.count), 1..=limits::QUEUE_LIMIT_MAX),
        period: check.duration("period", rate.period, periods).unwrap_or(limits::RATE_PERIOD_MIN),
    }
}

fn message(queue: Queue) -> pb::Queue {
    let Queue { setting, live, workers } = queue;
    let narrow = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let rate = setting.limits.rate.map(|rate| pb::RateLimit {
        count: narrow(rate.count),
        period: Some(convert::duration(rate.period)),
    });
    pb::Queue {
        name: setting.name,
        concurrency_limit: setting.limits.concurrency.map(narrow),
        rate_limit: rate,
        paused: setting.pause.is_some(),
        pause_time: setting.pause.as_ref().map(|pause| convert::timestamp(pause.time)),
        pause_reason: setting.pause.map(|pause| pause.reason).unwrap_or_default(),
        counts: Some(convert::live_counts(&live)),
        oldest_ready_time: live.oldest_ready.map(convert::timestamp),
        worker_count: i32::try_from(workers).unwrap_or(i32::MAX),
    }
}
