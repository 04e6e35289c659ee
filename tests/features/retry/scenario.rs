//! A handler fails twice and succeeds at the third attempt: see README.md.

use haulier::proto::AttemptOutcome;
use haulier::{Client, HandlerError, Job};
use serde_json::{Value, json};

use crate::stage::{Result, attempts_of, ensure, expect, fixed, worker, working};

async fn flaky(job: Job, (): ()) -> Result<Value, HandlerError> {
    if job.attempt() == 1 {
        job.checkpoint(&json!({ "at": 1 })).await?;
    }
    if job.attempt() < 3 {
        return Err(HandlerError::new("not yet"));
    }
    let checkpoint: Option<Value> = job.last_checkpoint()?;
    let last_error = job.last_error().map(|error| error.message.as_str());
    Ok(json!({ "attempt": job.attempt(), "checkpoint": checkpoint, "last_error": last_error }))
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    working(worker(&client, &queue).named("flaky", flaky), async {
        let job = client.enqueue_named("flaky", ()).queue(&queue).retry_policy(fixed(3, 100)).await?;
        let wanted = json!({ "attempt": 3, "checkpoint": { "at": 1 }, "last_error": "not yet" });
        expect("the result", job.wait().await?, wanted)?;
        let attempts = attempts_of(&client, job.id()).await?;
        let message = |error: Option<&haulier::proto::JobError>| error.map(|error| error.message.clone());
        let seen: Vec<_> =
            attempts.iter().map(|one| (one.attempt, one.outcome(), message(one.error.as_ref()))).collect();
        let not_yet = || Some("not yet".to_owned());
        let wanted = [
            (1, AttemptOutcome::Failed, not_yet()),
            (2, AttemptOutcome::Failed, not_yet()),
            (3, AttemptOutcome::Completed, None),
        ];
        expect("the attempts", seen, wanted)?;
        let epochs: Vec<i64> = attempts.iter().map(|one| one.epoch).collect();
        ensure!(epochs.is_sorted_by(|one, next| one < next), "expected epochs that grow, saw {epochs:?}");
        Ok(())
    })
    .await
}
