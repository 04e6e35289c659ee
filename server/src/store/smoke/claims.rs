//! Claims of many jobs: what is stored is what is answered, and who stands between them stays.

use super::*;
use crate::store::connection::Class;
use crate::store::rows::LeaseRow;
use crate::store::statement::{Place, Sql};
use crate::store::unit::Tries;

on_both! {
    the_leases_of_many_jobs_are_stored_as_they_are_answered
    expired_jobs_in_line_are_left_standing
    several_claims_share_what_many_jobs_there_are
}

impl Bench {
    /// Jobs that can start so many microseconds after each other.
    async fn line(&self, gaps: &[i64]) -> Vec<JobId> {
        let block = self.store.reserve_ids(gaps.len() as i64).await.unwrap();
        let first = self.job(|_| {}).await;
        let start = first.job.ready.ready_time.0 - 1_000_000;
        let mut batch = Vec::new();
        for (id, gap) in (block.next..block.end).zip(gaps) {
            let mut new = first.clone();
            (new.job.id, new.job.ready.job) = (JobId(id), JobId(id));
            let before = batch.last().map_or(start, |new: &NewJob| new.job.ready.ready_time.0);
            new.job.ready.ready_time = Time(before + gap);
            batch.push(new);
        }
        self.store.enqueue(&batch).await.unwrap();
        batch.iter().map(|new| new.job.id).collect()
    }

    /// Changes ready rows as no verb does.
    async fn change_ready(&self, change: &str) {
        let mut unit = self.store.engine.begin(Class::Vital).await.unwrap();
        let table = format!("{}job_ready", self.store.engine.texts.prefix());
        unit.lent.connection.run(format!("UPDATE {table} SET {change}")).await.unwrap();
        assert!(Tries::default().settle(unit, Ok(())).await.is_break());
    }

    /// Lease rows as the database has them, by job.
    async fn stored(&self, jobs: &[JobId]) -> BTreeMap<JobId, Vec<value::Value>> {
        let mut unit = self.store.engine.begin_reading(Class::Read).await.unwrap();
        let by_id = |jobs: &[JobId]| jobs.iter().map(|job| value::Value::from(*job)).collect();
        let rows = unit.fetch_each(Sql::ReadLeasesByJob, Place::Fixed, jobs, by_id).await.unwrap();
        let read = |mut row| {
            let row = LeaseRow::read(&mut row).unwrap();
            (row.lease.fence.job, row.values())
        };
        rows.into_iter().map(read).collect()
    }

    /// As they were answered.
    fn given(&self, leased: &[LeasedJob]) -> BTreeMap<JobId, Vec<value::Value>> {
        let known = |one: &LeasedJob| self.store.engine.given_out.get(one.lease.fence).unwrap().values();
        leased.iter().map(|one| (one.id(), known(one))).collect()
    }
}

fn ids_of(leased: &[LeasedJob]) -> Vec<JobId> {
    leased.iter().map(|one| one.id()).collect()
}

/// Twenty at one time, twenty one after the other, twenty at one time.
fn gaps() -> Vec<i64> {
    [vec![0; 20], vec![7; 20], vec![3], vec![0; 19]].concat()
}

async fn the_leases_of_many_jobs_are_stored_as_they_are_answered(mut bench: Bench) {
    let jobs = bench.line(&gaps()).await;
    let far = i64::MAX - 1_000;
    bench.change_ready(&format!("epoch = {far}, attempt = 2, crashes = 1 WHERE job_id % 3 = 0")).await;
    bench
        .change_ready(&format!(
            "timeout = {far}, unacknowledged = 4, flags = 1, size = 8 WHERE job_id % 4 = 0"
        ))
        .await;
    // Of the last that can start at once some are left.
    let leased = bench.claim(50).await;
    assert_eq!(ids_of(&leased), jobs[..50]);
    assert_eq!(bench.stored(&jobs).await, bench.given(&leased));
    let left = bench.claim(50).await;
    assert_eq!(ids_of(&left), jobs[50..], "so few are taken row by row");
    assert_eq!(bench.stored(&jobs[50..]).await, bench.given(&left));
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 0);
    let nonces: BTreeSet<i64> = leased.iter().map(|one| one.lease.fence.nonce).collect();
    assert_eq!(nonces.len(), 1, "a claim draws one nonce");
}

async fn expired_jobs_in_line_are_left_standing(mut bench: Bench) {
    let jobs = bench.line(&gaps()).await;
    bench.change_ready("expire_time = 1 WHERE job_id % 10 = 5").await;
    let alive: Vec<JobId> = jobs.iter().copied().filter(|job| job.0 % 10 != 5).collect();
    let leased = bench.claim(60).await;
    assert_eq!(ids_of(&leased), alive);
    assert_eq!(bench.stored(&jobs).await, bench.given(&leased));
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 6);
}

async fn several_claims_share_what_many_jobs_there_are(mut bench: Bench) {
    let jobs = bench.line(&[0; 60]).await;
    bench.store.loop_state(bench.session, 1).await.unwrap().unwrap();
    bench.store.loop_state(bench.session, 2).await.unwrap().unwrap();
    let groups = bench.store.look().await.unwrap();
    let tickets = [bench.ticket(), ClaimTicket { claim_loop: 2, ..bench.ticket() }];
    let claims = tickets.map(|ticket| Claimer { ticket, max_jobs: 25, groups: groups.clone() });
    let now = bench.store.now().await.unwrap();
    let claimed = bench.store.claim(&claims, &BTreeMap::new(), now).await.unwrap().0;
    let mut taken = Vec::new();
    for answer in claimed {
        let Claimed::Leases(given) = answer else { panic!("{answer:?}") };
        assert_eq!(given.len(), 25);
        taken.extend(given.into_iter().map(|given| given.lease.fence.job));
    }
    taken.sort_unstable();
    assert_eq!(taken, jobs[..50]);
    assert_eq!(bench.stored(&jobs).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_holds_is_passed_over_and_waited_for_by_nobody() {
    let mut bench = Bench::on_mariadb().await;
    let jobs = bench.line(&gaps()).await;
    // A table of hardly more rows than are taken would be read whole, and the held row waited for.
    bench.line(&[vec![3_600_000_000], vec![0; 999]].concat()).await;
    for held in [jobs[10], jobs[30], jobs[50]] {
        let store = bench.store.clone();
        let mut other = store.engine.begin(Class::Vital).await.unwrap();
        let table = format!("{}job_ready", bench.store.engine.texts.prefix());
        let lock = format!(
            "SELECT * FROM {table} FORCE INDEX (PRIMARY) WHERE job_id = {held} FOR UPDATE SKIP LOCKED"
        );
        assert_eq!(other.lent.connection.look_up(&lock).await.unwrap().len(), 1);
        let begun = clock::instant();
        let leased = bench.claim(60).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "it waited for {:?}", begun.elapsed());
        assert_eq!(leased.len(), 59);
        assert!(!ids_of(&leased).contains(&held));
        assert_eq!(bench.stored(&jobs).await, bench.given(&leased));
        assert!(Tries::default().settle(other, Ok(())).await.is_break());
        for one in leased {
            bench.finish(one.lease.fence, Ended::Released).await;
        }
    }
}
