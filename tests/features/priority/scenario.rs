//! Higher priority first; within a priority, first come, first served: see README.md.

use haulier::{Client, Command, Job, Priority};
use serde::{Deserialize, Serialize};

use crate::stage::{Notes, Result, expect, summary, worker, working};

#[derive(Serialize, Deserialize)]
struct Note {
    label: String,
}

impl Command for Note {
    type Output = String;
    const NAME: Option<&'static str> = Some("note");
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let ran = Notes::new();
    let notes = ran.clone();
    let note = move |_: Job, Note { label }| {
        let notes = notes.clone();
        async move {
            notes.add(label.clone());
            Ok(label)
        }
    };
    let plans = [
        ("low", Some(Priority::Low), 5),
        ("normal 1", Some(Priority::Normal), 15),
        ("high", Some(Priority::High), 25),
        ("normal 2", None, 15),
        ("top", Some(Priority::Level(30)), 30),
        ("above", Some(Priority::AboveNormal), 20),
        ("below", Some(Priority::BelowNormal), 10),
    ];
    let mut jobs = Vec::new();
    for (label, priority, number) in plans {
        let job = client.enqueue(Note { label: label.into() }).queue(&queue);
        let job = match priority {
            Some(priority) => job.priority(priority).await?,
            None => job.await?,
        };
        jobs.push((label, job, number));
    }
    working(worker(&client, &queue).slots(1).command(note), async {
        for (label, job, _) in &jobs {
            expect("a result", job.wait().await?, *label)?;
        }
        Ok(())
    })
    .await?;
    expect("the order", ran.all(), ["top", "high", "above", "normal 1", "normal 2", "below", "low"])?;
    for (label, job, number) in jobs {
        expect(&format!("the priority of {label}"), summary(&client, job.id()).await?.priority, number)?;
    }
    Ok(())
}
