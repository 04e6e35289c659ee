//! The end of attempts: outcomes, retries, releases, reaps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::clock;
use crate::model::{
    AttemptEnd, CancelMark, Circumstances, Ended, Ending, Epoch, Event, Fence, JobError, JobId, LeaseFlags,
    Month, Next, Payload, ReadyKey, RetryPolicy, Route, RouteId, RouteKind, Run, SessionId, Spec, State,
    TAKEN, Time, Turn, after_attempt,
};
use crate::store::caches::GivenOut;
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{Detail, LeaseRow, OutcomeRow, ReadyRow};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Value, key, payload_values, to_json, values};
use crate::store::verbs::cancel::read_mark;
use crate::store::verbs::enqueue::store_all;
use crate::store::verbs::follow::{Over, Pending, follow};
use crate::store::verbs::lane::{Lanes, wake_of};
use crate::store::verbs::{STRETCH_MIN, guards_of_leases, ids};
use crate::store::{Fate, Finish, Finished, LabelKind, OnLocked, Result, StoreError, Wake};

/// What one try came to.
pub(super) enum Verdict {
    Finished(Vec<Finished>, Wake),
    /// Nothing was changed: jobs go to routes that must be made first.
    NeedRoutes(Vec<Route>),
}

impl SqlStore {
    /// Ends that bring jobs along go in transactions of their own: these wait for rows, and may be refused.
    pub(crate) async fn finish(&self, ends: &[Finish], on_locked: OnLocked) -> Result<(Vec<Finished>, Wake)> {
        if ends.iter().all(|end| end.follow.is_empty()) {
            return self.finish_together(ends, on_locked).await;
        }
        let plain: Vec<Finish> = ends.iter().filter(|end| end.follow.is_empty()).cloned().collect();
        let (mut plain_answers, mut wake) = self.finish_together(&plain, on_locked).await?;
        plain_answers.reverse();
        let mut answers = Vec::with_capacity(ends.len());
        for end in ends {
            if end.follow.is_empty() {
                answers.extend(plain_answers.pop());
                continue;
            }
            match self.finish_together(std::slice::from_ref(end), on_locked).await {
                Ok((answer, more)) => {
                    answers.extend(answer);
                    wake.add(more);
                }
                Err(StoreError::Taken(taken)) => answers.push(Finished::Taken(taken)),
                Err(StoreError::TooManyChildren(parent)) => answers.push(Finished::Crowded(parent)),
                Err(error) => return Err(error),
            }
        }
        Ok((answers, wake))
    }

    async fn finish_together(&self, ends: &[Finish], on_locked: OnLocked) -> Result<(Vec<Finished>, Wake)> {
        if ends.is_empty() {
            return Ok(Default::default());
        }
        loop {
            match transact!(self.engine, Class::Vital, |unit| self.finish_in(unit, ends, on_locked))? {
                Verdict::Finished(answers, wake) => return Ok((answers, wake)),
                Verdict::NeedRoutes(routes) => {
                    self.routes(&routes).await?;
                }
            }
        }
    }

    pub(crate) async fn fates(&self, fences: &[Fence]) -> Result<Vec<Fate>> {
        read!(self.engine, |unit| self.read_fates(unit, fences))
    }

    async fn read_fates(&self, unit: &mut Unit<'_>, fences: &[Fence]) -> Try<Vec<Fate>> {
        let held = still_held(unit, fences.iter().copied()).await?;
        let lost: Vec<Fence> = fences.iter().filter(|fence| !held.contains(fence)).copied().collect();
        let ended = self.find_ends(unit, &lost).await?;
        let fate = |fence: &Fence| match ended.get(&(fence.job, fence.epoch)) {
            _ if held.contains(fence) => Fate::Held,
            Some(state) => Fate::Ended(*state),
            None => Fate::Gone,
        };
        Ok(fences.iter().map(fate).collect())
    }

    /// Where attempts went that ended before, by job and epoch. A month that was moved away tells nothing: all of
    /// it ended long ago.
    async fn find_ends(&self, unit: &mut Unit<'_>, lost: &[Fence]) -> Try<HashMap<(JobId, Epoch), State>> {
        // Another server may have begun a month that we do not know.
        if lost.iter().any(|fence| self.months.is_in_newest(fence.job)) {
            self.reload_months_within(unit).await?;
        }
        let mut by_month: BTreeMap<Month, Vec<Fence>> = BTreeMap::new();
        for fence in lost {
            if let Some(month) = self.month_within(unit, fence.job).await? {
                by_month.entry(month.month).or_default().push(*fence);
            }
        }
        let mut ended = HashMap::new();
        for (month, lost) in by_month {
            ended.extend(find_ends_in(unit, month, &lost).await?);
        }
        Ok(ended)
    }

