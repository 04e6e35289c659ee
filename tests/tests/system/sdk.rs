//! The Rust SDK against the real server: the same life of a job as in the other modules, in the words that users write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use haulier::proto::{AttemptOutcome, FailureReason, JobOptions, JobState};
use haulier::{
    Cancelled, Client, Code, Command, Error, HandlerError, Job, JobEvent, NonRetryable, PutResult,
    RecurringTask, RetryAfter, Schedule, StopReason, Worker,
};
use haulier_tests::history::{Event, read_all};
use haulier_tests::load::{COMMAND, Plan, Task};
use haulier_tests::messages::fixed_retry;
use haulier_tests::{Process, Server, Signal, figure, monotonic, on_both, until};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a result may take.
const PATIENCE: Duration = Duration::from_secs(40);

on_both!(
    a_typed_command_comes_back_with_its_typed_result,
    an_enqueue_within_a_handler_descends_from_its_job,
    an_error_is_retried_by_policy_and_the_next_attempt_is_told_of_it,
    a_failure_that_must_not_be_retried_is_final_and_tells_its_code,
    a_retry_comes_when_the_handler_says_so,
    arguments_that_cannot_be_read_fail_the_job_at_once,
    a_panic_fails_the_attempt_and_not_the_worker,
    progress_status_and_log_lines_reach_a_watcher_in_order,
    a_checkpoint_is_there_in_the_next_attempt,
    a_cancel_reaches_the_handler_with_its_reason,
    a_timeout_reaches_the_handler_and_fails_the_attempt,
    a_worker_that_drains_gives_its_jobs_back_unspent,
    a_job_survives_a_restart_of_the_server_in_one_attempt,
    a_watch_goes_on_over_a_restart_of_the_server,
    an_enqueue_goes_on_over_a_restart_of_the_server,
    a_worker_process_ends_well_on_sigterm_and_finishes_what_it_holds,
    many_jobs_run_in_many_slots_each_once,
    a_recurring_task_lives_in_the_words_of_the_sdk,
    a_worker_process_puts_its_recurring_tasks_each_time_it_starts,
);

#[derive(Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Command for Add {
    type Output = i64;
}

/// A worker in this process, until the test is over.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<haulier::Result<()>>,
}

impl Running {
    /// Lets it drain, and waits for its end.
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("a worker ends")
            .unwrap()
            .expect("it ends well");
    }
}

async fn client(server: &Server) -> Client {
    Client::connect(server.address()).await.expect("a server that is ready can be reached")
}

fn run(worker: Worker) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    Running { stop, task }
}

async fn a_typed_command_comes_back_with_its_typed_result(server: &Server) {
    let client = client(server).await;
    let worker = run(Worker::new(client.clone()).command(|_, add: Add| async move { Ok(add.a + add.b) }));
    let job = client.enqueue(Add { a: 40, b: 2 }).tag("sums").await.unwrap();
    assert!(job.created() && job.id() > 0);
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), 42);
    let summary = job.get().await.unwrap().summary.unwrap();
    assert_eq!((summary.state(), summary.tag.as_str(), summary.attempt), (JobState::Completed, "sums", 1));
    worker.end().await;
}

async fn an_enqueue_within_a_handler_descends_from_its_job(server: &Server) {
    let client = client(server).await;
    let parent = |job: Job, _: Value| async move {
        let child = job.enqueue_named("child", Value::Null).await.map_err(HandlerError::new)?;
        Ok(child.id())
    };
    let worker = run(Worker::new(client.clone()).named("parent", parent));
    let job = client.enqueue_named("parent", Value::Null).await.unwrap();
    let child = job.wait_within(PATIENCE).await.unwrap().as_i64().unwrap();
    let summary = client.get(child).await.unwrap().summary.unwrap();
    assert_eq!((summary.parent_id, summary.state()), (job.id(), JobState::Queued));
    worker.end().await;
}

fn retried(times: i32) -> JobOptions {
    JobOptions { retry_policy: fixed_retry(times, 0.1), ..Default::default() }
}

