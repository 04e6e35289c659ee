//! Jobs by their batch ids: many of one call, few of many calls, and what becomes of them in a month that ages.

use super::history::{OLD, age, cancel};
use super::*;
use crate::model::Retention;
use crate::store::connection::Class;

on_both! {
    a_batch_of_a_thousand_is_one_row_and_is_found_in_pages_of_any_size
    jobs_of_one_batch_id_are_found_however_they_were_stored
    a_page_of_a_batch_of_many_calls_begins_where_the_last_ended
    forgotten_jobs_of_a_batch_are_found_no_more
    a_dropped_month_takes_its_batches_along
    a_month_that_is_older_than_the_index_of_batches_gets_one
}

impl Bench {
    /// Jobs with ids in a row, each with the batch id and ref id that are given.
    async fn batch(&self, members: &[(&str, &str)]) -> Vec<NewJob> {
        let block = self.store.reserve_ids(members.len() as i64).await.unwrap();
        let first = self.job(|_| {}).await;
        let member = |(id, (batch_id, ref_id)): (i64, &(&str, &str))| {
            let mut new = first.clone();
            new.job.id = JobId(id);
            new.job.ready.job = JobId(id);
            let spec = new.job.spec_mut();
            (spec.batch_id, spec.ref_id) = ((*batch_id).into(), (*ref_id).into());
            new
        };
        (block.next..block.end).zip(members).map(member).collect()
    }

    async fn month(&self) -> Month {
        self.store.months().await.unwrap().last().unwrap().month
    }

    /// What a whole walk over a batch finds, in pages of a size.
    async fn walk_batch(&self, month: Month, batch_id: &str, order: Order, limit: i64) -> Vec<JobId> {
        let mut found: Vec<JobId> = Vec::new();
        loop {
            let source = WalkSource::Batch(month, batch_id.into());
            let walk = Walk { source, order, after: found.last().copied(), limit };
            let page = self.store.walk(&walk).await.unwrap();
            assert!(page.len() as i64 <= limit, "{} of {limit}", page.len());
            let is_last = (page.len() as i64) < limit;
            found.extend(page);
            if is_last {
                return found;
            }
        }
    }

    /// Walks in both orders, in pages of these sizes.
    async fn expect_batch(&self, month: Month, batch_id: &str, wanted: &[JobId], sizes: &[i64]) {
        let backwards: Vec<JobId> = wanted.iter().rev().copied().collect();
        for size in sizes {
            let up = self.walk_batch(month, batch_id, Order::OldestFirst, *size).await;
            assert_eq!(up, wanted, "{batch_id}, up by {size}");
            let down = self.walk_batch(month, batch_id, Order::NewestFirst, *size).await;
            assert_eq!(down, backwards, "{batch_id}, down by {size}");
        }
    }

    /// Walks in both orders from each of the ids, from those beside it, and from the ends.
    async fn expect_beyond_each(&self, month: Month, batch_id: &str, wanted: &[JobId]) {
        let beside = wanted.iter().flat_map(|job| [job.0 - 1, job.0, job.0 + 1]);
        for after in beside.map(JobId).chain([JobId(0), JobId(i64::MAX)]) {
            let walk = |order| {
                let source = WalkSource::Batch(month, batch_id.into());
                Walk { source, order, after: Some(after), limit: 2 }
            };
            let up: Vec<JobId> = wanted.iter().filter(|job| **job > after).take(2).copied().collect();
            assert_eq!(self.store.walk(&walk(Order::OldestFirst)).await.unwrap(), up, "beyond {after}");
            let down: Vec<JobId> = wanted.iter().rev().filter(|job| **job < after).take(2).copied().collect();
            assert_eq!(self.store.walk(&walk(Order::NewestFirst)).await.unwrap(), down, "before {after}");
        }
    }

    async fn look_up(&self, sql: &str) -> Vec<Vec<String>> {
        let mut unit = self.store.engine.begin_reading(Class::Vital).await.unwrap();
        let rows = unit.lent.connection.look_up(sql).await.unwrap();
        unit.lent.give_back();
        rows
    }

