//! Recurring tasks: what operators do with them, and what becomes of times that are due.
//!
//! Every server looks for due times, and there is no leader: a decision about a due time names how the task was seen, so
//! that of several servers one wins, and its job, the record of the decision and the next due time are stored in one
//! transaction. A hint starts a look at once after a task was changed here, and a look every second finds what other
//! servers changed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::unit::unit;
use super::{
    Core, Engine, EnqueueCall, Error, ListTasksCall, Page, ParentCall, ParentKey, PutTask, PutTaskCall,
    Result, TaskView, Triggered,
};
use crate::model::schedule::Schedule;
use crate::model::{
    CancelReason, Condition, Definition, Due, JobId, Moments, Overlap, Payload, RefPolicy, Skip, Spec,
    Standing, Task, TaskId, TaskParent, TaskRun, Time, View, Work, decide, digest, due_ref_id, first_due,
    limits, read_token, write_token,
};
use crate::store::{
    CancelOrder, Decision, Enqueued, NewJob, Payloads, StoreError, TaskChange, TaskChanged, TaskKey,
};

const TASKS_TOKEN: &str = "r1";
/// Tasks read in one step of a list.
const STEP: i64 = 100;
/// Decisions about one task in one look, so that a task with a long past does not make others late.
const DECISIONS_AT_ONCE: usize = 20;

/// What this server knows of due times.
#[derive(Default)]
pub(crate) struct Recurring {
    /// The last look, and since when servers look at what is due.
    looks: Mutex<Option<Looks>>,
    hint: Notify,
}

#[derive(Clone, Copy)]
struct Looks {
    last: Time,
    watched_since: Time,
}

