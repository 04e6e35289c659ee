//! Fairness: a flood of callers costs others neither their turn nor their leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed};
use haulier_tests::{HandWorker, Pause, Registration, Server, figure, monotonic, on_both};
use pb::job_service_client::JobServiceClient;
use pb::{JobOptions, JobState};
use tokio::task::JoinSet;

/// Calls that a server has open on one connection at most.
const CALLS_PER_CONNECTION: usize = 256;

on_both!(
    a_flood_in_one_queue_does_not_starve_another,
    two_thousand_enqueuing_callers_never_cost_a_session_its_lease,
);

/// Callers that enqueue, each again as soon as it is answered, until this is dropped.
struct Flood {
    answered: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Flood {
    fn of(server: &Server, callers: usize, request: &pb::EnqueueCommandRequest) -> Flood {
        let answered = Arc::<AtomicU64>::default();
        let stopped = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        let mut channel = server.own_channel();
        for caller in 0..callers {
            if caller % CALLS_PER_CONNECTION == 0 {
                channel = server.own_channel();
            }
            let mut jobs = JobServiceClient::new(channel.clone());
            let (answered, stopped) = (Arc::clone(&answered), Arc::clone(&stopped));
            let request = request.clone();
            tasks.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    jobs.enqueue_command(request.clone()).await.expect("an enqueue is accepted");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Flood { answered, stopped, callers: tasks }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more are answered.
    async fn pours(&self, calls: u64) {
        let wanted = self.answered() + calls;
        while self.answered() < wanted {
            Pause::brief().await;
        }
    }

    /// Lets every caller end its call.
    async fn ends(mut self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no caller fails");
        }
        self.answered()
    }
}

/// One commit holds at most 1,000 callers and queues take turns in it: a caller of a quiet queue waits for the commit that
/// is in flight and for its own, and not for the thousands that came before it.
async fn a_flood_in_one_queue_does_not_starve_another(server: &Server) {
    const CALLERS: usize = 6_000;
    let in_queue =
        |queue: &str| command_with("work", JobOptions { queue: queue.to_owned(), ..Default::default() });
    let mut registration = Registration::patient(&["work"]);
    registration.0.queues = vec!["quiet".into()];
    let mut worker = HandWorker::begin(server, registration).await;
    let flood = Flood::of(server, CALLERS, &in_queue("flood"));
    flood.pours(CALLERS as u64).await;
    let mut passed = Vec::new();
    for _ in 0..7 {
        let before = flood.answered();
        let stored = server.enqueue(in_queue("quiet")).await;
        passed.push(flood.answered() - before);
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, stored.job_id);
        assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    }
    let all = flood.ends().await;
    passed.sort_unstable();
    let median = passed[passed.len() / 2];
    figure(&format!(
        "calls of a flood of {CALLERS} answered during one of a quiet queue: {passed:?}; {all} in all"
    ));
    assert!(median < CALLERS as u64 / 2, "in line behind the flood: {passed:?}");
}

async fn two_thousand_enqueuing_callers_never_cost_a_session_its_lease(server: &Server) {
    const LEASES: u32 = 3;
    let registration = Registration::short_lived(&["held"]);
    let lease_time = Duration::from_secs(5);
    let mut worker = HandWorker::begin(server, registration).await;
    let held = server.enqueue(command("held")).await;
    let job = worker.claim_one().await;
    worker.acknowledge().await;
    let mut talk = worker.converse().await;
    let flood = Flood::of(server, 2_000, &command("unserved"));
    flood.pours(2_000).await;
    let begun = monotonic();
    let mut slowest = Duration::ZERO;
    while monotonic() - begun < LEASES * lease_time {
        let beat = worker.heartbeat(&[&job.lease]);
        let number = beat.heartbeat.as_ref().unwrap().beat;
        let sent = monotonic();
        talk.say(beat).await;
        talk.beat_taken(number).await;
        slowest = slowest.max(monotonic() - sent);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let answered = flood.ends().await;
    figure(&format!("{answered} enqueues meanwhile; slowest heartbeat {slowest:?}"));
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    let summary = server.summary(held.job_id).await;
    assert_eq!((summary.attempt, summary.run), (1, 1), "{summary:?}");
}
