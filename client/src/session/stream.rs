//! The report stream: opened again whenever it breaks, while handlers run on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use haulier_proto::v1 as pb;
use tokio::time::{Sleep, sleep, timeout};
use tonic::{Status, Streaming};

use super::{Hub, Judged, Session};
use crate::errors::Error;
use crate::report::{Event, Next};
use crate::retry::Backoff;

/// How long the server may take to accept a stream.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// After so many streams in a row that broke without an answer another connection is made.
const FAILURES_MAX: u32 = 3;

/// How a stream ended.
enum StreamEnd {
    /// As it was meant to: everything was told, and the server ended it.
    Closed,
    /// The server says that the session is over.
    Lost,
    /// The server does not know the call.
    Unserved(Status),
    /// The server refuses it; an operator must mend that.
    Refused(Status),
    /// It broke.
    Broken(String),
    /// The server answers that what it is told is wrong.
    Faulty(String),
}

impl Session {
    /// Reports until the session ends; only an error that no repeat mends returns.
    pub(super) async fn report(&self) -> Error {
        let (mut backoff, mut refusals) = (Backoff::calls(), Backoff::refusals());
        let mut failures = 0;
        loop {
            let mut has_answered = false;
            let end = self.report_once(&mut has_answered).await;
            if has_answered && !matches!(end, StreamEnd::Faulty(_)) {
                self.engine.has_reported.store(true, Relaxed);
                failures = 0;
                backoff.reset();
                refusals.reset();
            }
            match end {
                StreamEnd::Closed => {
                    self.closed.cancel();
                    return std::future::pending().await;
                }
                StreamEnd::Unserved(status) if !self.engine.has_reported.load(Relaxed) => {
                    return self.engine.unserved("ReportJobs", &status);
                }
                StreamEnd::Lost => self.lost.cancel(),
                StreamEnd::Refused(status) | StreamEnd::Unserved(status) => {
                    tracing::error!(code = ?status.code(), message = status.message(), "reporting was refused: trying again");
                    refusals.pause().await;
                    continue;
                }
                StreamEnd::Faulty(why) => {
                    tracing::error!(why, "the server refuses what it is told: opening another stream")
                }
                // A server that is away is told of once.
                StreamEnd::Broken(why) if failures == 0 => {
                    tracing::warn!(why, "the report stream broke: opening another, for as long as it takes");
                }
                StreamEnd::Broken(why) => tracing::debug!(why, "the report stream broke again"),
            }
            failures += 1;
            if failures % FAILURES_MAX == 0 {
                self.engine.renew_transport();
            }
            backoff.pause().await;
        }
    }

    async fn report_once(&self, has_answered: &mut bool) -> StreamEnd {
        let hub = &self.engine.hub;
        let number = hub.tell(crate::report::ReportState::open_stream);
        let upward = Upward { hub: hub.clone(), number, sleep: Box::pin(sleep(Duration::ZERO)) };
        let opening = async { self.engine.service().report_jobs(upward).await };
        match timeout(OPEN_TIME, opening).await {
            Ok(Ok(stream)) => {
                hub.tell(crate::report::ReportState::on_accepted);
                hub.stir();
                self.take_answers(stream.into_inner(), has_answered).await
            }
            Ok(Err(status)) => judged(status),
            Err(_) => StreamEnd::Broken("the server did not accept it in time".into()),
        }
    }

    async fn take_answers(
        &self,
        mut answers: Streaming<pb::ReportJobsResponse>,
        has_answered: &mut bool,
    ) -> StreamEnd {
        // Every heartbeat is answered: without an answer for two of them and a half the stream is dead, or the server is.
        let silence_max = self.registered.heartbeat_interval.mul_f64(2.5) + Duration::from_secs(1);
        loop {
            let answer = match timeout(silence_max, answers.message()).await {
                Ok(Ok(Some(answer))) => answer,
                Ok(Ok(None)) if self.is_told() => return StreamEnd::Closed,
                Ok(Ok(None)) => return StreamEnd::Broken("the server ended it".into()),
                Ok(Err(status)) => return judged(status),
                Err(_) => {
                    self.engine.renew_transport();
                    return StreamEnd::Broken("the server answers nothing".into());
                }
            };
            *has_answered = true;
            for event in self.engine.hub.on_response(answer) {
                let broken = if let Event::Broken { why } = &event { Some(why.clone()) } else { None };
                if self.engine.obey(event) {
                    self.lost.cancel();
                }
                if let Some(why) = broken {
                    return StreamEnd::Faulty(why);
                }
            }
        }
    }

    /// Whether the stream has told everything and was to end.
    fn is_told(&self) -> bool {
        self.engine.hub.look(crate::report::ReportState::is_closing)
    }
}

fn judged(status: Status) -> StreamEnd {
    match Judged::of(&status) {
        Judged::Lost => StreamEnd::Lost,
        Judged::Unserved => StreamEnd::Unserved(status),
        Judged::Refused => StreamEnd::Refused(status),
        Judged::Later => StreamEnd::Broken(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// The messages up, made when the transport asks for the next one.
struct Upward {
    hub: Arc<Hub>,
    number: u64,
    sleep: Pin<Box<Sleep>>,
}

impl Stream for Upward {
    type Item = pb::ReportJobsRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let until = match self.hub.poll_message(self.number, cx) {
                Next::Message(message) => return Poll::Ready(Some(message)),
                Next::End => return Poll::Ready(None),
                Next::Wait(None) => return Poll::Pending,
                Next::Wait(Some(until)) => until,
            };
            self.sleep.as_mut().reset(until);
            match self.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
