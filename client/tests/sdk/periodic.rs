//! Periodic and background workers, by a clock that stands still until everybody waits for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haulier::{Background, Cancelled, Client, HandlerError, Periodic, PeriodicWorkers, RunContext, Worker};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(10);

/// Nobody listens there: these workers need no server.
fn client() -> Client {
    Client::builder("http://127.0.0.1:9").connect_lazy().unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Notes when it begins and ends, in seconds from the test's begin.
#[derive(Clone)]
struct Diary {
    begun: Instant,
    notes: Arc<Mutex<Vec<(u64, &'static str)>>>,
}

impl Diary {
    fn new() -> Self {
        Self { begun: Instant::now(), notes: Arc::default() }
    }

    fn note(&self, what: &'static str) {
        // A sleep may end a millisecond late.
        let at = self.begun.elapsed() + Duration::from_millis(50);
        self.notes.lock().unwrap().push((at.as_secs(), what));
    }

    fn read(&self) -> Vec<(u64, &'static str)> {
        self.notes.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_run_comes_after_one_period_and_each_next_one_period_after_the_end() {
    let (workers, diary) = (PeriodicWorkers::new(client()), Diary::new());
    let notes = diary.clone();
    let run = move |_: RunContext| {
        let notes = notes.clone();
        async move {
            notes.note("begin");
            sleep(secs(25)).await;
            notes.note("end");
            Ok(())
        }
    };
    let worker = workers.add_periodic(Periodic::new("slow", PERIOD), run).unwrap();
    sleep(secs(75)).await;
    // Longer than its period, and yet it never overlaps with itself.
    assert_eq!(diary.read(), [(10, "begin"), (35, "end"), (45, "begin"), (70, "end")]);
    assert_eq!((worker.run_count(), worker.is_running()), (2, true));
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn run_at_start_runs_at_once_and_then_after_each_period() {
    let (workers, diary) = (PeriodicWorkers::new(client()), Diary::new());
    let notes = diary.clone();
    let run = move |_: RunContext| {
        notes.note("run");
        async { Ok(()) }
    };
    workers.add_periodic(Periodic::new("eager", PERIOD).run_at_start(), run).unwrap();
    sleep(secs(25)).await;
    assert_eq!(diary.read(), [(0, "run"), (10, "run"), (20, "run")]);
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_panic_ends_one_run_only_and_is_told() {
    let (workers, count) = (PeriodicWorkers::new(client()), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let run = move |_: RunContext| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        assert!(number != 2, "before its first await");
        async move {
            match number {
                0 => Err(HandlerError::new("no disk").with_code("DISK")),
                1 => panic!("out of {}", "range"),
                _ => Ok(()),
            }
        }
    };
    let worker = workers.add_periodic(Periodic::new("bad", PERIOD), run).unwrap();
    for error in
        [Some("DISK: no disk"), Some("it panicked: out of range"), Some("it panicked: before its"), None]
    {
        sleep(PERIOD + secs(1) / 10).await;
        let told = worker.last_error();
        assert_eq!(told.is_some(), error.is_some(), "{told:?}");
        assert!(told.unwrap_or_default().starts_with(error.unwrap_or_default()));
    }
    assert_eq!(worker.run_count(), 4);
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_run_has_a_context_of_its_own() {
    let (workers, seen) = (PeriodicWorkers::new(client()), Arc::new(Mutex::new(Vec::new())));
    let contexts = seen.clone();
    let run = move |run: RunContext| {
        contexts.lock().unwrap().push((run.name().to_owned(), run.run(), run.fencing_token()));
        async move {
            run.cancellation_token().cancel();
            run.check()?;
            Ok(())
        }
    };
    let worker = workers.add_periodic(Periodic::new("fresh", PERIOD), run).unwrap();
    sleep(secs(25)).await;
    assert_eq!(*seen.lock().unwrap(), [("fresh".to_owned(), 1, None), ("fresh".to_owned(), 2, None)]);
    assert_eq!(worker.last_error(), None, "a token of one run stops nothing");
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_background_worker_is_started_again_with_growing_waits_until_it_ends_well() {
    let (workers, diary) = (PeriodicWorkers::new(client()), Diary::new());
    let notes = diary.clone();
    let run = move |run: RunContext| {
        notes.note("begin");
        async move {
            match run.run() {
                1..3 => Err(HandlerError::new("not yet")),
                3 => panic!("not yet either"),
                _ => Ok(()),
            }
        }
    };
    let worker = workers.add_background(Background::new("loop"), run).unwrap();
    sleep(secs(100)).await;
    let begins: Vec<u64> = diary.read().into_iter().map(|(at, _)| at).collect();
    assert_eq!(begins.len(), 4);
    assert!(begins[3] >= 3 && begins[3] <= 7, "0.5 to 1 s, 1 to 2 s, 2 to 4 s: {begins:?}");
    assert!(!worker.is_running(), "it ended by itself");
    worker.start();
    sleep(secs(1)).await;
    assert_eq!(worker.run_count(), 5, "and can be started again");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_told_and_waited_for_and_a_start_after_it_overlaps_with_nothing() {
    let (workers, busy) = (PeriodicWorkers::new(client()), Arc::new(AtomicBool::new(false)));
    let is_busy = busy.clone();
    let run = move |run: RunContext| {
        let is_busy = is_busy.clone();
        async move {
            assert!(!is_busy.swap(true, Ordering::Relaxed), "it overlaps with itself");
            run.stopped().await;
            assert!(run.is_stopped());
            sleep(secs(5)).await;
            is_busy.store(false, Ordering::Relaxed);
            Err(Cancelled)?
        }
    };
    let worker = workers.add_background(Background::new("loop"), run).unwrap();
    sleep(secs(1)).await;
    assert!(busy.load(Ordering::Relaxed));
    let begun = Instant::now();
    let stopping = tokio::spawn({
        let worker = worker.clone();
        async move { worker.stop().await }
    });
    sleep(secs(1)).await;
    assert!(!worker.is_running());
    worker.start();
    stopping.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(worker.last_error(), None, "ending as it was told is no error");
    sleep(secs(1)).await;
    assert!(busy.load(Ordering::Relaxed) && worker.is_running(), "the next one began after it");
    worker.stop().await;
    assert_eq!((worker.run_count(), worker.last_error()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_stop_in_time_is_dropped() {
    let (workers, dropped) = (PeriodicWorkers::new(client()), Arc::new(AtomicBool::new(false)));
    struct Told(Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = dropped.clone();
    let run = move |_: RunContext| {
        let told = Told(flag.clone());
        async move {
            let _told = told;
            std::future::pending().await
        }
    };
    workers.add_background(Background::new("deaf"), run).unwrap();
    sleep(secs(1)).await;
    let begun = Instant::now();
    workers.stop_within(secs(7)).await;
    assert_eq!(begun.elapsed().as_secs(), 7);
    sleep(secs(1)).await;
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn workers_are_added_found_stopped_and_started_while_others_run() {
    let workers = PeriodicWorkers::new(client());
    let run = |_: RunContext| async { Ok(()) };
    let first = workers.add_periodic(Periodic::new("first", PERIOD), run).unwrap();
    sleep(secs(15)).await;
    let second = workers.add_periodic(Periodic::new("second", PERIOD), run).unwrap();
    sleep(secs(23)).await;
    assert_eq!((first.run_count(), second.run_count()), (3, 2));
    workers.get("first").unwrap().stop().await;
    sleep(secs(20)).await;
    assert_eq!((first.run_count(), second.run_count()), (3, 4));
    first.start();
    sleep(secs(15)).await;
    assert_eq!(first.run_count(), 4);
    drop(workers);
    sleep(secs(30)).await;
    assert_eq!(first.run_count(), 4, "they end with their group");
    assert!(!first.is_running());
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_name() {
    let workers = PeriodicWorkers::new(client());
    let run = |_: RunContext| async { Ok(()) };
    let refused = |periodic: Periodic, word: &str| {
        let error = workers.add_periodic(periodic, run).unwrap_err().to_string();
        assert!(error.contains(word), "wanted {word:?} in {error}");
    };
    refused(Periodic::new("", PERIOD), "1 to 128 characters");
    refused(Periodic::new("two words", PERIOD), "two words");
    refused(Periodic::new("x".repeat(129), PERIOD), "128");
    refused(Periodic::new("a", PERIOD).singleton_by("ü"), "ü");
    refused(Periodic::new("a", Duration::ZERO), "period of a");
    workers.add_periodic(Periodic::new("a", PERIOD), run).unwrap();
    refused(Periodic::new("a", PERIOD), "there is one of this name");
    let twice =
        Worker::new(client()).background(Background::new("b"), run).background(Background::new("b"), run);
    assert!(twice.run_until(async {}).await.unwrap_err().to_string().contains("there is one"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_process_without_commands_runs_its_periodic_workers_until_it_is_told_to_stop() {
    let (count, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let counted = count.clone();
    let worker = Worker::new(client()).periodic(Periodic::new("count", PERIOD), move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let workers = worker.periodic_workers();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    sleep(secs(15)).await;
    let counted = count.clone();
    let added = Periodic::new("added", PERIOD).run_at_start();
    let added = workers.add_periodic(added, move |_| {
        counted.fetch_add(10, Ordering::Relaxed);
        async { Ok(()) }
    });
    sleep(secs(8)).await;
    assert_eq!((count.load(Ordering::Relaxed), added.unwrap().is_running()), (12, true));
    stop.cancel();
    timeout(secs(1), running).await.unwrap().unwrap().unwrap();
    assert!(!workers.get("count").unwrap().is_running());
}
