//! Named locks: who may take one, and when.

use super::*;
use crate::model::micros;

on_both! {
    a_lock_has_one_holder_and_its_token_only_grows
    the_same_owner_gets_the_same_lock_and_token_again
    a_lock_whose_time_is_over_goes_to_the_next_and_the_holder_is_told
    a_late_renewal_of_a_lock_that_nobody_took_is_accepted
    an_outage_of_ours_takes_no_lock
    a_lock_renewed_through_a_silent_server_is_held_for_one_lease_time_more
    a_broken_lock_is_lost_to_its_holder
    held_locks_are_walked_by_name
    an_old_lock_is_forgotten_and_its_token_still_grows
    a_clock_that_stepped_back_holds_no_lock_for_longer
    many_who_want_one_lock_get_it_one_after_the_other
    keys_are_compared_byte_by_byte
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(60);
const HERE: ServerId = ServerId(7);

fn order(owner: &str, lease_time: Duration) -> LockOrder {
    LockOrder {
        name: "nightly".into(),
        secret: LockSecret::of(owner),
        owner: owner.to_owned(),
        lease_time,
        server: HERE,
        may_take: true,
    }
}

fn key_of(owner: &str, lock: &NamedLock) -> LockKey {
    LockKey { name: lock.name.clone(), secret: LockSecret::of(owner), token: lock.token }
}

impl Bench {
    async fn tick(&self) -> Tick {
        self.store.tick(HERE, &ServerAbout::default(), false).await.unwrap()
    }

    async fn acquire(&self, owner: &str, lease_time: Duration) -> LockAnswer {
        self.store.acquire_lock(&order(owner, lease_time)).await.unwrap()
    }

    async fn acquired(&self, owner: &str, lease_time: Duration) -> NamedLock {
        match self.acquire(owner, lease_time).await {
            LockAnswer::Acquired(lock) => lock,
            refused => panic!("{owner} got {refused:?}"),
        }
    }

    async fn holder(&self) -> Option<String> {
        match self.store.acquire_lock(&LockOrder { may_take: false, ..order("nobody", LONG) }).await.unwrap()
        {
            LockAnswer::Refused(held) => held.map(|lock| lock.owner),
            acquired => panic!("{acquired:?}"),
        }
    }

    async fn renew(&self, lock: &LockKey, lease_time: Duration) -> bool {
        self.store.renew_lock(lock, lease_time, HERE).await.unwrap()
    }

    async fn free(&self) -> bool {
        !self.store.free_locks(&["nightly".into()]).await.unwrap().is_empty()
    }

    /// Changes rows behind the store's back.
    async fn meddle(&self, sql: &str) {
        let mut unit = self.store.engine.begin(crate::store::connection::Class::Vital).await.unwrap();
        let sql = sql.replace("{p}", self.store.engine.texts.prefix());
        unit.lent.connection.run(sql).await.unwrap();
        unit.lent.connection.run("COMMIT".into()).await.unwrap();
        unit.lent.give_back();
    }
}

async fn a_lock_has_one_holder_and_its_token_only_grows(bench: Bench) {
    bench.tick().await;
    assert!(bench.free().await);
    assert_eq!(bench.holder().await, None);
    let first = bench.acquired("anna", LONG).await;
    assert_eq!((first.owner.as_str(), first.lease_time), ("anna", LONG));
    assert_eq!(first.expire_time, first.acquire_time.plus(LONG));
    assert_eq!(bench.acquire("ben", LONG).await, LockAnswer::Refused(Some(first.clone())));
    assert_eq!(bench.holder().await.as_deref(), Some("anna"));
    assert!(!bench.free().await);
    assert!(!bench.store.release_lock(&key_of("ben", &first)).await.unwrap(), "it is not ben's");
    let stale = LockKey { token: Epoch(first.token.0 - 1), ..key_of("anna", &first) };
    assert!(!bench.store.release_lock(&stale).await.unwrap(), "an older token releases nothing");
    assert!(bench.store.release_lock(&key_of("anna", &first)).await.unwrap());
    assert!(!bench.store.release_lock(&key_of("anna", &first)).await.unwrap(), "a repeat finds nothing");
    assert!(!bench.renew(&key_of("anna", &first), LONG).await, "what was released cannot be renewed");
    assert!(bench.free().await);
    let again = bench.acquired("anna", LONG).await;
    let whichever = |owner| LockKey { token: Epoch(0), ..key_of(owner, &again) };
    assert!(!bench.renew(&whichever("anna"), LONG).await, "a renewal is of a token");
    assert!(!bench.store.release_lock(&whichever("ben")).await.unwrap(), "it is not ben's");
    assert!(bench.store.release_lock(&whichever("anna")).await.unwrap(), "whichever token she has it with");
    assert!(!bench.store.release_lock(&whichever("anna")).await.unwrap(), "a repeat finds nothing");
    assert!(bench.free().await);
    let second = bench.acquired("ben", LONG).await;
    assert!(second.token > first.token && second.token.0 >= second.acquire_time.0);
    bench.store.release_lock(&key_of("ben", &second)).await.unwrap();
    let third = bench.acquired("ben", LONG).await;
    assert!(third.token > second.token, "the same owner after a release is a new holder");
}

async fn the_same_owner_gets_the_same_lock_and_token_again(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", LONG).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let again = bench.acquired("anna", 2 * LONG).await;
    assert_eq!((again.token, again.acquire_time), (first.token, first.acquire_time));
    assert!(again.expire_time > first.expire_time.plus(LONG));
    let order = LockOrder { may_take: false, ..order("anna", LONG) };
    let seen = bench.store.acquire_lock(&order).await.unwrap();
    assert!(matches!(seen, LockAnswer::Acquired(lock) if lock.token == first.token), "also without taking");
}

async fn a_lock_whose_time_is_over_goes_to_the_next_and_the_holder_is_told(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", SHORT).await;
    assert!(!bench.free().await);
    tokio::time::sleep(2 * SHORT).await;
    bench.tick().await;
    assert!(bench.free().await);
    let second = bench.acquired("ben", LONG).await;
    assert!(second.token > first.token);
    assert!(!bench.renew(&key_of("anna", &first), LONG).await);
    assert!(!bench.store.release_lock(&key_of("anna", &first)).await.unwrap());
    assert_eq!(bench.holder().await.as_deref(), Some("ben"), "the late holder changed nothing");
    assert_eq!(bench.acquire("anna", LONG).await, LockAnswer::Refused(Some(second)));
}

async fn a_late_renewal_of_a_lock_that_nobody_took_is_accepted(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", SHORT).await;
    tokio::time::sleep(2 * SHORT).await;
    bench.tick().await;
    assert!(bench.free().await, "it could have been taken");
    assert!(bench.renew(&key_of("anna", &first), LONG).await);
    assert!(!bench.free().await);
    assert!(matches!(bench.acquire("ben", LONG).await, LockAnswer::Refused(Some(_))));
    assert_eq!(bench.acquired("anna", LONG).await.token, first.token);
}

async fn an_outage_of_ours_takes_no_lock(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", LONG).await;
    let hour = 3_600_000_000_i64;
    bench.meddle(&format!("UPDATE {{p}}named_lock SET expire_time = expire_time - {hour}")).await;
    assert!(!bench.free().await, "its server has just come");
    bench.meddle(&format!("UPDATE {{p}}server SET alive_since = alive_since - {hour}")).await;
    assert!(bench.free().await);
    bench
        .meddle(&format!("UPDATE {{p}}upkeep SET value = value - {hour} WHERE name = x'726561706572'"))
        .await;
    // No reaper has ticked since: the first to come back may not take what the holder could not renew.
    assert!(!bench.free().await);
    assert!(matches!(bench.acquire("ben", LONG).await, LockAnswer::Refused(Some(_))));
    assert!(bench.tick().await.amnesty_from.is_some());
    assert!(!bench.free().await);
    assert!(matches!(bench.acquire("ben", LONG).await, LockAnswer::Refused(Some(_))));
    let shown = bench.store.walk_locks(&walk("", "", 10)).await.unwrap().0;
    assert_eq!(shown.len(), 1, "it is still held");
    assert!(bench.renew(&key_of("anna", &first), LONG).await);
    // Once the amnesty is over, time counts again.
    bench.meddle(&format!("UPDATE {{p}}named_lock SET expire_time = expire_time - {hour}")).await;
    bench.meddle("UPDATE {p}upkeep SET amnesty_from = amnesty_from - 31000000 WHERE amnesty_from > 0").await;
    bench.meddle(&format!("UPDATE {{p}}server SET alive_since = alive_since - {hour}")).await;
    assert!(bench.free().await);
    assert!(bench.acquired("ben", LONG).await.token > first.token);
}

async fn a_lock_renewed_through_a_silent_server_is_held_for_one_lease_time_more(bench: Bench) {
    bench.tick().await;
    let elsewhere = LockOrder { server: ServerId(8), ..order("anna", SHORT) };
    bench.store.tick(ServerId(8), &ServerAbout::default(), false).await.unwrap();
    bench.store.acquire_lock(&elsewhere).await.unwrap();
    let silent = "beat_time = beat_time - 4000000, alive_since = alive_since - 7200000000";
    bench.meddle(&format!("UPDATE {{p}}server SET {silent} WHERE server_id = 8")).await;
    bench
        .meddle("UPDATE {p}named_lock SET lease_time = 3600000000, expire_time = expire_time - 100000")
        .await;
    assert!(matches!(bench.acquire("ben", LONG).await, LockAnswer::Refused(Some(_))));
    bench.meddle("UPDATE {p}named_lock SET expire_time = expire_time - 3600000000").await;
    bench.acquired("ben", LONG).await;
}

async fn a_broken_lock_is_lost_to_its_holder(bench: Bench) {
    bench.tick().await;
    assert_eq!(bench.store.break_lock("nightly", None).await.unwrap(), LockBreak::NotHeld);
    let first = bench.acquired("anna", LONG).await;
    let other = bench.store.break_lock("nightly", Some(Epoch(1))).await.unwrap();
    assert_eq!(other, LockBreak::OtherHolder(first.clone()));
    assert!(bench.renew(&key_of("anna", &first), LONG).await, "it was not broken");
    let broken = bench.store.break_lock("nightly", Some(first.token)).await.unwrap();
    assert!(matches!(broken, LockBreak::Broken(lock) if lock.token == first.token));
    assert!(!bench.renew(&key_of("anna", &first), LONG).await);
    assert_eq!(bench.store.break_lock("nightly", None).await.unwrap(), LockBreak::NotHeld);
    assert!(bench.acquired("anna", LONG).await.token > first.token, "the same owner is a new holder");
}

fn walk(prefix: &str, after: &str, limit: i64) -> LockWalk {
    LockWalk { prefix: prefix.into(), after: after.into(), limit }
}

async fn held_locks_are_walked_by_name(bench: Bench) {
    bench.tick().await;
    for name in ["shop.2", "shop.1", "shop", "shoq", "Shop.3", "shop.4"] {
        let order = LockOrder { name: name.into(), ..order("anna", LONG) };
        bench.store.acquire_lock(&order).await.unwrap();
    }
    bench.store.break_lock("shop.4", None).await.unwrap();
    let names = |walked: (Vec<NamedLock>, Option<String>)| {
        (walked.0.into_iter().map(|lock| lock.name).collect::<Vec<_>>(), walked.1)
    };
    let all = names(bench.store.walk_locks(&walk("", "", 10)).await.unwrap());
    assert_eq!(
        all,
        (vec!["Shop.3".into(), "shop".into(), "shop.1".into(), "shop.2".into(), "shoq".into()], None)
    );
    let some = names(bench.store.walk_locks(&walk("shop", "", 2)).await.unwrap());
    assert_eq!(some, (vec!["shop".into(), "shop.1".into()], Some("shop.1".into())));
    let more = names(bench.store.walk_locks(&walk("shop", "shop.1", 3)).await.unwrap());
    assert_eq!(more, (vec!["shop.2".into()], None), "the broken one is not held");
    let end = names(bench.store.walk_locks(&walk("shop.", "shop.1", 2)).await.unwrap());
    assert_eq!(
        end,
        (vec!["shop.2".into()], Some("shop.4".into())),
        "a stretch may end at one that is not held"
    );
}

async fn an_old_lock_is_forgotten_and_its_token_still_grows(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", LONG).await;
    let kept = LockOrder { name: "kept".into(), ..order("anna", LONG) };
    bench.store.acquire_lock(&kept).await.unwrap();
    bench.store.release_lock(&key_of("anna", &first)).await.unwrap();
    assert_eq!(bench.store.forget_locks(None, 10).await.unwrap(), None);
    // As if it had been free for long, with a token from a clock that was ahead.
    let ahead = first.token.0 + micros(Duration::from_secs(3_600));
    let age = micros(limits::LOCK_LIFE) + 1_000_000;
    let old = format!(
        "UPDATE {{p}}named_lock SET token = {ahead}, expire_time = expire_time - {age} WHERE name = x'6e696768746c79'"
    );
    bench.meddle(&old).await;
    assert_eq!(bench.store.forget_locks(None, 1).await.unwrap().as_deref(), Some("kept"), "step by step");
    assert_eq!(bench.store.forget_locks(Some("kept".into()), 1).await.unwrap().as_deref(), Some("nightly"));
    assert_eq!(bench.store.forget_locks(Some("nightly".into()), 1).await.unwrap(), None);
    let mut unit = bench.store.engine.begin_reading(crate::store::connection::Class::Read).await.unwrap();
    let count = format!("SELECT name FROM {}named_lock", bench.store.engine.texts.prefix());
    assert_eq!(unit.lent.connection.look_up(&count).await.unwrap().len(), 1);
    unit.lent.give_back();
    assert_eq!(bench.acquired("anna", LONG).await.token, Epoch(ahead + 1), "above what was forgotten");
}

async fn a_clock_that_stepped_back_holds_no_lock_for_longer(bench: Bench) {
    bench.tick().await;
    let first = bench.acquired("anna", LONG).await;
    let hour = 3_600_000_000_i64;
    bench.meddle(&format!("UPDATE {{p}}named_lock SET expire_time = expire_time + {hour}")).await;
    bench
        .meddle(&format!("UPDATE {{p}}upkeep SET value = value + {hour} WHERE name = x'726561706572'"))
        .await;
    let now = bench.tick().await.now;
    let (held, _) = bench.store.walk_locks(&walk("", "", 10)).await.unwrap();
    assert_eq!(held[0].expire_time, now.plus(LONG));
    assert!(bench.renew(&key_of("anna", &first), LONG).await);
}

async fn many_who_want_one_lock_get_it_one_after_the_other(bench: Bench) {
    bench.tick().await;
    let store = &bench.store;
    let holders = std::sync::atomic::AtomicUsize::new(0);
    let one = async |number: usize| {
        let owner = format!("owner {number}");
        loop {
            match store.acquire_lock(&order(&owner, LONG)).await.unwrap() {
                LockAnswer::Refused(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                LockAnswer::Acquired(lock) => {
                    use std::sync::atomic::Ordering::SeqCst;
                    assert_eq!(holders.fetch_add(1, SeqCst), 0, "two hold one lock");
                    tokio::task::yield_now().await;
                    holders.fetch_sub(1, SeqCst);
                    assert!(store.release_lock(&key_of(&owner, &lock)).await.unwrap());
                    return lock.token;
                }
            }
        }
    };
    let mut tokens = futures::future::join_all((0..12).map(one)).await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 12);
}

async fn keys_are_compared_byte_by_byte(bench: Bench) {
    bench.tick().await;
    for name in ["a", "A", "a.", "a/"] {
        let order = LockOrder { name: name.into(), ..order(name, LONG) };
        assert!(matches!(bench.store.acquire_lock(&order).await.unwrap(), LockAnswer::Acquired(_)), "{name}");
    }
}
