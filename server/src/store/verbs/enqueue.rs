//! Storing new jobs: keys first, then handoffs, then everything else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{
    Ending, Event, Fence, Job, JobId, Lease, LeaseFlags, Spec, Time, Turn, Wait, limits, micros,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{LeaseRow, ReadyRow, SpecWriter, job_values, size_of, wait_of};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Value, key, values};
use crate::store::verbs::STRETCH_MIN;
use crate::store::verbs::batch::insert_batches;
use crate::store::verbs::claim::{LoopKey, lock_loops};
use crate::store::verbs::family::{Family, cancelled_by_parent};
use crate::store::verbs::finish::{insert_outcomes, label_endings};
use crate::store::verbs::follow::{Over, by_month, follow};
use crate::store::verbs::lane::{Lanes, place_of, wake_of};
use crate::store::{ClaimTicket, Enqueued, Handoff, LabelKind, NewJob, RefKey, Result, StoreError, Wake};

/// A ref id that begins so, and then with the job's id, was made by the engine and needs no row to be unique. Those of
/// recurring tasks begin so too, and are keys like any other.
const GENERATED: char = '~';

fn is_generated(ref_id: &str) -> bool {
    ref_id.strip_prefix(GENERATED).is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

impl SqlStore {
    pub(crate) async fn enqueue(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)> {
        if jobs.is_empty() {
            return Ok(Default::default());
        }
        transact!(self.engine, Class::Enqueue, |unit| store_jobs(self, unit, jobs, OnTaken::LeaveOut))
    }

    pub(crate) async fn enqueue_all(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)> {
        if jobs.is_empty() {
            return Ok(Default::default());
        }
        transact!(self.engine, Class::Enqueue, |unit| store_all(self, unit, jobs))
    }

    pub(crate) async fn was_enqueued(&self, job: &Job) -> Result<bool> {
        transact!(self.engine, Class::Enqueue, |unit| is_stored(unit, job))
    }

    pub(crate) async fn find_ref(&self, ref_key: RefKey<'_>) -> Result<Option<JobId>> {
        let text = match ref_key {
            RefKey::Ref(id) if is_generated(id) => return Ok(None),
            RefKey::Ref(id) => ref_text(id),
            RefKey::Request(id) => request_text(id),
        };
        let holders = read!(self.engine, |unit| read_holders(unit, std::slice::from_ref(&text)))?;
        Ok(holders.get(&text).copied())
    }

    pub(crate) async fn forget_requests(
        &self,
        after: Option<Vec<u8>>,
        limit: i64,
    ) -> Result<Option<Vec<u8>>> {
        let after = after.unwrap_or_else(|| b"q".to_vec());
        transact!(self.engine, Class::Enqueue, |unit| forget_stretch(unit, &after, limit))
    }
}

fn ref_text(id: &str) -> String {
    format!("r{id}")
}

fn request_text(id: &str) -> String {
    format!("q{id}")
}

/// The keys that a job takes, each with how long it is remembered.
pub(super) fn keys_of(job: &Job) -> Vec<(String, Time)> {
    let Spec { ref_id, request_id, .. } = &*job.spec;
    let mut keys = Vec::new();
    if !request_id.is_empty() {
        keys.push((request_text(request_id), job.create_time.plus(limits::REQUEST_ID_LIFE)));
    }
    if !ref_id.is_empty() && !is_generated(ref_id) {
        keys.push((ref_text(ref_id), Time::NEVER));
    }
    keys
}

/// What is to become of keys that are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnTaken {
    /// Their jobs are left out.
    LeaveOut,
    /// Nothing is stored.
    RollBack,
}

/// Stores jobs together with whatever else this transaction does: all of them, or [`StoreError::Taken`].
pub(super) async fn store_all(
    store: &SqlStore,
    unit: &mut Unit<'_>,
    jobs: &[NewJob],
) -> Try<(Vec<Enqueued>, Wake)> {
    store_jobs(store, unit, jobs, OnTaken::RollBack).await
}

