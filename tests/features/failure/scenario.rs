//! The three ways to fail for good: see README.md.

use std::io;

use haulier::proto::{FailureReason, JobState};
use haulier::{Client, Command, HandlerError, Job, NonRetryable};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::stage::{Result, ensure, expect, failure, fixed, summary, worker, working};

/// An ordinary error, with the cause below it that a stack shows.
#[derive(Debug)]
struct Broken(io::Error);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it broke")
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

async fn broken(_: Job, (): ()) -> Result<(), HandlerError> {
    Err(Broken(io::Error::other("a cog came off")).into())
}

async fn charge(_: Job, (): ()) -> Result<(), HandlerError> {
    Err(HandlerError::from(NonRetryable("no such account")).with_code("NO_ACCOUNT"))
}

#[derive(Serialize, Deserialize)]
struct Count {
    count: i64,
}

impl Command for Count {
    type Output = i64;
    const NAME: Option<&'static str> = Some("count");
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let worker = worker(&client, &queue)
        .named("broken", broken)
        .named("charge", charge)
        .command(|_, Count { count }| async move { Ok(count) });
    working(worker, async {
        let job = client.enqueue_named("broken", ()).queue(&queue).retry_policy(fixed(1, 50)).await?;
        let failed = failure("broken", job.wait()).await?;
        expect("broken: message", failed.message, "it broke")?;
        expect("broken: attempts and reason", (failed.attempts, failed.reason), (2, FailureReason::Handler))?;
        expect("broken: state", summary(&client, job.id()).await?.state(), JobState::Failed)?;
        let stack = failed.stack;
        ensure!(stack.contains("a cog came off"), "broken: expected a stack with the cause, saw {stack:?}");

        let job = client.enqueue_named("charge", ()).queue(&queue).retry_limit(5).await?;
        let failed = failure("charge", job.wait()).await?;
        let seen = (failed.code.as_str(), failed.message.as_str());
        expect("charge: code and message", seen, ("NO_ACCOUNT", "no such account"))?;
        let seen = (failed.attempts, failed.reason);
        expect("charge: attempts and reason", seen, (1, FailureReason::NonRetryable))?;

        let many = json!({ "count": "many" });
        let job = client.enqueue_named("count", many).queue(&queue).retry_limit(5).await?;
        let failed = failure("count", job.wait()).await?;
        let seen = (failed.attempts, failed.reason);
        expect("count: attempts and reason", seen, (1, FailureReason::UnreadableRequest))?;
        // With the colon: the type's name is in the message, too.
        let message = failed.message;
        ensure!(
            message.contains(" count: "),
            "count: expected a message that names the field, saw {message:?}"
        );
        Ok(())
    })
    .await
}
