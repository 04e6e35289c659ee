//! Queues: pauses and counts.

use super::*;
use crate::model::{QueueLimits, QueuePause, RateLimit};

on_both! {
    a_queue_is_paused_once_and_resumed_once
    limits_of_a_queue_are_set_one_by_one_and_leave_nothing_when_lifted
    a_claim_takes_no_more_of_a_limited_queue_than_it_may
    starts_of_a_limited_queue_are_counted_over_claims
    live_jobs_are_counted_by_route
}

async fn a_queue_is_paused_once_and_resumed_once(bench: Bench) {
    let store = &bench.store;
    assert!(store.queue_settings().await.unwrap().is_empty());
    store.pause_queue("mail", "one").await.unwrap();
    let first = store.queue_settings().await.unwrap().remove(0);
    let pause = first.pause.unwrap();
    assert_eq!((first.name.as_str(), pause.reason.as_str()), ("mail", "one"));
    store.pause_queue("mail", "two").await.unwrap();
    let second = store.queue_settings().await.unwrap();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].pause, Some(QueuePause { time: pause.time, reason: "two".into() }));
    assert!(store.resume_queue("mail").await.unwrap());
    assert!(!store.resume_queue("mail").await.unwrap());
    assert!(store.queue_settings().await.unwrap().is_empty());
}

const RATE: RateLimit = RateLimit { count: 3, period: Duration::from_secs(3_600) };

async fn limits_of_a_queue_are_set_one_by_one_and_leave_nothing_when_lifted(bench: Bench) {
    let store = &bench.store;
    let limits = async || store.queue_settings().await.unwrap().pop().map(|setting| setting.limits);
    let concurrency = |limit| LimitChange { concurrency: Some(limit), ..LimitChange::default() };
    let rate = |limit| LimitChange { rate: Some(limit), ..LimitChange::default() };
    store.limit_queue("mail", concurrency(Some(2))).await.unwrap();
    assert_eq!(limits().await, Some(QueueLimits { concurrency: Some(2), rate: None }));
    store.limit_queue("mail", rate(Some(RATE))).await.unwrap();
    assert_eq!(limits().await, Some(QueueLimits { concurrency: Some(2), rate: Some(RATE) }));
    let standing = store.queue_standing("mail").await.unwrap().unwrap();
    assert_eq!((standing.running, standing.starts_left, standing.room()), (0, 3, 2));
    store.pause_queue("mail", "").await.unwrap();
    store.limit_queue("mail", concurrency(None)).await.unwrap();
    assert_eq!(limits().await, Some(QueueLimits { concurrency: None, rate: Some(RATE) }));
    assert!(store.resume_queue("mail").await.unwrap());
    assert_eq!(limits().await, Some(QueueLimits { concurrency: None, rate: Some(RATE) }));
    store.limit_queue("mail", rate(None)).await.unwrap();
    assert_eq!(limits().await, None);
    assert_eq!(store.queue_standing("mail").await.unwrap(), None);
}

/// Claims of the queue `default` as one that knows of its limits.
async fn claim_limited(bench: &mut Bench, max_jobs: usize) -> (usize, bool) {
    let route = bench.store.routes(&[Spec::new(Work::Command("Test".into())).route()]).await.unwrap()[0];
    let ticket = bench.ticket();
    bench.store.loop_state(ticket.session, ticket.claim_loop).await.unwrap().unwrap();
    let group = Backlog { route, priority: limits::PRIORITY_DEFAULT, ready_time: Time(0) };
    let claimer = Claimer { ticket, max_jobs, groups: vec![group] };
    let limited = BTreeMap::from([(route, "default".to_owned())]);
    let now = bench.store.now().await.unwrap();
    let (claimed, full) = bench.store.claim(&[claimer], &limited, now).await.unwrap();
    match &claimed[..] {
        [Claimed::Leases(given)] => (given.len(), full.contains("default")),
        other => panic!("{other:?}"),
    }
}

async fn a_claim_takes_no_more_of_a_limited_queue_than_it_may(mut bench: Bench) {
    for _ in 0..5 {
        bench.enqueue(|_| {}).await;
    }
    bench.store.limit_queue("default", LimitChange { concurrency: Some(Some(2)), rate: None }).await.unwrap();
    assert_eq!(claim_limited(&mut bench, 1).await, (1, false));
    assert_eq!(claim_limited(&mut bench, 4).await, (1, true));
    assert_eq!(claim_limited(&mut bench, 4).await, (0, true));
    let lifted = LimitChange { concurrency: Some(None), rate: None };
    bench.store.limit_queue("default", lifted).await.unwrap();
    assert_eq!(
        claim_limited(&mut bench, 4).await,
        (3, false),
        "one that was lifted meanwhile limits nothing"
    );
}

async fn starts_of_a_limited_queue_are_counted_over_claims(mut bench: Bench) {
    for _ in 0..5 {
        bench.enqueue(|_| {}).await;
    }
    let rate = LimitChange { concurrency: None, rate: Some(Some(RATE)) };
    bench.store.limit_queue("default", rate).await.unwrap();
    assert_eq!(claim_limited(&mut bench, 2).await, (2, false));
    assert_eq!(claim_limited(&mut bench, 2).await, (1, true));
    assert_eq!(claim_limited(&mut bench, 2).await, (0, true));
}

async fn live_jobs_are_counted_by_route(mut bench: Bench) {
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(bench.enqueue(|_| {}).await);
    }
    let hour = Duration::from_secs(3_600);
    let later = bench.store.now().await.unwrap().plus(hour);
    bench.enqueue(|spec| spec.run_after = Some(later)).await;
    bench.enqueue(|spec| (spec.queue, spec.run_after) = ("other".into(), Some(later))).await;
    assert_eq!(bench.claim(1).await.len(), 1);
    let lane = bench.store.routes(&[Route::lane("one")]).await.unwrap()[0];
    for _ in 0..3 {
        let new = bench.job(|spec| (spec.queue, spec.worker.name) = ("lanes".into(), "one".into())).await;
        bench.store.enqueue(&[NewJob { lane: Some(lane), ..new }]).await.unwrap();
    }
    let now = bench.store.now().await.unwrap();
    let counts = bench.store.live_jobs(now).await.unwrap();
    let of = |queue: &str| {
        let mut spec = Spec::new(Work::Command("Test".into()));
        spec.queue = queue.into();
        spec.route()
    };
    let routes = bench.store.routes(&[of("default"), of("other"), of("lanes")]).await.unwrap();
    let here = counts.routes[&routes[0]];
    assert_eq!((here.scheduled, here.queued, here.running), (1, 2, 1));
    assert_eq!(here.oldest_ready, Some(bench.view(jobs[1]).await.job.ready.ready_time));
    let there = counts.routes[&routes[1]];
    assert_eq!((there.scheduled, there.queued, there.oldest_ready), (1, 0, None));
    let in_lane = counts.routes[&routes[2]];
    assert_eq!((in_lane.queued, in_lane.blocked), (1, 2));
    assert_eq!(counts.lines, [(lane, 2)].into());
}