async fn store_jobs(
    store: &SqlStore,
    unit: &mut Unit<'_>,
    jobs: &[NewJob],
    on_taken: OnTaken,
) -> Try<(Vec<Enqueued>, Wake)> {
    let losers = take_keys(unit, jobs).await?;
    if on_taken == OnTaken::RollBack && !losers.is_empty() {
        let taken =
            jobs.iter().enumerate().filter_map(|(at, new)| Some((at, losers.get(&new.job.id)?.clone())));
        return Err(Fault::Store(StoreError::Taken(taken.collect())));
    }
    let winners: Vec<&NewJob> = jobs.iter().filter(|new| !losers.contains_key(&new.job.id)).collect();
    let accepted = take_loops(unit, &winners).await?;
    let is_leased = |new: &NewJob| new.handoff.is_some_and(|handoff| accepted.contains(&handoff.ticket));
    let (leased, waiting): (Vec<&NewJob>, Vec<&NewJob>) =
        winners.iter().copied().partition(|new| is_leased(new));
    let placed = place(store, unit, &waiting).await?;
    insert_jobs(unit, &winners, &placed.rows).await?;
    insert_ready(unit, &waiting, &placed.rows).await?;
    insert_leases(unit, &leased).await?;
    for new in &winners {
        unit.note(new.job.create_time, Event::Enqueued { route: new.job.ready.route });
    }
    for handoff in leased.iter().filter_map(|new| new.handoff) {
        unit.note(handoff.start_time, Event::Started { waited: Duration::ZERO });
    }
    unit.insert(Sql::InsertEdges, Place::Fixed, placed.edges).await?;
    let followed = end_the_doomed(unit, &waiting, &placed.doomed).await?;
    let mut passed_on = Vec::new();
    if let Some(lanes) = placed.lanes {
        passed_on = lanes.close(unit, placed.now).await?;
    }
    let answer = |new: &NewJob| {
        let id = new.job.id;
        match (losers.get(&id), placed.rows.get(&id)) {
            (Some(lost), _) => lost.clone(),
            (None, Some(row)) => match wait_of(row.key.route, row.lane) {
                Wait::Worker if row.key.route == row.home.0 => Enqueued::Ready,
                wait => Enqueued::Waiting(wait),
            },
            (None, None) if is_leased(new) => Enqueued::Leased,
            (None, None) => Enqueued::Cancelled,
        }
    };
    let stored: Vec<ReadyRow> = placed.rows.values().cloned().chain(passed_on).collect();
    Ok((jobs.iter().map(answer).collect(), wake_of(&stored).and(followed)))
}

/// Where new jobs go.
struct Placed {
    now: Time,
    /// Their ready rows; the doomed have none.
    rows: BTreeMap<JobId, ReadyRow>,
    edges: Vec<Vec<Value>>,
    doomed: BTreeMap<JobId, (JobId, Ending)>,
    lanes: Option<Lanes>,
}

/// Decides where jobs wait. A plain batch touches nothing for it.
async fn place(store: &SqlStore, unit: &mut Unit<'_>, jobs: &[&NewJob]) -> Try<Placed> {
    let first_row = |new: &&NewJob| {
        let expire_time = new.job.spec.expire_time.unwrap_or(Time::NEVER);
        (new.job.id, ReadyRow::first(&new.job, Turn::default(), expire_time, new.lane))
    };
    let mut rows: BTreeMap<JobId, ReadyRow> = jobs.iter().map(first_row).collect();
    let mut placed = Placed {
        now: Time(0),
        rows: BTreeMap::new(),
        edges: Vec::new(),
        doomed: BTreeMap::new(),
        lanes: None,
    };
    let mut family = None;
    if jobs.iter().any(|new| !new.parents.is_empty() || new.doomed_by.is_some()) {
        let met = Family::meet(store, unit, jobs).await?;
        for (child, waits) in &met.waits {
            rows.entry(*child).and_modify(|row| *row = row.clone().behind_parents());
            for parent in waits.iter().map(|wait| wait.parent) {
                rows.entry(parent).and_modify(|row| row.flags.0 |= LeaseFlags::CHILDREN);
            }
        }
        rows.retain(|job, _| !met.doomed.contains_key(job));
        family = Some(met);
    }
    if rows.values().any(|row| row.lane.is_some()) {
        placed.now = unit.now().await?;
        let entering = |row: &&mut ReadyRow| !row.waits_for_parents();
        let mut lanes = Lanes::lock(unit, rows.values().filter_map(|row| row.lane)).await?;
        for row in rows.values_mut().filter(entering) {
            *row = lanes.enter(row.clone(), place_of(row.key.job), placed.now);
        }
        placed.lanes = Some(lanes);
    }
    if let Some(family) = family {
        family.flag_parents(unit).await?;
        placed.edges = family.edges();
        placed.doomed = family.doomed;
    }
    placed.rows = rows;
    Ok(placed)
}

