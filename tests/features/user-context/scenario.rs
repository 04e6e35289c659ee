//! A job runs on behalf of a user, and so does what it enqueues: see README.md.

use std::collections::HashSet;

use haulier::{Client, HandlerError, Job, JobFilter};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{Result, expect, jobs_of, worker, working};

async fn outer(job: Job, (): ()) -> Result<Value, HandlerError> {
    let inner = || job.enqueue_named("inner", ()).queue(&job.options().queue);
    let (first, second) = (inner().await?, inner().user_id("bob").await?);
    let children = [first.id(), second.id()];
    Ok(json!({ "user": job.user_id(), "claims": job.user_claims(), "children": children }))
}

async fn inner(job: Job, (): ()) -> Result<Value, HandlerError> {
    Ok(json!({
        "user": job.user_id(),
        "claims": job.user_claims(),
        "parent": job.parents().first().map(|parent| parent.job_id),
        "trace": job.options().traceparent,
    }))
}

#[derive(Deserialize)]
struct Outer {
    user: Value,
    claims: Value,
    children: [i64; 2],
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    working(worker(&client, &queue).named("outer", outer).named("inner", inner), async {
        let trace = format!("{:032x}", rand::random::<u128>());
        let span = format!("{:016x}", rand::random::<u64>());
        let job = client.enqueue_named("outer", ()).queue(&queue).user_id("ann").user_claim("role", "admin");
        let job = job.traceparent(format!("00-{trace}-{span}-01")).await?.typed::<Outer>();
        let result = job.wait().await?;
        let admin = json!({ "role": "admin" });
        expect("the user of the outer", (&result.user, &result.claims), (&json!("ann"), &admin))?;
        let [first, second] = result.children;
        for (child, user, claims) in [(first, "ann", &admin), (second, "bob", &json!({}))] {
            let seen: Value = client.wait(child).await?;
            expect("the user of a child", &seen["user"], &json!(user))?;
            expect("its claims", &seen["claims"], claims)?;
            expect("its parent", &seen["parent"], &json!(job.id()))?;
            expect(
                "its trace id",
                seen["trace"].as_str().and_then(|text| text.get(3..35)),
                Some(trace.as_str()),
            )?;
        }
        let of_ann = JobFilter { user_id: "ann".into(), queue: queue.clone(), ..Default::default() };
        let listed: HashSet<i64> = jobs_of(&client, of_ann).await?.iter().map(|one| one.id).collect();
        expect("the jobs of ann", listed, HashSet::from([job.id(), first]))
    })
    .await
}