    pub(super) async fn finish_in(
        &self,
        unit: &mut Unit<'_>,
        ends: &[Finish],
        on_locked: OnLocked,
    ) -> Try<Verdict> {
        let leases = self.take_or_lock(unit, ends, on_locked).await?;
        let now = leases.now;
        let sorted = sort_out(ends, &leases);
        let moves = self.decide(unit, sorted.held, now).await?;
        let missing: Vec<Route> = moves.iter().filter_map(|one| self.missing_route(one)).collect();
        if !missing.is_empty() {
            return Ok(Verdict::NeedRoutes(missing));
        }
        let mut answers = sorted.answers;
        let mut wake = self.carry_out(unit, &moves, now, &mut answers).await?;
        for end in moves.iter().filter(|one| one.is_success()).map(|one| one.held.end) {
            if !end.follow.is_empty() {
                wake.add(store_all(self, unit, &end.follow).await?.1);
            }
        }
        self.look_for_repeats(unit, ends, on_locked, &mut answers).await?;
        let answers = answers.into_iter().map(|answer| answer.unwrap_or(Finished::LeaseLost)).collect();
        Ok(Verdict::Finished(answers, wake))
    }

    /// Takes back the leases of plain successes, and locks those whose end depends on more than is known here.
    async fn take_or_lock(&self, unit: &mut Unit<'_>, ends: &[Finish], on_locked: OnLocked) -> Try<Leases> {
        let mut told = None;
        let plain = self.take_back_plain(unit, ends, &mut told).await?;
        let gone: HashMap<JobId, Gone> = plain.iter().map(|one| (one.job(), one.gone)).collect();
        let others = || ends.iter().map(|end| end.fence.job).filter(|job| !gone.contains_key(job));
        let (mut rows, now) = if plain.is_empty() || others().next().is_some() {
            lock_leases(unit, others(), on_locked).await?
        } else {
            (HashMap::with_capacity(plain.len()), now_once(unit, &mut told).await?)
        };
        rows.extend(plain.into_iter().map(|one| (one.job(), one.row)));
        Ok(Leases { rows, gone, now })
    }

