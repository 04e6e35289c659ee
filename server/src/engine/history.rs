//! Months of history: what they hold, exporting and dropping them, and what retention forgets.

use std::sync::Arc;

use futures::Stream;
use tokio::sync::mpsc;

use super::unit::unit;
use super::{Core, Engine, Error, JobKey, Result};
use crate::model::{
    Attempt, JobId, Level, LogLine, Month, Order, Retention, Run, View, read_token, write_token,
};
use crate::store::{DropAnswer, LogPosition, MonthFigures, Walk, WalkSource};

const EXPORT_TOKEN: &str = "x1";
/// Ids read in one step.
const STEP: i64 = 200;
/// Log lines read in one step.
const LINES: i64 = 500;
/// Messages on their way to a reader.
const EVENTS_MAX: usize = 64;
/// Outcomes that retention looks through in one step.
const FORGET_STEP: i64 = 500;

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct ExportCall {
    /// The month.
    pub month: Month,
    /// With attempts.
    pub attempts: bool,
    /// With log lines.
    pub logs: bool,
    /// The token of the last message that arrived; empty from the start.
    pub resume_token: String,
}

/// One message of an export.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The token to go on after it.
    pub token: String,
    /// The job.
    pub job: JobId,
    /// What it carries.
    pub what: Record,
}

/// What a message of an export carries.
#[derive(Clone, Debug)]
pub enum Record {
    /// A finished run.
    Run(Box<View>),
    /// An attempt.
    Attempt(Box<Attempt>),
    /// A log line.
    Line(LogLine),
}

impl Engine {
    /// Every month, the newest first, with what it holds.
    pub async fn history(&self) -> Result<Vec<MonthFigures>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let mut months = Vec::new();
            for range in core.store.months().await?.into_iter().rev() {
                months.extend(core.store.month_figures(range.month).await?);
            }
            Ok(months)
        })
        .await
    }

    /// Drops a month of history; with `only_look` nothing changes.
    pub async fn drop_month(&self, month: Month, only_look: bool) -> Result<MonthFigures> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let answer = if only_look {
                core.store.month_figures(month).await?.map_or(DropAnswer::NotFound, DropAnswer::Dropped)
            } else {
                core.store.drop_month(month).await?
            };
            match answer {
                DropAnswer::Dropped(figures) => Ok(figures),
                DropAnswer::InUse(figures) => Err(Error::MonthInUse { month, live: figures.live }),
                DropAnswer::NotFound => Err(Error::NotFound { kind: "month", name: month.dashed() }),
            }
        })
        .await
    }

    /// Streams a month, job by job in ascending id: each finished run, then attempts, then log lines.
    pub fn export(&self, call: ExportCall) -> impl Stream<Item = Result<Exported>> + Send + 'static {
        let core = Arc::clone(&self.core);
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(async move {
            if let Err(error) = Exporter::run(core, call, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(receiver)
    }

    /// Forgets what is past its retention, and drops months of which nothing is left to keep.
    pub async fn keep_retention(&self, retention: Retention) -> Result<()> {
        if retention.is_none() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        unit(async move { core.keep_retention(retention).await }).await
    }
}

impl Core {
    async fn keep_retention(&self, retention: Retention) -> Result<()> {
        let months = self.store.months().await?;
        for range in &months {
            let mut after = Some(JobId(0));
            while let Some(from) = after {
                let (next, forgotten) =
                    self.store.forget_jobs(range.month, from, retention, FORGET_STEP).await?;
                if forgotten > 0 {
                    tracing::debug!(month = %range.month, forgotten, "jobs past their retention were forgotten");
                }
                after = next;
            }
        }
        let Some(longest) = retention.longest() else { return Ok(()) };
        let now = self.clock.now();
        for range in months.iter().rev().skip(1) {
            if range.month.next() > Month::of(now.minus(longest)) {
                continue;
            }
            let Some(figures) = self.store.month_figures(range.month).await? else { continue };
            if figures.is_away {
                continue;
            }
            if figures.last_finish.is_none_or(|last| last.plus(longest) <= now) {
                self.store.drop_month(range.month).await?;
            }
        }
        Ok(())
    }
}

struct Exporter<'a> {
    core: Arc<Core>,
    call: ExportCall,
    events: &'a mpsc::Sender<Result<Exported>>,
    /// The job that is being sent, and how many of its messages were.
    at: (JobId, i64),
    /// Messages of the first job that arrived before.
    skip: i64,
}

