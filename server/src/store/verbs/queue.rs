//! Queues: what is set for them, what limited ones may give out, and how many jobs stand where.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    LimitChange, LiveJobs, QueueLimits, QueuePause, QueueSetting, QueueStanding, RateLimit, RouteId,
    StartLog, Time, micros,
};
use crate::store::Result;
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{LANES_DUE, PARENTS};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, key, to_json, values};

impl SqlStore {
    pub(crate) async fn queue_settings(&self) -> Result<Vec<QueueSetting>> {
        read!(self.engine, |unit| read_settings(unit))
    }

    pub(crate) async fn pause_queue(&self, name: &str, reason: &str) -> Result<()> {
        transact!(self.engine, Class::Vital, |unit| async {
            let now = unit.now().await?;
            unit.execute(Sql::PauseQueue, Place::Fixed, values![key(name), now, reason]).await?;
            Ok(())
        })
    }

    pub(crate) async fn resume_queue(&self, name: &str) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| async {
            let was_paused = unit.execute(Sql::ResumeQueue, Place::Fixed, values![key(name)]).await? == 1;
            unit.execute(Sql::DeleteQueue, Place::Fixed, values![key(name)]).await?;
            Ok(was_paused)
        })
    }

    pub(crate) async fn limit_queue(&self, name: &str, change: LimitChange) -> Result<()> {
        transact!(self.engine, Class::Vital, |unit| limit(unit, name, change))
    }

    pub(crate) async fn queue_standing(&self, name: &str) -> Result<Option<QueueStanding>> {
        read!(self.engine, |unit| async {
            let names = [name.to_owned()];
            let row = unit.fetch_one(Sql::ReadQueueLimits, Place::Fixed, values![key(name)]).await?;
            let Some((_, limits, starts)) = row.map(read_limits).transpose()? else { return Ok(None) };
            let now = unit.now().await?;
            let running = count_running(unit, &names).await?.remove(name).unwrap_or_default();
            Ok(limits.is_any().then(|| standing(limits, &starts, running, now)))
        })
    }

    pub(crate) async fn live_jobs(&self, now: Time) -> Result<LiveJobs> {
        read!(self.engine, |unit| count_live(unit, now))
    }
}

async fn read_settings(unit: &mut Unit<'_>) -> Try<Vec<QueueSetting>> {
    let rows = unit.fetch(Sql::ReadQueues, Place::Fixed, Vec::new()).await?;
    let read = |mut row: Columns| {
        let (name, time, reason) = (row.text()?, Time(row.int()?), row.text()?);
        let pause = (time > Time(0)).then_some(QueuePause { time, reason });
        Ok(QueueSetting { name, pause, limits: limits_of(&mut row)? })
    };
    rows.into_iter().map(read).collect()
}

/// Three columns: most at once, most starts, in how many microseconds; zero is no limit.
fn limits_of(row: &mut Columns) -> Try<QueueLimits> {
    let (concurrency, count, period) = (row.int()?, row.int()?, row.int()?);
    let period = Duration::from_micros(period.max(1).unsigned_abs());
    Ok(QueueLimits {
        concurrency: (concurrency > 0).then_some(concurrency),
        rate: (count > 0).then_some(RateLimit { count, period }),
    })
}

fn read_limits(mut row: Columns) -> Try<(String, QueueLimits, StartLog)> {
    let name = row.text()?;
    let limits = limits_of(&mut row)?;
    Ok((name, limits, row.maybe_json()?.unwrap_or_default()))
}

async fn limit(unit: &mut Unit<'_>, name: &str, change: LimitChange) -> Try<()> {
    unit.execute(Sql::InsertQueue, Place::Fixed, values![key(name)]).await?;
    let row = unit.fetch_one(Sql::LockQueues, Place::Fixed, values![key(name)]).await?;
    let (_, limits, starts) = read_limits(row.ok_or_else(|| Fault::raced("queue"))?)?;
    let limits = change.of(limits);
    let (count, period) = limits.rate.map_or((0, 0), |rate| (rate.count, micros(rate.period)));
    let starts = limits.rate.map(|_| to_json(&starts)).transpose()?;
    let bound = values![limits.concurrency.unwrap_or_default(), count, period, starts, key(name)];
    unit.execute(Sql::LimitQueue, Place::Fixed, bound).await?;
    unit.execute(Sql::DeleteQueue, Place::Fixed, values![key(name)]).await?;
    Ok(())
}

