//! An id of the caller's own makes a job unique: see README.md.

use haulier::{Client, Code};
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Result, expect, named, refusal, summary};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let ref_id = named("ref");
    let once = |n: u32| client.enqueue_named("once", json!({ "n": n })).queue(&queue).ref_id(&ref_id);

    let job = once(1).await?;
    expect("created", job.created(), true)?;
    let taken = (Some("REF_ID_TAKEN"), Some(job.id()));
    let refused = refusal("the same again", Code::AlreadyExists, once(1)).await?;
    expect("who has it", (refused.reason(), refused.existing_job_id()), taken)?;
    let again = once(1).return_existing().await?;
    expect("the existing", (again.id(), again.created()), (job.id(), false))?;
    let refused = refusal("other content", Code::AlreadyExists, once(2).return_existing()).await?;
    expect("who has it", (refused.reason(), refused.existing_job_id()), taken)?;

    let request_id = Uuid::new_v4().to_string();
    let intent = || client.enqueue_named("once", ()).queue(&queue).request_id(&request_id);
    let (first, second) = (intent().await?, intent().await?);
    let seen = (second.id(), first.created(), second.created());
    expect("one request id", seen, (first.id(), true, false))?;

    expect("the job by ref id", summary(&client, ref_id.as_str()).await?.id, job.id())?;
    let missing = client.get(named("missing"));
    let missing = refusal("a ref id that is missing", Code::NotFound, missing).await?;
    expect("its reason", missing.reason(), Some("JOB_NOT_FOUND"))?;
    for job in [job, first] {
        job.cancel().await?;
    }
    Ok(())
}
