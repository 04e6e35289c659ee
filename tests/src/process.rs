//! Child processes that never outlive the test process, and signals to them.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::time::{Pause, monotonic};

/// A process of ours. When it is dropped, or the test process ends in whatever way, it is killed.
pub struct Process {
    child: Child,
    watchdog: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> Process {
        let child =
            command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // Its input is a pipe that only we hold: when we are gone it reads the end, and kills.
        let watchdog = Command::new("sh")
            .args(["-c", &format!("cat >/dev/null; kill -9 {}", child.id())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Apart from the terminal: an interrupt from the keyboard must not end it before its work.
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        Process { child, watchdog, ended: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("our own process takes signals");
        }
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill9(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            let _ = self.child.kill();
        }
        self.end()
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && self.child.try_wait().expect("our own child can be waited for").is_some() {
            self.end();
        }
        self.ended
    }

    /// Waits until it ends by itself; none when it takes longer than `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = monotonic() + limit;
        while self.ended().is_none() && monotonic() < deadline {
            Pause::brief().await;
        }
        self.ended
    }

    /// Memory that it holds now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line =
            status.lines().find(|line| line.starts_with("VmRSS:")).expect("memory of a running process");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a size in KiB") << 10
    }

    /// The watchdog goes first: once the process is reaped, another may get its id.
    fn end(&mut self) -> ExitStatus {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        *self.ended.get_or_insert_with(|| self.child.wait().expect("our own child can be waited for"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