async fn an_error_is_retried_by_policy_and_the_next_attempt_is_told_of_it(server: &Server) {
    let client = client(server).await;
    let flaky = |job: Job, _: Value| async move {
        if job.attempt() < 3 {
            return Err(HandlerError::new(format!("not yet {}", job.attempt())).with_code("EARLY"));
        }
        let last = job.last_error().expect("the error of the attempt before");
        Ok(format!("{} {}", last.code, last.message))
    };
    let worker = run(Worker::new(client.clone()).named("flaky", flaky));
    let job = client.enqueue_named("flaky", Value::Null).options(retried(2)).await.unwrap();
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), "EARLY not yet 2");
    assert_eq!(server.attempts(job.id()).await.len(), 3);
    worker.end().await;
}

async fn a_failure_that_must_not_be_retried_is_final_and_tells_its_code(server: &Server) {
    let client = client(server).await;
    let hopeless = |_: Job, _: Value| async move {
        Err::<(), _>(HandlerError::from(NonRetryable("no such mailbox")).with_code("MAILBOX"))
    };
    let worker = run(Worker::new(client.clone()).named("hopeless", hopeless));
    let job = client.enqueue_named("hopeless", Value::Null).await.unwrap();
    let error = job.wait_within(PATIENCE).await.unwrap_err();
    let failed = error.job_failed().expect("a failed job");
    assert_eq!((failed.reason, failed.attempts), (FailureReason::NonRetryable, 1));
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("MAILBOX", "no such mailbox"));
    worker.end().await;
}

async fn a_retry_comes_when_the_handler_says_so(server: &Server) {
    let client = client(server).await;
    let later = |job: Job, _: Value| async move {
        if job.attempt() == 1 {
            Err(RetryAfter(Duration::from_millis(1_300), "busy"))?;
        }
        Ok(job.attempt())
    };
    let worker = run(Worker::new(client.clone()).named("later", later));
    let begun = monotonic();
    let job = client.enqueue_named("later", Value::Null).await.unwrap();
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), 2);
    assert!(monotonic() - begun >= Duration::from_millis(1_300));
    worker.end().await;
}

async fn arguments_that_cannot_be_read_fail_the_job_at_once(server: &Server) {
    let client = client(server).await;
    let worker = run(Worker::new(client.clone()).command(|_, add: Add| async move { Ok(add.a + add.b) }));
    let job = client.enqueue_named("Add", "three and four").await.unwrap();
    let error = job.wait_within(PATIENCE).await.unwrap_err();
    assert_eq!(error.job_failed().expect("a failed job").reason, FailureReason::UnreadableRequest);
    worker.end().await;
}

async fn a_panic_fails_the_attempt_and_not_the_worker(server: &Server) {
    let client = client(server).await;
    let touchy = |_: Job, panics: bool| async move {
        assert!(!panics, "a handler may break");
        Ok("well")
    };
    let worker = run(Worker::new(client.clone()).named("touchy", touchy));
    let broken = client.enqueue_named("touchy", true).options(retried(1)).await.unwrap();
    let whole = client.enqueue_named("touchy", false).await.unwrap();
    let error = broken.wait_within(PATIENCE).await.unwrap_err();
    let failed = error.job_failed().expect("a failed job");
    assert_eq!((failed.reason, failed.attempts), (FailureReason::Handler, 2));
    assert!(failed.message.contains("a handler may break"), "{failed:?}");
    assert_eq!(whole.wait_within(PATIENCE).await.unwrap(), "well");
    worker.end().await;
}

async fn progress_status_and_log_lines_reach_a_watcher_in_order(server: &Server) {
    let client = client(server).await;
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&go);
    let chatty = move |job: Job, _: Value| {
        let gate = Arc::clone(&gate);
        async move {
            job.progress(0.5);
            job.status("half way");
            for line in 1..=100 {
                job.info(format!("line {line}")).await;
            }
            gate.notified().await;
            job.warn("line 101").await;
            Ok(())
        }
    };
    let worker = run(Worker::new(client.clone()).named("chatty", chatty));
    let job = client.enqueue_named("chatty", Value::Null).await.unwrap();
    let mut watch = job.watch();
    let (mut lines, mut half_way, mut last) = (Vec::new(), false, None);
    while let Some(event) =
        tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch tells something")
    {
        match event.unwrap().event {
            JobEvent::Snapshot(job) => last = job.summary,
            JobEvent::Progress(progress) => {
                half_way |= progress.progress == Some(0.5) && progress.status == "half way";
            }
            JobEvent::Logs(new) => lines.extend(new.into_iter().map(|line| line.message)),
            JobEvent::Gap(gap) => panic!("nothing was dropped, but {gap:?}"),
            _ => {}
        }
        let summary = last.as_ref();
        half_way |=
            summary.is_some_and(|summary| summary.progress == Some(0.5) && summary.status == "half way");
        if lines.len() >= 100 && half_way {
            go.notify_one();
        }
    }
    assert_eq!(lines, (1..=101).map(|line| format!("line {line}")).collect::<Vec<_>>());
    assert!(half_way);
    assert_eq!(last.unwrap().state(), JobState::Completed);
    worker.end().await;
}

