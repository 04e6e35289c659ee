//! Of two processes that have the same singleton, one works, and the other takes over: see README.md.

use std::time::Duration;

use haulier::{Client, Periodic, RunContext, Worker};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::stage::{Notes, Result, bail, ensure, expect, named, until};

#[derive(Debug, Clone)]
struct Run {
    by: &'static str,
    began: Instant,
    ended: Instant,
}

struct Running {
    by: &'static str,
    stop: CancellationToken,
    task: JoinHandle<haulier::Result<()>>,
}

impl Running {
    async fn start(by: &'static str, runs: &Notes<Run>) -> Result<Self> {
        let (runs, stop) = (runs.clone(), CancellationToken::new());
        let periodic = Periodic::new(named("beat"), Duration::from_millis(100)).run_at_start().singleton();
        let worker = Worker::new(Client::from_env().await?).periodic(periodic, move |_: RunContext| {
            let runs = runs.clone();
            async move {
                let began = Instant::now();
                sleep(Duration::from_millis(20)).await;
                runs.add(Run { by, began, ended: Instant::now() });
                Ok(())
            }
        });
        let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
        Ok(Self { by, stop, task })
    }

    /// As on a SIGTERM.
    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        match timeout(Duration::from_secs(15), self.task).await {
            Ok(ended) => Ok(ended??),
            Err(_) => bail!("expected {} to stop within 15 s, it runs on", self.by),
        }
    }
}

pub(crate) async fn story(_client: Client, _queue: String) -> Result<()> {
    let runs = Notes::new();
    let (x, y) = (Running::start("X", &runs).await?, Running::start("Y", &runs).await?);
    until("there are 10 runs", async || Ok((runs.all().len() >= 10).then_some(()))).await?;
    let Some(last) = runs.all().pop() else { bail!("expected 10 runs, saw none") };
    let (first, other) = if last.by == x.by { (x, y) } else { (y, x) };
    let by: Vec<&str> = runs.all().iter().take(10).map(|run| run.by).collect();
    expect("who did the first 10 runs", by, [first.by; 10])?;
    let (first_by, other_by) = (first.by, other.by);
    first.stop().await?;
    let stopped = runs.all().len();
    let by_other =
        async || Ok((runs.all().iter().filter(|run| run.by == other_by).count() >= 3).then_some(()));
    until("the other has run 3 times", by_other).await?;
    other.stop().await?;
    let all = runs.all();
    let late: Vec<&Run> = all.iter().skip(stopped).filter(|run| run.by == first_by).collect();
    ensure!(late.is_empty(), "expected no run of {first_by} after its stop, saw {late:?}");
    sleep(Duration::from_millis(500)).await;
    expect("the runs after both stopped", runs.all().len(), all.len())?;
    for pair in all.windows(2) {
        ensure!(pair[1].began >= pair[0].ended, "expected no two runs to overlap, these did: {pair:?}");
    }
    Ok(())
}
