//! Claims: leasing due jobs to sessions, and where each claim loop stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock;
use crate::model::{
    Epoch, Event, Fence, JobError, JobId, Lease, LeaseFlags, Month, Payload, ReadyKey, RouteId, Run,
    SessionId, Time, Turn, limits,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{LeaseRow, SpecReader, read_turn, session_state};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, values};
use crate::store::verbs::enqueue::move_loops;
use crate::store::verbs::queue::Budgets;
use crate::store::verbs::read::read_last_errors;
use crate::store::verbs::{Ids, STRETCH_MIN, ids};
use crate::store::{Backlog, ClaimTicket, Claimed, Claimer, Given, LeasedJob, LoopState, Result};

/// The key of a claim loop.
pub(super) type LoopKey = (SessionId, i32);

impl SqlStore {
    pub(crate) async fn look(&self) -> Result<Vec<Backlog>> {
        read!(self.engine, |unit| look(unit))
    }

    pub(crate) async fn claim(
        &self,
        claims: &[Claimer],
        limited: &BTreeMap<RouteId, String>,
        now: Time,
    ) -> Result<(Vec<Claimed>, BTreeSet<String>)> {
        if claims.is_empty() {
            return Ok(Default::default());
        }
        let by_rows = AtomicBool::new(false);
        transact!(self.engine, Class::Claim, |unit| lease_due(unit, claims, limited, now, &by_rows))
    }

    pub(crate) async fn loop_state(&self, session: SessionId, claim_loop: i32) -> Result<Option<LoopState>> {
        let known = read!(self.engine, |unit| read_loop(unit, session, claim_loop))?;
        match known {
            Some(state) => Ok(Some(state)),
            None => transact!(self.engine, Class::Claim, |unit| make_loop(unit, session, claim_loop)),
        }
    }

    pub(crate) async fn leases(
        &self,
        session: SessionId,
        claim_loop: Option<i32>,
    ) -> Result<Vec<(Lease, bool)>> {
        read!(self.engine, |unit| read_leases(unit, session, claim_loop))
    }

    pub(crate) async fn leased_jobs(&self, leases: &[Lease]) -> Result<Vec<LeasedJob>> {
        let held = read!(self.engine, |unit| held_of(unit, leases))?;
        let mut jobs = self.jobs_of(&held).await?;
        Ok(held.iter().filter_map(|lease| jobs.remove(&lease.fence.job)).collect())
    }

    pub(crate) async fn acknowledge(&self, received: &[ClaimTicket]) -> Result<()> {
        let mut highest: BTreeMap<LoopKey, i64> = BTreeMap::new();
        for ticket in received {
            let sequence = highest.entry((ticket.session, ticket.claim_loop)).or_default();
            *sequence = ticket.sequence.max(*sequence);
        }
        let highest: Vec<(LoopKey, i64)> = highest.into_iter().collect();
        if highest.is_empty() {
            return Ok(());
        }
        transact!(self.engine, Class::Vital, |unit| acknowledge(unit, &highest))
    }

    /// The jobs of leases that are held, by id.
    pub(crate) async fn jobs_of(&self, leases: &[Lease]) -> Result<HashMap<JobId, LeasedJob>> {
        if leases.is_empty() {
            return Ok(HashMap::new());
        }
        read!(self.engine, |unit| leased_jobs(unit, leases))
    }
}

/// Walks over the heads: from each to the next priority of its route, or to the next route.
async fn look(unit: &mut Unit<'_>) -> Try<Vec<Backlog>> {
    // Rows that wait for parents or for their time in a lane stand before it, under routes that are none.
    let (mut route, mut priority) = (RouteId::default(), i32::MAX);
    let mut heads = Vec::new();
    loop {
        let rows = unit.fetch(Sql::NextHeads, Place::Fixed, values![route, priority, route]).await?;
        let read = |mut row: Columns| {
            Ok(Backlog { route: RouteId(row.int()?), priority: row.small()?, ready_time: Time(row.int()?) })
        };
        let Some(head) = rows.into_iter().map(read).collect::<Try<Vec<Backlog>>>()?.into_iter().min() else {
            return Ok(heads);
        };
        (route, priority) = (head.route, head.priority);
        heads.push(head);
    }
}

