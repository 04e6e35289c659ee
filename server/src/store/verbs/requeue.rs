//! Requeueing: a new run of a job that failed or was cancelled.

use crate::model::{Ending, Epoch, Job, JobId, Month, ReadyKey, Route, RouteId, Run, State, Time, Turn};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{ReadyRow, read_job};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, transact};
use crate::store::value::values;
use crate::store::verbs::enqueue::{holder_of_request, keep_request};
use crate::store::verbs::ids;
use crate::store::{RequeueAnswer, Result};

/// What one try came to.
enum Verdict {
    Answer(RequeueAnswer),
    /// Nothing was changed: the job goes to a route whose id is not known here.
    NeedRoute(Route),
}

impl SqlStore {
    pub(crate) async fn requeue(
        &self,
        job: JobId,
        run: Option<Run>,
        request_id: &str,
    ) -> Result<RequeueAnswer> {
        loop {
            let Some(row) = self.month_of(job).await? else { return Ok(RequeueAnswer::NotFound) };
            if row.moved_to.is_some() {
                self.fetch_back(job, &row).await?;
            }
            match transact!(self.engine, Class::Vital, |unit| self
                .requeue_in(unit, job, run, request_id, row.month))?
            {
                Verdict::NeedRoute(route) => {
                    self.routes(&[route]).await?;
                }
                Verdict::Answer(RequeueAnswer::NotFound)
                    if self.months.is_in_newest(job) && self.reload_months().await? => {}
                Verdict::Answer(answer) => return Ok(answer),
            }
        }
    }

    async fn requeue_in(
        &self,
        unit: &mut Unit<'_>,
        job: JobId,
        run: Option<Run>,
        request_id: &str,
        month: Month,
    ) -> Try<Verdict> {
        let Some(mut row) = unit.fetch_one(Sql::LockJob, Place::Month(month), values![job]).await? else {
            return Ok(Verdict::Answer(RequeueAnswer::NotFound));
        };
        let job = read_job(&mut row, month)?;
        if let Some(first) = holder_of_request(unit, request_id).await? {
            let is_repeat = first == job.id;
            let answer =
                if is_repeat { RequeueAnswer::Repeated(job.run) } else { RequeueAnswer::RequestReused };
            return Ok(Verdict::Answer(answer));
        }
        if let Some(run) = run.filter(|run| *run != job.run) {
            let next = Run(run.0.saturating_add(1));
            let known = (Run(1)..job.run).contains(&run);
            let answer = if known { RequeueAnswer::Repeated(next) } else { RequeueAnswer::NoSuchRun(run) };
            return Ok(Verdict::Answer(answer));
        }
        let now = unit.now().await?;
        let epoch = match last_epoch(unit, &job, now).await? {
            Ok(epoch) => epoch,
            Err(state) => return Ok(Verdict::Answer(RequeueAnswer::Refused(state))),
        };
        let route = job.spec.route();
        match self.routes.get(&route) {
            None => Ok(Verdict::NeedRoute(route)),
            Some(id) => {
                keep_request(unit, request_id, job.id, now).await?;
                Ok(Verdict::Answer(RequeueAnswer::Requeued(begin_run(unit, job, id, epoch, now).await?)))
            }
        }
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

async fn begin_run(unit: &mut Unit<'_>, job: Job, route: RouteId, last: Epoch, now: Time) -> Try<Run> {
    let old = job.run;
    let run = Run(old.0.saturating_add(1));
    let ready = ReadyKey { route, priority: job.spec.priority, ready_time: now, job: job.id };
    let job = Job { run, run_time: now, ready, ..job };
    let turn = Turn { epoch: last.next(now), ..Turn::default() };
    unit.insert(Sql::InsertReady, Place::Fixed, vec![ReadyRow::first(&job, turn, Time::NEVER).values()])
        .await?;
    unit.execute(Sql::ForgetProgress, Place::Fixed, values![job.id]).await?;
    let guard = values![run, now, route, ready.priority, now, job.id, old];
    if unit.execute(Sql::RequeueJob, Place::Month(job.month), guard).await? != 1 {
        return Err(Fault::raced("requeued job"));
    }
    Ok(run)
}
