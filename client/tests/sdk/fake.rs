//! A server in this process that speaks the contract, remembers what it was told, and fails as a test asks.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt};
use haulier::proto as pb;
use pb::job_service_server::{JobService, JobServiceServer};
use pb::outcome_report::Outcome;
use pb::worker_service_server::{WorkerService, WorkerServiceServer};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A server on a thread and a port of its own.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    down: mpsc::UnboundedSender<()>,
}

/// Everything it holds, was told, and is to do wrong.
pub(crate) struct State {
    pub(crate) lease_time: Duration,
    pub(crate) interval: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) credit: i64,
    pub(crate) ready: VecDeque<pb::LeasedJob>,
    pub(crate) leased: HashMap<String, pb::LeasedJob>,
    pub(crate) sessions: Vec<pb::RegisterWorkerRequest>,
    pub(crate) unregistered: Vec<String>,
    pub(crate) claims: Vec<pb::ClaimJobRequest>,
    pub(crate) streams: usize,
    pub(crate) reports: Vec<(usize, pb::ReportJobsRequest)>,
    /// Outcomes by lease, with every repeat.
    pub(crate) outcomes: HashMap<String, Vec<Outcome>>,
    pub(crate) lines: HashMap<String, Vec<String>>,
    pub(crate) checkpoints: HashMap<String, i64>,
    pub(crate) worst_credit: i64,
    pub(crate) enqueued: Vec<pb::EnqueueCommandRequest>,
    pub(crate) authorizations: Vec<String>,
    pub(crate) watches: Vec<pb::WatchJobRequest>,
    pub(crate) lists: Vec<pb::ListJobsRequest>,
    /// The last claim of each loop and what it was given.
    stored_claims: HashMap<i32, (i64, Vec<pb::LeasedJob>)>,
    /// Most jobs of an answer.
    pub(crate) answer_max: usize,
    lost_sessions: usize,
    jobs: i64,
    pub(crate) directives: Vec<pb::Directive>,
    pub(crate) faults: Faults,
}

/// What is to go wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// So many claims lease their jobs, but their answers are lost.
    pub(crate) lose_claim_answers: u32,
    /// The same of all claims of the second loop, as long as jobs are ready.
    pub(crate) lose_second_loop: bool,
    /// The next streams are cut after so many messages up, each time before or after the last one is taken.
    pub(crate) cuts: VecDeque<(usize, Cut)>,
    /// Streams are refused.
    pub(crate) refuse_streams: bool,
    /// Nothing that is sent up is read.
    pub(crate) is_frozen: bool,
    /// Results are refused as invalid.
    pub(crate) refuse_results: bool,
    /// So many calls of enqueue store the job, but answer UNAVAILABLE.
    pub(crate) lose_enqueue_answers: u32,
    /// Events of the next watches; each but the last ends with an error.
    pub(crate) watches: VecDeque<Vec<pb::WatchJobResponse>>,
    pub(crate) end_watches_well: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    /// The message is lost.
    Before,
    /// It is taken, but its acknowledgement is lost.
    After,
}