/// Locks claim loops; those that do not exist are left out.
pub(super) async fn lock_loops(
    unit: &mut Unit<'_>,
    tickets: &[ClaimTicket],
) -> Try<HashMap<LoopKey, LoopState>> {
    let keys = |chunk: &[ClaimTicket]| {
        chunk.iter().flat_map(|ticket| values![ticket.session, ticket.claim_loop]).collect()
    };
    let rows = unit.fetch_each(Sql::LockLoops, Place::Fixed, tickets, keys).await?;
    let read = |mut row: Columns| {
        let key = (SessionId(row.bytes_16()?), row.small()?);
        Ok((key, LoopState { sequence: row.int()?, received: row.int()? }))
    };
    rows.into_iter().map(read).collect()
}

/// A claim being served.
struct Serving<'c> {
    claimer: &'c Claimer,
    /// Its loop has seen this sequence or a higher one, or its session is no more.
    is_refused: bool,
    /// Its answer takes no more.
    is_full: bool,
    bytes: i64,
    /// That of all its leases: a job is in one answer once.
    nonce: i64,
    dealt: Vec<Dealt>,
}

/// A job in a claim's answer.
struct Dealt {
    row: LeaseRow,
    /// Since when it could have started.
    ready_time: Time,
    /// Its lease is stored.
    is_stored: bool,
}

impl Serving<'_> {
    fn wants(&self) -> usize {
        if self.is_refused || self.is_full {
            0
        } else {
            self.claimer.max_jobs.saturating_sub(self.dealt.len())
        }
    }

    /// Takes a job if the answer has room for it; a job alone has room whatever its size.
    fn take(&mut self, found: &Found, now: Time) -> bool {
        let fits = self.dealt.is_empty() || self.bytes.saturating_add(found.size) <= limits::CLAIM_BYTES_MAX;
        if fits {
            self.bytes = self.bytes.saturating_add(found.size);
            let row = found.lease(self.claimer.ticket, self.nonce, now);
            self.dealt.push(Dealt { row, ready_time: found.key.ready_time, is_stored: false });
        } else {
            self.is_full = true;
        }
        fits
    }

    fn claimed(self) -> Claimed {
        if self.is_refused {
            return Claimed::Refused;
        }
        let given =
            |one: Dealt| Given { lease: one.row.lease, ready_time: one.ready_time, size: one.row.size };
        Claimed::Leases(self.dealt.into_iter().map(given).collect())
    }
}

/// A due ready row, locked.
#[derive(Clone)]
struct Found {
    key: ReadyKey,
    month: Month,
    run: Run,
    turn: Turn,
    timeout: i64,
    size: i64,
    flags: LeaseFlags,
    lane: Option<RouteId>,
}

impl Found {
    /// Its lease. `lease_taken.sql` makes the same of the row.
    fn lease(&self, ticket: ClaimTicket, nonce: i64, now: Time) -> LeaseRow {
        let epoch: Epoch = self.turn.epoch.next(now);
        let lease = Lease {
            fence: Fence { job: self.key.job, epoch, nonce },
            month: self.month,
            run: self.run,
            route: self.key.route,
            priority: self.key.priority,
            lane: self.lane,
            session: ticket.session,
            claim_loop: ticket.claim_loop,
            claim: ticket.sequence,
            turn: Turn { epoch, attempt: self.turn.attempt + 1, ..self.turn },
            start_time: now,
            deadline: Time(now.0.saturating_add(self.timeout)),
            flags: self.flags,
            log_sequence: 0,
        };
        LeaseRow { lease, timeout: self.timeout, size: self.size }
    }
}

