//! A task recurs by itself, and on request: see README.md.

use std::time::Duration;

use haulier::proto::{JobState, PutResult};
use haulier::{Client, Code, Job, JobFilter, RecurringTask, Schedule};

use crate::stage::{RUN, Result, ensure, expect, jobs_of, named, refusal, until, worker, working};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let name = named("task");
    let every_second = Schedule::every(Duration::from_secs(1));
    let task = RecurringTask::named("tick", (), every_second).name(&name).queue(&queue).tag(&name);
    let tick = |job: Job, (): ()| async move { Ok(job.recurring_task().map(str::to_owned)) };
    working(worker(&client, &queue).named("tick", tick), async {
        expect("the first put", client.put_recurring_task(task.clone()).await?.1, PutResult::Created)?;
        expect("the second put", client.put_recurring_task(task).await?.1, PutResult::Unchanged)?;
        let run = until("the task has run twice", async || {
            let task = client.get_recurring_task(&name).await?;
            Ok((task.run_count >= 2).then_some(task))
        });
        let last = run.await?.last_job_id;
        expect("the result of a run", &client.wait::<String>(last).await?, &name)?;

        let paused = client.pause_recurring_task(&name, "upgrade").await?;
        let seen = (paused.paused, paused.pause_reason.as_str(), paused.next_time);
        expect("the pause", seen, (true, "upgrade", None))?;
        let request_id = format!("trigger-{}", *RUN);
        let first = client.trigger_recurring_task(&name).request_id(&request_id).await?;
        let second = client.trigger_recurring_task(&name).request_id(&request_id).await?;
        let seen = (first.created(), second.created(), second.id());
        expect("the triggers", seen, (true, false, first.id()))?;
        expect("the result of the trigger", first.wait().await?, name.as_str())?;

        let jobs = jobs_of(&client, JobFilter { recurring_task: name.clone(), ..Default::default() }).await?;
        ensure!(jobs.len() >= 3, "expected at least 3 jobs of the task, saw {}", jobs.len());
        let is_bad = |state| matches!(state, JobState::Failed | JobState::Cancelled | JobState::Unspecified);
        let bad: Vec<_> = jobs.iter().filter(|job| is_bad(job.state())).collect();
        ensure!(bad.is_empty(), "expected jobs that are completed or live, saw {bad:?}");

        let resumed = client.resume_recurring_task(&name).await?;
        ensure!(resumed.next_time.is_some(), "expected a next time after resume, saw none");
        let vienna = Schedule::cron("0 3 * * *").time_zone("Europe/Vienna");
        let preview = client.preview_schedule(vienna).count(5).await?;
        expect("the number of times", (preview.times.len(), preview.local_times.len()), (5, 5))?;
        let at_three = preview.local_times.iter().all(|time| time.contains("T03:00:00"));
        ensure!(at_three, "expected 03:00 local time, saw {:?}", preview.local_times);
        let never = client.preview_schedule(Schedule::cron("0 0 30 2 *"));
        refusal("a date that never comes", Code::InvalidArgument, never).await?;

        client.delete_recurring_task(&name).await?;
        refusal("the deleted task", Code::NotFound, client.get_recurring_task(&name)).await?;
        Ok(())
    })
    .await
}
