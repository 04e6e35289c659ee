//! Which jobs share a batch id. The ids of a batch come in a row, so that one row stands for all of them.

use crate::model::{Job, JobId, Month, Order};
use crate::store::fault::Try;
use crate::store::statement::{Place, Sql};
use crate::store::unit::Unit;
use crate::store::value::{Value, key, values};

/// Jobs of one batch whose ids are in a row.
struct Stretch<'j> {
    batch_id: &'j str,
    first: JobId,
    last: JobId,
}

impl Stretch<'_> {
    fn values(&self) -> Vec<Value> {
        values![key(self.batch_id), self.first, self.last]
    }
}

/// Makes new jobs of a month findable by their batch ids.
pub(super) async fn insert_batches(unit: &mut Unit<'_>, month: Month, jobs: &[&Job]) -> Try<()> {
    let rows = stretches(jobs).iter().map(Stretch::values).collect();
    unit.insert(Sql::InsertBatches, Place::Month(month), rows).await?;
    Ok(())
}

/// Forgets jobs, but not the stretches that they share with others.
pub(super) async fn delete_batches(unit: &mut Unit<'_>, month: Month, jobs: &[Job]) -> Try<()> {
    let alone = |job: &Job| Stretch { batch_id: &job.spec.batch_id, first: job.id, last: job.id }.values();
    let rows: Vec<Vec<Value>> = jobs.iter().filter(|job| !job.spec.batch_id.is_empty()).map(alone).collect();
    let bound = |chunk: &[Vec<Value>]| chunk.concat();
    unit.execute_each(Sql::DeleteBatches, Place::Month(month), &rows, bound).await?;
    Ok(())
}

/// The fewest stretches that hold these jobs and no other.
fn stretches<'j>(jobs: &[&'j Job]) -> Vec<Stretch<'j>> {
    let mut jobs: Vec<&'j Job> = jobs.iter().copied().filter(|job| !job.spec.batch_id.is_empty()).collect();
    jobs.sort_unstable_by_key(|job| job.id);
    let mut stretches: Vec<Stretch<'j>> = Vec::new();
    for job in jobs {
        let batch_id = &job.spec.batch_id;
        match stretches.last_mut() {
            Some(last) if last.batch_id == batch_id && last.last.0 + 1 == job.id.0 => last.last = job.id,
            _ => stretches.push(Stretch { batch_id, first: job.id, last: job.id }),
        }
    }
    stretches
}

/// The ids of a batch beyond an id in the order of the walk, so many at most.
pub(super) async fn read_batch(
    unit: &mut Unit<'_>,
    place: Place,
    batch_id: &str,
    (order, beyond): (Order, i64),
    limit: i64,
) -> Try<Vec<JobId>> {
    let mut page = Page { order, beyond, limit: usize::try_from(limit).unwrap_or_default(), ids: Vec::new() };
    if order == Order::NewestFirst {
        page.add(
            read_stretches(unit, Sql::WalkBatchDown, place, values![key(batch_id), beyond, limit]).await?,
        );
        return Ok(page.ids);
    }
    // The stretch that the id lies in begins before it: of all that do only the last can reach beyond.
    if beyond > 0 {
        let bound = values![key(batch_id), beyond.saturating_add(1), 1_i64];
        page.add(read_stretches(unit, Sql::WalkBatchDown, place, bound).await?);
    }
    if page.ids.len() < page.limit {
        page.add(read_stretches(unit, Sql::WalkBatchUp, place, values![key(batch_id), beyond, limit]).await?);
    }
    Ok(page.ids)
}

async fn read_stretches(
    unit: &mut Unit<'_>,
    sql: Sql,
    place: Place,
    bound: Vec<Value>,
) -> Try<Vec<(i64, i64)>> {
    let rows = unit.fetch(sql, place, bound).await?;
    rows.into_iter().map(|mut row| Ok((row.int()?, row.int()?))).collect()
}

/// Ids that a walk has come upon.
struct Page {
    order: Order,
    beyond: i64,
    limit: usize,
    ids: Vec<JobId>,
}

impl Page {
    /// Adds what there is room for.
    fn add(&mut self, stretches: Vec<(i64, i64)>) {
        for (first, last) in stretches {
            let room = self.limit.saturating_sub(self.ids.len());
            match self.order {
                Order::OldestFirst => {
                    let first = first.max(self.beyond.saturating_add(1));
                    self.ids.extend((first..=last).map(JobId).take(room));
                }
                Order::NewestFirst => {
                    let last = last.min(self.beyond.saturating_sub(1));
                    self.ids.extend((first..=last).rev().map(JobId).take(room));
                }
            }
        }
    }
}