async fn count_running(unit: &mut Unit<'_>, queues: &[String]) -> Try<BTreeMap<String, i64>> {
    let by_name = |chunk: &[String]| chunk.iter().map(|name| Value::from(name.as_str())).collect();
    let rows = unit.fetch_each(Sql::CountLeasesByQueue, Place::Fixed, queues, by_name).await?;
    rows.into_iter().map(|mut row| Ok((row.text()?, row.int()?))).collect()
}

fn standing(limits: QueueLimits, starts: &StartLog, running: i64, now: Time) -> QueueStanding {
    let starts_left = limits.rate.map_or(i64::MAX, |rate| starts.left(rate, now));
    QueueStanding { limits, running, starts_left }
}

/// A limited queue whose row this transaction has locked.
struct Budget {
    rate: Option<RateLimit>,
    starts: StartLog,
    /// Jobs that may start still.
    room: i64,
    taken: i64,
}

/// What limited queues may give out in this transaction. Counted from leased rows under the queues' locks, so that no
/// number of servers gives out more together, and nothing leaks when a server or worker process dies.
#[derive(Default)]
pub(super) struct Budgets {
    queues: BTreeMap<String, Budget>,
    routes: BTreeMap<RouteId, String>,
    now: Time,
}

impl Budgets {
    /// Locks the queues of these routes in the order of their names.
    pub(super) async fn lock(unit: &mut Unit<'_>, limited: &BTreeMap<RouteId, String>) -> Try<Budgets> {
        if limited.is_empty() {
            return Ok(Budgets::default());
        }
        let names: Vec<String> = limited.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let by_name = |chunk: &[String]| chunk.iter().map(|name| key(name)).collect();
        let rows = unit.fetch_each(Sql::LockQueues, Place::Fixed, &names, by_name).await?;
        let mut running = count_running(unit, &names).await?;
        let now = unit.now().await?;
        let mut queues = BTreeMap::new();
        for row in rows {
            let (name, limits, starts) = read_limits(row)?;
            let running = running.remove(&name).unwrap_or_default();
            let room = standing(limits, &starts, running, now).room();
            if limits.is_any() {
                queues.insert(name, Budget { rate: limits.rate, starts, room, taken: 0 });
            }
        }
        Ok(Budgets { queues, routes: limited.clone(), now })
    }

    /// How many jobs of a route may start still.
    pub(super) fn room(&self, route: RouteId) -> usize {
        let budget = self.routes.get(&route).and_then(|queue| self.queues.get(queue));
        budget.map_or(usize::MAX, |budget| usize::try_from(budget.room).unwrap_or_default())
    }

    /// Jobs of a route start.
    pub(super) fn take(&mut self, route: RouteId, jobs: usize) {
        if let Some(budget) = self.routes.get(&route).and_then(|queue| self.queues.get_mut(queue)) {
            let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
            (budget.room, budget.taken) =
                (budget.room.saturating_sub(jobs), budget.taken.saturating_add(jobs));
        }
    }

    /// Notes the starts; answers the queues that give out nothing more now.
    pub(super) async fn close(self, unit: &mut Unit<'_>) -> Try<BTreeSet<String>> {
        let mut full = BTreeSet::new();
        for (name, mut budget) in self.queues {
            if let Some(rate) = budget.rate.filter(|_| budget.taken > 0) {
                budget.starts.note(rate, self.now, budget.taken);
                let bound = values![to_json(&budget.starts)?, key(&name)];
                unit.execute(Sql::NoteStarts, Place::Fixed, bound).await?;
            }
            if budget.room == 0 {
                full.insert(name);
            }
        }
        Ok(full)
    }
}

async fn count_live(unit: &mut Unit<'_>, now: Time) -> Try<LiveJobs> {
    let mut live = LiveJobs::default();
    for mut row in unit.fetch(Sql::CountReadyByRoute, Place::Fixed, values![now]).await? {
        let (route, home) = (RouteId(row.int()?), RouteId(row.int()?));
        let (all, scheduled, oldest) = (row.int()?, row.int()?, Time(row.int()?));
        let of = live.routes.entry(home).or_default();
        if route == home {
            of.scheduled += scheduled;
            of.queued += all - scheduled;
            of.oldest_ready = Some(oldest).filter(|oldest| *oldest <= now);
        } else if route == LANES_DUE {
            // Those whose time has just come are about to enter their lanes.
            of.scheduled += all;
        } else {
            of.blocked += all;
            if route != PARENTS {
                *live.lines.entry(route).or_default() += all;
            }
        }
    }
    for mut row in unit.fetch(Sql::CountLeasesByRoute, Place::Fixed, Vec::new()).await? {
        live.routes.entry(RouteId(row.int()?)).or_default().running = row.int()?;
    }
    Ok(live)
}
