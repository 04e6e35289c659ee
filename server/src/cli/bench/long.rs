//! The long run: producers and workers for a long time, and in the middle of it a snapshot that another connection holds
//! open, as a backup or a forgotten session does: the database can clean nothing up meanwhile.
//!
//! Throughput is that of started handlers. Claims are measured by a claim loop of its own beside the worker process, on the
//! same command, one job at a time.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use haulier::proto::outcome_report::Outcome;
use haulier::proto::worker_service_client::WorkerServiceClient;
use haulier::proto::{
    ClaimJobRequest, CompleteOutcome, Heartbeat, LoopState, OutcomeReport, ReceivedReport,
    RegisterWorkerRequest, ReportJobsRequest, ServedCommand,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::Settings;
use super::driver::{Bare, micros};
use super::error::{Error, Result};
use super::figures::{Spread, median};
use super::place::Place;
use super::plot::{Series, Shade, svg};
use super::process::progress;
use super::report::{Report, time};
use super::system::{Flow, HAULIER, System};
use super::worker::WorkerProcess;

/// Points of the plot, roughly.
const SAMPLES: u32 = 240;
/// Shortest time of one.
const SAMPLE_TIME_MIN: Duration = Duration::from_millis(250);
/// Jobs that may wait before producers pause.
const BACKLOG_MAX: u64 = 20_000;
/// Between two claims that are measured.
const CLAIM_INTERVAL: Duration = Duration::from_millis(20);
/// Between two signs of life of the session that claims.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Samples whose median is one figure of the worst.
const WINDOW: usize = 5;
/// What a claim may lose while the snapshot is held.
const DEGRADATION_MAX: f64 = 5.0;
/// What it may have left of that at the end.
const RECOVERY_MAX: f64 = 2.0;

/// How long it runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Plan {
    pub(super) minutes: f64,
    pub(super) snapshot_minutes: f64,
}

impl Plan {
    fn length(self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// When the snapshot is opened, and when it is let go.
    fn held(self) -> (Duration, Duration) {
        let held = Duration::from_secs_f64(self.snapshot_minutes * 60.0);
        let from = self.length().saturating_sub(held) / 2;
        (from, from + held)
    }
}

/// What one interval showed.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    at_seconds: f64,
    jobs_per_second: f64,
    claims: usize,
    claim_p50_us: Option<f64>,
    claim_p99_us: Option<f64>,
    start_p99_us: Option<f64>,
    snapshot_is_held: bool,
}

/// What the run says as a whole.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    /// Median of the claims' p99 before the snapshot, without the first tenth.
    before_us: f64,
    /// The worst median of five samples while it is held.
    held_worst_us: f64,
    /// Median of the second half of the time after it.
    after_us: f64,
    degradation: f64,
    is_bounded: bool,
    has_recovered: bool,
}

#[derive(Serialize)]
struct Story {
    #[serde(flatten)]
    conditions: Report,
    plan: Plan,
    jobs: u64,
    completed: u64,
    verdict: Option<Verdict>,
    samples: Vec<Sample>,
}

/// Runs it and writes `long.svg` and `long.json` into a folder.
pub(super) async fn run(
    place: &mut Place,
    settings: &Settings,
    plan: Plan,
    folder: &Path,
    as_json: bool,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::during(folder.display()))?;
    let mut conditions = Report::begin(place, settings).await?;
    let Place::Own(own) = place else {
        return Err(Error::new("--long needs a server of its own: leave --url out"));
    };
    let url = own.make("haulier").await?;
    let mut system = System::start(&HAULIER, own, &url, settings, own.process().await).await?;
    let (jobs, samples) = match drive(&system, &url, plan).await {
        Ok(driven) => driven,
        Err(error) => return Err(system.explain(error)),
    };
    system.stop().await;
    own.remove(&url).await?;
    conditions.end();
    let verdict = judge(&samples, plan);
    let story = Story { conditions, plan, jobs, completed: jobs, verdict, samples };
    let json = serde_json::to_string_pretty(&story)?;
    write(folder, "long.json", &json)?;
    write(folder, "long.svg", &plot(&story))?;
    let text = if as_json { json } else { tell(&story, folder) };
    super::super::show::line(&text);
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(Error::during(path.display()))
}

