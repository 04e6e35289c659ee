//! `haulier bench`: a short run of everything, so that it never rots. What it measures is not judged here.

use std::fs;
use std::process::{Command, Output};

use haulier_tests::{Database, Launch, Server, haulier_binary, mariadb};
use serde_json::Value;

/// Every load of every scenario.
const LOADS: [&str; 6] = ["S1 ", "S2 enqueue, ", "S2 enqueue by the batch", "S3 ", "S4 ", "S5 "];
const CALLERS: &str = "8";

fn bench(arguments: &[&str]) -> Output {
    let output = Command::new(haulier_binary()).arg("bench").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "haulier bench {arguments:?}: {error}");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The scenarios at about a second each.
fn report_of(target: &[&str]) -> Value {
    let short = ["--json", "--rounds", "1", "--seconds", "4", "--jobs", "1500", "--callers", CALLERS];
    let report = json(&bench(&[target, &short].concat()));
    assert!(!report["machine"]["system"].as_str().unwrap().is_empty());
    let names: Vec<&str> =
        report["scenarios"].as_array().unwrap().iter().map(|load| load["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), LOADS.len(), "{names:?}");
    for (name, wanted) in names.iter().zip(LOADS) {
        assert!(name.starts_with(wanted), "{names:?}");
    }
    report
}

/// Every figure is there and more than nothing, and whatever was enqueued has completed.
fn check_side(load: &Value, side: &str, has_database_process: bool) {
    let at = format!("{} of {}", side, load["name"]);
    let figures = &load[side];
    for name in ["jobs_per_second", "p50_us", "p99_us"] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}, {at}: {figures}");
    }
    let cpu = &figures["cpu_seconds_per_1000"];
    // A tick of the accounting is 10 ms: a short round may have used none.
    let is_known = |name: &str| cpu[name].as_f64().is_some_and(|seconds| seconds >= 0.0);
    assert!(is_known("clients"), "{at}: {cpu}");
    let has_server = side != "driver" || !has_database_process;
    assert_eq!(is_known("server"), has_server, "{at}: {cpu}");
    assert_eq!(is_known("database"), has_database_process, "{at}: {cpu}");
    let rounds = figures["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 1, "{at}");
    for round in rounds {
        assert!(round["jobs"].as_u64().is_some_and(|jobs| jobs > 0), "{at}: {round}");
        assert_eq!(round["jobs"], round["completed"], "{at}");
    }
}

fn check_all(report: &Value, has_database_process: bool) {
    for load in report["scenarios"].as_array().unwrap() {
        for side in ["haulier", "floor", "driver"] {
            check_side(load, side, has_database_process);
        }
        assert!(load["ratio_to_floor"].as_f64().is_some_and(|ratio| ratio > 0.0), "{load}");
    }
    let bounds: Vec<usize> = report["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|load| load["reach"].as_array().unwrap().len())
        .collect();
    assert_eq!(bounds, [1, 0, 1, 1, 2, 1]);
    assert_eq!(report["database"]["unsafe_because"], Value::Array(vec![]));
}

#[test]
fn every_scenario_is_measured_beside_the_floor_on_sqlite_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let report = report_of(&["--database-url", &format!("sqlite:{}", folder.path().display())]);
    check_all(&report, false);
    assert!(report["database"]["version"].as_str().unwrap().starts_with("SQLite 3."));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_scenario_is_measured_beside_the_floor_on_mariadb_and_its_databases_are_dropped() {
    // A server of its own: other tests run benchmarks on the shared one.
    let database = mariadb::MariaDb::start().unwrap();
    let report = report_of(&["--database-url", &database.database().unwrap()]);
    check_all(&report, true);
    assert!(report["database"]["version"].as_str().unwrap().contains("MariaDB"));
    let left = database.run_sql("SHOW DATABASES LIKE 'haulier\\_bench\\_%'").unwrap();
    assert_eq!(left.trim(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_already_is_measured_without_a_floor_and_said_so() {
    let server = Server::start(Launch::from(Database::Sqlite)).await;
    let url = server.address();
    let report = tokio::task::spawn_blocking(move || report_of(&["--url", &url])).await.unwrap();
    for load in report["scenarios"].as_array().unwrap() {
        check_side(load, "haulier", false);
        assert_eq!((&load["floor"], &load["driver"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(report["database"], Value::Null);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("no floor"), "{warnings}");
}

#[test]
fn unsafe_settings_of_the_database_are_told() {
    let database = mariadb::MariaDb::start_with(&["--innodb-flush-log-at-trx-commit=2"]).unwrap();
    let url = database.database().unwrap();
    let run = bench(&["--database-url", &url, "--scenario", "s4", "--rounds", "1", "--seconds", "1"]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("warning: not durable: innodb_flush_log_at_trx_commit is not 1"), "{text}");
    assert!(text.contains("p99 within 5 commits"), "{text}");
}

fn long_run(target: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out_text = out.to_str().unwrap();
    let long = ["--long", "--minutes", "0.1", "--snapshot-minutes", "0.03", "--out", out_text, "--json"];
    let told = json(&bench(&[target, &long, &["--callers", CALLERS]].concat()));
    let written: Value = serde_json::from_slice(&fs::read(out.join("long.json")).unwrap()).unwrap();
    assert_eq!(told, written);
    assert!(told["jobs"].as_u64().unwrap() > 0);
    assert_eq!(told["jobs"], told["completed"]);
    let samples = told["samples"].as_array().unwrap();
    let held = |sample: &&Value| sample["snapshot_is_held"] == Value::Bool(true);
    assert!(samples.iter().filter(held).count() >= 2, "{told}");
    assert!(!held(&&samples[0]) && !held(&samples.last().unwrap()));
    let verdict = &told["verdict"];
    for name in ["before_us", "held_worst_us", "after_us", "degradation"] {
        assert!(verdict[name].as_f64().is_some_and(|figure| figure > 0.0), "{verdict}");
    }
    let plot = fs::read_to_string(out.join("long.svg")).unwrap();
    assert_eq!(plot.matches("<polyline").count(), 3);
    assert!(plot.contains("a snapshot is held open"));
}

#[test]
fn a_long_run_holds_a_snapshot_and_draws_what_it_saw_on_sqlite() {
    long_run(&[]);
}

#[test]
fn a_long_run_holds_a_snapshot_and_draws_what_it_saw_on_mariadb() {
    long_run(&["--database-url", &mariadb::shared().database().unwrap()]);
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_option_to_mend() {
    for (arguments, told) in [
        (&["--database-url", "postgres://x/y"][..], "sqlite:FOLDER or mysql://"),
        (&["--database-url", "sqlite:/no/such/folder"], "is no folder"),
        (&["--rounds", "0"], "--rounds"),
        (&["--payload", "1"], "--payload"),
        (&["--long"], "--out"),
        (&["--long", "--out", "x", "--minutes", "1", "--snapshot-minutes", "2"], "--snapshot-minutes"),
        (&["--url", "http://127.0.0.1:1", "--database-url", "sqlite:."], "--database-url"),
    ] {
        let output = Command::new(haulier_binary()).arg("bench").args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{arguments:?}: {error}");
    }
}
