//! The waiting room: claims that wait for jobs, and what is known of the ready table.
//!
//! A claim registers here first, then the table is looked at, then it waits: no wake-up is lost. A waiter leaves the
//! room before its transaction begins; from then on only that transaction's result answers it. What is known of the
//! table is a hint: at worst it is a look old, and losing it loses no job.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};

use super::pace::Pace;
use super::routes::Routes;
use super::sessions::SessionLink;
use super::{Error, Result};
use crate::clock;
use crate::model::{Route, RouteId, RouteKind, Time, limits};
use crate::store::{Backlog, ClaimTicket, LeasedJob};

/// What a waiting claim is answered.
pub(crate) enum Reply {
    /// Jobs; none means nothing yet.
    Jobs(Vec<LeasedJob>),
    /// The loop has moved on, or its session is over.
    Refused,
    /// The transaction failed; repeating the same sequence tells what came of it.
    Failed(Error),
}

/// A claim that waits.
pub(crate) struct Waiter {
    pub(crate) ticket: ClaimTicket,
    pub(crate) session: Arc<SessionLink>,
    pub(crate) max_jobs: usize,
    /// Wants an answer after one look at the table, even an empty one.
    pub(crate) once: bool,
    /// The number of the first look that begins after it came; the room sets it.
    pub(crate) look: u64,
    /// Set when its caller waits for nothing new any more: if its transaction gives it nothing, that is its answer.
    pub(crate) is_over: Arc<AtomicBool>,
    pub(crate) answer: oneshot::Sender<Reply>,
}

impl Waiter {
    pub(crate) fn reply(self, reply: Reply) {
        // A caller that has gone repeats its sequence, goes on, or loses its session: each finds the jobs.
        let _ = self.answer.send(reply);
    }

    /// It may have been given something: repeating its sequence tells.
    pub(crate) fn unknown(self) {
        self.session.forget_loop(self.ticket.claim_loop);
        self.reply(Reply::Failed(Error::Unavailable));
    }

    fn is_open(&self) -> bool {
        let session = &self.session;
        !(self.answer.is_closed() || session.is_exclusive() || session.is_draining() || session.is_lost())
    }
}

/// A group of the ready table, as last heard.
#[derive(Clone, Copy)]
struct Known {
    /// Nothing is known to lie before it.
    ready_time: Time,
    /// The earliest that was heard of since the group was last given to a claim.
    heard: Time,
    /// Raised with every hint, so that an older finding does not erase a newer one.
    stamp: u64,
}

/// A route and a priority.
pub(crate) type GroupKey = (RouteId, i32);

#[derive(Default)]
struct Inner {
    waiters: VecDeque<Waiter>,
    backlog: HashMap<GroupKey, Known>,
    /// Limited queues that had no room at the last claim: passed over until one of their jobs ends, or the next look.
    full: BTreeSet<String>,
    stamp: u64,
    looks: Looks,
}

/// Looks at the table: when the last one ended, and when the next is due.
struct Looks {
    /// How many have begun.
    begun: u64,
    /// The number of the last that ended.
    ended: u64,
    pace: Pace,
    /// A claim has come since the last one began, or waits still. One that is served at once counts: what it was served by
    /// must be no older than that of one that waits.
    asked: bool,
    /// The next one is to begin at once.
    wanted: bool,
}

impl Default for Looks {
    fn default() -> Self {
        Self { begun: 0, ended: 0, pace: Pace::new(limits::LOOK_INTERVAL), asked: false, wanted: false }
    }
}

impl Looks {
    /// A claim wants the table to be looked at. True: that is news to whoever waits for the next look.
    fn ask(&mut self, at_once: bool) -> bool {
        let is_news = !self.asked || (at_once && !self.wanted);
        self.asked = true;
        self.wanted |= at_once;
        is_news
    }

    /// When the next one is due; none while nobody asks.
    fn due_at(&self) -> Option<Instant> {
        self.asked.then(|| if self.wanted { clock::instant() } else { self.pace.due_at() })
    }
}

/// A look under way.
pub(crate) struct Look {
    number: u64,
    stamp: u64,
    begun_at: Instant,
}

/// Waiters matched with the groups they are to be served from.
pub(crate) struct Plan {
    pub(crate) claims: Vec<(Waiter, Vec<Backlog>)>,
    stamp: u64,
}

/// Claims that wait, and what is known of the ready table.
#[derive(Default)]
pub(crate) struct Room {
    inner: Mutex<Inner>,
    wake: Notify,
    /// Somebody asks for a look who did not before.
    asked: Notify,
}

