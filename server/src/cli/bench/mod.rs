//! The benchmark: Haulier beside the least that its promise needs, on the same database, in one run.
//!
//! Three are measured in turn, round by round. *Haulier* is a server process of this program's own ([`system`]). The *floor*
//! is a bare tonic service with the same messages ([`floor`]) that keeps the same promise by the fewest writes: a
//! multi-row insert of the jobs that came meanwhile, and a move to the history for those that ended, a commit each; it has
//! no leases, no retries and no look-ups. The *driver* ([`driver`]) makes the floor's writes alone. Callers and the worker
//! process are the same for both services: users of the Rust SDK, as any program is.
//!
//! The floor is a server and speaks SQL, which no other part of the command line does: here is the exception to the
//! table of rooms, and it stays here.

mod driver;
mod error;
mod figures;
mod floor;
mod long;
mod machine;
mod place;
mod plot;
mod process;
mod report;
mod scenarios;
mod system;
mod time;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{FAILED, OK, USAGE};
use error::Result;

/// Arguments of `bench`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    role: Option<Role>,
    /// Address of a server that runs already; then there is no floor [default: a server of its own]
    #[arg(long, value_name = "URL", conflicts_with = "database_url")]
    url: Option<String>,
    /// API key for --url
    #[arg(long, env = "HAULIER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Database for its own server: sqlite:folder, where it makes files, or mysql://user:password@host, where it makes
    /// databases; it removes them at the end [default: SQLite in a temporary folder]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Scenario; may be repeated [default: all]
    #[arg(long, value_enum, ignore_case = true)]
    scenario: Vec<Scenario>,
    /// Rounds of each scenario, in which Haulier, the floor and the driver alternate; figures are their medians
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of S5, seconds; S1, S2 and S4 take a quarter of it
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Jobs that S3 drains
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    jobs: u64,
    /// Size of a request, bytes of JSON
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(48..=100_000))]
    payload: u32,
    /// Callers that enqueue at once in S2 and S5
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    callers: u32,
    /// Jobs that the worker process runs at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: u32,
    /// Write JSON, with every round, instead of a table
    #[arg(long)]
    json: bool,
    /// Instead of the scenarios: S5 for a long time, for a part of it beside a snapshot that another connection holds open
    #[arg(long, conflicts_with_all = ["url", "scenario", "rounds", "seconds", "jobs"], requires = "out")]
    long: bool,
    /// Length of the long run, minutes, 0.1 to 10000
    #[arg(long, value_name = "MINUTES", default_value_t = 30.0, requires = "long", value_parser = minutes)]
    minutes: f64,
    /// How long the snapshot is held in the middle of the long run, minutes; 0: not at all
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, requires = "long", value_parser = minutes)]
    snapshot_minutes: f64,
    /// Folder for long.svg and long.json of the long run; made if it is missing
    #[arg(long, value_name = "DIR", requires = "long")]
    out: Option<PathBuf>,
}

/// Processes of a benchmark, started by itself.
#[derive(Subcommand)]
enum Role {
    /// The worker process: connects, and serves when it is told to.
    #[command(hide = true)]
    Worker(worker::WorkerRole),
    /// The floor.
    #[command(hide = true)]
    Floor(floor::FloorRole),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Enqueue, one caller, one at a time
    S1,
    /// Enqueue with many callers, and by EnqueueBatch of 1,000
    S2,
    /// Drain queued no-op jobs
    S3,
    /// From the enqueue to the start of its handler on an idle system
    S4,
    /// Producers and workers together
    S5,
}

/// What the scenarios are run with.
#[derive(Clone, Debug, serde::Serialize)]
struct Settings {
    rounds: u32,
    seconds: u64,
    jobs: u64,
    payload_bytes: u32,
    callers: u32,
    worker_slots: u32,
    #[serde(skip)]
    api_key: Option<String>,
}

impl Settings {
    /// Length of S5.
    fn long(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Length of the others that are measured by time.
    fn short(&self) -> Duration {
        self.long() / 4
    }
}

fn minutes(text: &str) -> std::result::Result<f64, String> {
    let minutes = text.parse::<f64>().map_err(|error| error.to_string())?;
    let fits = minutes == 0.0 || (0.01..=10_000.0).contains(&minutes);
    fits.then_some(minutes).ok_or_else(|| "is 0, or from 0.01 to 10000".into())
}

/// Runs the benchmark; answers the exit code.
pub(super) async fn bench(arguments: Bench) -> u8 {
    let done = match arguments.role {
        Some(Role::Worker(role)) => worker::work(role).await,
        Some(Role::Floor(role)) => floor::serve(role).await,
        None if arguments.long && arguments.snapshot_minutes >= arguments.minutes => {
            super::warn(
                "--snapshot-minutes must be less than --minutes: there is a time before and after it",
            );
            return USAGE;
        }
        None => measure(arguments).await,
    };
    match done {
        Ok(()) => OK,
        Err(error) => {
            super::warn(&error.to_string());
            FAILED
        }
    }
}

/// Measures until it is done or interrupted; what was made in the database is removed either way.
async fn measure(arguments: Bench) -> Result<()> {
    let settings = Settings {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        jobs: arguments.jobs,
        payload_bytes: arguments.payload,
        callers: arguments.callers,
        worker_slots: arguments.slots,
        api_key: arguments.api_key,
    };
    if cfg!(debug_assertions) {
        super::warn("this is a debug build: its figures say nothing; build with --release");
    }
    let mut place = match &arguments.url {
        Some(url) => place::Place::Server(url.clone()),
        None => place::Place::open(arguments.database_url.as_deref()).await?,
    };
    let scenarios =
        if arguments.scenario.is_empty() { Scenario::value_variants().to_vec() } else { arguments.scenario };
    let measured = tokio::select! {
        done = async {
            match &arguments.out {
                Some(folder) => {
                    let plan = long::Plan { minutes: arguments.minutes, snapshot_minutes: arguments.snapshot_minutes };
                    long::run(&mut place, &settings, plan, folder, arguments.json).await
                }
                None => all(&mut place, &settings, &scenarios, arguments.json).await,
            }
        } => done,
        () = process::interrupted() => Err(error::Error::new("interrupted: what was measured so far is not shown")),
    };
    place.clean_up().await.and(measured)
}

async fn all(
    place: &mut place::Place,
    settings: &Settings,
    scenarios: &[Scenario],
    as_json: bool,
) -> Result<()> {
    let mut report = report::Report::begin(place, settings).await?;
    for scenario in Scenario::value_variants().iter().filter(|scenario| scenarios.contains(scenario)) {
        report.scenarios.extend(scenarios::run(*scenario, place, settings).await?);
    }
    report.end();
    super::show::line(&if as_json { report.json()? } else { report.text() });
    Ok(())
}
