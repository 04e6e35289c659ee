//! The verbs once through, on both databases: a whole life, and each way that it can go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use haulier_tests::mariadb;

use super::open::open_store;
use super::sql_store::SqlStore;
use super::*;
use crate::clock;
use crate::model::{
    AttemptEnd, Ending, FailureReason, Hidden, JobError, LeaseFlags, Phase, ReadyKey, Reply, ReplyBody,
    ReplyMode, RetryPolicy, RouteKind, SessionState, Spec, Work, digest, limits,
};

/// A store of its own, with a session that serves.
pub(super) struct Bench {
    pub(super) store: Arc<SqlStore>,
    session: SessionId,
    sequence: i64,
    _folder: Option<tempfile::TempDir>,
}

/// Declares each test for both databases.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Bench::on_sqlite().await).await;
            })*
        }
        mod on_mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Bench::on_mariadb().await).await;
            })*
        }
    };
}

pub(super) use on_both;

mod batches;
mod claims;
mod history;
mod locks;
mod made;

on_both! {
    a_job_lives_from_enqueue_to_outcome
    a_handoff_leases_at_once_and_a_late_one_is_refused
    a_failed_attempt_is_retried_and_the_last_one_ends_the_run
    a_key_is_taken_once_also_within_a_batch
    a_waiting_job_is_cancelled_and_a_running_one_marked
    a_failed_job_is_requeued_once_for_each_run
    log_lines_are_stored_without_gap_or_repeat
    a_lost_session_gives_its_jobs_back
    an_expired_job_is_found_and_cancelled
    a_thousand_jobs_go_through_in_batches
    a_lease_on_which_something_was_noted_is_read_before_it_ends
    a_command_without_a_named_worker_changes_nothing
    a_session_beats_drains_and_ends
    requests_are_forgotten_when_they_are_old
    walks_go_both_ways
    a_clock_that_stepped_back_is_mended
    a_checkpoint_outlives_its_attempt
    a_task_is_made_once_and_found_by_id_name_and_prefix
    a_due_time_is_decided_once_with_its_job
    of_racing_decisions_one_is_stored
    a_run_whose_ref_id_is_taken_changes_nothing_of_its_task
    decisions_are_forgotten_when_they_are_old
    every_statement_can_be_prepared
    racing_claimers_share_the_jobs_without_doubles
    many_who_ask_for_what_became_of_leases_at_once_are_answered
    every_end_that_is_told_leaves_a_notification
    a_try_is_the_takers_until_it_ends_or_its_time_is_over
    racing_senders_share_the_notifications_without_doubles
    a_dead_notification_is_listed_replayed_and_forgotten
}

mod queues;

impl Bench {
    pub(super) async fn on_sqlite() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
        let store = open_store(&url, OpenOptions::default()).await.unwrap();
        Bench::over(store, Some(folder)).await
    }

    pub(super) async fn on_mariadb() -> Bench {
        let url = mariadb::shared().database().unwrap();
        let options = OpenOptions { table_prefix: "haulier_".into(), ..OpenOptions::default() };
        Bench::over(open_store(&url, options).await.unwrap(), None).await
    }

    async fn over(store: Arc<SqlStore>, folder: Option<tempfile::TempDir>) -> Bench {
        let mut bench = Bench { store, session: SessionId([0; 16]), sequence: 0, _folder: folder };
        bench.session = bench.register().await;
        bench
    }

    async fn register(&self) -> SessionId {
        let now = self.store.now().await.unwrap();
        let session = Session {
            id: SessionId(clock::random_128()),
            name: "tester".into(),
            instance_id: "i".into(),
            state: SessionState::Live,
            commands: Vec::new(),
            queues: vec!["default".into()],
            targets: Vec::new(),
            labels: BTreeMap::new(),
            sdk: String::new(),
            slots: 4,
            lease_time: limits::LEASE_TIME_DEFAULT,
            create_time: now,
            expire_time: now.plus(limits::LEASE_TIME_DEFAULT),
            server: ServerId(7),
            completed: 0,
            failed: 0,
        };
        self.store.register(&session).await.unwrap();
        session.id
    }

    pub(super) async fn job(&self, change: impl FnOnce(&mut Spec)) -> NewJob {
        let mut spec = Spec::new(Work::Command("Test".into()));
        change(&mut spec);
        let block = self.store.reserve_ids(1).await.unwrap();
        let now = self.store.now().await.unwrap();
        let route = self.store.routes(&[spec.route()]).await.unwrap()[0];
        let id = JobId(block.next);
        let ready =
            ReadyKey { route, priority: spec.priority, ready_time: spec.run_after.unwrap_or(now), job: id };
        let request = Payload::Json(format!("{{\"n\":{id}}}").into());
        let job = Job {
            id,
            month: block.month,
            run: Run(1),
            run_time: now,
            create_time: now,
            ready,
            spec: Arc::new(spec),
            request,
            digest: digest([id.0.to_be_bytes().as_slice()]),
        };
        NewJob::free(job)
    }

    pub(super) async fn enqueue(&self, change: impl FnOnce(&mut Spec)) -> JobId {
        let new = self.job(change).await;
        let id = new.job.id;
        assert_eq!(self.store.enqueue(&[new]).await.unwrap().0, [Enqueued::Ready]);
        id
    }

    fn ticket(&mut self) -> ClaimTicket {
        self.sequence += 1;
        ClaimTicket { session: self.session, claim_loop: 1, sequence: self.sequence }
    }

    pub(super) async fn claim(&mut self, max_jobs: usize) -> Vec<LeasedJob> {
        let ticket = self.ticket();
        self.store.loop_state(self.session, 1).await.unwrap().unwrap();
        let mut backlog = self.store.look().await.unwrap();
        // As the engine does: what waits in a lane is claimed by nobody.
        let routes = self.store.all_routes().await.unwrap();
        let is_lane = |id| routes.iter().any(|(other, route)| *other == id && route.kind == RouteKind::Lane);
        backlog.retain(|group| !is_lane(group.route));
        backlog.sort_by_key(|group| -group.priority);
        let now = self.store.now().await.unwrap();
        let claimed = self
            .store
            .claim(&[Claimer { ticket, max_jobs, groups: backlog }], &BTreeMap::new(), now)
            .await
            .unwrap()
            .0;
        let Some(Claimed::Leases(given)) = claimed.into_iter().next() else { panic!("refused") };
        let leases: Vec<Lease> = given.into_iter().map(|given| given.lease).collect();
        let mut jobs = self.store.jobs_of(&leases).await.unwrap();
        leases.iter().map(|lease| jobs.remove(&lease.fence.job).unwrap()).collect()
    }

    async fn finish(&self, fence: Fence, ended: Ended) -> Finished {
        let end =
            Finish { fence, ended, result: Payload::Json("7".into()), log_sequence: 0, follow: Vec::new() };
        self.store.finish(&[end], OnLocked::Wait).await.unwrap().0.remove(0)
    }

    pub(super) async fn view(&self, job: JobId) -> View {
        self.store.views(&[job], Payloads::Read).await.unwrap().remove(0)
    }

    pub(super) async fn state(&self, job: JobId) -> State {
        self.view(job).await.state(self.store.now().await.unwrap())
    }
}

fn failed(retry_delay: Option<Duration>) -> Ended {
    let error = JobError {
        code: "full".into(),
        message: "mailbox full".into(),
        stack: String::new(),
        reason: FailureReason::Handler,
    };
    Ended::Failed { error, retryable: None, retry_delay }
}

