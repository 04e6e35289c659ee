//! A program that is run for the caller: signals are passed on to it, and it can be stopped.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::{FAILED, warn};

/// A program that runs. It is killed when this is dropped.
pub(super) struct Program {
    child: Child,
    signals: signals::Signals,
}

impl Program {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let signals = signals::Signals::listen()?;
        Ok(Self { child: command.kill_on_drop(true).spawn()?, signals })
    }

    /// Waits for its end, passing on what this process is told; answers its exit code, or 128 and the signal that ended it.
    pub(super) async fn end(&mut self) -> u8 {
        loop {
            tokio::select! {
                ended = self.child.wait() => return ended.map_or(FAILED, code_of),
                signal = self.signals.next() => signals::send(&self.child, signal),
            }
        }
    }

    /// Asks it to end, and kills it when it has not.
    pub(super) async fn stop(&mut self, within: Duration) {
        signals::terminate(&mut self.child);
        if tokio::time::timeout(within, self.child.wait()).await.is_err() {
            warn("the program did not end in time and is killed");
            if let Err(error) = self.child.kill().await {
                warn(&format!("killing it failed: {error}"));
            }
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| signals::of(status).map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

#[cfg(unix)]
mod signals {
    use std::io::{self, IsTerminal as _};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::process::Child;
    use tokio::signal::unix::{self, SignalKind, signal};

    /// The signals that are passed on.
    pub(super) struct Signals {
        terminate: unix::Signal,
        interrupt: unix::Signal,
        hang_up: unix::Signal,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
            })
        }

        /// The next one. A terminal sends its interrupts to the program itself.
        pub(super) async fn next(&mut self) -> Signal {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return Signal::TERM,
                    _ = self.hang_up.recv() => return Signal::HUP,
                    _ = self.interrupt.recv() => if !io::stdin().is_terminal() { return Signal::INT },
                }
            }
        }
    }

    pub(super) fn send(child: &Child, signal: Signal) {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            super::warn(&format!("the program could not be told to end: {error}"));
        }
    }

    pub(super) fn terminate(child: &mut Child) {
        send(child, Signal::TERM);
    }

    /// The signal that ended it.
    pub(super) fn of(status: ExitStatus) -> Option<i32> {
        status.signal()
    }
}

/// Elsewhere the console tells the program itself, and a program can only be killed.
#[cfg(not(unix))]
mod signals {
    use std::io;
    use std::process::ExitStatus;

    use tokio::process::Child;

    pub(super) struct Signals;

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        /// Ctrl-C is for the program, which has it from the console.
        pub(super) async fn next(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn send(_: &Child, (): ()) {}

    pub(super) fn terminate(child: &mut Child) {
        if let Err(error) = child.start_kill() {
            super::warn(&format!("the program could not be told to end: {error}"));
        }
    }

    pub(super) fn of(_: ExitStatus) -> Option<i32> {
        None
    }
}
