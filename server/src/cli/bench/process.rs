//! Processes of the benchmark: starting and ending them, and what they cost.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::error::{Error, Result};

/// How long a process may take to end by itself.
const END_TIME: Duration = Duration::from_secs(20);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 12;

/// CPU seconds; unknown where the system does not tell, or the process runs elsewhere.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cpu {
    /// The server's process, in which SQLite runs too.
    pub(super) server: Option<f64>,
    /// The database's process.
    pub(super) database: Option<f64>,
    /// This process and the worker process.
    pub(super) clients: Option<f64>,
}

/// Whose CPU time is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    pub(super) server: Option<u32>,
    pub(super) database: Option<u32>,
    pub(super) worker: Option<u32>,
}

impl Meter {
    /// CPU seconds until now.
    pub(super) fn read(&self) -> Cpu {
        let own = cpu_seconds(std::process::id());
        Cpu {
            server: self.server.and_then(cpu_seconds),
            database: self.database.and_then(cpu_seconds),
            clients: own.map(|own| own + self.worker.and_then(cpu_seconds).unwrap_or_default()),
        }
    }
}

impl Cpu {
    /// From one reading to this one, per 1,000 jobs.
    pub(super) fn since(self, before: Cpu, jobs: u64) -> Cpu {
        let per_1000 =
            |after: Option<f64>, before: Option<f64>| Some((after? - before?) * 1_000.0 / jobs.max(1) as f64);
        Cpu {
            server: per_1000(self.server, before.server),
            database: per_1000(self.database, before.database),
            clients: per_1000(self.clients, before.clients),
        }
    }
}

/// CPU seconds that all threads of a process have used, by the system's accounting.
#[cfg(target_os = "linux")]
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Elsewhere it is unknown.
#[cfg(not(target_os = "linux"))]
fn cpu_seconds(_: u32) -> Option<f64> {
    None
}

/// The fields utime and stime of `/proc/PID/stat`; the name in parentheses may hold blanks.
#[cfg(target_os = "linux")]
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

/// This program, to be run in another role.
pub(super) fn this_program() -> Result<Command> {
    let path = std::env::current_exe().map_err(Error::during("finding this program"))?;
    let mut command = Command::new(path);
    command.kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        // Conditions are the benchmark's own, not those of the caller's server and workers.
        let is_ours = name.to_str().is_some_and(|name| name.starts_with("HAULIER_"));
        if is_ours || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// A server in a process of its own, which writes its log into a file.
pub(super) struct ServerProcess {
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts it; it is killed when this is dropped.
    pub(super) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log).map_err(Error::during(log.display()))?;
        command.stdout(Stdio::null()).stderr(file).stdin(Stdio::piped());
        let child = command.spawn().map_err(Error::during("starting a server"))?;
        Ok(Self { child, log })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails if it has ended, with the end of its log.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::new(format!("a server ended with {status}; {}", self.log_tail()))),
            Err(error) => Err(Error::new(format!("a server cannot be looked at: {error}"))),
        }
    }

    /// The end of what it logged.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("its log ends:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// Asks it to end and waits; kills it when it does not.
    pub(super) async fn stop(mut self) {
        drop(self.child.stdin.take());
        terminate(&mut self.child);
        if tokio::time::timeout(END_TIME, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended meanwhile, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ = child.start_kill();
}

/// Resolves when this process is told to end.
#[cfg(unix)]
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A port on 127.0.0.1 that was free just now.
pub(super) fn free_port() -> Result<u16> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(Error::during("finding a free port"))
}

/// Tells how far the benchmark is.
pub(super) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "haulier: {text}");
}

/// The process that listens on a TCP port of this machine, if it is one of these programs; reading that of another user
/// needs root.
pub(super) fn listener(port: u16, programs: &[&str]) -> Option<u32> {
    let is_listening = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (_, local_port) = local.rsplit_once(':')?;
        // 0A: LISTEN.
        (*state == "0A" && u16::from_str_radix(local_port, 16) == Ok(port))
            .then(|| format!("socket:[{inode}]"))
    };
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let sockets: Vec<String> =
        tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(is_listening).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        runs(*pid, programs)
            && std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|files| {
                files.flatten().any(|file| {
                    std::fs::read_link(file.path())
                        .is_ok_and(|link| sockets.iter().any(|socket| link.as_path() == Path::new(socket)))
                })
            })
    })
}

/// Whether a process runs one of these programs.
pub(super) fn runs(pid: u32, programs: &[&str]) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    programs.contains(&name.trim())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 41 17 0 0 20 0 8 0 5 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(58));
        assert_eq!(cpu_ticks("7"), None);
    }

    #[test]
    fn this_process_has_used_some_time() {
        assert!(cpu_seconds(std::process::id()).is_some());
        assert_eq!(cpu_seconds(u32::MAX), None);
    }

    #[test]
    fn cost_is_told_per_thousand_jobs_where_both_readings_are_known() {
        let cpu = |server| Cpu { server, database: Some(2.0), clients: None };
        let spent = cpu(Some(5.0)).since(cpu(Some(1.0)), 2_000);
        assert_eq!((spent.server, spent.database, spent.clients), (Some(2.0), Some(0.0), None));
    }

    #[test]
    fn a_listener_is_found_only_under_its_own_name() {
        let listener_socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener_socket.local_addr().unwrap().port();
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(listener(port, &[own.trim()]), Some(std::process::id()));
        assert_eq!(listener(port, &["mariadbd"]), None);
    }
}