async fn a_job_lives_from_enqueue_to_outcome(mut bench: Bench) {
    let job = bench.enqueue(|spec| spec.tag = "t".into()).await;
    assert_eq!(bench.state(job).await, State::Queued);
    let leased = bench.claim(5).await;
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].request, Payload::Json(format!("{{\"n\":{job}}}").into()));
    let view = bench.view(job).await;
    assert!(matches!(&view.phase, Phase::Leased(lease, name) if lease.turn.attempt == 1 && name == "tester"));
    let fence = leased[0].lease.fence;
    assert_eq!(bench.store.fates(&[fence]).await.unwrap(), [Fate::Held]);
    assert_eq!(bench.finish(fence, Ended::Completed).await, Finished::Stored(State::Completed));
    assert_eq!(bench.finish(fence, Ended::Completed).await, Finished::Repeated(State::Completed));
    assert_eq!(bench.finish(Fence { epoch: Epoch(1), ..fence }, Ended::Completed).await, Finished::LeaseLost);
    assert_eq!(bench.store.fates(&[fence]).await.unwrap(), [Fate::Ended(State::Completed)]);
    let view = bench.view(job).await;
    let outcome = view.outcome().unwrap();
    assert_eq!((outcome.ending, &outcome.worker_process[..]), (Ending::Completed, "tester"));
    assert_eq!(outcome.result, Payload::Json("7".into()));
    let brief = bench.store.views(&[job], Payloads::LeftOut).await.unwrap().remove(0);
    assert_eq!((brief.job.request, brief.phase.clone_result()), (Payload::None, Some(Payload::None)));
    let attempts = bench.store.attempts(job).await.unwrap();
    assert_eq!(attempts.iter().map(|a| (a.attempt, a.end)).collect::<Vec<_>>(), [(1, AttemptEnd::Completed)]);
    assert_eq!(bench.store.counts().await.unwrap().into_values().sum::<i64>(), 0);
}

impl Phase {
    fn clone_result(&self) -> Option<Payload> {
        match self {
            Phase::Ended(outcome) => Some(outcome.result.clone()),
            _ => None,
        }
    }
}

async fn a_handoff_leases_at_once_and_a_late_one_is_refused(mut bench: Bench) {
    bench.store.loop_state(bench.session, 1).await.unwrap().unwrap();
    let ticket = bench.ticket();
    let mut batch = Vec::new();
    for n in 0..3 {
        let mut new = bench.job(|_| {}).await;
        let start = new.job.create_time;
        let late = ClaimTicket { sequence: 0, ..ticket };
        new.handoff = Some(Handoff {
            ticket: if n == 2 { late } else { ticket },
            epoch: Epoch::default().next(start),
            nonce: n + 1,
            start_time: start,
            deadline: start.plus(Duration::from_secs(60)),
        });
        batch.push(new);
    }
    let answers = bench.store.enqueue(&batch).await.unwrap().0;
    assert_eq!(answers, [Enqueued::Leased, Enqueued::Leased, Enqueued::Ready]);
    let leases = bench.store.leases(bench.session, Some(1)).await.unwrap();
    assert_eq!(leases.iter().map(|(_, acknowledged)| *acknowledged).collect::<Vec<_>>(), [false, false]);
    bench.store.acknowledge(&[ticket]).await.unwrap();
    let leases = bench.store.leases(bench.session, None).await.unwrap();
    assert!(leases.iter().all(|(_, acknowledged)| *acknowledged));
    let leases: Vec<Lease> = leases.into_iter().map(|(lease, _)| lease).collect();
    assert_eq!(bench.store.leased_jobs(&leases).await.unwrap().len(), 2);
    let again = bench
        .store
        .claim(&[Claimer { ticket, max_jobs: 1, groups: Vec::new() }], &BTreeMap::new(), Time(1))
        .await
        .unwrap()
        .0;
    assert!(matches!(again[0], Claimed::Refused));
    assert!(bench.store.was_enqueued(&batch[0].job).await.unwrap());
    assert!(!bench.store.was_enqueued(&bench.job(|_| {}).await.job).await.unwrap());
    assert!(matches!(bench.store.enqueue(&batch[..1]).await, Err(StoreError::IdTaken)));
}

async fn a_failed_attempt_is_retried_and_the_last_one_ends_the_run(mut bench: Bench) {
    let job =
        bench.enqueue(|spec| spec.retry = RetryPolicy { retry_limit: 1, ..RetryPolicy::default() }).await;
    let first = bench.claim(1).await.remove(0).lease;
    assert_eq!(
        bench.finish(first.fence, failed(Some(Duration::ZERO))).await,
        Finished::Stored(State::Queued)
    );
    assert!(matches!(bench.finish(first.fence, failed(None)).await, Finished::Repeated(_)));
    let view = bench.view(job).await;
    assert_eq!((view.turn.attempt, view.last_error.unwrap().code), (1, "full".to_owned()));
    let second = bench.claim(1).await.remove(0).lease;
    assert!(second.fence.epoch > first.fence.epoch && second.turn.attempt == 2);
    assert_eq!(bench.finish(second.fence, failed(None)).await, Finished::Stored(State::Failed));
    let attempts = bench.store.attempts(job).await.unwrap();
    let ends: Vec<_> = attempts.iter().map(|a| (a.attempt, a.end, a.error.is_some())).collect();
    assert_eq!(ends, [(1, AttemptEnd::Failed, true), (2, AttemptEnd::Failed, true)]);
    let month = bench.view(job).await.job.month;
    let walk = Walk {
        source: WalkSource::Label(month, LabelKind::Ending, "failed".into()),
        order: Order::NewestFirst,
        after: None,
        limit: 10,
    };
    assert_eq!(bench.store.walk(&walk).await.unwrap(), [job]);
    assert_eq!(bench.store.outcome(job, Run(1)).await.unwrap().unwrap().error.unwrap().code, "full");
}

async fn a_key_is_taken_once_also_within_a_batch(bench: Bench) {
    let first = bench.enqueue(|spec| spec.ref_id = "A".into()).await;
    let mut batch = Vec::new();
    // The second loses by its ref, so its request stays free for the third; the fourth repeats the third.
    for (ref_id, request_id) in
        [("", ""), ("A", "q1"), ("", "q1"), ("B", "q1"), ("a", ""), ("B ", ""), ("B", "")]
    {
        let change = |spec: &mut Spec| (spec.ref_id, spec.request_id) = (ref_id.into(), request_id.into());
        batch.push(bench.job(change).await);
    }
    let third = batch[2].job.id;
    let answers = bench.store.enqueue(&batch).await.unwrap().0;
    use Enqueued::{Ready, SameRef, SameRequest};
    assert_eq!(answers, [Ready, SameRef(first), Ready, SameRequest(third), Ready, Ready, Ready]);
    assert_eq!(bench.store.find_ref(RefKey::Request("q1")).await.unwrap(), Some(third));
    assert_eq!(bench.store.find_ref(RefKey::Ref("A")).await.unwrap(), Some(first));
    assert_eq!(bench.store.find_ref(RefKey::Ref("B")).await.unwrap(), Some(batch[6].job.id));
    assert_eq!(bench.store.find_ref(RefKey::Ref("C")).await.unwrap(), None);
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 6);
}

async fn a_waiting_job_is_cancelled_and_a_running_one_marked(mut bench: Bench) {
    let order = |job| CancelOrder {
        job,
        reason: CancelReason::Client,
        text: "enough".into(),
        grace: Duration::ZERO,
        only_waiting: false,
    };
    let waiting = bench.enqueue(|_| {}).await;
    assert_eq!(bench.store.cancel(&order(waiting)).await.unwrap().0, CancelAnswer::Cancelled);
    assert_eq!(bench.store.cancel(&order(waiting)).await.unwrap().0, CancelAnswer::Ended(State::Cancelled));
    assert_eq!(bench.store.cancel(&order(JobId(9_999))).await.unwrap().0, CancelAnswer::NotFound);
    assert!(bench.store.attempts(waiting).await.unwrap().is_empty());
    let running = bench.enqueue(|_| {}).await;
    let lease = bench.claim(1).await.remove(0).lease;
    let answer = bench.store.cancel(&order(running)).await.unwrap().0;
    let CancelAnswer::Requested(mark) = answer.clone() else { panic!("{answer:?}") };
    assert_eq!(bench.store.cancel(&order(running)).await.unwrap().0, answer);
    assert_eq!(bench.store.cancel_marks().await.unwrap(), [mark]);
    assert_eq!(bench.view(running).await.cancel.as_deref(), Some("enough"));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let tick = bench.store.tick(ServerId(7), &ServerAbout::default(), false).await.unwrap();
    let forced = bench.store.forced_cancels(tick, 10).await.unwrap();
    assert_eq!(forced.iter().map(|swept| swept.fence).collect::<Vec<_>>(), [lease.fence]);
    assert_eq!(bench.finish(lease.fence, Ended::Released).await, Finished::Stored(State::Cancelled));
    let outcome = bench.store.outcome(running, Run(1)).await.unwrap().unwrap();
    assert_eq!(outcome.cancelled.unwrap().text, "enough");
    assert!(bench.store.cancel_marks().await.unwrap().is_empty());
}

