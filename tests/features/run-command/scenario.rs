//! A command runs now, nothing is stored, errors come back: see README.md.

use std::time::Duration;

use haulier::proto::{CancelResult, FailureReason, JobState};
use haulier::{Client, Code, Command, HandlerError, Job, JobFilter, NonRetryable};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::stage::{
    Result, bail, ensure, expect, failure, jobs_of, named, refusal, summary, told_to_stop, until, worker,
    working,
};

#[derive(Serialize, Deserialize)]
struct Double {
    n: i64,
}

impl Command for Double {
    type Output = i64;
    const NAME: Option<&'static str> = Some("double");
}

async fn charge(_: Job, (): ()) -> Result<(), HandlerError> {
    Err(HandlerError::from(NonRetryable("no such account")).with_code("NO_ACCOUNT"))
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let worker = worker(&client, &queue)
        .command(|_, Double { n }| async move { Ok(2 * n) })
        .named("charge", charge)
        .named("endless", |job, (): ()| told_to_stop::<()>(job));
    working(worker, async {
        expect("double", client.run_command(Double { n: 4 }).queue(&queue).await?, 8)?;
        let failed = failure("charge", client.run_command_named("charge", ()).queue(&queue)).await?;
        expect("its code", failed.code, "NO_ACCOUNT")?;
        let short = client.run_command_named("endless", ()).queue(&queue).timeout(Duration::from_secs(1));
        expect("the reason of endless", failure("endless", short).await?.reason, FailureReason::Timeout)?;

        let ref_id = named("endless");
        let started = client.run_command_named("endless", ()).queue(&queue).ref_id(&ref_id).detach().await?;
        expect("its ref id", &started, &ref_id)?;
        let in_state = async |state: JobState| {
            let now = summary(&client, ref_id.as_str()).await?;
            expect("transient, and its id", (now.transient, now.id), (true, 0))?;
            Ok((now.state() == state).then_some(()))
        };
        until("the run runs", async || in_state(JobState::Running).await).await?;
        let answer = client.cancel(ref_id.as_str()).reason("enough").await?;
        expect("the cancel", answer.result(), CancelResult::Requested)?;
        until("the run is cancelled", async || in_state(JobState::Cancelled).await).await?;

        let nobody = async {
            let run = client.run_command_named("nobody-serves-this", ()).queue(&queue);
            refusal("a command that nobody serves", Code::Unavailable, run).await
        };
        let Ok(refused) = timeout(Duration::from_secs(30), nobody).await else {
            bail!("expected within 30 s that a command that nobody serves is refused, it was not");
        };
        expect("its reason", refused?.reason(), Some("NO_WORKER_HERE"))?;
        let listed = jobs_of(&client, JobFilter { queue: queue.clone(), ..Default::default() }).await?;
        ensure!(listed.is_empty(), "expected nothing stored, saw {listed:?}");
        Ok(())
    })
    .await
}
