//! Transactions whose statements go to the database together.

use crate::model::{Payload, Work, digest};
use crate::store::connection::Class;
use crate::store::smoke::{Bench, on_both};
use crate::store::unit::Tries;
use crate::store::verbs::enqueue::store_all;
use crate::store::{Enqueued, NewJob, Payloads, StoreError};

on_both! {
    a_job_alone_is_stored_by_one_message
    whatever_is_in_texts_and_bytes_arrives_as_it_was
    a_taken_key_is_found_though_it_was_held_back
    a_key_goes_to_the_first_of_two_that_are_held_back
    a_job_that_is_too_large_to_be_held_back_is_stored
}

async fn a_job_alone_is_stored_by_one_message(bench: Bench) {
    let new = bench.job(|spec| (spec.ref_id, spec.request_id) = ("order-7".into(), "r1".into())).await;
    let mut tries = Tries::default();
    let mut unit = tries.begin(&bench.store.engine, Class::Enqueue).await.unwrap();
    let answer = store_all(&bench.store, &mut unit, std::slice::from_ref(&new)).await;
    assert_eq!(answer.as_ref().unwrap().0, [Enqueued::Ready]);
    assert_eq!(unit.held_back(), 4, "BEGIN, its keys, the job and its ready row wait for COMMIT");
    assert!(bench.store.views(&[new.job.id], Payloads::LeftOut).await.unwrap().is_empty());
    assert!(tries.settle(unit, answer).await.is_break());
    assert_eq!(bench.view(new.job.id).await.job.spec.ref_id, "order-7");
    let again = bench.job(|spec| spec.ref_id = "order-7".into()).await;
    assert_eq!(bench.store.enqueue(&[again]).await.unwrap().0, [Enqueued::SameRef(new.job.id)]);
}

async fn whatever_is_in_texts_and_bytes_arrives_as_it_was(bench: Bench) {
    let hard = "'; DROP TABLE job; -- ? \\' \" ` \u{0} \n % _ {p} 🚚 ü";
    let every: Vec<u8> = (0..=255).collect();
    let mut new = bench
        .job(|spec| {
            spec.work = Work::Command("Test".into());
            (spec.tag, spec.user_id, spec.ref_id) = (hard.into(), hard.into(), hard.into());
            spec.args.insert(hard.into(), hard.into());
        })
        .await;
    new.job.request = Payload::Data { bytes: every.into(), content_type: hard.into() };
    new.job.digest = digest([hard.as_bytes()]);
    let (id, request) = (new.job.id, new.job.request.clone());
    let spec = new.job.spec.clone();
    assert_eq!(bench.store.enqueue(&[new]).await.unwrap().0, [Enqueued::Ready]);
    let job = bench.view(id).await.job;
    assert_eq!(job.request, request);
    assert_eq!(job.digest, digest([hard.as_bytes()]));
    assert_eq!((&job.spec.tag, &job.spec.user_id, &job.spec.args), (&spec.tag, &spec.user_id, &spec.args));
    let found = bench.store.find_ref(crate::store::RefKey::Ref(hard)).await.unwrap();
    assert_eq!(found, Some(id));
}

async fn a_taken_key_is_found_though_it_was_held_back(bench: Bench) {
    let first = bench.enqueue(|spec| spec.ref_id = "a".into()).await;
    let member = async |ref_id: &str| bench.job(|spec| spec.ref_id = ref_id.into()).await;
    let batch = [member("b").await, member("a").await, member("c").await];
    let answers = bench.store.enqueue(&batch).await.unwrap().0;
    assert_eq!(answers, [Enqueued::Ready, Enqueued::SameRef(first), Enqueued::Ready]);
    let refused = bench.store.enqueue_all(&[member("d").await, member("a").await]).await;
    assert!(matches!(refused, Err(StoreError::Taken(_))), "{refused:?}");
    assert_eq!(bench.store.find_ref(crate::store::RefKey::Ref("d")).await.unwrap(), None);
    // An id that is taken is another error than a key that is.
    let same = NewJob { job: crate::model::Job { id: first, ..member("e").await.job }, ..member("e").await };
    let refused = bench.store.enqueue(&[same]).await;
    assert!(matches!(refused, Err(StoreError::IdTaken)), "{refused:?}");
    bench.enqueue(|spec| spec.ref_id = "e".into()).await;
}

async fn a_key_goes_to_the_first_of_two_that_are_held_back(bench: Bench) {
    let member = async |ref_id: &str, request_id: &str| {
        bench.job(|spec| (spec.ref_id, spec.request_id) = (ref_id.into(), request_id.into())).await
    };
    let batch =
        [member("a", "1").await, member("a", "2").await, member("", "1").await, member("b", "").await];
    let first = batch[0].job.id;
    let answers = bench.store.enqueue(&batch).await.unwrap().0;
    let lost = [Enqueued::SameRef(first), Enqueued::SameRequest(first)];
    assert_eq!(answers[..], [Enqueued::Ready, lost[0].clone(), lost[1].clone(), Enqueued::Ready]);
    assert_eq!(bench.store.counts().await.unwrap()["ready"], 2);
    let freed = bench.store.enqueue(&[member("c", "2").await]).await.unwrap().0;
    assert_eq!(freed, [Enqueued::Ready], "who lost by one key holds no other");
}

async fn a_job_that_is_too_large_to_be_held_back_is_stored(bench: Bench) {
    let mut new = bench.job(|spec| spec.ref_id = "large".into()).await;
    new.job.request = Payload::Json(vec![b'1'; 300_000].into());
    let id = new.job.id;
    assert_eq!(bench.store.enqueue(&[new]).await.unwrap().0, [Enqueued::Ready]);
    assert_eq!(bench.view(id).await.job.request, Payload::Json(vec![b'1'; 300_000].into()));
}