async fn a_checkpoint_is_there_in_the_next_attempt(server: &Server) {
    let client = client(server).await;
    let steady = |job: Job, _: Value| async move {
        let done: u32 = job.last_checkpoint().map_err(HandlerError::new)?.unwrap_or(0);
        job.checkpoint(&(done + 10)).await.map_err(HandlerError::new)?;
        if job.attempt() < 3 {
            return Err(HandlerError::new("again"));
        }
        Ok(done)
    };
    let worker = run(Worker::new(client.clone()).named("steady", steady));
    let job = client.enqueue_named("steady", Value::Null).options(retried(2)).await.unwrap();
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), 20);
    worker.end().await;
}

/// A handler that waits to be told to stop, writes down why, and obeys.
fn obedient(client: &Client, told: &Arc<Mutex<Vec<(StopReason, String)>>>) -> Worker {
    let told = Arc::clone(told);
    Worker::new(client.clone()).named("obedient", move |job: Job, _: Value| {
        let told = Arc::clone(&told);
        async move {
            let stop = job.cancelled().await;
            told.lock().unwrap().push((stop.reason, stop.message));
            Err::<Value, _>(Cancelled)?;
            Ok(())
        }
    })
}

async fn a_cancel_reaches_the_handler_with_its_reason(server: &Server) {
    let client = client(server).await;
    let told = Arc::default();
    let worker = run(obedient(&client, &told));
    let job = client.enqueue_named("obedient", Value::Null).await.unwrap();
    server.wait_for_state(job.id(), JobState::Running).await;
    let begun = monotonic();
    job.cancel().reason("changed my mind").await.unwrap();
    let error = job.wait_within(PATIENCE).await.unwrap_err();
    figure(&format!("from the cancel to the end of the job: {:?}", monotonic() - begun));
    assert!(matches!(error, Error::JobCancelled(_)), "{error:?}");
    assert_eq!(*told.lock().unwrap(), [(StopReason::Client, "changed my mind".to_owned())]);
    worker.end().await;
}

async fn a_timeout_reaches_the_handler_and_fails_the_attempt(server: &Server) {
    let client = client(server).await;
    let told = Arc::default();
    let worker = run(obedient(&client, &told));
    let enqueue = client.enqueue_named("obedient", Value::Null).options(retried(0));
    let job = enqueue.timeout(Duration::from_secs(1)).await.unwrap();
    let error = job.wait_within(PATIENCE).await.unwrap_err();
    assert_eq!(error.job_failed().expect("a failed job").reason, FailureReason::Timeout);
    assert_eq!(told.lock().unwrap()[0].0, StopReason::Timeout);
    worker.end().await;
}

async fn a_worker_that_drains_gives_its_jobs_back_unspent(server: &Server) {
    let client = client(server).await;
    let told = Arc::default();
    let worker = run(obedient(&client, &told).drain_time(Duration::from_secs(2)));
    let job = client.enqueue_named("obedient", Value::Null).await.unwrap();
    server.wait_for_state(job.id(), JobState::Running).await;
    worker.end().await;
    assert_eq!(told.lock().unwrap()[0].0, StopReason::Drain);
    let back = server.wait_for_state(job.id(), JobState::Queued).await;
    assert_eq!(back.crashes, 0);
    assert_eq!(server.attempts(job.id()).await[0].outcome(), AttemptOutcome::Released);
    let again = Worker::new(client).named("obedient", |job: Job, _: Value| async move { Ok(job.attempt()) });
    let worker = run(again);
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), 1);
    worker.end().await;
}

