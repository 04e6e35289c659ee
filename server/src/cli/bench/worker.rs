//! The worker process: the Rust SDK's worker with a handler that does nothing but look at the clock.
//!
//! It is told what to do by lines on its standard input: `go` (serve), `count` (how many handlers have started), `figures`
//! (how long they waited since the last time), `drain` (claim nothing more, and answer when every outcome is acknowledged);
//! it ends when the input does.

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use haulier::{Client, CommandOptions, Payload, Worker};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

use super::error::{Error, Result};
use super::figures::Spread;
use super::process::this_program;
use super::time::nanoseconds;

/// What a handler gives back.
pub(super) const RESULT: &str = "{\"ok\":true}";
/// How long the worker process may take to connect and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST_START: &str = "{\"sent\":";

/// Where the worker process works.
#[derive(Args)]
pub(super) struct WorkerRole {
    #[arg(long)]
    address: String,
    #[arg(long)]
    command: String,
    #[arg(long)]
    slots: usize,
    #[arg(long, env = "HAULIER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// A request of so many bytes that tells when it was sent.
pub(super) fn request_text(bytes: u32) -> String {
    let start = format!("{REQUEST_START}{},\"text\":\"", nanoseconds());
    let fill = (bytes as usize).saturating_sub(start.len() + 2);
    format!("{start}{}\"}}", "x".repeat(fill))
}

/// When a request was sent.
fn sent_at(request: &Payload) -> Option<u64> {
    request.as_json()?.strip_prefix(REQUEST_START)?.split_once(',')?.0.parse().ok()
}

/// What a worker process says about its handlers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Starts {
    /// From the enqueue to the start of the handler.
    pub(super) since_enqueue: Option<Spread>,
    /// From the order to serve to the start of the handler.
    pub(super) since_go: Option<Spread>,
}

/// What the handlers note.
#[derive(Default)]
struct Notes {
    begun: AtomicU64,
    started: AtomicU64,
    /// Microseconds since the enqueue and since the beginning.
    waits: Mutex<Vec<(f32, f32)>>,
}

impl Notes {
    fn take(&self, request: &Payload) {
        let now = nanoseconds();
        let since = |from: u64| now.saturating_sub(from) as f32 / 1e3;
        let wait = (sent_at(request).map_or(0.0, since), since(self.begun.load(Ordering::Relaxed)));
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    fn figures(&self) -> Starts {
        let waits = std::mem::take(&mut *self.waits.lock().unwrap_or_else(PoisonError::into_inner));
        Starts {
            since_enqueue: Spread::of(waits.iter().map(|(enqueue, _)| f64::from(*enqueue)).collect()),
            since_go: Spread::of(waits.iter().map(|(_, go)| f64::from(*go)).collect()),
        }
    }
}

/// Works until the standard input ends.
pub(super) async fn work(role: WorkerRole) -> Result<()> {
    let mut builder = Client::builder(&role.address).deadline(PATIENCE);
    if let Some(key) = &role.api_key {
        builder = builder.api_key(key);
    }
    let client = builder.connect().await?;
    let notes = Arc::new(Notes::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let noting = Arc::clone(&notes);
    let worker = Worker::new(client)
        .name("haulier bench")
        .slots(role.slots)
        .drain_time(Duration::from_secs(5))
        .payloads(CommandOptions::named(role.command), move |_, request| {
            noting.take(&request);
            async { Ok(Payload::json_text(RESULT)) }
        });
    let registered = worker.registered();
    let mut stop = Some(stop);
    let mut prepared = Some((worker.run_until(async move { drop(stopped.await) }), registered));
    let mut working = None;
    let mut orders = orders();
    say("ready");
    while let Some(order) = orders.recv().await {
        match order.as_str() {
            "go" => {
                let Some((run, registered)) = prepared.take() else { continue };
                notes.begun.store(nanoseconds(), Ordering::Relaxed);
                let mut run = tokio::spawn(run);
                tokio::select! {
                    () = registered => say("registered"),
                    run = &mut run => return ended(run),
                }
                working = Some(run);
            }
            "drain" => {
                drop(stop.take());
                if let Some(working) = working.take() {
                    ended(working.await)?;
                }
                say("drained");
            }
            "count" => say(&notes.started.load(Ordering::Relaxed).to_string()),
            "figures" => say(&serde_json::to_string(&notes.figures())?),
            other => return Err(Error::new(format!("the worker process does not know the order {other:?}"))),
        }
    }
    drop(stop);
    match working {
        Some(working) => ended(working.await),
        None => Ok(()),
    }
}

fn ended(run: std::result::Result<haulier::Result<()>, tokio::task::JoinError>) -> Result<()> {
    Ok(run.map_err(Error::during("the worker process"))??)
}

fn say(text: &str) {
    // Whoever started this process may have gone.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// The lines of the standard input, read by a thread of their own.
fn orders() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A worker process, seen from outside.
pub(super) struct WorkerProcess {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl WorkerProcess {
    /// Starts it and waits until it is connected; it serves nothing yet.
    pub(super) async fn start(
        address: &str,
        api_key: Option<&str>,
        command: &str,
        slots: u32,
    ) -> Result<Self> {
        let mut program = this_program()?;
        program.args(["bench", "worker", "--address", address, "--command", command]);
        program.args(["--slots", &slots.to_string()]);
        if let Some(key) = api_key {
            program.env("HAULIER_API_KEY", key);
        }
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = program.spawn().map_err(Error::during("starting the worker process"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new("the worker process has no pipes"));
        };
        let mut worker = Self { child, input, output: BufReader::new(output).lines() };
        worker.answer().await?;
        Ok(worker)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Tells it to serve; answers when it is registered.
    pub(super) async fn go(&mut self) -> Result<()> {
        self.order("go").await.map(drop)
    }

    /// How many handlers have started.
    pub(super) async fn count(&mut self) -> Result<u64> {
        self.order("count").await?.parse().map_err(Error::during("the worker process's count"))
    }

    /// How long handlers waited since the last time.
    pub(super) async fn figures(&mut self) -> Result<Starts> {
        Ok(serde_json::from_str(&self.order("figures").await?)?)
    }

    /// Lets it claim nothing more; answers when every outcome is acknowledged.
    pub(super) async fn drain(&mut self) -> Result<()> {
        self.order("drain").await.map(drop)
    }

    /// Lets it end.
    pub(super) async fn stop(mut self) -> Result<()> {
        drop(self.input);
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Error::new(format!("the worker process ended with {status}"))),
            Ok(Err(error)) => Err(Error::new(format!("the worker process: {error}"))),
            Err(_) => Err(Error::new("the worker process did not end")),
        }
    }

    async fn order(&mut self, order: &str) -> Result<String> {
        let line = format!("{order}\n");
        self.input.write_all(line.as_bytes()).await.map_err(Error::during("the worker process's input"))?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line.map_err(|_| Error::new(format!("the worker process was silent for {PATIENCE:?}")))?;
        line.map_err(Error::during("the worker process's output"))?
            .ok_or_else(|| Error::new("the worker process has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_size_and_tells_when_it_was_sent() {
        for bytes in [48, 200, 100_000] {
            let before = nanoseconds();
            let text = request_text(bytes);
            assert_eq!(text.len(), bytes as usize);
            let payload = Payload::json_text(text);
            let sent = sent_at(&payload).unwrap();
            assert!((before..=nanoseconds()).contains(&sent));
            payload.read::<serde_json::Value>().unwrap();
        }
        assert_eq!(sent_at(&Payload::nothing()), None);
    }
}