impl Room {
    /// Takes a waiter in. An older call of the same loop gets its empty answer.
    pub(crate) fn enter(&self, mut waiter: Waiter) {
        let mut inner = self.lock();
        let same = |other: &Waiter| {
            (other.ticket.session, other.ticket.claim_loop)
                == (waiter.ticket.session, waiter.ticket.claim_loop)
        };
        if let Some(at) = inner.waiters.iter().position(same)
            && let Some(older) = inner.waiters.remove(at)
        {
            older.reply(Reply::Jobs(Vec::new()));
        }
        waiter.look = inner.looks.begun + 1;
        let is_news = inner.looks.ask(waiter.once);
        inner.waiters.push_back(waiter);
        drop(inner);
        if is_news {
            self.asked.notify_one();
        }
        self.wake.notify_one();
    }

    /// Takes a waiter out; false when its transaction has begun, whose result will answer it.
    pub(crate) fn leave(&self, ticket: ClaimTicket) -> bool {
        let mut inner = self.lock();
        let at = inner.waiters.iter().position(|waiter| waiter.ticket == ticket);
        at.and_then(|at| inner.waiters.remove(at)).is_some()
    }

    /// As [`Room::leave`], for one that is given something outside of any transaction.
    pub(crate) fn take(&self, ticket: ClaimTicket) -> Option<Waiter> {
        let mut inner = self.lock();
        let at = inner.waiters.iter().position(|waiter| waiter.ticket == ticket && waiter.is_open())?;
        inner.waiters.remove(at)
    }

    /// A waiter that serves this route, taken out to be given something outside of any transaction.
    pub(crate) fn take_open(&self, route: &Route, routes: &Routes) -> Option<Waiter> {
        let mut inner = self.lock();
        let at = inner.open_at(route, routes)?;
        inner.waiters.remove(at)
    }

    /// Is there a waiter that serves this route?
    pub(crate) fn has_open(&self, route: &Route, routes: &Routes) -> bool {
        self.lock().open_at(route, routes).is_some()
    }

    /// Puts back waiters whose transaction gave them nothing; they keep their place at the front. A caller that could not
    /// leave meanwhile, since the transaction had begun, is answered.
    pub(crate) fn return_all(&self, waiters: impl IntoIterator<Item = Waiter>) {
        let mut inner = self.lock();
        for waiter in waiters {
            if waiter.is_over.load(Ordering::Relaxed) {
                waiter.reply(Reply::Jobs(Vec::new()));
            } else {
                inner.waiters.push_front(waiter);
            }
        }
        let is_news = !inner.waiters.is_empty() && inner.looks.ask(false);
        drop(inner);
        if is_news {
            self.asked.notify_one();
        }
    }

    /// Ready rows were stored: whoever waits for them is served.
    pub(crate) fn note(&self, rows: impl IntoIterator<Item = (RouteId, i32, Time)>) {
        let mut inner = self.lock();
        for (route, priority, ready_time) in rows {
            inner.learn((route, priority), ready_time);
        }
        let awaited = !inner.waiters.is_empty();
        drop(inner);
        if awaited {
            self.wake.notify_one();
        }
    }

    /// A waiter that takes a job of this route at once, without the ready table. Only while the table is known, by a
    /// look that is not old, to hold nothing due that this waiter serves: older jobs come first.
    pub(crate) fn take_for_handoff(&self, route: &Route, routes: &Routes, now: Time) -> Option<Waiter> {
        let mut inner = self.lock();
        if routes.is_paused(&route.queue)
            || routes.is_limited(&route.queue)
            || !inner.looks.pace.ended_within(2 * limits::LOOK_INTERVAL)
        {
            return None;
        }
        let due: Vec<Arc<Route>> = inner
            .backlog
            .iter()
            .filter(|(_, known)| known.ready_time <= now)
            .filter_map(|((route, _), _)| routes.open_route(*route))
            .collect();
        let fits = |waiter: &Waiter| {
            waiter.is_open()
                && waiter.session.served.takes_plain(route)
                && !due.iter().any(|other| waiter.session.served.takes_plain(other))
        };
        let at = inner.waiters.iter().position(fits)?;
        inner.waiters.remove(at)
    }

