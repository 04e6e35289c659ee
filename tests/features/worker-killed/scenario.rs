//! A worker process is killed, and a worker of another language goes on with its job: see README.md.

use std::time::Duration;

use haulier::Client;
use haulier::proto::AttemptOutcome;
use serde_json::json;

use crate::stage::{
    DRAIN_TIME, LANGUAGE, Result, Signal, WorkerProgram, attempts_of, ensure, expect, languages, present,
    says,
};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let mut others = languages();
    others.retain(|language| *language != LANGUAGE);
    if others.is_empty() {
        others.push(LANGUAGE);
    }
    let taken_over = others.into_iter().map(|other| take_over(&client, format!("{queue}-{other}"), other));
    futures::future::try_join_all(taken_over).await?;
    Ok(())
}

async fn take_over(client: &Client, queue: String, other: &str) -> Result<()> {
    let mut first = WorkerProgram::start(LANGUAGE, &queue, DRAIN_TIME).await?;
    let job = client.enqueue_named("scenario.hold", ()).queue(&queue).await?;
    says(job.watch(), "holding").await?;
    let _second = WorkerProgram::start(other, &queue, DRAIN_TIME).await?;
    first.send(Signal::KILL)?;
    first.ended().await?;
    let result = job.wait_within(Duration::from_secs(25)).await?;
    expect("who ended it", &result["language"], &json!(other))?;
    expect("the checkpoint", &result["checkpoint"], &json!({ "by": LANGUAGE }))?;
    expect("the crashes", result.get("crashes").unwrap_or(&json!(1)), &json!(1))?;
    let attempts = attempts_of(client, job.id()).await?;
    let (first, last) = (present("an attempt", attempts.first())?, present("an attempt", attempts.last())?);
    let outcomes = (first.outcome(), last.outcome());
    let wanted = (AttemptOutcome::Crashed, AttemptOutcome::Completed);
    expect("the first and the last attempt", outcomes, wanted)?;
    ensure!(last.epoch > first.epoch, "expected an epoch larger than {}, saw {}", first.epoch, last.epoch);
    Ok(())
}
