//! The scenarios, each in rounds in which Haulier, the floor and the driver take turns.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::driver::Driver;
use super::error::{Error, Result};
use super::figures::{Round, Side, Spread, median};
use super::place::{Own, Place};
use super::process::progress;
use super::system::{Enqueued, FLOOR, HAULIER, System};
use super::{Scenario, Settings};

/// Before each call on an idle system: meanwhile the outcome is stored and the next claim arrives.
pub(super) const PAUSE: Duration = Duration::from_millis(15);
/// Between two sides: what one leaves behind is no burden of the next.
const REST: Duration = Duration::from_millis(500);
/// Empty calls that are measured in a round.
const EMPTY_CALLS: usize = 200;

/// What is done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// One caller, one at a time.
    One,
    /// Many callers.
    Callers,
    /// One caller, by the batch.
    Batches,
    /// Queued jobs are worked on.
    Drain,
    /// One job at a time on an idle system.
    Idle,
    /// Callers and a worker process together.
    Together,
}

/// What one load showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) scenario: &'static str,
    pub(super) name: String,
    /// Of what p50 and p99 are.
    pub(super) time_of: &'static str,
    pub(super) haulier: Side,
    pub(super) floor: Option<Side>,
    pub(super) driver: Option<Side>,
    /// Jobs per second of Haulier by those of the floor.
    pub(super) ratio_to_floor: Option<f64>,
    /// The median of empty calls, with the same pauses.
    pub(super) empty_call_us: Option<f64>,
    pub(super) reach: Vec<Reach>,
}

/// A bound that Haulier is to reach.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reach {
    pub(super) bound: &'static str,
    pub(super) figure: f64,
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    pub(super) is_met: bool,
}

/// Both services and the driver, each on a database of its own.
struct Stage {
    haulier: System,
    floor: Option<System>,
    driver: Option<Driver>,
    urls: Vec<String>,
}

impl Stage {
    async fn set_up(place: &mut Place, settings: &Settings) -> Result<Self> {
        let own = match place {
            Place::Server(url) => {
                let haulier = System::elsewhere(url, settings).await?;
                return Ok(Self { haulier, floor: None, driver: None, urls: Vec::new() });
            }
            Place::Own(own) => own,
        };
        let database = own.process().await;
        let urls = vec![own.make("haulier").await?, own.make("floor").await?, own.make("driver").await?];
        let haulier = System::start(&HAULIER, own, &urls[0], settings, database).await?;
        let floor = System::start(&FLOOR, own, &urls[1], settings, database).await?;
        let driver = Driver::open(&urls[2], database).await?;
        Ok(Self { haulier, floor: Some(floor), driver: Some(driver), urls })
    }

    async fn tear_down(self, place: &mut Place) -> Result<()> {
        self.haulier.stop().await;
        if let Some(floor) = self.floor {
            floor.stop().await;
        }
        drop(self.driver);
        if let Place::Own(own) = place {
            remove(own, &self.urls).await?;
        }
        Ok(())
    }
}

async fn remove(own: &mut Own, urls: &[String]) -> Result<()> {
    for url in urls {
        own.remove(url).await?;
    }
    Ok(())
}

/// Runs a scenario, on databases of its own.
pub(super) async fn run(scenario: Scenario, place: &mut Place, settings: &Settings) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for load in loads(scenario) {
        let mut stage = Stage::set_up(place, settings).await?;
        measured.push(rounds(load, &mut stage, settings).await?);
        stage.tear_down(place).await?;
    }
    Ok(measured)
}

fn loads(scenario: Scenario) -> Vec<Load> {
    match scenario {
        Scenario::S1 => vec![Load::One],
        Scenario::S2 => vec![Load::Callers, Load::Batches],
        Scenario::S3 => vec![Load::Drain],
        Scenario::S4 => vec![Load::Idle],
        Scenario::S5 => vec![Load::Together],
    }
}