/// Producers, the worker process, the claims that are measured, and the snapshot.
async fn drive(system: &System, url: &str, plan: Plan) -> Result<(u64, Vec<Sample>)> {
    let command = format!("haulier-bench-{}", &Uuid::new_v4().simple().to_string()[..12]);
    let mut worker = system.start_worker(&command).await?;
    worker.go().await?;
    let flow = Arc::new(Flow::default());
    let claimer = Claimer::register(system, &command).await?;
    let claims = Arc::clone(&claimer.claims);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let claiming = tokio::spawn(claimer.run(stopped));
    let samples = {
        let producing = system.produce_for(&command, plan.length(), &flow, BACKLOG_MAX);
        let sampling = sample(&mut worker, &claims, &flow, url, plan);
        // Whichever fails ends both.
        let ((), samples) = tokio::try_join!(producing, sampling)?;
        samples
    };
    drop(stop);
    claiming.await.map_err(Error::during("the claims that are measured"))??;
    let jobs = flow.enqueued.load(Ordering::Relaxed);
    let claimed = claims.lock().unwrap_or_else(PoisonError::into_inner).ended;
    system.wait_for_end(&mut worker, jobs.saturating_sub(claimed)).await?;
    system.completed(&command, jobs).await?;
    worker.stop().await?;
    Ok((jobs, samples))
}

async fn sample(
    worker: &mut WorkerProcess,
    claims: &Mutex<Claims>,
    flow: &Flow,
    url: &str,
    plan: Plan,
) -> Result<Vec<Sample>> {
    let interval = (plan.length() / SAMPLES).max(SAMPLE_TIME_MIN);
    let (from, to) = plan.held();
    let begin = tokio::time::Instant::now();
    let (mut samples, mut snapshot) = (Vec::new(), None);
    let (mut last, mut last_at) = (0, begin);
    // Producers look at how many jobs have started, so that is asked for more often than a sample is taken.
    let look = Duration::from_millis(100);
    while begin.elapsed() < plan.length() {
        tokio::time::sleep(look).await;
        let (times, ended) = {
            let mut claims = claims.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = last_at.elapsed() >= interval;
            (is_due.then(|| std::mem::take(&mut claims.times)), claims.ended)
        };
        let started = worker.count().await? + ended;
        flow.started.store(started, Ordering::Relaxed);
        let is_to_be_held = (from..to).contains(&begin.elapsed());
        if is_to_be_held && snapshot.is_none() {
            let mut connection = Bare::connect(url).await?;
            connection.hold_snapshot().await?;
            snapshot = Some(connection);
            progress("another connection holds a snapshot");
        } else if !is_to_be_held && snapshot.take().is_some() {
            progress("the snapshot is let go");
        }
        let Some(times) = times else { continue };
        let count = times.len();
        let spread = Spread::of(times);
        samples.push(Sample {
            at_seconds: begin.elapsed().as_secs_f64(),
            jobs_per_second: (started - last) as f64 / last_at.elapsed().as_secs_f64(),
            claims: count,
            claim_p50_us: spread.map(|spread| spread.p50_us),
            claim_p99_us: spread.map(|spread| spread.p99_us),
            start_p99_us: worker.figures().await?.since_enqueue.map(|spread| spread.p99_us),
            snapshot_is_held: snapshot.is_some(),
        });
        (last, last_at) = (started, tokio::time::Instant::now());
    }
    Ok(samples)
}

/// What the claims that are measured have shown since the last sample, and how many jobs they ended in all.
#[derive(Default)]
struct Claims {
    times: Vec<f64>,
    ended: u64,
}

/// A session by hand that claims one job at a time, beside the worker process.
struct Claimer {
    client: WorkerServiceClient<haulier::Transport>,
    session: String,
    claims: Arc<Mutex<Claims>>,
}

