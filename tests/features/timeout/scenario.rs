//! A handler that takes too long is told to stop, and the attempt is retried: see README.md.

use std::time::Duration;

use haulier::proto::AttemptOutcome;
use haulier::{Cancelled, Client, Job, StopReason};

use crate::stage::{Notes, Result, attempts_of, ensure, expect, fixed, time, worker, working};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let heard = Notes::new();
    let notes = heard.clone();
    let slow = move |job: Job, (): ()| {
        let notes = notes.clone();
        async move {
            if job.attempt() == 2 {
                return Ok("second");
            }
            notes.add(job.cancelled().await.reason);
            Err(Cancelled.into())
        }
    };
    working(worker(&client, &queue).named("slow", slow), async {
        let job = client.enqueue_named("slow", ()).queue(&queue).timeout(Duration::from_secs(1));
        let job = job.retry_policy(fixed(1, 50)).await?;
        expect("the result", job.wait().await?, "second")?;
        expect("what the handler heard", heard.all(), [StopReason::Timeout])?;
        let attempts = attempts_of(&client, job.id()).await?;
        let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome()).collect();
        expect("the outcomes", outcomes, [AttemptOutcome::TimedOut, AttemptOutcome::Completed])?;
        let began = time("the start of the first attempt", attempts[0].start_time)?;
        let took = time("the end of the first attempt", attempts[0].finish_time)?.saturating_sub(began);
        let is_right = took >= Duration::from_secs(1) && took < Duration::from_secs(8);
        ensure!(is_right, "expected the first attempt to take 1 to 8 s, it took {took:?}");
        Ok(())
    })
    .await
}
