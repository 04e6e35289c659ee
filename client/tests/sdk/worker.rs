//! The worker against a server that loses answers, cuts streams, goes silent and ends sessions.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::fake::{Cut, Fake};
use futures::FutureExt as _;
use haulier::proto as pb;
use haulier::{Cancelled, Client, HandlerError, Job, StopReason, Worker};
use pb::outcome_report::Outcome;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Shows what the worker logs when a test is run with `RUST_LOG`.
fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// A worker that runs until it is told to stop.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<haulier::Result<()>>,
}

impl Running {
    fn start(worker: Worker) -> Self {
        show_logs();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run_until(async {
            let _ = stopped.await;
        }));
        Self { stop, task }
    }

    async fn stop(self) -> haulier::Result<()> {
        let _ = self.stop.send(());
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it ends").unwrap()
    }
}

async fn worker(fake: &Fake) -> Worker {
    Worker::new(fake.client().await).slots(4).drain_time(Duration::from_millis(300))
}

async fn echo(_: Job, value: Value) -> Result<Value, HandlerError> {
    Ok(value)
}

fn result(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Complete(complete) => match complete.result.as_ref()?.kind.as_ref()? {
            pb::payload::Kind::Json(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A worker in a process of its own, run by the tests of signals and switches.
#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn child() {
    let client = Client::from_env().await.unwrap();
    let hang = |_: Job, (): ()| async { std::future::pending::<Result<(), HandlerError>>().await };
    let worker = Worker::new(client).drain_time(Duration::from_millis(200)).named("hang", hang);
    worker.run().await.unwrap();
}

struct Child(std::process::Child);

impl Child {
    fn start(fake: &Fake, enabled: &str) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "worker::child", "--nocapture"]);
        command.env("HAULIER_ADDRESS", &fake.address).env("HAULIER_WORKER_ENABLED", enabled);
        Self(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap())
    }

    fn terminate(&self) {
        let id = self.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    async fn ended(mut self) -> bool {
        for _ in 0..1_000 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.0.kill().unwrap();
        panic!("the child does not end");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_drains_and_the_process_ends_well() {
    let fake = Fake::start();
    let lease = fake.add("hang", "null");
    let child = Child::start(&fake, "true");
    fake.received().await;
    child.terminate();
    assert!(child.ended().await);
    assert!(matches!(fake.outcome(&lease).await, Outcome::Release(_)));
    fake.with(|state| assert_eq!(state.unregistered.len(), 1));
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_releases_what_it_holds() {
    let fake = Fake::start();
    let lease = fake.add("hang", "null");
    let child = Child::start(&fake, "true");
    fake.received().await;
    child.terminate();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let begin = Instant::now();
    child.terminate();
    assert!(!child.ended().await, "it says that it was aborted");
    assert!(begin.elapsed() < Duration::from_secs(4), "the time to stop is 5 s");
    assert!(matches!(fake.outcome(&lease).await, Outcome::Release(_)));
}

#[cfg(unix)]
#[tokio::test]
async fn a_worker_that_is_switched_off_only_waits_for_the_signal() {
    let fake = Fake::start();
    let child = Child::start(&fake, "false");
    tokio::time::sleep(Duration::from_millis(800)).await;
    child.terminate();
    assert!(child.ended().await);
    fake.with(|state| assert!(state.sessions.is_empty()));
}

fn failure(outcome: Outcome) -> pb::FailOutcome {
    match outcome {
        Outcome::Fail(fail) => fail,
        other => panic!("{other:?} in place of a failure"),
    }
}

#[tokio::test]
async fn it_says_when_it_is_registered_and_not_before() {
    let fake = Fake::start();
    let worker = worker(&fake).await.named("echo", echo);
    let registered = worker.registered();
    assert!(worker.registered().now_or_never().is_none());
    let running = Running::start(worker);
    tokio::time::timeout(Duration::from_secs(10), registered).await.expect("it registers");
    fake.with(|state| assert_eq!(state.sessions.len(), 1));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_is_claimed_run_and_reported() {
    let fake = Fake::start();
    let lease = fake.add("echo", "[1, 2]");
    let running = Running::start(worker(&fake).await.name("tester").named("echo", echo));
    assert_eq!(result(&fake.outcome(&lease).await), Some("[1,2]"));
    running.stop().await.unwrap();
    fake.with(|state| {
        let session = &state.sessions[0];
        assert_eq!(
            (session.name.as_str(), session.slots, session.commands[0].command.as_str()),
            ("tester", 4, "echo")
        );
        assert!(session.sdk.starts_with("haulier-rust/"));
        assert_eq!(state.unregistered, ["session-1"]);
    });
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_repeated_and_gives_the_same_jobs() {
    let fake = Fake::start();
    fake.with(|state| state.faults.lose_claim_answers = 2);
    let lease = fake.add("echo", "1");
    let running = Running::start(worker(&fake).await.named("echo", echo));
    fake.outcome(&lease).await;
    let second = fake.add("echo", "2");
    fake.outcome(&second).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let sequences: Vec<_> =
            state.claims.iter().map(|claim| (claim.sequence, claim.ack_sequence)).collect();
        assert_eq!(&sequences[..4], [(1, 0), (1, 0), (1, 0), (2, 1)], "{sequences:?}");
        assert!(sequences.windows(2).all(|pair| pair[1].0 >= pair[0].0));
        assert_eq!(state.outcomes[&lease].len(), 1);
    });
}

#[tokio::test]
async fn while_many_jobs_wait_a_second_loop_claims_and_each_is_run_once() {
    let fake = Fake::start();
    let leases: Vec<String> = (0..3_000).map(|number| fake.add("echo", &number.to_string())).collect();
    fake.with(|state| {
        state.answer_max = 200;
        state.faults.lose_claim_answers = 5;
        state.faults.cuts.extend([(4, Cut::Before), (5, Cut::After), (6, Cut::Before)]);
    });
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let count = move |_: Job, number: u64| {
        counted.fetch_add(1, SeqCst);
        async move { Ok(number) }
    };
    let running = Running::start(worker(&fake).await.slots(400).named("echo", count));
    for (number, lease) in leases.iter().enumerate() {
        assert_eq!(result(&fake.outcome(lease).await), Some(number.to_string().as_str()));
    }
    // When none wait any more, one loop asks.
    let last = fake.add("echo", "7");
    fake.outcome(&last).await;
    running.stop().await.unwrap();
    assert_eq!(starts.load(SeqCst), 3_001);
    fake.with(|state| {
        for number in [0, 1] {
            let of_loop = || state.claims.iter().filter(|claim| claim.r#loop == number);
            assert!(of_loop().count() > 1, "loop {number} claims");
            let mut sequences: Vec<i64> = of_loop().map(|claim| claim.sequence).collect();
            assert!(sequences.is_sorted(), "loop {number}: {sequences:?}");
            sequences.dedup();
            assert_eq!(sequences, (1..=sequences.len() as i64).collect::<Vec<_>>(), "loop {number}");
            assert!(of_loop().all(|claim| claim.ack_sequence < claim.sequence));
            let told = state.reports.iter().flat_map(|(_, report)| &report.received);
            assert!(
                told.clone().any(|received| received.r#loop == number),
                "answers of loop {number} are told"
            );
        }
        let asked: i32 = state.claims.iter().map(|claim| claim.max_jobs).max().unwrap();
        assert!(asked <= 400);
    });
}

#[tokio::test]
async fn a_second_loop_repeats_a_claim_without_an_answer_also_when_no_more_jobs_wait() {
    let fake = Fake::start();
    let leases: Vec<String> = (0..2_000).map(|number| fake.add("echo", &number.to_string())).collect();
    fake.with(|state| {
        state.answer_max = 200;
        state.faults.lose_second_loop = true;
    });
    let running = Running::start(worker(&fake).await.slots(400).named("echo", echo));
    for lease in &leases {
        fake.outcome(lease).await;
    }
    running.stop().await.unwrap();
    fake.with(|state| assert!(state.claims.iter().filter(|claim| claim.r#loop == 1).count() > 1));
}

#[tokio::test]
async fn a_stream_cut_at_any_message_loses_nothing_and_the_job_is_done_once() {
    for cut in [Cut::Before, Cut::After] {
        for message in 1..=6 {
            let fake = Fake::start();
            fake.with(|state| state.faults.cuts.extend([(message, cut), (1, cut), (2, cut)]));
            let lease = fake.add("talk", "null");
            let starts = Arc::new(AtomicUsize::new(0));
            let counted = starts.clone();
            let talk = move |job: Job, (): ()| {
                counted.fetch_add(1, SeqCst);
                async move {
                    for line in 0..6 {
                        job.info(format!("line {line}")).await;
                        tokio::time::sleep(Duration::from_millis(15)).await;
                    }
                    job.checkpoint(&"half").await?;
                    job.info("the last one").await;
                    Ok("done")
                }
            };
            let running = Running::start(worker(&fake).await.named("talk", talk));
            let outcome = fake.outcome(&lease).await;
            running.stop().await.unwrap();
            let place = format!("cut {cut:?} message {message}");
            assert_eq!(result(&outcome), Some("\"done\""), "{place}");
            assert_eq!(starts.load(SeqCst), 1, "{place}");
            fake.with(|state| {
                let first = &state.outcomes[&lease][0];
                assert!(state.outcomes[&lease].iter().all(|repeat| repeat == first), "{place}");
                let expected: Vec<_> =
                    (0..6).map(|line| format!("line {line}")).chain(["the last one".into()]).collect();
                assert_eq!(state.lines[&lease], expected, "{place}");
                assert!(state.streams >= 2, "{place}");
            });
        }
    }
}

#[tokio::test]
async fn a_heartbeat_lists_every_lease_until_its_outcome_is_acknowledged() {
    let fake = Fake::start();
    let (slow, quick) = (fake.add("wait", "600"), fake.add("wait", "1"));
    let wait = |_: Job, ms: u64| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    };
    let running = Running::start(worker(&fake).await.named("wait", wait));
    fake.outcome(&quick).await;
    fake.outcome(&slow).await;
    let done = fake.with(|state| state.reports.len());
    fake.until("a heartbeat after that", |state| {
        state.reports[done..].iter().find_map(|(_, report)| report.heartbeat.clone())
    })
    .await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let beats: Vec<_> =
            state.reports.iter().filter_map(|(_, report)| report.heartbeat.as_ref()).collect();
        assert!(beats.iter().any(|beat| beat.leases == [slow.clone()]), "while it runs: {beats:?}");
        assert!(beats.last().unwrap().leases.is_empty());
        assert!(beats.windows(2).all(|pair| pair[1].beat > pair[0].beat));
        let last = &beats.last().unwrap().loops[0];
        assert!(last.received >= 1 && last.sent >= last.received && !last.sent_open, "{last:?}");
    });
}

#[tokio::test]
async fn the_server_is_told_that_an_answer_arrived_before_its_first_handler_starts() {
    let fake = Fake::start();
    fake.with(|state| state.faults.refuse_streams = true);
    let lease = fake.add("mark", "null");
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let mark = move |job: Job, (): ()| {
        counted.fetch_add(1, SeqCst);
        job.progress(0.1);
        async { Ok(()) }
    };
    let running = Running::start(worker(&fake).await.named("mark", mark));
    fake.until("the next claim", |state| state.claims.iter().find(|claim| claim.sequence == 2).map(|_| ()))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(starts.load(SeqCst), 0, "no stream has taken it yet");
    fake.with(|state| state.faults.refuse_streams = false);
    fake.outcome(&lease).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let messages = || state.reports.iter().map(|(_, report)| report);
        let received = messages().position(|report| !report.received.is_empty()).unwrap();
        let progress = messages().position(|report| !report.progress.is_empty()).unwrap();
        assert!(received <= progress);
    });
}

#[tokio::test]
async fn a_drain_releases_what_does_not_end_and_gives_back_what_an_open_claim_may_bring() {
    let fake = Fake::start();
    let lease = fake.add("obey", "null");
    let obey = |job: Job, (): ()| async move {
        assert_eq!(job.cancelled().await.reason, StopReason::Drain);
        Err::<(), _>(Cancelled.into())
    };
    let running = Running::start(worker(&fake).await.named("obey", obey));
    fake.until("that it runs", |state| (!state.leased.is_empty() && state.claims.len() > 1).then_some(()))
        .await;
    running.stop().await.unwrap();
    assert!(matches!(fake.outcome(&lease).await, Outcome::Release(_)));
    fake.with(|state| {
        let beats = state.reports.iter().filter_map(|(_, report)| report.heartbeat.as_ref());
        let closed =
            beats.filter_map(|beat| beat.loops.first()).any(|it| it.sent > it.received && !it.sent_open);
        assert!(closed, "the open claim is said to be closed");
        assert_eq!(state.unregistered, ["session-1"]);
    });
}

#[tokio::test]
async fn a_drain_ordered_by_the_server_ends_the_worker() {
    let fake = Fake::start();
    let running = Running::start(worker(&fake).await.named("echo", echo));
    fake.until("the stream", |state| (state.streams > 0).then_some(())).await;
    fake.direct(pb::directive::Kind::Drain(pb::Drain { reason: "deploy".into(), grace: None }));
    tokio::time::timeout(Duration::from_secs(10), running.task).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_fails_the_attempt_and_the_worker_goes_on() {
    let fake = Fake::start();
    let (bad, good) = (fake.add("divide", "0"), fake.add("divide", "2"));
    let divide = |_: Job, by: u32| async move {
        assert!(by != 0, "divided by {by}");
        Ok(10 / by)
    };
    let running = Running::start(worker(&fake).await.named("divide", divide));
    let fail = failure(fake.outcome(&bad).await);
    assert_eq!(fail.code, "Panic");
    assert!(fail.message.contains("divided by 0"), "{}", fail.message);
    assert_eq!(fail.retryable, None);
    assert_eq!(result(&fake.outcome(&good).await), Some("5"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_cancel_reaches_the_handler_with_its_reason() {
    let fake = Fake::start();
    let lease = fake.add("obey", "null");
    let obey = |job: Job, (): ()| async move {
        let stop = job.cancelled().await;
        assert_eq!((stop.reason, stop.message.as_str()), (StopReason::Client, "not needed"));
        job.check()?;
        Ok(())
    };
    let running = Running::start(worker(&fake).await.named("obey", obey));
    fake.received().await;
    fake.direct(pb::directive::Kind::Cancel(pb::CancelDirective {
        lease: lease.clone(),
        reason: "not needed".into(),
        grace: None,
        kind: pb::CancelKind::Client.into(),
    }));
    assert!(matches!(fake.outcome(&lease).await, Outcome::Cancelled(it) if it.reason == "not needed"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_ignores_a_cancel_is_dropped_after_the_grace() {
    let fake = Fake::start();
    let lease = fake.add("ignore", "null");
    let ignore = |_: Job, (): ()| async { std::future::pending::<Result<(), HandlerError>>().await };
    let running = Running::start(worker(&fake).await.named("ignore", ignore));
    fake.received().await;
    fake.direct(pb::directive::Kind::Cancel(pb::CancelDirective {
        lease: lease.clone(),
        grace: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        kind: pb::CancelKind::Client.into(),
        ..Default::default()
    }));
    assert!(matches!(fake.outcome(&lease).await, Outcome::Cancelled(_)));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_past_its_timeout_is_told_and_dropped_after_ten_seconds() {
    let fake = Fake::start();
    let short =
        |job: &mut pb::LeasedJob| job.timeout = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let (obeying, ignoring) = (fake.add_with("run", "true", short), fake.add_with("run", "false", short));
    let run = |job: Job, obeys: bool| async move {
        assert_eq!(job.cancelled().await.reason, StopReason::Timeout);
        if obeys { Err::<(), _>(Cancelled.into()) } else { std::future::pending().await }
    };
    let running = Running::start(worker(&fake).await.named("run", run));
    let begin = Instant::now();
    assert_eq!(failure(fake.outcome(&obeying).await).reason(), pb::FailureReason::Timeout);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(failure(fake.outcome(&ignoring).await).reason(), pb::FailureReason::Timeout);
    assert!(begin.elapsed() >= Duration::from_secs(10));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_session_stops_its_handlers_and_the_worker_registers_anew() {
    let fake = Fake::start();
    let lost = fake.add("hold", "null");
    let (tell, told) = oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let hold = move |job: Job, (): ()| {
        let tell = tell.lock().unwrap().take();
        async move {
            let stop = job.cancelled().await;
            if let Some(tell) = tell {
                let _ = tell.send(stop.reason);
            }
            Err::<(), _>(Cancelled.into())
        }
    };
    let running = Running::start(worker(&fake).await.named("hold", hold).named("echo", echo));
    fake.received().await;
    fake.lose_session();
    assert_eq!(told.await.unwrap(), StopReason::LeaseLost);
    let next = fake.add("echo", "1");
    fake.outcome(&next).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        assert_eq!(state.sessions.len(), 2);
        assert_eq!(state.sessions[0].instance_id, state.sessions[1].instance_id);
        assert!(!state.outcomes.contains_key(&lost), "nothing is said of a lost lease");
        assert!(state.claims.iter().any(|claim| claim.session_id == "session-2" && claim.sequence == 1));
    });
}

#[tokio::test]
async fn without_acknowledged_heartbeats_strict_handlers_stop_themselves_and_others_run_on_in_doubt() {
    let fake = Fake::start();
    fake.with(|state| {
        state.lease_time = Duration::from_secs(2);
        state.interval = Duration::from_millis(300);
    });
    let strict = fake.add_with("strict", "null", |job| job.strict = true);
    let stubborn = fake.add_with("stubborn", "null", |job| job.strict = true);
    let lax = fake.add("lax", "null");
    let strictly = |job: Job, (): ()| async move {
        assert_eq!(job.cancelled().await.reason, StopReason::LeaseInDoubt);
        Err::<(), _>(Cancelled.into())
    };
    let stubbornly = |_: Job, (): ()| async { std::future::pending::<Result<(), HandlerError>>().await };
    let laxly = |job: Job, (): ()| async move {
        while !job.is_in_doubt() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(job.stop().is_none())
    };
    let worker =
        worker(&fake).await.named("strict", strictly).named("stubborn", stubbornly).named("lax", laxly);
    let running = Running::start(worker);
    fake.until("that all run", |state| (state.leased.len() == 3 && state.streams > 0).then_some(())).await;
    fake.with(|state| state.faults.is_frozen = true);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    fake.with(|state| state.faults.is_frozen = false);
    assert!(matches!(fake.outcome(&strict).await, Outcome::Release(_)));
    assert!(matches!(fake.outcome(&stubborn).await, Outcome::Release(_)), "dropped when the lease was over");
    assert_eq!(result(&fake.outcome(&lax).await), Some("true"));
    running.stop().await.unwrap();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "blocking is what is tested")]
async fn a_handler_that_blocks_its_runtime_does_not_stop_heartbeats() {
    let fake = Fake::start();
    let lease = fake.add("block", "null");
    let block = |_: Job, (): ()| async {
        std::thread::sleep(Duration::from_millis(1_500));
        Ok(())
    };
    let running = Running::start(worker(&fake).await.named("block", block));
    fake.outcome(&lease).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let beats = state.reports.iter().filter_map(|(_, report)| report.heartbeat.as_ref());
        let while_held = beats.filter(|beat| beat.leases.contains(&lease)).count();
        assert!(while_held >= 5, "{while_held} heartbeats in 1.5 s, one is due every 200 ms");
    });
}

#[tokio::test]
async fn arguments_that_cannot_be_read_fail_at_once() {
    let fake = Fake::start();
    let lease = fake.add("add", "\"three\"");
    let running = Running::start(worker(&fake).await.named("add", |_: Job, n: u32| async move { Ok(n + 1) }));
    let fail = failure(fake.outcome(&lease).await);
    assert_eq!((fail.reason(), fail.retryable), (pb::FailureReason::UnreadableRequest, Some(false)));
    assert!(fail.message.contains("u32"), "{}", fail.message);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_that_cannot_be_stored_fails_the_job() {
    let fake = Fake::start();
    fake.with(|state| state.faults.refuse_results = true);
    let refused = fake.add("echo", "1");
    let large = fake.add("large", "null");
    let large_result = |_: Job, (): ()| async { Ok("x".repeat(4 << 20)) };
    let running = Running::start(worker(&fake).await.named("echo", echo).named("large", large_result));
    for lease in [refused, large] {
        let fail = failure(fake.outcome(&lease).await);
        assert_eq!((fail.reason(), fail.retryable), (pb::FailureReason::UnstorableResult, Some(false)));
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn log_lines_never_exceed_the_credit_and_all_arrive_in_order() {
    let fake = Fake::start();
    fake.with(|state| state.credit = 20_000);
    let lease = fake.add("chatter", "null");
    let chatter = |job: Job, (): ()| async move {
        for line in 0..3_000 {
            job.info(format!("{line} {}", "x".repeat(500))).await;
        }
        Ok(())
    };
    let running = Running::start(worker(&fake).await.named("chatter", chatter));
    fake.outcome(&lease).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let numbers =
            state.lines[&lease].iter().map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap());
        assert!(numbers.eq(0..3_000));
        assert!(state.worst_credit >= 0, "{}", state.worst_credit);
    });
}

#[tokio::test]
async fn slots_bound_how_many_jobs_run_and_are_asked_for_again_when_free() {
    let fake = Fake::start();
    let leases: Vec<_> = (0..20).map(|n| fake.add("count", &n.to_string())).collect();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_in, most_in) = (now.clone(), most.clone());
    let count = move |_: Job, n: u32| {
        let (now, most) = (now_in.clone(), most_in.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, SeqCst);
            Ok(n)
        }
    };
    let running = Running::start(worker(&fake).await.named("count", count));
    for lease in &leases {
        fake.outcome(lease).await;
    }
    running.stop().await.unwrap();
    assert_eq!(most.load(SeqCst), 4);
    fake.with(|state| assert!(state.claims.iter().all(|claim| claim.max_jobs <= 4 && claim.max_jobs >= 1)));
}

#[tokio::test]
async fn a_job_enqueued_through_the_running_one_descends_from_it() {
    let fake = Fake::start();
    let lease = fake.add_with("parent", "null", |job| {
        job.user_id = "anna".into();
        job.options.get_or_insert_default().traceparent =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    });
    let parent = |job: Job, (): ()| async move {
        job.enqueue_named("child", 1).tag("t").await?;
        job.client().enqueue_named("other", 2).user_id("bert").parent_id(99).await?;
        Ok(())
    };
    let running = Running::start(worker(&fake).await.named("parent", parent));
    let outcome = fake.outcome(&lease).await;
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    running.stop().await.unwrap();
    fake.with(|state| {
        let child = state.enqueued[0].options.as_ref().unwrap();
        assert_eq!((child.parent_id, child.user_id.as_str(), child.tag.as_str()), (1, "anna", "t"));
        assert!(child.traceparent.starts_with("00-0af7"));
        let other = state.enqueued[1].options.as_ref().unwrap();
        assert_eq!((other.parent_id, other.user_id.as_str()), (99, "bert"));
    });
}

#[tokio::test]
async fn a_worker_whose_future_is_dropped_releases_what_it_holds() {
    let fake = Fake::start();
    let lease = fake.add("hang", "null");
    let hang = |_: Job, (): ()| async { std::future::pending::<Result<(), HandlerError>>().await };
    let running = Running::start(worker(&fake).await.named("hang", hang));
    fake.received().await;
    running.task.abort();
    assert!(matches!(fake.outcome(&lease).await, Outcome::Release(_)));
    fake.until("the end of the session", |state| state.unregistered.first().cloned()).await;
}

#[tokio::test]
async fn a_worker_comes_back_when_its_server_was_away() {
    let fake = Fake::start();
    let running = Running::start(worker(&fake).await.named("echo", echo));
    fake.until("the stream", |state| (state.streams > 0).then_some(())).await;
    let address = fake.address.trim_start_matches("http://").parse().unwrap();
    fake.stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The next server knows nothing of the session.
    let next = Fake::start_at(address);
    next.with(|state| {
        state.sessions.push(Default::default());
    });
    next.lose_session();
    let lease = next.add("echo", "1");
    next.outcome(&lease).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_know_the_calls_is_named_in_the_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving = tonic::transport::Server::builder()
        .add_service(pb::job_service_server::JobServiceServer::new(Fake::start()))
        .serve_with_incoming(incoming);
    tokio::spawn(serving);
    let client = Client::connect(&address).await.unwrap();
    let error = Worker::new(client).named("echo", echo).run_until(std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("does not serve RegisterWorker"), "{error}");
}

#[tokio::test]
async fn no_lease_is_listed_in_a_session_that_does_not_hold_it() {
    let fake = Fake::start();
    let first = fake.add("echo", "1");
    let running = Running::start(worker(&fake).await.named("echo", echo));
    fake.outcome(&first).await;
    fake.lose_session();
    fake.until("the next session", |state| (state.sessions.len() == 2).then_some(())).await;
    let second = fake.add("echo", "2");
    fake.outcome(&second).await;
    running.stop().await.unwrap();
    fake.with(|state| {
        let next = state.reports.iter().skip_while(|(_, report)| report.session_id != "session-2");
        let listed: HashSet<_> = next
            .filter_map(|(_, report)| report.heartbeat.as_ref())
            .flat_map(|beat| beat.leases.iter())
            .collect();
        assert!(!listed.contains(&first));
    });
}
