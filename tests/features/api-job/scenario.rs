//! The server itself calls an API, and stores what it answers: see README.md.

use std::time::Duration;

use haulier::proto::{FailureReason, JobState};
use haulier::{ApiCall, Client, Code};
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::stage::{RUN, Result, ensure, expect, failure, fields, fixed, refusal, summary, time};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let http = |path: &str, request: Value| {
        client.enqueue_api(ApiCall::http("scenario", "POST", path), request).queue(&queue)
    };

    let job = http("/echo", json!({ "order": 7 })).user_id("ann").user_claim("role", "admin").await?;
    let answer = job.wait().await?;
    expect("the body that was sent", &answer["body"], &json!({ "order": 7 }))?;
    let id = job.id().to_string();
    let has_id =
        answer["headers"].as_object().is_some_and(|headers| headers.values().any(|value| *value == id));
    ensure!(has_id, "expected a header with the job's id {id}, saw {}", answer["headers"]);
    expect("the state", summary(&client, job.id()).await?.state(), JobState::Completed)?;

    let job = http("/refuse", Value::Null).retry_policy(fixed(3, 50)).await?;
    let failed = failure("/refuse", job.wait()).await?;
    expect("its code", failed.code, "HTTP_422")?;
    expect("its reason and attempts", (failed.reason, failed.attempts), (FailureReason::Api, 1))?;

    let job = http(&format!("/fail-once/{}", *RUN), Value::Null).retry_policy(fixed(2, 50)).await?;
    expect("/fail-once", job.wait().await?, json!({ "tries": 2 }))?;
    expect("its attempts", summary(&client, job.id()).await?.attempt, 2)?;

    let method = "haulier.v1.RecurringTaskService/PreviewSchedule";
    let request = json!({ "schedule": { "cron": "0 3 * * *", "timeZone": "UTC" }, "count": 2 });
    let answer =
        client.enqueue_api(ApiCall::grpc("self", method), request).queue(&queue).await?.wait().await?;
    let texts: Vec<String> = serde_json::from_value(answer["times"].clone())?;
    let mut times = Vec::new();
    for text in texts {
        times.push(time("a time of the preview", Some(text.parse::<Timestamp>()?))?);
    }
    ensure!(times.len() == 2, "expected 2 times, saw {answer}");
    expect("the time between them", times[1] - times[0], Duration::from_secs(24 * 3600))?;

    let nowhere = client.enqueue_api(ApiCall::http("nowhere", "POST", "/"), ()).queue(&queue);
    let refused = refusal("an unknown target", Code::InvalidArgument, nowhere).await?;
    expect("its field", fields(&refused), ["api.target"])
}
