//! A job enqueued in this language is run by a worker of each language: see README.md.

use haulier::{Client, JobHandle};
use serde_json::{Value, json};

use crate::stage::{DRAIN_TIME, Result, Signal, WorkerProgram, ensure, expect, failure, languages};

fn values() -> [Value; 5] {
    let object = json!({
        "text": "grüße, 世界 \u{0}",
        "n": 9_007_199_254_740_991_i64,
        "x": 1.5,
        "deep": [{ "a": null }, [], {}],
        "yes": true,
    });
    [object, json!(7), json!("plain"), json!(false), Value::Null]
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    ensure!(!languages().is_empty(), "expected a worker program in HAULIER_SCENARIO_WORKER_RUST, found none");
    for language in languages() {
        let queue = format!("{queue}-{language}");
        let mut program = WorkerProgram::start(language, &queue, DRAIN_TIME).await?;
        let mut jobs: Vec<(Value, JobHandle)> = Vec::new();
        for value in values() {
            let job = client.enqueue_named("scenario.echo", &value).queue(&queue).await?;
            jobs.push((value, job));
        }
        let refused = json!({ "code": "ACROSS", "message": "not in any language" });
        let failing = client.enqueue_named("scenario.fail", refused).queue(&queue).await?;
        for (value, job) in jobs {
            let wanted = json!({ "language": language, "request": value });
            expect(&format!("the echo of {language}"), job.wait().await?, wanted)?;
        }
        let what = format!("the failure of {language}");
        let failed = failure(&what, failing.wait()).await?;
        let seen = (failed.code.as_str(), failed.message.as_str(), failed.attempts);
        expect(&what, seen, ("ACROSS", "not in any language", 1))?;
        program.send(Signal::TERM)?;
        expect(&format!("the exit code of {language}"), program.ended().await?.code(), Some(0))?;
    }
    Ok(())
}
