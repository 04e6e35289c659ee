//! Periodic workers as singletons: one process of a cluster does the work, and another takes over from it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haulier::{Background, Client, Periodic, PeriodicWorkers, RunContext};
use haulier_tests::{Process, Server, Signal, figure, monotonic, on_both, on_two_servers, until};
use tokio::sync::mpsc;

on_both!(
    a_singleton_that_is_killed_is_taken_over_within_its_lease_time,
    a_singleton_that_is_told_to_stop_is_taken_over_at_once,
    a_singleton_that_was_frozen_does_nothing_when_it_wakes,
    a_process_in_which_periodic_workers_are_switched_off_runs_none,
    a_singleton_whose_lock_is_broken_stops_and_takes_its_turn_again,
    a_singleton_waits_for_a_server_that_is_away,
);

on_two_servers!(one_of_many_singletons_works_over_two_servers,);

/// The lease time of the test program.
const LEASE: Duration = Duration::from_secs(5);
/// What a busy machine may take for the rest.
const SLACK: Duration = Duration::from_secs(6);

/// Processes with a singleton each, and the file of their runs.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("runs")
    }

    fn spawn(&self, server: &Server, name: &str) -> Process {
        self.spawn_with(server, name, &[])
    }

    fn spawn_with(&self, server: &Server, name: &str, env: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haulier-test-periodic"));
        command.arg(server.address()).arg(name).arg(self.path()).envs(env.iter().copied());
        Process::spawn(&mut command)
    }

    fn runs(&self) -> Vec<(String, i64)> {
        read(&self.path())
    }

    /// Waits until a process has run, and answers its latest token.
    async fn until_runs(&self, name: &str) -> i64 {
        self.until_runs_after(name, 0).await
    }

    /// As [`Cluster::until_runs`], not counting the first runs of the file.
    async fn until_runs_after(&self, name: &str, first: usize) -> i64 {
        let of = |runs: Vec<(String, i64)>| runs.into_iter().skip(first).rfind(|run| run.0 == name);
        until(&format!("{name} runs"), || async { of(self.runs()) }).await.1
    }
}

fn read(path: &Path) -> Vec<(String, i64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line =
        |line: &str| line.split_once(' ').map(|(name, token)| (name.to_owned(), token.parse().unwrap()));
    text.lines().filter_map(line).collect()
}

async fn a_singleton_that_is_killed_is_taken_over_within_its_lease_time(server: &Server) {
    let cluster = Cluster::new();
    let mut first = cluster.spawn(server, "first");
    let token = cluster.until_runs("first").await;
    let _second = cluster.spawn(server, "second");
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    assert!(cluster.runs().iter().all(|run| *run == ("first".into(), token)), "one works, and it renews");
    first.kill9();
    let begun = monotonic();
    let next = cluster.until_runs("second").await;
    let took = monotonic() - begun;
    figure(&format!(
        "a singleton was taken over {took:?} after its process was killed, lease time {LEASE:?}"
    ));
    assert!(next > token, "{next} after {token}");
    assert!(took < LEASE + SLACK, "{took:?}");
}