    /// Most ends are successes of leases that this server gave out and on which nothing was noted since. Their rows are known:
    /// the delete that must come anyway is the lock and the look in one.
    async fn take_back_plain(
        &self,
        unit: &mut Unit<'_>,
        ends: &[Finish],
        told: &mut Option<Time>,
    ) -> Try<Vec<Plain>> {
        let mut plain = Plain::of(ends, &unit.engine.given_out);
        match self.take_back(unit, &mut plain, told).await {
            Ok(true) => Ok(plain),
            Ok(false) | Err(Fault::Duplicate(_)) => {
                // The next try reads what they are now.
                unit.engine.given_out.forget(plain.iter().map(Plain::job));
                Err(Fault::raced("leases that were given out"))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Answers whether all leases were as they are known.
    async fn take_back(
        &self,
        unit: &mut Unit<'_>,
        plain: &mut [Plain],
        told: &mut Option<Time>,
    ) -> Try<bool> {
        let mut scattered = Vec::new();
        for part in plain.chunk_by_mut(Plain::is_followed_by) {
            if part.len() < STRETCH_MIN {
                scattered.extend(part.iter().map(|one| &one.row));
            } else if !self.take_back_stretch(unit, part, told).await? {
                return Ok(false);
            }
        }
        let deleted =
            unit.execute_each(Sql::DeleteLeases, Place::Fixed, &scattered, guards_of_leases).await?;
        Ok(deleted == scattered.len() as u64)
    }

    /// Leases in a row, as one claim gave them out, are named by the first and the last.
    async fn take_back_stretch(
        &self,
        unit: &mut Unit<'_>,
        part: &mut [Plain],
        told: &mut Option<Time>,
    ) -> Try<bool> {
        for alike in part.chunk_by_mut(|one, next| one.result == next.result) {
            if alike.len() >= STRETCH_MIN && !self.end_alike(unit, alike, told).await? {
                return Ok(false);
            }
        }
        let deleted = unit.execute(Sql::DeleteLeasesBetween, Place::Fixed, bounds_of(part)).await?;
        Ok(deleted == part.len() as u64)
    }

    /// The database makes the outcomes of leases in a row whose results are the same, or who have none.
    async fn end_alike(&self, unit: &mut Unit<'_>, part: &mut [Plain], told: &mut Option<Time>) -> Try<bool> {
        let Some(Plain { row, result, .. }) = part.first() else { return Ok(true) };
        // Names of sessions are learned where outcomes are made here.
        let Some(name) = self.names.get(row.lease.session).filter(|name| !name.is_empty()) else {
            return Ok(true);
        };
        let now = now_once(unit, told).await?;
        let outcome = values![Ending::Completed.code(), now, name].into_iter();
        let bound = outcome.chain(payload_values(result)).chain(bounds_of(part)).collect();
        let ended = unit.execute(Sql::EndLeasesBetween, Place::Month(row.lease.month), bound).await?;
        let count = part.len() as u64;
        part.iter_mut().for_each(|one| one.gone = Gone::Ended);
        Ok(ended == count)
    }

    /// Decides where each job goes. A plain success reads nothing for it.
    async fn decide<'f>(&self, unit: &mut Unit<'_>, held: Vec<Held<'f>>, now: Time) -> Try<Vec<Move<'f>>> {
        let cancels = read_cancels(unit, &held).await?;
        let mut policies = read_policies(unit, &held).await?;
        let decide = |one: Held<'f>| {
            let job = one.row.lease.fence.job;
            let policy = policies.remove(&job);
            if policy.is_none() && one.end.ended != Ended::Completed {
                let why = format!("job {job} is leased but not in its month {}", one.row.lease.month);
                return Err(Fault::Store(StoreError::Corrupt(why)));
            }
            let mut next = next_of(&one, policy.as_ref(), cancels.get(&job), now);
            let spec = policy.map(|(_, spec)| spec);
            if let (Next::Done { ending, .. }, Some(spec)) = (&mut next, &spec)
                && *ending == Ending::Completed
                && !Pending::after(spec, *ending).is_empty()
            {
                *ending = Ending::Executed;
            }
            Ok(Move { held: one, next, spec })
        };
        held.into_iter().map(decide).collect()
    }

    /// The route that a job goes to, if this server does not know its id.
    fn missing_route(&self, one: &Move<'_>) -> Option<Route> {
        let route = one.route()?;
        self.routes.get(&route).is_none().then_some(route)
    }

    async fn carry_out(
        &self,
        unit: &mut Unit<'_>,
        moves: &[Move<'_>],
        now: Time,
        answers: &mut [Option<Finished>],
    ) -> Try<Wake> {
        let names = self.names_of(unit, moves.iter().map(|one| one.held.row.lease.session)).await?;
        let lanes = leave_lanes(unit, moves, now).await?;
        let mut rows = self.go_back(unit, moves, now, &names).await?;
        let (refused, followed) = end_runs(unit, moves, now, &names).await?;
        delete_leases(unit, moves).await?;
        if let Some(lanes) = lanes {
            rows.extend(lanes.close(unit, now).await?);
        }
        moves.iter().filter(|one| !refused.contains_key(&one.held.row.lease.fence.job)).for_each(|one| {
            if let Some(event) = one.event(now) {
                unit.note(now, event);
            }
        });
        for one in moves {
            answers[one.held.at] = Some(match refused.get(&one.held.row.lease.fence.job) {
                Some(first) => first.clone(),
                None => Finished::Stored(one.state(now)),
            });
        }
        let freed = moves.iter().map(|one| one.held.row.lease.route).collect();
        Ok(Wake { freed, ..wake_of(&rows) }.and(followed))
    }

    /// Puts jobs back into the ready table, with what is kept of their attempts.
    async fn go_back(
        &self,
        unit: &mut Unit<'_>,
        moves: &[Move<'_>],
        now: Time,
        names: &HashMap<SessionId, String>,
    ) -> Try<Vec<ReadyRow>> {
        let mut ready = Vec::new();
        let mut attempts: BTreeMap<Month, Vec<Vec<Value>>> = BTreeMap::new();
        let mut keys: BTreeMap<Month, Vec<ReadyKey>> = BTreeMap::new();
        for one in moves {
            let Some(row) = self.ready_row(one, now) else { continue };
            let month = row.month;
            attempts.entry(month).or_default().extend(one.attempt_values(now, names)?);
            keys.entry(month).or_default().push(row.key);
            ready.push(row);
        }
        for (month, rows) in attempts {
            unit.insert(Sql::InsertAttempts, Place::Month(month), rows).await?;
        }
        for (month, keys) in keys {
            move_jobs(unit, month, &keys).await?;
        }
        unit.insert(Sql::InsertReady, Place::Fixed, ready.iter().map(ReadyRow::values).collect()).await?;
        let expiring = ready.iter().filter(|row| row.expire_time != Time::NEVER);
        let expiring = expiring.map(|row| values![row.expire_time, row.key.job]).collect();
        unit.insert(Sql::InsertExpiries, Place::Fixed, expiring).await?;
        Ok(ready)
    }

    fn ready_row(&self, one: &Move<'_>, now: Time) -> Option<ReadyRow> {
        let Next::Ready { ready_time, turn, .. } = &one.next else { return None };
        let LeaseRow { lease, timeout, size } = one.held.row;
        let route: RouteId = self.routes.get(&one.route()?)?;
        let turn = Turn { epoch: lease.fence.epoch.next(now), ..*turn };
        // A job that never really started expires still.
        let may_expire = lease.run == Run(1) && turn.attempt == 0 && turn.crashes == 0;
        let expire_time = one.spec.as_ref().and_then(|spec| spec.expire_time).filter(|_| may_expire);
        let row = ReadyRow {
            key: ReadyKey { route, priority: lease.priority, ready_time: *ready_time, job: lease.fence.job },
            month: lease.month,
            run: lease.run,
            turn,
            timeout: *timeout,
            size: *size,
            expire_time: expire_time.unwrap_or(Time::NEVER),
            flags: lease.flags.that_stay(),
            lane: lease.lane,
            home: (route, lease.priority),
        };
        Some(if one.leaves_its_lane(now).is_some() { row.before_its_time() } else { row })
    }

    /// The names of worker processes, by session; sessions' rows are read, never locked.
    pub(super) async fn names_of(
        &self,
        unit: &mut Unit<'_>,
        sessions: impl Iterator<Item = SessionId>,
    ) -> Try<HashMap<SessionId, String>> {
        let mut names = HashMap::new();
        let mut unknown = BTreeSet::new();
        for session in sessions {
            match self.names.get(session) {
                Some(name) => drop(names.insert(session, name)),
                None => drop(unknown.insert(session)),
            }
        }
        let unknown: Vec<SessionId> = unknown.into_iter().collect();
        let by_id = |chunk: &[SessionId]| chunk.iter().map(|session| Value::from(*session)).collect();
        for mut row in unit.fetch_each(Sql::ReadSessionNames, Place::Fixed, &unknown, by_id).await? {
            let (session, name) = (SessionId(row.bytes_16()?), row.text()?);
            self.names.put(session, name.clone());
            names.insert(session, name);
        }
        Ok(names)
    }

    /// Answers the ends whose lease is not held: perhaps they were stored before, perhaps the row is only locked.
    async fn look_for_repeats(
        &self,
        unit: &mut Unit<'_>,
        ends: &[Finish],
        on_locked: OnLocked,
        answers: &mut [Option<Finished>],
    ) -> Try<()> {
        let open: Vec<usize> = (0..ends.len()).filter(|at| answers[*at].is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if on_locked == OnLocked::Skip {
            let locked = still_held(unit, open.iter().map(|at| ends[*at].fence)).await?;
            open.iter().filter(|at| locked.contains(&ends[**at].fence)).for_each(|at| {
                answers[*at] = Some(Finished::Skipped);
            });
        }
        let lost: Vec<Fence> = open.iter().map(|at| ends[*at].fence).collect();
        let ended = self.find_ends(unit, &lost).await?;
        for at in open {
            let fence = ends[at].fence;
            let repeat = ended.get(&(fence.job, fence.epoch)).map(|state| Finished::Repeated(*state));
            answers[at] = answers[at].take().or(repeat);
        }
        Ok(())
    }
}

/// An end whose lease is held and locked.
struct Held<'f> {
    at: usize,
    end: &'f Finish,
    row: &'f LeaseRow,
    /// None: its row is there.
    gone: Option<Gone>,
}

/// What was done with a lease that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Its row was deleted.
    Deleted,
    /// That, and the outcome was stored.
    Ended,
}

/// The leases of ends, all of them locked by now, or gone.
struct Leases {
    rows: HashMap<JobId, LeaseRow>,
    gone: HashMap<JobId, Gone>,
    now: Time,
}

/// A lease whose end depends on nothing but its row, as that is known.
struct Plain {
    row: LeaseRow,
    result: Payload,
    gone: Gone,
}

impl Plain {
    /// Those among the leases of ends, each once, in ascending order of the jobs.
    fn of(ends: &[Finish], given_out: &GivenOut) -> Vec<Plain> {
        let is_plain =
            |end: &&Finish| end.ended == Ended::Completed && end.follow.is_empty() && end.log_sequence == 0;
        let as_given =
            |row: &LeaseRow| row.lease.flags == LeaseFlags::default() && row.lease.log_sequence == 0;
        let known = |end: &Finish| {
            let row = given_out.get(end.fence).filter(as_given)?;
            Some(Plain { row, result: end.result.clone(), gone: Gone::Deleted })
        };
        let mut plain: Vec<Plain> = ends.iter().filter(is_plain).filter_map(known).collect();
        plain.sort_by_key(Plain::job);
        plain.dedup_by_key(|one| one.job());
        plain
    }

    fn job(&self) -> JobId {
        self.row.lease.fence.job
    }

    /// Does the other one stand right behind it, given out by the same claim?
    fn is_followed_by(&self, other: &Plain) -> bool {
        let (one, next) = (&self.row.lease, &other.row.lease);
        next.fence.job.0 == one.fence.job.0 + 1
            && next.fence.nonce == one.fence.nonce
            && next.month == one.month
    }
}

/// The time, asked for once.
async fn now_once(unit: &mut Unit<'_>, told: &mut Option<Time>) -> Try<Time> {
    match *told {
        Some(now) => Ok(now),
        None => Ok(*told.insert(unit.now().await?)),
    }
}

/// The bounds of leases in a row that one claim gave out.
fn bounds_of(part: &[Plain]) -> Vec<Value> {
    let fences = || part.iter().map(|one| one.row.lease.fence);
    let (Some(first), Some(last)) = (fences().next(), fences().next_back()) else { return Vec::new() };
    values![first.job, last.job, first.nonce]
}

/// A held lease with where its job goes.
struct Move<'f> {
    held: Held<'f>,
    next: Next,
    /// Read only where something depends on it.
    spec: Option<Box<Spec>>,
}

impl Move<'_> {
    /// The route that the job goes back to, if it does.
    fn route(&self) -> Option<Route> {
        let (Next::Ready { kind, .. }, Some(spec)) = (&self.next, &self.spec) else { return None };
        let kind: RouteKind = *kind;
        Some(Route { kind, ..spec.route() })
    }

    fn is_success(&self) -> bool {
        matches!(self.next, Next::Done { ending: Ending::Completed | Ending::Executed, .. })
    }

    /// The lane that the job leaves: at its end, or while it waits for a retry and lets others pass. A strict one holds
    /// it until it has ended.
    fn leaves_its_lane(&self, now: Time) -> Option<RouteId> {
        let is_relaxed = self.spec.as_ref().is_some_and(|spec| spec.worker.relaxed);
        let leaves = match &self.next {
            Next::Done { .. } => true,
            Next::Ready { ready_time, .. } => is_relaxed && *ready_time > now,
        };
        self.held.row.lease.lane.filter(|_| leaves)
    }

    fn state(&self, now: Time) -> State {
        match &self.next {
            Next::Ready { ready_time, .. } if *ready_time > now => State::Scheduled,
            Next::Ready { .. } => State::Queued,
            Next::Done { ending, .. } => ending.state(),
        }
    }

    /// What is kept of an attempt that did not end its run.
    fn attempt_values(&self, now: Time, names: &HashMap<SessionId, String>) -> Try<Option<Vec<Value>>> {
        let Next::Ready { attempt: Some((end, error)), .. } = &self.next else { return Ok(None) };
        let lease = &self.held.row.lease;
        let error: Option<String> = error.as_ref().map(to_json::<JobError>).transpose()?;
        Ok(Some(values![
            lease.fence.job,
            lease.run,
            lease.fence.epoch,
            lease.turn.attempt,
            end.code() + if self.held.end.ended.is_holders() { 0 } else { TAKEN },
            lease.session,
            names.get(&lease.session).map(String::as_str),
            lease.start_time,
            now,
            error,
        ]))
    }

    /// The job of its callback, stored with it.
    fn callback(&self) -> Option<JobId> {
        let run = Some((self.held.row.lease.fence.job, self.held.row.lease.run));
        let mut follow = self.held.end.follow.iter().filter(|_| self.is_success());
        follow.find(|new| new.job.spec.callback_of == run).map(|new| new.job.id)
    }

    /// What of it is counted.
    fn event(&self, now: Time) -> Option<Event> {
        let lease = &self.held.row.lease;
        let is_failure =
            |end: &AttemptEnd| matches!(end, AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Crashed);
        match &self.next {
            Next::Done { ending, .. } => Some(Event::Ended {
                job: lease.fence.job,
                route: lease.route,
                lane: lease.lane,
                session: Some(lease.session),
                ending: *ending,
                took: now.since(lease.start_time),
            }),
            Next::Ready { attempt: Some((end, _)), .. } if is_failure(end) => {
                Some(Event::Retried { route: lease.route, session: lease.session })
            }
            Next::Ready { .. } => None,
        }
    }

    /// The outcome, if the run ended. `end_leases_between.sql` makes the same of leases of plain successes.
    fn outcome(&self, now: Time, names: &HashMap<SessionId, String>, status: String) -> Option<OutcomeRow> {
        let Next::Done { ending, turn, attempt, error, cancelled } = &self.next else { return None };
        let lease = &self.held.row.lease;
        let result = if self.is_success() { self.held.end.result.clone() } else { Payload::None };
        let end = (*attempt != AttemptEnd::Completed).then_some(*attempt);
        Some(OutcomeRow {
            job: lease.fence.job,
            run: lease.run,
            turn: Turn { epoch: lease.fence.epoch, ..*turn },
            ending: *ending,
            is_taken: !self.held.end.ended.is_holders(),
            start_time: Some(lease.start_time),
            finish_time: now,
            session: Some(lease.session),
            worker_process: names.get(&lease.session).cloned().unwrap_or_default(),
            log_sequence: lease.log_sequence,
            result,
            detail: Detail {
                end,
                error: error.clone(),
                cancelled: cancelled.clone(),
                status,
                callback: self.callback(),
                callback_error: String::new(),
                notify_error: String::new(),
            },
        })
    }
}

/// Locks the leases of jobs in ascending order, and tells the time.
pub(super) async fn lock_leases(
    unit: &mut Unit<'_>,
    jobs: impl Iterator<Item = JobId>,
    on_locked: OnLocked,
) -> Try<(HashMap<JobId, LeaseRow>, Time)> {
    let jobs: Vec<JobId> = jobs.collect::<BTreeSet<_>>().into_iter().collect();
    let sql = match on_locked {
        OnLocked::Wait => Sql::LockLeases,
        OnLocked::Skip => Sql::LockLeasesFree,
    };
    let mut now = None;
    let mut held = HashMap::new();
    for mut row in unit.fetch_each(sql, Place::Fixed, &jobs, ids).await? {
        let lease = LeaseRow::read(&mut row)?;
        now = now.max(Some(unit.time_of(&mut row)?));
        held.insert(lease.lease.fence.job, lease);
    }
    let now = match now {
        Some(now) => now,
        None => unit.now().await?,
    };
    Ok((held, now))
}

/// Ends whose lease is held, and the answers that are clear already.
struct Sorted<'f> {
    held: Vec<Held<'f>>,
    answers: Vec<Option<Finished>>,
}