impl Claimer {
    async fn register(system: &System, command: &str) -> Result<Self> {
        let mut client = WorkerServiceClient::new(system.client().transport());
        let request = RegisterWorkerRequest {
            name: "haulier bench, claims".into(),
            instance_id: Uuid::new_v4().to_string(),
            commands: vec![ServedCommand { command: command.to_owned(), ..Default::default() }],
            slots: 1,
            ..Default::default()
        };
        let session = client.register_worker(request).await?.into_inner().session_id;
        Ok(Self { client, session, claims: Arc::default() })
    }

    /// Claims until told to stop; each job is ended before the next is claimed.
    async fn run(mut self, mut stopped: tokio::sync::oneshot::Receiver<()>) -> Result<()> {
        let (up, outgoing) = mpsc::channel::<ReportJobsRequest>(16);
        let gone = |_| Error::new("the report stream has ended");
        let first = ReportJobsRequest { session_id: self.session.clone(), ..Default::default() };
        up.send(first).await.map_err(gone)?;
        let mut down = self.client.report_jobs(ReceiverStream::new(outgoing)).await?.into_inner();
        let (mut sequence, mut ack_sequence, mut beat, mut beaten) = (0, 0, 0, tokio::time::Instant::now());
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                () = tokio::time::sleep(CLAIM_INTERVAL) => {}
            }
            if beaten.elapsed() >= BEAT_INTERVAL {
                beat += 1;
                beaten = tokio::time::Instant::now();
                let state = LoopState { r#loop: 0, received: sequence, sent: sequence, sent_open: false };
                let heartbeat = Heartbeat { beat, loops: vec![state], leases: Vec::new() };
                let report = ReportJobsRequest { heartbeat: Some(heartbeat), ..Default::default() };
                up.send(report).await.map_err(gone)?;
            }
            sequence += 1;
            let request = ClaimJobRequest {
                session_id: self.session.clone(),
                r#loop: 0,
                sequence,
                ack_sequence,
                max_jobs: 1,
                wait: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            };
            let begin = tokio::time::Instant::now();
            let jobs = self.client.claim_job(request).await?.into_inner().jobs;
            let took = micros(begin.elapsed());
            let Some(job) = jobs.into_iter().next() else { continue };
            ack_sequence = sequence;
            let complete = Outcome::Complete(CompleteOutcome::default());
            let report = ReportJobsRequest {
                received: vec![ReceivedReport { r#loop: 0, sequence }],
                outcomes: vec![OutcomeReport {
                    lease: job.lease.clone(),
                    outcome: Some(complete),
                    ..Default::default()
                }],
                ..Default::default()
            };
            up.send(report).await.map_err(gone)?;
            loop {
                let answer =
                    down.message().await?.ok_or_else(|| Error::new("the report stream has ended"))?;
                if let Some(ack) = answer.acks.iter().find(|ack| ack.lease == job.lease) {
                    if !ack.outcome_stored {
                        return Err(Error::new(format!("an outcome was not stored: {:?}", ack.error)));
                    }
                    break;
                }
            }
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.times.push(took);
            claims.ended += 1;
        }
    }
}

/// None when the snapshot was held for no time, or a part of the run has no claims.
fn judge(samples: &[Sample], plan: Plan) -> Option<Verdict> {
    let (from, to) = plan.held();
    let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
    let between = |from: f64, to: f64| -> Vec<f64> {
        let inside = samples.iter().filter(|sample| (from..to).contains(&sample.at_seconds));
        inside.filter_map(|sample| sample.claim_p99_us).collect()
    };
    let before_us = median(between(from / 10.0, from))?;
    let held = between(from, to);
    let windows = held.windows(WINDOW.min(held.len()).max(1));
    let held_worst_us = windows.filter_map(|window| median(window.to_vec())).reduce(f64::max)?;
    let end = plan.length().as_secs_f64();
    let after_us = median(between((to + end) / 2.0, f64::INFINITY))?;
    let degradation = held_worst_us / before_us;
    Some(Verdict {
        before_us,
        held_worst_us,
        after_us,
        degradation,
        is_bounded: degradation <= DEGRADATION_MAX,
        has_recovered: after_us <= RECOVERY_MAX * before_us,
    })
}

fn plot(story: &Story) -> String {
    let line = |title: &str, figure: fn(&Sample) -> Option<f64>| Series {
        title: title.to_owned(),
        points: story
            .samples
            .iter()
            .filter_map(|sample| Some((sample.at_seconds, figure(sample)?)))
            .collect(),
    };
    let series = [
        line("jobs started a second", |sample| Some(sample.jobs_per_second)),
        line("claim of one job, p99, ms", |sample| sample.claim_p99_us.map(|us| us / 1e3)),
        line("enqueue to start, p99, ms", |sample| sample.start_p99_us.map(|us| us / 1e3)),
    ];
    let (from, to) = story.plan.held();
    let shade =
        Shade { from: from.as_secs_f64(), to: to.as_secs_f64(), title: "a snapshot is held open".into() };
    let database = story.conditions.database.as_ref().map_or("", |database| database.version.as_str());
    let title = format!("Haulier {} on {database}: producers and a worker", story.conditions.haulier_version);
    let shade = (story.plan.snapshot_minutes > 0.0).then_some(&shade);
    svg(&title, story.plan.length().as_secs_f64(), &series, shade)
}

fn tell(story: &Story, folder: &Path) -> String {
    let mut text = story.conditions.conditions();
    let rate = median(story.samples.iter().map(|sample| sample.jobs_per_second).collect());
    text.push_str(&format!(
        "{} jobs in {} minutes, all completed, median {:.0} jobs/s\n",
        story.jobs,
        story.plan.minutes,
        rate.unwrap_or_default()
    ));
    if let Some(verdict) = &story.verdict {
        let word = |is_met: bool| if is_met { "met" } else { "NOT met" };
        text.push_str(&format!(
            "claim p99: {} before the snapshot, at worst {} while it is held, {} after it\n\
             at most {DEGRADATION_MAX:.0} times as long while it is held: {:.1}, {}\n\
             at most {RECOVERY_MAX:.0} times as long after it: {:.1}, {}\n",
            time(verdict.before_us),
            time(verdict.held_worst_us),
            time(verdict.after_us),
            verdict.degradation,
            word(verdict.is_bounded),
            verdict.after_us / verdict.before_us,
            word(verdict.has_recovered),
        ));
    }
    for warning in &story.conditions.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!("written to {}", folder.display()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(p99_at: fn(f64) -> f64) -> Vec<Sample> {
        let sample = |second: u32| Sample {
            at_seconds: second.into(),
            jobs_per_second: 1.0,
            claims: 1,
            claim_p50_us: None,
            claim_p99_us: Some(p99_at(second.into())),
            start_p99_us: None,
            snapshot_is_held: false,
        };
        (0..180).map(sample).collect()
    }

    #[test]
    fn the_snapshot_is_held_in_the_middle() {
        let plan = Plan { minutes: 30.0, snapshot_minutes: 10.0 };
        assert_eq!(plan.held(), (Duration::from_secs(600), Duration::from_secs(1_200)));
    }

    #[test]
    fn a_run_is_judged_by_the_worst_of_the_held_time_and_by_its_end() {
        let plan = Plan { minutes: 3.0, snapshot_minutes: 1.0 };
        let steady = judge(&samples(|_| 100.0), plan).unwrap();
        assert_eq!((steady.degradation, steady.is_bounded, steady.has_recovered), (1.0, true, true));
        // It grows while the snapshot is held and stays up.
        let bad = judge(&samples(|at| if at < 110.0 { 100.0 } else { 600.0 }), plan).unwrap();
        assert_eq!((bad.degradation, bad.is_bounded, bad.has_recovered), (6.0, false, false));
        // A single spike is no degradation.
        let spike = judge(&samples(|at| if at == 90.0 { 9_000.0 } else { 100.0 }), plan).unwrap();
        assert!(spike.is_bounded);
        assert_eq!(judge(&samples(|_| 1.0), Plan { minutes: 3.0, snapshot_minutes: 0.0 }), None);
    }
}
