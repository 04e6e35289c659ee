//! Several jobs are stored together, or none: see README.md.

use std::collections::HashSet;

use haulier::proto::JobState;
use haulier::{Client, Code, Dependency, Enqueue, HandlerError, Job, JobFilter};
use serde_json::{Value, json};

use crate::stage::{Result, ensure, expect, fields, jobs_of, named, present, refusal, worker, working};

async fn fetch(_: Job, request: Value) -> Result<Value, HandlerError> {
    Ok(json!({ "page": request["page"] }))
}

async fn store(job: Job, (): ()) -> Result<usize, HandlerError> {
    Ok(job.parents().len())
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let page =
        |page: u32| -> Enqueue { client.enqueue_named("fetch", json!({ "page": page })).queue(&queue) };
    let key = |job: &haulier::JobHandle| job.local_key().to_owned();

    let both = client
        .enqueue_named("store", ())
        .queue(&queue)
        .depends_on(Dependency::local_key("one"))
        .depends_on(Dependency::local_key("two"));
    let batch = client.enqueue_batch().batch_id(named("batch"));
    let stored = batch.push_as("one", page(1)).push_as("two", page(2)).push(both).await?;
    expect("the local keys", stored.jobs.iter().map(key).collect::<Vec<_>>(), ["one", "two", ""])?;
    expect("the state of the third", stored.jobs[2].state(), JobState::Blocked)?;
    working(worker(&client, &queue).named("fetch", fetch).named("store", store), async {
        let results = futures::future::try_join_all(stored.jobs.iter().map(|job| job.wait())).await?;
        expect("the results", results, [json!({ "page": 1 }), json!({ "page": 2 }), json!(2)])
    })
    .await?;
    let counts = present("the counts", client.get_batch(named("batch")).await?.counts)?;
    expect("the counts", (counts.total, counts.completed), (3, 3))?;
    let listed = jobs_of(&client, JobFilter { batch_id: named("batch"), ..Default::default() }).await?;
    let ids: HashSet<i64> = stored.jobs.iter().map(|job| job.id()).collect();
    expect("the number of jobs in the list", listed.len(), 3)?;
    expect("the list", listed.iter().map(|job| job.id).collect::<HashSet<_>>(), ids)?;

    let batch = client.enqueue_batch().batch_id(named("bad"));
    let bad = batch.push_as("same", page(1)).push_as("same", page(2));
    let refused = refusal("two items with one key", Code::InvalidArgument, bad).await?;
    let named_it =
        fields(&refused).iter().any(|field| field.contains("items[1]") && field.contains("local_key"));
    ensure!(named_it, "expected the field items[1].local_key, saw {:?}", fields(&refused));
    refusal("the bad batch", Code::NotFound, client.get_batch(named("bad"))).await?;

    let own = client.enqueue_batch().push(page(3)).await?;
    ensure!(!own.batch_id.is_empty(), "expected a batch id from the server, saw none");
    own.jobs[0].cancel().await?;
    Ok(())
}