async fn a_singleton_that_is_told_to_stop_is_taken_over_at_once(server: &Server) {
    let cluster = Cluster::new();
    let mut first = cluster.spawn(server, "first");
    let token = cluster.until_runs("first").await;
    let _second = cluster.spawn(server, "second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.signal(Signal::TERM);
    let begun = monotonic();
    let next = cluster.until_runs("second").await;
    let took = monotonic() - begun;
    figure(&format!("a singleton was taken over {took:?} after its process was told to stop"));
    assert!(next > token);
    assert!(took < LEASE - Duration::from_secs(1), "{took:?}");
    assert!(first.wait(SLACK).await.expect("it ends").success());
}

async fn a_singleton_that_was_frozen_does_nothing_when_it_wakes(server: &Server) {
    let cluster = Cluster::new();
    let mut first = cluster.spawn(server, "first");
    let token = cluster.until_runs("first").await;
    let mut second = cluster.spawn(server, "second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.signal(Signal::STOP);
    let next = cluster.until_runs("second").await;
    assert!(next > token);
    let before = cluster.runs().len();
    first.signal(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let late: Vec<_> = cluster.runs().into_iter().skip(before).filter(|run| run.1 == token).collect();
    // It may have been frozen between its check and its write: that one is what the token is for.
    assert!(late.len() <= 1, "{late:?}");
    // It goes on waiting for its turn.
    second.kill9();
    let last = cluster.until_runs_after("first", before).await;
    let last = if last == token { until_larger(&cluster, token).await } else { last };
    assert!(last > next, "{last} after {next}");
}

async fn until_larger(cluster: &Cluster, token: i64) -> i64 {
    let larger = || async { cluster.runs().into_iter().rfind(|run| run.0 == "first" && run.1 > token) };
    until("the first runs again", larger).await.1
}

async fn a_process_in_which_periodic_workers_are_switched_off_runs_none(server: &Server) {
    let cluster = Cluster::new();
    let mut off = cluster.spawn_with(server, "off", &[("HAULIER_PERIODIC_ENABLED", "false")]);
    let _on = cluster.spawn(server, "on");
    cluster.until_runs("on").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(cluster.runs().iter().all(|run| run.0 == "on"));
    assert!(off.ended().is_none(), "it waits for its end");
    off.signal(Signal::TERM);
    assert!(off.wait(SLACK).await.expect("it ends").success());
}

async fn a_singleton_whose_lock_is_broken_stops_and_takes_its_turn_again(server: &Server) {
    let client = Client::connect(server.address()).await.unwrap();
    let workers = PeriodicWorkers::new(client.clone());
    let (tell, mut told) = mpsc::unbounded_channel();
    let run = move |run: RunContext| {
        let tell = tell.clone();
        async move {
            let token = run.fencing_token().expect("a singleton has a token");
            tell.send((token, "begins")).unwrap();
            run.stopped().await;
            tell.send((token, "stops")).unwrap();
            run.check()?;
            Ok(())
        }
    };
    let singleton = Background::new("listen").singleton_by("the-listener").lease_time(LEASE);
    let worker = workers.add_background(singleton, run).unwrap();
    let (first, _) = told.recv().await.unwrap();
    let held = client.break_lock("the-listener").reason("a test").await.unwrap();
    assert_eq!((held.fencing_token, held.owner.as_str()), (first, "listen"));
    assert_eq!(told.recv().await.unwrap(), (first, "stops"));
    let (second, what) = told.recv().await.unwrap();
    assert!(second > first && what == "begins");
    assert!(worker.is_running() && worker.last_error().is_none());
    workers.stop().await;
    assert_eq!(told.recv().await.unwrap(), (second, "stops"));
    let free = client.lock("the-listener").try_acquire().await.unwrap();
    assert!(free.is_some_and(|lock| lock.fencing_token() > second), "it was released");
}

async fn a_singleton_waits_for_a_server_that_is_away(server: &Server) {
    server.kill9();
    let cluster = Cluster::new();
    let _first = cluster.spawn(server, "first");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.runs().is_empty());
    server.restart().await;
    assert!(cluster.until_runs("first").await > 0);
}

async fn one_of_many_singletons_works_over_two_servers(server: &Server, replica: &Server) {
    let (working, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut groups = Vec::new();
    for number in 0..6 {
        let server = if number % 2 == 0 { server } else { replica };
        let workers = PeriodicWorkers::new(Client::connect(server.address()).await.unwrap());
        let (working, runs) = (working.clone(), runs.clone());
        let run = move |_: RunContext| {
            let (working, runs) = (working.clone(), runs.clone());
            async move {
                assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "two work at once");
                tokio::time::sleep(Duration::from_millis(30)).await;
                working.fetch_sub(1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let periodic = Periodic::new("count", Duration::from_millis(20)).run_at_start().singleton();
        let worker = workers.add_periodic(periodic.lease_time(LEASE), run).unwrap();
        groups.push((workers, worker));
    }
    // Each in turn does the work, and gives way when it is stopped.
    while !groups.is_empty() {
        let busy = || async {
            let at = groups.iter().position(|(_, worker)| worker.run_count() > 2);
            at.map(|at| (at, groups.iter().filter(|(_, worker)| worker.run_count() > 0).count()))
        };
        let (at, count) = until("one works", busy).await;
        assert_eq!(count, 1, "only one of those that are left has ever worked");
        let (workers, worker) = groups.remove(at);
        workers.stop().await;
        assert_eq!(worker.last_error(), None);
    }
    assert!(runs.load(Ordering::SeqCst) >= 18);
}
