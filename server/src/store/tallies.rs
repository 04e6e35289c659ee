//! Tallies in memory: what this server has committed and not yet added to the tables. A server that is killed loses what
//! it counted in the last seconds; these figures are for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Ending, Event, RouteId, SessionId, Tally, Time, Waits, limits, slot};

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// By hour, and route or lane.
    pub(crate) routes: BTreeMap<(Time, RouteId), Tally>,
    /// By stretch of time and step: how long jobs waited that started.
    pub(crate) waits: BTreeMap<(Time, i64), i64>,
    /// Jobs that sessions completed, and attempts of theirs that failed.
    pub(crate) sessions: BTreeMap<SessionId, (i64, i64)>,
}

/// What was counted since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    counted: Mutex<Counted>,
}

impl Tallies {
    /// Counts what a transaction did.
    pub(crate) fn count(&self, events: &[(Time, Event)]) {
        if events.is_empty() {
            return;
        }
        let mut counted = self.lock();
        events.iter().for_each(|(time, event)| counted.count(*time, event));
    }

    /// Takes what was counted, to be stored.
    pub(crate) fn take(&self) -> Counted {
        std::mem::take(&mut *self.lock())
    }

    /// Gives back what could not be stored.
    pub(crate) fn give_back(&self, taken: Counted) {
        self.lock().add(taken);
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Is there nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.waits.is_empty() && self.sessions.is_empty()
    }

    fn count(&mut self, time: Time, event: &Event) {
        match *event {
            Event::Enqueued { route } => self.of(time, route).enqueued += 1,
            Event::Started { waited } => {
                *self.waits.entry((slot(time, limits::TALLY_WAIT_SLOT), Waits::step(waited))).or_default() +=
                    1;
            }
            Event::Retried { route, session } => {
                self.of(time, route).retried += 1;
                self.sessions.entry(session).or_default().1 += 1;
            }
            Event::Ended { job, route, lane, session, ending, took } => {
                let mut ended = Tally { last: session.map(|_| (time, job)), ..Tally::default() };
                match ending {
                    Ending::Completed | Ending::Executed => (ended.completed, ended.took) = (1, took),
                    Ending::Failed => ended.failed = 1,
                    Ending::Cancelled => ended.cancelled = 1,
                }
                self.of(time, route).add(&ended);
                if let Some(lane) = lane {
                    self.of(time, lane).add(&ended);
                }
                if let Some(session) = session {
                    let of_session = self.sessions.entry(session).or_default();
                    *of_session = (of_session.0 + ended.completed, of_session.1 + ended.failed);
                }
            }
        }
    }

    fn of(&mut self, time: Time, route: RouteId) -> &mut Tally {
        self.routes.entry((slot(time, limits::TALLY_SLOT), route)).or_default()
    }

    fn add(&mut self, other: Counted) {
        for (key, tally) in other.routes {
            self.routes.entry(key).or_default().add(&tally);
        }
        for (key, starts) in other.waits {
            *self.waits.entry(key).or_default() += starts;
        }
        for (session, (completed, failed)) in other.sessions {
            let of_session = self.sessions.entry(session).or_default();
            *of_session = (of_session.0 + completed, of_session.1 + failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::JobId;

    #[test]
    fn what_could_not_be_stored_is_counted_with_what_came_after() {
        let tallies = Tallies::default();
        let session = SessionId([1; 16]);
        let ended = |ending, took| Event::Ended {
            job: JobId(7),
            route: RouteId(1),
            lane: Some(RouteId(2)),
            session: Some(session),
            ending,
            took: Duration::from_secs(took),
        };
        tallies.count(&[
            (Time(5), Event::Enqueued { route: RouteId(1) }),
            (Time(6), Event::Started { waited: Duration::ZERO }),
            (Time(8), ended(Ending::Completed, 3)),
        ]);
        let taken = tallies.take();
        assert!(!taken.is_empty() && tallies.take().is_empty());
        tallies.count(&[
            (Time(9), Event::Retried { route: RouteId(1), session }),
            (Time(10), ended(Ending::Failed, 1)),
        ]);
        tallies.give_back(taken);
        let all = tallies.take();
        let wanted = Tally {
            enqueued: 1,
            completed: 1,
            failed: 1,
            cancelled: 0,
            retried: 1,
            took: Duration::from_secs(3),
            last: Some((Time(10), JobId(7))),
        };
        assert_eq!(all.routes[&(Time(0), RouteId(1))], wanted);
        assert_eq!(all.routes[&(Time(0), RouteId(2))], Tally { enqueued: 0, retried: 0, ..wanted });
        assert_eq!(all.sessions[&session], (1, 2));
        assert_eq!(all.waits, BTreeMap::from([((Time(0), 0), 1)]));
    }
}