/// Leases due jobs. Answers what each claim got, and the queues that give out nothing more for now. With `by_rows` it names
/// each row that it takes; it sets that when others stand between them.
async fn lease_due(
    unit: &mut Unit<'_>,
    claims: &[Claimer],
    limited: &BTreeMap<RouteId, String>,
    now: Time,
    by_rows: &AtomicBool,
) -> Try<(Vec<Claimed>, BTreeSet<String>)> {
    let mut serving = begin_serving(unit, claims).await?;
    let mut budgets = Budgets::lock(unit, limited).await?;
    let ranks = claims.iter().map(|claimer| claimer.groups.len()).max().unwrap_or_default();
    for rank in 0..ranks {
        for (group, members) in groups_of(&serving, rank) {
            serve_group(unit, group, &members, &mut serving, &mut budgets, (now, by_rows)).await?;
        }
    }
    for one in serving.iter().flat_map(|one| &one.dealt) {
        unit.note(now, Event::Started { waited: now.since(one.ready_time) });
    }
    let (stored, left): (Vec<&Dealt>, Vec<&Dealt>) =
        serving.iter().flat_map(|one| &one.dealt).partition(|one| one.is_stored);
    unit.gave_out(stored.into_iter().map(|one| one.row.clone()));
    unit.give_out(left.into_iter().map(|one| one.row.clone()).collect()).await?;
    let mut served: Vec<ClaimTicket> =
        serving.iter().filter(|one| !one.dealt.is_empty()).map(|one| one.claimer.ticket).collect();
    served.sort_unstable();
    move_loops(unit, &served).await?;
    let full = budgets.close(unit).await?;
    Ok((serving.into_iter().map(Serving::claimed).collect(), full))
}

async fn begin_serving<'c>(unit: &mut Unit<'_>, claims: &'c [Claimer]) -> Try<Vec<Serving<'c>>> {
    let mut tickets: Vec<ClaimTicket> = claims.iter().map(|claimer| claimer.ticket).collect();
    tickets.sort_unstable();
    tickets.dedup();
    let mut loops = lock_loops(unit, &tickets).await?;
    let serve = |claimer: &'c Claimer| {
        let key = (claimer.ticket.session, claimer.ticket.claim_loop);
        // A loop serves one call: of two in one batch the second is refused.
        let is_taken = loops.remove(&key).is_some_and(|state| state.sequence < claimer.ticket.sequence);
        Serving {
            claimer,
            is_refused: !is_taken,
            is_full: false,
            bytes: 0,
            nonce: clock::random_63(),
            dealt: Vec::new(),
        }
    };
    Ok(claims.iter().map(serve).collect())
}

