//! Figures for people: what happened hour by hour, what waits and runs, who serves what, which servers there are.
//!
//! What was counted comes from the tallies, what waits and runs from the live tables; neither is older than two seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unit::unit;
use super::{Core, Engine, Result};
use crate::clock;
use crate::model::{
    JobId, LiveCounts, Route, RouteId, RouteKind, Server, ServerId, Session, SessionState, Tally, Time, Work,
    limits, slot,
};
use crate::store::Tallied;

/// How old an overview may be.
const LIFE: Duration = Duration::from_secs(2);
/// Waits are those of jobs that started within this time.
const WAITS_OF: Duration = Duration::from_secs(3_600);

/// How everything fares.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When it was taken.
    pub time: Time,
    /// Jobs that have not ended.
    pub live: LiveCounts,
    /// Hour by hour, the oldest first, the current one last.
    pub hours: Vec<HourFigures>,
    /// The wait that half of the jobs did not exceed that started in the last hour.
    pub wait_median: Option<Duration>,
    /// The wait that 95 of a hundred did not exceed.
    pub wait_p95: Option<Duration>,
    /// By command or target, the busiest first.
    pub commands: Vec<CommandFigures>,
    /// By named worker, the longest line first.
    pub lanes: Vec<LaneFigures>,
    /// Live worker processes with the number of jobs that they hold, the busiest first.
    pub sessions: Vec<(Session, i64)>,
    /// How many there are, and their slots.
    pub workers: (usize, i64),
    /// Notifications that wait for a try.
    pub pending_deliveries: i64,
    /// Recurring tasks that come due.
    pub recurring_tasks: i64,
    /// Queues that are paused.
    pub paused_queues: Vec<String>,
}

/// What happened in an hour.
#[derive(Clone, Copy, Debug)]
pub struct HourFigures {
    /// When it began.
    pub start: Time,
    /// What happened.
    pub tally: Tally,
}

/// How a command or the calls of a target fare.
#[derive(Clone, Debug)]
pub struct CommandFigures {
    /// Which.
    pub work: Work,
    /// Jobs that have not ended.
    pub live: LiveCounts,
    /// What happened.
    pub tally: Tally,
}

/// How a named worker fares.
#[derive(Clone, Debug)]
pub struct LaneFigures {
    /// Its name.
    pub worker: String,
    /// Jobs that wait for their turn.
    pub waiting: i64,
    /// The job that runs.
    pub running: Option<JobId>,
    /// What happened.
    pub tally: Tally,
}

/// A command that is served, or that jobs name.
#[derive(Clone, Debug, Default)]
pub struct ServedWork {
    /// Its name.
    pub command: String,
    /// The named worker that it declares; empty: none.
    pub worker: String,
    /// Versions that live worker processes serve.
    pub versions: BTreeSet<String>,
    /// The JSON Schema of its request as declared last; empty: none.
    pub json_schema: String,
    /// Names of the live worker processes that serve it.
    pub worker_processes: Vec<String>,
    /// Jobs that have not ended.
    pub live: LiveCounts,
    /// What happened in the last week.
    pub tally: Tally,
}

/// The last overview, and when and for how many hours it was taken.
pub(crate) type LastOverview = Option<(Instant, i32, Arc<Overview>)>;

impl Engine {
    /// How everything fares, over so many hours back; at most two seconds old.
    pub async fn overview(&self, hours: i32) -> Result<Arc<Overview>> {
        let core = Arc::clone(&self.core);
        unit(async move { core.overview(hours).await }).await
    }

    /// Commands that are served, that live jobs name, or that ran in the last week, by name.
    pub async fn commands(&self) -> Result<Vec<ServedWork>> {
        let core = Arc::clone(&self.core);
        unit(async move { core.served_work().await }).await
    }

    /// The JSON Schemas of commands as declared last.
    pub async fn schemas(&self, commands: Vec<String>) -> Result<BTreeMap<String, String>> {
        let core = Arc::clone(&self.core);
        unit(async move { Ok(core.store.schemas(&commands).await?) }).await
    }