async fn a_failed_job_is_requeued_once_for_each_run(mut bench: Bench) {
    let job = bench.enqueue(|spec| spec.retry.retry_limit = 0).await;
    assert_eq!(bench.store.requeue(job, None, "").await.unwrap().0, RequeueAnswer::Refused(State::Queued));
    let lease = bench.claim(1).await.remove(0).lease;
    assert_eq!(bench.store.requeue(job, None, "").await.unwrap().0, RequeueAnswer::Refused(State::Running));
    bench.finish(lease.fence, failed(None)).await;
    assert_eq!(bench.store.requeue(job, Some(Run(2)), "").await.unwrap().0, RequeueAnswer::NoSuchRun(Run(2)));
    assert_eq!(bench.store.requeue(job, None, "once").await.unwrap().0, RequeueAnswer::Requeued(Run(2)));
    assert_eq!(bench.store.requeue(job, None, "once").await.unwrap().0, RequeueAnswer::Repeated(Run(2)));
    assert_eq!(bench.store.requeue(job, Some(Run(1)), "").await.unwrap().0, RequeueAnswer::Repeated(Run(2)));
    let again = bench.claim(1).await.remove(0).lease;
    assert!(again.fence.epoch > lease.fence.epoch && again.run == Run(2) && again.turn.attempt == 1);
    assert_eq!(bench.finish(lease.fence, Ended::Completed).await, Finished::Repeated(State::Failed));
    assert_eq!(bench.finish(again.fence, Ended::Completed).await, Finished::Stored(State::Completed));
    assert_eq!(bench.store.requeue(job, None, "").await.unwrap().0, RequeueAnswer::Refused(State::Completed));
    assert_eq!(bench.store.requeue(JobId(9_999), None, "").await.unwrap().0, RequeueAnswer::NotFound);
    assert_eq!(bench.store.attempts(job).await.unwrap().len(), 2);
}

async fn log_lines_are_stored_without_gap_or_repeat(mut bench: Bench) {
    let job = bench.enqueue(|_| {}).await;
    let lease = bench.claim(1).await.remove(0).lease;
    let line = |sequence| LogLine {
        sequence,
        run: lease.run,
        epoch: lease.fence.epoch,
        time: Time(sequence),
        level: if sequence % 2 == 0 { Level::Warn } else { Level::Info },
        message: format!("line {sequence} 🚚"),
        fields: String::new(),
    };
    let append = |range: std::ops::RangeInclusive<i64>| LogAppend {
        fence: lease.fence,
        lines: range.map(line).collect(),
    };
    let store = &bench.store;
    let written = store.append_logs(&[append(1..=3), append(2..=5), append(7..=8)]).await.unwrap();
    assert_eq!(written, [Written::Stored(3), Written::Stored(5), Written::Gap(5)]);
    let lost = LogAppend { fence: Fence { nonce: 1, ..lease.fence }, lines: vec![line(6)] };
    assert_eq!(store.append_logs(&[lost]).await.unwrap(), [Written::LeaseLost]);
    let all = store.logs(job, LogPosition::default(), Level::Trace, 100).await.unwrap();
    assert_eq!(all.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let after = LogPosition { run: Run(1), epoch: lease.fence.epoch, sequence: 2 };
    let some = store.logs(job, after, Level::Warn, 100).await.unwrap();
    assert_eq!(some.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["line 4 🚚"]);
    let end = |log_sequence| Finish {
        fence: lease.fence,
        ended: Ended::Completed,
        result: Payload::None,
        log_sequence,
        follow: Vec::new(),
    };
    assert_eq!(store.finish(&[end(6)], OnLocked::Wait).await.unwrap().0, [Finished::LogGap(5)]);
    let ends = [end(5), end(5)];
    let stored = Finished::Stored(State::Completed);
    assert_eq!(
        store.finish(&ends, OnLocked::Wait).await.unwrap().0,
        [stored, Finished::Repeated(State::Completed)]
    );
}

async fn a_lost_session_gives_its_jobs_back(mut bench: Bench) {
    let job = bench.enqueue(|_| {}).await;
    let lease = bench.claim(1).await.remove(0).lease;
    bench
        .store
        .acknowledge(&[ClaimTicket { session: bench.session, claim_loop: 1, sequence: lease.claim }])
        .await
        .unwrap();
    let tick = bench.store.tick(ServerId(7), &ServerAbout::default(), false).await.unwrap();
    assert!(bench.store.lose_sessions(tick).await.unwrap().is_empty());
    let later = |seconds| Tick { now: tick.now.plus(Duration::from_secs(seconds)), ..tick };
    // Its server is silent by then, so that it has one lease time more.
    assert!(bench.store.lose_sessions(later(40)).await.unwrap().is_empty());
    let amnesty = Tick { amnesty_from: Some(later(60).now), ..later(80) };
    assert!(bench.store.lose_sessions(amnesty).await.unwrap().is_empty());
    assert_eq!(bench.store.lose_sessions(later(80)).await.unwrap(), [bench.session]);
    let swept = bench.store.lost_leases(10).await.unwrap();
    assert_eq!(
        swept.iter().map(|one| (one.fence, one.acknowledged)).collect::<Vec<_>>(),
        [(lease.fence, true)]
    );
    let crash = |fence| Finish::of(fence, Ended::Crashed { acknowledged: true });
    let ends = bench.store.finish(&[crash(lease.fence)], OnLocked::Skip).await.unwrap().0;
    assert_eq!(ends, [Finished::Stored(State::Queued)]);
    let beat = Beat { session: bench.session, beat: 9, server: ServerId(7) };
    assert_eq!(bench.store.beat(&[beat]).await.unwrap(), [BeatAnswer::Lost]);
    assert_eq!(bench.store.loop_state(bench.session, 1).await.unwrap().unwrap().sequence, i64::MAX);
    assert!(bench.store.loop_state(bench.session, 2).await.unwrap().is_none());
    bench.session = bench.register().await;
    bench.sequence = 0;
    let second = bench.claim(1).await.remove(0).lease;
    assert_eq!((second.turn.attempt, second.turn.crashes), (1, 1));
    let ends = bench.store.finish(&[crash(second.fence)], OnLocked::Skip).await.unwrap().0;
    assert_eq!(ends, [Finished::Stored(State::Queued)]);
    let third = bench.claim(1).await.remove(0);
    assert_ne!(third.lease.route, lease.route, "after two crashes it is quarantined");
    let ends = bench.store.finish(&[crash(third.lease.fence)], OnLocked::Skip).await.unwrap().0;
    assert_eq!(ends, [Finished::Stored(State::Failed)]);
    let numbers: Vec<_> =
        bench.store.attempts(job).await.unwrap().iter().map(|a| (a.attempt, a.end)).collect();
    assert_eq!(numbers, [(1, AttemptEnd::Crashed); 3]);
    bench.store.end_session(bench.session).await.unwrap();
    bench.store.forget_sessions(Time::NEVER).await.unwrap();
    assert!(bench.store.session(bench.session).await.unwrap().is_none());
}

async fn an_expired_job_is_found_and_cancelled(mut bench: Bench) {
    let now = bench.store.now().await.unwrap();
    let soon = now.plus(Duration::from_secs(3));
    let job = bench.enqueue(|spec| spec.expire_time = Some(soon)).await;
    let leased = bench.enqueue(|spec| (spec.expire_time, spec.priority) = (Some(soon), 30)).await;
    let lease = bench.claim(1).await.remove(0);
    assert_eq!(lease.id(), leased);
    tokio::time::sleep(Duration::from_millis(3_010)).await;
    assert!(bench.claim(1).await.is_empty(), "an expired job is not claimed");
    let now = bench.store.now().await.unwrap();
    let mut expired = bench.store.expired(now, 10).await.unwrap();
    expired.sort_unstable();
    assert_eq!(expired, [job, leased]);
    let order = |job| CancelOrder {
        job,
        reason: CancelReason::Expired,
        text: String::new(),
        grace: Duration::ZERO,
        only_waiting: true,
    };
    assert_eq!(bench.store.cancel(&order(job)).await.unwrap().0, CancelAnswer::Cancelled);
    assert_eq!(bench.store.cancel(&order(leased)).await.unwrap().0, CancelAnswer::Running);
    assert!(bench.store.expired(now, 10).await.unwrap().is_empty());
    assert_eq!(bench.finish(lease.lease.fence, Ended::Released).await, Finished::Stored(State::Queued));
    assert_eq!(bench.store.expired(now, 10).await.unwrap(), [leased], "a released job expires still");
}

async fn a_thousand_jobs_go_through_in_batches(mut bench: Bench) {
    let mut batch = Vec::new();
    let block = bench.store.reserve_ids(1_000).await.unwrap();
    let first = bench.job(|spec| spec.batch_id = "b".into()).await;
    for id in block.next..block.end {
        let mut new = first.clone();
        new.job.id = JobId(id);
        new.job.ready.job = JobId(id);
        new.job.spec_mut().request_id = format!("r{id}");
        batch.push(new);
    }
    let answers = bench.store.enqueue(&batch).await.unwrap().0;
    assert!(answers.iter().all(|answer| *answer == Enqueued::Ready));
    let mut again = batch.clone();
    again.iter_mut().for_each(|new| new.job.id.0 += 5_000);
    let answers = bench.store.enqueue(&again).await.unwrap().0;
    let same = batch.iter().map(|new| Enqueued::SameRequest(new.job.id));
    assert!(answers.into_iter().eq(same));
    let leased = bench.claim(1_000).await;
    assert_eq!(leased.len(), 1_000);
    let end = |leased: &LeasedJob| Finish {
        fence: leased.lease.fence,
        ended: if leased.id().0 % 10 == 0 { failed(None) } else { Ended::Completed },
        result: Payload::Json(vec![b'1'; 1_000].into()),
        log_sequence: 0,
        follow: Vec::new(),
    };
    let ends: Vec<Finish> = leased.iter().map(end).collect();
    let finished = bench.store.finish(&ends, OnLocked::Wait).await.unwrap().0;
    let completed = finished.iter().filter(|one| **one == Finished::Stored(State::Completed)).count();
    let scheduled = finished.iter().filter(|one| **one == Finished::Stored(State::Scheduled)).count();
    assert_eq!((completed, scheduled), (900, 100));
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 100);
    let jobs: Vec<JobId> = batch.iter().map(|new| new.job.id).collect();
    assert_eq!(bench.store.views(&jobs, Payloads::LeftOut).await.unwrap().len(), 1_000);
}