fn sort_out<'f>(ends: &'f [Finish], leases: &'f Leases) -> Sorted<'f> {
    let mut taken = BTreeSet::new();
    let mut sorted = Sorted { held: Vec::new(), answers: vec![None; ends.len()] };
    for (at, end) in ends.iter().enumerate() {
        let Some(row) = leases.rows.get(&end.fence.job).filter(|row| row.lease.fence == end.fence) else {
            continue;
        };
        if row.lease.log_sequence < end.log_sequence {
            sorted.answers[at] = Some(Finished::LogGap(row.lease.log_sequence));
        } else if needs_callback(end, row) {
            sorted.answers[at] = Some(Finished::NeedsCallback);
        } else if taken.insert(end.fence.job) {
            sorted.held.push(Held { at, end, row, gone: leases.gone.get(&end.fence.job).copied() });
        }
        // A second end of one lease in one batch finds the first one's outcome, like any repeat.
    }
    sorted.held.sort_unstable_by_key(|held| held.row.lease.fence.job);
    sorted
}

/// Is the callback missing that the success of this job enqueues?
fn needs_callback(end: &Finish, row: &LeaseRow) -> bool {
    let run = Some((row.lease.fence.job, row.lease.run));
    end.ended == Ended::Completed
        && row.lease.flags.has(LeaseFlags::CALLBACK)
        && !end.follow.iter().any(|new| new.job.spec.callback_of == run)
}