impl Fake {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (down, mut stop) = mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(State::new()));
        let changed = watch::Sender::default();
        let (their_state, their_changed) = (state.clone(), changed.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                let address = format!("http://{}", listener.local_addr().unwrap());
                let fake = Fake {
                    address: address.clone(),
                    state: their_state,
                    changed: their_changed,
                    down: mpsc::unbounded_channel().0,
                };
                tell.send(address).unwrap();
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let serving = tonic::transport::Server::builder()
                    .add_service(WorkerServiceServer::new(fake.clone()))
                    .add_service(JobServiceServer::new(fake))
                    .serve_with_incoming(incoming);
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = stop.recv() => {}
                }
            });
        });
        Self { address: told.recv().unwrap(), state, changed, down }
    }

    /// Ends it, connections and all.
    pub(crate) fn stop(&self) {
        let _ = self.down.send(());
    }

    pub(crate) async fn client(&self) -> haulier::Client {
        haulier::Client::connect(&self.address).await.unwrap()
    }

    /// Changes what it holds or does wrong.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until the check has an answer.
    pub(crate) async fn until<T>(&self, what: &str, mut check: impl FnMut(&State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(answer) = check(&self.state.lock().unwrap()) {
                    return answer;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
    }

    /// Makes a job ready; its lease is named after it.
    pub(crate) fn add(&self, command: &str, args: &str) -> String {
        self.add_with(command, args, |_| {})
    }

    pub(crate) fn add_with(
        &self,
        command: &str,
        args: &str,
        change: impl FnOnce(&mut pb::LeasedJob),
    ) -> String {
        self.with(|state| {
            state.jobs += 1;
            let id = state.jobs;
            let lease = format!("lease-{id}");
            let mut job = pb::LeasedJob {
                lease: lease.clone(),
                fencing_token: 1_000 + id,
                job_id: id,
                ref_id: format!("job-{id}"),
                work: Some(pb::leased_job::Work::Command(command.into())),
                request: haulier::Payload::json_text(args).into(),
                run: 1,
                attempt: 1,
                timeout: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
                ..Default::default()
            };
            change(&mut job);
            state.ready.push_back(job);
            lease
        })
    }

    /// Waits until a worker has said that jobs arrived.
    pub(crate) async fn received(&self) {
        self.until("that jobs arrive", |state| {
            state.reports.iter().find(|(_, report)| !report.received.is_empty()).map(|_| ())
        })
        .await;
    }

    /// Waits for the outcome of a lease.
    pub(crate) async fn outcome(&self, lease: &str) -> Outcome {
        self.until(&format!("the outcome of {lease}"), |state| state.outcomes.get(lease)?.first().cloned())
            .await
    }

    /// Tells a handler to stop.
    pub(crate) fn direct(&self, directive: pb::directive::Kind) {
        self.with(|state| state.directives.push(pb::Directive { kind: Some(directive) }));
    }

    /// Ends the session.
    pub(crate) fn lose_session(&self) {
        self.with(|state| {
            state.lost_sessions = state.sessions.len();
            state.stored_claims.clear();
            state.leased.clear();
        });
    }
}

impl State {
    fn new() -> Self {
        Self {
            lease_time: Duration::from_secs(10),
            interval: Duration::from_millis(200),
            max_wait: Duration::from_secs(1),
            credit: 1 << 20,
            ready: VecDeque::new(),
            leased: HashMap::new(),
            sessions: Vec::new(),
            unregistered: Vec::new(),
            claims: Vec::new(),
            streams: 0,
            reports: Vec::new(),
            outcomes: HashMap::new(),
            lines: HashMap::new(),
            checkpoints: HashMap::new(),
            worst_credit: i64::MAX,
            enqueued: Vec::new(),
            authorizations: Vec::new(),
            watches: Vec::new(),
            lists: Vec::new(),
            stored_claims: HashMap::new(),
            answer_max: usize::MAX,
            lost_sessions: 0,
            jobs: 0,
            directives: Vec::new(),
            faults: Faults::default(),
        }
    }

    fn is_lost(&self, session: &str) -> bool {
        session
            .strip_prefix("session-")
            .and_then(|number| number.parse().ok())
            .is_some_and(|number: usize| number <= self.lost_sessions)
    }

    /// What a claim leases now, if anything.
    fn lease(&mut self, claim: &pb::ClaimJobRequest) -> Option<Vec<pb::LeasedJob>> {
        if let Some((sequence, jobs)) = self.stored_claims.get(&claim.r#loop)
            && *sequence == claim.sequence
        {
            return Some(jobs.clone());
        }
        if self.ready.is_empty() {
            return None;
        }
        let count = self.ready.len().min(claim.max_jobs as usize).min(self.answer_max);
        let jobs: Vec<_> = self.ready.drain(..count).collect();
        self.leased.extend(jobs.iter().map(|job| (job.lease.clone(), job.clone())));
        self.stored_claims.insert(claim.r#loop, (claim.sequence, jobs.clone()));
        Some(jobs)
    }

    /// Takes a message up and says what is to be said down.
    fn take(&mut self, message: &pb::ReportJobsRequest) -> pb::ReportJobsResponse {
        let mut answer = pb::ReportJobsResponse::default();
        for report in &message.logs {
            answer.log_credit_bytes += report.encoded_len() as i64;
            answer.acks.push(self.take_lines(report));
        }
        for report in &message.checkpoints {
            answer.log_credit_bytes += report.encoded_len() as i64;
            self.checkpoints.insert(report.lease.clone(), report.sequence);
            answer.acks.push(self.ack(&report.lease));
        }
        for report in &message.outcomes {
            answer.acks.push(self.take_outcome(report));
        }
        if let Some(beat) = &message.heartbeat {
            answer.heartbeat =
                Some(pb::HeartbeatAck { beat: beat.beat, lease_time: Some(wire(self.lease_time)) });
        }
        answer.directives.clone_from(&self.directives);
        answer
    }

    fn ack(&self, lease: &str) -> pb::ReportAck {
        pb::ReportAck {
            lease: lease.to_owned(),
            log_sequence: self.lines.get(lease).map_or(0, |lines| lines.len() as i64),
            checkpoint_sequence: self.checkpoints.get(lease).copied().unwrap_or_default(),
            ..Default::default()
        }
    }

    fn refuse(&self, lease: &str, code: pb::ReportErrorCode, field: &str) -> pb::ReportAck {
        let error =
            pb::ReportError { code: code.into(), message: "refused by the test".into(), field: field.into() };
        pb::ReportAck { error: Some(error), ..self.ack(lease) }
    }

    fn take_lines(&mut self, report: &pb::LogReport) -> pb::ReportAck {
        let kept = self.lines.entry(report.lease.clone()).or_default();
        let from = report.from_sequence as usize;
        if from > kept.len() {
            return self.refuse(&report.lease, pb::ReportErrorCode::LogGap, "");
        }
        let known = kept.len() - from;
        kept.extend(report.lines.iter().skip(known).map(|line| line.message.clone()));
        self.ack(&report.lease)
    }

    fn take_outcome(&mut self, report: &pb::OutcomeReport) -> pb::ReportAck {
        let Some(outcome) = report.outcome.clone() else { panic!("an outcome without an outcome") };
        let lease = &report.lease;
        if self.faults.refuse_results && matches!(outcome, Outcome::Complete(_)) {
            return self.refuse(lease, pb::ReportErrorCode::Invalid, "outcomes[0].complete.result");
        }
        if report.log_sequence > self.ack(lease).log_sequence {
            return self.refuse(lease, pb::ReportErrorCode::LogGap, "");
        }
        let is_repeat = self.outcomes.contains_key(lease);
        if self.leased.remove(lease).is_none() && !is_repeat {
            return self.refuse(lease, pb::ReportErrorCode::LeaseLost, "");
        }
        self.outcomes.entry(lease.clone()).or_default().push(outcome);
        pb::ReportAck { outcome_stored: true, state: pb::JobState::Completed.into(), ..self.ack(lease) }
    }
}

fn wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap()
}

fn error(code: tonic::Code, reason: &str) -> Status {
    let metadata = HashMap::<String, String>::new();
    Status::with_error_details(
        code,
        "as the test asks",
        ErrorDetails::with_error_info(reason, "haulier", metadata),
    )
}

#[tonic::async_trait]
impl WorkerService for Fake {
    type ReportJobsStream = Answers<pb::ReportJobsResponse>;

    async fn register_worker(
        &self,
        request: Request<pb::RegisterWorkerRequest>,
    ) -> Result<Response<pb::RegisterWorkerResponse>, Status> {
        Ok(Response::new(self.with(|state| {
            state.sessions.push(request.into_inner());
            state.stored_claims.clear();
            pb::RegisterWorkerResponse {
                session_id: format!("session-{}", state.sessions.len()),
                lease_time: Some(wire(state.lease_time)),
                heartbeat_interval: Some(wire(state.interval)),
                max_wait: Some(wire(state.max_wait)),
                log_credit_bytes: state.credit,
            }
        })))
    }

    async fn claim_job(
        &self,
        request: Request<pb::ClaimJobRequest>,
    ) -> Result<Response<pb::ClaimJobResponse>, Status> {
        let claim = request.into_inner();
        self.with(|state| state.claims.push(claim.clone()));
        let wait = claim.wait.map_or(Duration::ZERO, |wait| Duration::try_from(wait).unwrap());
        let mut changed = self.changed.subscribe();
        let leased = async {
            loop {
                let leased = {
                    let mut state = self.state.lock().unwrap();
                    if state.is_lost(&claim.session_id) {
                        return Err(error(tonic::Code::Aborted, "SESSION_LOST"));
                    }
                    state.lease(&claim)
                };
                if let Some(jobs) = leased {
                    return Ok(jobs);
                }
                changed.changed().await.unwrap();
            }
        };
        let jobs = tokio::time::timeout(wait, leased).await.unwrap_or(Ok(Vec::new()))?;
        let is_lost = !jobs.is_empty()
            && self.with(|state| {
                let lost = state.faults.lose_claim_answers > 0
                    || (state.faults.lose_second_loop && claim.r#loop == 1 && !state.ready.is_empty());
                state.faults.lose_claim_answers = state.faults.lose_claim_answers.saturating_sub(1);
                lost
            });
        if is_lost {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(pb::ClaimJobResponse { jobs, sequence: claim.sequence }))
    }

    async fn report_jobs(
        &self,
        request: Request<Streaming<pb::ReportJobsRequest>>,
    ) -> Result<Response<Self::ReportJobsStream>, Status> {
        if self.with(|state| state.faults.refuse_streams) {
            return Err(Status::unavailable("as the test asks"));
        }
        let (number, cut) = self.with(|state| {
            state.streams += 1;
            (state.streams, state.faults.cuts.pop_front())
        });
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(serve_reports(self.clone(), request.into_inner(), number, cut, answers));
        let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(stream);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn unregister_worker(
        &self,
        request: Request<pb::UnregisterWorkerRequest>,
    ) -> Result<Response<pb::UnregisterWorkerResponse>, Status> {
        self.with(|state| state.unregistered.push(request.into_inner().session_id));
        Ok(Response::new(pb::UnregisterWorkerResponse::default()))
    }

    async fn list_workers(
        &self,
        _: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn drain_worker(
        &self,
        _: Request<pb::DrainWorkerRequest>,
    ) -> Result<Response<pb::DrainWorkerResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }
}

/// Serves a report stream, and looks every few milliseconds whether there is something to direct.
async fn serve_reports(
    fake: Fake,
    mut messages: Streaming<pb::ReportJobsRequest>,
    number: usize,
    cut: Option<(usize, Cut)>,
    answers: mpsc::UnboundedSender<Result<pb::ReportJobsResponse, Status>>,
) {
    let mut credit = fake.with(|state| state.credit);
    let mut session = String::new();
    let mut taken = 0;
    let mut changed = fake.changed.subscribe();
    loop {
        let message = tokio::select! {
            message = messages.message() => message,
            _ = changed.changed() => {
                let (is_lost, directives) = { let state = fake.state.lock().unwrap(); (state.is_lost(&session), state.directives.clone()) };
                if is_lost {
                    let error = pb::ReportError { code: pb::ReportErrorCode::SessionLost.into(), ..Default::default() };
                    let _ = answers.send(Ok(pb::ReportJobsResponse { errors: vec![error], ..Default::default() }));
                    session.clear();
                } else if !directives.is_empty() {
                    let _ = answers.send(Ok(pb::ReportJobsResponse { directives, ..Default::default() }));
                }
                continue;
            }
        };
        let Ok(Some(message)) = message else { return };
        if !message.session_id.is_empty() {
            session.clone_from(&message.session_id);
        }
        let frozen = fake.changed.subscribe();
        freeze(&fake, frozen).await;
        taken += 1;
        let is_cut = cut.filter(|(after, _)| *after == taken).map(|(_, cut)| cut);
        credit -= message.logs.iter().map(|report| report.encoded_len() as i64).sum::<i64>();
        credit -= message.checkpoints.iter().map(|report| report.encoded_len() as i64).sum::<i64>();
        let answer = fake.with(|state| {
            state.reports.push((number, message.clone()));
            state.worst_credit = state.worst_credit.min(credit);
            (is_cut != Some(Cut::Before)).then(|| state.take(&message))
        });
        if is_cut.is_some() {
            let _ = answers.send(Err(Status::unavailable("cut")));
            return;
        }
        if let Some(answer) = answer {
            credit += answer.log_credit_bytes;
            let _ = answers.send(Ok(answer));
        }
    }
}

async fn freeze(fake: &Fake, mut changed: watch::Receiver<u64>) {
    while fake.state.lock().unwrap().faults.is_frozen {
        changed.changed().await.unwrap();
    }
}

/// The calls that the fake does not know.
macro_rules! not_in_the_fake {
    ($($call:ident($request:ident) -> $response:ident;)+) => {
        $(
            // As `async_trait` writes it; it does not see into macros.
            fn $call<'s, 'f>(
                &'s self,
                _: Request<pb::$request>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<pb::$response>, Status>> + Send + 'f>>
            where
                's: 'f,
                Self: 'f,
            {
                Box::pin(async { Err(Status::unimplemented("not in the fake")) })
            }
        )+
    };
}

#[tonic::async_trait]
impl JobService for Fake {
    type WatchJobStream = Answers<pb::WatchJobResponse>;
    type WatchJobsStream = Answers<pb::WatchJobsResponse>;

    async fn enqueue_command(
        &self,
        request: Request<pb::EnqueueCommandRequest>,
    ) -> Result<Response<pb::EnqueueCommandResponse>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        let request = request.into_inner();
        let (id, is_lost) = self.with(|state| {
            state.authorizations.push(authorization);
            state.enqueued.push(request.clone());
            let first =
                state.enqueued.iter().position(|other| other.request_id == request.request_id).unwrap();
            let lost = state.faults.lose_enqueue_answers > 0;
            state.faults.lose_enqueue_answers = state.faults.lose_enqueue_answers.saturating_sub(1);
            (first as i64 + 1, lost)
        });
        if is_lost {
            return Err(Status::unavailable("the answer is lost"));
        }
        if request.options.as_ref().is_some_and(|options| options.ref_id == "taken") {
            let details = ErrorDetails::with_error_info(
                "REF_ID_TAKEN",
                "haulier",
                HashMap::from([("job_id".to_owned(), "77".to_owned())]),
            );
            return Err(Status::with_error_details(
                tonic::Code::AlreadyExists,
                "the ref id is taken",
                details,
            ));
        }
        let state = pb::JobState::Queued.into();
        Ok(Response::new(pb::EnqueueCommandResponse {
            job_id: id,
            ref_id: format!("job-{id}"),
            created: true,
            state,
        }))
    }

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let (events, end) = self.with(|state| {
            state.watches.push(request.into_inner());
            let events = state.faults.watches.pop_front();
            let is_last = state.faults.watches.is_empty();
            let end = (!is_last && !state.faults.end_watches_well).then(|| Status::unavailable("cut"));
            (events, end)
        });
        let events = events.ok_or_else(|| error(tonic::Code::NotFound, "JOB_NOT_FOUND"))?;
        let events = events.into_iter().map(Ok).chain(end.map(Err));
        Ok(Response::new(futures::stream::iter(events.collect::<Vec<_>>()).boxed()))
    }

    async fn watch_jobs(
        &self,
        _: Request<pb::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let request = request.into_inner();
        let page: i64 = request.page_token.parse().unwrap_or_default();
        self.with(|state| state.lists.push(request));
        let jobs = vec![pb::JobSummary { id: page + 1, ..Default::default() }];
        let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token }))
    }

    not_in_the_fake! {
        enqueue_api(EnqueueApiRequest) -> EnqueueApiResponse;
        enqueue_batch(EnqueueBatchRequest) -> EnqueueBatchResponse;
        run_command(RunCommandRequest) -> RunCommandResponse;
        get_job(GetJobRequest) -> GetJobResponse;
        get_job_by_ref_id(GetJobByRefIdRequest) -> GetJobByRefIdResponse;
        cancel_job(CancelJobRequest) -> CancelJobResponse;
        cancel_jobs(CancelJobsRequest) -> CancelJobsResponse;
        requeue_job(RequeueJobRequest) -> RequeueJobResponse;
        requeue_jobs(RequeueJobsRequest) -> RequeueJobsResponse;
        list_job_attempts(ListJobAttemptsRequest) -> ListJobAttemptsResponse;
        list_job_logs(ListJobLogsRequest) -> ListJobLogsResponse;
        get_batch(GetBatchRequest) -> GetBatchResponse;
        list_deliveries(ListDeliveriesRequest) -> ListDeliveriesResponse;
        replay_delivery(ReplayDeliveryRequest) -> ReplayDeliveryResponse;
        explain_job(ExplainJobRequest) -> ExplainJobResponse;
    }
}
