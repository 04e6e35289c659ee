//! Notifications: stored with the outcome, taken by whoever is free, each try guarded by the notification's own epoch.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock;
use crate::model::{
    AfterTry, Delivery, DeliveryId, DeliveryState, DeliveryTry, Epoch, JobId, Run, Time, TryEnd, micros,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, values};
use crate::store::verbs::follow::Pending;
use crate::store::{DeliveriesCall, Result};

/// Tries that are given of one notification.
const TRIES_TOLD: usize = 100;
/// What is kept of a try whose server went away before it told how it ended.
const TRY_LOST: &str = "the server that sent it went away before it told what came of it";

/// A notification to be stored with the outcome that it tells.
pub(super) struct NewDelivery<'a> {
    pub(super) job: JobId,
    pub(super) run: Run,
    pub(super) to: &'a str,
    pub(super) now: Time,
}

/// Stores notifications; they are due at once.
pub(super) async fn insert_deliveries(unit: &mut Unit<'_>, new: &[NewDelivery<'_>]) -> Try<()> {
    let Some(now) = new.iter().map(|one| one.now).max() else { return Ok(()) };
    let ids = DeliveryId::fresh(now, clock::random_63(), new.len());
    let row = |(id, one): (DeliveryId, &NewDelivery<'_>)| {
        let state = DeliveryState::Pending.code();
        values![id.0, one.job, one.run, state, 0_i64, 0_i64, 0_i64, one.now, one.now, 0_i64, one.to]
    };
    match unit.insert(Sql::InsertDeliveries, Place::Fixed, ids.zip(new).map(row).collect()).await {
        // Another server made the same id in the same millisecond: again, with others.
        Err(Fault::Duplicate(_)) => Err(Fault::raced("ids of notifications")),
        stored => stored.map(drop),
    }
}

impl SqlStore {
    pub(crate) async fn take_deliveries(
        &self,
        now: Time,
        hold: Duration,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        // Most looks find nothing, and then nobody's write waits for this.
        let due = read!(self.engine, |unit| due(unit, now, limit))?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.engine, Class::Claim, |unit| take(unit, &due, hold))
    }

    pub(crate) async fn end_delivery(&self, taken: &Delivery, end: &TryEnd, after: AfterTry) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| self.end_try(unit, taken, end, after))
    }

    async fn end_try(
        &self,
        unit: &mut Unit<'_>,
        taken: &Delivery,
        end: &TryEnd,
        after: AfterTry,
    ) -> Try<bool> {
        let now = unit.now().await?;
        let (state, next_time) = match after {
            AfterTry::Delivered => (DeliveryState::Delivered, None),
            AfterTry::Again(time) => (DeliveryState::Pending, Some(time)),
            AfterTry::GivenUp => (DeliveryState::GivenUp, None),
        };
        let moved =
            Delivery { state, next_time, finish_time: state.is_over().then_some(now), ..taken.clone() };
        if !move_on(unit, taken, &moved).await? {
            return Ok(false);
        }
        keep_try(unit, taken, now.minus(end.duration), end).await?;
        let (run, error) = ((taken.job, taken.run), end.error.clone().unwrap_or_default());
        if state.is_over() {
            self.settle_pending(unit, run, Pending::Notification, |detail| detail.notify_error = error)
                .await?;
        } else {
            self.note_outcome(unit, run, |detail| detail.notify_error = error).await?;
        }
        Ok(true)
    }

    pub(crate) async fn deliveries(&self, call: &DeliveriesCall) -> Result<Vec<Delivery>> {
        read!(self.engine, |unit| list(unit, call))
    }

    pub(crate) async fn replay_delivery(&self, delivery: DeliveryId) -> Result<Option<Delivery>> {
        transact!(self.engine, Class::Vital, |unit| replay(unit, delivery))
    }

    pub(crate) async fn forget_deliveries(&self, before: Time, limit: i64) -> Result<bool> {
        let old = read!(self.engine, |unit| old(unit, before, limit))?;
        if old.is_empty() {
            return Ok(false);
        }
        transact!(self.engine, Class::Vital, |unit| forget(unit, &old))?;
        Ok(true)
    }
}