async fn rounds(load: Load, stage: &mut Stage, settings: &Settings) -> Result<Measured> {
    let (mut haulier, mut floor, mut driver, mut empty) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..settings.rounds {
        // Whoever goes first in one round goes last in the next.
        for turn in (0..3).map(|turn| (turn + number) % 3) {
            match turn {
                0 => {
                    if let Some(pause) = pause(load) {
                        empty.extend(median(stage.haulier.empty_calls(EMPTY_CALLS, pause).await?));
                    }
                    haulier.push(round(load, &mut stage.haulier, settings).await?);
                }
                1 => {
                    if let Some(system) = &mut stage.floor {
                        floor.push(round(load, system, settings).await?);
                    }
                }
                _ => {
                    if let Some(system) = &mut stage.driver {
                        driver.push(system.round(load, settings).await?);
                    }
                }
            }
            tokio::time::sleep(REST).await;
        }
        let rate = |rounds: &[Round]| {
            rounds.last().map_or_else(|| "-".into(), |round| format!("{:.0}", round.jobs_per_second))
        };
        let name = describe(load, settings);
        progress(&format!(
            "{name}, round {} of {}: {} jobs/s, floor {}, driver {}",
            number + 1,
            settings.rounds,
            rate(&haulier),
            rate(&floor),
            rate(&driver)
        ));
    }
    let haulier = Side::of(haulier).ok_or_else(|| Error::new("no round was measured"))?;
    Ok(judge(load, settings, haulier, Side::of(floor), Side::of(driver), median(empty)))
}

/// Between the calls of loads that are measured against single calls and commits.
fn pause(load: Load) -> Option<Duration> {
    match load {
        Load::One => Some(Duration::ZERO),
        Load::Idle => Some(PAUSE),
        _ => None,
    }
}

async fn round(load: Load, system: &mut System, settings: &Settings) -> Result<Round> {
    match round_of(load, system, settings).await {
        Ok(round) => Ok(round),
        Err(error) => Err(system.explain(error)),
    }
}

/// One round on one service. Whatever was enqueued is worked on before it ends, counted or not.
async fn round_of(load: Load, system: &System, settings: &Settings) -> Result<Round> {
    let random = Uuid::new_v4().simple().to_string();
    let command = format!("haulier-bench-{}", &random[..12]);
    let mut worker = system.start_worker(&command).await?;
    let (jobs, seconds, cpu, spread) = match load {
        Load::One | Load::Callers | Load::Batches => {
            let before = system.meter(None).read();
            let enqueued = match load {
                Load::One => system.enqueue_for(&command, 1, settings.short()).await?,
                Load::Callers => {
                    system.enqueue_for(&command, settings.callers as usize, settings.short()).await?
                }
                _ => system.enqueue_batches_for(&command, settings.short()).await?,
            };
            let cpu = system.meter(None).read().since(before, enqueued.jobs);
            let Enqueued { jobs, seconds, times } = enqueued;
            let spread = Spread::of(times).ok_or_else(|| Error::new("no call was answered in time"))?;
            worker.go().await?;
            system.wait_for_end(&mut worker, jobs).await?;
            (jobs, seconds, cpu, spread)
        }
        Load::Drain | Load::Idle | Load::Together => {
            if load == Load::Drain {
                system.enqueue_count(&command, settings.jobs).await?;
                tokio::time::sleep(REST).await;
            } else {
                worker.go().await?;
                // The claim arrives, and on an idle system the server has seen that nothing waits.
                tokio::time::sleep(REST).await;
            }
            let meter = system.meter(Some(&worker));
            let before = meter.read();
            let begin = tokio::time::Instant::now();
            let jobs = match load {
                Load::Drain => {
                    worker.go().await?;
                    settings.jobs
                }
                Load::Idle => system.enqueue_paused(&command, PAUSE, settings.short()).await?,
                _ => system.enqueue_for(&command, settings.callers as usize, settings.long()).await?.jobs,
            };
            system.wait_for_end(&mut worker, jobs).await?;
            let seconds = begin.elapsed().as_secs_f64();
            let cpu = meter.read().since(before, jobs);
            let starts = worker.figures().await?;
            let spread = if load == Load::Drain { starts.since_go } else { starts.since_enqueue };
            (jobs, seconds, cpu, spread.ok_or_else(|| Error::new("no handler has started"))?)
        }
    };
    let completed = system.completed(&command, jobs).await?;
    worker.stop().await?;
    Ok(Round { jobs, completed, jobs_per_second: jobs as f64 / seconds, spread, cpu_seconds_per_1000: cpu })
}