async fn a_lease_on_which_something_was_noted_is_read_before_it_ends(mut bench: Bench) {
    for _ in 0..45 {
        bench.enqueue(|_| {}).await;
    }
    let fences: Vec<Fence> = bench.claim(45).await.iter().map(|leased| leased.lease.fence).collect();
    // They stand in a row of one claim, with enough others before and behind them to be ended as that.
    let [plain, told, cancelled, taken, logged] = fences[20..25] else { panic!("{fences:?}") };
    let known = |fence| bench.store.engine.given_out.get(fence);
    assert!(fences.iter().all(|fence| known(*fence).is_some()), "what was leased here is known here");
    let progress =
        ProgressWrite { fence: told, progress: None, status: Some("half".into()), checkpoint: None };
    bench.store.write_progress(&[progress]).await.unwrap();
    let order = CancelOrder {
        job: cancelled.job,
        reason: CancelReason::Client,
        text: "enough".into(),
        grace: Duration::from_secs(60),
        only_waiting: false,
    };
    bench.store.cancel(&order).await.unwrap();
    let line = LogLine {
        sequence: 1,
        run: Run(1),
        epoch: logged.epoch,
        time: Time(1),
        level: Level::Info,
        message: "line".into(),
        fields: String::new(),
    };
    bench.store.append_logs(&[LogAppend { fence: logged, lines: vec![line] }]).await.unwrap();
    // Another server ends it: this one goes on believing what it knew.
    let stale = known(taken).unwrap();
    assert_eq!(bench.finish(taken, Ended::Released).await, Finished::Stored(State::Queued));
    bench.store.engine.given_out.put(vec![stale]);
    let end = |fence: &Fence| Finish::of(*fence, Ended::Completed);
    let ends: Vec<Finish> = fences.iter().chain([&plain]).map(end).collect();
    let finished = bench.store.finish(&ends, OnLocked::Wait).await.unwrap().0;
    let (stored, gone) = (Finished::Stored(State::Completed), Finished::Repeated(State::Queued));
    let repeated = Finished::Repeated(State::Completed);
    let expected =
        fences.iter().map(|fence| if *fence == taken { &gone } else { &stored }).chain([&repeated]);
    assert!(finished.iter().eq(expected), "{finished:?}");
    assert!(
        fences.iter().all(|fence| bench.store.engine.given_out.get(*fence).is_none()),
        "ended, so forgotten"
    );
    assert_eq!(bench.store.outcome(told.job, Run(1)).await.unwrap().unwrap().status, "half");
    assert_eq!(bench.store.outcome(logged.job, Run(1)).await.unwrap().unwrap().log_sequence, 1);
    assert!(bench.store.cancel_marks().await.unwrap().is_empty());
    assert_eq!(bench.state(taken.job).await, State::Queued);
}

async fn a_command_without_a_named_worker_changes_nothing(bench: Bench) {
    let declare = async |worker: &str| {
        let one = super::Declaration {
            command: "c".into(),
            worker: worker.into(),
            version: "".into(),
            request_schema: "".into(),
        };
        let changed = bench.store.declare(&[one]).await.unwrap();
        let known = bench.store.commands().await.unwrap().remove(0);
        (changed.len(), known.change_time)
    };
    let never = Time(0);
    assert_eq!(declare("").await, (0, never), "waiting jobs are looked through for changes only");
    let (changed, first) = declare("lane").await;
    assert!(changed == 1 && first > never);
    assert_eq!(declare("lane").await, (0, first));
    let (changed, last) = declare("").await;
    assert!(changed == 1 && last >= first);
}

async fn a_session_beats_drains_and_ends(bench: Bench) {
    let beat = |beat| Beat { session: bench.session, beat, server: ServerId(8) };
    let other = Beat { session: SessionId([9; 16]), beat: 1, server: ServerId(8) };
    let before = bench.store.session(bench.session).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let answers = bench.store.beat(&[beat(1), other, beat(2)]).await.unwrap();
    assert_eq!(answers, [BeatAnswer::Renewed, BeatAnswer::Lost, BeatAnswer::Renewed]);
    let after = bench.store.session(bench.session).await.unwrap().unwrap();
    assert!(after.expire_time > before.expire_time && after.server == ServerId(8));
    assert_eq!(bench.store.beat(&[beat(2)]).await.unwrap(), [BeatAnswer::Renewed]);
    assert!(bench.store.drain_session(bench.session).await.unwrap());
    assert_eq!(bench.store.beat(&[beat(3)]).await.unwrap(), [BeatAnswer::Draining]);
    assert_eq!(bench.store.sessions().await.unwrap().len(), 1);
    assert!(bench.store.end_session(bench.session).await.unwrap());
    assert!(!bench.store.end_session(bench.session).await.unwrap());
    assert!(!bench.store.drain_session(bench.session).await.unwrap());
    assert!(bench.store.sessions().await.unwrap().is_empty());
}

