//! Many jobs: what waits does not stand in anybody's way, and costs no memory.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, completed, json};
use haulier_tests::{HandWorker, Registration, Server, figure, monotonic, on_both};
use pb::JobState;

/// As the product promises it; a smaller number for a quick look.
const WAITING: usize = 100_000;
/// Callers at once: what one commit serves together.
const CALLERS: usize = 1_000;
/// Promised with as many jobs queued.
const MEMORY_BYTES_MAX: u64 = 200 << 20;
const ROUNDS: usize = 40;

on_both!(a_hundred_thousand_waiting_jobs_slow_no_claim_of_another_command_and_take_no_memory);

async fn a_hundred_thousand_waiting_jobs_slow_no_claim_of_another_command_and_take_no_memory(
    server: &Server,
) {
    let mut worker = HandWorker::begin(server, Registration::patient(&["work"])).await;
    let alone = rounds(server, &mut worker).await;
    let begun = monotonic();
    enqueue_many(server, "unserved", WAITING).await;
    let took = (monotonic() - begun).as_secs_f64();
    figure(&format!("{WAITING} jobs enqueued in {took:.1} s, {:.0} a second", WAITING as f64 / took));
    let crowded = rounds(server, &mut worker).await;
    figure(&format!(
        "enqueue, claim and completion: median {alone:?} alone, {crowded:?} beside {WAITING} waiting jobs"
    ));
    let mut other = HandWorker::register(server, &["unserved"]).await;
    let begun = monotonic();
    let some = other.claim(100).await;
    figure(&format!("a claim of 100 among {WAITING}: {:?}", monotonic() - begun));
    assert_eq!(some.len(), 100);
    let resident = server.process().resident_bytes();
    figure(&format!("server memory: {} MiB", resident >> 20));
    assert!(resident < MEMORY_BYTES_MAX, "{} MiB", resident >> 20);
}

/// The median of some lives of a job, each claimed as the only one of its command.
async fn rounds(server: &Server, worker: &mut HandWorker) -> Duration {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let begun = monotonic();
        server.enqueue(command("work")).await;
        let job = worker.claim_one().await;
        assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
        took.push(monotonic() - begun);
    }
    took.sort();
    took[ROUNDS / 2]
}

async fn enqueue_many(server: &Server, name: &str, count: usize) {
    let channels: Vec<_> = (0..8).map(|_| server.own_channel()).collect();
    let calls = (0..count).map(|number| {
        let mut jobs =
            pb::job_service_client::JobServiceClient::new(channels[number % channels.len()].clone());
        let request = pb::EnqueueCommandRequest { request: json(&number.to_string()), ..command(name) };
        async move { jobs.enqueue_command(request).await.map(|_| ()) }
    });
    futures::stream::iter(calls)
        .buffer_unordered(CALLERS)
        .try_for_each(|()| async { Ok(()) })
        .await
        .expect("every enqueue is accepted");
}
