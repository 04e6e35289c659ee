//! The worker program in Rust: see the README of the scenarios.

use std::io::Write as _;
use std::time::Duration;

use haulier::{Cancelled, Client, HandlerError, Job, NonRetryable, Worker};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

const LANGUAGE: &str = "rust";

/// Runs until SIGTERM.
pub(crate) async fn run() -> anyhow::Result<()> {
    let worker = Worker::new(Client::from_env().await?)
        .queues([std::env::var("HAULIER_SCENARIO_QUEUE")?])
        .slots(4)
        .lease_time(seconds("HAULIER_SCENARIO_LEASE_SECONDS", 5.0)?)
        .drain_time(seconds("HAULIER_SCENARIO_DRAIN_SECONDS", 1.0)?)
        .named("scenario.echo", echo)
        .named("scenario.work", work)
        .named("scenario.hold", hold)
        .named("scenario.fail", fail);
    let registered = worker.registered();
    tokio::spawn(async move {
        registered.await;
        let mut output = std::io::stdout();
        writeln!(output, "ready").and_then(|()| output.flush())
    });
    Ok(worker.run().await?)
}

async fn echo(_: Job, request: Value) -> Result<Value, HandlerError> {
    Ok(json!({ "language": LANGUAGE, "request": request }))
}

#[derive(Deserialize)]
struct Work {
    seconds: f64,
}

async fn work(job: Job, Work { seconds }: Work) -> Result<Value, HandlerError> {
    job.info("working").await;
    tokio::select! {
        () = sleep(Duration::try_from_secs_f64(seconds)?) => {}
        _ = job.cancelled() => Err(Cancelled)?,
    }
    Ok(json!({ "language": LANGUAGE, "attempt": job.attempt() }))
}

async fn hold(job: Job, (): ()) -> Result<Value, HandlerError> {
    if let Some(checkpoint) = job.last_checkpoint::<Value>()? {
        let (attempt, crashes) = (job.attempt(), job.crashes());
        let result =
            json!({ "language": LANGUAGE, "attempt": attempt, "crashes": crashes, "checkpoint": checkpoint });
        return Ok(result);
    }
    job.checkpoint(&json!({ "by": LANGUAGE })).await?;
    job.info("holding").await;
    job.cancelled().await;
    Err(Cancelled.into())
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

async fn fail(_: Job, Failure { code, message }: Failure) -> Result<(), HandlerError> {
    Err(HandlerError::from(NonRetryable(message)).with_code(code))
}

fn seconds(variable: &str, standard: f64) -> anyhow::Result<Duration> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let seconds = text.map_or(Ok(standard), |text| text.parse())?;
    Ok(Duration::try_from_secs_f64(seconds)?)
}