/// The reader has gone.
struct Gone;

impl Exporter<'_> {
    async fn run(core: Arc<Core>, call: ExportCall, events: &mpsc::Sender<Result<Exported>>) -> Result<()> {
        let (from, skip) = read_export_token(&call)?;
        let mut exporter = Exporter { core, call, events, at: (from, 0), skip };
        // The job of the token is looked at again: some of its messages may be missing.
        let mut after = (from > JobId(0)).then_some(JobId(from.0 - 1));
        loop {
            let source = WalkSource::Month(exporter.call.month);
            let walk = Walk { source, order: Order::OldestFirst, after, limit: STEP };
            let core = Arc::clone(&exporter.core);
            let ids = unit(async move { Ok(core.store.walk(&walk).await?) }).await?;
            for id in &ids {
                if exporter.send_job(*id).await?.is_err() {
                    return Ok(());
                }
            }
            if (ids.len() as i64) < STEP {
                return Ok(());
            }
            after = ids.last().copied();
        }
    }

    async fn send_job(&mut self, id: JobId) -> Result<Result<(), Gone>> {
        if id != self.at.0 {
            self.skip = 0;
        }
        self.at = (id, 0);
        let core = Arc::clone(&self.core);
        let view = unit(async move { core.view(id).await }).await?;
        let last = view.job.run;
        for number in 1..=last.0 {
            let run = if number == last.0 { view.clone() } else { self.earlier(id, Run(number)).await? };
            if run.outcome().is_some() && self.send(Record::Run(Box::new(run))).await.is_err() {
                return Ok(Err(Gone));
            }
        }
        if self.call.attempts {
            let core = Arc::clone(&self.core);
            let attempts = unit(async move { Ok(core.store.attempts(id).await?) }).await?;
            for attempt in attempts {
                if self.send(Record::Attempt(Box::new(attempt))).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
        if self.call.logs { self.send_lines(id).await } else { Ok(Ok(())) }
    }

    async fn earlier(&self, id: JobId, run: Run) -> Result<View> {
        let engine_view = Arc::clone(&self.core);
        unit(async move { engine_view.run_of(&JobKey::Id(id), Some(run)).await }).await
    }

    async fn send_lines(&mut self, id: JobId) -> Result<Result<(), Gone>> {
        let mut after = LogPosition::default();
        loop {
            let core = Arc::clone(&self.core);
            let lines =
                unit(async move { Ok(core.store.logs(id, after, Level::Trace, LINES).await?) }).await?;
            let is_last = (lines.len() as i64) < LINES;
            for line in lines {
                after = LogPosition { run: line.run, epoch: line.epoch, sequence: line.sequence };
                if self.send(Record::Line(line)).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
            if is_last {
                return Ok(Ok(()));
            }
        }
    }

    async fn send(&mut self, what: Record) -> Result<(), Gone> {
        self.at.1 += 1;
        if self.at.1 <= self.skip {
            return Ok(());
        }
        let token = write_export_token(&self.call, self.at);
        let event = Exported { token, job: self.at.0, what };
        self.events.send(Ok(event)).await.map_err(|_| Gone)
    }
}

fn kind_of(call: &ExportCall) -> i64 {
    i64::from(call.attempts) + 2 * i64::from(call.logs)
}

fn write_export_token(call: &ExportCall, (job, sent): (JobId, i64)) -> String {
    let parts = [i64::from(call.month.0), kind_of(call), job.0, sent];
    write_token(EXPORT_TOKEN, &parts.map(i64::to_be_bytes).concat())
}

/// The job to begin with, and how many of its messages have arrived.
fn read_export_token(call: &ExportCall) -> Result<(JobId, i64)> {
    if call.resume_token.is_empty() {
        return Ok((JobId(0), 0));
    }
    let bad = |message: &str| Error::BadToken { field: "resume_token", message: message.into() };
    let bytes = read_token(EXPORT_TOKEN, &call.resume_token).map_err(|error| bad(&error.to_string()))?;
    let parts: Vec<i64> =
        bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(std::array::from_fn(|at| chunk[at]))).collect();
    match parts.as_slice() {
        [month, kind, job, sent] if *month == i64::from(call.month.0) && *kind == kind_of(call) => {
            Ok((JobId(*job), *sent))
        }
        [_, _, _, _] => Err(bad("belongs to another export: month, attempts and logs must be the same")),
        _ => Err(bad("is not a token of this kind")),
    }
}