    /// The stretches that are stored for a month, as first and last id.
    async fn stretches(&self, month: Month) -> Vec<(i64, i64)> {
        let prefix = self.store.engine.texts.prefix();
        let sql = format!("SELECT first_id, last_id FROM {prefix}job_batch_{month} ORDER BY first_id");
        let number = |text: &String| text.parse::<i64>().unwrap();
        self.look_up(&sql).await.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
    }
}

fn ids_of(jobs: &[NewJob]) -> Vec<JobId> {
    jobs.iter().map(|new| new.job.id).collect()
}

async fn a_batch_of_a_thousand_is_one_row_and_is_found_in_pages_of_any_size(bench: Bench) {
    let jobs = bench.batch(&[("b", ""); 1_000]).await;
    bench.store.enqueue_all(&jobs).await.unwrap();
    let (month, ids) = (bench.month().await, ids_of(&jobs));
    assert_eq!(bench.stretches(month).await, [(ids[0].0, ids[999].0)]);
    bench.expect_batch(month, "b", &ids, &[7, 100, 999, 1_000, 1_001]).await;
    let views = bench.store.views(&ids, Payloads::LeftOut).await.unwrap();
    assert!(views.len() == 1_000 && views.iter().all(|view| view.job.spec.batch_id == "b"));
    // The key compares byte by byte, and each month has its own.
    bench.expect_batch(month, "B", &[], &[10]).await;
    bench.expect_batch(month, "b ", &[], &[10]).await;
    bench.expect_batch(OLD, "b", &[], &[10]).await;
}

async fn jobs_of_one_batch_id_are_found_however_they_were_stored(bench: Bench) {
    let taken = bench.enqueue(|spec| (spec.ref_id, spec.batch_id) = ("taken".into(), "other".into())).await;
    let mut wanted: BTreeMap<&str, Vec<JobId>> = BTreeMap::from([("other", vec![taken])]);
    // Alone, beside jobs of no batch and of another.
    for batch_id in ["b", "", "b", "b", "other", "b"] {
        let job = bench.enqueue(|spec| spec.batch_id = batch_id.into()).await;
        wanted.entry(batch_id).or_default().push(job);
    }
    // Together: one that is left out, since its ref id is taken, and some with a batch id of their own.
    let members =
        [("b", ""), ("b", "new"), ("b", "taken"), ("b", ""), ("c", ""), ("c", ""), ("", ""), ("b", "")];
    let jobs = bench.batch(&members).await;
    let answers = bench.store.enqueue(&jobs).await.unwrap().0;
    assert_eq!(answers[2], Enqueued::SameRef(taken));
    for (new, (batch_id, _)) in jobs.iter().zip(members).filter(|(new, _)| new.job.id != jobs[2].job.id) {
        wanted.entry(batch_id).or_default().push(new.job.id);
    }
    // Collected from several calls, so in any order.
    let mut jobs = bench.batch(&[("b", ""), ("b", ""), ("other", ""), ("b", "")]).await;
    for new in &jobs {
        let batch_id = if new.job.spec.batch_id == "b" { "b" } else { "other" };
        wanted.entry(batch_id).or_default().push(new.job.id);
    }
    jobs.reverse();
    bench.store.enqueue(&jobs).await.unwrap();
    let month = bench.month().await;
    for batch_id in ["b", "c", "other"] {
        let wanted = &wanted[batch_id];
        bench.expect_batch(month, batch_id, wanted, &[1, 2, 3, 5, wanted.len() as i64, 100]).await;
        bench.expect_beyond_each(month, batch_id, wanted).await;
    }
    // One row for each stretch without a gap, none for jobs without a batch id.
    let stretches = bench.stretches(month).await;
    let lengths: Vec<i64> = stretches.iter().map(|(first, last)| last - first + 1).collect();
    assert_eq!(lengths, [1, 1, 1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 1]);
    assert!(wanted["b"].windows(2).all(|pair| pair[0] < pair[1]));
}

