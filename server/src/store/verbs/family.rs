//! Parents and children: who waits for whose end, and what the end of a run means for those who wait.
//!
//! A child that waits has its ready row where nobody claims, and an edge to each parent. The parent's lease or ready row
//! carries a flag that it has children, so that the end of a plain job looks nowhere. A run that ends with children
//! notes so in its own transaction (`job_ended`); the children are told right after, some at a time, each transaction
//! repeatable: a crash between two of them costs time, never a child.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{
    CancelReason, Cancelled, Condition, Dependency, Ending, Event, Job, JobId, LeaseFlags, Month, ReadyKey,
    Run, Time, Turn, limits,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{Detail, OutcomeRow, ReadyRow, read_job, read_outcome};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Value, values};
use crate::store::verbs::finish::{insert_outcomes, label_endings, lock_leases};
use crate::store::verbs::follow::{Over, Pending, by_month, follow};
use crate::store::verbs::ids;
use crate::store::verbs::lane::{Lanes, delete_ready, lock_ready_rows, move_rows, place_of, wake_of};
use crate::store::verbs::report::flag_leases;
use crate::store::{NewJob, OnLocked, Result, Settled, StoreError, Wake};

/// Children that are told in one transaction.
const CHILDREN_AT_ONCE: i64 = 200;

/// New jobs and their parents.
pub(super) struct Family {
    /// What each child must wait for.
    pub(super) waits: BTreeMap<JobId, Vec<Dependency>>,
    /// Children that will never start, with the parent that ended otherwise than asked.
    pub(super) doomed: BTreeMap<JobId, (JobId, Ending)>,
    /// Ready rows of parents that must be flagged, once lanes are locked.
    waiting_parents: Vec<ReadyKey>,
}

impl Family {
    /// Locks the parents of new jobs and finds out which of them have ended.
    pub(super) async fn meet(store: &SqlStore, unit: &mut Unit<'_>, jobs: &[&NewJob]) -> Try<Family> {
        let ours: BTreeSet<JobId> = jobs.iter().map(|new| new.job.id).collect();
        let parents = jobs.iter().flat_map(|new| new.parents.iter().map(|dependency| dependency.parent));
        let outside: BTreeSet<JobId> = parents.filter(|parent| !ours.contains(parent)).collect();
        let met = store.meet_outside(unit, &outside).await?;
        let doomed = doom(jobs, &met.ended);
        let waits = waits_of(jobs, &met.ended, &doomed);
        check_children(unit, &outside, &waits).await?;
        Ok(Family { waits, doomed, waiting_parents: met.waiting })
    }

    /// As [`Family::meet`], for a job that exists and is to wait again.
    pub(super) async fn meet_again(
        store: &SqlStore,
        unit: &mut Unit<'_>,
        job: JobId,
        waits: &[Dependency],
    ) -> Try<Family> {
        if waits.is_empty() {
            return Ok(Family {
                waits: BTreeMap::new(),
                doomed: BTreeMap::new(),
                waiting_parents: Vec::new(),
            });
        }
        let outside: BTreeSet<JobId> = waits.iter().map(|wait| wait.parent).collect();
        let met = store.meet_outside(unit, &outside).await?;
        let lives = |wait: &&Dependency| !met.ended.contains_key(&wait.parent);
        let left: Vec<Dependency> = waits.iter().filter(lives).copied().collect();
        let unmet = waits.iter().find_map(|wait| {
            let ending = met.ended.get(&wait.parent)?;
            (!wait.condition.is_met_by(*ending)).then_some((wait.parent, *ending))
        });
        let waits: BTreeMap<JobId, Vec<Dependency>> =
            Some((job, left)).into_iter().filter(|(_, left)| !left.is_empty()).collect();
        check_children(unit, &outside, &waits).await?;
        let doomed = unmet.map(|by| (job, by)).into_iter().collect();
        Ok(Family { waits, doomed, waiting_parents: met.waiting })
    }

    /// Notes on parents that wait that they have children.
    pub(super) async fn flag_parents(&self, unit: &mut Unit<'_>) -> Try<()> {
        let rows = lock_ready_rows(unit, &self.waiting_parents).await?;
        if rows.len() < self.waiting_parents.len() {
            return Err(Fault::raced("a parent was claimed while its child was stored"));
        }
        for row in rows.iter().filter(|row| !row.flags.has(LeaseFlags::CHILDREN)) {
            let ReadyKey { route, priority, ready_time, job } = row.key;
            let bound = values![LeaseFlags::CHILDREN, route, priority, ready_time, job];
            if unit.execute(Sql::FlagReady, Place::Fixed, bound).await? != 1 {
                return Err(Fault::raced("ready row of a parent"));
            }
        }
        Ok(())
    }