async fn requests_are_forgotten_when_they_are_old(bench: Bench) {
    let mut old = bench.job(|spec| spec.request_id = "old".into()).await;
    old.job.create_time = old.job.create_time.minus(limits::REQUEST_ID_LIFE + Duration::from_secs(1));
    let new = bench.job(|spec| (spec.request_id, spec.ref_id) = ("new".into(), "q".into())).await;
    bench.store.enqueue(&[old, new]).await.unwrap();
    let mut after = None;
    let mut stretches = 0;
    loop {
        stretches += 1;
        after = bench.store.forget_requests(after, 1).await.unwrap();
        if after.is_none() {
            break;
        }
    }
    assert!(stretches >= 2);
    assert_eq!(bench.store.find_ref(RefKey::Request("old")).await.unwrap(), None);
    assert!(bench.store.find_ref(RefKey::Request("new")).await.unwrap().is_some());
    assert!(bench.store.find_ref(RefKey::Ref("q")).await.unwrap().is_some());
}

async fn walks_go_both_ways(bench: Bench) {
    let mut jobs = Vec::new();
    for n in 0..5 {
        jobs.push(
            bench.enqueue(|spec| spec.user_id = if n % 2 == 0 { "even".into() } else { "odd".into() }).await,
        );
    }
    let month = bench.store.months().await.unwrap().last().unwrap().month;
    let sources = [
        WalkSource::Month(month),
        WalkSource::Live(None),
        WalkSource::Label(month, LabelKind::User, "even".into()),
    ];
    for source in sources {
        let wanted: Vec<JobId> = match source {
            WalkSource::Label(..) => jobs.iter().copied().step_by(2).collect(),
            _ => jobs.clone(),
        };
        let walk = |order, after, limit| Walk { source: source.clone(), order, after, limit };
        assert_eq!(bench.store.walk(&walk(Order::OldestFirst, None, 10)).await.unwrap(), wanted);
        let newest = bench.store.walk(&walk(Order::NewestFirst, Some(jobs[4]), 1)).await.unwrap();
        assert_eq!(newest, [wanted[wanted.len() - 2]]);
    }
    let here = bench.store.routes(&[Spec::new(Work::Command("Test".into())).route()]).await.unwrap();
    for (routes, wanted) in [(here, jobs.clone()), (vec![RouteId(i64::MAX)], Vec::new())] {
        let source = WalkSource::Live(Some(routes));
        let walk = Walk { source, order: Order::OldestFirst, after: None, limit: 10 };
        assert_eq!(bench.store.walk(&walk).await.unwrap(), wanted);
    }
    let none =
        Walk { source: WalkSource::Month(Month(190001)), order: Order::OldestFirst, after: None, limit: 1 };
    assert!(bench.store.walk(&none).await.unwrap().is_empty());
}

async fn a_clock_that_stepped_back_is_mended(mut bench: Bench) {
    let tick = bench.store.tick(ServerId(1), &ServerAbout::default(), false).await.unwrap();
    assert!(tick.last.is_none() && tick.amnesty_from.is_none());
    let ahead = tick.now.plus(Duration::from_secs(600));
    let job = bench.enqueue(|spec| spec.run_after = Some(tick.now.plus(Duration::from_secs(300)))).await;
    let set = |value: Time| value::values![value, 0_i64, value::key("reaper")];
    let engine = &bench.store.engine;
    let mut unit = engine.begin(connection::Class::Vital).await.unwrap();
    unit.execute(statement::Sql::MoveUpkeep, statement::Place::Fixed, set(ahead)).await.unwrap();
    let settled = unit::Tries::default().settle(unit, Ok(())).await;
    assert!(matches!(settled, std::ops::ControlFlow::Break(Ok(()))));
    let mended = bench.store.tick(ServerId(1), &ServerAbout::default(), false).await.unwrap();
    assert_eq!(mended.last, Some(ahead));
    assert_eq!(bench.state(job).await, State::Queued);
    assert_eq!(bench.claim(1).await.len(), 1);
}

async fn a_checkpoint_outlives_its_attempt(mut bench: Bench) {
    let job = bench.enqueue(|_| {}).await;
    let lease = bench.claim(1).await.remove(0).lease;
    let write = |progress, status: Option<&str>, sequence: i64, text: &str| ProgressWrite {
        fence: lease.fence,
        progress,
        status: status.map(str::to_owned),
        checkpoint: (sequence > 0).then(|| (sequence, Payload::Json(text.to_owned().into()))),
    };
    let writes =
        [write(Some(0.5), None, 1, "1"), write(None, Some("half"), 2, "2"), write(None, None, 1, "old")];
    assert_eq!(bench.store.write_progress(&writes).await.unwrap(), [Written::Stored(0); 3]);
    let view = bench.view(job).await;
    assert_eq!((view.progress, &view.status[..]), (Some(0.5), "half"));
    assert_eq!(bench.store.checkpoint(job).await.unwrap(), Some((2, Payload::Json("2".into()))));
    bench.finish(lease.fence, Ended::Released).await;
    let again = bench.claim(1).await.remove(0);
    assert!(again.lease.flags.has(LeaseFlags::PROGRESS));
    assert_eq!(again.checkpoint, Some((2, Payload::Json("2".into()))));
    bench.finish(again.lease.fence, Ended::Completed).await;
    assert_eq!(bench.store.checkpoint(job).await.unwrap(), Some((2, Payload::Json("2".into()))));
    assert_eq!(bench.store.outcome(job, Run(1)).await.unwrap().unwrap().status, "half");
}

async fn try_statement(bench: &Bench, text: &'static str, bound: Vec<value::Value>) -> fault::Try<()> {
    let mut unit = bench.store.engine.begin(connection::Class::Vital).await?;
    unit.lent.connection.fetch(text.into(), bound, None).await.map(drop)
}

async fn every_statement_can_be_prepared(bench: Bench) {
    let month = bench.store.reserve_ids(1).await.unwrap().month;
    for sql in statement::Sql::ALL {
        for rows in [1, 4] {
            let text = bench.store.engine.texts.get(*sql, statement::Place::Month(month), rows);
            let bound = vec![value::Value::Null; text.matches('?').count()];
            let done = try_statement(&bench, text, bound).await;
            // NULL where none may be, or as a limit: the statement was understood.
            let why = done.err().map(|fault| StoreError::from(fault).to_string()).unwrap_or_default();
            let is_understood = why.is_empty()
                || ["null", "NULL", "datatype mismatch", "Truncated incorrect"]
                    .iter()
                    .any(|words| why.contains(words));
            assert!(is_understood, "{sql:?}: {why}\n{text}");
        }
    }
}

/// As when many worker processes come back at once. Whoever reads on one connection must not wait for another.
async fn many_who_ask_for_what_became_of_leases_at_once_are_answered(mut bench: Bench) {
    bench.enqueue(|_| {}).await;
    let fence = bench.claim(1).await.remove(0).lease.fence;
    bench.finish(fence, Ended::Completed).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&bench.store);
        asking.spawn(async move { store.fates(&[fence]).await.unwrap() });
    }
    let answers = tokio::time::timeout(Duration::from_secs(8), asking.join_all()).await;
    assert_eq!(
        answers.expect("nobody waits for a connection in vain"),
        vec![vec![Fate::Ended(State::Completed)]; 50]
    );
}

async fn racing_claimers_share_the_jobs_without_doubles(bench: Bench) {
    let mut jobs = Vec::new();
    for _ in 0..60 {
        jobs.push(bench.job(|_| {}).await);
    }
    bench.store.enqueue(&jobs).await.unwrap();
    let mut racers = tokio::task::JoinSet::new();
    for claim_loop in 0..8 {
        let (store, session) = (Arc::clone(&bench.store), bench.session);
        racers.spawn(async move {
            store.loop_state(session, claim_loop).await.unwrap().unwrap();
            let mut mine = Vec::new();
            for sequence in 1..20 {
                let ticket = ClaimTicket { session, claim_loop, sequence };
                let groups = store.look().await.unwrap();
                let now = store.now().await.unwrap();
                let claimed = store
                    .claim(&[Claimer { ticket, max_jobs: 3, groups }], &BTreeMap::new(), now)
                    .await
                    .unwrap()
                    .0;
                let Claimed::Leases(given) = &claimed[0] else { panic!("refused") };
                for Given { lease, .. } in given {
                    let end = Finish::of(lease.fence, Ended::Completed);
                    assert_eq!(
                        store.finish(&[end], OnLocked::Wait).await.unwrap().0,
                        [Finished::Stored(State::Completed)]
                    );
                    mine.push(lease.fence.job);
                }
            }
            mine
        });
    }
    let mut all: Vec<JobId> = racers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    let wanted: Vec<JobId> = jobs.iter().map(|new| new.job.id).collect();
    assert_eq!(all, wanted);
}