/// Stores the outcomes of jobs that a parent doomed before they were stored.
async fn end_the_doomed(
    unit: &mut Unit<'_>,
    jobs: &[&NewJob],
    doomed: &BTreeMap<JobId, (JobId, Ending)>,
) -> Try<Wake> {
    if doomed.is_empty() {
        return Ok(Wake::default());
    }
    let now = unit.now().await?;
    let mut followed = Wake::default();
    for new in jobs {
        let Some((parent, ending)) = doomed.get(&new.job.id) else { continue };
        let outcome = cancelled_by_parent(&new.job, Turn::default(), now, (*parent, *ending));
        insert_outcomes(unit, new.job.month, std::slice::from_ref(&outcome)).await?;
        unit.note(now, Event::cancelled(new.job.id, new.job.ready.route, new.lane));
        label_endings(unit, new.job.month, std::slice::from_ref(&outcome)).await?;
        let over =
            Over { outcome: &outcome, flags: LeaseFlags::of(&new.job.spec), spec: Some(&new.job.spec) };
        followed.add(follow(unit, &[over]).await?);
    }
    Ok(followed)
}

/// Takes the keys of all members, in order; answers the members that lost to a job that was there before, or to a
/// member before them.
async fn take_keys(unit: &mut Unit<'_>, jobs: &[NewJob]) -> Try<HashMap<JobId, Enqueued>> {
    let wanted = first_claimants(jobs);
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = wanted.iter().map(|(text, (job, expire))| values![key(text), *job, *expire]);
    let stored = if unit.may_hold_back(wanted.len()) {
        unit.store(Sql::InsertNewRefs, Place::Fixed, rows.map(Ok)).await?;
        wanted.len() as u64
    } else {
        unit.insert(Sql::InsertRefs, Place::Fixed, rows.collect()).await?
    };
    let mut holders = HashMap::new();
    if stored < wanted.len() as u64 {
        let texts: Vec<String> = wanted.keys().cloned().collect();
        holders = read_holders(unit, &texts).await?;
        holders.retain(|text, holder| wanted.get(text).is_none_or(|(claimant, _)| claimant != holder));
    }
    let losers = settle_keys(jobs, &mut holders);
    if !losers.is_empty() {
        let ours: BTreeSet<JobId> = jobs.iter().map(|new| new.job.id).collect();
        move_keys(unit, &wanted, &holders, &ours).await?;
    }
    Ok(losers)
}

/// Each key with the first member that wants it.
fn first_claimants(jobs: &[NewJob]) -> BTreeMap<String, (JobId, Time)> {
    let mut wanted = BTreeMap::new();
    for new in jobs {
        for (text, expire_time) in keys_of(&new.job) {
            wanted.entry(text).or_insert((new.job.id, expire_time));
        }
    }
    wanted
}

/// Goes through the members in order: who finds a key taken is out, who does not takes its keys.
fn settle_keys(jobs: &[NewJob], holders: &mut HashMap<String, JobId>) -> HashMap<JobId, Enqueued> {
    let mut losers = HashMap::new();
    for new in jobs {
        let keys = keys_of(&new.job);
        let lost = keys.iter().find_map(|(text, _)| holders.get(text).map(|holder| (text, *holder)));
        match lost {
            Some((text, holder)) if text.starts_with('q') => {
                losers.insert(new.job.id, Enqueued::SameRequest(holder));
            }
            Some((_, holder)) => {
                losers.insert(new.job.id, Enqueued::SameRef(holder));
            }
            None => holders.extend(keys.into_iter().map(|(text, _)| (text, new.job.id))),
        }
    }
    losers
}

