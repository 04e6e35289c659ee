//! A worker process played by hand: every message of the protocol can be lost, repeated or sent out of order.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use haulier_proto::v1 as pb;
use pb::outcome_report::Outcome;
use pb::worker_service_client::WorkerServiceClient;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::{Server, duration_of};

/// How long a test waits for an answer on a stream.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a worker process registers.
#[derive(Clone, Debug)]
pub struct Registration(pub pb::RegisterWorkerRequest);

impl Registration {
    /// Serves these commands of the default queue, with ten slots and the default lease time.
    pub fn of(commands: &[&str]) -> Registration {
        let served = |command: &&str| pb::ServedCommand { command: (*command).into(), ..Default::default() };
        Registration(pb::RegisterWorkerRequest {
            name: "by hand".into(),
            instance_id: uuid::Uuid::new_v4().to_string(),
            commands: commands.iter().map(served).collect(),
            slots: 10,
            ..Default::default()
        })
    }

    /// With the shortest lease time there is, so that a loss is soon noticed.
    pub fn short_lived(commands: &[&str]) -> Registration {
        let mut registration = Registration::of(commands);
        registration.0.lease_time = Some(duration_of(Duration::from_secs(5)));
        registration
    }

    /// With the longest lease time there is: it may be silent as long as a test takes.
    pub fn patient(commands: &[&str]) -> Registration {
        let mut registration = Registration::of(commands);
        registration.0.lease_time = Some(duration_of(Duration::from_secs(600)));
        registration
    }

    /// Under another name.
    pub fn named(mut self, name: &str) -> Registration {
        self.0.name = name.into();
        self
    }
}

/// A registered worker process.
pub struct HandWorker {
    client: WorkerServiceClient<Channel>,
    /// Its session.
    pub session: String,
    /// What the registration answered.
    pub registered: pb::RegisterWorkerResponse,
    sequence: i64,
    ack_sequence: i64,
    beat: i64,
}

impl HandWorker {
    /// Registers for these commands.
    pub async fn register(server: &Server, commands: &[&str]) -> HandWorker {
        Self::begin(server, Registration::of(commands)).await
    }

    /// Registers.
    pub async fn begin(server: &Server, registration: Registration) -> HandWorker {
        let mut client = server.workers();
        let registered =
            client.register_worker(registration.0).await.expect("a registration is accepted").into_inner();
        let session = registered.session_id.clone();
        HandWorker { client, session, registered, sequence: 0, ack_sequence: 0, beat: 0 }
    }

    /// The same session through another server.
    pub fn through(&self, server: &Server) -> HandWorker {
        HandWorker {
            client: server.workers(),
            session: self.session.clone(),
            registered: self.registered.clone(),
            ..*self
        }
    }

    /// Claims once without waiting, as a good worker does: with a fresh sequence, acknowledging what arrived before.
    pub async fn claim(&mut self, max_jobs: i32) -> Vec<pb::LeasedJob> {
        self.claim_within(max_jobs, Duration::ZERO).await
    }

    /// As [`HandWorker::claim`], and waits so long for a job.
    pub async fn claim_within(&mut self, max_jobs: i32, wait: Duration) -> Vec<pb::LeasedJob> {
        self.sequence += 1;
        let request = self.request(self.sequence, self.ack_sequence, max_jobs, wait);
        let jobs = self.send_claim(request).await.expect("a claim is answered").jobs;
        if !jobs.is_empty() {
            self.ack_sequence = self.sequence;
        }
        jobs
    }

    /// Claims the one job that must come.
    pub async fn claim_one(&mut self) -> pb::LeasedJob {
        let mut jobs = self.claim_within(1, Duration::from_secs(30)).await;
        assert_eq!(jobs.len(), 1, "one job was to come");
        jobs.remove(0)
    }

    /// A claim of loop 0 with these numbers.
    pub fn request(
        &self,
        sequence: i64,
        ack_sequence: i64,
        max_jobs: i32,
        wait: Duration,
    ) -> pb::ClaimJobRequest {
        let wait = (!wait.is_zero()).then(|| duration_of(wait));
        pb::ClaimJobRequest {
            session_id: self.session.clone(),
            r#loop: 0,
            sequence,
            ack_sequence,
            max_jobs,
            wait,
        }
    }

    /// Sends a claim as it is.
    pub fn send_claim(
        &self,
        request: pb::ClaimJobRequest,
    ) -> impl Future<Output = Result<pb::ClaimJobResponse, Status>> + Send + use<> {
        let mut client = self.client.clone();
        async move { client.claim_job(request).await.map(tonic::Response::into_inner) }
    }