async fn read_cancels(unit: &mut Unit<'_>, held: &[Held<'_>]) -> Try<HashMap<JobId, CancelMark>> {
    let is_marked =
        |one: &&Held<'_>| one.row.lease.flags.has(LeaseFlags::CANCEL) && one.end.ended != Ended::Completed;
    let jobs: Vec<JobId> = held.iter().filter(is_marked).map(|one| one.row.lease.fence.job).collect();
    let rows = unit.fetch_each(Sql::ReadCancels, Place::Fixed, &jobs, ids).await?;
    let read = |mut row: crate::store::value::Columns| {
        let mark = read_mark(&mut row)?;
        Ok((mark.job, mark))
    };
    rows.into_iter().map(read).collect()
}

async fn read_policies(unit: &mut Unit<'_>, held: &[Held<'_>]) -> Try<HashMap<JobId, (Time, Box<Spec>)>> {
    let mut by_month: BTreeMap<Month, Vec<JobId>> = BTreeMap::new();
    let concerned = |one: &&Held<'_>| {
        one.end.ended != Ended::Completed
            || one.row.lease.flags.has(LeaseFlags::FOLLOWS | LeaseFlags::CALLBACK)
    };
    for one in held.iter().filter(concerned) {
        by_month.entry(one.row.lease.month).or_default().push(one.row.lease.fence.job);
    }
    let mut policies = HashMap::new();
    for (month, jobs) in by_month {
        for mut row in unit.fetch_each(Sql::ReadPolicies, Place::Month(month), &jobs, ids).await? {
            let (job, run_time) = (JobId(row.int()?), Time(row.int()?));
            policies.insert(job, (run_time, row.json()?));
        }
    }
    Ok(policies)
}

