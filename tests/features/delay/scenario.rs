//! A delayed job does not start before its time: see README.md.

use std::time::Duration;

use haulier::Client;
use haulier::proto::JobState;

use crate::stage::{Result, attempts_of, ensure, expect, present, summary, time, worker, working};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let later = |_, (): ()| async { Ok("done") };
    working(worker(&client, &queue).named("later", later), async {
        let delay = Duration::from_millis(1_500);
        let job = client.enqueue_named("later", ()).queue(&queue).delay(delay).await?;
        expect("its state", job.state(), JobState::Scheduled)?;
        expect("the result", job.wait().await?, "done")?;
        let stored = time("its create time", summary(&client, job.id()).await?.create_time)?;
        let attempts = attempts_of(&client, job.id()).await?;
        let started = time("its start time", present("an attempt", attempts.first())?.start_time)?;
        let waited = started.saturating_sub(stored);
        let is_right = waited >= delay && waited < Duration::from_secs(10);
        ensure!(is_right, "expected it to wait 1.5 to 10 s, it waited {waited:?}");
        Ok(())
    })
    .await
}
