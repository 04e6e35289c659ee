//! What a handler enqueues counts only if it succeeds: see README.md.

use std::collections::HashSet;

use haulier::proto::{CancelReason, JobCounts, JobState};
use haulier::{Client, HandlerError, Job, JobFilter, NonRetryable};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{
    Result, attempts_of, ensure, expect, failure, jobs_of, named, present, summary, time, until, worker,
    working,
};

#[derive(Deserialize)]
struct Outer {
    fail: bool,
}

async fn outer(job: Job, Outer { fail }: Outer) -> Result<Value, HandlerError> {
    let queue = &job.options().queue;
    let inner = || job.enqueue_named("inner", ()).queue(queue).batch_id(batch_of(fail));
    let child = inner().depends_on(job.id()).await?;
    job.enqueue_with_result(inner())?;
    if fail {
        Err(NonRetryable("as asked"))?;
    }
    Ok(json!({ "child": child.id() }))
}

fn batch_of(fail: bool) -> String {
    format!("{}-{fail}", named("atomic"))
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let finished = async |fail: bool| -> Result<JobCounts> {
        let batch = until("the batch is finished", async || {
            let batch = client.get_batch(batch_of(fail)).await?;
            Ok(batch.finish_time.is_some().then_some(batch))
        });
        present("the counts of a batch", batch.await?.counts)
    };
    let of_batch = |fail: bool| JobFilter { batch_id: batch_of(fail), ..Default::default() };
    let inner = |_, (): ()| async { Ok("ran") };
    working(worker(&client, &queue).named("outer", outer).named("inner", inner), async {
        let job = client.enqueue_named("outer", json!({ "fail": false })).queue(&queue).await?;
        let child = job.wait().await?["child"].clone();
        let counts = finished(false).await?;
        expect("the first batch", (counts.total, counts.completed), (2, 2))?;
        let ended = time("the end of the outer", summary(&client, job.id()).await?.finish_time)?;
        let inners = jobs_of(&client, of_batch(false)).await?;
        ensure!(inners.iter().any(|one| child == one.id), "expected {child} in the batch, saw {inners:?}");
        let parents: HashSet<i64> = inners.iter().map(|one| one.parent_id).collect();
        expect("the parents", parents, HashSet::from([job.id()]))?;
        for one in inners {
            let started = time("the start of an inner", one.start_time)?;
            ensure!(
                started >= ended,
                "expected {} to start after the outer ended, it started before",
                one.id
            );
        }

        let job = client.enqueue_named("outer", json!({ "fail": true })).queue(&queue).await?;
        failure("the outer that fails", job.wait()).await?;
        let counts = finished(true).await?;
        expect("the second batch", (counts.total, counts.cancelled), (1, 1))?;
        let left = jobs_of(&client, of_batch(true)).await?;
        ensure!(left.len() == 1, "expected one job in the second batch, saw {left:?}");
        let seen = (left[0].state(), left[0].cancel_reason());
        expect("its job", seen, (JobState::Cancelled, CancelReason::Parent))?;
        expect("its attempts", attempts_of(&client, left[0].id).await?, [])
    })
    .await
}
