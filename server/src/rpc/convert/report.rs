//! The report stream: what a worker process says, taken part by part so that one bad part does not spoil the rest; and
//! what it is told, several answers to a message.

use std::collections::BTreeMap;
use std::time::Duration;

use haulier_proto::v1 as pb;
use prost::Message as _;

use super::job::{enqueue_items, log_level};
use super::payload::payload;
use super::{Settings, duration, state};
use crate::engine::{
    Ack, BatchItem, CheckpointReport, Down, Heartbeat, LogsReport, LoopReport, OutcomeReport, ProgressReport,
    Refusal, Report, Stop, Violation,
};
use crate::model::{
    Ended, FailureReason, Fence, JobError, LeaseToken, Level, Payload, SessionId, Time, limits,
};
use crate::rpc::check::{Check, up_to, wire};

/// What of a message can be taken, and what is answered at once about the rest.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// For the engine.
    pub(crate) report: Report,
    /// Refusals, and the log credit that the refused parts had used; none when all is well.
    pub(crate) refused: Option<pb::ReportJobsResponse>,
}

/// The session of a stream's first message.
pub(crate) fn session_of(given: &pb::ReportJobsRequest) -> crate::engine::Result<SessionId> {
    let mut check = Check::new();
    let session = check.session("session_id", &given.session_id);
    check.pass(session)
}

/// Reads one message.
pub(crate) fn report(given: pb::ReportJobsRequest, settings: &Settings, now: Time) -> Taken {
    let mut reader = Reader { check: Check::new(), settings, answer: pb::ReportJobsResponse::default() };
    let report = Report {
        logs: reader.parts("logs", given.logs, logs_cost, |given| &given.lease, read_logs),
        checkpoints: reader.parts(
            "checkpoints",
            given.checkpoints,
            checkpoint_cost,
            |given| &given.lease,
            read_checkpoint,
        ),
        progress: reader.parts("progress", given.progress, |_| 0, |given| &given.lease, read_progress),
        received: reader.received(&given.received),
        outcomes: reader.parts(
            "outcomes",
            given.outcomes,
            |_| 0,
            |given| &given.lease,
            |check, settings, fence, given| read_outcome(check, (settings, now), fence, given),
        ),
        heartbeat: given.heartbeat.and_then(|heartbeat| reader.heartbeat(heartbeat)),
    };
    let refused = (reader.answer != pb::ReportJobsResponse::default()).then_some(reader.answer);
    Taken { report, refused }
}

fn logs_cost(logs: &pb::LogReport) -> i64 {
    logs.encoded_len() as i64
}

fn checkpoint_cost(checkpoint: &pb::CheckpointReport) -> i64 {
    checkpoint.encoded_len() as i64
}

/// Reads the parts of one message.
struct Reader<'a> {
    check: Check,
    settings: &'a Settings,
    answer: pb::ReportJobsResponse,
}

