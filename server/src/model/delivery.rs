//! Notifications: how far each is, and the one decision on what follows a try.

use std::time::Duration;

use super::{Epoch, JobId, Run, Time};

/// The id of a notification. Ids grow with time, and no two Haulier services have the same: receivers tell repeats by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// Bits of an id that chance fills.
const CHANCE_BITS: u32 = 20;

impl DeliveryId {
    /// `count` ids made at `now`, of which no other server makes one; `chance` is any number.
    pub fn fresh(now: Time, chance: i64, count: usize) -> impl Iterator<Item = DeliveryId> {
        let milliseconds = now.0.div_euclid(1_000);
        let first = (milliseconds << CHANCE_BITS) | (chance & ((1 << CHANCE_BITS) - 1));
        (first..).take(count).map(DeliveryId)
    }

    /// The smallest id that can have been made at `time`.
    pub fn first_at(time: Time) -> DeliveryId {
        DeliveryId(time.0.div_euclid(1_000).max(0) << CHANCE_BITS)
    }
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a notification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryState {
    /// It waits for its next try.
    Pending,
    /// A try is under way.
    Sending,
    /// The receiver took it.
    Delivered,
    /// No tries are left.
    GivenUp,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [DeliveryState; 4] =
        [DeliveryState::Pending, DeliveryState::Sending, DeliveryState::Delivered, DeliveryState::GivenUp];

    /// The number that is stored.
    pub fn code(self) -> i64 {
        match self {
            DeliveryState::Pending => 1,
            DeliveryState::Sending => 2,
            DeliveryState::Delivered => 3,
            DeliveryState::GivenUp => 4,
        }
    }

    /// The state of a stored number.
    pub fn from_code(code: i64) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Is nothing more to be done?
    pub fn is_over(self) -> bool {
        matches!(self, DeliveryState::Delivered | DeliveryState::GivenUp)
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The job.
    pub job: JobId,
    /// The run whose outcome it tells.
    pub run: Run,
    /// Method and URL, without credentials.
    pub to: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Raised with each try; guards what is written of it.
    pub epoch: Epoch,
    /// Tries in all, one under way included.
    pub attempt_count: i32,
    /// Those of them before it was last replayed.
    pub earlier_count: i32,
    /// When the outcome was stored.
    pub create_time: Time,
    /// When it is tried next, or when a try that tells nothing counts as lost.
    pub next_time: Option<Time>,
    /// When it was delivered or given up.
    pub finish_time: Option<Time>,
    /// Its newest tries, oldest first; empty where they were not asked for.
    pub tries: Vec<DeliveryTry>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryTry {
    /// When it began.
    pub start_time: Time,
    /// How long it took.
    pub duration: Duration,
    /// HTTP status; 0 when no answer came.
    pub http_status: u16,
    /// What went wrong; empty when it was taken.
    pub error: String,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryEnd {
    /// HTTP status; 0 when no answer came.
    pub http_status: u16,
    /// What went wrong; none when it was taken.
    pub error: Option<String>,
    /// When the receiver wants to be tried again.
    pub retry_after: Option<Duration>,
    /// No later try can end otherwise.
    pub is_final: bool,
    /// How long it took.
    pub duration: Duration,
}

/// The waits between tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRetries(pub Vec<Duration>);

/// What follows a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTry {
    /// It is delivered.
    Delivered,
    /// It is tried again at this time.
    Again(Time),
    /// It is given up.
    GivenUp,
}

/// Decides what follows a try, the `count`th since the start or the last replay. Waits vary by a fifth, as `chance` in
/// `0.0..1.0` says, so that receivers that were away do not meet everything at once.
pub fn after_try(end: &TryEnd, count: i32, retries: &DeliveryRetries, now: Time, chance: f64) -> AfterTry {
    if end.error.is_none() {
        return AfterTry::Delivered;
    }
    let wait = usize::try_from(count.max(1) - 1).ok().and_then(|at| retries.0.get(at));
    match wait {
        Some(wait) if !end.is_final => {
            let varied = wait.mul_f64(0.8 + 0.4 * chance);
            AfterTry::Again(now.plus(varied.max(end.retry_after.unwrap_or_default())))
        }
        _ => AfterTry::GivenUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_795_219_200_000_000);

    fn failed() -> TryEnd {
        TryEnd {
            http_status: 500,
            error: Some("no".into()),
            retry_after: None,
            is_final: false,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn tries_follow_the_waits_and_then_end() {
        let retries = DeliveryRetries(vec![Duration::from_secs(10), Duration::from_secs(60)]);
        let after = |end: &TryEnd, count| after_try(end, count, &retries, NOW, 0.5);
        assert_eq!(after(&failed(), 1), AfterTry::Again(NOW.plus(Duration::from_secs(10))));
        assert_eq!(after(&failed(), 2), AfterTry::Again(NOW.plus(Duration::from_secs(60))));
        assert_eq!(after(&failed(), 3), AfterTry::GivenUp);
        assert_eq!(after(&TryEnd { is_final: true, ..failed() }, 1), AfterTry::GivenUp);
        assert_eq!(after(&TryEnd { error: None, ..failed() }, 9), AfterTry::Delivered);
        let wish = TryEnd { retry_after: Some(Duration::from_secs(30)), ..failed() };
        assert_eq!(after(&wish, 1), AfterTry::Again(NOW.plus(Duration::from_secs(30))));
        assert_eq!(
            after(&wish, 2),
            AfterTry::Again(NOW.plus(Duration::from_secs(60))),
            "a wish shortens nothing"
        );
    }

    #[test]
    fn waits_vary_by_a_fifth() {
        let retries = DeliveryRetries(vec![Duration::from_secs(10)]);
        for (chance, seconds) in [(0.0, 8), (1.0, 12)] {
            let after = after_try(&failed(), 1, &retries, NOW, chance);
            assert_eq!(after, AfterTry::Again(NOW.plus(Duration::from_secs(seconds))));
        }
    }

    #[test]
    fn ids_grow_with_time_and_differ_within_a_batch() {
        let ids: Vec<_> = DeliveryId::fresh(NOW, i64::MAX, 3).collect();
        assert!(ids[0] < ids[1] && ids[1] < ids[2]);
        assert!(ids[0] >= DeliveryId::first_at(NOW));
        assert!(ids[2] < DeliveryId::fresh(NOW.plus(Duration::from_millis(2)), 0, 1).next().unwrap());
        assert!(DeliveryId::first_at(Time(-1)).0 == 0);
    }
}
