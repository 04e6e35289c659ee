//! Arbitrary messages: well-formed protobuf with nonsense in every field. Whatever comes, the answer is never INTERNAL, nothing
//! panics, and the server goes on. `HAULIER_FUZZ_SEED` draws others.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, completed};
use haulier_tests::{HandWorker, Server, figure, http_get, on_both};
use pb::admin_service_client::AdminServiceClient;
use pb::lock_service_client::LockServiceClient;
use pb::outcome_report::Outcome;
use pb::payload::Kind;
use pb::queue_service_client::QueueServiceClient;
use pb::recurring_task_service_client::RecurringTaskServiceClient;
use prost_types::{Duration as PbDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tonic::{Code, Status};

/// Calls of each method.
const CALLS: usize = 150;

on_both!(
    arbitrary_requests_are_answered_and_never_internal,
    arbitrary_requests_of_operators_and_for_apis_are_answered_and_never_internal,
    arbitrary_reports_are_answered_and_never_internal
);

const TEXTS: [&str; 17] = [
    "",
    "work",
    "work",
    "a b",
    "Grüße 🚚",
    "\0",
    "line\nbreak",
    "'; DROP TABLE haulier_job_ready; --",
    "\" OR 1=1",
    "%",
    "_",
    "\\",
    "~generated",
    "1",
    "-1",
    "l1.AAAA",
    "\u{202e}\u{feff}\u{0301}",
];
const INTS: [i64; 14] = [0, 0, 1, 1, 2, 15, -1, 500, 501, 1 << 31, 1 << 53, i64::MAX, i64::MAX - 1, i64::MIN];

/// Draws nonsense.
struct Nonsense(StdRng);

impl Nonsense {
    fn chance(&mut self, one_in: u32) -> bool {
        self.0.random_ratio(1, one_in)
    }

    fn text(&mut self) -> String {
        match self.0.random_range(0..12) {
            0 => "x".repeat(self.0.random_range(100..600)),
            1 => (0..self.0.random_range(0..40)).map(|_| self.0.random::<char>()).collect(),
            _ => (*TEXTS.choose(&mut self.0).unwrap()).to_owned(),
        }
    }

    fn int(&mut self) -> i64 {
        if self.chance(3) { self.0.random() } else { *INTS.choose(&mut self.0).unwrap() }
    }

    fn small(&mut self) -> i32 {
        self.int() as i32
    }

    fn float(&mut self) -> f64 {
        *[0.0, 0.5, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN, 1e308, -0.0].choose(&mut self.0).unwrap()
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(3) { Some(draw(self)) } else { None }
    }

    fn some<T>(&mut self, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.random_range(0..4)).map(|_| draw(self)).collect()
    }

    fn duration(&mut self) -> PbDuration {
        PbDuration { seconds: self.int(), nanos: self.small() }
    }

    fn time(&mut self) -> Timestamp {
        Timestamp { seconds: self.int(), nanos: self.small() }
    }

    fn map(&mut self) -> std::collections::HashMap<String, String> {
        self.some(|draw| (draw.text(), draw.text())).into_iter().collect()
    }

    fn payload(&mut self) -> pb::Payload {
        let kind = match self.0.random_range(0..4) {
            0 => None,
            1 => Some(Kind::Json(self.text())),
            2 => Some(Kind::Data(self.text().into_bytes().into())),
            _ => Some(Kind::Value(self.value(0))),
        };
        pb::Payload { kind, content_type: self.maybe(Self::text).unwrap_or_default() }
    }

    fn value(&mut self, depth: usize) -> prost_types::Value {
        use prost_types::value::Kind;
        let kind = match self.0.random_range(0..7) {
            0 => None,
            1 => Some(Kind::NullValue(self.small())),
            2 => Some(Kind::NumberValue(self.float())),
            3 => Some(Kind::StringValue(self.text())),
            4 => Some(Kind::BoolValue(self.chance(2))),
            5 if depth < 20 => Some(Kind::ListValue(prost_types::ListValue {
                values: self.some(|draw| draw.value(depth + 1)),
            })),
            _ if depth < 20 => {
                let fields = self.some(|draw| (draw.text(), draw.value(depth + 1))).into_iter().collect();
                Some(Kind::StructValue(prost_types::Struct { fields }))
            }
            _ => None,
        };
        prost_types::Value { kind }
    }

    fn retry_policy(&mut self) -> pb::RetryPolicy {
        pb::RetryPolicy {
            profile: self.maybe(Self::text).unwrap_or_default(),
            retry_limit: self.maybe(Self::small),
            crash_limit: self.maybe(Self::small),
            backoff: self.maybe(Self::small).unwrap_or_default(),
            first_delay: self.maybe(Self::duration),
            factor: self.maybe(Self::float),
            max_delay: self.maybe(Self::duration),
            give_up_after: self.maybe(Self::duration),
        }
    }

    fn schedule(&mut self) -> pb::Schedule {
        use pb::schedule::Timing;
        const CRONS: [&str; 8] = [
            "* * * * * *",
            "0 0 30 2 *",
            "H H * * *",
            "@daily",
            "0 0 L-3W * 5#2",
            "59-3/7 * * JAN-3 *",
            "*/0 ? * * *",
            "@",
        ];
        let timing = match self.0.random_range(0..5) {
            0 => None,
            1 => Some(Timing::Interval(self.duration())),
            2 => Some(Timing::Cron(self.text())),
            _ => Some(Timing::Cron((*CRONS.choose(&mut self.0).unwrap()).to_owned())),
        };
        let time_zone = if self.chance(2) { "Europe/Vienna".to_owned() } else { self.text() };
        pb::Schedule { timing, time_zone, seed: self.maybe(Self::text).unwrap_or_default() }
    }

    fn recurring_task(&mut self) -> pb::RecurringTask {
        pb::RecurringTask {
            name: self.text(),
            work: self.maybe(|draw| pb::recurring_task::Work::Command(draw.text())),
            request: self.maybe(Self::payload),
            options: self.maybe(Self::options),
            schedule: Some(self.schedule()),
            run_command: self.chance(9),
            overlap_policy: self.maybe(Self::small).unwrap_or_default(),
            catch_up_policy: self.maybe(Self::small).unwrap_or_default(),
            catch_up_window: self.maybe(Self::duration),
            start_time: self.maybe(Self::time),
            end_time: self.maybe(Self::time),
            enabled: self.maybe(|draw| draw.chance(2)),
            description: self.maybe(Self::text).unwrap_or_default(),
            ..Default::default()
        }
    }

    fn options(&mut self) -> pb::JobOptions {
        pb::JobOptions {
            ref_id: self.maybe(Self::text).unwrap_or_default(),
            ref_id_policy: self.maybe(Self::small).unwrap_or_default(),
            queue: self.maybe(Self::text).unwrap_or_default(),
            priority: self.maybe(Self::small),
            priority_name: if self.chance(9) { self.small() } else { 0 },
            run_after: self.maybe(Self::time),
            delay: self.maybe(Self::duration),
            expire_time: self.maybe(Self::time),
            timeout: self.maybe(Self::duration),
            retry_policy: self.maybe(Self::retry_policy),
            strict: self.chance(2),
            tag: self.maybe(Self::text).unwrap_or_default(),
            batch_id: self.maybe(Self::text).unwrap_or_default(),
            parent_id: self.maybe(Self::int).unwrap_or_default(),
            user_id: self.maybe(Self::text).unwrap_or_default(),
            user_claims: self.map(),
            created_by: self.maybe(Self::text).unwrap_or_default(),
            args: self.map(),
            traceparent: self.maybe(Self::text).unwrap_or_default(),
            tracestate: self.maybe(Self::text).unwrap_or_default(),
            ..Default::default()
        }
    }

    /// Options of which one part is nonsense at most: most of these are accepted, and what is stored must be read again.
    fn mild_options(&mut self) -> pb::JobOptions {
        let mut mild = pb::JobOptions::default();
        let wild = self.options();
        match self.0.random_range(0..8) {
            0 => (mild.ref_id, mild.ref_id_policy) = (wild.ref_id, pb::RefIdPolicy::ReturnExisting.into()),
            1 => mild.tag = wild.tag,
            2 => mild.args = wild.args,
            3 => mild.created_by = wild.created_by,
            4 => mild.retry_policy = wild.retry_policy,
            5 => mild.run_after = wild.run_after,
            6 => mild.user_claims = wild.user_claims,
            _ => mild.batch_id = wild.batch_id,
        }
        mild
    }

    fn enqueue(&mut self) -> pb::EnqueueCommandRequest {
        let options = if self.chance(2) { self.options() } else { self.mild_options() };
        let request_id = if self.chance(4) { self.text() } else { String::new() };
        let command = if self.chance(3) { self.text() } else { "work".into() };
        pb::EnqueueCommandRequest {
            command,
            request: self.maybe(Self::payload),
            options: Some(options),
            request_id,
        }
    }

    fn filter(&mut self) -> pb::JobFilter {
        pb::JobFilter {
            states: self.some(|draw| if draw.chance(6) { draw.small() } else { draw.0.random_range(0..9) }),
            command: self.maybe(Self::text).unwrap_or_default(),
            api: self.maybe(Self::text).unwrap_or_default(),
            queue: self.maybe(Self::text).unwrap_or_default(),
            priority: self.maybe(Self::small),
            tag: self.maybe(Self::text).unwrap_or_default(),
            batch_id: self.maybe(Self::text).unwrap_or_default(),
            parent_id: self.maybe(Self::int).unwrap_or_default(),
            created_by: self.maybe(Self::text).unwrap_or_default(),
            user_id: self.maybe(Self::text).unwrap_or_default(),
            args: self.map(),
            ref_id_prefix: self.maybe(Self::text).unwrap_or_default(),
            create_time_from: self.maybe(Self::time),
            create_time_to: self.maybe(Self::time),
            error_code: self.maybe(Self::text).unwrap_or_default(),
            text: self.maybe(Self::text).unwrap_or_default(),
            ..Default::default()
        }
    }

    fn list(&mut self) -> pb::ListJobsRequest {
        let page_size = if self.chance(3) { self.small() } else { 0 };
        pb::ListJobsRequest {
            filter: self.maybe(Self::filter),
            order: self.0.random_range(0..4),
            page_size,
            page_token: if self.chance(5) { self.text() } else { String::new() },
            month: if self.chance(5) { self.text() } else { String::new() },
        }
    }

    fn enqueue_api(&mut self) -> pb::EnqueueApiRequest {
        use pb::api_call::Endpoint;
        let endpoint = self.maybe(|draw| match draw.chance(2) {
            true => Endpoint::GrpcMethod(draw.text()),
            false => {
                Endpoint::Http(pb::HttpEndpoint { method: draw.text(), path: format!("/{}", draw.text()) })
            }
        });
        let mut options = self.mild_options();
        options.reply_to = self.maybe(Self::text).unwrap_or_default();
        options.callback = self.maybe(|draw| pb::Callback { command: draw.text(), ..Default::default() });
        pb::EnqueueApiRequest {
            api: self.maybe(|draw| pb::ApiCall { target: draw.text(), endpoint }),
            request: self.maybe(Self::payload),
            options: Some(options),
            request_id: self.maybe(Self::text).unwrap_or_default(),
        }
    }

    fn update_queue(&mut self) -> pb::UpdateQueueRequest {
        let rate =
            |draw: &mut Self| pb::RateLimit { count: draw.small(), period: draw.maybe(Self::duration) };
        let queue = pb::Queue {
            name: self.text(),
            concurrency_limit: self.maybe(Self::small),
            rate_limit: self.maybe(rate),
            ..Default::default()
        };
        let path = |draw: &mut Self| {
            let paths = ["concurrency_limit", "rate_limit", "name"];
            if draw.chance(5) { draw.text() } else { (*paths.choose(&mut draw.0).unwrap()).to_owned() }
        };
        let mask = |draw: &mut Self| prost_types::FieldMask { paths: draw.some(path) };
        pb::UpdateQueueRequest { queue: self.maybe(|_| queue), update_mask: self.maybe(mask) }
    }

    fn token(&mut self) -> String {
        if self.chance(5) { self.text() } else { String::new() }
    }

    fn registration(&mut self) -> pb::RegisterWorkerRequest {
        let served = |draw: &mut Self| pb::ServedCommand {
            command: draw.text(),
            worker: None,
            version: draw.maybe(Self::text).unwrap_or_default(),
            json_schema: draw.maybe(Self::text).unwrap_or_default(),
        };
        pb::RegisterWorkerRequest {
            name: self.text(),
            instance_id: self.text(),
            commands: self.some(served),
            queues: self.some(Self::text),
            labels: self.map(),
            slots: self.maybe(Self::small).unwrap_or_default(),
            lease_time: self.maybe(Self::duration),
            sdk: self.maybe(Self::text).unwrap_or_default(),
        }
    }

    fn claim(&mut self, session: &str) -> pb::ClaimJobRequest {
        pb::ClaimJobRequest {
            session_id: if self.chance(5) { self.text() } else { session.into() },
            r#loop: if self.chance(3) { self.small() } else { self.0.random_range(0..256) },
            sequence: self.int(),
            ack_sequence: self.maybe(Self::int).unwrap_or_default(),
            max_jobs: self.maybe(Self::small).unwrap_or_default(),
            wait: None,
        }
    }

    fn report(&mut self, leases: &[String]) -> pb::ReportJobsRequest {
        let lease = |draw: &mut Self| match leases.choose(&mut draw.0) {
            Some(lease) if !draw.chance(4) => lease.clone(),
            _ => draw.text(),
        };
        let mut message = pb::ReportJobsRequest::default();
        for _ in 0..self.0.random_range(0..4) {
            let lease = lease(self);
            match self.0.random_range(0..6) {
                0 => {
                    let entry = |draw: &mut Self| pb::LogEntry {
                        time_ago: draw.maybe(Self::duration),
                        level: draw.0.random_range(-1..7),
                        message: draw.text(),
                        fields: draw.map(),
                    };
                    let from_sequence = if self.chance(3) { self.int() } else { 0 };
                    message.logs.push(pb::LogReport { lease, from_sequence, lines: self.some(entry) });
                }
                1 => {
                    let (sequence, payload) = (self.int(), self.maybe(Self::payload));
                    message.checkpoints.push(pb::CheckpointReport { lease, sequence, payload });
                }
                2 => {
                    let (progress, status) = (self.maybe(Self::float), self.maybe(Self::text));
                    message.progress.push(pb::ProgressReport { lease, progress, status });
                }
                3 => message.received.push(pb::ReceivedReport { r#loop: self.small(), sequence: self.int() }),
                4 => {
                    let log_sequence = if self.chance(3) { self.int() } else { 0 };
                    let outcome = self.outcome();
                    message.outcomes.push(pb::OutcomeReport { lease, log_sequence, outcome });
                }
                _ => {
                    let state = |draw: &mut Self| pb::LoopState {
                        r#loop: draw.small(),
                        received: draw.int(),
                        sent: draw.int(),
                        sent_open: draw.chance(2),
                    };
                    let (beat, loops) = (self.int(), self.some(state));
                    message.heartbeat = Some(pb::Heartbeat { beat, loops, leases: vec![lease] });
                }
            }
        }
        message
    }

    fn outcome(&mut self) -> Option<Outcome> {
        match self.0.random_range(0..6) {
            0 => Some(Outcome::Complete(pb::CompleteOutcome {
                result: self.maybe(Self::payload),
                enqueue: vec![],
            })),
            1 => Some(Outcome::Release(pb::ReleaseOutcome { reason: self.text() })),
            2 => Some(Outcome::Cancelled(pb::CancelledOutcome { reason: self.text() })),
            3 => None,
            _ => Some(Outcome::Fail(pb::FailOutcome {
                code: self.text(),
                message: self.text(),
                stack: self.text(),
                retryable: self.maybe(|draw| draw.chance(2)),
                retry_delay: self.maybe(Self::duration),
                reason: self.0.random_range(-1..12),
            })),
        }
    }
}

fn nonsense() -> Nonsense {
    let seed = match std::env::var("HAULIER_FUZZ_SEED") {
        Ok(seed) => seed.parse().expect("HAULIER_FUZZ_SEED is a number"),
        Err(_) => 4_285,
    };
    figure(&format!("HAULIER_FUZZ_SEED={seed}"));
    Nonsense(StdRng::seed_from_u64(seed))
}

/// How calls ended.
#[derive(Default)]
struct Tally(std::collections::BTreeMap<&'static str, [usize; 2]>);

impl Tally {
    #[track_caller]
    fn count<T>(&mut self, method: &'static str, request: &impl std::fmt::Debug, answer: Result<T, Status>) {
        let entry = self.0.entry(method).or_default();
        match answer {
            Ok(_) => entry[0] += 1,
            Err(status) => {
                let told = !matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
                assert!(told, "{method} answered {status:?} to {request:?}");
                entry[1] += 1;
            }
        }
    }
}

async fn arbitrary_requests_are_answered_and_never_internal(server: &Server) {
    let mut draw = nonsense();
    let mut tally = Tally::default();
    let (mut jobs, mut workers) = (server.jobs(), server.workers());
    let mut locks = LockServiceClient::new(server.channel());
    let session = HandWorker::register(server, &["work"]).await.session;
    for _ in 0..CALLS {
        let request = draw.enqueue();
        tally.count("EnqueueCommand", &request, jobs.enqueue_command(request.clone()).await);
        let request = draw.list();
        tally.count("ListJobs", &request, jobs.list_jobs(request.clone()).await);
        let request =
            pb::GetJobRequest { job_id: draw.int(), run: draw.small(), include_parent: draw.chance(2) };
        tally.count("GetJob", &request, jobs.get_job(request).await);
        let request = pb::GetJobByRefIdRequest { ref_id: draw.text(), ..Default::default() };
        tally.count("GetJobByRefId", &request, jobs.get_job_by_ref_id(request.clone()).await);
        let target = pb::cancel_job_request::Target::JobId(draw.0.random_range(1..60));
        let request = pb::CancelJobRequest {
            target: Some(target),
            reason: draw.text(),
            grace: draw.maybe(Nonsense::duration),
        };
        tally.count("CancelJob", &request, jobs.cancel_job(request.clone()).await);
        let (job_id, run) = (draw.0.random_range(1..60), draw.0.random_range(-1..4));
        let request = pb::RequeueJobRequest { job_id, run, ..Default::default() };
        tally.count("RequeueJob", &request, jobs.requeue_job(request.clone()).await);
        let request = pb::ListJobLogsRequest {
            job_id: draw.0.random_range(1..60),
            run: draw.0.random_range(-1..4),
            epoch: draw.int(),
            from_sequence: draw.int(),
            ..Default::default()
        };
        tally.count("ListJobLogs", &request, jobs.list_job_logs(request.clone()).await);
        let request =
            pb::ListJobAttemptsRequest { job_id: draw.int(), page_token: draw.text(), ..Default::default() };
        tally.count("ListJobAttempts", &request, jobs.list_job_attempts(request.clone()).await);
        let request = draw.registration();
        tally.count("RegisterWorker", &request, workers.register_worker(request.clone()).await);
        let request = draw.claim(&session);
        tally.count("ClaimJob", &request, workers.claim_job(request.clone()).await);
        let target = Some(pb::drain_worker_request::Target::Name(draw.text()));
        let request =
            pb::DrainWorkerRequest { target, reason: draw.text(), grace: draw.maybe(Nonsense::duration) };
        tally.count("DrainWorker", &request, workers.drain_worker(request.clone()).await);
        let request = pb::AcquireLockRequest {
            name: draw.text(),
            owner_id: draw.text(),
            owner: draw.text(),
            lease_time: draw.maybe(Nonsense::duration),
            wait: None,
        };
        tally.count("AcquireLock", &request, locks.acquire_lock(request.clone()).await);
        let request = pb::RenewLockRequest {
            name: draw.text(),
            owner_id: draw.text(),
            fencing_token: draw.int(),
            lease_time: draw.maybe(Nonsense::duration),
        };
        tally.count("RenewLock", &request, locks.renew_lock(request.clone()).await);
        let (name, owner_id, fencing_token) = (draw.text(), draw.text(), draw.int());
        let request = pb::ReleaseLockRequest { name, owner_id, fencing_token };
        tally.count("ReleaseLock", &request, locks.release_lock(request.clone()).await);
        let (name_prefix, page_size, page_token) = (draw.text(), draw.small(), draw.text());
        let request = pb::ListLocksRequest { name_prefix, page_size, page_token };
        tally.count("ListLocks", &request, locks.list_locks(request.clone()).await);
        let (name, fencing_token, reason) = (draw.text(), draw.int(), draw.text());
        let request = pb::BreakLockRequest { name, fencing_token, reason };
        tally.count("BreakLock", &request, locks.break_lock(request.clone()).await);
        change_tasks(&mut draw, &mut tally, server).await;
        watch_something(&mut draw, &mut tally, server).await;
    }
    figure(&format!("answered and refused: {:?}", tally.0));
    everything_is_read_again(server).await;
    must_be_well(server).await;
}

async fn change_tasks(draw: &mut Nonsense, tally: &mut Tally, server: &Server) {
    let mut tasks = RecurringTaskServiceClient::new(server.channel());
    let request = pb::PutRecurringTaskRequest { task: draw.maybe(Nonsense::recurring_task) };
    tally.count("PutRecurringTask", &request, tasks.put_recurring_task(request.clone()).await);
    let request = pb::PreviewScheduleRequest {
        schedule: Some(draw.schedule()),
        count: draw.small(),
        after_time: draw.maybe(Nonsense::time),
        end_time: draw.maybe(Nonsense::time),
    };
    tally.count("PreviewSchedule", &request, tasks.preview_schedule(request.clone()).await);
    let request = pb::GetRecurringTaskRequest { name: draw.text() };
    tally.count("GetRecurringTask", &request, tasks.get_recurring_task(request.clone()).await);
    let request = pb::ListRecurringTasksRequest {
        name_prefix: draw.maybe(Nonsense::text).unwrap_or_default(),
        command: draw.maybe(Nonsense::text).unwrap_or_default(),
        page_size: draw.small(),
        page_token: draw.maybe(Nonsense::text).unwrap_or_default(),
        ..Default::default()
    };
    tally.count("ListRecurringTasks", &request, tasks.list_recurring_tasks(request.clone()).await);
    let request = pb::TriggerRecurringTaskRequest { name: draw.text(), request_id: draw.text() };
    tally.count("TriggerRecurringTask", &request, tasks.trigger_recurring_task(request.clone()).await);
    let request = pb::PauseRecurringTaskRequest { name: draw.text(), reason: draw.text() };
    tally.count("PauseRecurringTask", &request, tasks.pause_recurring_task(request.clone()).await);
    let request = pb::ResumeRecurringTaskRequest { name: draw.text() };
    tally.count("ResumeRecurringTask", &request, tasks.resume_recurring_task(request.clone()).await);
    let request = pb::DeleteRecurringTaskRequest { name: draw.text() };
    tally.count("DeleteRecurringTask", &request, tasks.delete_recurring_task(request.clone()).await);
}

async fn watch_something(draw: &mut Nonsense, tally: &mut Tally, server: &Server) {
    let target = pb::watch_job_request::Target::JobId(draw.0.random_range(1..60));
    let request = pb::WatchJobRequest {
        target: Some(target),
        resume_token: if draw.chance(2) { draw.text() } else { String::new() },
        until: draw.0.random_range(-1..4),
        include_logs: draw.maybe(|draw| draw.chance(2)),
    };
    let answer = match server.jobs().watch_job(request.clone()).await {
        Ok(stream) => stream.into_inner().message().await.map(|_| ()),
        Err(status) => Err(status),
    };
    tally.count("WatchJob", &request, answer);
    let request = pb::WatchJobsRequest { filter: draw.maybe(Nonsense::filter), resume_token: String::new() };
    let answer = match server.jobs().watch_jobs(request.clone()).await {
        Ok(stream) => stream.into_inner().message().await.map(|_| ()),
        Err(status) => Err(status),
    };
    tally.count("WatchJobs", &request, answer);
}

async fn arbitrary_requests_of_operators_and_for_apis_are_answered_and_never_internal(server: &Server) {
    let mut draw = nonsense();
    let mut tally = Tally::default();
    let mut jobs = server.jobs();
    let (mut queues, mut admin) =
        (QueueServiceClient::new(server.channel()), AdminServiceClient::new(server.channel()));
    let mut worker = HandWorker::register(server, &["work"]).await;
    for _ in 0..CALLS {
        let request = draw.enqueue_api();
        tally.count("EnqueueApi", &request, jobs.enqueue_api(request.clone()).await);
        let (states, page_token) = (draw.some(Nonsense::small), draw.token());
        let (job_id, page_size) = (draw.int(), draw.maybe(Nonsense::small).unwrap_or_default());
        let request = pb::ListDeliveriesRequest { job_id, states, page_size, page_token };
        tally.count("ListDeliveries", &request, jobs.list_deliveries(request.clone()).await);
        let request = pb::ReplayDeliveryRequest { delivery_id: draw.int() };
        tally.count("ReplayDelivery", &request, jobs.replay_delivery(request).await);
        let pb::EnqueueCommandRequest { command, request, options, .. } = draw.enqueue();
        let wait = draw.maybe(Nonsense::duration);
        let request = pb::RunCommandRequest { command, request, options, wait, detach: true };
        tally.count("RunCommand", &request, jobs.run_command(request.clone()).await);
        let target = pb::explain_job_request::Target::JobId(draw.0.random_range(1..60));
        let request = pb::ExplainJobRequest { target: draw.maybe(|_| target) };
        tally.count("ExplainJob", &request, jobs.explain_job(request.clone()).await);
        let request = draw.update_queue();
        tally.count("UpdateQueue", &request, queues.update_queue(request.clone()).await);
        let request = pb::PauseQueueRequest { name: draw.text(), reason: draw.text() };
        tally.count("PauseQueue", &request, queues.pause_queue(request.clone()).await);
        let request = pb::ResumeQueueRequest { name: draw.text() };
        tally.count("ResumeQueue", &request, queues.resume_queue(request.clone()).await);
        let request = pb::ListQueuesRequest { page_size: draw.small(), page_token: draw.token() };
        tally.count("ListQueues", &request, queues.list_queues(request.clone()).await);
        let request = pb::GetOverviewRequest { hours: draw.small() };
        tally.count("GetOverview", &request, admin.get_overview(request).await);
        let (name_prefix, page_size) = (draw.text(), draw.small());
        let request = pb::ListCommandsRequest { name_prefix, page_size, page_token: draw.token() };
        tally.count("ListCommands", &request, admin.list_commands(request.clone()).await);
        let request = pb::ListServersRequest { page_size: draw.small(), page_token: draw.token() };
        tally.count("ListServers", &request, admin.list_servers(request.clone()).await);
        let request = pb::DropHistoryMonthRequest { month: draw.text(), validate_only: draw.chance(2) };
        tally.count("DropHistoryMonth", &request, admin.drop_history_month(request.clone()).await);
    }
    figure(&format!("answered and refused: {:?}", tally.0));
    // Whatever was set for the queues of nonsense, an ordinary job goes its way.
    for name in ["default", "work"] {
        let _ = queues.resume_queue(pb::ResumeQueueRequest { name: name.into() }).await;
    }
    let stored = server.enqueue(command("work")).await;
    loop {
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
        if job.job_id == stored.job_id {
            break;
        }
    }
    assert_eq!(http_get(server.port(), "/readyz").await.unwrap().status, 200);
}

async fn arbitrary_reports_are_answered_and_never_internal(server: &Server) {
    let mut draw = nonsense();
    let mut tally = Tally::default();
    for round in 0..10 {
        for _ in 0..5 {
            server.enqueue(command("work")).await;
        }
        let mut worker = HandWorker::register(server, &["work"]).await;
        let leases: Vec<String> = worker.claim(5).await.into_iter().map(|job| job.lease).collect();
        let mut talk = worker.converse().await;
        for _ in 0..60 {
            let message = draw.report(&leases);
            tally.count("ReportJobs", &message, Ok(()));
            talk.say(message).await;
        }
        talk.close();
        // The stream ends well, or says why it was cut off.
        if let Err(status) = talk.end().await {
            tally.count("the end of ReportJobs", &round, Err::<(), _>(status));
        }
        worker.unregister().await;
    }
    figure(&format!("answered and refused: {:?}", tally.0));
    everything_is_read_again(server).await;
    must_be_well(server).await;
}

/// What was stored can be read, in every way.
async fn everything_is_read_again(server: &Server) {
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobsRequest { page_size: 100, page_token, ..Default::default() };
        let page = server.jobs().list_jobs(request).await.expect("what was stored is listed").into_inner();
        for job in page.jobs {
            server.job(job.id).await;
            server.attempts(job.id).await;
            server.logs(job.id).await;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return;
        }
    }
}

async fn must_be_well(server: &Server) {
    assert_eq!(http_get(server.port(), "/readyz").await.unwrap().status, 200);
    let log = server.log();
    for bad in ["panicked", "internal error", "ERROR"] {
        assert!(
            !log.contains(bad),
            "the log has {bad:?}:\n{}",
            log.lines().filter(|line| line.contains(bad)).take(5).collect::<Vec<_>>().join("\n")
        );
    }
    let stored = server.enqueue(command("the.last")).await;
    let mut worker = HandWorker::register(server, &["the.last"]).await;
    let job = worker.claim_within(1, Duration::from_secs(20)).await;
    assert_eq!(job[0].job_id, stored.job_id);
    worker.end_well(&job[0].lease, completed("1")).await;
}