/// The groups that claims want at this place of their wishes, each with the claims that do.
fn groups_of(serving: &[Serving<'_>], rank: usize) -> BTreeMap<Backlog, Vec<usize>> {
    let mut groups: BTreeMap<Backlog, Vec<usize>> = BTreeMap::new();
    for (at, one) in serving.iter().enumerate() {
        if let (Some(group), true) = (one.claimer.groups.get(rank), one.wants() > 0) {
            groups.entry(*group).or_default().push(at);
        }
    }
    groups
}

/// Deals the due heads of one group round-robin among the claims that want it, and takes them out.
async fn serve_group(
    unit: &mut Unit<'_>,
    group: Backlog,
    members: &[usize],
    serving: &mut [Serving<'_>],
    budgets: &mut Budgets,
    (now, by_rows): (Time, &AtomicBool),
) -> Try<()> {
    let wanted: usize = members.iter().map(|at| serving[*at].wants()).sum();
    let wanted = wanted.min(budgets.room(group.route));
    if wanted == 0 {
        return Ok(());
    }
    let found = take_ready(unit, group, wanted.min(limits::GROUP_ROWS_MAX), now).await?;
    let dealt = deal(&found, members, serving, now);
    budgets.take(group.route, dealt);
    let taken = &found[..dealt];
    match members {
        [one] if dealt >= STRETCH_MIN && !by_rows.load(Ordering::Relaxed) => {
            let is_moved = move_taken(unit, group, taken, &mut serving[*one], now).await?;
            by_rows.store(!is_moved, Ordering::Relaxed);
            if is_moved { Ok(()) } else { Err(Fault::raced("ready rows between those that were taken")) }
        }
        _ => delete_taken(unit, group, taken).await,
    }
}

/// Rows of one group that stand together in line: the places of the first and the last, and how many they are.
#[derive(Debug, PartialEq)]
struct Stretch {
    from: (Time, JobId),
    to: (Time, JobId),
    rows: u64,
}

/// The stretches of keys in the order of the line: those of the first time, those of the last, and all that is between.
/// Each is one range of the primary key, which no range over times and jobs together would be.
fn stretches(keys: &[ReadyKey]) -> Vec<Stretch> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Vec::new() };
    let (first, last) = (first.ready_time, last.ready_time);
    let head = keys.partition_point(|key| key.ready_time == first);
    let tail = keys.partition_point(|key| key.ready_time < last).max(head);
    let at_once = |part: &[ReadyKey]| {
        let place = |key: Option<&ReadyKey>| key.map(|key| (key.ready_time, key.job));
        Some(Stretch { from: place(part.first())?, to: place(part.last())?, rows: part.len() as u64 })
    };
    let between = (head < tail).then(|| Stretch {
        from: (Time(first.0 + 1), JobId(0)),
        to: (Time(last.0 - 1), JobId(i64::MAX)),
        rows: (tail - head) as u64,
    });
    [at_once(&keys[..head]), between, at_once(&keys[tail..])].into_iter().flatten().collect()
}

/// Leases what one claim takes of a group and takes it out, by where it stands in line; nothing of it passes through this
/// process. Answers whether nobody else stands there: the counts must be those of the rows that were found.
async fn move_taken(
    unit: &mut Unit<'_>,
    group: Backlog,
    taken: &[Found],
    serving: &mut Serving<'_>,
    now: Time,
) -> Try<bool> {
    let keys: Vec<ReadyKey> = taken.iter().map(|found| found.key).collect();
    let ClaimTicket { session, claim_loop, sequence, .. } = serving.claimer.ticket;
    let stretches = stretches(&keys);
    let place = |stretch: &Stretch| {
        let Stretch { from, to, .. } = stretch;
        values![group.route, group.priority, from.0, from.1, to.0, to.1, now]
    };
    // First this, which locks and waits for nothing: the delete would wait for whoever has a row in between.
    for stretch in &stretches {
        let lease = values![
            now,
            now,
            serving.nonce,
            session,
            claim_loop,
            sequence,
            now,
            i64::MAX - now.0,
            i64::MAX,
            now
        ];
        let values = lease.into_iter().chain(place(stretch)).collect();
        if unit.execute(Sql::LeaseTaken, Place::Fixed, values).await? != stretch.rows {
            return Ok(false);
        }
    }
    for stretch in &stretches {
        if unit.execute(Sql::DeleteTakenBetween, Place::Fixed, place(stretch)).await? != stretch.rows {
            return Ok(false);
        }
    }
    serving.dealt.iter_mut().rev().take(taken.len()).for_each(|one| one.is_stored = true);
    Ok(true)
}

/// Takes locked rows of one group out, which were found in the order of their ready times.
async fn delete_taken(unit: &mut Unit<'_>, group: Backlog, taken: &[Found]) -> Try<()> {
    let guards = |chunk: &[Found]| {
        let end = |found: Option<&Found>| found.map_or(group.ready_time, |found| found.key.ready_time);
        let range = values![group.route, group.priority, end(chunk.first()), end(chunk.last())];
        let row = |found: &Found| values![found.key.ready_time, found.key.job, found.turn.epoch];
        range.into_iter().chain(chunk.iter().flat_map(row)).collect::<Vec<Value>>()
    };
    if unit.execute_each(Sql::DeleteTaken, Place::Fixed, taken, guards).await? != taken.len() as u64 {
        return Err(Fault::raced("ready rows"));
    }
    Ok(())
}