fn next_of(
    one: &Held<'_>,
    policy: Option<&(Time, Box<Spec>)>,
    cancel: Option<&CancelMark>,
    now: Time,
) -> Next {
    let plain = RetryPolicy::default();
    let at = Circumstances {
        policy: policy.map_or(&plain, |(_, spec)| &spec.retry),
        turn: one.row.lease.turn,
        // A run that was to begin later has not been failing meanwhile.
        run_time: policy.map_or(now, |(run_time, spec)| spec.run_after.unwrap_or_default().max(*run_time)),
        now,
        cancel: cancel.map(|mark| (mark.reason, mark.text.as_str())),
        timeout: Duration::from_micros(one.row.timeout.max(0).unsigned_abs()),
        chance: clock::random_fraction(),
    };
    after_attempt(&one.end.ended, &at)
}

/// Locks the lanes that jobs leave, and takes these out.
async fn leave_lanes(unit: &mut Unit<'_>, moves: &[Move<'_>], now: Time) -> Try<Option<Lanes>> {
    let leaving =
        || moves.iter().filter_map(|one| Some((one.leaves_its_lane(now)?, one.held.row.lease.fence.job)));
    if leaving().next().is_none() {
        return Ok(None);
    }
    let mut lanes = Lanes::lock(unit, leaving().map(|(lane, _)| lane)).await?;
    leaving().for_each(|(lane, job)| lanes.leave(lane, job));
    Ok(Some(lanes))
}