impl Reader<'_> {
    /// Reads parts that each speak of one lease. A bad one is refused by itself: by its lease, or when that cannot be
    /// read, on the stream; and the credit that it used is given back.
    fn parts<Given, Part>(
        &mut self,
        field: &str,
        given: Vec<Given>,
        cost: impl Fn(&Given) -> i64,
        lease: impl Fn(&Given) -> &String,
        read: impl Fn(&mut Check, &Settings, Fence, Given) -> Part,
    ) -> Vec<Part> {
        if given.len() > wire::REPORT_PARTS_MAX {
            self.answer.log_credit_bytes += given.iter().map(&cost).sum::<i64>();
            self.refuse_surplus(field, given.len(), wire::REPORT_PARTS_MAX);
            return Vec::new();
        }
        let mut parts = Vec::with_capacity(given.len());
        for (index, given) in given.into_iter().enumerate() {
            let (cost, token) = (cost(&given), lease(&given).clone());
            let fence = LeaseToken::read(&token);
            let part = self.check.within(format_args!("{field}[{index}]"), |check| match fence {
                Ok(LeaseToken(fence)) => Some(read(check, self.settings, fence, given)),
                Err(error) => {
                    check.refuse("lease", error.to_string());
                    None
                }
            });
            match self.check.take() {
                None => parts.extend(part),
                Some(violation) => {
                    self.answer.log_credit_bytes += cost;
                    self.refuse(fence.is_ok().then_some(token), violation);
                }
            }
        }
        parts
    }

    fn received(&mut self, given: &[pb::ReceivedReport]) -> Vec<(i32, i64)> {
        if given.len() > limits::LOOPS_MAX as usize {
            self.refuse_surplus("received", given.len(), limits::LOOPS_MAX as usize);
            return Vec::new();
        }
        let mut read = Vec::with_capacity(given.len());
        for (index, received) in given.iter().enumerate() {
            self.check.within(format_args!("received[{index}]"), |check| {
                check.number("loop", received.r#loop, 0..=limits::LOOPS_MAX - 1);
                check.number("sequence", received.sequence, 1..=i64::MAX - 1);
            });
            match self.check.take() {
                None => read.push((received.r#loop, received.sequence)),
                Some(violation) => self.refuse(None, violation),
            }
        }
        read
    }

    /// A heartbeat is taken whole or not at all: half an inventory would give back what is held.
    fn heartbeat(&mut self, given: pb::Heartbeat) -> Option<Heartbeat> {
        let heartbeat = self.check.within("heartbeat", |check| {
            check.number("beat", given.beat, 1..=i64::MAX);
            check.count("loops", given.loops.len(), limits::LOOPS_MAX as usize);
            check.count("leases", given.leases.len(), limits::LEASES_PER_BEAT_MAX);
            let loops =
                given.loops.iter().enumerate().map(|(index, state)| read_loop(check, index, state)).collect();
            let leases =
                given.leases.iter().enumerate().filter_map(|(index, token)| read_lease(check, index, token));
            Heartbeat { beat: given.beat, loops, leases: leases.collect() }
        });
        match self.check.take() {
            None => Some(heartbeat),
            Some(violation) => {
                self.refuse(None, violation);
                None
            }
        }
    }

    fn refuse(&mut self, lease: Option<String>, violation: Violation) {
        let Violation { field, message } = violation;
        let error = pb::ReportError { code: pb::ReportErrorCode::Invalid.into(), message, field };
        match lease {
            Some(lease) => {
                self.answer.acks.push(pb::ReportAck { lease, error: Some(error), ..Default::default() })
            }
            None => self.answer.errors.push(error),
        }
    }

    fn refuse_surplus(&mut self, field: &str, count: usize, most: usize) {
        self.answer.errors.push(pb::ReportError {
            code: pb::ReportErrorCode::ResourceExhausted.into(),
            message: format!(
                "has {count} entries, at most {most} are allowed in one message: send them in several"
            ),
            field: field.into(),
        });
    }
}

fn read_loop(check: &mut Check, index: usize, given: &pb::LoopState) -> LoopReport {
    check.within(format_args!("loops[{index}]"), |check| LoopReport {
        claim_loop: check.number("loop", given.r#loop, 0..=limits::LOOPS_MAX - 1),
        received: check.number("received", given.received, 0..=i64::MAX - 1),
        sent: check.number("sent", given.sent, 0..=i64::MAX - 1),
        sent_open: given.sent_open,
    })
}

fn read_lease(check: &mut Check, index: usize, token: &str) -> Option<Fence> {
    match LeaseToken::read(token) {
        Ok(LeaseToken(fence)) => Some(fence),
        Err(error) => {
            check.refuse(format_args!("leases[{index}]"), error.to_string());
            None
        }
    }
}

fn read_logs(check: &mut Check, _: &Settings, fence: Fence, given: pb::LogReport) -> LogsReport {
    let bytes = logs_cost(&given);
    check.number("from_sequence", given.from_sequence, 0..=i64::MAX - wire::REPORT_PARTS_MAX as i64);
    check.count("lines", given.lines.len(), limits::LOG_LINES_PER_REPORT_MAX);
    if bytes > wire::LOG_REPORT_BYTES_MAX as i64 {
        check.refuse(
            "lines",
            format!("have {bytes} bytes, at most {} are allowed", wire::LOG_REPORT_BYTES_MAX),
        );
    }
    let lines = given.lines.into_iter().enumerate();
    LogsReport {
        fence,
        from_sequence: given.from_sequence,
        lines: lines
            .map(|(index, line)| check.within(format_args!("lines[{index}]"), |at| read_line(at, line)))
            .collect(),
        bytes,
    }
}

fn read_line(check: &mut Check, given: pb::LogEntry) -> (Duration, Level, String, String) {
    let ago = check.duration("time_ago", given.time_ago, Duration::ZERO..=Duration::MAX).unwrap_or_default();
    let level = log_level(check, "level", given.level, Level::Info);
    check.count("fields", given.fields.len(), limits::LOG_FIELDS_MAX);
    let bytes =
        given.message.len() + given.fields.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if bytes > limits::LOG_LINE_BYTES_MAX {
        let most = limits::LOG_LINE_BYTES_MAX;
        check.refuse(
            "message",
            format!("has {bytes} bytes with its fields, at most {most} are allowed: shorten it"),
        );
    }
    let fields: BTreeMap<String, String> = given.fields.into_iter().collect();
    let fields =
        if fields.is_empty() { String::new() } else { serde_json::to_string(&fields).unwrap_or_default() };
    (ago, level, given.message, fields)
}

fn read_checkpoint(
    check: &mut Check,
    settings: &Settings,
    fence: Fence,
    given: pb::CheckpointReport,
) -> CheckpointReport {
    let bytes = checkpoint_cost(&given);
    let sequence = check.number("sequence", given.sequence, 1..=i64::MAX);
    let payload = check.within("payload", |check| payload(check, given.payload, settings.payload_bytes_max));
    CheckpointReport { fence, sequence, payload, bytes }
}

fn read_progress(check: &mut Check, _: &Settings, fence: Fence, given: pb::ProgressReport) -> ProgressReport {
    let progress = given.progress.map(|is| check.number("progress", is, 0.0..=1.0));
    if let Some(status) = &given.status {
        check.bytes("status", status, limits::STATUS_BYTES_MAX);
    }
    ProgressReport { fence, progress, status: given.status }
}

fn read_outcome(
    check: &mut Check,
    (settings, now): (&Settings, Time),
    fence: Fence,
    given: pb::OutcomeReport,
) -> OutcomeReport {
    use pb::outcome_report::Outcome;
    let log_sequence = check.number("log_sequence", given.log_sequence, 0..=i64::MAX);
    let reason = |check: &mut Check, reason: &str| check.bytes("reason", reason, limits::REASON_BYTES_MAX);
    let (mut result, mut follow) = (Payload::None, Vec::new());
    let ended = match given.outcome {
        Some(Outcome::Complete(complete)) => {
            (result, follow) =
                check.within("complete", |check| read_result(check, (settings, now), complete));
            Ended::Completed
        }
        Some(Outcome::Fail(fail)) => check.within("fail", |check| read_failure(check, fail)),
        Some(Outcome::Release(release)) => {
            check.within("release", |check| reason(check, &release.reason));
            Ended::Released
        }
        Some(Outcome::Cancelled(cancelled)) => {
            check.within("cancelled", |check| reason(check, &cancelled.reason));
            Ended::Cancelled(cancelled.reason)
        }
        None => {
            check.refuse("outcome", "is not set: give `complete`, `fail`, `release` or `cancelled`");
            Ended::Released
        }
    };
    OutcomeReport { fence, log_sequence, ended, result, follow }
}

fn read_result(
    check: &mut Check,
    (settings, now): (&Settings, Time),
    given: pb::CompleteOutcome,
) -> (Payload, Vec<BatchItem>) {
    check.count("enqueue", given.enqueue.len(), limits::FOLLOW_JOBS_MAX);
    let mut follow = Vec::new();
    if given.enqueue.len() <= limits::FOLLOW_JOBS_MAX {
        follow = enqueue_items(check, "enqueue", given.enqueue, None, settings, now);
    }
    (check.within("result", |check| payload(check, given.result, settings.payload_bytes_max)), follow)
}

fn read_failure(check: &mut Check, given: pb::FailOutcome) -> Ended {
    check.chars("code", &given.code, wire::ERROR_CODE_CHARS_MAX);
    check.bytes("message", &given.message, limits::ERROR_MESSAGE_BYTES_MAX);
    check.bytes("stack", &given.stack, limits::ERROR_STACK_BYTES_MAX);
    // Zero means at once, which is something else than the policy's wait.
    let allowed = Duration::ZERO..=*up_to(limits::RETRY_DELAY_MAX).end();
    let retry_delay = check.duration("retry_delay", given.retry_delay, allowed);
    let (reason, is_final) = match check.one_of("reason", given.reason) {
        pb::FailureReason::Unspecified | pb::FailureReason::Handler => (FailureReason::Handler, false),
        pb::FailureReason::Api => (FailureReason::Api, false),
        pb::FailureReason::NonRetryable => (FailureReason::NonRetryable, true),
        pb::FailureReason::UnstorableResult => (FailureReason::UnstorableResult, true),
        pb::FailureReason::Timeout => (FailureReason::Timeout, false),
        pb::FailureReason::UnreadableRequest => (FailureReason::UnreadableRequest, true),
        pb::FailureReason::Poison | pb::FailureReason::Abandoned | pb::FailureReason::WorkerLost => {
            check.refuse("reason", "is not for a worker process to tell: leave it out");
            (FailureReason::Handler, false)
        }
    };
    let error = JobError { code: given.code, message: given.message, stack: given.stack, reason };
    Ended::Failed { error, retryable: if is_final { Some(false) } else { given.retryable }, retry_delay }
}

/// Answers on their way down, gathered into one message.
#[derive(Debug, Default)]
pub(crate) struct Answers(pb::ReportJobsResponse);

impl Answers {
    /// The message.
    pub(crate) fn into_message(self) -> pb::ReportJobsResponse {
        self.0
    }

    /// Adds what was refused while a message was read.
    pub(crate) fn add_refused(&mut self, refused: pb::ReportJobsResponse) {
        self.0.acks.extend(refused.acks);
        self.0.errors.extend(refused.errors);
        self.0.log_credit_bytes += refused.log_credit_bytes;
    }

    /// Adds what the engine says.
    pub(crate) fn add(&mut self, down: Down) {
        use pb::directive::Kind;
        let directive = match down {
            Down::Beat { beat, lease_time } => {
                self.0.heartbeat = Some(pb::HeartbeatAck { beat, lease_time: Some(duration(lease_time)) });
                return;
            }
            Down::Acks(acks) => return self.0.acks.extend(acks.into_iter().map(report_ack)),
            Down::Credit(bytes) => {
                self.0.log_credit_bytes += bytes;
                return;
            }
            Down::SessionLost => return self.0.errors.push(session_lost()),
            Down::LeaseLost { fence, reason } => {
                Kind::LeaseLost(pb::LeaseLost { lease: LeaseToken(fence).write(), reason })
            }
            Down::Cancel { fence, reason, grace, who } => Kind::Cancel(pb::CancelDirective {
                lease: LeaseToken(fence).write(),
                reason,
                grace: Some(duration(grace)),
                kind: match who {
                    Stop::Client => pb::CancelKind::Client.into(),
                    Stop::Timeout => pb::CancelKind::Timeout.into(),
                },
            }),
            Down::Drain { reason, grace } => Kind::Drain(pb::Drain { reason, grace: Some(duration(grace)) }),
        };
        self.0.directives.push(pb::Directive { kind: Some(directive) });
    }
}

fn report_ack(ack: Ack) -> pb::ReportAck {
    pb::ReportAck {
        lease: LeaseToken(ack.fence).write(),
        outcome_stored: ack.outcome.is_some(),
        state: ack.outcome.map_or(0, |outcome| state(outcome).into()),
        log_sequence: ack.log_sequence.unwrap_or_default(),
        checkpoint_sequence: ack.checkpoint_sequence.unwrap_or_default(),
        error: ack.refused.map(refusal),
    }
}

fn refusal(refusal: Refusal) -> pb::ReportError {
    let (code, message) = match refusal {
        Refusal::LeaseLost => {
            (pb::ReportErrorCode::LeaseLost, "the lease is no longer held: drop the work on this job")
        }
        Refusal::LogGap => (
            pb::ReportErrorCode::LogGap,
            "log lines are missing before these: send again from `log_sequence`",
        ),
        Refusal::Unavailable => (pb::ReportErrorCode::Unavailable, "it cannot be stored now: send it again"),
        Refusal::Exhausted => (
            pb::ReportErrorCode::ResourceExhausted,
            "the server has as much in hand as it may: send it again later",
        ),
    };
    pb::ReportError { code: code.into(), message: message.into(), field: String::new() }
}

fn session_lost() -> pb::ReportError {
    pb::ReportError {
        code: pb::ReportErrorCode::SessionLost.into(),
        message: "the session is over: send the outcomes there are, drop the rest, register anew".into(),
        field: String::new(),
    }
}

#[cfg(test)]
mod tests;
