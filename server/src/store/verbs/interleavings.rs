//! Forced interleavings: one transaction is held open after its last statement while another, that touches the same
//! family or lane, is under way.

use std::time::Duration;

use crate::model::{Condition, Dependency, Ended, JobId, Payload, Route, RouteId, State, Time};
use crate::store::connection::Class;
use crate::store::smoke::{Bench, on_both};
use crate::store::unit::{Tries, Unit};
use crate::store::verbs::enqueue::store_all;
use crate::store::verbs::finish::Verdict;
use crate::store::{Enqueued, Finish, Finished, LeasedJob, NewJob, OnLocked};

on_both! {
    a_child_that_comes_while_its_parents_outcome_is_not_yet_committed_is_not_forgotten
    a_parent_that_ends_while_its_child_is_not_yet_committed_frees_it
    two_parents_whose_ends_are_told_at_once_free_their_child_once
    a_lane_passes_on_while_a_job_of_it_is_cancelled
}

/// How long the second transaction is given to run into the first.
const RUN_INTO: Duration = Duration::from_millis(300);

async fn child_of(bench: &Bench, parents: &[JobId]) -> NewJob {
    let depends_on: Vec<Dependency> =
        parents.iter().map(|parent| Dependency { parent: *parent, condition: Condition::Success }).collect();
    let new = bench.job(|spec| spec.depends_on = depends_on.clone()).await;
    NewJob { parents: depends_on, ..new }
}

fn completed(leased: &LeasedJob) -> Finish {
    Finish { result: Payload::Json("1".into()), ..Finish::of(leased.lease.fence, Ended::Completed) }
}

async fn commit(unit: Unit<'_>) {
    let done = Tries::default().settle(unit, Ok(())).await;
    assert!(matches!(done, std::ops::ControlFlow::Break(Ok(()))));
}

async fn settle_all(bench: &Bench) {
    while bench.store.settle().await.unwrap().is_some() {}
}

async fn a_child_that_comes_while_its_parents_outcome_is_not_yet_committed_is_not_forgotten(
    mut bench: Bench,
) {
    let parent = bench.enqueue(|_| ()).await;
    let leased = bench.claim(1).await.remove(0);
    let child = child_of(&bench, &[parent]).await;
    let store = bench.store.clone();
    let mut open = store.engine.begin(Class::Vital).await.unwrap();
    let Verdict::Finished(answers, _) =
        store.finish_in(&mut open, &[completed(&leased)], OnLocked::Wait).await.unwrap()
    else {
        panic!("a route was missing");
    };
    assert_eq!(answers, [Finished::Stored(State::Completed)]);
    let (id, storing) = (child.job.id, bench.store.clone());
    let storing = tokio::spawn(async move { storing.enqueue(&[child]).await });
    tokio::time::sleep(RUN_INTO).await;
    assert!(!storing.is_finished(), "it must wait for the parent's end");
    commit(open).await;
    let answer = storing.await.unwrap().unwrap().0;
    assert_eq!(answer, [Enqueued::Ready], "the parent has ended by now");
    assert_eq!(bench.state(id).await, State::Queued);
}

async fn a_parent_that_ends_while_its_child_is_not_yet_committed_frees_it(mut bench: Bench) {
    let parent = bench.enqueue(|_| ()).await;
    let leased = bench.claim(1).await.remove(0);
    let child = child_of(&bench, &[parent]).await;
    let id = child.job.id;
    let store = bench.store.clone();
    let mut open = store.engine.begin(Class::Enqueue).await.unwrap();
    store_all(&store, &mut open, &[child]).await.unwrap();
    let finishing = bench.store.clone();
    let finishing =
        tokio::spawn(async move { finishing.finish(&[completed(&leased)], OnLocked::Wait).await });
    tokio::time::sleep(RUN_INTO).await;
    assert!(!finishing.is_finished(), "it must wait for the child");
    commit(open).await;
    let (answers, wake) = finishing.await.unwrap().unwrap();
    assert_eq!(answers, [Finished::Stored(State::Completed)]);
    assert!(wake.others_wait, "its end must be told");
    assert_eq!(bench.state(id).await, State::Blocked);
    settle_all(&bench).await;
    assert_eq!(bench.state(id).await, State::Queued);
}

async fn two_parents_whose_ends_are_told_at_once_free_their_child_once(mut bench: Bench) {
    for _ in 0..10 {
        let parents = [bench.enqueue(|_| ()).await, bench.enqueue(|_| ()).await];
        let child = child_of(&bench, &parents).await;
        let id = child.job.id;
        assert_eq!(bench.store.enqueue(&[child]).await.unwrap().0.len(), 1);
        let leased = bench.claim(2).await;
        for one in &leased {
            bench.store.finish(&[completed(one)], OnLocked::Wait).await.unwrap();
        }
        let (one, two) = (bench.store.clone(), bench.store.clone());
        let (one, two) = tokio::join!(
            tokio::spawn(async move { while one.settle().await.unwrap().is_some() {} }),
            tokio::spawn(async move { while two.settle().await.unwrap().is_some() {} }),
        );
        one.unwrap();
        two.unwrap();
        // One that skipped what the other held leaves it to the next look.
        settle_all(&bench).await;
        assert_eq!(bench.state(id).await, State::Queued);
        let freed = bench.claim(5).await;
        assert_eq!(freed.iter().map(|leased| leased.id()).collect::<Vec<_>>(), [id]);
        bench.store.finish(&[completed(&freed[0])], OnLocked::Wait).await.unwrap();
    }
}

async fn a_lane_passes_on_while_a_job_of_it_is_cancelled(mut bench: Bench) {
    let lane: RouteId = bench.store.routes(&[Route::lane("one")]).await.unwrap()[0];
    let mut ids = Vec::new();
    for _ in 0..3 {
        let new = bench.job(|spec| spec.worker.name = "one".into()).await;
        ids.push(new.job.id);
        bench.store.enqueue(&[NewJob { lane: Some(lane), ..new }]).await.unwrap();
    }
    let head = bench.claim(5).await;
    assert_eq!(head.len(), 1);
    let store = bench.store.clone();
    let mut open = store.engine.begin(Class::Vital).await.unwrap();
    store.finish_in(&mut open, &[completed(&head[0])], OnLocked::Wait).await.unwrap();
    let (cancelling, second) = (bench.store.clone(), ids[1]);
    let cancelling = tokio::spawn(async move {
        let order = crate::store::CancelOrder {
            job: second,
            reason: crate::model::CancelReason::Client,
            text: String::new(),
            grace: Duration::ZERO,
            only_waiting: false,
        };
        cancelling.cancel(&order).await
    });
    tokio::time::sleep(RUN_INTO).await;
    commit(open).await;
    // The second was promoted, then cancelled, and the third has the lane.
    cancelling.await.unwrap().unwrap();
    assert_eq!(bench.state(ids[1]).await, State::Cancelled);
    let next = bench.claim(5).await;
    assert_eq!(next.iter().map(|leased| leased.id()).collect::<Vec<_>>(), [ids[2]]);
    bench.store.finish(&[completed(&next[0])], OnLocked::Wait).await.unwrap();
    assert_eq!(bench.store.enter_lanes(Time::NEVER, 10).await.unwrap(), crate::store::Wake::default());
}