/// Keys that were stored for a member that lost by its other key go to the member that has them now, or away.
async fn move_keys(
    unit: &mut Unit<'_>,
    wanted: &BTreeMap<String, (JobId, Time)>,
    holders: &HashMap<String, JobId>,
    ours: &BTreeSet<JobId>,
) -> Try<()> {
    let is_wrong = |text: &str, claimant: JobId| holders.get(text) != Some(&claimant);
    let wrong: Vec<(&String, &(JobId, Time))> =
        wanted.iter().filter(|(text, (claimant, _))| is_wrong(text, *claimant)).collect();
    let guards = |chunk: &[(&String, &(JobId, Time))]| {
        chunk.iter().flat_map(|(text, (claimant, _))| [key(text), Value::from(*claimant)]).collect()
    };
    unit.execute_each(Sql::DeleteRefs, Place::Fixed, &wrong, guards).await?;
    let moved = wrong.iter().filter_map(|(text, (_, expire))| {
        let holder = holders.get(*text).filter(|holder| ours.contains(holder))?;
        Some(values![key(text), *holder, *expire])
    });
    unit.insert(Sql::InsertRefs, Place::Fixed, moved.collect()).await?;
    Ok(())
}

async fn read_holders(unit: &mut Unit<'_>, texts: &[String]) -> Try<HashMap<String, JobId>> {
    let by_key = |texts: &[String]| texts.iter().map(|text| key(text)).collect();
    let rows = unit.fetch_each(Sql::ReadRefs, Place::Fixed, texts, by_key).await?;
    rows.into_iter().map(|mut row| Ok((row.text()?, JobId(row.int()?)))).collect()
}

/// The job that a request id was used for, if it was.
pub(super) async fn holder_of_request(unit: &mut Unit<'_>, request_id: &str) -> Try<Option<JobId>> {
    if request_id.is_empty() {
        return Ok(None);
    }
    let text = request_text(request_id);
    Ok(read_holders(unit, std::slice::from_ref(&text)).await?.get(&text).copied())
}

/// Remembers what a request id was used for.
pub(super) async fn keep_request(unit: &mut Unit<'_>, request_id: &str, job: JobId, now: Time) -> Try<()> {
    if request_id.is_empty() {
        return Ok(());
    }
    let row = values![key(&request_text(request_id)), job, now.plus(limits::REQUEST_ID_LIFE)];
    match unit.insert(Sql::InsertRefs, Place::Fixed, vec![row]).await? {
        1 => Ok(()),
        _ => Err(Fault::raced("request id")),
    }
}

/// Stores the sequences of the claims that wait; answers those that still take what they are handed.
async fn take_loops(unit: &mut Unit<'_>, jobs: &[&NewJob]) -> Try<BTreeSet<ClaimTicket>> {
    let tickets: BTreeSet<ClaimTicket> = jobs.iter().filter_map(|new| Some(new.handoff?.ticket)).collect();
    let tickets: Vec<ClaimTicket> = tickets.into_iter().collect();
    let loops = lock_loops(unit, &tickets).await?;
    let takes = |ticket: &&ClaimTicket| {
        loops.get(&(ticket.session, ticket.claim_loop)).is_some_and(|state| state.sequence < ticket.sequence)
    };
    let taking = tickets.iter().filter(takes).map(|ticket| ((ticket.session, ticket.claim_loop), *ticket));
    // A loop serves one call: of two in one batch the higher, which ended the lower.
    let by_loop: BTreeMap<LoopKey, ClaimTicket> = taking.collect();
    let accepted: Vec<ClaimTicket> = by_loop.into_values().collect();
    move_loops(unit, &accepted).await?;
    Ok(accepted.into_iter().collect())
}

