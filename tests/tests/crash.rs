//! Crash tests: a mixed load by real processes, while servers, worker processes and the database are killed and frozen.
//!
//! One run a database, shared by all tests here: `crash/rig.rs` has the processes, `crash/actors.rs` those who enqueue, cancel
//! and requeue, `crash/faults.rs` what is broken and when, `crash/autopsy.rs` what is read in the end. Everyone writes a history;
//! the checker of the harness compares the histories with what is left. Each test here asks for one promise of guarantees.md.
//!
//! `HAULIER_CRASH_ROUNDS=30` kills 30 times each.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted fails it, at its line")]
#![expect(clippy::print_stdout, reason = "figures are printed, and only asserted with generous margins")]

#[path = "crash/actors.rs"]
mod actors;
#[path = "crash/autopsy.rs"]
mod autopsy;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/lanes.rs"]
mod lanes;
#[path = "crash/rig.rs"]
mod rig;

use std::sync::OnceLock;

use haulier_tests::checker::{Verdict, check};
use haulier_tests::figure;
use rig::{Engine, Rig};

macro_rules! promises {
    ($($name:ident: $guarantee:literal),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn on_sqlite() {
                super::must_hold($guarantee, super::on_sqlite());
            }

            #[test]
            fn on_mariadb() {
                super::must_hold($guarantee, super::on_mariadb());
            }
        }
    )+ };
}

promises!(
    g01_no_accepted_job_is_gone_and_none_is_invented: 1,
    g02_every_accepted_job_ends_and_nothing_is_left_over: 2,
    g03_every_job_is_started_and_no_attempt_starts_twice_without_a_revocation: 3,
    g04_no_run_has_two_outcomes: 4,
    g05_fencing_tokens_grow_and_a_revoked_holder_changes_nothing: 5,
    g06_a_repeated_enqueue_makes_one_job_and_a_repeated_requeue_one_run: 6,
    g07_no_restart_of_ours_revokes_the_lease_of_a_worker_that_lives: 7,
    g08_jobs_of_a_dead_worker_start_again_in_time: 8,
    g11_a_job_that_was_cancelled_while_it_waited_never_starts: 11,
);

mod g09_jobs_of_a_named_worker_are_leased_one_at_a_time_in_their_order {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::lanes::run(super::Engine::Sqlite, super::rounds()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_mariadb() {
        super::lanes::run(super::Engine::MariaDb, super::rounds()).await;
    }
}

fn must_hold(guarantee: u8, verdict: &Verdict) {
    let broken: Vec<String> = verdict
        .findings
        .iter()
        .filter(|finding| finding.guarantee == guarantee)
        .map(ToString::to_string)
        .collect();
    let some = &broken[..broken.len().min(20)];
    assert!(broken.is_empty(), "{} findings, the first:\n{}", broken.len(), some.join("\n"));
}

fn on_sqlite() -> &'static Verdict {
    static VERDICT: OnceLock<Verdict> = OnceLock::new();
    VERDICT.get_or_init(|| run(Engine::Sqlite))
}

fn on_mariadb() -> &'static Verdict {
    static VERDICT: OnceLock<Verdict> = OnceLock::new();
    VERDICT.get_or_init(|| run(Engine::MariaDb))
}

/// A whole run: load, faults, quiet, autopsy, verdict.
fn run(engine: Engine) -> Verdict {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut rig = Rig::start(engine).await;
        let load = actors::begin(&rig);
        let mut figures = faults::break_everything(&mut rig, rounds()).await;
        load.end().await;
        let evidence = autopsy::of(&rig).await;
        let verdict = check(&evidence);
        figures.extend(verdict.figures.iter().cloned());
        figures.iter().for_each(|text| figure(&format!("{engine:?}, {text}")));
        if !verdict.findings.is_empty() {
            println!("the histories are kept in {}", rig.keep().display());
        }
        verdict
    })
}

fn rounds() -> usize {
    let rounds = std::env::var("HAULIER_CRASH_ROUNDS").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("HAULIER_CRASH_ROUNDS is a number"))
}
