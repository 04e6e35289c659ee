//! SIGTERM lets a worker process finish what it can, and gives the rest back unspent: see README.md.

use std::time::Duration;

use haulier::proto::{AttemptOutcome, JobState};
use haulier::{Client, result_of};
use serde_json::{Value, json};

use crate::stage::{DRAIN_TIME, LANGUAGE, Result, Signal, WorkerProgram, expect, outcomes_of, says, summary};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let enqueue = |command: &str, request: Value| client.enqueue_named(command, request).queue(&queue);
    let mut program = WorkerProgram::start(LANGUAGE, &queue, Duration::from_secs(4)).await?;
    let work = enqueue("scenario.work", json!({ "seconds": 2 })).await?;
    let hold = enqueue("scenario.hold", Value::Null).await?;
    tokio::try_join!(says(work.watch(), "working"), says(hold.watch(), "holding"))?;
    program.send(Signal::TERM)?;
    work.settled().await?; // what is enqueued before the signal is heard may still be taken
    let late = enqueue("scenario.echo", json!({ "late": true })).await?;
    expect("the exit code", program.ended().await?.code(), Some(0))?;
    let result: Value = result_of(work.get().await?)?.read()?;
    expect("the job that could end", result, json!({ "language": LANGUAGE, "attempt": 1 }))?;
    expect("its state", summary(&client, work.id()).await?.state(), JobState::Completed)?;
    for job in [&hold, &late] {
        expect("the state of another job", summary(&client, job.id()).await?.state(), JobState::Queued)?;
    }

    let _program = WorkerProgram::start(LANGUAGE, &queue, DRAIN_TIME).await?;
    let result = hold.wait().await?;
    expect("the attempt", &result["attempt"], &json!(1))?;
    expect("the checkpoint", &result["checkpoint"], &json!({ "by": LANGUAGE }))?;
    expect("the late job", &late.wait().await?["request"], &json!({ "late": true }))?;
    let outcomes = outcomes_of(&client, hold.id()).await?;
    let wanted = [AttemptOutcome::Released, AttemptOutcome::Completed];
    expect("the attempts of the job that was given back", outcomes, wanted)
}
