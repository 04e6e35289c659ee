//! Requeueing: a new run of a job that failed or was cancelled.

use crate::model::{
    Dependency, Ending, Epoch, Job, JobId, Month, ReadyKey, Route, RouteId, Run, State, Time, Turn,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{ReadyRow, read_job};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, transact};
use crate::store::value::values;
use crate::store::verbs::enqueue::{holder_of_request, keep_request};
use crate::store::verbs::family::Family;
use crate::store::verbs::ids;
use crate::store::verbs::lane::{Lanes, last_place, wake_of};
use crate::store::{RequeueAnswer, Result, Wake};

/// What is to be done.
struct Order<'a> {
    /// The run to redo; none: the present one.
    run: Option<Run>,
    request_id: &'a str,
    /// Parents that the new run waits for.
    waits: &'a [Dependency],
}

/// What one try came to.
enum Verdict {
    Answer(RequeueAnswer, Wake),
    /// Nothing was changed: the job goes to routes whose ids are not known here.
    NeedRoutes(Vec<Route>),
}

impl SqlStore {
    pub(crate) async fn requeue(
        &self,
        job: JobId,
        run: Option<Run>,
        request_id: &str,
    ) -> Result<(RequeueAnswer, Wake)> {
        self.requeue_by(job, &Order { run, request_id, waits: &[] }).await
    }

    pub(crate) async fn requeue_child(
        &self,
        job: JobId,
        waits: &[Dependency],
    ) -> Result<(RequeueAnswer, Wake)> {
        self.requeue_by(job, &Order { run: None, request_id: "", waits }).await
    }

    async fn requeue_by(&self, job: JobId, order: &Order<'_>) -> Result<(RequeueAnswer, Wake)> {
        loop {
            let Some(row) = self.month_of(job).await? else {
                return Ok((RequeueAnswer::NotFound, Wake::default()));
            };
            if row.moved_to.is_some() {
                self.fetch_back(job, &row).await?;
            }
            match transact!(self.engine, Class::Vital, |unit| self.requeue_in(unit, job, order, row.month))? {
                Verdict::NeedRoutes(routes) => {
                    self.routes(&routes).await?;
                }
                Verdict::Answer(RequeueAnswer::NotFound, _)
                    if self.months.is_in_newest(job) && self.reload_months().await? => {}
                Verdict::Answer(answer, wake) => return Ok((answer, wake)),
            }
        }
    }

    async fn requeue_in(
        &self,
        unit: &mut Unit<'_>,
        job: JobId,
        order: &Order<'_>,
        month: Month,
    ) -> Try<Verdict> {
        let Order { run, request_id, waits } = *order;
        let nothing = |answer| Ok(Verdict::Answer(answer, Wake::default()));
        // Parents before their child: leases, then jobs.
        let family = Family::meet_again(self, unit, job, waits).await?;
        if !family.doomed.is_empty() {
            return nothing(RequeueAnswer::Refused(State::Cancelled));
        }
        let Some(mut row) = unit.fetch_one(Sql::LockJob, Place::Month(month), values![job]).await? else {
            return nothing(RequeueAnswer::NotFound);
        };
        let job = read_job(&mut row, month)?;
        if let Some(first) = holder_of_request(unit, request_id).await? {
            let is_repeat = first == job.id;
            let answer =
                if is_repeat { RequeueAnswer::Repeated(job.run) } else { RequeueAnswer::RequestReused };
            return nothing(answer);
        }
        if let Some(run) = run.filter(|run| *run != job.run) {
            let next = Run(run.0.saturating_add(1));
            let known = (Run(1)..job.run).contains(&run);
            let answer = if known { RequeueAnswer::Repeated(next) } else { RequeueAnswer::NoSuchRun(run) };
            return nothing(answer);
        }
        let now = unit.now().await?;
        let epoch = match last_epoch(unit, &job, now).await? {
            Ok(epoch) => epoch,
            Err(state) => return nothing(RequeueAnswer::Refused(state)),
        };
        let routes: Vec<Route> = std::iter::once(job.spec.route()).chain(job.spec.lane()).collect();
        let ids: Vec<RouteId> = routes.iter().filter_map(|route| self.routes.get(route)).collect();
        if ids.len() < routes.len() {
            return Ok(Verdict::NeedRoutes(routes));
        }
        keep_request(unit, request_id, job.id, now).await?;
        let goal = Goal { route: ids[0], lane: ids.get(1).copied(), last: epoch, family };
        let (run, wake) = begin_run(unit, job, goal, now).await?;
        Ok(Verdict::Answer(RequeueAnswer::Requeued(run), wake))
    }
}

/// The epoch of the outcome of the job's present run, or the state that forbids a new one.
async fn last_epoch(unit: &mut Unit<'_>, job: &Job, now: Time) -> Try<Result<Epoch, State>> {
    let outcome = unit.fetch_one(Sql::ReadEndings, Place::Month(job.month), values![job.id, job.run]).await?;
    let Some(mut outcome) = outcome else {
        let leases = unit.fetch_each(Sql::ReadLeasesByJob, Place::Fixed, &[job.id], ids).await?;
        let waiting = if job.ready.ready_time > now { State::Scheduled } else { State::Queued };
        return Ok(Err(if leases.is_empty() { waiting } else { State::Running }));
    };
    outcome.skip(2);
    let epoch = Epoch(outcome.int()?);
    Ok(match outcome.coded(Ending::from_code)? {
        Ending::Failed | Ending::Cancelled => Ok(epoch),
        Ending::Executed | Ending::Completed => Err(State::Completed),
    })
}

/// Where a new run goes.
struct Goal {
    route: RouteId,
    lane: Option<RouteId>,
    /// The epoch of the outcome before it.
    last: Epoch,
    /// The parents that it waits for.
    family: Family,
}

/// Stores the first ready row of a new run. In a lane it goes behind all who wait.
async fn begin_run(unit: &mut Unit<'_>, job: Job, goal: Goal, now: Time) -> Try<(Run, Wake)> {
    let Goal { route, lane, last, family } = goal;
    let old = job.run;
    let run = Run(old.0.saturating_add(1));
    let ready = ReadyKey { route, priority: job.spec.priority, ready_time: now, job: job.id };
    let job = Job { run, run_time: now, ready, ..job };
    let turn = Turn { epoch: last.next(now), ..Turn::default() };
    let row = ReadyRow::first(&job, turn, Time::NEVER, lane);
    let mut lanes = Lanes::lock(unit, lane.into_iter()).await?;
    let row = if family.waits.is_empty() {
        let place = last_place(unit, lane, job.id).await?;
        lanes.enter(row, place, now)
    } else {
        row.behind_parents()
    };
    family.flag_parents(unit).await?;
    unit.insert(Sql::InsertEdges, Place::Fixed, family.edges()).await?;
    unit.insert(Sql::InsertReady, Place::Fixed, vec![row.values()]).await?;
    let mut rows = lanes.close(unit, now).await?;
    unit.execute(Sql::ForgetProgress, Place::Fixed, values![job.id]).await?;
    let guard = values![run, now, row.key.route, row.key.priority, row.key.ready_time, job.id, old];
    if unit.execute(Sql::RequeueJob, Place::Month(job.month), guard).await? != 1 {
        return Err(Fault::raced("requeued job"));
    }
    rows.push(row);
    Ok((run, wake_of(&rows)))
}