    /// Opens the report stream.
    pub async fn converse(&self) -> Conversation {
        self.converse_with(pb::ReportJobsRequest::default()).await
    }

    /// Opens the report stream with this first message.
    pub async fn converse_with(&self, first: pb::ReportJobsRequest) -> Conversation {
        let (up, messages) = mpsc::channel(1_000);
        let first = pb::ReportJobsRequest { session_id: self.session.clone(), ..first };
        up.send(first).await.expect("an open channel");
        let mut client = self.client.clone();
        let down = client
            .report_jobs(ReceiverStream::new(messages))
            .await
            .expect("a report stream begins")
            .into_inner();
        Conversation { up: Some(up), down, waiting: VecDeque::new() }
    }

    /// Sends one message on a stream of its own, and reads everything that is answered until the stream ends.
    pub async fn report(&self, message: pb::ReportJobsRequest) -> Vec<pb::ReportJobsResponse> {
        let mut conversation = self.converse_with(message).await;
        conversation.close();
        conversation.rest().await
    }

    /// Reports the end of an attempt and answers what came back about its lease.
    pub async fn end(&self, lease: &str, outcome: Outcome) -> pb::ReportAck {
        self.end_after(lease, 0, outcome).await
    }

    /// As [`HandWorker::end`], for an attempt that has logged so many lines.
    pub async fn end_after(&self, lease: &str, log_sequence: i64, outcome: Outcome) -> pb::ReportAck {
        let report = pb::OutcomeReport { lease: lease.into(), log_sequence, outcome: Some(outcome) };
        let answers =
            self.report(pb::ReportJobsRequest { outcomes: vec![report], ..Default::default() }).await;
        let acks: Vec<_> = answers.into_iter().flat_map(|answer| answer.acks).collect();
        let about = acks.iter().find(|ack| ack.lease == lease && (ack.outcome_stored || ack.error.is_some()));
        about.cloned().unwrap_or_else(|| panic!("no answer to the outcome among {acks:?}"))
    }

    /// Ends an attempt; the answer must be that this is stored.
    pub async fn end_well(&self, lease: &str, outcome: Outcome) -> pb::JobState {
        let ack = self.end(lease, outcome).await;
        assert!(ack.outcome_stored && ack.error.is_none(), "{ack:?}");
        ack.state()
    }

    /// Ends an attempt; this must be refused.
    pub async fn end_refused(&self, lease: &str, outcome: Outcome) -> pb::ReportErrorCode {
        let ack = self.end(lease, outcome).await;
        assert!(!ack.outcome_stored, "{ack:?}");
        ack.error.expect("a refusal says why").code()
    }