impl Engine {
    /// Makes or changes a task. Done again it changes nothing: it never fires, resets or unpauses.
    pub async fn put_task(&self, call: PutTaskCall) -> Result<(TaskView, PutTask)> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let (task, put) = core.put_task(call).await?;
            Ok((core.task_view(task).await?, put))
        })
        .await
    }

    /// A task by its name.
    pub async fn task(&self, name: String) -> Result<TaskView> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let task = core.find_task(&name).await?;
            core.task_view(task).await
        })
        .await
    }

    /// A page of tasks in the order of their names, without their requests.
    pub async fn tasks(&self, call: ListTasksCall) -> Result<Page<TaskView>> {
        let core = Arc::clone(&self.core);
        unit(async move { core.list_tasks(&call).await }).await
    }

    /// Forgets a task; its jobs stay. Answers the task as it was.
    pub async fn delete_task(&self, name: String) -> Result<TaskView> {
        let core = Arc::clone(&self.core);
        unit(async move {
            loop {
                let task = core.find_task(&name).await?;
                let view = core.task_view(task.clone()).await?;
                if core.store.delete_task(task.id, task.revision).await? {
                    return Ok(view);
                }
            }
        })
        .await
    }

    /// Pauses a task; one that is paused stays so.
    pub async fn pause_task(&self, name: String, reason: String) -> Result<TaskView> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let pause = |task: &mut Task, _| {
                task.standing.paused.get_or_insert_with(|| reason.clone());
                task.standing.next_time = None;
                Ok(())
            };
            let task = core.change_standing(&name, pause).await?;
            core.task_view(task).await
        })
        .await
    }

    /// Resumes a task: it goes on with the next due time from now.
    pub async fn resume_task(&self, name: String) -> Result<TaskView> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let resume = |task: &mut Task, now| {
                if task.standing.paused.take().is_some() && task.definition.enabled {
                    task.standing.next_time =
                        first_due(&task.definition, &schedule(task)?, task.standing.anchor, now);
                }
                Ok(())
            };
            let task = core.change_standing(&name, resume).await?;
            core.task_view(task).await
        })
        .await
    }

    /// Runs a task now, whatever its overlap policy; when it is due next stays as it is.
    pub async fn trigger_task(&self, name: String, request_id: String) -> Result<Triggered> {
        let core = Arc::clone(&self.core);
        unit(async move { core.trigger_task(&name, &request_id).await }).await
    }

    /// Looks for due times and decides about them, until `stop`.
    pub async fn run_recurring(&self, stop: CancellationToken) -> Result<()> {
        let recurring = &self.core.recurring;
        while !stop.is_cancelled() {
            let core = Arc::clone(&self.core);
            let next = unit(async move { core.tick_all().await }).await?;
            let until_next =
                next.map_or(limits::TASK_LOOK_INTERVAL, |next| next.since(self.core.clock.now()));
            tokio::select! {
                () = recurring.hint.notified() => {}
                () = tokio::time::sleep(until_next.min(limits::TASK_LOOK_INTERVAL)) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }
}

impl Recurring {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Looks>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The schedule of a stored task, which was read before it was stored.
fn schedule(task: &Task) -> Result<Schedule> {
    let unreadable = |error| Error::Internal(format!("the schedule of task {}: {error}", task.id));
    task.definition.timing.schedule(Some(&task.name)).map_err(unreadable)
}

fn is_active(task: &Task) -> bool {
    task.definition.enabled && task.standing.paused.is_none()
}

/// What operators do.
impl Core {
    async fn find_task(&self, name: &str) -> Result<Task> {
        let task = self.store.task(TaskKey::Name(name)).await?;
        task.ok_or_else(|| Error::NotFound { kind: "recurring task", name: name.to_owned() })
    }

    async fn task_view(&self, task: Task) -> Result<TaskView> {
        let mut last = None;
        if let Some(job) = task.standing.last_job {
            last = self.store.views(&[job], Payloads::LeftOut).await?.pop();
        }
        let last = last.or_else(|| self.last_transient(&task));
        Ok(TaskView { task, last })
    }

    async fn put_task(&self, call: PutTaskCall) -> Result<(Task, PutTask)> {
        loop {
            let now = self.clock.now();
            let Some(old) = self.store.task(TaskKey::Name(&call.name)).await? else {
                let new = new_task(&call, now)?;
                if let Some(id) = self.store.make_task(&new).await? {
                    self.recurring.hint.notify_one();
                    return Ok((Task { id, ..new }, PutTask::Created));
                }
                continue;
            };
            let enabled = call.enabled.unwrap_or(old.definition.enabled);
            let definition = Definition { enabled, ..call.definition.clone() };
            if definition == old.definition && call.request == old.request {
                return Ok((old, PutTask::Unchanged));
            }
            let due = old.standing.next_time;
            let task = redefined(&old, definition, call.request.clone(), now)?;
            let change = TaskChange { task, due, redefined: true, decisions: Vec::new(), jobs: Vec::new() };
            if let TaskChanged::Stored(_) = self.store.change_task(&change).await? {
                self.recurring.hint.notify_one();
                return Ok((stored(change), PutTask::Updated));
            }
        }
    }

    /// Changes how a task stands, again if somebody else changed it meanwhile.
    async fn change_standing(
        &self,
        name: &str,
        change: impl Fn(&mut Task, Time) -> Result<()>,
    ) -> Result<Task> {
        loop {
            let old = self.find_task(name).await?;
            let mut task = old.clone();
            change(&mut task, self.clock.now())?;
            if task.standing == old.standing {
                return Ok(old);
            }
            let change = TaskChange {
                task,
                due: old.standing.next_time,
                redefined: false,
                decisions: Vec::new(),
                jobs: Vec::new(),
            };
            if let TaskChanged::Stored(_) = self.store.change_task(&change).await? {
                self.recurring.hint.notify_one();
                return Ok(stored(change));
            }
        }
    }

    async fn trigger_task(self: &Arc<Self>, name: &str, request_id: &str) -> Result<Triggered> {
        loop {
            let task = self.find_task(name).await?;
            if task.definition.run_command {
                return self.trigger_transient(task).await;
            }
            let mut call = run_call(&task, None, Vec::new());
            call.spec.request_id = request_id.to_owned();
            let now = self.clock.now();
            let job = self.new_run(call).await?;
            let (id, ref_id) = (job.job.id, job.job.ref_id());
            let mut standing = task.standing.clone();
            standing.note_run(now, id, ref_id.clone());
            let (task_id, due) = (task.id, task.standing.next_time);
            let change = TaskChange {
                task: Task { standing, ..task },
                due,
                redefined: false,
                decisions: Vec::new(),
                jobs: vec![job],
            };
            match self.store.change_task(&change).await {
                Ok(TaskChanged::Stored(wake)) => {
                    self.heed(wake);
                    self.hub.changed([id]);
                    return Ok(Triggered { job: id, ref_id, created: true });
                }
                Ok(TaskChanged::Raced) => {}
                Err(StoreError::IdTaken) => self.ids.forget().await,
                Err(StoreError::Taken(taken)) => {
                    return self.triggered_before(task_id, request_id, taken).await;
                }
                Err(StoreError::Unknown(why)) => {
                    if self.store.was_enqueued(&change.jobs[0].job).await? {
                        return Ok(Triggered { job: id, ref_id, created: true });
                    }
                    tracing::warn!(why, "a triggered run was not stored");
                    return Err(Error::Unavailable);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs a task now whose runs are not stored.
    async fn trigger_transient(self: &Arc<Self>, task: Task) -> Result<Triggered> {
        let call = run_call(&task, None, Vec::new());
        let ref_id = self.run_detached(call.spec, call.request).await?.job.ref_id();
        let now = self.clock.now();
        self.change_standing(&task.name, |task, _| {
            task.standing.note_transient(now, ref_id.clone());
            Ok(())
        })
        .await?;
        Ok(Triggered { job: JobId(0), ref_id, created: true })
    }

    /// The run that a request id made before.
    async fn triggered_before(
        &self,
        task: TaskId,
        request_id: &str,
        taken: Vec<(usize, Enqueued)>,
    ) -> Result<Triggered> {
        let Some((_, Enqueued::SameRequest(job))) = taken.into_iter().next() else {
            return Err(Error::Internal("the ref id of a triggered run is taken".into()));
        };
        let known = self.view(job).await?.job;
        match &known.spec.task {
            Some(TaskRun { task: of, due: None, .. }) if *of == task => {
                Ok(Triggered { job, ref_id: known.ref_id(), created: false })
            }
            _ => Err(Error::RequestReused(request_id.to_owned())),
        }
    }

    /// The last run of a task whose runs are not stored, if this server knows it still.
    fn last_transient(&self, task: &Task) -> Option<View> {
        let ref_id = Some(&task.standing.last_ref_id).filter(|_| task.definition.run_command)?;
        self.transients.view(self.transients.by_ref(ref_id)?)
    }

    async fn list_tasks(&self, call: &ListTasksCall) -> Result<Page<TaskView>> {
        let mut after = read_tasks_token(call)?;
        let (mut items, mut walked) = (Vec::new(), 0);
        loop {
            let tasks = self.store.tasks(&call.name_prefix, &after, STEP).await?;
            let is_last = (tasks.len() as i64) < STEP;
            walked += tasks.len() as i64;
            for task in tasks {
                if items.len() == call.page_size {
                    return self.tasks_page(call, items, Some(&after)).await;
                }
                after.clone_from(&task.name);
                if matches(call, &task) {
                    items.push(task);
                }
            }
            if is_last || walked >= limits::WALK_ROWS_MAX {
                return self.tasks_page(call, items, (!is_last).then_some(&after)).await;
            }
        }
    }

    async fn tasks_page(
        &self,
        call: &ListTasksCall,
        tasks: Vec<Task>,
        last: Option<&String>,
    ) -> Result<Page<TaskView>> {
        let jobs: Vec<JobId> = tasks.iter().filter_map(|task| task.standing.last_job).collect();
        let mut views = self.store.views(&jobs, Payloads::LeftOut).await?;
        let mut view = |task: Task| {
            let at = views.iter().position(|view| Some(view.job.id) == task.standing.last_job);
            let last = at.map(|at| views.swap_remove(at)).or_else(|| self.last_transient(&task));
            TaskView { last, task }
        };
        let items = tasks.into_iter().map(&mut view).collect();
        let next = last
            .map(|last| write_token(TASKS_TOKEN, &[tasks_digest(call).as_slice(), last.as_bytes()].concat()));
        Ok(Page { items, next: next.unwrap_or_default() })
    }
}

fn new_task(call: &PutTaskCall, now: Time) -> Result<Task> {
    let definition = Definition { enabled: call.enabled.unwrap_or(true), ..call.definition.clone() };
    let standing = Standing::new(definition.start_time.unwrap_or(now));
    let mut task = Task {
        id: TaskId(0),
        name: call.name.clone(),
        definition,
        request: call.request.clone(),
        standing,
        revision: 1,
        create_time: now,
        update_time: now,
    };
    if is_active(&task) {
        task.standing.next_time = first_due(&task.definition, &schedule(&task)?, task.standing.anchor, now);
    }
    Ok(task)
}

/// A task as its new definition has it. When it is due next changes only if the schedule does, or whether it is due at all.
fn redefined(old: &Task, definition: Definition, request: Payload, now: Time) -> Result<Task> {
    let same_schedule = definition.is_due_as(&old.definition);
    let was_active = is_active(old);
    let mut task = Task { definition, request, update_time: now, ..old.clone() };
    let end = task.definition.end_time;
    if !same_schedule {
        task.standing.anchor = task.definition.start_time.unwrap_or(now);
    }
    let kept = task
        .standing
        .next_time
        .filter(|next| same_schedule && was_active && end.is_none_or(|end| *next < end));
    task.standing.next_time = match is_active(&task) {
        false => None,
        true if kept.is_some() => kept,
        true => first_due(&task.definition, &schedule(&task)?, task.standing.anchor, now),
    };
    Ok(task)
}

/// A change that is stored: the task as it is now.
fn stored(change: TaskChange) -> Task {
    Task { revision: change.task.revision + 1, ..change.task }
}

fn matches(call: &ListTasksCall, task: &Task) -> bool {
    let is_command = || task.definition.spec.work == Work::Command(call.command.clone());
    (call.command.is_empty() || is_command())
        && call.paused.is_none_or(|paused| paused == task.standing.paused.is_some())
        && call.enabled.is_none_or(|enabled| enabled == task.definition.enabled)
}

fn tasks_digest(call: &ListTasksCall) -> [u8; 16] {
    let ListTasksCall { name_prefix, command, paused, enabled, .. } = call;
    digest([format!("{name_prefix:?} {command:?} {paused:?} {enabled:?}").as_bytes()])
}

fn read_tasks_token(call: &ListTasksCall) -> Result<String> {
    if call.page_token.is_empty() {
        return Ok(String::new());
    }
    let bad = |message: &str| Error::BadToken { field: "page_token", message: message.into() };
    let bytes = read_token(TASKS_TOKEN, &call.page_token).map_err(|error| bad(&error.to_string()))?;
    match bytes.split_at_checked(16) {
        Some((of, name)) if of == tasks_digest(call) => {
            String::from_utf8(name.to_vec()).map_err(|_| bad("is not a token of this kind"))
        }
        _ => Err(bad("belongs to another query: the filter must be the same on every page")),
    }
}

/// What a run is enqueued as: of a due time, or triggered.
fn run_call(task: &Task, due: Option<Time>, earlier: Vec<JobId>) -> EnqueueCall {
    let Definition { spec, parents, delay, .. } = &task.definition;
    let parents = parents.iter().map(|parent| match parent {
        TaskParent::Id(dependency) => {
            ParentCall { key: ParentKey::Id(dependency.parent), condition: dependency.condition }
        }
        TaskParent::Ref(ref_id, condition) => {
            ParentCall { key: ParentKey::Ref(ref_id.clone()), condition: *condition }
        }
    });
    let earlier =
        earlier.into_iter().map(|job| ParentCall { key: ParentKey::Id(job), condition: Condition::Finished });
    let spec = Box::new(Spec {
        ref_id: due.map(|due| due_ref_id(task.id, due)).unwrap_or_default(),
        task: Some(TaskRun { task: task.id, name: task.name.clone(), due }),
        ..Spec::clone(spec)
    });
    EnqueueCall {
        spec,
        request: task.request.clone(),
        ref_policy: RefPolicy::Fail,
        delay: *delay,
        parents: parents.chain(earlier).collect(),
    }
}

/// What becomes of a due time that a catch-up policy lets run.
enum Verdict {
    /// It runs, after these earlier runs have ended.
    Run(Vec<JobId>),
    /// It is skipped, and why.
    Skip(String),
}

/// The change of a task that a decision comes to, as far as it is about when it is due and what was missed.
fn decided(task: Task, due: Due) -> TaskChange {
    let seen = task.standing.next_time;
    let mut change =
        TaskChange { task, due: seen, redefined: false, decisions: Vec::new(), jobs: Vec::new() };
    change.task.standing.next_time = due.next;
    if let Some(skip) = due.skip {
        change.task.standing.note_skip(&skip, "it was missed while no server ran");
        change.decisions.push(Decision::Skipped(skip));
    }
    change
}

/// Due times.
impl Core {
    /// Decides about all that is due; answers when it is due next, as far as is known.
    async fn tick_all(self: &Arc<Self>) -> Result<Option<Time>> {
        let times = self.moments().await?;
        let mut due = self.store.due_tasks(times.now, limits::DUE_TASKS_MAX).await?;
        // Servers that look at the same moment do not all begin with the same task.
        let first = self.server.0.unsigned_abs() as usize % due.len().max(1);
        due.rotate_left(first);
        let mut is_left = false;
        for task in due {
            match self.tick(task, times).await {
                // The database is of no use for any other task either.
                Err(error @ (Error::Unavailable | Error::DiskFull | Error::ShuttingDown)) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(%task, %error, "a due time could not be decided about");
                    is_left = true;
                }
                Ok(is_decided) => is_left |= !is_decided,
            }
        }
        // What is left stays due, and is looked at again when the next look comes by time.
        if is_left { Ok(None) } else { Ok(self.store.next_task().await?) }
    }

    /// When it is, and since when servers look at what is due: all of them were away when none looked for longer than an
    /// outage takes to be noticed.
    async fn moments(&self) -> Result<Moments> {
        let now = self.clock.now();
        let looks = *self.recurring.lock();
        let watched_since = match looks {
            Some(Looks { last, watched_since }) if now.since(last) <= limits::AMNESTY_AFTER => watched_since,
            _ => {
                let watch = self.store.watch().await?;
                let is_watched = watch.last_tick.is_some_and(|last| now.since(last) <= limits::AMNESTY_AFTER);
                if is_watched { watch.noticed.unwrap_or(Time(0)) } else { now }
            }
        };
        *self.recurring.lock() = Some(Looks { last: now, watched_since });
        Ok(Moments { now, watched_since })
    }

    /// Decides about the due times of one task; false when some are left.
    async fn tick(self: &Arc<Self>, id: TaskId, times: Moments) -> Result<bool> {
        for _ in 0..DECISIONS_AT_ONCE {
            let Some(task) = self.store.task(TaskKey::Id(id)).await? else { return Ok(true) };
            let Some(first) = task.standing.next_time.filter(|due| *due <= times.now) else {
                return Ok(true);
            };
            let is_transient = task.definition.run_command;
            // Another server may have a worker process that serves it: it is left to that one for a while.
            if is_transient && !self.can_run(&task) && times.now < first.plus(limits::RUN_WAIT_DEFAULT) {
                return Ok(false);
            }
            let schedule = schedule(&task)?;
            let due = decide(&task.definition, &schedule, task.standing.anchor, first, times);
            if is_transient { self.act_transient(task, due).await? } else { self.act(task, due).await? }
        }
        Ok(true)
    }

    /// Is a worker process attached here that serves the command of this task?
    fn can_run(&self, task: &Task) -> bool {
        self.serves_here(&task.definition.spec.route())
    }

    /// Stores a decision about due times, with the job that follows from it.
    async fn act(&self, task: Task, due: Due) -> Result<()> {
        let change = self.change_of(task.clone(), due, None).await?;
        match self.store_decision(change).await {
            // An earlier run, or a job that its options name, has more who wait for it than are allowed.
            Err(error @ Error::TooManyChildren(_)) => {
                let change = self.change_of(task, due, Some(error.to_string())).await?;
                self.store_decision(change).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Stores a decision about due times, then begins the transient run that follows from it: at most once for each.
    async fn act_transient(self: &Arc<Self>, task: Task, due: Due) -> Result<()> {
        let mut change = decided(task.clone(), due);
        if let Some(time) = due.run {
            if self.can_run(&task) {
                change.task.standing.note_transient(time, due_ref_id(task.id, time));
                change.decisions.push(Decision::Transient(time));
            } else {
                let Spec { work, queue, .. } = &*task.definition.spec;
                let reason = match work {
                    Work::Command(command) => {
                        format!(
                            "no worker process that serves {command} in queue {queue} was attached to a server"
                        )
                    }
                    Work::Api { .. } => "an API cannot be called by a transient run".into(),
                };
                change.task.standing.note_skip(&Skip::one(time), &reason);
                change.decisions.push(Decision::Skipped(Skip::one(time)));
            }
        }
        let run = change.decisions.iter().any(|decision| matches!(decision, Decision::Transient(_)));
        if self.store_decision(change).await? && run {
            let call = run_call(&task, due.run, Vec::new());
            let core = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = core.run_detached(call.spec, call.request).await {
                    tracing::warn!(task = task.name, %error, "a transient run of a recurring task was lost");
                }
            });
        }
        Ok(())
    }

    /// The change of a task that a decision comes to. `refused` says why its run cannot be stored.
    async fn change_of(&self, task: Task, due: Due, refused: Option<String>) -> Result<TaskChange> {
        let mut change = decided(task, due);
        let Some(time) = due.run else { return Ok(change) };
        let verdict = match refused {
            Some(reason) => Verdict::Skip(reason),
            None => self.overlap(&mut change.task).await?,
        };
        match self.tick_of(&change.task, time, verdict).await? {
            Ok(job) => {
                let (id, ref_id) = (job.job.id, job.job.ref_id());
                change.task.standing.note_run(time, id, ref_id);
                change.decisions.push(Decision::Job(time, id));
                change.jobs.push(job);
            }
            Err(reason) => {
                change.task.standing.note_skip(&Skip::one(time), &reason);
                change.decisions.push(Decision::Skipped(Skip::one(time)));
            }
        }
        Ok(change)
    }

    /// Says whether it was stored.
    async fn store_decision(&self, change: TaskChange) -> Result<bool> {
        match self.store.change_task(&change).await {
            Ok(TaskChanged::Stored(wake)) => {
                self.heed(wake);
                self.hub.changed(change.jobs.iter().map(|job| job.job.id));
                Ok(true)
            }
            // Another server was faster, or the task was changed: it is looked at again.
            Ok(TaskChanged::Raced) => Ok(false),
            Err(StoreError::IdTaken) => {
                self.ids.forget().await;
                Ok(false)
            }
            Err(StoreError::Decided | StoreError::Taken(_)) => self.pass_over(change).await.map(|()| false),
            // Whether it was stored is seen when the task is looked at again.
            Err(error) => Err(error.into()),
        }
    }

    /// A due time that was decided before, as a clock that stepped back or a schedule that was put back may bring: it is
    /// neither run nor counted again.
    async fn pass_over(&self, change: TaskChange) -> Result<()> {
        let next_time = change.task.standing.next_time;
        let Some(mut task) = self.store.task(TaskKey::Id(change.task.id)).await? else { return Ok(()) };
        if task.revision != change.task.revision {
            return Ok(());
        }
        tracing::info!(task = %task.id, due = ?change.due, "a due time was decided before");
        task.standing.next_time = next_time;
        let change = TaskChange { task, decisions: Vec::new(), jobs: Vec::new(), ..change };
        self.store.change_task(&change).await?;
        Ok(())
    }

    /// What the overlap policy says; forgets earlier runs that have ended.
    async fn overlap(&self, task: &mut Task) -> Result<Verdict> {
        let policy = task.definition.overlap;
        if policy == Overlap::Allow || task.standing.open.is_empty() {
            return Ok(Verdict::Run(Vec::new()));
        }
        let views = self.store.views(&task.standing.open, Payloads::LeftOut).await?;
        let open: Vec<View> = views.into_iter().filter(|view| view.outcome().is_none()).collect();
        task.standing.open = open.iter().map(|view| view.job.id).collect();
        let Some(newest) = task.standing.open.last() else { return Ok(Verdict::Run(Vec::new())) };
        let waiting = open.iter().find(|view| {
            view.job.spec.depends_on.iter().any(|parent| task.standing.open.contains(&parent.parent))
        });
        if policy == Overlap::Skip {
            return Ok(Verdict::Skip(format!("job {newest} of an earlier run has not ended")));
        }
        if policy == Overlap::CancelPrevious {
            for view in open.iter().filter(|view| Some(view.job.id) != waiting.map(|view| view.job.id)) {
                self.supersede(view.job.id, &task.name).await?;
            }
        }
        match waiting {
            Some(view) => Ok(Verdict::Skip(format!("job {} waits already for an earlier run", view.job.id))),
            None => Ok(Verdict::Run(task.standing.open.clone())),
        }
    }

    async fn supersede(&self, job: JobId, name: &str) -> Result<()> {
        let order = CancelOrder {
            job,
            reason: CancelReason::Superseded,
            text: format!("a later run of the recurring task {name:?} takes its place"),
            grace: limits::CANCEL_GRACE_DEFAULT,
            only_waiting: false,
        };
        let (_, wake) = self.store.cancel(&order).await?;
        self.heed(wake);
        self.hub.changed([job]);
        Ok(())
    }

    /// The job of a due time, or why it is skipped.
    async fn tick_of(&self, task: &Task, due: Time, verdict: Verdict) -> Result<Result<NewJob, String>> {
        let earlier = match verdict {
            Verdict::Run(earlier) => earlier,
            Verdict::Skip(reason) => return Ok(Err(reason)),
        };
        match self.new_run(run_call(task, Some(due), earlier)).await {
            Ok(job) => Ok(Ok(job)),
            // Its own dependencies name a job that there is no more.
            Err(error @ (Error::Invalid(_) | Error::ParentNotFound(_))) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn new_run(&self, call: EnqueueCall) -> Result<NewJob> {
        let prepared = [self.prepare(call).await?];
        let ids = self.ids.take(&*self.store, 1).await?;
        let mut jobs = self.new_jobs(&prepared, &ids).await?;
        jobs.pop().ok_or_else(|| Error::Internal("a run got lost while it was prepared".into()))
    }
}