/// Stores the sequences of claims that lease something.
pub(super) async fn move_loops(unit: &mut Unit<'_>, tickets: &[ClaimTicket]) -> Try<()> {
    let raise = |chunk: &[ClaimTicket]| {
        let row = |ticket: &ClaimTicket| values![ticket.session, ticket.claim_loop, ticket.sequence];
        let rows: Vec<Value> = chunk.iter().flat_map(row).collect();
        [rows.clone(), rows].concat()
    };
    if unit.execute_each(Sql::MoveLoops, Place::Fixed, tickets, raise).await? != tickets.len() as u64 {
        return Err(Fault::raced("claim loops"));
    }
    Ok(())
}

/// Stores the jobs themselves, which remember where their ready rows stand.
async fn insert_jobs(unit: &mut Unit<'_>, jobs: &[&NewJob], ready: &BTreeMap<JobId, ReadyRow>) -> Try<()> {
    for (month, jobs) in by_month(jobs.iter().map(|new| (new.job.month, &new.job))) {
        let place = |job: &Job| ready.get(&job.id).map_or(job.ready, |row| row.key);
        let mut specs = SpecWriter::default();
        let rows = jobs.iter().map(|job| job_values(job, place(job), &mut specs));
        match unit.store(Sql::InsertJobs, Place::Month(month), rows).await {
            Err(Fault::Duplicate(_)) => return Err(Fault::Store(StoreError::IdTaken)),
            stored => stored?,
        };
        let labels = jobs.iter().flat_map(|job| labels_of(job)).collect();
        unit.insert(Sql::InsertLabels, Place::Month(month), labels).await?;
        insert_batches(unit, month, &jobs).await?;
    }
    Ok(())
}

pub(super) fn labels_of(job: &Job) -> impl Iterator<Item = Vec<Value>> + use<> {
    let (spec, id) = (&job.spec, job.id);
    let mut labels: Vec<(LabelKind, String)> = Vec::new();
    let mut put = |kind, value: &str| {
        if !value.is_empty() {
            labels.push((kind, value.to_owned()));
        }
    };
    put(LabelKind::Tag, &spec.tag);
    put(LabelKind::User, &spec.user_id);
    put(LabelKind::CreatedBy, &spec.created_by);
    put(LabelKind::Parent, &spec.parent_id.map(|parent| parent.to_string()).unwrap_or_default());
    put(LabelKind::Worker, &spec.worker.name);
    put(LabelKind::Task, spec.task.as_ref().map_or("", |run| &run.name));
    for on in &spec.depends_on {
        put(LabelKind::DependsOn, &on.parent.to_string());
    }
    labels.into_iter().map(move |(kind, value)| values![kind.code(), key(&value), id])
}

/// Puts jobs where claims find them. Where many in a row are alike the database makes their ready rows out of the job rows.
async fn insert_ready(unit: &mut Unit<'_>, jobs: &[&NewJob], ready: &BTreeMap<JobId, ReadyRow>) -> Try<()> {
    let placed: Vec<(&NewJob, &ReadyRow)> =
        jobs.iter().filter_map(|new| Some((*new, ready.get(&new.job.id)?))).collect();
    let (stretches, others): (Vec<_>, Vec<_>) =
        placed.chunk_by(is_like_the_next).partition(|part| part.len() >= STRETCH_MIN);
    for part in stretches {
        ready_stored(unit, part).await?;
    }
    let rows: Vec<&ReadyRow> = others.into_iter().flatten().map(|(_, row)| *row).collect();
    unit.store(Sql::InsertReady, Place::Fixed, rows.into_iter().map(|row| Ok(row.values()))).await?;
    let lives = |new: &&&NewJob| ready.contains_key(&new.job.id);
    let expiring =
        jobs.iter().filter(lives).filter_map(|new| Some(values![new.job.spec.expire_time?, new.job.id]));
    unit.insert(Sql::InsertExpiries, Place::Fixed, expiring.collect()).await?;
    Ok(())
}