async fn a_page_of_a_batch_of_many_calls_begins_where_the_last_ended(bench: Bench) {
    // A hundred thousand jobs of one id, each of a call of its own.
    let month = bench.store.reserve_ids(1).await.unwrap().month;
    let prefix = bench.store.engine.texts.prefix();
    let numbers = match bench.store.engine.dialect() {
        dialect::Dialect::MySql => "SELECT seq FROM seq_1_to_100000",
        dialect::Dialect::Sqlite => {
            "WITH RECURSIVE s (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 100000) SELECT seq FROM s"
        }
    };
    let mut unit = bench.store.engine.begin_reading(Class::Vital).await.unwrap();
    let fill = format!(
        "INSERT INTO {prefix}job_batch_{month} SELECT x'62', seq * 2, seq * 2 FROM ({numbers}) AS source"
    );
    unit.lent.connection.run(fill).await.unwrap();
    unit.lent.give_back();
    let page = async |order, after| {
        let walk =
            Walk { source: WalkSource::Batch(month, "b".into()), order, after: Some(JobId(after)), limit: 3 };
        bench.store.walk(&walk).await.unwrap().into_iter().map(|job| job.0).collect::<Vec<_>>()
    };
    assert_eq!(page(Order::OldestFirst, 100_001).await, [100_002, 100_004, 100_006]);
    assert_eq!(page(Order::OldestFirst, 199_996).await, [199_998, 200_000]);
    assert_eq!(page(Order::NewestFirst, 100_001).await, [100_000, 99_998, 99_996]);
    // The last pages cost what the first cost: none reads the stretches before it.
    if bench.store.engine.dialect() == dialect::Dialect::MySql {
        let rows_read = async |sql, values: Vec<value::Value>| {
            let mut unit = bench.store.engine.begin_reading(Class::Vital).await.unwrap();
            unit.lent.connection.run("FLUSH STATUS".into()).await.unwrap();
            unit.fetch(sql, statement::Place::Month(month), values).await.unwrap();
            let sql = "SHOW SESSION STATUS LIKE 'Handler_read%'";
            let read = unit.lent.connection.look_up(sql).await.unwrap();
            unit.lent.give_back();
            read.iter().map(|row| row[1].parse::<i64>().unwrap()).sum::<i64>()
        };
        let bound = |limit: i64| value::values![value::key("b"), 190_000_i64, limit];
        assert!(rows_read(statement::Sql::WalkBatchUp, bound(3)).await <= 8);
        assert!(rows_read(statement::Sql::WalkBatchDown, bound(3)).await <= 8);
    }
}

async fn forgotten_jobs_of_a_batch_are_found_no_more(bench: Bench) {
    let alone = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    let kept = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    let jobs = bench.batch(&[("b", ""); 4]).await;
    bench.store.enqueue_all(&jobs).await.unwrap();
    let ids = ids_of(&jobs);
    for job in [alone, ids[0], ids[1]] {
        cancel(&bench, job).await;
    }
    let month = bench.month().await;
    let cancelled = Retention { cancelled: Some(Duration::ZERO), ..Retention::default() };
    let (next, gone) = bench.store.forget_jobs(month, JobId(0), cancelled, 100).await.unwrap();
    assert_eq!((next, gone), (None, 3));
    // The row of the one that was alone is gone; the four share theirs, and two of them live.
    assert_eq!(bench.stretches(month).await, [(kept.0, kept.0), (ids[0].0, ids[3].0)]);
    let found = bench.walk_batch(month, "b", Order::OldestFirst, 3).await;
    let views = bench.store.views(&found, Payloads::LeftOut).await.unwrap();
    assert_eq!(views.iter().map(|view| view.job.id).collect::<Vec<_>>(), [kept, ids[2], ids[3]]);
}