    /// The rows that let children wait.
    pub(super) fn edges(&self) -> Vec<Vec<Value>> {
        let edges = self.waits.iter().flat_map(|(child, waits)| waits.iter().map(move |wait| (wait, *child)));
        let mut edges: Vec<(JobId, JobId, Condition)> =
            edges.map(|(wait, child)| (wait.parent, child, wait.condition)).collect();
        edges.sort_unstable_by_key(|(parent, child, _)| (*parent, *child));
        edges.into_iter().map(|(parent, child, condition)| values![parent, child, condition.code()]).collect()
    }
}

/// Children that will never start: those of parents that ended otherwise than asked, and theirs in turn.
fn doom(jobs: &[&NewJob], ended: &HashMap<JobId, Ending>) -> BTreeMap<JobId, (JobId, Ending)> {
    let mut children: HashMap<JobId, Vec<(JobId, Condition)>> = HashMap::new();
    for new in jobs {
        for Dependency { parent, condition } in &new.parents {
            children.entry(*parent).or_default().push((new.job.id, *condition));
        }
    }
    let mut doomed: BTreeMap<JobId, (JobId, Ending)> =
        jobs.iter().filter_map(|new| Some((new.job.id, new.doomed_by?))).collect();
    let mut over: Vec<(JobId, Ending)> = ended.iter().map(|(job, ending)| (*job, *ending)).collect();
    over.extend(doomed.keys().map(|job| (*job, Ending::Cancelled)));
    over.sort_unstable_by_key(|(job, _)| *job);
    while let Some((parent, ending)) = over.pop() {
        for (child, condition) in children.get(&parent).into_iter().flatten() {
            if !condition.is_met_by(ending) && !doomed.contains_key(child) {
                doomed.insert(*child, (parent, ending));
                over.push((*child, Ending::Cancelled));
            }
        }
    }
    doomed
}

fn waits_of(
    jobs: &[&NewJob],
    ended: &HashMap<JobId, Ending>,
    doomed: &BTreeMap<JobId, (JobId, Ending)>,
) -> BTreeMap<JobId, Vec<Dependency>> {
    let lives = |parent: &JobId| !ended.contains_key(parent) && !doomed.contains_key(parent);
    let waits = jobs.iter().filter(|new| !doomed.contains_key(&new.job.id)).map(|new| {
        let waits = new.parents.iter().filter(|wait| lives(&wait.parent)).copied().collect::<Vec<_>>();
        (new.job.id, waits)
    });
    waits.filter(|(_, waits)| !waits.is_empty()).collect()
}

/// Refuses more children of one parent than are allowed.
async fn check_children(
    unit: &mut Unit<'_>,
    outside: &BTreeSet<JobId>,
    waits: &BTreeMap<JobId, Vec<Dependency>>,
) -> Try<()> {
    let mut new: BTreeMap<JobId, i64> = BTreeMap::new();
    waits.values().flatten().for_each(|wait| *new.entry(wait.parent).or_default() += 1);
    for (parent, more) in new {
        let mut count = more;
        if outside.contains(&parent) {
            let bound = values![parent, limits::CHILDREN_MAX + 1];
            let row = unit.fetch_one(Sql::CountChildren, Place::Fixed, bound).await?;
            count += row.map_or(Ok(0), |mut row| row.int())?;
        }
        if count > limits::CHILDREN_MAX {
            return Err(Fault::Store(StoreError::TooManyChildren(parent)));
        }
    }
    Ok(())
}

/// Parents that were stored before.
struct Met {
    ended: HashMap<JobId, Ending>,
    /// Where those stand that have not started.
    waiting: Vec<ReadyKey>,
}

