//! A job runs only after its parents ended as it asks, and gets what they returned: see README.md.

use haulier::proto::{CancelReason, JobState};
use haulier::{Client, Code, Dependency, HandlerError, Job, NonRetryable, Payload};
use serde_json::{Value, json};

use crate::stage::{Result, cancellation, ensure, expect, failure, named, refusal, summary, worker, working};

async fn consume(job: Job, (): ()) -> Result<Value, HandlerError> {
    let parent = job.parents().first().ok_or(NonRetryable("it was given no parent"))?;
    let got: Value = job.parent_result(parent.job_id).await?;
    let asked: Value = Payload::from(parent.request.clone()).read()?;
    Ok(json!({ "parent": parent.job_id, "got": got, "asked": asked }))
}

async fn doomed(_: Job, (): ()) -> Result<(), HandlerError> {
    Err(NonRetryable("doomed").into())
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let worker = worker(&client, &queue)
        .named("produce", |_, _: Value| async { Ok(json!({ "value": 7 })) })
        .named("consume", consume)
        .named("doomed", doomed)
        .named("note", |_, (): ()| async { Ok("ran") });
    let after = |command: &str, parent: Dependency| {
        client.enqueue_named(command, ()).queue(&queue).depends_on(parent).into_future()
    };
    let ref_id = named("doomed");
    let a = client.enqueue_named("produce", json!({ "n": 1 })).queue(&queue).await?;
    let b = after("consume", Dependency::job(a.id())).await?;
    let f = client.enqueue_named("doomed", ()).queue(&queue).ref_id(&ref_id).await?;
    let c = after("note", Dependency::job(f.id())).await?;
    let d = after("note", Dependency::job(c.id())).await?;
    let e = after("note", Dependency::ref_id(&ref_id).finished()).await?;
    let g = after("note", Dependency::job(f.id()).failed()).await?;
    let h = after("note", Dependency::job(a.id()).failed()).await?;
    for (name, job) in [("B", &b), ("C", &c), ("D", &d), ("E", &e), ("G", &g), ("H", &h)] {
        expect(&format!("the state of {name} when enqueued"), job.state(), JobState::Blocked)?;
    }

    working(worker, async {
        let wanted = json!({ "parent": a.id(), "got": { "value": 7 }, "asked": { "n": 1 } });
        expect("the result of B", &b.wait().await?, &wanted)?;
        expect("the parent of B", summary(&client, b.id()).await?.parent_id, a.id())?;
        failure("F", f.wait()).await?;
        for (name, job) in [("C", &c), ("D", &d), ("H", &h)] {
            let cancelled = cancellation(name, job.wait()).await?;
            expect(&format!("the reason of {name}"), cancelled.reason, CancelReason::Parent)?;
            let message = cancelled.message;
            ensure!(
                message.contains(|one: char| one.is_ascii_digit()),
                "{name}: expected a job id in {message:?}"
            );
        }
        expect("the result of E", e.wait().await?, "ran")?;
        expect("the result of G", g.wait().await?, "ran")?;
        let i = after("consume", Dependency::job(a.id())).await?;
        expect("the result of I", &i.wait().await?, &wanted)?;
        let nowhere = after("note", Dependency::job(i.id() + 1_000_000));
        let refused = refusal("a parent that is nowhere", Code::InvalidArgument, nowhere).await?;
        expect("its reason", refused.reason(), Some("PARENT_NOT_FOUND"))
    })
    .await
}
