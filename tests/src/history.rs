//! What the actors of a crash test saw, each in a file of its own: one JSON object a line, in the order in which it happened.
//!
//! A line is written before what it announces and after what it reports, with one write: a killed actor leaves a history that
//! is true as far as it goes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::time::monotonic;

/// Something that an actor saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When: nanoseconds of the clock that all processes of the machine share.
    pub at: u64,
    /// Who saw it. A worker process that is started again is another actor.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What an actor may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An enqueue is sent, maybe not for the first time.
    EnqueueCalled {
        /// What makes the intent unique: the request id, which is also in the request.
        key: String,
    },
    /// An enqueue was answered OK: from now on the job is promised.
    EnqueueAccepted {
        /// The intent.
        key: String,
        /// The job.
        job: i64,
        /// Whether this call stored it, as the server says.
        created: bool,
    },
    /// A cancel was answered.
    CancelAnswered {
        /// The job.
        job: i64,
        /// The run that was cancelled, or is asked to stop.
        run: i32,
        /// What came of it.
        cancelled: Cancelled,
    },
    /// A requeue was answered.
    RequeueAnswered {
        /// The job.
        job: i64,
        /// The run that was to be done again.
        run: i32,
        /// Whether this call started another, as the server says.
        created: bool,
    },
    /// A handler begins.
    Started {
        /// The job.
        job: i64,
        /// Its run.
        run: i32,
        /// Number of the attempt in the run.
        attempt: i32,
        /// The fencing token.
        epoch: i64,
    },
    /// A handler is about to return.
    Returned {
        /// The job.
        job: i64,
        /// The fencing token.
        epoch: i64,
        /// Whether it returns a result.
        well: bool,
    },
    /// A worker process found that the machine had not let it run.
    Stalled {
        /// For how long, milliseconds.
        millis: u64,
    },
    /// Something was broken on purpose.
    Broken {
        /// How.
        fault: Fault,
        /// The actor, server or database that it struck.
        target: String,
    },
    /// It is whole again.
    Healed {
        /// How it had been broken.
        fault: Fault,
        /// What it had struck.
        target: String,
    },
}

/// What came of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// It will never start.
    AtOnce,
    /// Its worker process is told.
    Requested,
    /// It had ended before.
    TooLate,
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A server is killed, and started again.
    ServerKilled,
    /// A server is frozen for longer than a lease.
    ServerFrozen,
    /// The database is killed, and started again.
    DatabaseKilled,
    /// A worker process is killed, and another started in its place.
    WorkerKilled,
    /// A worker process is frozen for longer than its lease.
    WorkerFrozen,
}

/// The history of one actor.
pub struct History {
    actor: String,
    file: Mutex<File>,
}

impl History {
    /// Goes on writing what an actor saw, in this folder.
    pub fn of(actor: &str, folder: &Path) -> std::io::Result<History> {
        let file =
            OpenOptions::new().create(true).append(true).open(folder.join(format!("{actor}.jsonl")))?;
        Ok(History { actor: actor.into(), file: Mutex::new(file) })
    }

    /// Writes down what happens now.
    pub fn note(&self, event: Event) {
        let at = u64::try_from(monotonic().as_nanos()).expect("a machine that has not run for centuries");
        let record = Record { at, actor: self.actor.clone(), event };
        let mut line = serde_json::to_vec(&record).expect("a record is JSON");
        line.push(b'\n');
        let mut file = self.file.lock().expect("nobody panics while writing");
        file.write_all(&line).expect("a history can be written");
    }
}

/// All histories of a folder, in the order in which things happened.
pub fn read_all(folder: &Path) -> std::io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let record = serde_json::from_str(line)
                .map_err(|error| std::io::Error::other(format!("{}: {error}: {line}", path.display())))?;
            records.push(record);
        }
    }
    records.sort_by_key(|record: &Record| record.at);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_read_back_in_the_order_of_time_and_a_cut_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let one = History::of("one", folder.path()).unwrap();
        let two = History::of("two", folder.path()).unwrap();
        one.note(Event::EnqueueCalled { key: "a".into() });
        two.note(Event::Stalled { millis: 7 });
        one.note(Event::EnqueueAccepted { key: "a".into(), job: 1, created: true });
        let mut file = OpenOptions::new().append(true).open(folder.path().join("two.jsonl")).unwrap();
        file.write_all(b"{\"at\":1,\"act").unwrap();
        let records = read_all(folder.path()).unwrap();
        let seen: Vec<_> = records.iter().map(|record| (record.actor.as_str(), &record.event)).collect();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].0, "one");
        assert_eq!(seen[1], ("two", &Event::Stalled { millis: 7 }));
        assert_eq!(seen[2].1, &Event::EnqueueAccepted { key: "a".into(), job: 1, created: true });
    }
}