/// How many were dealt, from the first on.
fn deal(found: &[Found], members: &[usize], serving: &mut [Serving<'_>], now: Time) -> usize {
    let mut turn = 0;
    for (dealt, job) in found.iter().enumerate() {
        let is_taken = (0..members.len()).any(|_| {
            let one = &mut serving[members[turn % members.len()]];
            turn += 1;
            one.wants() > 0 && one.take(job, now)
        });
        if !is_taken {
            return dealt;
        }
    }
    found.len()
}

async fn take_ready(unit: &mut Unit<'_>, group: Backlog, limit: usize, now: Time) -> Try<Vec<Found>> {
    let Backlog { route, priority, ready_time } = group;
    let bound = values![route, priority, ready_time, now, now, limit as i64];
    let rows = unit.fetch(Sql::TakeReady, Place::Fixed, bound).await?;
    let read = |mut row: Columns| {
        let (ready_time, job) = (Time(row.int()?), JobId(row.int()?));
        let (month, run) = (Month(row.small()?), Run(row.small()?));
        let turn = read_turn(&mut row)?;
        let (timeout, size, flags) = (row.int()?, row.int()?, LeaseFlags(row.int()?));
        let lane = row.route()?;
        let key = ReadyKey { route, priority, ready_time, job };
        Ok(Found { key, month, run, turn, timeout, size, flags, lane })
    };
    rows.into_iter().map(read).collect()
}

async fn read_loop(unit: &mut Unit<'_>, session: SessionId, claim_loop: i32) -> Try<Option<LoopState>> {
    let row = unit.fetch_one(Sql::ReadLoop, Place::Fixed, values![session, claim_loop]).await?;
    row.map(|mut row| Ok(LoopState { sequence: row.int()?, received: row.int()? })).transpose()
}

/// Makes a loop of a session that is not over; the session's row is locked meanwhile, so that its end, which locks
/// it too, finds every loop.
async fn make_loop(unit: &mut Unit<'_>, session: SessionId, claim_loop: i32) -> Try<Option<LoopState>> {
    let Some(mut row) = unit.fetch_one(Sql::LockSessions, Place::Fixed, values![session]).await? else {
        return Ok(None);
    };
    row.skip(1);
    if row.coded(session_state)? == crate::model::SessionState::Lost {
        return Ok(None);
    }
    unit.execute(Sql::InsertLoop, Place::Fixed, values![session, claim_loop]).await?;
    read_loop(unit, session, claim_loop).await
}

async fn read_leases(
    unit: &mut Unit<'_>,
    session: SessionId,
    claim_loop: Option<i32>,
) -> Try<Vec<(Lease, bool)>> {
    let rows = match claim_loop {
        None => unit.fetch(Sql::ReadLeases, Place::Fixed, values![session]).await?,
        Some(number) => unit.fetch(Sql::ReadLeasesOfLoop, Place::Fixed, values![session, number]).await?,
    };
    let read = |mut row: Columns| {
        let lease = LeaseRow::read(&mut row)?.lease;
        let received = row.maybe_int()?.unwrap_or_default();
        let acknowledged = lease.claim <= received;
        Ok((lease, acknowledged))
    };
    let mut leases = rows.into_iter().map(read).collect::<Try<Vec<(Lease, bool)>>>()?;
    leases.sort_unstable_by_key(|(lease, _)| lease.fence.job);
    Ok(leases)
}

/// Those leases that are held still, as they are now.
async fn held_of(unit: &mut Unit<'_>, leases: &[Lease]) -> Try<Vec<Lease>> {
    let jobs: Vec<JobId> = leases.iter().map(|lease| lease.fence.job).collect();
    let rows = unit.fetch_each(Sql::ReadLeasesByJob, Place::Fixed, &jobs, ids).await?;
    let mut held = HashMap::new();
    for mut row in rows {
        let lease = LeaseRow::read(&mut row)?.lease;
        held.insert(lease.fence, lease);
    }
    Ok(leases.iter().filter_map(|lease| held.remove(&lease.fence)).collect())
}

/// The errors of the attempts before these; a first attempt has none, and is not asked about.
async fn errors_before(unit: &mut Unit<'_>, leases: &[Lease]) -> Try<HashMap<JobId, JobError>> {
    let mut by_month: BTreeMap<Month, Vec<(JobId, Run)>> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| lease.turn.attempt > 1 || lease.turn.crashes > 0) {
        by_month.entry(lease.month).or_default().push((lease.fence.job, lease.run));
    }
    let mut errors = HashMap::new();
    for (month, runs) in by_month {
        errors.extend(read_last_errors(unit, month, &runs).await?);
    }
    Ok(errors)
}