fn told(spec: &mut Spec) {
    spec.reply = Some(Reply {
        to: "PUT https://a.example/".into(),
        credentials: Hidden("s3cret".into()),
        mode: ReplyMode::Deliver,
        body: ReplyBody::Result,
        on_success_only: false,
    });
}

impl Bench {
    async fn take(&self, most: i64) -> Vec<Delivery> {
        let now = self.store.now().await.unwrap();
        self.store.take_deliveries(now, Duration::from_secs(60), most).await.unwrap()
    }

    async fn all(&self, job: Option<JobId>, states: &[DeliveryState]) -> Vec<Delivery> {
        let call = DeliveriesCall { job, states: states.to_vec(), before: None, limit: 100 };
        self.store.deliveries(&call).await.unwrap()
    }

    /// A job that has completed and whose notification is due.
    async fn completed_and_told(&mut self) -> JobId {
        let job = self.enqueue(told).await;
        let fence = self.claim(1).await.remove(0).lease.fence;
        assert_eq!(self.finish(fence, Ended::Completed).await, Finished::Stored(State::Executed));
        job
    }
}

fn sent(error: Option<&str>) -> TryEnd {
    TryEnd {
        http_status: if error.is_some() { 500 } else { 204 },
        error: error.map(str::to_owned),
        retry_after: None,
        is_final: false,
        duration: Duration::from_millis(7),
    }
}

async fn every_end_that_is_told_leaves_a_notification(mut bench: Bench) {
    let completed = bench.completed_and_told().await;
    let failed_job = bench
        .enqueue(|spec| {
            told(spec);
            spec.retry.retry_limit = 0;
        })
        .await;
    let fence = bench.claim(1).await.remove(0).lease.fence;
    assert_eq!(bench.finish(fence, failed(None)).await, Finished::Stored(State::Failed));
    let cancelled = bench.enqueue(told).await;
    let order = |job| CancelOrder {
        job,
        reason: CancelReason::Client,
        text: "enough".into(),
        grace: Duration::ZERO,
        only_waiting: false,
    };
    bench.store.cancel(&order(cancelled)).await.unwrap();
    let quiet = bench
        .enqueue(|spec| {
            told(spec);
            spec.reply.as_mut().unwrap().on_success_only = true;
        })
        .await;
    bench.store.cancel(&order(quiet)).await.unwrap();
    let carried = bench
        .enqueue(|spec| {
            told(spec);
            spec.reply.as_mut().unwrap().mode = ReplyMode::Carry;
        })
        .await;
    let fence = bench.claim(1).await.remove(0).lease.fence;
    assert_eq!(bench.finish(fence, Ended::Completed).await, Finished::Stored(State::Completed));
    let mut jobs: Vec<JobId> = bench.all(None, &[]).await.iter().map(|one| one.job).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, [completed, failed_job, cancelled]);
    assert!(bench.all(Some(carried), &[]).await.is_empty());
    let pending = bench.all(Some(completed), &[]).await.remove(0);
    assert_eq!(
        (pending.to.as_str(), pending.run, pending.state),
        ("PUT https://a.example/", Run(1), DeliveryState::Pending)
    );
    assert!(!bench.view(completed).await.is_notified());
    for taken in bench.take(10).await {
        assert!(bench.store.end_delivery(&taken, &sent(None), AfterTry::Delivered).await.unwrap());
    }
    assert_eq!(bench.state(completed).await, State::Completed);
    assert_eq!(bench.state(failed_job).await, State::Failed);
    assert!(bench.view(completed).await.is_notified() && bench.view(failed_job).await.is_notified());
    assert!(bench.take(10).await.is_empty(), "nothing is due any more");
}

async fn a_try_is_the_takers_until_it_ends_or_its_time_is_over(mut bench: Bench) {
    let job = bench.completed_and_told().await;
    let now = bench.store.now().await.unwrap();
    let first = bench.store.take_deliveries(now, Duration::from_millis(1), 10).await.unwrap().remove(0);
    assert_eq!((first.state, first.attempt_count), (DeliveryState::Sending, 1));
    // The first sender went away: its time is over, and what it still tells changes nothing.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = bench.take(10).await.remove(0);
    assert!(second.epoch > first.epoch && second.attempt_count == 2);
    assert!(bench.take(10).await.is_empty(), "it is held");
    assert!(!bench.store.end_delivery(&first, &sent(None), AfterTry::Delivered).await.unwrap());
    assert_eq!(bench.state(job).await, State::Executed);
    let again = bench.store.now().await.unwrap().plus(Duration::from_secs(60));
    assert!(bench.store.end_delivery(&second, &sent(Some("no")), AfterTry::Again(again)).await.unwrap());
    assert_eq!(bench.view(job).await.outcome().unwrap().notify_error, "no");
    let waiting = bench.all(Some(job), &[DeliveryState::Pending]).await.remove(0);
    assert_eq!(waiting.next_time, Some(again));
    let tries: Vec<_> = waiting.tries.iter().map(|one| (one.http_status, !one.error.is_empty())).collect();
    assert_eq!(tries, [(0, true), (500, true)]);
    assert!(bench.take(10).await.is_empty(), "its time has not come");
    let replayed = bench.store.replay_delivery(waiting.id).await.unwrap().unwrap();
    assert_eq!((replayed.state, replayed.earlier_count), (DeliveryState::Pending, 0), "it is due at once");
    let third = bench.take(10).await.remove(0);
    assert!(bench.store.end_delivery(&third, &sent(None), AfterTry::Delivered).await.unwrap());
    assert!(!bench.store.end_delivery(&third, &sent(Some("late")), AfterTry::GivenUp).await.unwrap());
    let outcome = bench.store.outcome(job, Run(1)).await.unwrap().unwrap();
    assert_eq!((outcome.ending, outcome.notify_error.as_str()), (Ending::Completed, ""));
    assert!(outcome.notify_time.is_some());
}

async fn racing_senders_share_the_notifications_without_doubles(mut bench: Bench) {
    for _ in 0..20 {
        bench.completed_and_told().await;
    }
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&bench.store);
        senders.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..8 {
                let now = store.now().await.unwrap();
                let taken = store.take_deliveries(now, Duration::from_secs(60), 5).await.unwrap();
                for one in &taken {
                    assert!(store.end_delivery(one, &sent(None), AfterTry::Delivered).await.unwrap());
                }
                mine.extend(taken.into_iter().map(|one| one.id));
            }
            mine
        });
    }
    let mut all = senders.join_all().await.concat();
    // What a race left over is taken by the next look.
    all.extend(bench.take(20).await.into_iter().map(|one| one.id));
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (20, 20));
}

