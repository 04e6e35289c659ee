//! How fast Haulier is, beside the least that its promise needs: `cargo bench -p haulier-tests`.
//!
//! The *floor* is a bare tonic service with the same messages that keeps the same promise by the fewest writes: a multi-row
//! insert of the jobs that came meanwhile, one commit, and an outcome row for each job that ended, one commit, by the bare
//! driver. It has no leases, no retries, no look-ups. Server, floor and worker are processes of their own; the database is
//! the same, with the same durability; the rounds of both alternate within one run. Figures are medians.
//!
//! Settings by environment: `HAULIER_BENCH_SECONDS` (5), `HAULIER_BENCH_ROUNDS` (3), `HAULIER_BENCH_DATABASE` (`both`,
//! `sqlite` or `mariadb`), `HAULIER_BENCH_CALLERS` (64).

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

mod drive;
mod service;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use haulier_tests::mariadb::MariaDb;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.get(1).map(String::as_str) {
        Some("floor-server") => runtime.block_on(service::serve(&args[2], &args[3])),
        Some("worker") => runtime.block_on(drive::work(&args[2])),
        _ => runtime.block_on(compare()),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn compare() -> Result<()> {
    let which = std::env::var("HAULIER_BENCH_DATABASE").unwrap_or_else(|_| "both".into());
    let folder = tempfile::tempdir()?;
    if which != "mariadb" {
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        compare_on("SQLite, synchronous=FULL", &file("haulier.db"), &file("floor.db")).await?;
    }
    if which != "sqlite" {
        let database = MariaDb::start()?;
        compare_on("MariaDB, fsync at every commit", &database.database()?, &database.database()?).await?;
    }
    Ok(())
}

/// What one round measured.
#[derive(Clone, Copy, Default)]
struct Round {
    jobs_per_second: f64,
    empty_call: Duration,
    start: Duration,
    enqueue: Duration,
}

async fn compare_on(title: &str, url: &str, floor_url: &str) -> Result<()> {
    let seconds = Duration::from_secs(setting("HAULIER_BENCH_SECONDS", 5));
    let callers = setting("HAULIER_BENCH_CALLERS", 64) as usize;
    let commit = service::measure_commit(floor_url).await?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..setting("HAULIER_BENCH_ROUNDS", 3) {
        ours.push(
            round(&haulier_binary()?, &["serve", "--database-url", url, "--listen"], seconds, callers)
                .await?,
        );
        let this = std::env::current_exe()?.display().to_string();
        floor.push(round(&this, &["floor-server", floor_url], seconds, callers).await?);
    }
    report(title, commit, &ours, &floor);
    Ok(())
}

/// Starts a server and a worker process, measures, ends both.
async fn round(program: &str, args: &[&str], seconds: Duration, callers: usize) -> Result<Round> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut server = Process::start(program, &[args, &[&address]].concat())?;
    let endpoint = format!("http://{address}");
    drive::wait_until_up(&endpoint).await.context("the server did not come up")?;
    let mut worker = Process::start(&std::env::current_exe()?.display().to_string(), &["worker", &endpoint])?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let empty_call = drive::empty_call(&endpoint).await?;
    let latency = drive::latency(&endpoint, 200).await?;
    let jobs_per_second = drive::throughput(&endpoint, callers, seconds).await?;
    worker.stop();
    server.stop();
    Ok(Round { jobs_per_second, empty_call, start: latency.start, enqueue: latency.enqueue })
}

fn report(title: &str, commit: Duration, ours: &[Round], floor: &[Round]) {
    let micros = |pick: fn(&Round) -> Duration, rounds: &[Round]| {
        median(rounds.iter().map(|round| pick(round).as_secs_f64() * 1e6).collect())
    };
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.jobs_per_second).collect());
    let (commit, empty) = (commit.as_secs_f64() * 1e6, micros(|round| round.empty_call, ours));
    let bound = 1.5 * commit + 2.0 * empty;
    let start = micros(|round| round.start, ours);
    println!("\n{title}");
    println!("  a commit (bare driver, the same rows), p50{commit:8.0} us");
    println!("  an empty call (tonic), p50                {empty:8.0} us");
    println!(
        "  enqueue to handler start, idle, p50       {start:8.0} us   bound 1.5 commits + 2 calls = {bound:.0} us, ratio {:.2}",
        start / bound
    );
    println!(
        "  enqueue answered, idle, p50               {:8.0} us   floor {:.0} us",
        micros(|round| round.enqueue, ours),
        micros(|round| round.enqueue, floor)
    );
    println!(
        "  enqueue to stored completion, jobs/s      {:8.0}      floor {:.0}, ratio {:.2}",
        rate(ours),
        rate(floor),
        rate(ours) / rate(floor)
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The release binary: a figure of a debug build says nothing.
fn haulier_binary() -> Result<String> {
    if let Ok(path) = std::env::var("HAULIER_BIN") {
        return Ok(path);
    }
    let target = std::env::current_exe()?.ancestors().nth(2).context("no target folder")?.join("haulier");
    if !target.exists() {
        bail!("{} is missing: run `cargo build --release` first, or set HAULIER_BIN", target.display());
    }
    Ok(target.display().to_string())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Process(std::process::Child);

impl Process {
    fn start(program: &str, args: &[&str]) -> Result<Self> {
        let child = std::process::Command::new(program)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.with_context(|| format!("cannot start {program}"))?))
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