impl SqlStore {
    /// Locks parents: a lease is flagged at once, so that its end sees the child; of the others it is told whether they
    /// have ended or where they wait.
    async fn meet_outside(&self, unit: &mut Unit<'_>, parents: &BTreeSet<JobId>) -> Try<Met> {
        let (held, _) = lock_leases(unit, parents.iter().copied(), OnLocked::Wait).await?;
        let mut leased: Vec<JobId> = held.keys().copied().collect();
        leased.sort_unstable();
        flag_leases(unit, &leased, LeaseFlags::CHILDREN).await?;
        let rest: Vec<JobId> = parents.iter().filter(|parent| !held.contains_key(parent)).copied().collect();
        let mut met = Met { ended: HashMap::new(), waiting: Vec::new() };
        let jobs = self.lock_jobs(unit, &rest).await?;
        if jobs.len() < rest.len() {
            return Err(Fault::raced("a parent's month was moved away while its child was stored"));
        }
        for job in jobs {
            match ending_of(unit, &job).await? {
                Some(ending) => drop(met.ended.insert(job.id, ending)),
                None => met.waiting.push(job.ready),
            }
        }
        Ok(met)
    }

    /// Locks the rows of jobs in ascending order; those that are nowhere here are left out.
    pub(super) async fn lock_jobs(&self, unit: &mut Unit<'_>, jobs: &[JobId]) -> Try<Vec<Job>> {
        let mut months = Vec::with_capacity(jobs.len());
        for job in jobs {
            if let Some(row) = self.month_within(unit, *job).await? {
                months.push((row.month, *job));
            }
        }
        let mut locked = Vec::with_capacity(jobs.len());
        for (month, jobs) in by_month(months) {
            for mut row in unit.fetch_each(Sql::LockJobs, Place::Month(month), &jobs, ids).await? {
                locked.push(read_job(&mut row, month)?);
            }
        }
        Ok(locked)
    }