/// Lets jobs remember where their ready rows stand.
pub(super) async fn move_jobs(unit: &mut Unit<'_>, month: Month, keys: &[ReadyKey]) -> Try<()> {
    let moved = |chunk: &[ReadyKey]| {
        let routes = chunk.iter().flat_map(|key| values![key.job, key.route]);
        let priorities = chunk.iter().flat_map(|key| values![key.job, key.priority]);
        let times = chunk.iter().flat_map(|key| values![key.job, key.ready_time]);
        routes.chain(priorities).chain(times).chain(chunk.iter().map(|key| Value::from(key.job))).collect()
    };
    if unit.execute_each(Sql::MoveJobs, Place::Month(month), keys, moved).await? != keys.len() as u64 {
        return Err(Fault::other(format!("a live job is missing in month {month}")));
    }
    Ok(())
}

/// Stores the outcomes that are not yet; answers the jobs whose run had one already, with what becomes of this one.
async fn end_runs(
    unit: &mut Unit<'_>,
    moves: &[Move<'_>],
    now: Time,
    names: &HashMap<SessionId, String>,
) -> Try<(HashMap<JobId, Finished>, Wake)> {
    let is_left =
        |one: &&Move<'_>| matches!(one.next, Next::Done { .. }) && one.held.gone != Some(Gone::Ended);
    let done: Vec<&Move<'_>> = moves.iter().filter(is_left).collect();
    let mut statuses = read_status(unit, &done).await?;
    let mut by_month: BTreeMap<Month, Vec<OutcomeRow>> = BTreeMap::new();
    for one in &done {
        let status = statuses.remove(&one.held.row.lease.fence.job).unwrap_or_default();
        by_month.entry(one.held.row.lease.month).or_default().extend(one.outcome(now, names, status));
    }
    let mut refused = HashMap::new();
    let of_job: HashMap<JobId, &Move<'_>> =
        done.iter().map(|one| (one.held.row.lease.fence.job, *one)).collect();
    let mut over = Vec::new();
    for (month, rows) in &by_month {
        refused.extend(insert_outcomes(unit, *month, rows).await?);
        label_endings(unit, *month, rows).await?;
        over.extend(rows.iter().filter(|row| !refused.contains_key(&row.job)).map(|outcome| {
            let one = of_job.get(&outcome.job);
            let flags = one.map_or(LeaseFlags::default(), |one| one.held.row.lease.flags);
            Over { outcome, flags, spec: one.and_then(|one| one.spec.as_deref()) }
        }));
    }
    let followed = follow(unit, &over).await?;
    forget(unit, &done, LeaseFlags::PROGRESS, Sql::DeleteProgress).await?;
    let all: Vec<&Move<'_>> = moves.iter().collect();
    forget(unit, &all, LeaseFlags::CANCEL, Sql::DeleteCancels).await?;
    Ok((refused, followed))
}

async fn read_status(unit: &mut Unit<'_>, done: &[&Move<'_>]) -> Try<HashMap<JobId, String>> {
    let jobs = flagged(done, LeaseFlags::PROGRESS);
    let rows = unit.fetch_each(Sql::ReadStatus, Place::Fixed, &jobs, ids).await?;
    rows.into_iter().map(|mut row| Ok((JobId(row.int()?), row.text()?))).collect()
}

async fn forget(unit: &mut Unit<'_>, moves: &[&Move<'_>], flag: i64, sql: Sql) -> Try<()> {
    unit.execute_each(sql, Place::Fixed, &flagged(moves, flag), ids).await?;
    Ok(())
}

