//! Named workers while worker processes are killed: no two leases of a lane overlap, and each starts in its order.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use haulier_proto::v1 as pb;
use haulier_tests::load::{COMMAND, Plan, Task};
use haulier_tests::messages::{fixed_retry, json};
use haulier_tests::{Server, figure, monotonic, stamp};
use pb::AttemptOutcome;
use pb::enqueue_item::Work;

use crate::rig::{Engine, Rig};

/// Kills of a worker process for each round.
const PAUSE: Duration = Duration::from_millis(2_500);

/// How many lanes, and jobs in each.
fn size(rounds: usize) -> (usize, usize) {
    if rounds >= 30 { (50, 200) } else { (12, 40) }
}

/// Leases of a lane in the order in which its jobs are, each from its claim to its end, by the database's clock.
type Leases = Vec<(i64, Vec<Lease>)>;

struct Lease {
    start: i64,
    end: i64,
    is_lost: bool,
}

pub(crate) async fn run(engine: Engine, rounds: usize) {
    let mut rig = Rig::start(engine).await;
    let (lanes, jobs) = size(rounds);
    let begun = monotonic();
    let ids = fill(&rig.servers[0], lanes, jobs).await;
    let mut kills = 0;
    while !all_ended(&rig.servers[0]).await {
        if kills < rounds.max(6) {
            let victim = kills % rig.worker_count();
            rig.kill_worker(victim, Duration::from_millis(300)).await;
            kills += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    rig.must_live();
    let took = (monotonic() - begun).as_secs_f64();
    let (mut leases, mut lost) = (0, 0);
    for (lane, ids) in &ids {
        let of_lane = leases_of(&rig.servers[0], ids).await;
        leases += of_lane.iter().map(|(_, leases)| leases.len()).sum::<usize>();
        lost += of_lane.iter().flat_map(|(_, leases)| leases).filter(|lease| lease.is_lost).count();
        check(lane, &of_lane);
    }
    assert!(lost > 0, "the kills hit nothing");
    figure(&format!(
        "{engine:?}, {lanes} lanes of {jobs} jobs, {kills} worker processes killed: {leases} leases, {lost} lost, no overlap, in order, {took:.0} s"
    ));
}

async fn fill(server: &Server, lanes: usize, jobs: usize) -> BTreeMap<String, Vec<i64>> {
    let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for _ in 0..jobs {
        let names: Vec<String> = (0..lanes).map(|lane| format!("lane-{lane}")).collect();
        let request = pb::EnqueueBatchRequest {
            items: names.iter().map(|name| item(name)).collect(),
            ..Default::default()
        };
        let stored = server.jobs().enqueue_batch(request).await.unwrap().into_inner();
        for (name, job) in names.into_iter().zip(stored.jobs) {
            ids.entry(name).or_default().push(job.job_id);
        }
    }
    ids
}

fn item(lane: &str) -> pb::EnqueueItem {
    let plan = match rand::random_range(0..12) {
        0 => Plan::Flaky,
        1..4 => Plan::Slow { steps: 1 },
        _ => Plan::Quick,
    };
    let task = Task { key: lane.into(), plan };
    let options = pb::JobOptions {
        worker: Some(lane.into()),
        retry_policy: fixed_retry(20, 0.1),
        ..Default::default()
    };
    let request = json(&serde_json::to_string(&task).unwrap());
    let item = pb::EnqueueCommandItem { command: COMMAND.into(), request, options: Some(options) };
    pb::EnqueueItem { work: Some(Work::Command(item)), ..Default::default() }
}

async fn all_ended(server: &Server) -> bool {
    let live = [pb::JobState::Blocked, pb::JobState::Queued, pb::JobState::Scheduled, pb::JobState::Running];
    let states = live.iter().map(|state| (*state).into()).collect();
    let filter = Some(pb::JobFilter { states, ..Default::default() });
    let request = pb::ListJobsRequest { filter, page_size: 1, ..Default::default() };
    server.jobs().list_jobs(request).await.is_ok_and(|page| page.into_inner().jobs.is_empty())
}

async fn leases_of(server: &Server, ids: &[i64]) -> Leases {
    let attempts = |id: i64| async move {
        let attempts = server.attempts(id).await;
        let leases = attempts.iter().map(|attempt| Lease {
            start: stamp(&attempt.start_time),
            end: stamp(&attempt.finish_time),
            is_lost: matches!(attempt.outcome(), AttemptOutcome::Crashed | AttemptOutcome::NotReceived),
        });
        Ok::<_, tonic::Status>((id, leases.collect()))
    };
    futures::stream::iter(ids).map(|id| attempts(*id)).buffered(16).try_collect().await.unwrap()
}

/// Jobs of a lane are leased one after the other: each lease begins when the one before it has ended, and a job begins only
/// when the one before it has ended for good.
fn check(lane: &str, leases: &Leases) {
    let mut last = (0, 0);
    for (job, leases) in leases {
        assert!(!leases.is_empty(), "{lane}: job {job} never started");
        for Lease { start, end, .. } in leases {
            let (before, ended) = last;
            assert!(*start >= ended, "{lane}: job {job} was leased at {start}, job {before} until {ended}");
            assert!(end >= start, "{lane}: job {job} ended before it began");
            last = (*job, *end);
        }
    }
}