async fn due(unit: &mut Unit<'_>, now: Time, limit: i64) -> Try<Vec<DeliveryId>> {
    let rows = unit.fetch(Sql::DueDeliveries, Place::Fixed, values![now, limit]).await?;
    rows.into_iter().map(|mut row| Ok(DeliveryId(row.int()?))).collect()
}

/// Takes each that is still due. Another server may look at the same ones: the epoch decides, row by row.
async fn take(unit: &mut Unit<'_>, due: &[DeliveryId], hold: Duration) -> Try<Vec<Delivery>> {
    let now = unit.now().await?;
    let mut found = read_all(unit, due).await?;
    found.retain(|one| one.next_time.is_some_and(|time| time <= now));
    let mut taken = Vec::with_capacity(found.len());
    for one in found {
        let moved = Delivery {
            state: DeliveryState::Sending,
            epoch: one.epoch.next(now),
            attempt_count: one.attempt_count + 1,
            next_time: Some(now.plus(hold)),
            ..one.clone()
        };
        if !move_on(unit, &one, &moved).await? {
            continue;
        }
        if one.state == DeliveryState::Sending {
            let lost = TryEnd {
                http_status: 0,
                error: Some(TRY_LOST.into()),
                retry_after: None,
                is_final: false,
                duration: Duration::ZERO,
            };
            keep_try(unit, &one, one.next_time.unwrap_or(now).minus(hold), &lost).await?;
        }
        taken.push(moved);
    }
    Ok(taken)
}

/// Moves a notification on; false when it no longer is where it was seen.
async fn move_on(unit: &mut Unit<'_>, seen: &Delivery, to: &Delivery) -> Try<bool> {
    let bound = values![
        to.state.code(),
        to.epoch,
        to.attempt_count,
        to.earlier_count,
        to.next_time.unwrap_or(Time::NEVER),
        to.finish_time.map_or(0, |time| time.0),
        to.id.0,
        seen.epoch,
        seen.state.code(),
    ];
    Ok(unit.execute(Sql::MoveDelivery, Place::Fixed, bound).await? == 1)
}

async fn keep_try(unit: &mut Unit<'_>, of: &Delivery, start_time: Time, end: &TryEnd) -> Try<()> {
    let row = values![
        of.id.0,
        of.attempt_count,
        start_time,
        micros(end.duration),
        i64::from(end.http_status),
        end.error.as_deref(),
    ];
    unit.insert(Sql::InsertDeliveryTries, Place::Fixed, vec![row]).await?;
    Ok(())
}

async fn list(unit: &mut Unit<'_>, call: &DeliveriesCall) -> Try<Vec<Delivery>> {
    let before = call.before.map_or(i64::MAX, |id| id.0);
    let mut found = Vec::new();
    if let Some(job) = call.job {
        // A job has few: one for each run.
        let mut before = before;
        while found.len() < call.limit as usize {
            let rows =
                unit.fetch(Sql::DeliveriesOfJob, Place::Fixed, values![job, before, call.limit]).await?;
            let is_last = (rows.len() as i64) < call.limit;
            let page = rows.into_iter().map(|mut row| read_delivery(&mut row)).collect::<Try<Vec<_>>>()?;
            before = page.last().map_or(0, |last| last.id.0);
            found.extend(
                page.into_iter().filter(|one| call.states.is_empty() || call.states.contains(&one.state)),
            );
            if is_last {
                break;
            }
        }
    } else {
        let states = if call.states.is_empty() { &DeliveryState::ALL[..] } else { &call.states };
        for state in states {
            let bound = values![state.code(), before, call.limit];
            for mut row in unit.fetch(Sql::DeliveriesOfState, Place::Fixed, bound).await? {
                found.push(read_delivery(&mut row)?);
            }
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.id));
        // One that changed its state between two statements is found twice.
        found.dedup_by_key(|one| one.id);
    }
    found.truncate(usize::try_from(call.limit).unwrap_or_default());
    add_tries(unit, &mut found).await?;
    Ok(found)
}

