//! Time as tests need it: durations of the contract, one clock over all processes, and waiting for a condition.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a condition may take to come true before the test has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// A duration of the contract.
pub fn seconds(seconds: f64) -> Option<prost_types::Duration> {
    Some(duration_of(Duration::from_secs_f64(seconds)))
}

/// A duration of the contract.
pub fn duration_of(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// This machine's wall clock, which is also the database's here: time since 1970.
pub fn since_epoch() -> Duration {
    let now = clock_gettime(ClockId::Realtime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Time that never goes back, the same for all processes of this machine.
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The wall clock's time so many seconds from now, or ago when negative.
pub fn after(seconds: f64) -> Option<prost_types::Timestamp> {
    let micros = since_epoch().as_micros() as i64 + (seconds * 1e6) as i64;
    Some(prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
    })
}

/// A timestamp of the contract in microseconds since 1970; it must be there.
#[track_caller]
pub fn stamp(time: &Option<prost_types::Timestamp>) -> i64 {
    let time = time.as_ref().expect("a time that must be set is unset");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// A short wait between two looks.
pub struct Pause;

impl Pause {
    /// Waits.
    pub async fn brief() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks again and again until the answer is there; fails the test with `what` when it does not come.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = monotonic() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(monotonic() < deadline, "in vain waited {PATIENCE:?} until {what}");
        Pause::brief().await;
    }
}
