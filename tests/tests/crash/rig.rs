//! The processes: servers, the database, worker processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use haulier_tests::history::{Event, Fault, History};
use haulier_tests::mariadb::MariaDb;
use haulier_tests::{Database, Process, Server, Signal};

/// Worker processes at once.
const WORKERS: usize = 3;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// One server on a SQLite file.
    Sqlite,
    /// Two servers on a MariaDB of our own.
    MariaDb,
}

/// A worker process and what it is called; each start has another name.
struct Worker {
    place: usize,
    starts: usize,
    process: Process,
}

impl Worker {
    fn name(place: usize, starts: usize) -> String {
        format!("worker-{place}.{starts}")
    }
}

/// Everything that runs.
pub(crate) struct Rig {
    engine: Engine,
    workers: Vec<Worker>,
    pub(crate) servers: Vec<Server>,
    pub(crate) database: Option<MariaDb>,
    folder: tempfile::TempDir,
    chaos: History,
}

impl Rig {
    pub(crate) async fn start(engine: Engine) -> Rig {
        let folder = tempfile::Builder::new().prefix("haulier-crash-").tempdir().unwrap();
        let database = (engine == Engine::MariaDb).then(|| MariaDb::start().expect("a MariaDB of our own"));
        let mut servers = Vec::new();
        match &database {
            None => servers.push(Server::start(Database::Sqlite).await),
            Some(database) => {
                let url = database.database().expect("a fresh database");
                for _ in 0..2 {
                    servers.push(Server::start(Database::Url(url.clone())).await);
                }
            }
        }
        let chaos = History::of("chaos", folder.path()).unwrap();
        let mut rig = Rig { engine, workers: Vec::new(), servers, database, folder, chaos };
        for place in 0..WORKERS {
            let process = rig.spawn_worker(place, 1);
            rig.workers.push(Worker { place, starts: 1, process });
        }
        rig
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Where the histories are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.len()
    }

    fn spawn_worker(&self, place: usize, starts: usize) -> Process {
        let server = &self.servers[place % self.servers.len()];
        let log = std::fs::File::create(self.folder().join(format!("{}.log", Worker::name(place, starts))))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_haulier-test-worker"));
        command
            .arg(server.address())
            .arg(Worker::name(place, starts))
            .arg(self.folder())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Process::spawn(&mut command)
    }

    /// Kills a server as a crash would, and starts it again after a while.
    pub(crate) async fn kill_server(&mut self, which: usize, down: Duration) {
        let target = format!("server-{which}");
        self.broken(Fault::ServerKilled, &target);
        self.servers[which].kill9();
        tokio::time::sleep(down).await;
        self.servers[which].restart().await;
        self.healed(Fault::ServerKilled, &target);
    }

    /// Freezes a server for a while.
    pub(crate) async fn freeze_server(&mut self, which: usize, time: Duration) {
        let target = format!("server-{which}");
        self.broken(Fault::ServerFrozen, &target);
        self.servers[which].stop();
        tokio::time::sleep(time).await;
        self.servers[which].cont();
        self.servers[which].wait_until_ready().await;
        self.healed(Fault::ServerFrozen, &target);
    }

    /// Kills the database as a crash would, and starts it again after a while.
    pub(crate) async fn kill_database(&mut self, down: Duration) {
        self.broken(Fault::DatabaseKilled, "database");
        let database = self.database.as_mut().expect("a database of our own");
        database.kill9().expect("a running database can be killed");
        tokio::time::sleep(down).await;
        database.restart().expect("a killed database starts again");
        for server in &self.servers {
            server.wait_until_ready().await;
        }
        self.healed(Fault::DatabaseKilled, "database");
    }

    /// Kills a worker process as a crash would, and starts another in its place.
    pub(crate) async fn kill_worker(&mut self, which: usize, down: Duration) {
        let (place, starts) = (self.workers[which].place, self.workers[which].starts);
        let target = Worker::name(place, starts);
        self.broken(Fault::WorkerKilled, &target);
        self.workers[which].process.kill9();
        tokio::time::sleep(down).await;
        let process = self.spawn_worker(place, starts + 1);
        self.workers[which] = Worker { place, starts: starts + 1, process };
        self.healed(Fault::WorkerKilled, &target);
    }

    /// Freezes a worker process for a while.
    pub(crate) async fn freeze_worker(&mut self, which: usize, time: Duration) {
        let target = Worker::name(self.workers[which].place, self.workers[which].starts);
        self.broken(Fault::WorkerFrozen, &target);
        self.workers[which].process.signal(Signal::STOP);
        tokio::time::sleep(time).await;
        self.workers[which].process.signal(Signal::CONT);
        self.healed(Fault::WorkerFrozen, &target);
    }

    /// Every worker process must run still: one that ended by itself is a failure of the SDK.
    pub(crate) fn must_live(&mut self) {
        for worker in &mut self.workers {
            if let Some(status) = worker.process.ended() {
                let name = Worker::name(worker.place, worker.starts);
                let log = std::fs::read_to_string(self.folder.path().join(format!("{name}.log")))
                    .unwrap_or_default();
                panic!("{name} ended by itself with {status}: {log}");
            }
        }
        for server in &self.servers {
            let ended = server.process().ended();
            assert!(ended.is_none(), "a server ended by itself with {ended:?}");
        }
    }

    /// Copies the histories and logs to where they outlive the test.
    pub(crate) fn keep(&self) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "crash-{:?}-{}",
            self.engine,
            std::process::id()
        ));
        std::fs::create_dir_all(&kept).unwrap();
        for entry in std::fs::read_dir(self.folder()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, kept.join(path.file_name().unwrap())).unwrap();
        }
        for (number, server) in self.servers.iter().enumerate() {
            std::fs::write(kept.join(format!("server-{number}.log")), server.log()).unwrap();
        }
        kept
    }

    fn broken(&self, fault: Fault, target: &str) {
        self.chaos.note(Event::Broken { fault, target: target.into() });
    }

    fn healed(&self, fault: Fault, target: &str) {
        self.chaos.note(Event::Healed { fault, target: target.into() });
    }
}