    pub(crate) async fn waiting_for(&self, job: JobId) -> Result<Vec<JobId>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch(Sql::ReadParents, Place::Fixed, values![job]).await?;
            rows.into_iter().map(|mut row| Ok(JobId(row.int()?))).collect()
        })
    }

    pub(crate) async fn settle(&self) -> Result<Option<Settled>> {
        transact!(self.engine, Class::Vital, |unit| self.settle_one(unit))
    }

    async fn settle_one(&self, unit: &mut Unit<'_>) -> Try<Option<Settled>> {
        let Some(mut row) = unit.fetch_one(Sql::LockEnded, Place::Fixed, Vec::new()).await? else {
            return Ok(None);
        };
        let end = End {
            job: JobId(row.int()?),
            run: Run(row.small()?),
            ending: row.coded(Ending::from_code)?,
            callback_of: (JobId(row.int()?), Run(row.small()?)),
        };
        let mut settled = Settled::default();
        if end.callback_of.0 != JobId(0) {
            self.end_callback(unit, &end).await?;
            settled.changed.push(end.callback_of.0);
        }
        let children = read_children(unit, end.job).await?;
        self.tell_children(unit, &end, &children, &mut settled).await?;
        if (children.len() as i64) < CHILDREN_AT_ONCE
            && unit.execute(Sql::DeleteEnded, Place::Fixed, values![end.job, end.run]).await? != 1
        {
            return Err(Fault::raced("ended run"));
        }
        Ok(Some(settled))
    }

    /// Children whose last parent this was may go on; those who asked for another ending are cancelled, and theirs in
    /// turn by the note that their own end leaves.
    async fn tell_children(
        &self,
        unit: &mut Unit<'_>,
        end: &End,
        children: &[(JobId, Condition)],
        settled: &mut Settled,
    ) -> Try<()> {
        if children.is_empty() {
            return Ok(());
        }
        let all: Vec<JobId> = children.iter().map(|(child, _)| *child).collect();
        let jobs: BTreeMap<JobId, Job> =
            self.lock_jobs(unit, &all).await?.into_iter().map(|job| (job.id, job)).collect();
        delete_edges(unit, &all.iter().map(|child| (end.job, *child)).collect::<Vec<_>>()).await?;
        let (met, unmet): (Vec<_>, Vec<_>) =
            children.iter().partition(|(_, condition)| condition.is_met_by(end.ending));
        let free = without_parents(unit, met.into_iter().map(|(child, _)| child)).await?;
        let doomed: BTreeSet<JobId> = unmet.into_iter().map(|(child, _)| child).collect();
        for child in &doomed {
            let rows = unit.fetch(Sql::ReadParents, Place::Fixed, values![*child]).await?;
            let left = rows.into_iter().map(|mut row| Ok((JobId(row.int()?), *child)));
            delete_edges(unit, &left.collect::<Try<Vec<_>>>()?).await?;
        }
        let concerned = |job: &&Job| free.contains(&job.id) || doomed.contains(&job.id);
        let keys: Vec<ReadyKey> = jobs.values().filter(concerned).map(|job| job.ready).collect();
        let rows = lock_ready_rows(unit, &keys).await?;
        if rows.len() < keys.len() || rows.iter().any(|row| !row.waits_for_parents()) {
            return Err(Fault::raced("a child did not wait"));
        }
        let now = unit.now().await?;
        let (going, ending): (Vec<ReadyRow>, Vec<ReadyRow>) =
            rows.into_iter().partition(|row| free.contains(&row.key.job));
        settled.changed.extend(going.iter().chain(&ending).map(|row| row.key.job));
        settled.wake.add(wake_of(&let_go(unit, going, now).await?));
        for row in &ending {
            let Some(job) = jobs.get(&row.key.job) else { continue };
            settled.wake.add(cancel_child(unit, job, row, (end.job, end.ending), now).await?);
        }
        delete_ready(unit, &ending).await
    }

    /// A callback has ended: the job that it belongs to may be through with everything.
    async fn end_callback(&self, unit: &mut Unit<'_>, end: &End) -> Try<()> {
        let (of, run) = end.callback_of;
        let error = match end.ending {
            Ending::Executed | Ending::Completed => String::new(),
            Ending::Failed | Ending::Cancelled => self.why(unit, end).await?,
        };
        self.settle_pending(unit, (of, run), Pending::Callback, |detail| detail.callback_error = error).await
    }

    /// Why a run did not complete, in words.
    async fn why(&self, unit: &mut Unit<'_>, end: &End) -> Try<String> {
        let Some(month) = self.month_within(unit, end.job).await? else { return Ok(String::new()) };
        let row =
            unit.fetch_one(Sql::ReadOutcome, Place::Month(month.month), values![end.job, end.run]).await?;
        let outcome = row.map(|mut row| read_outcome(&mut row, end.run)).transpose()?.flatten();
        let error = outcome.as_ref().and_then(|outcome| outcome.error.as_ref());
        let cancelled = outcome.as_ref().and_then(|outcome| outcome.cancelled.as_ref());
        Ok(match (error, cancelled) {
            (_, Some(cancelled)) => format!("job {} was cancelled: {}", end.job, cancelled.text),
            (Some(error), None) => format!("job {} failed: {}", end.job, error.message),
            (None, None) => format!("job {} did not complete", end.job),
        })
    }

    /// One thing that followed a run is done. When nothing is left EXECUTED becomes COMPLETED. Done again it changes
    /// nothing but what is kept of it.
    pub(super) async fn settle_pending(
        &self,
        unit: &mut Unit<'_>,
        (job, run): (JobId, Run),
        what: Pending,
        note: impl FnOnce(&mut Detail),
    ) -> Try<()> {
        let Some(month) = self.note_outcome(unit, (job, run), note).await? else { return Ok(()) };
        unit.execute(Sql::DeletePending, Place::Fixed, values![job, run, what.code()]).await?;
        let left = unit.fetch_one(Sql::CountPending, Place::Fixed, values![job, run]).await?;
        if left.map_or(Ok(0), |mut row| row.int())? == 0 {
            let now = unit.now().await?;
            let bound = values![Ending::Executed.code(), Ending::Completed.code(), now, job, run];
            unit.execute(Sql::SettleOutcome, Place::Month(month), bound).await?;
        }
        Ok(())
    }

    /// Locks a job that has ended and changes what is kept of a run's outcome beside its columns. None, and nothing is
    /// changed, when its month was moved away.
    pub(super) async fn note_outcome(
        &self,
        unit: &mut Unit<'_>,
        (job, run): (JobId, Run),
        note: impl FnOnce(&mut Detail),
    ) -> Try<Option<Month>> {
        let locked = self.lock_jobs(unit, &[job]).await?;
        let Some(month) = locked.first().map(|job| job.month) else { return Ok(None) };
        let place = Place::Month(month);
        if let Some(mut row) = unit.fetch_one(Sql::LockDetail, place, values![job, run]).await? {
            let was: Detail = row.maybe_json()?.unwrap_or_default();
            let mut is = was.clone();
            note(&mut is);
            if is != was {
                unit.execute(Sql::NoteDetail, place, values![is.stored()?, job, run]).await?;
            }
        }
        Ok(Some(month))
    }
}

