//! A job does not start before a time; a time that has passed means now: see README.md.

use std::time::{Duration, UNIX_EPOCH};

use haulier::Client;
use haulier::proto::JobState;

use crate::stage::{Result, attempts_of, ensure, expect, now, present, summary, time, worker, working};

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let later = |_, (): ()| async { Ok("done") };
    working(worker(&client, &queue).named("later", later), async {
        let now = now();
        let due = now + Duration::from_secs(2);
        let job = client.enqueue_named("later", ()).queue(&queue).run_after(due).await?;
        expect("the state of the first", job.state(), JobState::Scheduled)?;
        let hour_ago = now - Duration::from_secs(3600);
        let past = client.enqueue_named("later", ()).queue(&queue).run_after(hour_ago).await?;
        let is_waiting = matches!(past.state(), JobState::Queued | JobState::Running);
        ensure!(is_waiting, "expected the second to be queued or running, it is {:?}", past.state());
        for one in [&past, &job] {
            expect("a result", one.wait().await?, "done")?;
        }
        let attempts = attempts_of(&client, job.id()).await?;
        let started = time("the start of the first", present("an attempt", attempts.first())?.start_time)?;
        let ended = time("the end of the second", summary(&client, past.id()).await?.finish_time)?;
        ensure!(ended < started, "expected the second to end before {started:?}, it ended at {ended:?}");
        let due = due.duration_since(UNIX_EPOCH)?;
        ensure!(started >= due, "expected a start at or after {due:?}, it started at {started:?}");
        Ok(())
    })
    .await
}