/// A handler that waits until the test lets it go on; counts its starts.
fn gated(client: &Client, gate: &Arc<tokio::sync::Notify>, starts: &Arc<AtomicUsize>) -> Worker {
    let (gate, starts) = (Arc::clone(gate), Arc::clone(starts));
    Worker::new(client.clone()).named("gated", move |job: Job, _: Value| {
        let (gate, starts) = (Arc::clone(&gate), Arc::clone(&starts));
        async move {
            starts.fetch_add(1, Ordering::Relaxed);
            job.info("waiting").await;
            gate.notified().await;
            job.info("going on").await;
            Ok(job.attempt())
        }
    })
}

async fn a_job_survives_a_restart_of_the_server_in_one_attempt(server: &Server) {
    let client = client(server).await;
    let (gate, starts) = (Arc::default(), Arc::default());
    let worker = run(gated(&client, &gate, &starts).lease_time(Duration::from_secs(5)));
    let job = client.enqueue_named("gated", Value::Null).await.unwrap();
    server.wait_for_state(job.id(), JobState::Running).await;
    server.kill9();
    // Longer than the lease: the outage is not the worker's fault.
    tokio::time::sleep(Duration::from_secs(7)).await;
    server.restart().await;
    gate.notify_one();
    assert_eq!(job.wait_within(PATIENCE).await.unwrap(), 1);
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    let lines: Vec<_> = server.logs(job.id()).await.into_iter().map(|line| line.message).collect();
    assert_eq!(lines, ["waiting", "going on"]);
    let next = client.enqueue_named("gated", Value::Null).await.unwrap();
    gate.notify_one();
    assert_eq!(next.wait_within(PATIENCE).await.unwrap(), 1);
    worker.end().await;
}

async fn a_watch_goes_on_over_a_restart_of_the_server(server: &Server) {
    let client = client(server).await;
    let (gate, starts) = (Arc::default(), Arc::default());
    let worker = run(gated(&client, &gate, &starts));
    let job = client.enqueue_named("gated", Value::Null).await.unwrap();
    let mut watch = job.watch();
    let mut lines = Vec::new();
    let mut ended = None;
    while let Some(event) =
        tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch tells something")
    {
        match event.expect("a watch outlives a restart").event {
            JobEvent::Logs(new) => {
                let first = lines.is_empty();
                lines.extend(new.into_iter().map(|line| line.message));
                if first {
                    server.kill9();
                    server.restart().await;
                    gate.notify_one();
                }
            }
            JobEvent::Snapshot(job) => ended = job.summary.map(|summary| summary.state()),
            _ => {}
        }
    }
    assert_eq!(
        (lines, ended),
        (vec!["waiting".to_owned(), "going on".to_owned()], Some(JobState::Completed))
    );
    worker.end().await;
}

async fn an_enqueue_goes_on_over_a_restart_of_the_server(server: &Server) {
    let client = client(server).await;
    server.kill9();
    let enqueue = tokio::spawn(client.enqueue_named("work", Value::Null).into_future());
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.restart().await;
    let job = enqueue.await.unwrap().expect("an enqueue outlives a restart");
    assert_eq!(server.summary(job.id()).await.state(), JobState::Queued);
}

async fn a_worker_process_ends_well_on_sigterm_and_finishes_what_it_holds(server: &Server) {
    let client = client(server).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_haulier-test-worker"));
    let mut worker = Process::spawn(command.arg(server.address()).arg("a worker").arg(folder.path()));
    let task = Task { key: "slow".into(), plan: Plan::Slow { steps: 10 } };
    let job = client.enqueue_named(COMMAND, task).await.unwrap();
    server.wait_for_state(job.id(), JobState::Running).await;
    let started = || async {
        let records = read_all(folder.path()).unwrap();
        records.iter().any(|record| matches!(record.event, Event::Started { .. })).then_some(())
    };
    until("the handler has begun", started).await;
    worker.signal(Signal::TERM);
    let status = worker.wait(Duration::from_secs(40)).await.expect("it ends within its drain");
    assert!(status.success(), "{status}");
    let summary = server.summary(job.id()).await;
    assert_eq!(
        (summary.state(), summary.attempt),
        (JobState::Completed, 1),
        "two seconds of work fit into the drain"
    );
    let workers = server.workers().list_workers(haulier::proto::ListWorkersRequest::default()).await.unwrap();
    assert!(workers.into_inner().workers.is_empty(), "its session has ended");
}

