//! Named locks: over the wire, by the Rust SDK, and from the command line.

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use haulier::{Client, Error, LockKey};
use haulier_proto::v1 as pb;
use haulier_tests::{
    Refusal, Server, duration_of, figure, haulier_binary, monotonic, on_both, on_two_servers, refusal,
    seconds, stamp, until,
};
use pb::lock_service_client::LockServiceClient;
use pb::{AcquireLockRequest, BreakLockRequest, ListLocksRequest, ReleaseLockRequest, RenewLockRequest};
use tonic::Code;
use tonic::transport::Channel;

on_both!(
    a_lock_is_held_by_one_at_a_time_and_its_token_only_grows,
    the_same_owner_gets_the_same_lock_and_token_again,
    a_waiter_is_woken_as_soon_as_the_lock_is_released,
    waiters_are_served_in_the_order_in_which_they_came,
    a_wait_that_is_over_names_the_present_holder,
    a_lock_that_was_waited_for_is_held_for_its_lease_time_from_then,
    a_waiter_that_goes_away_is_passed_over,
    a_renewal_after_a_loss_is_refused,
    a_lock_of_a_holder_that_is_silent_goes_to_the_next_within_its_lease_time,
    a_late_renewal_of_a_lock_that_nobody_took_is_accepted,
    an_outage_of_ours_takes_no_lock,
    held_locks_are_listed_by_name_page_by_page,
    a_lock_is_broken_for_whoever_holds_it_or_for_one_holder_only,
    each_field_that_breaks_a_rule_is_named_with_its_limit,
    each_field_at_its_limit_is_accepted,
    a_guard_renews_itself_until_it_is_released,
    a_guard_that_is_dropped_releases_its_lock,
    a_guard_is_told_that_its_lock_is_lost,
    a_guard_outlives_a_restart_of_the_server,
    a_guard_that_cannot_renew_counts_as_lost_before_another_can_hold_its_lock,
    a_handler_that_blocks_its_runtime_keeps_its_lock,
    an_acquire_that_is_dropped_gives_back_what_it_got,
    a_detached_lock_is_held_by_its_key,
    many_programs_that_count_under_one_lock_lose_no_count,
    the_command_line_acquires_renews_lists_breaks_and_releases,
    the_command_line_holds_a_lock_while_a_program_runs,
    the_command_line_stops_its_program_when_the_lock_is_lost,
);

on_two_servers!(
    a_waiter_on_another_server_gets_a_released_lock_within_a_second,
    the_same_owner_gets_its_lock_through_another_server,
);

const SHORTEST: Duration = Duration::from_secs(5);
/// What a busy machine may take for the rest.
const SLACK: Duration = Duration::from_secs(6);

fn locks(server: &Server) -> LockServiceClient<Channel> {
    LockServiceClient::new(server.channel())
}

fn wish(name: &str, owner_id: &str) -> AcquireLockRequest {
    let owner = format!("program {owner_id}");
    AcquireLockRequest { name: name.into(), owner_id: owner_id.into(), owner, ..Default::default() }
}

fn waiting(name: &str, owner_id: &str, wait: f64) -> AcquireLockRequest {
    AcquireLockRequest { wait: seconds(wait), ..wish(name, owner_id) }
}

fn short(request: AcquireLockRequest) -> AcquireLockRequest {
    AcquireLockRequest { lease_time: Some(duration_of(SHORTEST)), ..request }
}

async fn acquire(server: &Server, request: AcquireLockRequest) -> pb::AcquireLockResponse {
    locks(server).acquire_lock(request).await.expect("a wish for a lock is answered").into_inner()
}

async fn acquired(server: &Server, request: AcquireLockRequest) -> i64 {
    let answer = acquire(server, request).await;
    assert!(answer.acquired && answer.fencing_token > 0, "{answer:?}");
    assert_eq!(answer.lock.unwrap().fencing_token, answer.fencing_token);
    answer.fencing_token
}

async fn renew(server: &Server, name: &str, owner_id: &str, fencing_token: i64) -> Result<(), Refusal> {
    let request = RenewLockRequest {
        name: name.into(),
        owner_id: owner_id.into(),
        fencing_token,
        ..Default::default()
    };
    match locks(server).renew_lock(request).await {
        Ok(answer) => {
            assert_eq!(answer.into_inner().lease_time, seconds(30.0));
            Ok(())
        }
        Err(status) => Err(status.into()),
    }
}