    /// Tells that the answer of the last claim arrived, and waits until the server has taken it.
    pub async fn acknowledge(&self) {
        let received = vec![pb::ReceivedReport { r#loop: 0, sequence: self.ack_sequence }];
        self.report(pb::ReportJobsRequest { received, ..Default::default() }).await;
    }

    /// A heartbeat that holds these leases, with everything received that was sent.
    pub fn heartbeat(&mut self, leases: &[&str]) -> pb::ReportJobsRequest {
        self.beat += 1;
        let state =
            pb::LoopState { r#loop: 0, received: self.sequence, sent: self.sequence, sent_open: false };
        let heartbeat = pb::Heartbeat {
            beat: self.beat,
            loops: if self.sequence > 0 { vec![state] } else { Vec::new() },
            leases: leases.iter().map(|lease| (*lease).to_owned()).collect(),
        };
        pb::ReportJobsRequest { heartbeat: Some(heartbeat), ..Default::default() }
    }

    /// Heartbeats once a second, as if it still held a lease, until it is told that the lease is lost.
    pub async fn beat_until_lost(&mut self, talk: &mut Conversation, lease: &str) -> pb::LeaseLost {
        for _ in 0..PATIENCE.as_secs() {
            let beat = self.heartbeat(&[lease]);
            talk.say(beat).await;
            if let Ok(lost) = tokio::time::timeout(Duration::from_secs(1), talk.loss_of(lease)).await {
                return lost;
            }
        }
        panic!("in vain waited {PATIENCE:?} for a lost lease");
    }

    /// Ends the session.
    pub async fn unregister(&mut self) -> i32 {
        let request = pb::UnregisterWorkerRequest { session_id: self.session.clone(), reason: "done".into() };
        self.client.unregister_worker(request).await.expect("a session ends").into_inner().released_count
    }
}

/// An open report stream.
pub struct Conversation {
    up: Option<mpsc::Sender<pb::ReportJobsRequest>>,
    down: Streaming<pb::ReportJobsResponse>,
    waiting: VecDeque<pb::ReportJobsResponse>,
}

impl Conversation {
    /// Sends a message.
    pub async fn say(&self, message: pb::ReportJobsRequest) {
        let up = self.up.as_ref().expect("the stream is not closed");
        up.send(message).await.expect("the stream is open");
    }

    /// Says that nothing more will come.
    pub fn close(&mut self) {
        self.up = None;
    }

    /// The next message down, whatever it says; none at the end of the stream.
    pub async fn next(&mut self) -> Option<pb::ReportJobsResponse> {
        if let Some(message) = self.waiting.pop_front() {
            return Some(message);
        }
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await;
        next.expect("something comes down the stream").expect("the stream holds")
    }

    /// How the stream ends, everything before the end passed over.
    pub async fn end(&mut self) -> Result<(), Status> {
        loop {
            match tokio::time::timeout(PATIENCE, self.down.message()).await.expect("the stream ends") {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    }

    /// Everything until the stream ends.
    pub async fn rest(&mut self) -> Vec<pb::ReportJobsResponse> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }

    /// Waits for what `pick` finds in a message; messages without it are passed over.
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        pick: impl Fn(&pb::ReportJobsResponse) -> Option<T>,
    ) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(message) = self.down.message().await.expect("the stream holds") {
                if let Some(found) = pick(&message) {
                    return Some(found);
                }
            }
            None
        });
        match found.await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("the stream ended without {what}"),
            Err(_) => panic!("in vain waited {PATIENCE:?} for {what}"),
        }
    }

    /// Waits for an answer about a lease that `pick` accepts.
    pub async fn ack(&mut self, lease: &str, pick: impl Fn(&pb::ReportAck) -> bool) -> pb::ReportAck {
        let wanted = |ack: &&pb::ReportAck| ack.lease == lease && pick(ack);
        self.wait_for("an answer about a lease", |message| message.acks.iter().find(wanted).cloned()).await
    }

    /// Waits until this heartbeat is acknowledged.
    pub async fn beat_taken(&mut self, beat: i64) -> pb::HeartbeatAck {
        self.wait_for("an acknowledged heartbeat", |message| message.heartbeat.filter(|ack| ack.beat == beat))
            .await
    }

    /// Waits until the handler of a lease is told to stop.
    pub async fn cancel_of(&mut self, lease: &str) -> pb::CancelDirective {
        self.wait_for("a cancel", |message| {
            message.directives.iter().find_map(|directive| match &directive.kind {
                Some(pb::directive::Kind::Cancel(cancel)) if cancel.lease == lease => Some(cancel.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits until a lease is said to be lost, whichever way.
    pub async fn loss_of(&mut self, lease: &str) -> pb::LeaseLost {
        self.wait_for("a lost lease", |message| {
            message.directives.iter().find_map(|directive| match &directive.kind {
                Some(pb::directive::Kind::LeaseLost(lost)) if lost.lease == lease => Some(lost.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits until the worker process is told to drain.
    pub async fn drain(&mut self) -> pb::Drain {
        self.wait_for("a drain", |message| {
            message.directives.iter().find_map(|directive| match &directive.kind {
                Some(pb::directive::Kind::Drain(drain)) => Some(drain.clone()),
                _ => None,
            })
        })
        .await
    }
}

/// Log lines of a lease, numbered from `from_sequence` + 1 on.
pub fn lines(lease: &str, from_sequence: i64, lines: &[&str]) -> pb::LogReport {
    let entry = |text: &&str| pb::LogEntry { message: (*text).into(), ..Default::default() };
    pb::LogReport { lease: lease.into(), from_sequence, lines: lines.iter().map(entry).collect() }
}

/// The lease token of the same attempt with another nonce: well made, and not the one that was given out.
pub fn forge(lease: &str) -> String {
    let body = lease.strip_prefix("l1.").expect("a lease token as this version writes them");
    let mut bytes = URL_SAFE_NO_PAD.decode(body).expect("base64");
    bytes.truncate(bytes.len() - 4);
    *bytes.last_mut().expect("a nonce") ^= 1;
    let mut hash = Sha256::new();
    for part in [b"l1".as_slice(), &bytes] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let check = hash.finalize();
    format!("l1.{}", URL_SAFE_NO_PAD.encode([&bytes, &check[..4]].concat()))
}
