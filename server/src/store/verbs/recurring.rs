//! Recurring tasks and their due times.
//!
//! Every write names the revision that it has seen, and when the task was due: of several servers that decide about a due
//! time one wins, and its decision, the job and the next due time are stored together or not at all.

use crate::model::{JobId, Payload, Skip, Standing, Task, TaskId, Time};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, key, payload_values, to_json, values};
use crate::store::verbs::enqueue::store_all;
use crate::store::verbs::ids::take_ids;
use crate::store::verbs::upkeep::REAPER;
use crate::store::{Decision, Result, StoreError, TaskChange, TaskChanged, TaskKey, Wake, Watch};

/// The name of the row that ids of tasks are taken from.
const TASK: &str = "task";

impl SqlStore {
    pub(crate) async fn make_task(&self, task: &Task) -> Result<Option<TaskId>> {
        transact!(self.engine, Class::Enqueue, |unit| make_task(unit, task))
    }

    pub(crate) async fn task(&self, task: TaskKey<'_>) -> Result<Option<Task>> {
        let (sql, bound) = match task {
            TaskKey::Id(TaskId(id)) => (Sql::ReadTask, Value::Int(id)),
            TaskKey::Name(name) => (Sql::ReadTaskByName, key(name)),
        };
        read!(self.engine, |unit| async {
            let Some(mut row) = unit.fetch_one(sql, Place::Fixed, vec![bound.clone()]).await? else {
                return Ok(None);
            };
            let task = read_task(&mut row)?;
            Ok(Some(Task { request: row.payload()?, ..task }))
        })
    }

    pub(crate) async fn tasks(&self, prefix: &str, after: &str, limit: i64) -> Result<Vec<Task>> {
        // No byte of a text is this one.
        let to = [prefix.as_bytes(), &[u8::MAX]].concat();
        read!(self.engine, |unit| async {
            let bound = values![key(prefix), key(after), to.clone(), limit];
            let rows = unit.fetch(Sql::ReadTasks, Place::Fixed, bound).await?;
            rows.into_iter().map(|mut row| read_task(&mut row)).collect()
        })
    }

    pub(crate) async fn due_tasks(&self, now: Time, limit: i64) -> Result<Vec<TaskId>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch(Sql::DueTasks, Place::Fixed, values![now, limit]).await?;
            rows.into_iter().map(|mut row| Ok(TaskId(row.int()?))).collect()
        })
    }

    pub(crate) async fn next_task(&self) -> Result<Option<Time>> {
        read!(self.engine, |unit| async {
            let row = unit.fetch_one(Sql::NextTask, Place::Fixed, Vec::new()).await?;
            let next = row.map_or(Ok(Time::NEVER), |mut row| row.int().map(Time))?;
            Ok((next < Time::NEVER).then_some(next))
        })
    }

    pub(crate) async fn change_task(&self, change: &TaskChange) -> Result<TaskChanged> {
        transact!(self.engine, Class::Enqueue, |unit| change_task(self, unit, change))
    }

    pub(crate) async fn delete_task(&self, task: TaskId, revision: i64) -> Result<bool> {
        transact!(self.engine, Class::Enqueue, |unit| async {
            Ok(unit.execute(Sql::DeleteTask, Place::Fixed, values![task.0, revision]).await? == 1)
        })
    }

    pub(crate) async fn forget_ticks(&self, before: Time, limit: i64) -> Result<bool> {
        transact!(self.engine, Class::Enqueue, |unit| async {
            let rows = unit.fetch(Sql::OldTicks, Place::Fixed, values![before, limit]).await?;
            let is_full = rows.len() as i64 == limit;
            let old = rows
                .into_iter()
                .map(|mut row| Ok((row.int()?, row.int()?)))
                .collect::<Try<Vec<(i64, i64)>>>()?;
            let keys = |chunk: &[(i64, i64)]| {
                chunk.iter().flat_map(|(time, task)| values![*time, *task]).collect::<Vec<Value>>()
            };
            unit.execute_each(Sql::DeleteTicks, Place::Fixed, &old, keys).await?;
            Ok(is_full)
        })
    }

    pub(crate) async fn watch(&self) -> Result<Watch> {
        read!(self.engine, |unit| async {
            let row = unit.fetch_one(Sql::ReadUpkeep, Place::Fixed, values![key(REAPER)]).await?;
            let mut row = row.ok_or_else(|| Fault::other("the row reaper of upkeep is missing"))?;
            let known = |time: i64| (time > 0).then_some(Time(time));
            Ok(Watch { last_tick: known(row.int()?), noticed: known(row.int()?) })
        })
    }
}