/// Do two jobs stand in a row, each at home, and differ in nothing but what their own rows say?
fn is_like_the_next((one, row): &(&NewJob, &ReadyRow), (next, next_row): &(&NewJob, &ReadyRow)) -> bool {
    let is_at_home = |row: &ReadyRow| row.lane.is_none() && row.home == (row.key.route, row.key.priority);
    let rest = |new: &NewJob, row: &ReadyRow| {
        (row.month, row.turn, row.timeout, beside_request(new, row), row.expire_time, row.flags)
    };
    next.job.id.0 == one.job.id.0 + 1
        && is_at_home(row)
        && is_at_home(next_row)
        && rest(one, row) == rest(next, next_row)
}

fn beside_request(new: &NewJob, row: &ReadyRow) -> i64 {
    row.size - i64::try_from(new.job.request.len()).unwrap_or_default()
}

async fn ready_stored(unit: &mut Unit<'_>, part: &[(&NewJob, &ReadyRow)]) -> Try<()> {
    let [(first, row), .., (last, _)] = part else { return Ok(()) };
    let bound = values![
        row.month,
        row.turn.epoch,
        row.turn.attempt,
        row.turn.crashes,
        row.turn.unacknowledged,
        row.timeout,
        beside_request(first, row),
        row.expire_time,
        row.flags.0,
        first.job.id,
        last.job.id,
    ];
    if unit.execute(Sql::ReadyStored, Place::Month(row.month), bound).await? != part.len() as u64 {
        return Err(Fault::other("jobs that were stored a moment ago are missing"));
    }
    Ok(())
}

async fn insert_leases(unit: &mut Unit<'_>, jobs: &[&NewJob]) -> Try<()> {
    let lease = |new: &&NewJob| Some(first_lease(&new.job, new.handoff?));
    unit.give_out(jobs.iter().filter_map(lease).collect()).await
}

fn first_lease(job: &Job, handoff: Handoff) -> LeaseRow {
    let Handoff { ticket, epoch, nonce, start_time, deadline } = handoff;
    let lease = Lease {
        fence: Fence { job: job.id, epoch, nonce },
        month: job.month,
        run: job.run,
        route: job.ready.route,
        priority: job.ready.priority,
        lane: None,
        session: ticket.session,
        claim_loop: ticket.claim_loop,
        claim: ticket.sequence,
        turn: Turn { epoch, attempt: 1, crashes: 0, unacknowledged: 0 },
        start_time,
        deadline,
        flags: LeaseFlags::of(&job.spec),
        log_sequence: 0,
    };
    LeaseRow { lease, timeout: micros(job.spec.timeout), size: size_of(job) }
}

async fn is_stored(unit: &mut Unit<'_>, job: &Job) -> Try<bool> {
    let row = unit.fetch_one(Sql::LockJobDigest, Place::Month(job.month), values![job.id]).await?;
    match row {
        Some(mut row) => Ok(row.bytes_16()? == job.digest),
        None => Ok(false),
    }
}

/// Forgets old request ids in one stretch of keys; answers where the next begins, if there is one.
async fn forget_stretch(unit: &mut Unit<'_>, after: &[u8], limit: i64) -> Try<Option<Vec<u8>>> {
    let now = unit.now().await?;
    let rows = unit.fetch(Sql::ReadRequests, Place::Fixed, values![after.to_vec(), key("r"), limit]).await?;
    let is_last = (rows.len() as i64) < limit;
    let mut last = None;
    let mut old = Vec::new();
    for mut row in rows {
        let (text, job, expire_time) = (row.bytes()?, row.int()?, Time(row.int()?));
        last = Some(text.to_vec());
        if expire_time < now {
            old.push((text, job));
        }
    }
    let guards = |chunk: &[(bytes::Bytes, i64)]| {
        chunk.iter().flat_map(|(text, job)| [Value::from(text.clone()), Value::from(*job)]).collect()
    };
    unit.execute_each(Sql::DeleteRefs, Place::Fixed, &old, guards).await?;
    Ok(last.filter(|_| !is_last))
}
