//! Another command receives the result, and its failure changes nothing: see README.md.

use haulier::proto::JobState;
use haulier::{Client, HandlerError, Job, NonRetryable, result_of};
use serde_json::{Value, json};

use crate::stage::{Result, ensure, expect, named, notified, present, summary, worker, working};

async fn render(_: Job, (): ()) -> Result<Value, HandlerError> {
    Ok(json!({ "file": "a.png" }))
}

async fn rendered(job: Job, request: Value) -> Result<Value, HandlerError> {
    Ok(json!({
        "request": request,
        "args": job.args(),
        "tag": job.options().tag,
        "user": job.user_id(),
        "parent": job.parents().first().map(|parent| parent.job_id),
    }))
}

async fn stumble(_: Job, _: Value) -> Result<(), HandlerError> {
    Err(NonRetryable("stumbled").into())
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let worker =
        worker(&client, &queue).named("render", render).named("rendered", rendered).named("stumble", stumble);
    working(worker, async {
        let tag = named("tag");
        let render = || client.enqueue_named("render", ()).queue(&queue);
        let job = render().callback("rendered").callback_arg("page", "1").arg("tenant", "7");
        let job = job.tag(&tag).user_id("ann").await?;
        let ended = present("the summary", notified(&client, job.id()).await?.summary)?;
        expect("the state", ended.state(), JobState::Completed)?;
        ensure!(ended.notify_time.is_some(), "expected a notify time, saw none");
        let called = summary(&client, ended.callback_job_id).await?;
        expect("the parent of the callback's job", called.parent_id, job.id())?;
        let wanted = json!({
            "request": { "file": "a.png" },
            "args": { "tenant": "7", "page": "1" },
            "tag": tag,
            "user": "ann",
            "parent": job.id(),
        });
        expect("what the callback got", client.wait::<Value>(called.id).await?, wanted)?;

        let job = render().callback("stumble").await?;
        let ended = notified(&client, job.id()).await?;
        let shown = present("the summary of the second", ended.summary.clone())?;
        expect("the state of the second", shown.state(), JobState::Completed)?;
        expect("its result", result_of(ended)?.read::<Value>()?, json!({ "file": "a.png" }))?;
        let error = shown.callback_error;
        ensure!(
            error.contains("stumbled"),
            "expected the callback's error to say stumbled, it says {error:?}"
        );
        let called = summary(&client, shown.callback_job_id).await?;
        expect("its callback's job", called.state(), JobState::Failed)
    })
    .await
}