    /// Servers on this database, each with the number of worker processes whose heartbeats come through it.
    pub async fn servers(&self) -> Result<Vec<(Server, usize)>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let sessions = core.store.sessions().await?;
            let workers = |id: ServerId| sessions.iter().filter(|(session, _)| session.server == id).count();
            let servers = core.store.servers().await?;
            Ok(servers
                .into_iter()
                .map(|server| (workers(server.id), server))
                .map(|(count, it)| (it, count))
                .collect())
        })
        .await
    }

    /// The server that this engine is.
    pub fn server(&self) -> ServerId {
        self.core.server
    }

    /// Adds what this server counted to the tables.
    pub async fn add_tallies(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move { Ok(core.store.add_tallies().await?) }).await
    }
}

impl Core {
    /// Who comes while somebody reads waits for that answer.
    async fn overview(&self, hours: i32) -> Result<Arc<Overview>> {
        let mut last = self.figures.overview.lock().await;
        if let Some((taken, of_hours, overview)) = &*last
            && *of_hours == hours
            && taken.elapsed() < LIFE
        {
            return Ok(Arc::clone(overview));
        }
        let overview = Arc::new(self.take_overview(hours).await?);
        *last = Some((clock::instant(), hours, Arc::clone(&overview)));
        Ok(overview)
    }

    async fn take_overview(&self, hours: i32) -> Result<Overview> {
        let now = self.clock.now();
        let first = slot(now, limits::TALLY_SLOT).minus(limits::TALLY_SLOT * (hours - 1).unsigned_abs());
        let tallied = self.tallied(first, now).await?;
        let live = self.live_jobs().await?;
        let mut sessions = self.store.sessions().await?;
        sessions.retain(|(session, _)| session.state != SessionState::Lost && session.expire_time >= now);
        let slots = sessions.iter().map(|(session, _)| i64::from(session.slots)).sum();
        let workers = (sessions.len(), slots);
        sessions.sort_by_key(|(session, held)| (-held, session.name.clone(), session.create_time));
        sessions.truncate(limits::OVERVIEW_ROWS_MAX);
        let settings = self.store.queue_settings().await?;
        let mut all_live = LiveCounts::default();
        live.routes.values().for_each(|counts| all_live.add(counts));
        Ok(Overview {
            time: now,
            live: all_live,
            hours: self.by_hour(&tallied, first, hours),
            wait_median: tallied.waits.percentile(50),
            wait_p95: tallied.waits.percentile(95),
            commands: busiest(self.by_work(&tallied, &live.routes)),
            lanes: self.by_lane(&tallied, &live.lines).await?,
            sessions,
            workers,
            pending_deliveries: self.store.pending_deliveries().await?,
            recurring_tasks: self.store.count_due_tasks().await?,
            paused_queues: settings
                .into_iter()
                .filter(|its| its.pause.is_some())
                .map(|its| its.name)
                .collect(),
        })
    }

    /// What happened since an hour's start, with what this server has just counted.
    async fn tallied(&self, first: Time, now: Time) -> Result<Tallied> {
        self.store.add_tallies().await?;
        let waits_since = slot(now.minus(WAITS_OF), limits::TALLY_WAIT_SLOT);
        let tallied = self.store.tallies(first, waits_since).await?;
        if !self.routes.knows(tallied.routes.keys().map(|(_, route)| *route)) {
            self.routes.reload(&*self.store).await?;
        }
        Ok(tallied)
    }

    fn is_lane(&self, id: RouteId) -> bool {
        self.routes.route(id).is_some_and(|route| route.kind == RouteKind::Lane)
    }

    fn by_hour(&self, tallied: &Tallied, first: Time, hours: i32) -> Vec<HourFigures> {
        let hour = |at: i32| HourFigures {
            start: first.plus(limits::TALLY_SLOT * at.unsigned_abs()),
            tally: Tally::default(),
        };
        let mut by_hour: BTreeMap<Time, HourFigures> =
            (0..hours).map(hour).map(|figures| (figures.start, figures)).collect();
        for ((start, route), tally) in &tallied.routes {
            // What is counted for a lane is counted for its route as well.
            if let Some(figures) = by_hour.get_mut(start).filter(|_| !self.is_lane(*route)) {
                figures.tally.add(tally);
            }
        }
        by_hour.into_values().collect()
    }

