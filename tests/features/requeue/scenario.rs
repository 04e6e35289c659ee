//! A failed job runs again under the same id: see README.md.

use haulier::proto::job_result::Record;
use haulier::proto::{AttemptOutcome, JobState};
use haulier::{Client, Code, HandlerError, Job, NonRetryable};

use crate::stage::{
    Result, attempts_of, bail, ensure, expect, failure, present, refusal, summary, worker, working,
};

async fn second_time(job: Job, (): ()) -> Result<String, HandlerError> {
    if job.run() == 1 {
        Err(NonRetryable("first run"))?;
    }
    Ok(format!("run {}", job.run()))
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    working(worker(&client, &queue).named("second-time", second_time), async {
        let job = client.enqueue_named("second-time", ()).queue(&queue).await?;
        failure("run 1", job.wait()).await?;
        for created in [true, false] {
            let answer = job.requeue().run(1).await?;
            let run = present("the job in the answer", answer.job)?.run;
            expect("a requeue of run 1", (run, answer.created), (2, created))?;
        }
        expect("the result", job.wait().await?, "run 2")?;
        let now = summary(&client, job.id()).await?;
        expect("the job", (now.state(), now.run), (JobState::Completed, 2))?;
        let before = job.get().run(1).await?;
        let state = present("the summary of run 1", before.summary.as_ref())?.state();
        expect("the state of run 1", state, JobState::Failed)?;
        let Some(Record::Failed(record)) = before.record else {
            bail!("expected run 1 to have failed, saw {:?}", before.record);
        };
        expect("the error of run 1", present("an error", record.error)?.message, "first run")?;
        let attempts = attempts_of(&client, job.id()).await?;
        let seen: Vec<_> = attempts.iter().map(|attempt| (attempt.run, attempt.outcome())).collect();
        expect("the attempts", seen, [(1, AttemptOutcome::Failed), (2, AttemptOutcome::Completed)])?;
        let epochs = (attempts[0].epoch, attempts[1].epoch);
        ensure!(epochs.1 > epochs.0, "expected a larger epoch, saw {epochs:?}");
        let again = refusal("a requeue of a completed job", Code::FailedPrecondition, job.requeue()).await?;
        expect("its reason", again.reason(), Some("WRONG_STATE"))
    })
    .await
}