async fn release(server: &Server, name: &str, owner_id: &str, fencing_token: i64) -> bool {
    let request = ReleaseLockRequest { name: name.into(), owner_id: owner_id.into(), fencing_token };
    locks(server).release_lock(request).await.expect("a release is answered").into_inner().released
}

async fn break_lock(server: &Server, name: &str) -> pb::Lock {
    let request = BreakLockRequest { name: name.into(), reason: "a test".into(), ..Default::default() };
    locks(server).break_lock(request).await.expect("a held lock is broken").into_inner().lock.unwrap()
}

async fn client(server: &Server) -> Client {
    Client::connect(server.address()).await.unwrap()
}

async fn a_lock_is_held_by_one_at_a_time_and_its_token_only_grows(server: &Server) {
    let first = acquired(server, wish("a", "1")).await;
    let refused = acquire(server, wish("a", "2")).await;
    assert!(!refused.acquired && refused.fencing_token == 0 && refused.lease_time.is_none());
    let held = refused.lock.unwrap();
    assert_eq!((held.name.as_str(), held.owner.as_str(), held.fencing_token), ("a", "program 1", first));
    assert_eq!(stamp(&held.expire_time) - stamp(&held.acquire_time), 30_000_000);
    acquired(server, wish("b", "2")).await;
    assert!(!release(server, "a", "2", first).await && !release(server, "a", "1", first - 1).await);
    assert!(!acquire(server, wish("a", "2")).await.acquired, "what others release stays held");
    assert!(release(server, "a", "1", first).await);
    assert!(!release(server, "a", "1", first).await, "a repeat is OK and says so");
    let second = acquired(server, wish("a", "2")).await;
    assert!(second > first && second < 1 << 53);
    assert!(release(server, "a", "2", second).await);
    assert!(
        acquired(server, wish("a", "2")).await > second,
        "the same owner after a release is a new holder"
    );
}

