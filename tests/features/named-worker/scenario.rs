//! Jobs of a named worker run strictly one at a time, in order, over all worker processes: see README.md.

use std::time::Duration;

use haulier::{Client, CommandOptions, HandlerError, Job, Worker};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::stage::{Notes, Result, ensure, expect, named, summary, worker, working};

#[derive(Debug, Clone)]
struct Note {
    command: String,
    n: usize,
    by: &'static str,
    began: Instant,
    ended: Instant,
}

#[derive(Deserialize)]
struct Step {
    n: usize,
}

async fn step(job: Job, n: usize, by: &'static str, notes: Notes<Note>) -> Result<usize, HandlerError> {
    let began = Instant::now();
    sleep(Duration::from_millis(20)).await;
    notes.add(Note { command: job.command().to_owned(), n, by, began, ended: Instant::now() });
    Ok(n)
}

fn serving(client: &Client, queue: &str, by: &'static str, notes: &Notes<Note>) -> Worker {
    let handler = || {
        let notes = notes.clone();
        move |job: Job, Step { n }| step(job, n, by, notes.clone())
    };
    let declared = CommandOptions::named("declared").worker(named("declared"));
    worker(client, queue).slots(5).named("step", handler()).declared(declared, handler())
}

fn one_at_a_time(notes: &Notes<Note>, command: &str, count: usize) -> Result<()> {
    let mut ran = notes.all();
    ran.retain(|note| note.command == command && note.n < count);
    ran.sort_by_key(|note| note.began);
    let order: Vec<usize> = ran.iter().map(|note| note.n).collect();
    expect(&format!("the order of {command}"), order, (0..count).collect::<Vec<_>>())?;
    for pair in ran.windows(2) {
        let (one, next) = (&pair[0], &pair[1]);
        let (n, by, m, other) = (one.n, one.by, next.n, next.by);
        let what = format!("expected {command} {n} (of {by}) to end before {m} (of {other}) began");
        ensure!(next.began >= one.ended, "{what}, they overlapped");
    }
    Ok(())
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let notes = Notes::new();
    let (x, y) = (serving(&client, &queue, "x", &notes), serving(&client, &queue, "y", &notes));
    let steps = async {
        let lane = named("lane");
        let enqueue =
            |command: &str, n: usize| client.enqueue_named(command, json!({ "n": n })).queue(&queue);
        let (mut steps, mut declared) = (Vec::new(), Vec::new());
        for n in 0..20 {
            steps.push(enqueue("step", n).worker(&lane).await?);
        }
        for n in 0..5 {
            declared.push(enqueue("declared", n).await?);
        }
        let free = enqueue("declared", 5).no_worker().await?;
        for job in steps.iter().chain(&declared).chain([&free]) {
            job.wait().await?;
        }
        one_at_a_time(&notes, "step", 20)?;
        one_at_a_time(&notes, "declared", 5)?;
        for job in &steps {
            expect("the named worker of step", &summary(&client, job.id()).await?.worker, &lane)?;
        }
        for job in &declared {
            let worker = summary(&client, job.id()).await?.worker;
            expect("the named worker of declared", worker, named("declared"))?;
        }
        expect("the named worker of the last", summary(&client, free.id()).await?.worker, "")
    };
    working(x, working(y, steps)).await
}