async fn read_all(unit: &mut Unit<'_>, ids: &[DeliveryId]) -> Try<Vec<Delivery>> {
    let rows = unit.fetch_each(Sql::ReadDeliveries, Place::Fixed, ids, keys).await?;
    rows.into_iter().map(|mut row| read_delivery(&mut row)).collect()
}

async fn add_tries(unit: &mut Unit<'_>, deliveries: &mut [Delivery]) -> Try<()> {
    let ids: Vec<DeliveryId> = deliveries.iter().map(|one| one.id).collect();
    let mut tries: HashMap<DeliveryId, Vec<DeliveryTry>> = HashMap::new();
    for mut row in unit.fetch_each(Sql::ReadDeliveryTries, Place::Fixed, &ids, keys).await? {
        let id = DeliveryId(row.int()?);
        row.skip(1);
        tries.entry(id).or_default().push(DeliveryTry {
            start_time: Time(row.int()?),
            duration: Duration::from_micros(row.int()?.max(0).unsigned_abs()),
            http_status: u16::try_from(row.int()?).unwrap_or_default(),
            error: row.text()?,
        });
    }
    for one in deliveries {
        let mut all = tries.remove(&one.id).unwrap_or_default();
        one.tries = all.split_off(all.len().saturating_sub(TRIES_TOLD));
    }
    Ok(())
}

async fn replay(unit: &mut Unit<'_>, id: DeliveryId) -> Try<Option<Delivery>> {
    let Some(mut row) = unit.fetch_one(Sql::LockDelivery, Place::Fixed, values![id.0]).await? else {
        return Ok(None);
    };
    let one = read_delivery(&mut row)?;
    let mut answer = [one];
    if answer[0].state != DeliveryState::Sending {
        let now = unit.now().await?;
        let one = &answer[0];
        let moved = Delivery {
            state: DeliveryState::Pending,
            epoch: one.epoch.next(now),
            earlier_count: if one.state.is_over() { one.attempt_count } else { one.earlier_count },
            next_time: Some(now),
            finish_time: None,
            ..one.clone()
        };
        if !move_on(unit, one, &moved).await? {
            return Err(Fault::raced("notification"));
        }
        answer = [moved];
    }
    add_tries(unit, &mut answer).await?;
    Ok(answer.into_iter().next())
}

async fn old(unit: &mut Unit<'_>, before: Time, limit: i64) -> Try<Vec<DeliveryId>> {
    let mut old = Vec::new();
    for state in DeliveryState::ALL.into_iter().filter(|state| state.is_over()) {
        let bound = values![state.code(), DeliveryId::first_at(before).0, limit];
        for mut row in unit.fetch(Sql::OldDeliveries, Place::Fixed, bound).await? {
            old.push(DeliveryId(row.int()?));
        }
    }
    Ok(old)
}

/// One that is being replayed meanwhile is forgotten too: it is old enough.
async fn forget(unit: &mut Unit<'_>, old: &[DeliveryId]) -> Try<()> {
    unit.execute_each(Sql::DeleteDeliveries, Place::Fixed, old, keys).await?;
    for id in old {
        unit.execute(Sql::DeleteDeliveryTries, Place::Fixed, values![id.0]).await?;
    }
    Ok(())
}

fn keys(ids: &[DeliveryId]) -> Vec<Value> {
    ids.iter().map(|id| Value::Int(id.0)).collect()
}

fn read_delivery(row: &mut Columns) -> Try<Delivery> {
    let id = DeliveryId(row.int()?);
    let (job, run) = (JobId(row.int()?), Run(row.small()?));
    let state = row.coded(DeliveryState::from_code)?;
    let epoch = Epoch(row.int()?);
    let (attempt_count, earlier_count) = (row.small()?, row.small()?);
    let create_time = Time(row.int()?);
    let (next, finish) = (Time(row.int()?), Time(row.int()?));
    Ok(Delivery {
        id,
        job,
        run,
        to: row.text()?,
        state,
        epoch,
        attempt_count,
        earlier_count,
        create_time,
        next_time: (next != Time::NEVER).then_some(next),
        finish_time: (finish.0 != 0).then_some(finish),
        tries: Vec::new(),
    })
}