    /// Waits until there may be something to do for the waiters.
    pub(crate) async fn turn(&self, now: impl Fn() -> Time, routes: &Routes) {
        let next = self.next_due(now(), routes);
        match next {
            Some(at) => {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                }
            }
            None => self.wake.notified().await,
        }
    }

    /// When the next job becomes due that somebody waits for. What is due already and yet waits could not be given out: a
    /// look or a hint finds it again.
    fn next_due(&self, now: Time, routes: &Routes) -> Option<Instant> {
        let inner = self.lock();
        let later = inner.backlog.iter().filter(|(_, known)| known.ready_time > now);
        let coming = later.filter(|((route, _), _)| inner.serves(*route, routes));
        coming.map(|(_, known)| clock::instant() + known.ready_time.since(now)).min()
    }

    /// Waits until the table is to be looked at for those who claim: at the interval, or because somebody wants it now.
    pub(crate) async fn look_due(&self) {
        loop {
            let due = self.lock().looks.due_at();
            match due {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => return,
                        () = self.asked.notified() => {}
                    }
                }
                None => self.asked.notified().await,
            }
        }
    }

    /// A look begins; hints that come from now on outlive it.
    pub(crate) fn begin_look(&self) -> Look {
        let mut inner = self.lock();
        inner.looks.asked = !inner.waiters.is_empty();
        inner.looks.wanted = false;
        inner.looks.begun += 1;
        Look { number: inner.looks.begun, stamp: inner.stamp, begun_at: clock::instant() }
    }

    /// What a look found replaces what was known, but not what was heard since it began.
    pub(crate) fn end_look(&self, found: &[Backlog], look: &Look) {
        let mut inner = self.lock();
        inner.backlog.retain(|_, known| known.stamp > look.stamp);
        for group in found {
            inner.learn((group.route, group.priority), group.ready_time);
        }
        inner.full.clear();
        let looks = &mut inner.looks;
        looks.ended = look.number;
        looks.pace.ended(look.begun_at);
        drop(inner);
        self.wake.notify_one();
    }

    /// These limited queues give out nothing more for now.
    pub(crate) fn set_full(&self, queues: BTreeSet<String>) {
        if !queues.is_empty() {
            self.lock().full.extend(queues);
        }
    }

    /// Attempts of these routes ended: their queues may have room again.
    pub(crate) fn freed(&self, ended: &[RouteId], routes: &Routes) {
        let mut inner = self.lock();
        if inner.full.is_empty() {
            return;
        }
        let before = inner.full.len();
        for route in ended.iter().filter_map(|id| routes.route(*id)) {
            inner.full.remove(&route.queue);
        }
        if inner.full.len() < before {
            self.wake.notify_one();
        }
    }

    /// Matches waiters with due groups, the highest priority first and then the longest due, and takes the matched out
    /// of the room. Those who wanted one look only and match nothing get their empty answer.
    pub(crate) fn plan(&self, now: Time, routes: &Routes) -> Plan {
        let mut inner = self.lock();
        let due = inner.due(now, routes);
        for (group, _) in &due {
            inner.give((group.route, group.priority));
        }
        let (stamp, looked) = (inner.stamp, inner.looks.ended);
        let (mut claims, mut rest) = (Vec::new(), VecDeque::new());
        for waiter in std::mem::take(&mut inner.waiters) {
            if waiter.answer.is_closed() {
                continue;
            }
            let serves = |(_, route): &&(Backlog, Arc<Route>)| waiter.session.served.takes_plain(route);
            let groups: Vec<Backlog> = if waiter.is_open() {
                due.iter().filter(serves).map(|(group, _)| *group).collect()
            } else {
                Vec::new()
            };
            if !groups.is_empty() {
                claims.push((waiter, groups));
            } else if waiter.once && looked >= waiter.look {
                waiter.reply(Reply::Jobs(Vec::new()));
            } else {
                rest.push_back(waiter);
            }
        }
        inner.waiters = rest;
        Plan { claims, stamp }
    }

    /// A waiter that may be given a quarantined job, with the job's group: taken out of the room.
    pub(crate) fn plan_quarantined(&self, now: Time, routes: &Routes) -> Option<(Waiter, Backlog)> {
        let mut inner = self.lock();
        for (key, known) in &inner.backlog {
            let quarantined = |route: &Arc<Route>| {
                route.kind == RouteKind::Quarantined && !inner.full.contains(&route.queue)
            };
            let Some(route) = routes.open_route(key.0).filter(quarantined) else {
                continue;
            };
            let fits = |waiter: &Waiter| waiter.is_open() && waiter.session.served.takes(&route);
            if known.ready_time <= now
                && let Some(at) = inner.waiters.iter().position(fits)
            {
                let group = known.as_group(*key);
                return inner.waiters.remove(at).map(|waiter| (waiter, group));
            }
        }
        None
    }

    /// A claim took the heads of a group up to this ready time: nothing is known to lie before it but what was heard of since.
    pub(crate) fn advanced(&self, group: GroupKey, to: Time) {
        if let Some(known) = self.lock().backlog.get_mut(&group) {
            known.ready_time = known.ready_time.max(to.min(known.heard));
        }
    }

    /// A claim found less in a group than it wanted: forget the group, unless something was heard of it since.
    pub(crate) fn exhausted(&self, group: GroupKey, plan_stamp: u64) {
        let mut inner = self.lock();
        if inner.backlog.get(&group).is_some_and(|known| known.stamp <= plan_stamp) {
            inner.backlog.remove(&group);
        }
    }

    /// Ends every wait with an empty answer.
    pub(crate) fn clear(&self) {
        let waiters = std::mem::take(&mut self.lock().waiters);
        waiters.into_iter().for_each(|waiter| waiter.reply(Reply::Jobs(Vec::new())));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// The point in hearing at which this was planned.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }
}