async fn many_jobs_run_in_many_slots_each_once(server: &Server) {
    let client = client(server).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let busy = move |job: Job, number: u64| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            job.debug(format!("job {number}")).await;
            Ok(number * 2)
        }
    };
    let worker = run(Worker::new(client.clone()).slots(50).named("busy", busy));
    let begun = monotonic();
    let jobs = futures::future::join_all((0..500_u64).map(|number| {
        let client = client.clone();
        async move { client.enqueue_named("busy", number).await.unwrap() }
    }))
    .await;
    let results = futures::future::join_all(jobs.iter().map(|job| job.wait_within(PATIENCE))).await;
    figure(&format!("500 jobs from enqueue to result in {:?}", monotonic() - begun));
    for (number, result) in (0_u64..).zip(results) {
        assert_eq!(result.unwrap(), number * 2);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 500);
    worker.end().await;
}

async fn a_recurring_task_lives_in_the_words_of_the_sdk(server: &Server) {
    let client = client(server).await;
    let nightly = || RecurringTask::command(Add { a: 1, b: 2 }, Schedule::daily().time_zone("Europe/Vienna"));
    let (made, result) = client.put_recurring_task(nightly().name("sums").tag("nightly")).await.unwrap();
    assert_eq!((result, made.upcoming_times.len()), (PutResult::Created, 5));
    let (_, result) = client.put_recurring_task(nightly().name("sums").tag("nightly")).await.unwrap();
    assert_eq!(result, PutResult::Unchanged);
    let (unnamed, _) = client.put_recurring_task(nightly()).await.unwrap();
    assert_eq!(unnamed.name, "Add", "the name is that of the command");
    let worker = run(Worker::new(client.clone()).command(|_, add: Add| async move { Ok(add.a + add.b) }));
    let run = client.trigger_recurring_task("sums").request_id("now").await.unwrap();
    assert!(run.created());
    assert_eq!(run.wait_within(PATIENCE).await.unwrap(), 3);
    assert!(!client.trigger_recurring_task("sums").request_id("now").await.unwrap().created());
    let after = client.get_recurring_task("sums").await.unwrap();
    assert_eq!((after.run_count, after.last_job_id, after.last_state()), (1, run.id(), JobState::Completed));
    assert!(client.pause_recurring_task("sums", "for now").await.unwrap().paused);
    let paused: Vec<_> = client.list_recurring_tasks().paused(true).pages().collect().await;
    assert_eq!(paused.into_iter().map(|task| task.unwrap().name).collect::<Vec<_>>(), ["sums"]);
    assert!(client.resume_recurring_task("sums").await.unwrap().next_time.is_some());
    let preview = client
        .preview_schedule(Schedule::cron("0 12 * * MON").time_zone("America/New_York"))
        .count(3)
        .await
        .unwrap();
    assert!(preview.local_times.iter().all(|time| time.contains("T12:00:00-0")), "{preview:?}");
    let wrong = client.preview_schedule(Schedule::cron("0 25 * * *")).await.unwrap_err();
    assert_eq!(wrong.violations()[0].field, "schedule.cron");
    client.delete_recurring_task("sums").await.unwrap();
    assert_eq!(client.get_recurring_task("sums").await.unwrap_err().code(), Some(Code::NotFound));
    worker.end().await;
}

async fn a_worker_process_puts_its_recurring_tasks_each_time_it_starts(server: &Server) {
    let client = client(server).await;
    let declared = || {
        let every_second = RecurringTask::named("tick", Value::Null, Schedule::cron("@every_second"));
        let ran = |_: Job, _: Value| async { Ok(()) };
        Worker::new(client.clone()).named("tick", ran).recurring(every_second)
    };
    let worker = run(declared());
    until("it ran twice", || async {
        client.get_recurring_task("tick").await.ok().filter(|task| task.run_count >= 2)
    })
    .await;
    let paused = client.pause_recurring_task("tick", "an operator says so").await.unwrap();
    worker.end().await;
    run(declared()).end().await;
    assert_eq!(
        client.get_recurring_task("tick").await.unwrap().paused,
        paused.paused,
        "a start unpauses nothing"
    );
    // One that is wrong ends the worker with what is wrong.
    let wrong = RecurringTask::named("tick", Value::Null, Schedule::cron("61 * * * *"));
    let error = declared().recurring(wrong).run_until(std::future::pending()).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "task.schedule.cron");
}
