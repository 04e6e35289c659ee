//! Commands as worker processes declare them: which named worker their jobs belong to.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Job, JobId, Phase, ReadyKey, Route, RouteId, Spec, Time, View, Wait, Work};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::ReadyRow;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{key, to_json, values};
use crate::store::verbs::lane::{Lanes, lock_ready_rows, move_rows, place_of, wake_of};
use crate::store::{CommandRow, Declaration, LabelKind, Result, Wake};

impl SqlStore {
    pub(crate) async fn commands(&self) -> Result<Vec<CommandRow>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch(Sql::ReadCommands, Place::Fixed, Vec::new()).await?;
            let read = |mut row: crate::store::value::Columns| {
                Ok(CommandRow {
                    command: row.text()?,
                    worker: row.text()?,
                    declare_time: Time(row.int()?),
                    change_time: Time(row.int()?),
                })
            };
            rows.into_iter().map(read).collect()
        })
    }

    pub(crate) async fn declare(&self, declarations: &[Declaration]) -> Result<Vec<CommandRow>> {
        if declarations.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.engine, Class::Vital, |unit| declare(unit, declarations))
    }

    pub(crate) async fn follow_declaration(
        &self,
        command: &str,
        worker: &str,
        live: &[View],
    ) -> Result<Wake> {
        let lane = match worker {
            "" => None,
            worker => self.routes(&[Route::lane(worker)]).await?.first().copied(),
        };
        let concerned: Vec<JobId> = live
            .iter()
            .filter(|view| matches!(view.phase, Phase::Ready(_)) && follows(&view.job, command, worker))
            .map(|view| view.job.id)
            .collect();
        if concerned.is_empty() {
            return Ok(Wake::default());
        }
        transact!(self.engine, Class::Vital, |unit| {
            self.move_to_lane(unit, &concerned, command, (worker, lane))
        })
    }

    async fn move_to_lane(
        &self,
        unit: &mut Unit<'_>,
        jobs: &[JobId],
        command: &str,
        (worker, lane): (&str, Option<RouteId>),
    ) -> Try<Wake> {
        let jobs: BTreeMap<JobId, Job> = self
            .lock_jobs(unit, jobs)
            .await?
            .into_iter()
            .filter(|job| follows(job, command, worker))
            .map(|job| (job.id, job))
            .collect();
        let old = jobs.values().filter_map(|job| self.routes.get(&job.spec.lane()?));
        let mut lanes = Lanes::lock(unit, old.chain(lane)).await?;
        let keys: Vec<ReadyKey> = jobs.values().map(|job| job.ready).collect();
        // Those that are gone run by now: they keep the lane they started in.
        let mut rows = lock_ready_rows(unit, &keys).await?;
        rows.sort_unstable_by_key(|row| row.key.job);
        let now = unit.now().await?;
        let mut targets = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(old) = row.lane {
                lanes.leave(old, row.key.job);
            }
            targets.push(enter(&mut lanes, ReadyRow { lane, ..row.clone() }, row, now));
        }
        let mut moved = move_rows(unit, &rows, targets).await?;
        for row in &rows {
            let Some(job) = jobs.get(&row.key.job) else { continue };
            let mut spec = Spec::clone(&job.spec);
            spec.worker.name = worker.to_owned();
            unit.execute(Sql::MoveSpecs, Place::Month(job.month), values![to_json(&spec)?, job.id]).await?;
            if !worker.is_empty() {
                let label = values![LabelKind::Worker.code(), key(worker), job.id];
                unit.insert(Sql::InsertLabels, Place::Month(job.month), vec![label]).await?;
            }
        }
        moved.extend(lanes.close(unit, now).await?);
        Ok(wake_of(&moved))
    }
}

/// Does this job take its named worker from its command, and has it another than that declares?
fn follows(job: &Job, command: &str, worker: &str) -> bool {
    let spec = &job.spec;
    spec.work == Work::Command(command.into()) && !spec.worker.is_own && spec.worker.name != worker
}

/// Where a waiting job goes whose lane was changed.
fn enter(lanes: &mut Lanes, row: ReadyRow, was: &ReadyRow, now: Time) -> ReadyRow {
    if was.waits_for_parents() {
        return row;
    }
    let due = match crate::store::rows::wait_of(was.key.route, was.lane) {
        Wait::Turn(_) => now,
        Wait::Worker | Wait::Parents => was.key.ready_time,
    };
    let key = ReadyKey { ready_time: due, ..row.key };
    lanes.enter(ReadyRow { key, ..row }, place_of(was.key.job), now)
}

async fn declare(unit: &mut Unit<'_>, declarations: &[Declaration]) -> Try<Vec<CommandRow>> {
    let mut declarations: Vec<&Declaration> = declarations.iter().collect();
    declarations.sort_by(|one, two| one.command.cmp(&two.command));
    declarations.dedup_by(|one, two| one.command == two.command);
    let by_name = |chunk: &[&Declaration]| chunk.iter().map(|one| key(&one.command)).collect();
    let mut known: HashMap<String, (String, Time)> = HashMap::new();
    for mut row in unit.fetch_each(Sql::LockCommands, Place::Fixed, &declarations, by_name).await? {
        known.insert(row.text()?, (row.text()?, Time(row.int()?)));
    }
    let now = unit.now().await?;
    let (mut rows, mut changed) = (Vec::new(), Vec::new());
    for one in declarations {
        let was = known.get(&one.command);
        let same = was.map_or(one.worker.is_empty(), |(worker, _)| *worker == one.worker);
        // A command that is new here and has no named worker changes nothing for any job.
        let change_time = if same { was.map_or(Time(0), |(_, changed)| *changed) } else { now };
        let schema = (!one.request_schema.is_empty()).then_some(one.request_schema.as_str());
        rows.push(values![
            key(&one.command),
            one.worker.as_str(),
            one.version.as_str(),
            schema,
            now,
            change_time
        ]);
        if !same {
            let (command, worker) = (one.command.clone(), one.worker.clone());
            changed.push(CommandRow { command, worker, declare_time: now, change_time });
        }
    }
    if unit.insert(Sql::UpsertCommands, Place::Fixed, rows).await? == 0 {
        return Err(Fault::other("a declaration of commands was not stored"));
    }
    Ok(changed)
}