fn flagged(moves: &[&Move<'_>], flag: i64) -> Vec<JobId> {
    let leases = moves.iter().map(|one| &one.held.row.lease);
    leases.filter(|lease| lease.flags.has(flag)).map(|lease| lease.fence.job).collect()
}

/// Stores outcomes. A run that has one keeps the first: the same epoch is a repeat, another an error of ours.
pub(super) async fn insert_outcomes(
    unit: &mut Unit<'_>,
    month: Month,
    rows: &[OutcomeRow],
) -> Try<HashMap<JobId, Finished>> {
    let values = rows.iter().map(OutcomeRow::values);
    match unit.store(Sql::InsertOutcomes, Place::Month(month), values).await {
        Err(Fault::Duplicate(_)) => insert_one_by_one(unit, month, rows).await,
        stored => stored.map(|()| HashMap::new()),
    }
}

/// After a refusal: some rows may be stored by now, one is not, and all are found by their keys.
async fn insert_one_by_one(
    unit: &mut Unit<'_>,
    month: Month,
    rows: &[OutcomeRow],
) -> Try<HashMap<JobId, Finished>> {
    let mut refused = HashMap::new();
    for row in rows {
        let Some(mut first) =
            unit.fetch_one(Sql::ReadEndings, Place::Month(month), values![row.job, row.run]).await?
        else {
            unit.execute(Sql::InsertOutcomes, Place::Month(month), row.values()?).await?;
            continue;
        };
        first.skip(2);
        let (epoch, ending) = (Epoch(first.int()?), first.coded(Ending::from_code)?);
        if epoch == row.turn.epoch {
            refused.insert(row.job, Finished::Repeated(ending.state()));
        } else {
            tracing::error!(job = %row.job, run = %row.run, first = %epoch, second = %row.turn.epoch,
                "a second outcome of a run was refused, the first stands; this should not happen");
            refused.insert(row.job, Finished::LeaseLost);
        }
    }
    Ok(refused)
}

/// Makes runs that failed or were cancelled findable by that.
pub(super) async fn label_endings(unit: &mut Unit<'_>, month: Month, rows: &[OutcomeRow]) -> Try<()> {
    let label = |row: &OutcomeRow| {
        let value = match row.ending {
            Ending::Failed => "failed",
            Ending::Cancelled => "cancelled",
            Ending::Executed | Ending::Completed => return None,
        };
        Some(values![LabelKind::Ending.code(), key(value), row.job])
    };
    unit.insert(Sql::InsertLabels, Place::Month(month), rows.iter().filter_map(label).collect()).await?;
    Ok(())
}

async fn delete_leases(unit: &mut Unit<'_>, moves: &[Move<'_>]) -> Try<()> {
    unit.took_back(moves.iter().map(|one| one.held.row.lease.fence.job));
    let left = moves.iter().filter(|one| one.held.gone.is_none());
    let ended: Vec<&LeaseRow> = left.map(|one| one.held.row).collect();
    if unit.execute_each(Sql::DeleteLeases, Place::Fixed, &ended, guards_of_leases).await?
        != ended.len() as u64
    {
        return Err(Fault::raced("leases"));
    }
    Ok(())
}

async fn still_held(unit: &mut Unit<'_>, lost: impl Iterator<Item = Fence>) -> Try<BTreeSet<Fence>> {
    let jobs: Vec<JobId> = lost.map(|fence| fence.job).collect();
    let rows = unit.fetch_each(Sql::ReadLeasesByJob, Place::Fixed, &jobs, ids).await?;
    rows.into_iter().map(|mut row| Ok(LeaseRow::read(&mut row)?.lease.fence)).collect()
}

async fn find_ends_in(
    unit: &mut Unit<'_>,
    month: Month,
    lost: &[Fence],
) -> Try<HashMap<(JobId, Epoch), State>> {
    let guards = |chunk: &[Fence]| chunk.iter().flat_map(|fence| values![fence.job, fence.epoch]).collect();
    let mut ended = HashMap::new();
    for mut row in unit.fetch_each(Sql::FindAttempts, Place::Month(month), lost, guards).await? {
        let key = (JobId(row.int()?), Epoch(row.int()?));
        let code = row.int()?;
        let state = match AttemptEnd::from_code(code) {
            Some(AttemptEnd::Failed | AttemptEnd::TimedOut) => State::Scheduled,
            _ => State::Queued,
        };
        if code < TAKEN {
            ended.insert(key, state);
        }
    }
    for mut row in unit.fetch_each(Sql::FindEndings, Place::Month(month), lost, guards).await? {
        let key = (JobId(row.int()?), Epoch(row.int()?));
        // A job that was cancelled while it waited ends with the epoch of its ready row, which no lease had.
        let code = row.int()?;
        if let Some(ending) = Ending::from_code(code).filter(|_| code < TAKEN) {
            ended.insert(key, ending.state());
        }
    }
    Ok(ended)
}