impl Known {
    fn as_group(&self, (route, priority): GroupKey) -> Backlog {
        Backlog { route, priority, ready_time: self.ready_time }
    }
}

impl Inner {
    fn learn(&mut self, key: GroupKey, ready_time: Time) {
        self.stamp += 1;
        let stamp = self.stamp;
        let known = self.backlog.entry(key).or_insert(Known { ready_time, heard: ready_time, stamp });
        known.ready_time = known.ready_time.min(ready_time);
        known.heard = known.heard.min(ready_time);
        known.stamp = stamp;
    }

    /// A group is given to a claim: what is heard of it from now on may not be seen by that.
    fn give(&mut self, key: GroupKey) {
        if let Some(known) = self.backlog.get_mut(&key) {
            known.heard = Time::NEVER;
        }
    }

    fn open_at(&self, route: &Route, routes: &Routes) -> Option<usize> {
        let fits = |waiter: &Waiter| waiter.is_open() && waiter.session.served.takes_plain(route);
        if routes.is_paused(&route.queue) { None } else { self.waiters.iter().position(fits) }
    }

    fn due(&self, now: Time, routes: &Routes) -> Vec<(Backlog, Arc<Route>)> {
        let mut due: Vec<_> = self.backlog.iter().filter(|(_, known)| known.ready_time <= now).collect();
        due.sort_by_key(|((route, priority), known)| (-priority, known.ready_time, *route));
        let open = |id| routes.open_route(id).filter(|route| !self.full.contains(&route.queue));
        due.into_iter().filter_map(|(key, known)| Some((known.as_group(*key), open(key.0)?))).collect()
    }

    fn serves(&self, route: RouteId, routes: &Routes) -> bool {
        routes
            .open_route(route)
            .is_some_and(|route| self.waiters.iter().any(|waiter| waiter.session.served.takes(&route)))
    }
}

/// The answer that a waiting claim passes on.
pub(crate) fn answer(reply: Reply) -> Result<Option<Vec<LeasedJob>>> {
    match reply {
        Reply::Jobs(jobs) => Ok(Some(jobs)),
        Reply::Refused => Ok(None),
        Reply::Failed(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupKey = (RouteId(7), 50);

    fn bound(room: &Room) -> i64 {
        room.lock().backlog.get(&GROUP).unwrap().ready_time.0
    }

    /// A room that heard of a row at 10, and whose claim then took the heads up to 20.
    fn advanced() -> Room {
        let room = Room::default();
        room.note([(RouteId(7), 50, Time(10))]);
        room.lock().give(GROUP);
        room.advanced(GROUP, Time(20));
        room
    }

    #[test]
    fn claims_pass_over_what_they_took_but_not_over_what_was_heard_of_meanwhile() {
        let room = advanced();
        assert_eq!(bound(&room), 20, "nothing was heard of");

        room.lock().give(GROUP);
        room.note([(RouteId(7), 50, Time(25)), (RouteId(7), 50, Time(22))]);
        room.advanced(GROUP, Time(30));
        assert_eq!(bound(&room), 22, "stored while the claim was under way: perhaps it did not see it");

        room.note([(RouteId(7), 50, Time(5))]);
        assert_eq!(bound(&room), 5, "given back, it stands where it stood");
    }

    #[test]
    fn a_look_finds_what_nobody_told_of() {
        let room = advanced();
        let look = room.begin_look();
        room.end_look(&[Backlog { route: RouteId(7), priority: 50, ready_time: Time(3) }], &look);
        assert_eq!(bound(&room), 3);
    }

    #[test]
    fn the_table_is_looked_at_for_claims_that_are_served_at_once() {
        let room = Room::default();
        let ask = |at_once| room.lock().looks.ask(at_once);
        let due_at = || room.lock().looks.due_at();
        assert_eq!(due_at(), None, "nobody claims");
        assert!(ask(false) && !ask(false), "told once");
        assert!(due_at().unwrap() <= clock::instant());

        let look = room.begin_look();
        assert_eq!(due_at(), None, "nobody has come since, and nobody waits");
        room.end_look(&[], &look);
        assert!(ask(false));
        assert!(due_at().unwrap() > clock::instant(), "not before the interval is over");
        assert!(ask(true) && !ask(true));
        assert!(due_at().unwrap() <= clock::instant(), "somebody waits for nothing else");
    }
}
