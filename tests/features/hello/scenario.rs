//! A job is enqueued, run, and its result read back: see README.md.

use haulier::proto::job_result::Record;
use haulier::proto::{AttemptOutcome, JobState};
use haulier::{Client, Command, JobFilter, JobTarget, Payload, result_of};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::stage::{Result, bail, expect, jobs_of, named, outcomes_of, present, worker, working};

#[derive(Serialize, Deserialize)]
struct Hello {
    name: String,
}

impl Command for Hello {
    type Output = String;
    const NAME: Option<&'static str> = Some("hello");
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let greet = |_, Hello { name }| async move { Ok(format!("hello, {name}")) };
    working(worker(&client, &queue).slots(1).command(greet), async {
        let tag = named("hello");
        let job = client.enqueue(Hello { name: "Ann".into() }).queue(&queue).tag(&tag).await?;
        expect("created", job.created(), true)?;
        expect("the result", job.wait().await?, "hello, Ann")?;
        for key in [JobTarget::from(job.id()), JobTarget::from(job.ref_id())] {
            let what = format!("the job by {key:?}");
            let full = client.get(key).await?;
            let Some(Record::Completed(record)) = &full.record else {
                bail!("{what}: expected a completed job, saw {full:?}");
            };
            let request: Value = Payload::from(record.request.clone()).read()?;
            expect("its request", request, json!({ "name": "Ann" }))?;
            let summary = present(&what, full.summary.clone())?;
            expect(&what, (summary.id, summary.state()), (job.id(), JobState::Completed))?;
            expect("its run and attempt", (summary.run, summary.attempt), (1, 1))?;
            expect("its tag", &summary.tag, &tag)?;
            expect("its result", result_of(full)?.read::<String>()?, "hello, Ann")?;
        }
        let listed = jobs_of(&client, JobFilter { queue: queue.clone(), ..Default::default() }).await?;
        expect("the list", listed.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id()])?;
        expect("its attempts", outcomes_of(&client, job.id()).await?, [AttemptOutcome::Completed])
    })
    .await
}
