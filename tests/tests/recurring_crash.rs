//! Recurring tasks while servers die: three servers on one MariaDB, twenty tasks that are each due every second, and one
//! server after the other is killed at random. The due times that ran are those of an oracle that never dies: each once.
//!
//! `HAULIER_RECURRING_CRASH_SECONDS` says for how long (default 15), `HAULIER_CRASH_SEED` with which chance.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted fails it, at its line")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::{Database, Server, figure, monotonic, since_epoch, until};
use pb::recurring_task_service_client::RecurringTaskServiceClient;
use pb::{CatchUpPolicy, JobFilter, RecurringTask, Schedule};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const TASKS: usize = 20;
const SERVERS: usize = 3;
/// What servers have to catch up after the last due time.
const SETTLE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn each_due_time_of_twenty_tasks_runs_once_while_servers_are_killed() {
    let seconds = from_env("HAULIER_RECURRING_CRASH_SECONDS", 15);
    let seed = from_env("HAULIER_CRASH_SEED", since_epoch().as_nanos() as i64 & 0xFFFF_FFFF);
    figure(&format!("recurring tasks under {seconds} s of kills, seed {seed}"));
    let first = Server::start(Database::MariaDb).await;
    let mut servers = vec![first];
    while servers.len() < SERVERS {
        servers.push(servers[0].replica().await);
    }
    let begin = since_epoch().as_secs() as i64 + 3;
    let end = begin + seconds;
    for number in 0..TASKS {
        put(&servers[number % SERVERS], number, begin, end).await;
    }
    let servers = Arc::new(servers);
    let over = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill_at_random(Arc::clone(&servers), Arc::clone(&over), seed as u64));
    let ends_in = Duration::from_secs(end as u64).saturating_sub(since_epoch());
    tokio::time::sleep(ends_in).await;
    over.store(true, Ordering::Relaxed);
    let kills = killer.await.unwrap();
    for server in servers.iter() {
        server.wait_until_ready().await;
    }
    let caught_up = monotonic();
    for number in 0..TASKS {
        until_over(&servers[0], &name(number)).await;
    }
    let took = monotonic() - caught_up;
    figure(&format!("{kills} kills; the last due time was decided {took:?} after the end"));
    assert!(kills > 0 && took < SETTLE, "{kills} kills, {took:?}");
    let mut runs = 0;
    for number in 0..TASKS {
        let (task, found) = due_times(&servers[number % SERVERS], &name(number)).await;
        let expected: Vec<i64> = oracle(number, begin, end);
        let found: Vec<(i64, usize)> = found.into_iter().collect();
        let wanted: Vec<(i64, usize)> = expected.iter().map(|due| (*due, 1)).collect();
        assert_eq!(found, wanted, "due times of {} with their runs, seed {seed}", name(number));
        assert_eq!((task.run_count, task.skip_count), (expected.len() as i64, 0));
        runs += expected.len();
    }
    figure(&format!("{runs} due times of {TASKS} tasks ran once each"));
}

fn name(number: usize) -> String {
    format!("task-{number}")
}

/// By cron every other, by an interval the rest.
fn is_cron(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// The due times, in seconds, by arithmetic alone.
fn oracle(number: usize, begin: i64, end: i64) -> Vec<i64> {
    let first = if is_cron(number) { begin } else { begin + 1 };
    (first..end).collect()
}

async fn put(server: &Server, number: usize, begin: i64, end: i64) {
    let timing = if is_cron(number) {
        pb::schedule::Timing::Cron("@every_second".into())
    } else {
        pb::schedule::Timing::Interval(prost_types::Duration { seconds: 1, nanos: 0 })
    };
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let task = RecurringTask {
        name: name(number),
        work: Some(pb::recurring_task::Work::Command("tick".into())),
        schedule: Some(Schedule { timing: Some(timing), ..Default::default() }),
        catch_up_policy: CatchUpPolicy::All.into(),
        start_time: at(begin),
        end_time: at(end),
        ..Default::default()
    };
    let request = pb::PutRecurringTaskRequest { task: Some(task) };
    RecurringTaskServiceClient::new(server.channel()).put_recurring_task(request).await.unwrap();
}

/// Kills one server after the other, now and then all at once; answers how many were killed.
async fn kill_at_random(servers: Arc<Vec<Server>>, over: Arc<AtomicBool>, seed: u64) -> usize {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(chance.random_range(200..2_000))).await;
        let all = chance.random_range(0..8) == 0;
        let one = chance.random_range(0..servers.len());
        let hit: Vec<&Server> = servers
            .iter()
            .enumerate()
            .filter(|(at, _)| all || *at == one)
            .map(|(_, server)| server)
            .collect();
        hit.iter().for_each(|server| server.kill9());
        kills += hit.len();
        let pause = if all { 0..6_000 } else { 0..1_500 };
        tokio::time::sleep(Duration::from_millis(chance.random_range(pause))).await;
        hit.iter().for_each(|server| server.relaunch());
    }
    kills
}

async fn until_over(server: &Server, name: &str) {
    until("the task is over", || async {
        let request = pb::GetRecurringTaskRequest { name: name.to_owned() };
        let answer = RecurringTaskServiceClient::new(server.channel()).get_recurring_task(request).await;
        answer.ok()?.into_inner().task.filter(|task| task.next_time.is_none())
    })
    .await;
}

/// The task, and how often each due time of it ran.
async fn due_times(server: &Server, name: &str) -> (RecurringTask, BTreeMap<i64, usize>) {
    let request = pb::GetRecurringTaskRequest { name: name.to_owned() };
    let task = RecurringTaskServiceClient::new(server.channel()).get_recurring_task(request).await.unwrap();
    let task = task.into_inner().task.unwrap();
    let start = format!("~t{}-", task.id);
    let mut due = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobsRequest {
            filter: Some(JobFilter { recurring_task: name.to_owned(), ..Default::default() }),
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let answer = server.jobs().list_jobs(request).await.unwrap().into_inner();
        for job in answer.jobs {
            let time: prost_types::Timestamp = job.ref_id.strip_prefix(&start).unwrap().parse().unwrap();
            assert_eq!(time.nanos, 0, "{}", job.ref_id);
            *due.entry(time.seconds).or_default() += 1;
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return (task, due);
        }
    }
}

fn from_env(name: &str, default: i64) -> i64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