    fn by_work(&self, tallied: &Tallied, live: &BTreeMap<Route, LiveCounts>) -> Vec<CommandFigures> {
        let mut by_work: BTreeMap<Work, (LiveCounts, Tally)> = BTreeMap::new();
        for (route, counts) in live.iter().filter(|(route, _)| route.kind != RouteKind::Lane) {
            by_work.entry(route.work.clone()).or_default().0.add(counts);
        }
        for ((_, id), tally) in &tallied.routes {
            if let Some(route) = self.routes.route(*id).filter(|route| route.kind != RouteKind::Lane) {
                by_work.entry(route.work.clone()).or_default().1.add(tally);
            }
        }
        let figures = |(work, (live, tally))| CommandFigures { work, live, tally };
        by_work.into_iter().map(figures).collect()
    }

    /// Named workers that have jobs, or had some.
    async fn by_lane(&self, tallied: &Tallied, lines: &BTreeMap<RouteId, i64>) -> Result<Vec<LaneFigures>> {
        let mut by_lane: BTreeMap<RouteId, (i64, Tally)> = BTreeMap::new();
        for ((_, id), tally) in tallied.routes.iter().filter(|((_, id), _)| self.is_lane(*id)) {
            by_lane.entry(*id).or_default().1.add(tally);
        }
        for (id, waiting) in lines {
            by_lane.entry(*id).or_default().0 += waiting;
        }
        for id in tallied.holders.keys() {
            by_lane.entry(*id).or_default();
        }
        if !self.routes.knows(by_lane.keys().copied()) {
            self.routes.reload(&*self.store).await?;
        }
        let figures = |(id, (waiting, tally)): (RouteId, (i64, Tally))| {
            let route = self.routes.route(id).filter(|route| route.kind == RouteKind::Lane)?;
            let Work::Command(worker) = route.work.clone() else { return None };
            Some(LaneFigures { worker, waiting, running: tallied.holders.get(&id).copied(), tally })
        };
        let mut lanes: Vec<LaneFigures> = by_lane.into_iter().filter_map(figures).collect();
        lanes.sort_by(|one, two| (two.waiting, &one.worker).cmp(&(one.waiting, &two.worker)));
        lanes.truncate(limits::OVERVIEW_ROWS_MAX);
        Ok(lanes)
    }

    async fn served_work(&self) -> Result<Vec<ServedWork>> {
        let now = self.clock.now();
        let week = limits::TALLY_SLOT * limits::OVERVIEW_HOURS_MAX.unsigned_abs();
        let tallied = self.tallied(now.minus(week), now).await?;
        let live = self.live_jobs().await?;
        let mut all: BTreeMap<String, ServedWork> = BTreeMap::new();
        for figures in self.by_work(&tallied, &live.routes) {
            let is_any = figures.live != LiveCounts::default() || figures.tally != Tally::default();
            if let Work::Command(command) = figures.work
                && is_any
            {
                let of = all.entry(command).or_default();
                (of.live, of.tally) = (figures.live, figures.tally);
            }
        }
        let sessions = self.store.sessions().await?;
        let alive = sessions.iter().map(|(session, _)| session);
        for session in alive.filter(|its| its.state != SessionState::Lost && its.expire_time >= now) {
            for served in &session.commands {
                let of = all.entry(served.command.clone()).or_default();
                of.worker_processes.push(session.name.clone());
                of.versions.extend(Some(served.version.clone()).filter(|version| !version.is_empty()));
            }
        }
        for (command, of) in &mut all {
            of.worker = self.commands.worker_of(&Work::Command(command.clone()));
            of.command.clone_from(command);
        }
        Ok(all.into_values().collect())
    }
}

/// The busiest first: those with most jobs that have not ended or that ended.
fn busiest(mut commands: Vec<CommandFigures>) -> Vec<CommandFigures> {
    let busy = |its: &CommandFigures| {
        let LiveCounts { scheduled, blocked, queued, running, .. } = its.live;
        let Tally { enqueued, completed, failed, cancelled, .. } = its.tally;
        scheduled + blocked + queued + running + enqueued + completed + failed + cancelled
    };
    commands.retain(|its| busy(its) > 0);
    commands.sort_by(|one, two| (busy(two), &one.work).cmp(&(busy(one), &two.work)));
    commands.truncate(limits::OVERVIEW_ROWS_MAX);
    commands
}
