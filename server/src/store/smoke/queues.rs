//! Queues: pauses and counts.

use super::*;

on_both! {
    a_queue_is_paused_once_and_resumed_once
    live_jobs_are_counted_by_route
}

async fn a_queue_is_paused_once_and_resumed_once(bench: Bench) {
    let store = &bench.store;
    assert!(store.paused_queues().await.unwrap().is_empty());
    store.pause_queue("mail", "one").await.unwrap();
    let first = store.paused_queues().await.unwrap().remove(0);
    assert_eq!((first.name.as_str(), first.reason.as_str()), ("mail", "one"));
    store.pause_queue("mail", "two").await.unwrap();
    let second = store.paused_queues().await.unwrap();
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].pause_time, second[0].reason.as_str()), (first.pause_time, "two"));
    assert!(store.resume_queue("mail").await.unwrap());
    assert!(!store.resume_queue("mail").await.unwrap());
    assert!(store.paused_queues().await.unwrap().is_empty());
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
    let now = bench.store.now().await.unwrap();
    let counts = bench.store.live_counts(now).await.unwrap();
    let of = |queue: &str| {
        let mut spec = Spec::new(Work::Command("Test".into()));
        spec.queue = queue.into();
        spec.route()
    };
    let routes = bench.store.routes(&[of("default"), of("other")]).await.unwrap();
    let here = counts[&routes[0]];
    assert_eq!((here.scheduled, here.queued, here.running), (1, 2, 1));
    assert_eq!(here.oldest_ready, Some(bench.view(jobs[1]).await.job.ready.ready_time));
    let there = counts[&routes[1]];
    assert_eq!((there.scheduled, there.queued, there.oldest_ready), (1, 0, None));
}