fn describe(load: Load, settings: &Settings) -> String {
    match load {
        Load::One => "S1 enqueue, one caller".into(),
        Load::Callers => format!("S2 enqueue, {} callers", settings.callers),
        Load::Batches => "S2 enqueue by the batch of 1,000".into(),
        Load::Drain => format!("S3 drain {} queued jobs", settings.jobs),
        Load::Idle => "S4 enqueue to start, idle".into(),
        Load::Together => format!("S5 {} producers and a worker", settings.callers),
    }
}

fn judge(
    load: Load,
    settings: &Settings,
    haulier: Side,
    floor: Option<Side>,
    driver: Option<Side>,
    empty_call_us: Option<f64>,
) -> Measured {
    let ratio = floor.as_ref().map(|floor| haulier.jobs_per_second / floor.jobs_per_second);
    let commit = driver.as_ref().map(|driver| driver.p50_us);
    let at_most =
        |bound, figure: f64, limit: f64| Reach { bound, figure, limit, unit: "us", is_met: figure <= limit };
    let at_least = |bound, limit: f64| {
        ratio.map(|figure| Reach { bound, figure, limit, unit: "of the floor", is_met: figure >= limit })
    };
    let reach = match (load, commit.zip(empty_call_us)) {
        (Load::One, Some((commit, call))) => {
            vec![at_most("p50 within 1.3 commits and an empty call", haulier.p50_us, 1.3 * commit + call)]
        }
        (Load::Idle, Some((commit, call))) => vec![
            at_most("p50 within 1.5 commits and two empty calls", haulier.p50_us, 1.5 * commit + 2.0 * call),
            at_most("p99 within 5 commits", haulier.p99_us, 5.0 * commit),
        ],
        (Load::Batches, _) => at_least("at least 0.6 of the floor", 0.6).into_iter().collect(),
        (Load::Drain | Load::Together, _) => {
            at_least("at least half of the floor", 0.5).into_iter().collect()
        }
        (Load::One | Load::Idle | Load::Callers, _) => Vec::new(),
    };
    let (scenario, time_of) = match load {
        Load::One => ("S1", "a call"),
        Load::Callers => ("S2", "a call"),
        Load::Batches => ("S2", "a call of 1,000 jobs"),
        Load::Drain => ("S3", "the wait for the start, from when the worker begins"),
        Load::Idle => ("S4", "enqueue to start"),
        Load::Together => ("S5", "enqueue to start"),
    };
    Measured {
        scenario,
        name: describe(load, settings),
        time_of,
        haulier,
        floor,
        driver,
        ratio_to_floor: ratio,
        empty_call_us,
        reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::process::Cpu;

    fn side(jobs_per_second: f64, p50_us: f64, p99_us: f64) -> Side {
        Side { jobs_per_second, p50_us, p99_us, cpu_seconds_per_1000: Cpu::default(), rounds: vec![] }
    }

    fn settings() -> Settings {
        Settings {
            rounds: 1,
            seconds: 4,
            jobs: 1,
            payload_bytes: 200,
            callers: 2,
            worker_slots: 1,
            api_key: None,
        }
    }

    #[test]
    fn a_bound_in_commits_is_met_up_to_its_limit() {
        let measured = |p50, p99| {
            let driver = Some(side(1.0, 1_000.0, 0.0));
            judge(Load::Idle, &settings(), side(1.0, p50, p99), None, driver, Some(300.0)).reach
        };
        let met = |p50, p99| measured(p50, p99).iter().map(|reach| reach.is_met).collect::<Vec<_>>();
        assert_eq!(met(2_100.0, 5_000.0), [true, true]);
        assert_eq!(met(2_101.0, 5_001.0), [false, false]);
    }

    #[test]
    fn a_share_of_the_floor_is_judged_only_when_there_is_one() {
        let judged = |floor| judge(Load::Together, &settings(), side(49.0, 0.0, 0.0), floor, None, None);
        let beside = judged(Some(side(100.0, 0.0, 0.0)));
        assert_eq!((beside.ratio_to_floor, beside.reach[0].is_met), (Some(0.49), false));
        assert!(judged(None).reach.is_empty());
    }
}
