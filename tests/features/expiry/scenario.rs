//! A job that was not started in time is cancelled: see README.md.

use std::time::Duration;

use haulier::Client;
use haulier::proto::{CancelReason, JobState};
use tokio::time::Instant;

use crate::stage::{Notes, Result, attempts_of, cancellation, ensure, expect, now, summary, worker, working};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let ran = Notes::new();
    let notes = ran.clone();
    let stale = move |_, (): ()| {
        notes.add("stale");
        async { Ok(()) }
    };
    let worker =
        worker(&client, &queue).named("stale", stale).named("fresh", |_, (): ()| async { Ok("fresh") });

    let (now, began) = (now(), Instant::now());
    let soon = now + Duration::from_secs(1);
    let job = client.enqueue_named("stale", ()).queue(&queue).expire_time(soon).await?;
    let cancelled = cancellation("the stale job", job.wait()).await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(10), "expected it to expire within 10 s, it took {took:?}");
    expect("its reason", cancelled.reason, CancelReason::Expired)?;
    expect("its state", summary(&client, job.id()).await?.state(), JobState::Cancelled)?;
    expect("its attempts", attempts_of(&client, job.id()).await?, [])?;
    working(worker, async {
        let later = now + Duration::from_secs(3600);
        let fresh = client.enqueue_named("fresh", ()).queue(&queue).expire_time(later).await?;
        expect("the fresh job", fresh.wait().await?, "fresh")?;
        expect("its state", summary(&client, fresh.id()).await?.state(), JobState::Completed)
    })
    .await?;
    expect("the runs of the stale", ran.all().len(), 0)
}