async fn a_dead_notification_is_listed_replayed_and_forgotten(mut bench: Bench) {
    let job = bench.completed_and_told().await;
    let other = bench.completed_and_told().await;
    for taken in bench.take(10).await {
        let after = if taken.job == job { AfterTry::GivenUp } else { AfterTry::Delivered };
        let end = sent((taken.job == job).then_some("gone"));
        assert!(bench.store.end_delivery(&taken, &end, after).await.unwrap());
    }
    assert_eq!(bench.state(job).await, State::Completed, "the outcome is what it was");
    assert_eq!(bench.view(job).await.outcome().unwrap().notify_error, "gone");
    let dead = bench.all(None, &[DeliveryState::GivenUp]).await;
    assert_eq!(dead.iter().map(|one| one.job).collect::<Vec<_>>(), [job]);
    let both = bench.all(None, &[]).await;
    assert_eq!(both.iter().map(|one| one.job).collect::<Vec<_>>(), [other, job], "newest first");
    let call = DeliveriesCall { job: None, states: Vec::new(), before: Some(both[0].id), limit: 1 };
    assert_eq!(bench.store.deliveries(&call).await.unwrap()[0].job, job);
    let replayed = bench.store.replay_delivery(dead[0].id).await.unwrap().unwrap();
    assert_eq!((replayed.earlier_count, replayed.tries.len()), (1, 1));
    assert_eq!(bench.store.replay_delivery(DeliveryId(7)).await.unwrap(), None);
    let taken = bench.take(10).await.remove(0);
    let sending = bench.store.replay_delivery(taken.id).await.unwrap().unwrap();
    assert_eq!((sending.state, sending.epoch), (DeliveryState::Sending, taken.epoch), "it is left alone");
    assert!(bench.store.end_delivery(&taken, &sent(None), AfterTry::Delivered).await.unwrap());
    assert_eq!(bench.view(job).await.outcome().unwrap().notify_error, "");
    let now = bench.store.now().await.unwrap();
    assert!(!bench.store.forget_deliveries(now.minus(Duration::from_secs(60)), 10).await.unwrap());
    assert!(bench.store.forget_deliveries(now.plus(Duration::from_secs(1)), 10).await.unwrap());
    assert!(bench.all(None, &[]).await.is_empty());
    assert_eq!(bench.store.outcome(job, Run(1)).await.unwrap().unwrap().ending, Ending::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_servers_open_an_empty_database_at_once() {
    let url = mariadb::shared().database().unwrap();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        opening.spawn(async move { open_store(&url, OpenOptions::default()).await.unwrap() });
    }
    let stores = opening.join_all().await;
    let mut reserving = tokio::task::JoinSet::new();
    for store in stores {
        reserving.spawn(async move { store.reserve_ids(10).await.unwrap().next });
    }
    let mut firsts = reserving.join_all().await;
    firsts.sort_unstable();
    assert_eq!(firsts, [1, 11, 21, 31]);
    let again = open_store(&url, OpenOptions::default()).await.unwrap();
    assert!(again.check().await.unwrap().iter().all(|check| check.problem.is_none()));
    let time = again.now().await.unwrap();
    assert!(Month::of(time).0 > 202_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_done_migration_is_done_again() {
    let url = mariadb::shared().database().unwrap();
    let store = open_store(&url, OpenOptions::default()).await.unwrap();
    let name = url.split(['/', '?']).nth(3).unwrap();
    let server = mariadb::shared();
    server.run_sql(&format!("UPDATE {name}.migration SET success = 0 WHERE version = 5; DELETE FROM {name}.migration WHERE version > 5")).unwrap();
    drop(store);
    open_store(&url, OpenOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_file_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let first = open_store(&path.display().to_string(), OpenOptions::default()).await.unwrap();
    let refused = open_store(&path.display().to_string(), OpenOptions::default()).await;
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("another server process") && why.contains("jobs.db"), "{why}");
    let inspect = OpenOptions { purpose: Purpose::Inspect, ..OpenOptions::default() };
    let beside = open_store(&path.display().to_string(), inspect).await.unwrap();
    assert!(beside.check().await.unwrap().iter().all(|check| check.problem.is_none()));
    first.close().await;
    drop(first);
    open_store(&path.display().to_string(), OpenOptions::default()).await.unwrap();
}

/// Makes the month of a store's jobs an old one: renames its tables and rows.
async fn make_old(bench: &Bench, path: &Path, old: Month) {
    let month = bench.store.months().await.unwrap()[0].month;
    let sql: Vec<String> = verbs::MONTH_TABLES
        .iter()
        .map(|table| format!("ALTER TABLE {table}_{month} RENAME TO {table}_{old}"))
        .chain([
            format!("UPDATE month SET month = {}", old.0),
            format!("UPDATE id_block SET month = {} WHERE month > 0", old.0),
        ])
        .collect();
    use sqlx::{ConnectOptions as _, Executor as _};
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    for statement in sql {
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_month_moves_to_its_file_and_stays_readable() {
    let mut bench = Bench::on_sqlite().await;
    let path = bench.store.path.clone().unwrap();
    let done = bench.enqueue(|spec| spec.tag = "t".into()).await;
    let lease = bench.claim(1).await.remove(0).lease;
    bench.finish(lease.fence, Ended::Completed).await;
    let broken = bench.enqueue(|spec| (spec.tag, spec.retry.retry_limit) = ("t".into(), 0)).await;
    let lease = bench.claim(1).await.remove(0).lease;
    let line = LogLine {
        sequence: 1,
        run: lease.run,
        epoch: lease.fence.epoch,
        time: Time(1),
        level: Level::Info,
        message: "m".into(),
        fields: String::new(),
    };
    bench.store.append_logs(&[LogAppend { fence: lease.fence, lines: vec![line] }]).await.unwrap();
    bench.finish(lease.fence, failed(None)).await;
    let old = Month(202_401);
    make_old(&bench, &path, old).await;
    assert!(!bench.store.keep_months().await.unwrap(), "the newest month stays");
    let fresh = bench.enqueue(|_| {}).await;
    assert!(bench.store.keep_months().await.unwrap());
    assert!(!bench.store.keep_months().await.unwrap(), "there is nothing left to do");
    let file = path.with_file_name("jobs.history_2024_01.db");
    assert!(file.exists());
    let views = bench.store.views(&[broken, fresh, done], Payloads::Read).await.unwrap();
    assert_eq!(views.iter().map(|view| view.job.id).collect::<Vec<_>>(), [broken, fresh, done]);
    assert_eq!(bench.store.attempts(broken).await.unwrap().len(), 1);
    assert_eq!(bench.store.logs(broken, LogPosition::default(), Level::Trace, 9).await.unwrap().len(), 1);
    let label = WalkSource::Label(old, LabelKind::Tag, "t".into());
    let walk = Walk { source: label, order: Order::OldestFirst, after: None, limit: 9 };
    assert_eq!(bench.store.walk(&walk).await.unwrap(), [done, broken]);
    let order = CancelOrder {
        job: done,
        reason: CancelReason::Client,
        text: String::new(),
        grace: Duration::ZERO,
        only_waiting: false,
    };
    assert_eq!(bench.store.cancel(&order).await.unwrap().0, CancelAnswer::Ended(State::Completed));
    assert_eq!(
        bench.store.requeue(broken, Some(Run(1)), "").await.unwrap().0,
        RequeueAnswer::Requeued(Run(2))
    );
    assert_eq!(
        bench.store.requeue(broken, Some(Run(1)), "").await.unwrap().0,
        RequeueAnswer::Repeated(Run(2))
    );
    assert!(!bench.store.keep_months().await.unwrap(), "a month with a live job stays");
    let leased = bench.claim(9).await;
    assert_eq!(leased.iter().map(|one| one.id()).collect::<Vec<_>>(), [fresh, broken]);
    bench.finish(leased[1].lease.fence, Ended::Completed).await;
    assert_eq!(bench.store.attempts(broken).await.unwrap().len(), 2);
    assert!(bench.store.keep_months().await.unwrap());
    assert_eq!(bench.state(broken).await, State::Completed);
    assert_eq!(bench.store.outcome(broken, Run(1)).await.unwrap().unwrap().ending, Ending::Failed);
    assert_eq!(bench.store.walk(&walk).await.unwrap(), [done, broken]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_database_is_used_again_and_keeps_what_was_accepted() {
    let mut server = mariadb::MariaDb::start().unwrap();
    let url = server.database().unwrap();
    let mut bench = Bench::over(open_store(&url, OpenOptions::default()).await.unwrap(), None).await;
    let job = bench.enqueue(|_| {}).await;
    let asked = clock::instant();
    let time = bench.store.now().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let passed = bench.store.now().await.unwrap().since(time);
    assert!(passed >= Duration::from_millis(50) && passed <= asked.elapsed(), "{passed:?}");
    server.kill9().unwrap();
    assert!(matches!(bench.store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        bench.store.tick(ServerId(1), &ServerAbout::default(), false).await,
        Err(StoreError::Unavailable(_))
    ));
    server.restart().unwrap();
    assert_eq!(bench.state(job).await, State::Queued);
    let lease = bench.claim(1).await.remove(0).lease;
    server.restart().unwrap();
    assert_eq!(bench.finish(lease.fence, Ended::Completed).await, Finished::Stored(State::Completed));
}

fn task(name: &str) -> Task {
    let definition = crate::model::Definition {
        spec: Box::new(Spec::new(Work::Command("Test".into()))),
        parents: Vec::new(),
        delay: None,
        timing: crate::model::Timing::Every(Duration::from_secs(1)),
        start_time: None,
        end_time: None,
        overlap: crate::model::Overlap::Skip,
        catch_up: crate::model::CatchUp::All(Duration::from_secs(5)),
        run_command: false,
        enabled: true,
        description: "what it is for".into(),
    };
    let mut standing = crate::model::Standing::new(Time(7));
    standing.next_time = Some(Time(1_000));
    Task {
        id: TaskId(0),
        name: name.into(),
        definition,
        request: Payload::Data { bytes: vec![0, 255].into(), content_type: "x/y".into() },
        standing,
        revision: 1,
        create_time: Time(5),
        update_time: Time(6),
    }
}

impl Bench {
    async fn make_task(&self, name: &str) -> Task {
        let id = self.store.make_task(&task(name)).await.unwrap().unwrap();
        self.store.task(TaskKey::Id(id)).await.unwrap().unwrap()
    }

    /// A change that lets the task run at its due time and moves it on by a second.
    async fn run_task(&self, seen: &Task) -> TaskChange {
        let due = seen.standing.next_time.unwrap();
        let job = self.job(|spec| spec.ref_id = crate::model::due_ref_id(seen.id, due)).await;
        let mut task = seen.clone();
        task.standing.note_run(due, job.job.id, job.job.spec.ref_id.clone());
        task.standing.next_time = Some(due.plus(Duration::from_secs(1)));
        let decisions = vec![Decision::Job(due, job.job.id)];
        TaskChange { task, due: Some(due), redefined: false, decisions, jobs: vec![job] }
    }
}

async fn a_task_is_made_once_and_found_by_id_name_and_prefix(bench: Bench) {
    let made = bench.make_task("nightly/é").await;
    let wanted = task("nightly/é");
    assert_eq!(made.definition, wanted.definition);
    assert_eq!((&made.request, &made.standing), (&wanted.request, &wanted.standing));
    assert_eq!((made.create_time, made.update_time, made.revision), (Time(5), Time(6), 1));
    assert_eq!(bench.store.make_task(&task("nightly/é")).await.unwrap(), None);
    assert_eq!(bench.store.task(TaskKey::Name("nightly/é")).await.unwrap().unwrap().id, made.id);
    assert!(bench.store.task(TaskKey::Name("NIGHTLY/é")).await.unwrap().is_none());
    assert!(bench.store.task(TaskKey::Id(TaskId(made.id.0 + 1))).await.unwrap().is_none());
    for name in ["nightly", "nightly/a", "nightlz", "night"] {
        bench.make_task(name).await;
    }
    let names = async |prefix: &str, after: &str, limit| {
        let tasks = bench.store.tasks(prefix, after, limit).await.unwrap();
        assert!(tasks.iter().all(|task| task.request == Payload::None));
        tasks.into_iter().map(|task| task.name).collect::<Vec<_>>()
    };
    assert_eq!(names("", "", 9).await, ["night", "nightly", "nightly/a", "nightly/é", "nightlz"]);
    assert_eq!(names("nightly", "", 9).await, ["nightly", "nightly/a", "nightly/é"]);
    assert_eq!(names("nightly", "nightly", 1).await, ["nightly/a"]);
    assert!(bench.store.delete_task(made.id, made.revision).await.unwrap());
    assert!(!bench.store.delete_task(made.id, made.revision).await.unwrap());
    let again = bench.make_task("nightly/é").await;
    assert!(again.id > made.id, "a task of the same name is another task");
}

async fn a_due_time_is_decided_once_with_its_job(bench: Bench) {
    let seen = bench.make_task("task").await;
    assert_eq!(bench.store.due_tasks(Time(999), 10).await.unwrap(), []);
    assert_eq!(bench.store.due_tasks(Time(1_000), 10).await.unwrap(), [seen.id]);
    assert_eq!(bench.store.next_task().await.unwrap(), Some(Time(1_000)));
    let change = bench.run_task(&seen).await;
    let stored = bench.store.change_task(&change).await.unwrap();
    assert!(matches!(stored, TaskChanged::Stored(ref wake) if wake.ready.len() == 1), "{stored:?}");
    let now = bench.store.task(TaskKey::Id(seen.id)).await.unwrap().unwrap();
    assert_eq!((&now.standing, now.revision), (&change.task.standing, 2));
    assert_eq!(now.standing.last_job, Some(change.jobs[0].job.id));
    let found = bench.store.find_ref(RefKey::Ref(&now.standing.last_ref_id)).await.unwrap();
    assert_eq!(found, now.standing.last_job, "its run is found by its ref id");
    // As it was seen first: somebody was faster.
    let late = bench.run_task(&seen).await;
    assert_eq!(bench.store.change_task(&late).await.unwrap(), TaskChanged::Raced);
    // Put back to the same due time: its record refuses a second decision, and nothing is changed.
    let mut back = now.clone();
    back.standing.next_time = seen.standing.next_time;
    let due = now.standing.next_time;
    let change = TaskChange { task: back, due, redefined: true, decisions: Vec::new(), jobs: Vec::new() };
    assert!(matches!(bench.store.change_task(&change).await.unwrap(), TaskChanged::Stored(_)));
    let put_back = bench.store.task(TaskKey::Id(seen.id)).await.unwrap().unwrap();
    let mut again = bench.run_task(&put_back).await;
    again.jobs[0].job.spec_mut().ref_id = "another".into();
    assert!(matches!(bench.store.change_task(&again).await, Err(StoreError::Decided)));
    let after = bench.store.task(TaskKey::Id(seen.id)).await.unwrap().unwrap();
    assert_eq!((after.revision, &after.standing), (put_back.revision, &put_back.standing));
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 1);
}

async fn of_racing_decisions_one_is_stored(bench: Bench) {
    let seen = bench.make_task("task").await;
    let mut racers = Vec::new();
    for _ in 0..8 {
        let (store, change) = (Arc::clone(&bench.store), bench.run_task(&seen).await);
        racers.push(tokio::spawn(async move { store.change_task(&change).await.unwrap() }));
    }
    let mut stored = 0;
    for racer in racers {
        stored += usize::from(matches!(racer.await.unwrap(), TaskChanged::Stored(_)));
    }
    assert_eq!(stored, 1);
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 1);
}

async fn a_run_whose_ref_id_is_taken_changes_nothing_of_its_task(bench: Bench) {
    let seen = bench.make_task("task").await;
    let change = bench.run_task(&seen).await;
    let first = bench.enqueue(|spec| spec.ref_id = change.jobs[0].job.spec.ref_id.clone()).await;
    match bench.store.change_task(&change).await {
        Err(StoreError::Taken(taken)) => assert_eq!(taken, [(0, Enqueued::SameRef(first))]),
        other => panic!("{other:?}"),
    }
    let after = bench.store.task(TaskKey::Id(seen.id)).await.unwrap().unwrap();
    assert_eq!((after.revision, &after.standing), (1, &seen.standing));
}

async fn decisions_are_forgotten_when_they_are_old(bench: Bench) {
    let mut seen = bench.make_task("task").await;
    for _ in 0..5 {
        let change = bench.run_task(&seen).await;
        bench.store.change_task(&change).await.unwrap();
        seen = bench.store.task(TaskKey::Id(seen.id)).await.unwrap().unwrap();
    }
    let skip = Skip { first: Time(9_000_000), last: Time(9_900_000), count: 3 };
    let change = TaskChange {
        due: seen.standing.next_time,
        task: seen,
        redefined: false,
        decisions: vec![Decision::Skipped(skip)],
        jobs: Vec::new(),
    };
    bench.store.change_task(&change).await.unwrap();
    assert!(bench.store.forget_ticks(Time(3_000_000), 2).await.unwrap());
    assert!(!bench.store.forget_ticks(Time(3_000_000), 2).await.unwrap());
    assert!(!bench.store.forget_ticks(Time(i64::MAX), 10).await.unwrap());
    assert!(!bench.store.forget_ticks(Time(i64::MAX), 1).await.unwrap());
}
