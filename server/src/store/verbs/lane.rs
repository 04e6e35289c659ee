//! Lanes: the jobs of a named worker, strictly one at a time.
//!
//! At most one job of a lane, its *holder*, may be claimed, is leased or waits out a retry. All others wait under the
//! lane's own route, which nobody serves, at the place of their ids; those whose time has not come wait under a route
//! common to all lanes. So a claim needs to know nothing of lanes. Whoever changes the holder does so under the lane's
//! row lock and moves ready rows in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{JobId, Month, ReadyKey, RouteId, Time, limits};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{LANES_DUE, ReadyRow};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, values};
use crate::store::verbs::finish::move_jobs;
use crate::store::{Result, Wake};

/// Who holds a lane.
struct Holder {
    /// As it was when the lane was locked.
    was: JobId,
    /// As it will be.
    is: JobId,
}

/// Nobody.
const NOBODY: JobId = JobId(0);

/// Lanes that this transaction has locked.
pub(super) struct Lanes {
    held: BTreeMap<RouteId, Holder>,
}

impl Lanes {
    /// Locks lanes in ascending order; those that are new are made.
    pub(super) async fn lock(unit: &mut Unit<'_>, lanes: impl Iterator<Item = RouteId>) -> Try<Lanes> {
        let wanted: Vec<RouteId> = lanes.collect::<BTreeSet<_>>().into_iter().collect();
        let mut held = lock(unit, &wanted).await?;
        if held.len() < wanted.len() {
            let rows = wanted.iter().filter(|lane| !held.contains_key(lane)).map(|lane| values![*lane]);
            unit.insert(Sql::InsertLanes, Place::Fixed, rows.collect()).await?;
            held = lock(unit, &wanted).await?;
        }
        Ok(Lanes { held })
    }

    /// Where a job goes that waits for nothing but its time and its turn: home, if it has no lane or gets it at once.
    pub(super) fn enter(&mut self, row: ReadyRow, place: Time, now: Time) -> ReadyRow {
        let due = row.key.ready_time;
        let Some(lane) = row.lane else { return row.at_home(due) };
        if due > now {
            return row.before_its_time();
        }
        match self.held.get_mut(&lane) {
            Some(holder) if holder.is == NOBODY => {
                holder.is = row.key.job;
                row.at_home(now)
            }
            _ => row.in_line(place),
        }
    }

    /// A transient run takes a lane; false when somebody holds it.
    pub(super) fn take(&mut self, lane: RouteId, run: JobId) -> bool {
        match self.held.get_mut(&lane) {
            Some(holder) if holder.is == NOBODY => {
                holder.is = run;
                true
            }
            _ => false,
        }
    }

    /// A job leaves its lane; whether it held it does not matter.
    pub(super) fn leave(&mut self, lane: RouteId, job: JobId) {
        if let Some(holder) = self.held.get_mut(&lane).filter(|holder| holder.is == job) {
            holder.is = NOBODY;
        }
    }

    /// Lets lanes that nobody holds pass to the first in line, and stores who holds them. Answers the rows that may be
    /// claimed now.
    pub(super) async fn close(mut self, unit: &mut Unit<'_>, now: Time) -> Try<Vec<ReadyRow>> {
        let mut heads = Vec::new();
        for (lane, holder) in self.held.iter_mut().filter(|(_, holder)| holder.is == NOBODY) {
            if let Some(mut row) = unit.fetch_one(Sql::LockLaneHead, Place::Fixed, values![*lane]).await? {
                let head = ReadyRow::read(&mut row)?;
                holder.is = head.key.job;
                heads.push(head);
            }
        }
        let at_home = heads.iter().map(|head| head.clone().at_home(now)).collect();
        let moved = move_rows(unit, &heads, at_home).await?;
        let changed: Vec<(RouteId, &Holder)> = self
            .held
            .iter()
            .filter(|(_, holder)| holder.was != holder.is)
            .map(|(lane, holder)| (*lane, holder))
            .collect();
        let bound = |chunk: &[(RouteId, &Holder)]| {
            let next = chunk.iter().flat_map(|(lane, holder)| values![*lane, holder.is]);
            let seen = chunk.iter().flat_map(|(lane, holder)| values![*lane, holder.was]);
            next.chain(seen).collect::<Vec<Value>>()
        };
        if unit.execute_each(Sql::MoveLanes, Place::Fixed, &changed, bound).await? != changed.len() as u64 {
            return Err(Fault::raced("lanes"));
        }
        Ok(moved)
    }
}

async fn lock(unit: &mut Unit<'_>, lanes: &[RouteId]) -> Try<BTreeMap<RouteId, Holder>> {
    let by_id = |chunk: &[RouteId]| chunk.iter().map(|lane| Value::from(*lane)).collect();
    let rows = unit.fetch_each(Sql::LockLanes, Place::Fixed, lanes, by_id).await?;
    let read = |mut row: Columns| {
        let (lane, was) = (RouteId(row.int()?), JobId(row.int()?));
        Ok((lane, Holder { was, is: was }))
    };
    rows.into_iter().map(read).collect()
}

