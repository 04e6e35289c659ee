//! What is broken, and when.

use std::time::Duration;

use haulier_tests::load::{LEASE, TICK};
use haulier_tests::monotonic;

use crate::rig::{Engine, Rig};

/// How long the load runs between two faults.
const BETWEEN: Duration = Duration::from_millis(1_500);

/// Kills servers, worker processes and the database `rounds` times each, freezes a server and a worker process once each beyond
/// the lease, then leaves everything whole. Answers figures for people.
pub(crate) async fn break_everything(rig: &mut Rig, rounds: usize) -> Vec<String> {
    let mut ready = Vec::new();
    let servers = rig.servers.len();
    tokio::time::sleep(BETWEEN).await;
    for round in 0..rounds {
        let begun = monotonic();
        rig.kill_server(round % servers, short()).await;
        ready.push(monotonic() - begun);
        tokio::time::sleep(BETWEEN).await;
        rig.kill_worker(round % rig.worker_count(), short()).await;
        tokio::time::sleep(BETWEEN).await;
        if rig.engine() == Engine::MariaDb {
            rig.kill_database(short()).await;
            tokio::time::sleep(BETWEEN).await;
        }
        rig.must_live();
    }
    // In the middle of what it does, most likely in a transaction: the others must not wait for its locks for ever. Its
    // workers, who know no other server, have two lease times from their last heartbeat, which may be a third of one old.
    rig.freeze_server(0, LEASE + Duration::from_secs(2)).await;
    tokio::time::sleep(BETWEEN).await;
    rig.freeze_worker(0, LEASE + Duration::from_secs(5)).await;
    tokio::time::sleep(BETWEEN).await;
    // With nothing else broken, so that the time until its jobs start again is the promised one.
    rig.kill_worker(1, short()).await;
    tokio::time::sleep(LEASE + 3 * TICK).await;
    rig.must_live();
    let longest = ready.iter().max().copied().unwrap_or_default();
    vec![format!("{rounds} rounds; from the kill of a server until it was ready again: at most {longest:?}")]
}

/// Down for less than a lease.
fn short() -> Duration {
    Duration::from_millis(rand::random_range(0..1_000))
}
