//! Named locks, and the one decision when something that is held for a time is over.

use std::fmt;
use std::time::Duration;

use super::{Epoch, Time, digest};

/// A named lock that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLock {
    /// Its name.
    pub name: String,
    /// Who holds it, for people.
    pub owner: String,
    /// Larger than that of every earlier holder.
    pub token: Epoch,
    /// How long it is held unless it is renewed.
    pub lease_time: Duration,
    /// When its holder acquired it.
    pub acquire_time: Time,
    /// When it is free unless it is renewed.
    pub expire_time: Time,
}

/// What proves that a caller is the owner of a lock: a digest of its owner id, so that who reads the database cannot
/// release it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LockSecret(pub [u8; 16]);

impl LockSecret {
    /// The secret of an owner id.
    pub fn of(owner_id: &str) -> LockSecret {
        LockSecret(digest([owner_id.as_bytes()]))
    }
}

impl fmt::Debug for LockSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockSecret(..)")
    }
}

/// Something that is held for a time and renewed through servers: a session, a named lock.
#[derive(Clone, Copy, Debug)]
pub struct HoldTime {
    /// How long a renewal lasts.
    pub lease_time: Duration,
    /// When it is over unless it is renewed.
    pub expire_time: Time,
    /// When the server that the last renewal came through was last alive, and since when without a gap.
    pub server: Option<(Time, Time)>,
}

impl HoldTime {
    /// Is it over at `now`, all outages of ours allowed for? `amnesty_from` is when the latest one was noticed. It has one
    /// lease time from its renewal, from the end of an outage and from when its server came back, whose renewals wait that
    /// it has not taken yet; and one more while that server is silent, to find another.
    pub fn is_over(&self, now: Time, amnesty_from: Option<Time>, silent_after: Duration) -> bool {
        let since = self.server.map(|(_, since)| since);
        let restarts = [amnesty_from, since].into_iter().flatten().map(|time| time.plus(self.lease_time));
        let time = restarts.fold(self.expire_time, Time::max);
        let server_lives = self.server.is_some_and(|(beat, _)| beat.plus(silent_after) >= now);
        let grace = if server_lives { Duration::ZERO } else { self.lease_time };
        time.plus(grace) < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const SILENT: Duration = Duration::from_secs(3);

    fn held(server: Option<(i64, i64)>) -> HoldTime {
        HoldTime {
            lease_time: Duration::from_secs(30),
            expire_time: Time(100 * SECOND),
            server: server.map(|(beat, since)| (Time(beat * SECOND), Time(since * SECOND))),
        }
    }

    fn over(held: HoldTime, now: i64, amnesty: Option<i64>) -> bool {
        held.is_over(Time(now * SECOND), amnesty.map(|from| Time(from * SECOND)), SILENT)
    }

    #[test]
    fn it_is_over_when_its_time_is_while_its_server_lives() {
        assert!(!over(held(Some((99, 1))), 100, None));
        assert!(over(held(Some((99, 1))), 101, None));
    }

    #[test]
    fn a_server_that_is_silent_gives_it_one_lease_time_more() {
        for server in [None, Some((90, 1))] {
            assert!(!over(held(server), 130, None));
            assert!(over(held(server), 131, None));
        }
    }

    #[test]
    fn a_server_that_has_just_come_back_gives_it_one_lease_time_from_then() {
        assert!(!over(held(Some((101, 95))), 103, None));
        assert!(over(held(Some((125, 95))), 126, None));
    }

    #[test]
    fn an_outage_gives_it_one_lease_time_from_when_it_was_noticed() {
        assert!(!over(held(Some((160, 1))), 160, Some(130)));
        assert!(over(held(Some((161, 1))), 161, Some(130)));
    }

    #[test]
    fn a_server_that_falls_silent_after_an_outage_gives_it_both() {
        for (server, amnesty) in [((131, 1), Some(130)), ((131, 130), None)] {
            assert!(!over(held(Some(server)), 190, amnesty));
            assert!(over(held(Some(server)), 191, amnesty));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = LockSecret::of("hush");
        assert_eq!(format!("{secret:?}"), "LockSecret(..)");
        assert_ne!(secret, LockSecret::of("hush "));
    }
}
