//! History: months dropped, files moved away and back, and what retention forgets.

use super::*;
use crate::model::Retention;
use crate::store::connection::Class;

on_both! {
    a_closed_month_is_dropped_with_its_keys_and_one_in_use_is_not
    what_is_past_its_retention_is_forgotten_and_nothing_else
}

pub(super) const OLD: Month = Month(202_401);

/// Makes the month of a store's jobs an old one: renames its tables and rows.
pub(super) async fn age(bench: &Bench) {
    let month = bench.store.months().await.unwrap()[0].month;
    let prefix = bench.store.engine.texts.prefix();
    let renamed = verbs::MONTH_TABLES
        .map(|table| format!("ALTER TABLE {prefix}{table}_{month} RENAME TO {prefix}{table}_{OLD}"));
    let rows = [
        format!("UPDATE {prefix}month SET month = {}", OLD.0),
        format!("UPDATE {prefix}id_block SET month = {} WHERE month > 0", OLD.0),
        format!("UPDATE {prefix}job_ready SET month = {}", OLD.0),
        format!("UPDATE {prefix}job_lease SET month = {}", OLD.0),
    ];
    let mut unit = bench.store.engine.begin_reading(Class::Vital).await.unwrap();
    for statement in renamed.into_iter().chain(rows) {
        unit.lent.connection.run(statement).await.unwrap();
    }
    unit.lent.give_back();
    assert_eq!(bench.store.months().await.unwrap()[0].month, OLD);
}

/// A job that completed, one that failed, and one that waits.
async fn some_jobs(bench: &mut Bench) -> (JobId, JobId, JobId) {
    let done = bench.enqueue(|spec| (spec.tag, spec.ref_id) = ("t".into(), "mine".into())).await;
    let lease = bench.claim(1).await.remove(0).lease;
    bench.finish(lease.fence, Ended::Completed).await;
    let broken = bench.enqueue(|spec| (spec.tag, spec.retry.retry_limit) = ("t".into(), 0)).await;
    let lease = bench.claim(1).await.remove(0).lease;
    bench.finish(lease.fence, failed(None)).await;
    let waits = bench.enqueue(|_| {}).await;
    (done, broken, waits)
}

pub(super) async fn cancel(bench: &Bench, job: JobId) {
    let order = CancelOrder {
        job,
        reason: CancelReason::Client,
        text: String::new(),
        grace: Duration::ZERO,
        only_waiting: false,
    };
    assert_eq!(bench.store.cancel(&order).await.unwrap().0, CancelAnswer::Cancelled);
}

async fn a_closed_month_is_dropped_with_its_keys_and_one_in_use_is_not(mut bench: Bench) {
    let (done, broken, waits) = some_jobs(&mut bench).await;
    age(&bench).await;
    let fresh = bench.enqueue(|_| {}).await;
    let months = bench.store.months().await.unwrap();
    let open = months[1].month;
    let figures = bench.store.month_figures(OLD).await.unwrap().unwrap();
    assert_eq!((figures.completed, figures.failed, figures.live), (1, 1, 1));
    assert_eq!((figures.kept, figures.last_finish.is_some()), (MonthKept::Closed, true));
    let in_use = |answer: DropAnswer| matches!(answer, DropAnswer::InUse(_));
    assert!(in_use(bench.store.drop_month(open).await.unwrap()), "it is the present one");
    assert!(in_use(bench.store.drop_month(OLD).await.unwrap()), "a job of it waits");
    cancel(&bench, waits).await;
    let DropAnswer::Dropped(held) = bench.store.drop_month(OLD).await.unwrap() else { panic!("in use") };
    assert_eq!((held.completed, held.failed, held.cancelled, held.live), (1, 1, 1, 0));
    let left = bench.store.views(&[done, broken, waits, fresh], Payloads::LeftOut).await.unwrap();
    assert_eq!(left.iter().map(|view| view.job.id).collect::<Vec<_>>(), [fresh]);
    assert_eq!(bench.store.months().await.unwrap().len(), 1);
    assert_eq!(bench.store.find_ref(RefKey::Ref("mine")).await.unwrap(), None);
    assert!(matches!(bench.store.drop_month(OLD).await.unwrap(), DropAnswer::NotFound));
    assert!(bench.store.month_figures(OLD).await.unwrap().is_none());
    // Its ref id is free again, and ids go on.
    let again = bench.enqueue(|spec| spec.ref_id = "mine".into()).await;
    assert!(again > fresh);
}