async fn the_same_owner_gets_the_same_lock_and_token_again(server: &Server) {
    let token = acquired(server, wish("a", "1")).await;
    let first = acquire(server, wish("a", "2")).await.lock.unwrap();
    assert_eq!(acquired(server, wish("a", "1")).await, token);
    let again = acquire(server, wish("a", "2")).await.lock.unwrap();
    assert_eq!(first.acquire_time, again.acquire_time);
    assert!(stamp(&again.expire_time) > stamp(&first.expire_time), "it is renewed");
    // Also while others wait for it.
    let (mut client, request) = (locks(server), waiting("a", "2", 20.0));
    let others = tokio::spawn(async move { client.acquire_lock(request).await.unwrap().into_inner() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = monotonic();
    assert_eq!(acquired(server, waiting("a", "1", 5.0)).await, token);
    assert!(monotonic() - begun < Duration::from_secs(2));
    release(server, "a", "1", token).await;
    assert!(others.await.unwrap().acquired);
}

async fn a_waiter_is_woken_as_soon_as_the_lock_is_released(server: &Server) {
    let mut took = Vec::new();
    for round in 0..10 {
        let name = format!("lock-{round}");
        let token = acquired(server, wish(&name, "1")).await;
        let (mut client, request) = (locks(server), waiting(&name, "2", 20.0));
        let waiter = tokio::spawn(async move {
            let answer = client.acquire_lock(request).await.unwrap().into_inner();
            (monotonic(), answer)
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        let begun = monotonic();
        assert!(release(server, &name, "1", token).await);
        let (at, answer) = waiter.await.unwrap();
        assert!(answer.acquired && answer.fencing_token > token);
        took.push(at.saturating_sub(begun));
    }
    took.sort();
    figure(&format!("a waiter has the lock {:?} after its release began (median of 10)", took[5]));
    assert!(took[5] < Duration::from_millis(200), "sooner than a look at the table: {took:?}");
}

async fn waiters_are_served_in_the_order_in_which_they_came(server: &Server) {
    let mut token = acquired(server, wish("a", "0")).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 1..=5 {
        let (mut client, order) = (locks(server), order.clone());
        waiters.push(tokio::spawn(async move {
            let answer =
                client.acquire_lock(waiting("a", &number.to_string(), 25.0)).await.unwrap().into_inner();
            assert!(answer.acquired);
            order.lock().unwrap().push(number);
            answer.fencing_token
        }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (number, waiter) in (0..).zip(waiters) {
        assert!(release(server, "a", &number.to_string(), token).await);
        let next = waiter.await.unwrap();
        assert!(next > token);
        token = next;
    }
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5]);
}

async fn a_wait_that_is_over_names_the_present_holder(server: &Server) {
    let first = acquired(server, wish("a", "1")).await;
    let begun = monotonic();
    let (mut client, request) = (locks(server), waiting("a", "3", 1.5));
    let waiter = tokio::spawn(async move { client.acquire_lock(request).await.unwrap().into_inner() });
    let answer = waiter.await.unwrap();
    let took = monotonic() - begun;
    assert!(!answer.acquired && answer.lock.unwrap().fencing_token == first);
    assert!(took >= Duration::from_millis(1_500) && took < Duration::from_secs(8), "{took:?}");
}

async fn a_lock_that_was_waited_for_is_held_for_its_lease_time_from_then(server: &Server) {
    let token = acquired(server, wish("a", "1")).await;
    let (mut client, request) = (locks(server), short(waiting("a", "2", 20.0)));
    let waiter = tokio::spawn(async move { client.acquire_lock(request).await.unwrap().into_inner() });
    tokio::time::sleep(Duration::from_secs(3)).await;
    release(server, "a", "1", token).await;
    let answer = waiter.await.unwrap();
    let held_for = Duration::try_from(answer.lease_time.unwrap()).unwrap();
    assert!(held_for > SHORTEST + Duration::from_millis(2_500), "{held_for:?} from when the call was sent");
    let lock = answer.lock.unwrap();
    assert_eq!(stamp(&lock.expire_time) - stamp(&lock.acquire_time), SHORTEST.as_micros() as i64);
}

async fn a_waiter_that_goes_away_is_passed_over(server: &Server) {
    let token = acquired(server, wish("a", "1")).await;
    let mut gone = Vec::new();
    for number in 0..3 {
        let (mut client, request) = (locks(server), waiting("a", &format!("gone {number}"), 25.0));
        gone.push(tokio::spawn(async move { client.acquire_lock(request).await.map(|_| ()) }));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut client, request) = (locks(server), waiting("a", "last", 25.0));
    let last = tokio::spawn(async move { client.acquire_lock(request).await.unwrap().into_inner() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    gone.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = monotonic();
    release(server, "a", "1", token).await;
    assert!(last.await.unwrap().acquired);
    assert!(monotonic() - begun < Duration::from_secs(5), "nobody waited for those who are gone");
}

async fn a_renewal_after_a_loss_is_refused(server: &Server) {
    let token = acquired(server, wish("a", "1")).await;
    renew(server, "a", "1", token).await.unwrap();
    let lost = |refused: Result<(), Refusal>| refused.unwrap_err().must_be(Code::Aborted, "LOCK_LOST");
    lost(renew(server, "a", "2", token).await);
    lost(renew(server, "a", "1", token + 1).await);
    lost(renew(server, "never", "1", token).await);
    break_lock(server, "a").await;
    lost(renew(server, "a", "1", token).await);
    let second = acquired(server, wish("a", "2")).await;
    lost(renew(server, "a", "1", token).await);
    lost(renew(server, "a", "1", second).await);
    release(server, "a", "2", second).await;
    lost(renew(server, "a", "2", second).await);
}

async fn a_lock_of_a_holder_that_is_silent_goes_to_the_next_within_its_lease_time(server: &Server) {
    let first = acquired(server, short(wish("a", "1"))).await;
    let begun = monotonic();
    let answer = acquire(server, waiting("a", "2", 25.0)).await;
    let took = monotonic() - begun;
    assert!(answer.acquired && answer.fencing_token > first);
    figure(&format!("a lock of {SHORTEST:?} went to the next {took:?} after it was acquired"));
    assert!(took > SHORTEST - Duration::from_millis(500) && took < SHORTEST + SLACK, "{took:?}");
    renew(server, "a", "1", first).await.unwrap_err().must_be(Code::Aborted, "LOCK_LOST");
    assert!(!release(server, "a", "1", first).await);
}

async fn a_late_renewal_of_a_lock_that_nobody_took_is_accepted(server: &Server) {
    let token = acquired(server, short(wish("a", "1"))).await;
    let is_free = || async { list(server, "").await.is_empty().then_some(()) };
    until("its time is over", is_free).await;
    renew(server, "a", "1", token).await.unwrap();
    assert!(!acquire(server, wish("a", "2")).await.acquired);
}

async fn an_outage_of_ours_takes_no_lock(server: &Server) {
    let token = acquired(server, short(wish("a", "1"))).await;
    server.kill9();
    tokio::time::sleep(SHORTEST + Duration::from_secs(3)).await;
    server.restart().await;
    let refused = acquire(server, wish("a", "2")).await;
    assert!(!refused.acquired, "its holder could not renew it: {refused:?}");
    assert_eq!(list(server, "").await, ["a"]);
    renew(server, "a", "1", token).await.unwrap();
    assert_eq!(acquired(server, wish("a", "1")).await, token);
}

async fn list(server: &Server, prefix: &str) -> Vec<String> {
    let pages = client(server).await.list_locks(prefix);
    pages.map_ok(|lock| lock.name).try_collect().await.unwrap()
}

async fn held_locks_are_listed_by_name_page_by_page(server: &Server) {
    for number in 0..12 {
        acquired(server, wish(&format!("shop.{number:02}"), "1")).await;
    }
    acquired(server, wish("other", "1")).await;
    break_lock(server, "shop.05").await;
    let page = |page_size: i32, name_prefix: &str, page_token: String| {
        let request = ListLocksRequest { name_prefix: name_prefix.into(), page_size, page_token };
        let mut client = locks(server);
        async move { client.list_locks(request).await }
    };
    let (mut names, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = page(4, "shop.", token).await.unwrap().into_inner();
        assert!(answer.locks.len() <= 4);
        names.extend(answer.locks.into_iter().map(|lock| lock.name));
        (token, pages) = (answer.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    let wanted: Vec<_> = (0..12).filter(|n| *n != 5).map(|n| format!("shop.{n:02}")).collect();
    assert_eq!((names, pages), (wanted, 3));
    let token = page(4, "shop.", String::new()).await.unwrap().into_inner().next_page_token;
    refusal(page(4, "shop", token.clone()).await).must_be(Code::InvalidArgument, "BAD_TOKEN");
    let changed = format!("{}A", &token[..token.len() - 1]);
    let changed = if changed == token { format!("{}B", &token[..token.len() - 1]) } else { changed };
    refusal(page(4, "shop.", changed).await).must_be(Code::InvalidArgument, "BAD_TOKEN");
    let all = page(0, "", String::new()).await.unwrap().into_inner();
    assert_eq!((all.locks.len(), all.locks[0].name.as_str()), (12, "other"));
    assert_eq!(list(server, "shop.0").await.len(), 9);
}

async fn a_lock_is_broken_for_whoever_holds_it_or_for_one_holder_only(server: &Server) {
    let mut client = locks(server);
    let request = |fencing_token| BreakLockRequest { name: "a".into(), fencing_token, ..Default::default() };
    let refused = refusal(client.break_lock(request(0)).await);
    refused.must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!(refused.metadata["kind"], "lock");
    let token = acquired(server, wish("a", "1")).await;
    let refused = refusal(client.break_lock(request(token - 1)).await);
    refused.must_be(Code::FailedPrecondition, "LOCK_HELD");
    assert_eq!(refused.metadata["fencing_token"], token.to_string());
    assert_eq!(refused.metadata["owner"], "program 1");
    let (mut waiting_client, wanted) = (locks(server), waiting("a", "2", 20.0));
    let waiter = tokio::spawn(async move { waiting_client.acquire_lock(wanted).await.unwrap().into_inner() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let broken = client.break_lock(request(token)).await.unwrap().into_inner().lock.unwrap();
    assert_eq!((broken.fencing_token, broken.owner.as_str()), (token, "program 1"));
    let answer = waiter.await.unwrap();
    assert!(answer.acquired && answer.fencing_token > token, "who waits has it at once");
    assert!(server.log().contains("a lock was broken"), "an operator's act is in the log");
}

async fn each_field_that_breaks_a_rule_is_named_with_its_limit(server: &Server) {
    let mut client = locks(server);
    let long = "x".repeat(129);
    let tell = |refused: Refusal, field: &str, word: &str| {
        refused.must_name(field);
        let told = refused.field(field).unwrap().to_owned();
        assert!(told.contains(word), "{field}: wanted {word:?} in {told:?}");
    };
    let good = || wish("a", "1");
    for (request, field, word) in [
        (AcquireLockRequest { name: String::new(), ..good() }, "name", "128"),
        (AcquireLockRequest { name: long.clone(), ..good() }, "name", "128"),
        (AcquireLockRequest { name: "a b".into(), ..good() }, "name", "A-Za-z0-9"),
        (AcquireLockRequest { name: "ü".into(), ..good() }, "name", "A-Za-z0-9"),
        (AcquireLockRequest { owner_id: String::new(), ..good() }, "owner_id", "fresh"),
        (AcquireLockRequest { owner_id: "ü".repeat(129), ..good() }, "owner_id", "128"),
        (AcquireLockRequest { owner: "x".repeat(256), ..good() }, "owner", "255"),
        (AcquireLockRequest { owner: "a\nb".into(), ..good() }, "owner", "control"),
        (AcquireLockRequest { lease_time: seconds(4.9), ..good() }, "lease_time", "5 seconds"),
        (AcquireLockRequest { lease_time: seconds(600.1), ..good() }, "lease_time", "10 minutes"),
        (AcquireLockRequest { lease_time: seconds(0.0), ..good() }, "lease_time", "zero"),
        (AcquireLockRequest { lease_time: negative(), ..good() }, "lease_time", "negative"),
        (AcquireLockRequest { wait: negative(), ..good() }, "wait", "negative"),
    ] {
        tell(refusal(client.acquire_lock(request).await), field, word);
    }
    let token = acquired(server, good()).await;
    let renewal = || RenewLockRequest {
        name: "a".into(),
        owner_id: "1".into(),
        fencing_token: token,
        ..Default::default()
    };
    for (request, field, word) in [
        (RenewLockRequest { name: "a b".into(), ..renewal() }, "name", "A-Za-z0-9"),
        (RenewLockRequest { owner_id: String::new(), ..renewal() }, "owner_id", "fresh"),
        (RenewLockRequest { fencing_token: 0, ..renewal() }, "fencing_token", "AcquireLock"),
        (RenewLockRequest { fencing_token: -7, ..renewal() }, "fencing_token", "-7"),
        (RenewLockRequest { lease_time: seconds(1.0), ..renewal() }, "lease_time", "5 seconds"),
        (RenewLockRequest { lease_time: seconds(601.0), ..renewal() }, "lease_time", "10 minutes"),
    ] {
        tell(refusal(client.renew_lock(request).await), field, word);
    }
    let releasing = || ReleaseLockRequest { name: "a".into(), owner_id: "1".into(), fencing_token: token };
    for (request, field, word) in [
        (ReleaseLockRequest { name: String::new(), ..releasing() }, "name", "128"),
        (ReleaseLockRequest { owner_id: long.clone(), ..releasing() }, "owner_id", "128"),
        (ReleaseLockRequest { fencing_token: -7, ..releasing() }, "fencing_token", "-7"),
    ] {
        tell(refusal(client.release_lock(request).await), field, word);
    }
    let listing = ListLocksRequest::default;
    for (request, field, word) in [
        (ListLocksRequest { name_prefix: "a%".into(), ..listing() }, "name_prefix", "A-Za-z0-9"),
        (ListLocksRequest { name_prefix: long.clone(), ..listing() }, "name_prefix", "128"),
        (ListLocksRequest { page_size: -1, ..listing() }, "page_size", "500"),
        (ListLocksRequest { page_size: 501, ..listing() }, "page_size", "500"),
        (ListLocksRequest { page_token: "x".repeat(513), ..listing() }, "page_token", "512"),
    ] {
        tell(refusal(client.list_locks(request).await), field, word);
    }
    let breaking = || BreakLockRequest { name: "a".into(), ..Default::default() };
    for (request, field, word) in [
        (BreakLockRequest { name: String::new(), ..breaking() }, "name", "128"),
        (BreakLockRequest { fencing_token: -1, ..breaking() }, "fencing_token", "-1"),
        (BreakLockRequest { reason: "x".repeat(4_097), ..breaking() }, "reason", "4096"),
    ] {
        tell(refusal(client.break_lock(request).await), field, word);
    }
    // Nothing of all that has touched the lock.
    renew(server, "a", "1", token).await.unwrap();
    assert_eq!(list(server, "").await, ["a"]);
}

fn negative() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: -1, nanos: 0 })
}

async fn each_field_at_its_limit_is_accepted(server: &Server) {
    let name = "x".repeat(128);
    let request = AcquireLockRequest {
        name: name.clone(),
        owner_id: "ü".repeat(128),
        owner: "ü".repeat(255),
        lease_time: seconds(600.0),
        // A longer wish than 30 s is cut to it.
        wait: seconds(3_600.0),
    };
    let token = acquired(server, request.clone()).await;
    assert_eq!(list(server, &name).await, std::slice::from_ref(&name));
    let renewal = RenewLockRequest {
        name: name.clone(),
        owner_id: request.owner_id.clone(),
        fencing_token: token,
        lease_time: seconds(5.0),
    };
    let renewed = locks(server).renew_lock(renewal).await.unwrap().into_inner();
    assert_eq!(renewed.lease_time, seconds(5.0));
    let breaking = BreakLockRequest { name, fencing_token: token, reason: "x".repeat(4_096) };
    locks(server).break_lock(breaking).await.unwrap();
}

async fn a_guard_renews_itself_until_it_is_released(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").owner("the test").lease_time(SHORTEST).await.unwrap();
    let shown: Vec<pb::Lock> = client.list_locks("").try_collect().await.unwrap();
    assert_eq!((shown.len(), shown[0].owner.as_str()), (1, "the test"));
    assert_eq!(shown[0].fencing_token, lock.fencing_token());
    let other = client.lock("a").acquire_within(SHORTEST + Duration::from_secs(3)).await.unwrap();
    assert!(other.is_none(), "it was renewed all the while");
    assert!(client.lock("a").try_acquire().await.unwrap().is_none());
    lock.check().unwrap();
    assert!(lock.is_held() && lock.time_left() <= SHORTEST);
    assert_eq!(lock.while_held(async { 7 }).await.unwrap(), 7);
    let waiter = tokio::spawn(client.lock("a").acquire());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let token = lock.fencing_token();
    assert!(lock.release().await.unwrap());
    let next = waiter.await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
}

async fn a_guard_that_is_dropped_releases_its_lock(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").await.unwrap();
    drop(lock);
    let next = client.lock("a").acquire_within(Duration::from_secs(20)).await.unwrap();
    assert!(next.is_some(), "sooner than its lease time of 30 s");
}

async fn a_guard_is_told_that_its_lock_is_lost(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").lease_time(SHORTEST).await.unwrap();
    let token = lock.cancellation_token();
    let begun = monotonic();
    break_lock(server, "a").await;
    let worked = lock.while_held(std::future::pending::<()>()).await.unwrap_err();
    let told = monotonic() - begun;
    assert!(
        matches!(&worked, Error::LockLost { name, why } if name == "a" && why.contains("no longer held"))
    );
    assert!(token.is_cancelled() && !lock.is_held() && lock.time_left().is_zero());
    assert!(matches!(lock.check(), Err(Error::LockLost { .. })));
    assert!(told < SHORTEST / 3 + SLACK, "at its next renewal: {told:?}");
    assert!(!lock.release().await.unwrap(), "there was nothing to release");
}

async fn a_guard_outlives_a_restart_of_the_server(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").lease_time(Duration::from_secs(15)).await.unwrap();
    server.kill9();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.restart().await;
    let refused = acquire(server, waiting("a", "2", 15.0)).await;
    assert!(!refused.acquired && refused.lock.unwrap().fencing_token == lock.fencing_token());
    assert!(lock.is_held());
    assert!(lock.release().await.unwrap());
}

async fn a_guard_that_cannot_renew_counts_as_lost_before_another_can_hold_its_lock(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").lease_time(SHORTEST).await.unwrap();
    server.stop();
    let begun = monotonic();
    let lost = lock.lost().await;
    let took = monotonic() - begun;
    assert!(lost.to_string().contains("could not be renewed in time"), "{lost}");
    assert!(took <= SHORTEST.mul_f64(0.8) + Duration::from_secs(2), "{took:?}");
    assert!(!lock.is_held());
    server.cont();
    assert!(acquire(server, waiting("a", "2", 25.0)).await.acquired);
}

async fn a_handler_that_blocks_its_runtime_keeps_its_lock(server: &Server) {
    let address = server.address();
    let blocking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::connect(address).await.unwrap();
            let lock = client.lock("a").lease_time(SHORTEST).await.unwrap();
            let begun = monotonic();
            while monotonic() - begun < SHORTEST * 2 {
                std::hint::spin_loop();
                std::thread::park_timeout(Duration::from_millis(50));
            }
            lock.check().unwrap();
            lock.release().await.unwrap()
        })
    });
    let is_held = || async { (!list(server, "").await.is_empty()).then_some(()) };
    until("the lock is held", is_held).await;
    assert!(!acquire(server, waiting("a", "2", 8.0)).await.acquired);
    let was_held = tokio::task::spawn_blocking(move || blocking.join().unwrap()).await.unwrap();
    assert!(was_held);
}

async fn an_acquire_that_is_dropped_gives_back_what_it_got(server: &Server) {
    let client = client(server).await;
    for round in 0..20_u64 {
        let lock = client.lock("a").acquire_within(Duration::from_secs(10)).await.unwrap();
        let lock = lock.unwrap_or_else(|| panic!("nobody holds it who does not know: round {round}"));
        let waiter = tokio::spawn(client.lock("a").acquire());
        tokio::time::sleep(Duration::from_millis(10)).await;
        // The server hears of the release about when it hears that the one who waits is gone, and of another that comes and goes.
        if round % 2 == 0 {
            waiter.abort();
        }
        let releasing = tokio::spawn(lock.release());
        tokio::time::sleep(Duration::from_micros(200) * (round % 5) as u32).await;
        waiter.abort();
        let late = tokio::spawn(client.lock("a").acquire());
        releasing.await.unwrap().unwrap();
        late.abort();
    }
}

async fn a_detached_lock_is_held_by_its_key(server: &Server) {
    let client = client(server).await;
    let lock = client.lock("a").lease_time(SHORTEST).await.unwrap();
    let key = lock.detach();
    assert!(!format!("{key:?}").contains(&key.owner_id), "the secret is not shown");
    let held_for = client.renew_lock(&key, Duration::from_secs(60)).await.unwrap();
    assert!(held_for > Duration::from_secs(40) && held_for <= Duration::from_secs(60));
    assert!(client.lock("a").try_acquire().await.unwrap().is_none());
    let other = LockKey { owner_id: "guessed".into(), ..key.clone() };
    assert!(matches!(client.renew_lock(&other, SHORTEST).await, Err(Error::LockLost { .. })));
    assert!(!client.release_lock(&other).await.unwrap());
    // The same owner id takes it up again, with the same token.
    let again = client.lock("a").owner_id(&key.owner_id).try_acquire().await.unwrap().unwrap();
    assert_eq!(again.fencing_token(), key.fencing_token);
    assert!(client.release_lock(&key).await.unwrap());
}

async fn many_programs_that_count_under_one_lock_lose_no_count(server: &Server) {
    let (count, is_in) = (Arc::new(Mutex::new(0)), Arc::new(AtomicBool::new(false)));
    let programs = (0..8).map(|_| {
        let (count, is_in, address) = (count.clone(), is_in.clone(), server.address());
        tokio::spawn(async move {
            let client = Client::connect(address).await.unwrap();
            let mut largest = 0;
            for _ in 0..10 {
                let lock = client.lock("count").await.unwrap();
                assert!(lock.fencing_token() > largest);
                largest = lock.fencing_token();
                assert!(!is_in.swap(true, Ordering::SeqCst), "two are in");
                let seen = *count.lock().unwrap();
                tokio::task::yield_now().await;
                *count.lock().unwrap() = seen + 1;
                is_in.store(false, Ordering::SeqCst);
                lock.release().await.unwrap();
            }
        })
    });
    let begun = monotonic();
    for program in programs.collect::<Vec<_>>() {
        program.await.unwrap();
    }
    let took = monotonic() - begun;
    figure(&format!("a contended lock changed hands 80 times in {took:?}"));
    assert_eq!(*count.lock().unwrap(), 80);
}

async fn a_waiter_on_another_server_gets_a_released_lock_within_a_second(server: &Server, replica: &Server) {
    let mut worst = Duration::ZERO;
    for round in 0..5 {
        let name = format!("lock-{round}");
        let token = acquired(server, wish(&name, "1")).await;
        let (mut client, request) = (locks(replica), waiting(&name, "2", 20.0));
        let waiter = tokio::spawn(async move { client.acquire_lock(request).await.unwrap().into_inner() });
        tokio::time::sleep(Duration::from_millis(400)).await;
        let begun = monotonic();
        assert!(release(server, &name, "1", token).await);
        let answer = waiter.await.unwrap();
        worst = worst.max(monotonic() - begun);
        assert!(answer.acquired && answer.fencing_token > token);
    }
    figure(&format!("a waiter on another server had the lock at most {worst:?} after its release"));
    assert!(worst < Duration::from_secs(3), "{worst:?}");
}

async fn the_same_owner_gets_its_lock_through_another_server(server: &Server, replica: &Server) {
    let token = acquired(server, wish("a", "1")).await;
    assert_eq!(acquired(replica, wish("a", "1")).await, token);
    assert!(!acquire(replica, wish("a", "2")).await.acquired);
    renew(replica, "a", "1", token).await.unwrap();
    server.kill9();
    renew(replica, "a", "1", token).await.unwrap();
    assert!(release(replica, "a", "1", token).await);
}

/// Runs the command line; answers its exit code and what it said.
async fn haulier(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(server, arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn command(server: &Server, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(haulier_binary());
    command.arg("lock").args(arguments).env("HAULIER_ADDRESS", server.address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn the_command_line_acquires_renews_lists_breaks_and_releases(server: &Server) {
    let (code, said, _) = haulier(server, &["acquire", "a", "--owner", "me", "--lease-time", "60s"]).await;
    let fields: Vec<&str> = said.trim_end().split('\t').collect();
    let &["acquired", "a", owner_id, token] = fields.as_slice() else { panic!("{said}") };
    assert_eq!(code, 0);
    let (code, said, _) = haulier(server, &["acquire", "a"]).await;
    assert_eq!((code, said), (5, format!("held\ta\tme\t{token}\n")));
    let (code, said, _) = haulier(server, &["list"]).await;
    assert!(code == 0 && said.contains("me") && said.contains(token), "{said}");
    let holder = ["a", "--owner-id", owner_id, "--token", token];
    assert_eq!(haulier(server, &[&["renew"], &holder[..]].concat()).await.1, "renewed\n");
    let (code, _, said) = haulier(server, &["break", "a", "--token", "7"]).await;
    assert!(code == 1 && said.contains("LOCK_HELD"), "{code}: {said}");
    let (code, said, _) = haulier(server, &["break", "a", "--reason", "stuck"]).await;
    assert_eq!((code, said), (0, format!("broken\ta\tme\t{token}\n")));
    let (code, _, said) = haulier(server, &[&["renew"], &holder[..]].concat()).await;
    assert!(code == 5 && said.contains("lost"), "{code}: {said}");
    assert_eq!(haulier(server, &[&["release"], &holder[..]].concat()).await.1, "it was not held any more\n");
    let (code, _, said) = haulier(server, &["acquire", "a b", "--lease-time", "1s"]).await;
    assert!(code == 2 && said.contains("name") && said.contains("lease_time"), "{code}: {said}");
    assert_eq!(haulier(server, &["run", "a"]).await.0, 2, "a program is needed");
}

async fn the_command_line_holds_a_lock_while_a_program_runs(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    let script =
        format!("echo $HAULIER_LOCK_NAME $HAULIER_FENCING_TOKEN > {}; sleep 3; exit 7", path.display());
    let first =
        command(server, &["run", "nightly", "--owner", "cron", "--", "sh", "-c", &script]).spawn().unwrap();
    until("the program runs", || async { path.metadata().is_ok_and(|it| it.len() > 0).then_some(()) }).await;
    let held: Vec<pb::Lock> = client(server).await.list_locks("").try_collect().await.unwrap();
    let told = std::fs::read_to_string(&path).unwrap();
    assert_eq!(told.trim(), format!("nightly {}", held[0].fencing_token));
    assert_eq!(held[0].owner, "cron");
    let (code, _, said) = haulier(server, &["run", "nightly", "--wait", "0s", "--", "true"]).await;
    assert!(code == 5 && said.contains("held by another"), "{code}: {said}");
    let (code, said, _) = haulier(server, &["run", "nightly", "--", "sh", "-c", "echo done"]).await;
    assert_eq!((code, said.as_str()), (0, "done\n"), "it waited for its turn");
    assert_eq!(first.wait_with_output().await.unwrap().status.code(), Some(7), "the program's own code");
    let (code, _, said) = haulier(server, &["run", "nightly", "--", "/no/such/program"]).await;
    assert!(code == 2 && said.contains("/no/such/program"), "{code}: {said}");
    assert_eq!(haulier(server, &["run", "nightly", "--", "sh", "-c", "kill -9 $$"]).await.0, 137);
    assert!(list(server, "").await.is_empty(), "each has released it");
}

async fn the_command_line_stops_its_program_when_the_lock_is_lost(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    let script = format!(
        "trap 'echo told > {path}; exit 0' TERM; touch {path}; while true; do sleep 0.1; done",
        path = path.display()
    );
    let run = ["run", "nightly", "--lease-time", "5s", "--", "sh", "-c", &script];
    let program = command(server, &run).spawn().unwrap();
    until("the program runs", || async { path.exists().then_some(()) }).await;
    break_lock(server, "nightly").await;
    let ended = tokio::time::timeout(SHORTEST + SLACK, program.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(5) && said.contains("the lock nightly is lost"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "told\n");
}
