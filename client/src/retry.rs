//! When to try again: which errors are worth it, and how long to wait.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::errors::{Error, Result};

/// Waits that double up to a most, each drawn from its upper half so that callers do not march in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    spent: Duration,
}

impl Backoff {
    /// For calls, claims and streams.
    pub(crate) fn calls() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// For what an operator must mend: a key, a right, a setting.
    pub(crate) fn refusals() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// For what is started again when it fails.
    pub(crate) fn restarts() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, spent: Duration::ZERO }
    }

    /// The next wait; `chance` is drawn evenly from 0 to 1.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        let wait = wait.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        self.spent += wait;
        wait
    }

    /// How long the waits since the last success are in all.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// After a success: begins anew.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
        self.spent = Duration::ZERO;
    }

    /// Waits for the next wait.
    pub(crate) async fn pause(&mut self) {
        sleep(self.next(rand::random())).await;
    }
}

/// Whether a call may be made again when it is not known whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice has the effect of doing it once.
    Safe,
    /// It must not be done twice.
    Unsafe,
}

/// Whether an error is worth another try: `Some` with the wait that the server asks for.
pub(crate) fn worth_retrying(status: &Status, repeat: Repeat) -> Option<Option<Duration>> {
    let details = status.get_error_details();
    let asked = details.retry_info().and_then(|info| info.retry_delay);
    let reason = details.error_info().map(|info| info.reason.as_str());
    let was_broken = is_broken_transport(status);
    match status.code() {
        // The server has waited for one already.
        Code::Unavailable if reason == Some("NO_WORKER_HERE") => None,
        Code::Unavailable => {
            (!was_broken || repeat == Repeat::Safe || is_connect_error(status)).then_some(asked)
        }
        // A number that only shrinks when somebody acts is not worth waiting for, unless the server says so.
        Code::ResourceExhausted if reason == Some("LIMIT_REACHED") => asked.map(Some),
        Code::ResourceExhausted => Some(asked),
        _ => (was_broken && repeat == Repeat::Safe).then_some(None),
    }
}

/// Whether the connection broke, rather than the server answered: only then a status has a source.
pub(crate) fn is_broken_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn is_connect_error(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Calls until it works, the error is not worth another try, or the deadline is over. `call` gets the time that is left.
pub(crate) async fn call<T, F, Fut>(
    operation: &'static str,
    deadline: Duration,
    repeat: Repeat,
    mut call: F,
) -> Result<T>
where
    F: FnMut(Duration) -> Fut,
    Fut: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let end = Instant::now() + deadline;
    let mut backoff = Backoff::calls();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let status = match timeout_at(end, call(left)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => return Err(over(operation, deadline)),
        };
        let Some(asked) = worth_retrying(&status, repeat) else {
            return Err(Error::from_status(operation, &status));
        };
        let wait = wait(asked, backoff.next(rand::random()), rand::random());
        if Instant::now() + wait >= end {
            return Err(Error::from_status(operation, &status));
        }
        tracing::debug!(operation, code = ?status.code(), ?wait, "trying again");
        sleep(wait).await;
    }
}

/// The longer of the two waits; one that the server asked for is drawn out by up to a half, as it told others the same.
fn wait(asked: Option<Duration>, own: Duration, chance: f64) -> Duration {
    asked.map_or(own, |asked| own.max(asked.mul_f64(1.0 + 0.5 * chance.clamp(0.0, 1.0))))
}

fn over(operation: &'static str, deadline: Duration) -> Error {
    let message = format!("no answer within {deadline:?}; whether it was done is not known");
    Error::from_status(operation, &Status::deadline_exceeded(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tonic_types::ErrorDetails;

    #[test]
    fn waits_double_up_to_the_most_and_are_drawn_from_the_upper_half() {
        let mut backoff = Backoff::calls();
        let waits: Vec<_> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(50));
    }

    #[test]
    fn the_servers_wait_counts_when_it_is_longer() {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(4));
        assert_eq!(wait(None, short, 0.5), short);
        assert_eq!(wait(Some(long), short, 0.0), long);
        assert_eq!(wait(Some(long), short, 1.0), Duration::from_secs(6));
        assert_eq!(wait(Some(short), long, 0.0), long);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let answers = |code| worth_retrying(&Status::new(code, ""), Repeat::Unsafe).is_some();
        assert!(answers(Code::Unavailable) && answers(Code::ResourceExhausted));
        for code in
            [Code::InvalidArgument, Code::NotFound, Code::Aborted, Code::Internal, Code::Unimplemented]
        {
            assert!(!answers(code), "{code:?}");
        }
        let limit = ErrorDetails::with_error_info(
            "LIMIT_REACHED",
            "haulier",
            std::collections::HashMap::<String, String>::new(),
        );
        let status = Status::with_error_details(Code::ResourceExhausted, "", limit);
        assert_eq!(worth_retrying(&status, Repeat::Safe), None);
        let nobody = ErrorDetails::with_error_info(
            "NO_WORKER_HERE",
            "haulier",
            std::collections::HashMap::<String, String>::new(),
        );
        let status = Status::with_error_details(Code::Unavailable, "", nobody);
        assert_eq!(worth_retrying(&status, Repeat::Safe), None, "the server has waited already");
    }

    #[test]
    fn a_broken_connection_is_tried_again_only_when_a_repeat_is_safe() {
        let mut broken = Status::unknown("transport error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("broken pipe")));
        assert_eq!(worth_retrying(&broken, Repeat::Safe), Some(None));
        assert_eq!(worth_retrying(&broken, Repeat::Unsafe), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_works() {
        let tries = Cell::new(0);
        let answer = call("Test", Duration::from_secs(30), Repeat::Safe, |_| {
            tries.set(tries.get() + 1);
            let result =
                if tries.get() < 4 { Err(Status::unavailable("")) } else { Ok(tonic::Response::new(7)) };
            async { result }
        });
        assert_eq!(answer.await.unwrap(), 7);
        assert_eq!(tries.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_it_with_the_last_error() {
        let begin = Instant::now();
        let answer = call("Test", Duration::from_secs(5), Repeat::Safe, |_| async {
            Err::<tonic::Response<()>, _>(Status::unavailable("no database"))
        });
        let error = answer.await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
        assert!(begin.elapsed() <= Duration::from_secs(5));
        let silent = call("Test", Duration::from_secs(5), Repeat::Safe, |_| {
            std::future::pending::<Result<tonic::Response<()>, Status>>()
        });
        assert_eq!(silent.await.unwrap_err().code(), Some(Code::DeadlineExceeded));
    }
}