/// An end of a run that others wait for.
struct End {
    job: JobId,
    run: Run,
    ending: Ending,
    /// The job and run whose callback it was; 0: nobody's.
    callback_of: (JobId, Run),
}

async fn read_children(unit: &mut Unit<'_>, parent: JobId) -> Try<Vec<(JobId, Condition)>> {
    let rows = unit.fetch(Sql::ReadChildren, Place::Fixed, values![parent, CHILDREN_AT_ONCE]).await?;
    rows.into_iter().map(|mut row| Ok((JobId(row.int()?), row.coded(Condition::from_code)?))).collect()
}

/// How a job's present run ended, if it did.
pub(super) async fn ending_of(unit: &mut Unit<'_>, job: &Job) -> Try<Option<Ending>> {
    let row = unit.fetch_one(Sql::ReadEndings, Place::Month(job.month), values![job.id, job.run]).await?;
    row.map(|mut row| {
        row.skip(3);
        row.coded(Ending::from_code)
    })
    .transpose()
}

/// Those of the children, locked before, that wait for no parent any more. Counted by a statement of its own, after
/// the locks: of two parents that end at once the second sees what the first left.
async fn without_parents(unit: &mut Unit<'_>, children: impl Iterator<Item = JobId>) -> Try<BTreeSet<JobId>> {
    let mut free: BTreeSet<JobId> = children.collect();
    let asked: Vec<JobId> = free.iter().copied().collect();
    for mut row in unit.fetch_each(Sql::CountParents, Place::Fixed, &asked, ids).await? {
        free.remove(&JobId(row.int()?));
    }
    Ok(free)
}

pub(super) async fn delete_edges(unit: &mut Unit<'_>, edges: &[(JobId, JobId)]) -> Try<()> {
    let bound = |chunk: &[(JobId, JobId)]| {
        chunk.iter().flat_map(|(parent, child)| values![*parent, *child]).collect::<Vec<Value>>()
    };
    match unit.execute_each(Sql::DeleteEdges, Place::Fixed, edges, bound).await? {
        gone if gone == edges.len() as u64 => Ok(()),
        _ => Err(Fault::raced("edges")),
    }
}

/// Lets children go home, or into their lanes. Answers every row that was moved.
async fn let_go(unit: &mut Unit<'_>, rows: Vec<ReadyRow>, now: Time) -> Try<Vec<ReadyRow>> {
    let mut lanes = Lanes::lock(unit, rows.iter().filter_map(|row| row.lane)).await?;
    let mut rows = rows;
    rows.sort_unstable_by_key(|row| row.key.job);
    let free = |row: &ReadyRow| {
        let due = row.key.ready_time.max(now);
        let key = ReadyKey { ready_time: due, ..row.key };
        lanes.enter(ReadyRow { key, ..row.clone() }, place_of(row.key.job), now)
    };
    let freed = rows.iter().map(free).collect();
    let mut moved = move_rows(unit, &rows, freed).await?;
    moved.extend(lanes.close(unit, now).await?);
    Ok(moved)
}

/// Ends a child whose parent ended otherwise than asked.
async fn cancel_child(
    unit: &mut Unit<'_>,
    job: &Job,
    row: &ReadyRow,
    parent: (JobId, Ending),
    now: Time,
) -> Try<Wake> {
    let outcome = cancelled_by_parent(job, row.turn, now, parent);
    insert_outcomes(unit, job.month, std::slice::from_ref(&outcome)).await?;
    unit.note(now, Event::cancelled(job.id, row.home.0, row.lane));
    label_endings(unit, job.month, std::slice::from_ref(&outcome)).await?;
    if let Some(expire_time) = job.spec.expire_time {
        unit.execute(Sql::DeleteExpiry, Place::Fixed, values![expire_time, job.id]).await?;
    }
    follow(unit, &[Over { outcome: &outcome, flags: row.flags, spec: Some(&job.spec) }]).await
}

/// The outcome of a child whose parent ended otherwise than asked.
pub(super) fn cancelled_by_parent(
    job: &Job,
    turn: Turn,
    now: Time,
    (parent, ending): (JobId, Ending),
) -> OutcomeRow {
    let how = match ending {
        Ending::Executed | Ending::Completed => "completed",
        Ending::Failed => "failed",
        Ending::Cancelled => "was cancelled",
    };
    let text = format!("job {parent}, which it depends on, {how}");
    OutcomeRow::cancelled(job, turn, now, Cancelled { reason: CancelReason::Parent, text })
}
