//! A running job is cancelled, and its handler hears of it; a waiting one never starts: see README.md.

use std::time::Duration;

use haulier::proto::{CancelReason, CancelResult, JobState};
use haulier::{Cancelled, Client, Job, StopReason};
use tokio::time::Instant;

use crate::stage::{
    Notes, Result, attempts_of, cancellation, ensure, expect, present, says, summary, worker, working,
};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let heard = Notes::new();
    let notes = heard.clone();
    let endless = move |job: Job, (): ()| {
        let notes = notes.clone();
        async move {
            job.info("running").await;
            let stop = job.cancelled().await;
            notes.add((stop.reason, stop.message, Instant::now()));
            Err::<(), _>(Cancelled.into())
        }
    };
    working(worker(&client, &queue).named("endless", endless), async {
        let job = client.enqueue_named("endless", ()).queue(&queue).await?;
        says(job.watch(), "running").await?;
        let answer = job.cancel().reason("no longer needed").await?;
        let asked = Instant::now();
        expect("the cancel", answer.result(), CancelResult::Requested)?;
        let cancelled = cancellation("the wait", job.wait()).await?;
        let heard = heard.all();
        ensure!(heard.len() == 1, "expected the handler to hear of it once, it heard {heard:?}");
        let (reason, message, at) = &heard[0];
        expect(
            "what the handler heard",
            (*reason, message.as_str()),
            (StopReason::Client, "no longer needed"),
        )?;
        let took = at.saturating_duration_since(asked);
        ensure!(
            took < Duration::from_secs(2),
            "expected the handler to hear of it within 2 s, it took {took:?}"
        );
        let seen = (cancelled.reason, cancelled.message.as_str());
        expect("the reason", seen, (CancelReason::Client, "no longer needed"))?;
        let shown = summary(&client, job.id()).await?;
        let seen = (shown.state(), shown.cancel_reason());
        expect("its state", seen, (JobState::Cancelled, CancelReason::Client))?;

        let waiting =
            client.enqueue_named("endless", ()).queue(&queue).delay(Duration::from_secs(3600)).await?;
        let answer = waiting.cancel().reason("changed my mind").await?;
        let state = present("the cancelled job", answer.job.as_ref())?.state();
        expect(
            "the second cancel",
            (answer.result(), state),
            (CancelResult::Cancelled, JobState::Cancelled),
        )?;
        expect("the repeat", waiting.cancel().await?.result(), CancelResult::AlreadyFinished)?;
        expect("its attempts", attempts_of(&client, waiting.id()).await?, [])
    })
    .await
}