/// Moves locked ready rows to another place of the ready table, and lets their jobs remember it.
pub(super) async fn move_rows(
    unit: &mut Unit<'_>,
    from: &[ReadyRow],
    moved: Vec<ReadyRow>,
) -> Try<Vec<ReadyRow>> {
    delete_ready(unit, from).await?;
    unit.insert(Sql::InsertReady, Place::Fixed, moved.iter().map(ReadyRow::values).collect()).await?;
    let mut keys: BTreeMap<Month, Vec<ReadyKey>> = BTreeMap::new();
    moved.iter().for_each(|row| keys.entry(row.month).or_default().push(row.key));
    for (month, keys) in keys {
        move_jobs(unit, month, &keys).await?;
    }
    Ok(moved)
}

/// Takes locked ready rows out.
pub(super) async fn delete_ready(unit: &mut Unit<'_>, rows: &[ReadyRow]) -> Try<()> {
    let guards = |chunk: &[ReadyRow]| chunk.iter().flat_map(ReadyRow::guard).collect::<Vec<Value>>();
    match unit.execute_each(Sql::DeleteReady, Place::Fixed, rows, guards).await? {
        gone if gone == rows.len() as u64 => Ok(()),
        _ => Err(Fault::raced("ready rows")),
    }
}

/// Locks ready rows by their keys, with all that they hold; those that are gone are left out.
pub(super) async fn lock_ready_rows(unit: &mut Unit<'_>, keys: &[ReadyKey]) -> Try<Vec<ReadyRow>> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let bound = |chunk: &[ReadyKey]| {
        chunk
            .iter()
            .flat_map(|key| values![key.route, key.priority, key.ready_time, key.job])
            .collect::<Vec<Value>>()
    };
    let rows = unit.fetch_each(Sql::LockReadyRows, Place::Fixed, &keys, bound).await?;
    rows.into_iter().map(|mut row| ReadyRow::read(&mut row)).collect()
}

/// The place behind all who wait in a lane: that of a requeued job.
pub(super) async fn last_place(unit: &mut Unit<'_>, lane: Option<RouteId>, job: JobId) -> Try<Time> {
    let Some(lane) = lane else { return Ok(place_of(job)) };
    let last = unit.fetch_one(Sql::ReadLaneTail, Place::Fixed, values![lane]).await?;
    let last = last.map(|mut row| row.int()).transpose()?.unwrap_or_default();
    Ok(Time(last.saturating_add(1).max(job.0)))
}

/// The place of a job in its lane: that of its id.
pub(super) fn place_of(job: JobId) -> Time {
    Time(job.0)
}

/// What stands in the ready table now, for those who wait for it.
pub(super) fn wake_of(rows: &[ReadyRow]) -> Wake {
    let at_home = rows.iter().filter(|row| row.key.route == row.home.0);
    let due = rows.iter().filter(|row| row.key.route == LANES_DUE).map(|row| row.key.ready_time).min();
    Wake { ready: at_home.map(|row| row.key).collect(), due, ..Wake::default() }
}

impl SqlStore {
    pub(crate) async fn enter_lanes(&self, now: Time, limit: i64) -> Result<Wake> {
        transact!(self.engine, Class::Vital, |unit| enter_due(unit, now, limit))
    }

    pub(crate) async fn lane_line(&self, lane: RouteId, place: Time) -> Result<(Option<JobId>, i64)> {
        read!(self.engine, |unit| async {
            let row = unit.fetch_one(Sql::ReadLane, Place::Fixed, values![lane]).await?;
            let holder = JobId(row.map_or(Ok(0), |mut row| row.int())?);
            let bound = values![lane, place, limits::WALK_ROWS_MAX];
            let row = unit.fetch_one(Sql::CountLine, Place::Fixed, bound).await?;
            Ok(((holder != NOBODY).then_some(holder), row.map_or(Ok(0), |mut row| row.int())?))
        })
    }

    pub(crate) async fn next_in_lanes(&self) -> Result<Option<Time>> {
        read!(self.engine, |unit| async {
            let row =
                unit.fetch_one(Sql::ReadLaneDue, Place::Fixed, values![LANES_DUE, Time::NEVER, 1]).await?;
            row.map(|mut row| Ok(Time(row.int()?))).transpose()
        })
    }
}

/// Jobs whose time has come enter their lanes, in the order of their ids.
async fn enter_due(unit: &mut Unit<'_>, now: Time, limit: i64) -> Try<Wake> {
    let due = unit.fetch(Sql::ReadLaneDue, Place::Fixed, values![LANES_DUE, now, limit]).await?;
    let mut keys = Vec::with_capacity(due.len());
    let mut of_lanes = BTreeSet::new();
    for mut row in due {
        let (ready_time, job) = (Time(row.int()?), JobId(row.int()?));
        keys.push(ReadyKey { route: LANES_DUE, priority: 0, ready_time, job });
        of_lanes.extend(row.route()?);
    }
    if keys.is_empty() {
        return Ok(Wake::default());
    }
    let mut lanes = Lanes::lock(unit, of_lanes.into_iter()).await?;
    let mut rows = lock_ready_rows(unit, &keys).await?;
    rows.sort_unstable_by_key(|row| row.key.job);
    let entered = rows.iter().map(|row| lanes.enter(row.clone(), place_of(row.key.job), now)).collect();
    let mut moved = move_rows(unit, &rows, entered).await?;
    moved.extend(lanes.close(unit, now).await?);
    Ok(wake_of(&moved))
}