async fn leased_jobs(unit: &mut Unit<'_>, leases: &[Lease]) -> Try<HashMap<JobId, LeasedJob>> {
    let mut by_month: BTreeMap<Month, Vec<JobId>> = BTreeMap::new();
    for lease in leases {
        by_month.entry(lease.month).or_default().push(lease.fence.job);
    }
    let mut rows: HashMap<JobId, Columns> = HashMap::with_capacity(leases.len());
    for (month, of_month) in by_month {
        for mut row in read_contents(unit, Place::Month(month), of_month).await? {
            rows.insert(JobId(row.int()?), row);
        }
    }
    let mut checkpoints = read_checkpoints(unit, leases).await?;
    let mut errors = errors_before(unit, leases).await?;
    let mut found = HashMap::with_capacity(leases.len());
    let mut specs = SpecReader::default();
    for lease in leases {
        let job = lease.fence.job;
        let Some(mut row) = rows.remove(&job) else { continue };
        let leased = LeasedJob {
            lease: lease.clone(),
            create_time: Time(row.int()?),
            request: row.payload()?,
            spec: specs.read(&mut row)?,
            checkpoint: checkpoints.remove(&(job, lease.run)),
            last_error: errors.remove(&job),
            parents: Vec::new(),
        };
        found.insert(job, leased);
    }
    Ok(found)
}

async fn read_contents(unit: &mut Unit<'_>, place: Place, mut jobs: Vec<JobId>) -> Try<Vec<Columns>> {
    jobs.sort_unstable();
    match Ids::of(&jobs) {
        Ids::InARow(first, last) => unit.fetch(Sql::ReadContentsBetween, place, values![first, last]).await,
        Ids::Scattered(jobs) => unit.fetch_each(Sql::ReadContents, place, jobs, ids).await,
    }
}

async fn read_checkpoints(
    unit: &mut Unit<'_>,
    leases: &[Lease],
) -> Try<HashMap<(JobId, Run), (i64, Payload)>> {
    let has_progress = |lease: &&Lease| lease.flags.has(LeaseFlags::PROGRESS);
    let jobs: Vec<JobId> = leases.iter().filter(has_progress).map(|lease| lease.fence.job).collect();
    let mut checkpoints = HashMap::new();
    for mut row in unit.fetch_each(Sql::ReadCheckpoints, Place::Fixed, &jobs, ids).await? {
        let key = (JobId(row.int()?), Run(row.small()?));
        let sequence = row.int()?;
        let checkpoint = row.payload()?;
        if sequence >= 0 {
            checkpoints.insert(key, (sequence, checkpoint));
        }
    }
    Ok(checkpoints)
}

async fn acknowledge(unit: &mut Unit<'_>, received: &[(LoopKey, i64)]) -> Try<()> {
    let raise = |chunk: &[(LoopKey, i64)]| {
        let row =
            |((session, claim_loop), sequence): &(LoopKey, i64)| values![*session, *claim_loop, *sequence];
        let rows: Vec<Value> = chunk.iter().flat_map(row).collect();
        [rows.clone(), rows].concat()
    };
    unit.execute_each(Sql::Acknowledge, Place::Fixed, received, raise).await?;
    Ok(())
}