async fn what_is_past_its_retention_is_forgotten_and_nothing_else(mut bench: Bench) {
    let (done, broken, waits) = some_jobs(&mut bench).await;
    let month = bench.store.months().await.unwrap()[0].month;
    let nothing = Retention { completed: Some(Duration::ZERO), ..Retention::default() };
    let (next, gone) = bench.store.forget_jobs(month, JobId(0), nothing, 100).await.unwrap();
    assert_eq!((next, gone), (None, 1));
    let left = |views: Vec<View>| views.into_iter().map(|view| view.job.id).collect::<Vec<_>>();
    let all = [done, broken, waits];
    assert_eq!(left(bench.store.views(&all, Payloads::LeftOut).await.unwrap()), [broken, waits]);
    assert_eq!(bench.store.find_ref(RefKey::Ref("mine")).await.unwrap(), None);
    assert!(bench.store.attempts(done).await.unwrap().is_empty());
    let hour = Retention { failed: Some(Duration::from_secs(3_600)), ..Retention::default() };
    assert_eq!(
        bench.store.forget_jobs(month, JobId(0), hour, 100).await.unwrap().1,
        0,
        "it is not old enough"
    );
    // A job that was requeued has ended before, and is live again.
    bench.store.requeue(broken, None, "").await.unwrap();
    let failures = Retention { failed: Some(Duration::ZERO), ..Retention::default() };
    assert_eq!(bench.store.forget_jobs(month, JobId(0), failures, 100).await.unwrap().1, 0);
    assert_eq!(bench.state(broken).await, State::Queued);
    cancel(&bench, broken).await;
    let cancelled = Retention { cancelled: Some(Duration::ZERO), ..Retention::default() };
    assert_eq!(bench.store.forget_jobs(month, JobId(0), cancelled, 100).await.unwrap().1, 1);
    assert_eq!(left(bench.store.views(&all, Payloads::LeftOut).await.unwrap()), [waits]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_months_file_can_be_moved_away_and_back() {
    let mut bench = Bench::on_sqlite().await;
    let path = bench.store.path.clone().unwrap();
    let (done, _, waits) = some_jobs(&mut bench).await;
    cancel(&bench, waits).await;
    age(&bench).await;
    let fresh = bench.enqueue(|_| {}).await;
    assert!(bench.store.keep_months().await.unwrap());
    let file = path.with_file_name("jobs.history_2024_01.db");
    let away = path.with_file_name("away.db");
    std::fs::rename(&file, &away).unwrap();
    // A store that has it open still, and one that opens it anew.
    bench.store.close().await;
    drop(std::mem::replace(&mut bench.store, Bench::on_sqlite().await.store));
    let store = open_store(&path.display().to_string(), OpenOptions::default()).await.unwrap();
    let why = store.views(&[done], Payloads::Read).await.unwrap_err();
    assert!(
        matches!(&why, StoreError::Unavailable(text) if text.contains("jobs.history_2024_01.db")),
        "{why}"
    );
    assert_eq!(store.views(&[fresh], Payloads::Read).await.unwrap().len(), 1, "the rest goes on");
    let figures = store.month_figures(OLD).await.unwrap().unwrap();
    assert_eq!((figures.kept, figures.is_away, figures.completed), (MonthKept::Archived, true, 0));
    assert!(matches!(store.drop_month(OLD).await, Err(StoreError::Unavailable(_))));
    std::fs::rename(&away, &file).unwrap();
    let view = store.views(&[done], Payloads::Read).await.unwrap().remove(0);
    assert_eq!(view.outcome().unwrap().result, Payload::Json("7".into()));
    let figures = store.month_figures(OLD).await.unwrap().unwrap();
    assert_eq!((figures.kept, figures.completed), (MonthKept::Archived, 1));
    assert!(figures.size_bytes > 0);
    assert!(matches!(store.drop_month(OLD).await.unwrap(), DropAnswer::Dropped(_)));
    assert!(!file.exists());
    assert!(store.views(&[done], Payloads::Read).await.unwrap().is_empty());
}
