//! Progress, status and log lines are seen live, in order, and afterwards: see README.md.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use haulier::proto::{JobResult, JobState, LogLevel, LogLine, ProgressEvent};
use haulier::{Client, HandlerError, Job, JobEvent, result_of};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stage::{Result, bail, ensure, expect, present, worker, working};

async fn report(job: Job, (): ()) -> Result<Value, HandlerError> {
    job.progress_with(0.25, "a quarter");
    job.log_with(LogLevel::Info, "line 1", HashMap::from([("n".into(), "1".into())])).await;
    job.warn("line 2").await;
    job.error("line 3").await;
    sleep(Duration::from_secs(1)).await;
    job.progress_with(0.75, "three quarters");
    sleep(Duration::from_secs(1)).await;
    Ok(json!({ "lines": 3 }))
}

fn state_of(job: &JobResult) -> JobState {
    job.summary.as_ref().map(|summary| summary.state()).unwrap_or_default()
}

fn text_and_level(lines: &[LogLine]) -> Vec<(&str, LogLevel)> {
    lines.iter().map(|line| (line.message.as_str(), line.level())).collect()
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let job = client.enqueue_named("report", ()).queue(&queue).await?;
    let mut watch = job.watch();
    let first = present("the first event", watch.next().await)??.event;
    let JobEvent::Snapshot(snapshot) = &first else { bail!("expected a snapshot first, saw {first:?}") };
    expect("the state in the first event", state_of(snapshot), JobState::Queued)?;
    let worker = worker(&client, &queue).slots(1).named("report", report);
    let events: Vec<_> = working(worker, async { Ok(watch.try_collect().await?) }).await?;

    let mut states = Vec::new();
    let (mut progress, mut lines): (Vec<ProgressEvent>, Vec<LogLine>) = Default::default();
    let mut last = None;
    for event in events {
        last = None;
        match event.event {
            JobEvent::Snapshot(job) => {
                states.push(state_of(&job));
                last = Some(job);
            }
            JobEvent::State(summary) => states.push(summary.state()),
            JobEvent::Progress(event) => progress.push(event),
            JobEvent::Logs(some) => lines.extend(some),
            other => bail!("expected no such event, saw {other:?}"),
        }
    }
    ensure!(
        states.contains(&JobState::Running),
        "expected to see the job running, saw the states {states:?}"
    );
    let told = progress.iter().map(|told| (told.progress, told.status.as_str(), told.progress_estimated));
    let mut told: Vec<_> = told.filter(|told| [Some(0.25), Some(0.75)].contains(&told.0)).collect();
    told.dedup();
    let wanted = [(Some(0.25), "a quarter", false), (Some(0.75), "three quarters", false)];
    expect("the progress", told, wanted)?;
    let wanted = [("line 1", LogLevel::Info), ("line 2", LogLevel::Warn), ("line 3", LogLevel::Error)];
    expect("the lines of the watch", text_and_level(&lines), wanted)?;
    expect("the field of the first", &lines[0].fields, &HashMap::from([("n".into(), "1".into())]))?;
    let Some(last) = last else { bail!("expected a snapshot last, saw another event") };
    expect("the state in the last event", state_of(&last), JobState::Completed)?;
    expect("its result", result_of(*last)?.read::<Value>()?, json!({ "lines": 3 }))?;

    let kept: Vec<LogLine> = client.list_logs(job.id()).pages().try_collect().await?;
    expect("the lines kept", text_and_level(&kept), wanted)?;
    expect("their sequences", kept.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3])
}
