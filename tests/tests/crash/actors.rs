//! Those who enqueue, repeat, cancel and requeue. Each goes on over every fault: a call without an answer is sent again.

use std::sync::Arc;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::history::{Cancelled, Event, History};
use haulier_tests::load::{COMMAND, Plan, Task};
use haulier_tests::messages::{command_with, fixed_retry, json};
use pb::job_service_client::JobServiceClient;
use pb::{CancelResult, JobOptions, JobState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::rig::Rig;

const ENQUEUERS: usize = 6;
/// What a call may take before it is given up and sent again.
const PATIENCE: Duration = Duration::from_secs(4);
/// Before a call is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(150);

/// The load, until it is ended.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    actors: Vec<JoinHandle<()>>,
}

impl Load {
    /// Lets everyone finish what they have begun.
    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        for actor in self.actors {
            actor.await.unwrap();
        }
    }
}

pub(crate) fn begin(rig: &Rig) -> Load {
    let (stop, stopped) = watch::channel(false);
    let servers: Arc<[Channel]> = rig.servers.iter().map(|server| connect(&server.address())).collect();
    let actor = |name: String| Actor {
        servers: Arc::clone(&servers),
        turn: 0,
        history: History::of(&name, rig.folder()).unwrap(),
        name,
        stopped: stopped.clone(),
    };
    let mut actors: Vec<_> =
        (0..ENQUEUERS).map(|number| tokio::spawn(actor(format!("enqueuer-{number}")).enqueue_on())).collect();
    actors.push(tokio::spawn(actor("operator".into()).meddle_on()));
    Load { stop, actors }
}

fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
    endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)).connect_lazy()
}

struct Actor {
    servers: Arc<[Channel]>,
    turn: usize,
    history: History,
    name: String,
    stopped: watch::Receiver<bool>,
}

impl Actor {
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Each call goes to the next server: a repeat must be recognised there too.
    fn jobs(&mut self) -> JobServiceClient<Channel> {
        self.turn += 1;
        JobServiceClient::new(self.servers[self.turn % self.servers.len()].clone())
    }

    async fn enqueue_on(mut self) {
        let mut number = 0;
        while !self.is_stopped() {
            number += 1;
            let key = format!("{}/{number}", self.name);
            let request = request(&key);
            self.enqueue(&key, &request).await;
            // The answer came, and it is sent again all the same: as after a lost answer.
            if rand::random_ratio(1, 8) {
                self.enqueue(&key, &request).await;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..250))).await;
        }
    }

    /// Sends an enqueue until it is answered, also after the end was called: what was sent once must be known in the end.
    async fn enqueue(&mut self, key: &str, request: &pb::EnqueueCommandRequest) {
        loop {
            self.history.note(Event::EnqueueCalled { key: key.into() });
            let mut jobs = self.jobs();
            match tokio::time::timeout(PATIENCE, jobs.enqueue_command(request.clone())).await {
                Ok(Ok(answer)) => {
                    let pb::EnqueueCommandResponse { job_id: job, created, .. } = answer.into_inner();
                    return self.history.note(Event::EnqueueAccepted { key: key.into(), job, created });
                }
                Ok(Err(status)) => must_be_passing(&status),
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Cancels some live jobs, requeues some that failed or were cancelled.
    async fn meddle_on(mut self) {
        while !self.is_stopped() {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let live = self.some(&[JobState::Queued, JobState::Scheduled, JobState::Running]).await;
            if let Some(job) = live {
                self.cancel(&job).await;
            }
            let ended = self.some(&[JobState::Failed, JobState::Cancelled]).await;
            if let Some(job) = ended {
                self.requeue(&job).await;
            }
        }
    }

    async fn some(&mut self, states: &[JobState]) -> Option<pb::JobSummary> {
        let states = states.iter().map(|state| (*state).into()).collect();
        let filter = Some(pb::JobFilter { states, ..Default::default() });
        let request = pb::ListJobsRequest { filter, page_size: 20, ..Default::default() };
        let mut jobs = self.jobs();
        let page = tokio::time::timeout(PATIENCE, jobs.list_jobs(request)).await.ok()?.ok()?.into_inner();
        let count = page.jobs.len();
        if count == 0 { None } else { page.jobs.into_iter().nth(rand::random_range(0..count)) }
    }

    async fn cancel(&mut self, job: &pb::JobSummary) {
        let target = Some(pb::cancel_job_request::Target::JobId(job.id));
        let request =
            pb::CancelJobRequest { target, reason: "chance".into(), grace: haulier_tests::seconds(2.0) };
        let mut jobs = self.jobs();
        match tokio::time::timeout(PATIENCE, jobs.cancel_job(request)).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let run = answer.job.as_ref().unwrap().run;
                let cancelled = match answer.result() {
                    CancelResult::Cancelled => Cancelled::AtOnce,
                    CancelResult::Requested => Cancelled::Requested,
                    CancelResult::AlreadyFinished => Cancelled::TooLate,
                    CancelResult::Unspecified => panic!("a cancel that says nothing: {answer:?}"),
                };
                self.history.note(Event::CancelAnswered { job: job.id, run, cancelled });
            }
            Ok(Err(status)) => must_be_passing(&status),
            Err(_) => {}
        }
    }

    async fn requeue(&mut self, job: &pb::JobSummary) {
        let request = pb::RequeueJobRequest { job_id: job.id, run: job.run, ..Default::default() };
        // Twice at once, as by two people: one run must come of it.
        for _ in 0..2 {
            let mut jobs = self.jobs();
            match tokio::time::timeout(PATIENCE, jobs.requeue_job(request.clone())).await {
                Ok(Ok(answer)) => {
                    let created = answer.into_inner().created;
                    self.history.note(Event::RequeueAnswered { job: job.id, run: job.run, created });
                }
                Ok(Err(status)) => must_be_passing(&status),
                Err(_) => {}
            }
        }
    }
}

/// What a fault may answer. Anything else is a bug of the server.
#[track_caller]
fn must_be_passing(status: &tonic::Status) {
    let passing = matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Unknown
    );
    assert!(passing, "an answer that no fault explains: {status:?}");
}

fn request(key: &str) -> pb::EnqueueCommandRequest {
    let task = Task { key: key.into(), plan: Plan::any() };
    let options = JobOptions {
        retry_policy: fixed_retry(8, 0.2),
        priority: Some(rand::random_range(10..20)),
        delay: rand::random_ratio(1, 10).then(|| haulier_tests::duration_of(Duration::from_millis(700))),
        ..Default::default()
    };
    pb::EnqueueCommandRequest {
        request_id: key.into(),
        request: json(&serde_json::to_string(&task).unwrap()),
        ..command_with(COMMAND, options)
    }
}