async fn make_task(unit: &mut Unit<'_>, task: &Task) -> Try<Option<TaskId>> {
    let id = take_ids(unit, TASK, 1).await?;
    let [kind, content_type, body] = payload_values(&task.request);
    let row = values![
        id,
        key(&task.name),
        task.revision,
        due_value(task.standing.next_time),
        task.create_time,
        task.update_time,
        to_json(&task.definition)?,
        to_json(&task.standing)?,
        kind,
        content_type,
        body,
    ];
    let stored = unit.insert(Sql::InsertTask, Place::Fixed, vec![row]).await?;
    Ok((stored == 1).then_some(TaskId(id)))
}

async fn change_task(store: &SqlStore, unit: &mut Unit<'_>, change: &TaskChange) -> Try<TaskChanged> {
    let TaskChange { task, due, redefined, decisions, jobs } = change;
    if *redefined {
        let [kind, content_type, body] = payload_values(&task.request);
        let definition = to_json(&task.definition)?;
        let bound = values![task.update_time, definition, kind, content_type, body, task.id.0, task.revision];
        unit.execute(Sql::RedefineTask, Place::Fixed, bound).await?;
    }
    let bound = values![
        task.revision + 1,
        due_value(task.standing.next_time),
        to_json(&task.standing)?,
        task.id.0,
        task.revision,
        due_value(*due),
    ];
    if unit.execute(Sql::MoveTask, Place::Fixed, bound).await? != 1 {
        return Ok(TaskChanged::Raced);
    }
    insert_ticks(unit, task.id, decisions).await?;
    let mut wake = Wake::default();
    if !jobs.is_empty() {
        wake = store_all(store, unit, jobs).await?.1;
    }
    Ok(TaskChanged::Stored(wake))
}

async fn insert_ticks(unit: &mut Unit<'_>, task: TaskId, decisions: &[Decision]) -> Try<()> {
    if decisions.is_empty() {
        return Ok(());
    }
    let now = unit.now().await?;
    let row = |decision: &Decision| match *decision {
        Decision::Job(time, job) => values![time, task.0, time, 0_i64, job, now],
        Decision::Transient(time) => values![time, task.0, time, 0_i64, JobId(0), now],
        Decision::Skipped(Skip { first, last, count }) => values![first, task.0, last, count, JobId(0), now],
    };
    match unit.insert(Sql::InsertTicks, Place::Fixed, decisions.iter().map(row).collect()).await {
        Err(Fault::Duplicate(_)) => Err(Fault::Store(StoreError::Decided)),
        stored => stored.map(drop),
    }
}

fn due_value(due: Option<Time>) -> Time {
    due.unwrap_or(Time::NEVER)
}

fn read_task(row: &mut Columns) -> Try<Task> {
    let (id, name, revision) = (TaskId(row.int()?), row.text()?, row.int()?);
    let next_time = Some(Time(row.int()?)).filter(|time| *time < Time::NEVER);
    let (create_time, update_time) = (Time(row.int()?), Time(row.int()?));
    let definition = row.json()?;
    let standing = Standing { next_time, ..row.json()? };
    let request = Payload::None;
    Ok(Task { id, name, definition, request, standing, revision, create_time, update_time })
}