async fn a_dropped_month_takes_its_batches_along(bench: Bench) {
    let jobs = bench.batch(&[("b", ""); 3]).await;
    bench.store.enqueue_all(&jobs).await.unwrap();
    let ids = ids_of(&jobs);
    for job in &ids {
        cancel(&bench, *job).await;
    }
    age(&bench).await;
    let fresh = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    let month = bench.month().await;
    bench.expect_batch(OLD, "b", &ids, &[2, 10]).await;
    bench.expect_batch(month, "b", &[fresh], &[2, 10]).await;
    assert!(matches!(bench.store.drop_month(OLD).await.unwrap(), DropAnswer::Dropped(_)));
    bench.expect_batch(OLD, "b", &[], &[2]).await;
    bench.expect_batch(month, "b", &[fresh], &[2, 10]).await;
    let tables = match bench.store.engine.dialect() {
        dialect::Dialect::MySql => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
        dialect::Dialect::Sqlite => "SELECT name FROM sqlite_master",
    };
    let tables: Vec<String> = bench.look_up(tables).await.into_iter().flatten().collect();
    assert!(tables.iter().any(|table| table.ends_with(&format!("job_batch_{month}"))), "{tables:?}");
    assert!(!tables.iter().any(|table| table.ends_with(&OLD.to_string())), "{tables:?}");
}

async fn a_month_that_is_older_than_the_index_of_batches_gets_one(bench: Bench) {
    let old = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    let month = bench.month().await;
    let mut unit = bench.store.engine.begin_reading(Class::Vital).await.unwrap();
    let table = format!("{}job_batch_{month}", bench.store.engine.texts.prefix());
    unit.lent.connection.run(format!("DROP TABLE {table}")).await.unwrap();
    unit.lent.give_back();
    // As each start does.
    bench.store.complete_months().await.unwrap();
    let new = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    bench.expect_batch(month, "b", &[new], &[2]).await;
    assert_eq!(bench.state(old).await, State::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_moved_month_is_found_also_when_a_job_of_it_came_back() {
    let mut bench = Bench::on_sqlite().await;
    let path = bench.store.path.clone().unwrap();
    let alone = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    let jobs = bench.batch(&[("b", ""); 5]).await;
    bench.store.enqueue_all(&jobs).await.unwrap();
    let mut ids = vec![alone];
    ids.extend(ids_of(&jobs));
    for job in &ids {
        cancel(&bench, *job).await;
    }
    age(&bench).await;
    let fresh = bench.enqueue(|spec| spec.batch_id = "b".into()).await;
    assert!(bench.store.keep_months().await.unwrap());
    assert_eq!(bench.stretches(OLD).await, []);
    let sizes = [1, 2, 4, 6, 10];
    bench.expect_batch(OLD, "b", &ids, &sizes).await;
    bench.expect_beyond_each(OLD, "b", &ids).await;
    // One of it runs again and ends, and goes back to the file.
    let again = bench.store.requeue(ids[2], Some(Run(1)), "").await.unwrap().0;
    assert_eq!(again, RequeueAnswer::Requeued(Run(2)));
    bench.expect_batch(OLD, "b", &ids, &sizes).await;
    let views = bench.store.views(&ids, Payloads::LeftOut).await.unwrap();
    let now = bench.store.now().await.unwrap();
    let states: Vec<State> = views.iter().map(|view| view.state(now)).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Queued).count(), 1);
    let leased = bench.claim(9).await;
    assert_eq!(leased.iter().map(|one| one.id()).collect::<Vec<_>>(), [fresh, ids[2]]);
    bench.finish(leased[1].lease.fence, Ended::Completed).await;
    assert!(bench.store.keep_months().await.unwrap());
    bench.expect_batch(OLD, "b", &ids, &sizes).await;
    // A file of a version that had no index of batches gets an empty one when it is opened.
    bench.store.close().await;
    let file = path.with_file_name("jobs.history_2024_01.db");
    {
        use sqlx::{ConnectOptions as _, Executor as _};
        let mut connection =
            sqlx::sqlite::SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        connection.execute("DROP TABLE job_batch_2024_01").await.unwrap();
    }
    drop(std::mem::replace(&mut bench.store, Bench::on_sqlite().await.store));
    bench.store = open_store(&path.display().to_string(), OpenOptions::default()).await.unwrap();
    bench.expect_batch(OLD, "b", &[], &[2]).await;
    assert_eq!(bench.state(ids[2]).await, State::Completed);
}
