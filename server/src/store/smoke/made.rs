//! Rows that the database makes out of others: the same as would have been sent.

use super::*;
use crate::model::Outcome;
use crate::store::connection::Class;
use crate::store::rows::ReadyRow;
use crate::store::statement::{Place, Sql};

on_both! {
    ready_rows_made_of_stored_jobs_are_those_of_jobs_alone
    outcomes_made_of_leases_are_those_of_leases_alone
    a_run_that_has_an_outcome_keeps_it_whatever_ends_with_it
}

impl Bench {
    /// Jobs in a row, each changed by its number.
    async fn in_a_row(&self, count: i64, change: impl Fn(i64, &mut NewJob)) -> Vec<NewJob> {
        let block = self.store.reserve_ids(count).await.unwrap();
        let first = self.job(|_| {}).await;
        let job = |id: i64| {
            let mut new = first.clone();
            (new.job.id, new.job.ready.job) = (JobId(id), JobId(id));
            change(id - block.next, &mut new);
            new
        };
        (block.next..block.end).map(job).collect()
    }

    /// The ready row of a job as the database has it.
    async fn ready_row(&self, new: &NewJob) -> Vec<value::Value> {
        let ReadyKey { route, priority, ready_time, job } = new.job.ready;
        let mut unit = self.store.engine.begin_reading(Class::Read).await.unwrap();
        let key = value::values![route, priority, ready_time, job];
        let mut row = unit.fetch_one(Sql::ReadReady, Place::Fixed, key).await.unwrap().unwrap();
        ReadyRow::read(&mut row).unwrap().values()
    }

    async fn outcomes(&self, leased: &[LeasedJob]) -> Vec<Outcome> {
        let jobs: Vec<JobId> = leased.iter().map(LeasedJob::id).collect();
        let views = self.store.views(&jobs, Payloads::Read).await.unwrap();
        views.iter().map(|view| view.outcome().unwrap().clone()).collect()
    }
}

fn completed(leased: &LeasedJob, result: Payload) -> Finish {
    Finish { result, ..Finish::of(leased.lease.fence, Ended::Completed) }
}

async fn ready_rows_made_of_stored_jobs_are_those_of_jobs_alone(mut bench: Bench) {
    // Requests of any length, and here and there one that is not like its neighbours.
    let mut batch = bench
        .in_a_row(120, |number, new| {
            new.job.request = match number % 4 {
                0 => Payload::None,
                _ => {
                    Payload::Data { bytes: vec![0xff; 30 * number as usize].into(), content_type: "".into() }
                }
            };
            match number {
                60 => new.job.spec_mut().timeout = Duration::from_secs(7),
                80 => drop(new.job.spec_mut().args.insert("key".into(), "value".into())),
                100 => {
                    new.job.spec_mut().expire_time =
                        Some(new.job.create_time.plus(Duration::from_secs(3_600)))
                }
                _ => {}
            }
        })
        .await;
    let shared = Arc::clone(&batch[0].job.spec);
    batch[..60].iter_mut().for_each(|new| new.job.spec = Arc::clone(&shared));
    bench.store.enqueue(&batch).await.unwrap();
    for new in &batch {
        let expire_time = new.job.spec.expire_time.unwrap_or(Time::NEVER);
        let alone = ReadyRow::first(&new.job, Default::default(), expire_time, None);
        assert_eq!(bench.ready_row(new).await, alone.values());
    }
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 120);
    let leased: HashMap<JobId, Arc<Spec>> =
        bench.claim(120).await.into_iter().map(|leased| (leased.id(), leased.spec)).collect();
    let asked: HashMap<JobId, Arc<Spec>> = batch.into_iter().map(|new| (new.job.id, new.job.spec)).collect();
    assert_eq!(leased, asked);
}

async fn outcomes_made_of_leases_are_those_of_leases_alone(mut bench: Bench) {
    let batch = bench.in_a_row(80, |_, _| {}).await;
    bench.store.enqueue(&batch).await.unwrap();
    let leased = bench.claim(80).await;
    // The first to end lets the store learn the name of the worker process.
    let results = |number: usize| match number {
        0..30 => Payload::None,
        30..60 => Payload::Data { bytes: vec![0, 1].into(), content_type: "image/png".into() },
        _ => Payload::Json(number.to_string().into()),
    };
    let (first, rest) = leased.split_first().unwrap();
    let ends: Vec<Finish> =
        rest.iter().enumerate().map(|(at, one)| completed(one, results(at + 1))).collect();
    for ends in [vec![completed(first, results(0))], ends] {
        let finished = bench.store.finish(&ends, OnLocked::Wait).await.unwrap().0;
        assert!(finished.iter().all(|one| *one == Finished::Stored(State::Completed)), "{finished:?}");
    }
    let outcomes = bench.outcomes(&leased).await;
    let alone = &outcomes[79];
    for (number, (outcome, leased)) in outcomes.iter().zip(&leased).enumerate() {
        assert_eq!(outcome.result, results(number));
        assert_eq!(outcome.start_time, Some(leased.lease.start_time));
        assert!(outcome.finish_time >= leased.lease.start_time);
        let like_the_one_alone = Outcome {
            result: alone.result.clone(),
            finish_time: alone.finish_time,
            start_time: alone.start_time,
            ..outcome.clone()
        };
        assert_eq!(format!("{like_the_one_alone:?}"), format!("{alone:?}"), "job {}", leased.id());
    }
    let counts = bench.store.counts().await.unwrap();
    assert_eq!((counts["ready"], counts["leased"]), (0, 0));
}

async fn a_run_that_has_an_outcome_keeps_it_whatever_ends_with_it(mut bench: Bench) {
    let batch = bench.in_a_row(41, |_, _| {}).await;
    bench.store.enqueue(&batch).await.unwrap();
    let leased = bench.claim(41).await;
    let (first, rest) = leased.split_first().unwrap();
    assert_eq!(bench.finish(first.lease.fence, Ended::Completed).await, Finished::Stored(State::Completed));
    // No verb does this: the outcome of a run under way, of the attempt that is leased still.
    let odd = &rest[20];
    let mut unit = bench.store.engine.begin(Class::Vital).await.unwrap();
    let (prefix, month) = (bench.store.engine.texts.prefix(), odd.lease.month);
    let columns = "run, epoch, ending, attempt, crashes, start_time, finish_time, session_id, worker_process, \
        log_sequence, notify_time, detail, result_kind, result_type, result";
    let copy = columns.replace("epoch", &odd.lease.fence.epoch.to_string());
    let copied = format!(
        "INSERT INTO {prefix}outcome_{month} (job_id, {columns}) SELECT {}, {copy} FROM {prefix}outcome_{month} WHERE job_id = {}",
        odd.id(),
        first.id()
    );
    unit.lent.connection.run(copied).await.unwrap();
    assert!(super::unit::Tries::default().settle(unit, Ok(())).await.is_break());
    let ends: Vec<Finish> = rest.iter().map(|one| completed(one, Payload::None)).collect();
    let finished = bench.store.finish(&ends, OnLocked::Wait).await.unwrap().0;
    for (one, finished) in rest.iter().zip(finished) {
        let expected = match one.id() == odd.id() {
            true => Finished::Repeated(State::Completed),
            false => Finished::Stored(State::Completed),
        };
        assert_eq!(finished, expected);
    }
    assert_eq!(bench.outcomes(std::slice::from_ref(odd)).await[0].result, Payload::Json("7".into()));
    assert_eq!(bench.store.counts().await.unwrap()["leased"], 0);
}
