//! A worker process for the crash tests, on the Rust SDK: it runs jobs that succeed, fail, log and take their time, and writes
//! down what it does.
//!
//! `haulier-test-worker <address of the server> <its own name> <folder of the histories>`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use haulier::{Client, HandlerError, Job, NonRetryable, Worker};
use haulier_tests::history::{Event, History};
use haulier_tests::load::{COMMAND, LEASE, Plan, SLOTS, Task};
use haulier_tests::monotonic;
use serde_json::{Value, json};

/// How often it looks whether the machine lets it run.
const LOOK: Duration = Duration::from_millis(100);
/// A look that comes later than this is a stall.
const STALL: Duration = Duration::from_secs(1);
/// One step of a slow job.
const STEP: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, folder] = arguments.as_slice() else {
        anyhow::bail!("usage: haulier-test-worker <address> <name> <folder>");
    };
    let history = Arc::new(History::of(name, Path::new(folder))?);
    tokio::spawn(notice_stalls(Arc::clone(&history)));
    let client = Client::builder(address).connect_lazy()?;
    let handler = move |job: Job, task: Task| {
        let history = Arc::clone(&history);
        async move { run(&job, task, &history).await }
    };
    let worker = Worker::new(client).name(name).slots(SLOTS).lease_time(LEASE).named(COMMAND, handler);
    worker.run().await?;
    Ok(())
}

async fn run(job: &Job, task: Task, history: &History) -> Result<Value, HandlerError> {
    let (id, epoch) = (job.id(), job.fencing_token());
    history.note(Event::Started { job: id, run: job.run(), attempt: job.attempt(), epoch });
    let done = work(job, &task).await;
    history.note(Event::Returned { job: id, epoch, well: done.is_ok() });
    done.map(|()| json!({ "key": task.key, "epoch": epoch }))
}

/// Every line begins with the fencing token, so that a line of a revoked attempt would show.
async fn work(job: &Job, task: &Task) -> Result<(), HandlerError> {
    let epoch = job.fencing_token();
    job.info(format!("{epoch} begins")).await;
    match task.plan {
        Plan::Quick => {}
        Plan::Slow { steps } => {
            for step in 1..=steps {
                job.check()?;
                tokio::time::sleep(STEP).await;
                job.progress(f64::from(step) / f64::from(steps));
                job.info(format!("{epoch} did step {step}")).await;
            }
        }
        Plan::Flaky if rand::random_bool(0.5) => Err(HandlerError::new("not this time"))?,
        Plan::Flaky => {}
        Plan::Hopeless => Err(NonRetryable("never"))?,
    }
    job.info(format!("{epoch} ends")).await;
    Ok(())
}

/// A machine that does not let a process run makes its lease run out, which is nobody's fault: it has to be known.
async fn notice_stalls(history: Arc<History>) {
    let mut last = monotonic();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = monotonic();
        if now - last > STALL {
            let millis = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
            history.note(Event::Stalled { millis });
        }
        last = now;
    }
}
