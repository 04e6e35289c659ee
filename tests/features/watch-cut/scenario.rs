//! A watch that is cut goes on where it was: nothing is missed, nothing comes twice; see README.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::TryStreamExt as _;
use haulier::proto::JobState;
use haulier::{Client, HandlerError, Job, JobEvent, result_of};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::stage::{Result, bail, ensure, expect, worker, working};

/// A TCP proxy that drops its connections on command.
struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
    cuts: watch::Sender<usize>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Proxy {
    async fn start(target: &str) -> Result<Self> {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (connections, cuts) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
        let (count, cut) = (Arc::clone(&connections), cuts.clone());
        let serving = tokio::spawn(async move {
            loop {
                let (mut here, _) = listener.accept().await?;
                count.fetch_add(1, SeqCst);
                let (target, mut cut) = (target.clone(), cut.subscribe());
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(target).await?;
                    // Both ends are dropped with this task, however it ends.
                    tokio::select! {
                        piped = tokio::io::copy_bidirectional(&mut here, &mut there) => piped.map(drop),
                        _ = cut.changed() => Ok(()),
                    }
                });
            }
        });
        Ok(Self { address, connections, cuts, serving })
    }

    fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn talk(job: Job, (): ()) -> Result<Value, HandlerError> {
    for n in 1..=50 {
        job.info(format!("line {n}")).await;
        sleep(Duration::from_millis(40)).await;
    }
    Ok(json!({ "lines": 50 }))
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let proxy = Proxy::start(client.address()).await?;
    let watcher = Client::connect(&proxy.address).await?;
    working(worker(&client, &queue).named("talk", talk), async {
        let job = client.enqueue_named("talk", ()).queue(&queue).await?;
        let mut watch = watcher.watch(job.id());
        let (mut seen, mut cuts, mut last) = (Vec::new(), vec![25, 10], None);
        while let Some(event) = watch.try_next().await? {
            last = None;
            match event.event {
                JobEvent::Logs(lines) => seen.extend(lines.into_iter().map(|line| line.message)),
                JobEvent::Gap(gap) => bail!("expected no gap, saw {gap:?}"),
                JobEvent::Snapshot(job) => last = Some(job),
                _ => {}
            }
            while cuts.pop_if(|count| seen.len() >= *count).is_some() {
                proxy.cut();
            }
        }
        let lines: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
        expect("the lines", seen, lines)?;
        let Some(last) = last else { bail!("expected a snapshot last, saw another event") };
        let state = last.summary.as_ref().map(|summary| summary.state());
        expect("the state in the last event", state, Some(JobState::Completed))?;
        expect("its result", result_of(*last)?.read::<Value>()?, json!({ "lines": 50 }))?;
        let connections = proxy.connections.load(SeqCst);
        ensure!(connections >= 3, "expected at least 3 connections, saw {connections}");
        Ok(())
    })
    .await
}
