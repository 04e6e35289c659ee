//! What one attempt has to tell.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::outcome_report::Outcome;
use prost::Message as _;
use tokio::time::Instant;

use super::lines::{Line, Lines};
use super::{MESSAGE_BYTES_MAX, OUTCOMES_MAX, outcome_bytes};
use crate::outcome::{after_refusal, too_large};

/// Most parts of one kind in a message.
const PARTS_MAX: usize = 1_000;
/// Shortest time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A message that is being filled, and what may still go into it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) message: pb::ReportJobsRequest,
    bytes_left: usize,
    pub(super) credit: i64,
    /// Nothing sent on this stream is in the server's hands: what is larger than the whole credit may go.
    pub(super) is_credit_whole: bool,
    pub(super) outcomes_left: usize,
    /// An outcome found no room in the last message: this one is for outcomes.
    pub(super) outcomes_first: bool,
    /// An outcome found no room in this message.
    pub(super) outcome_waits: bool,
}

impl Room {
    pub(super) fn new(message: pb::ReportJobsRequest, bytes_max: usize) -> Self {
        Self {
            bytes_left: bytes_max.saturating_sub(message.encoded_len()),
            message,
            credit: 0,
            is_credit_whole: false,
            outcomes_left: OUTCOMES_MAX,
            outcomes_first: false,
            outcome_waits: false,
        }
    }

    fn allowance(&self) -> usize {
        usize::try_from(self.credit).unwrap_or(0).min(self.bytes_left)
    }

    fn spend(&mut self, bytes: usize) {
        self.credit -= bytes as i64;
        self.is_credit_whole = false;
        self.take(bytes);
    }

    fn take(&mut self, bytes: usize) {
        // The tag and length of the part come on top.
        self.bytes_left = self.bytes_left.saturating_sub(bytes + 8);
    }
}

/// How far a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckpointState {
    /// On its way.
    Waiting,
    /// Stored, or a later one is.
    Stored,
    /// Refused, and why.
    Refused(String),
    /// The lease is gone.
    LeaseLost,
}

/// What one attempt has to tell, and what of it the server knows.
#[derive(Debug)]
pub(crate) struct LeaseReport {
    token: String,
    session: u64,
    lines: Lines,
    lines_bytes_max: usize,
    checkpoint: Checkpoint,
    progress: Progress,
    outcome: Option<PendingOutcome>,
    hold_until: Option<Instant>,
    has_turn: bool,
}

#[derive(Debug, Default)]
struct Checkpoint {
    last: i64,
    stored: i64,
    pending: Option<(i64, Option<pb::Payload>)>,
    is_sent: bool,
    refused: Option<(i64, String)>,
}

#[derive(Debug, Default)]
struct Progress {
    progress: Option<f64>,
    status: Option<String>,
    is_unsent: bool,
    sent_at: Option<Instant>,
}

/// An outcome that is not acknowledged yet.
#[derive(Debug)]
pub(crate) struct PendingOutcome {
    outcome: Outcome,
    bytes: usize,
    sent_at: Option<Instant>,
    refusals: u8,
}

impl PendingOutcome {
    fn new(outcome: Outcome, refusals: u8) -> Self {
        let bytes = outcome_bytes(&outcome);
        if bytes > MESSAGE_BYTES_MAX {
            return Self::new(too_large(bytes), refusals);
        }
        Self { outcome, bytes, sent_at: None, refusals }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl LeaseReport {
    pub(super) fn new(job: &pb::LeasedJob, session: u64, lines_bytes_max: usize) -> Self {
        let stored = job.checkpoint_sequence;
        Self {
            token: job.lease.clone(),
            session,
            lines: Lines::after(job.log_sequence),
            lines_bytes_max,
            checkpoint: Checkpoint { last: stored, stored, ..Default::default() },
            progress: Progress::default(),
            outcome: None,
            hold_until: None,
            has_turn: false,
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(crate) fn outcome(&self) -> Option<&PendingOutcome> {
        self.outcome.as_ref()
    }

    /// When the outcome was sent on the present stream.
    pub(super) fn outcome_sent_at(&self) -> Option<Instant> {
        self.outcome.as_ref()?.sent_at
    }

    /// The log lines kept, for the test kit.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Progress and status as last told, for the test kit.
    pub(crate) fn last_progress(&self) -> (Option<f64>, Option<&str>) {
        (self.progress.progress, self.progress.status.as_deref())
    }

    /// The checkpoint last told, for the test kit.
    pub(crate) fn last_checkpoint(&self) -> Option<&pb::Payload> {
        self.checkpoint.pending.as_ref().and_then(|(_, payload)| payload.as_ref())
    }

    // What the handler tells. After the outcome nothing more is taken.

    pub(super) fn log(&mut self, line: Line) -> bool {
        self.outcome.is_some() || self.lines.push(line, self.lines_bytes_max)
    }

    pub(super) fn log_or_leave_out(&mut self, line: Line) {
        if self.outcome.is_none() {
            self.lines.push_or_leave_out(line, self.lines_bytes_max);
        }
    }

    pub(super) fn progress(&mut self, progress: Option<f64>, status: Option<String>) {
        if self.outcome.is_some() {
            return;
        }
        self.progress.progress = progress.or(self.progress.progress);
        self.progress.status = status.or(self.progress.status.take());
        self.progress.is_unsent = true;
    }

    pub(super) fn checkpoint(&mut self, payload: Option<pb::Payload>) -> i64 {
        self.checkpoint.last += 1;
        self.checkpoint.pending = Some((self.checkpoint.last, payload));
        self.checkpoint.is_sent = false;
        self.checkpoint.last
    }

    pub(super) fn checkpoint_state(&self, sequence: i64) -> CheckpointState {
        match &self.checkpoint.refused {
            _ if sequence <= self.checkpoint.stored => CheckpointState::Stored,
            Some((refused, why)) if sequence <= *refused => CheckpointState::Refused(why.clone()),
            _ => CheckpointState::Waiting,
        }
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(PendingOutcome::new(outcome, 0));
        }
    }

    // What the server says.

    pub(super) fn on_stored(&mut self, log_sequence: i64, checkpoint_sequence: i64) {
        self.lines.on_stored(log_sequence);
        let checkpoint = &mut self.checkpoint;
        checkpoint.stored = checkpoint.stored.max(checkpoint_sequence.min(checkpoint.last));
        if checkpoint.pending.as_ref().is_some_and(|(sequence, _)| *sequence <= checkpoint.stored) {
            checkpoint.pending = None;
        }
    }

    pub(super) fn on_gap(&mut self, log_sequence: i64) {
        self.lines.on_gap(log_sequence);
        self.resend_outcome();
    }

    /// The server could not take it now: everything again, later.
    pub(super) fn hold_back(&mut self, until: Instant) {
        self.rewind();
        self.hold_until = Some(until);
    }

    /// The server refuses something for good. False: also the last outcome there is.
    pub(super) fn on_invalid(&mut self, field: &str, why: &str) -> bool {
        if field.starts_with("progress") {
            return true;
        }
        if field.starts_with("logs") || (field.is_empty() && self.lines.has_unstored_sent()) {
            self.lines.on_refused(why);
            self.resend_outcome();
            return true;
        }
        let has_sent_checkpoint = self.checkpoint.pending.is_some() && self.checkpoint.is_sent;
        if field.starts_with("checkpoints") || (field.is_empty() && has_sent_checkpoint) {
            if let Some((sequence, _)) = self.checkpoint.pending.take() {
                self.checkpoint.refused = Some((sequence, why.to_owned()));
            }
            return true;
        }
        let Some(refused) = self.outcome.take() else { return true };
        self.outcome = after_refusal(refused.outcome, refused.refusals, field, why)
            .map(|outcome| PendingOutcome::new(outcome, refused.refusals + 1));
        self.outcome.is_some()
    }

    /// A new stream: everything that is not acknowledged is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.lines.rewind();
        self.checkpoint.is_sent = false;
        self.progress.is_unsent |= self.progress.progress.is_some() || self.progress.status.is_some();
        self.hold_until = None;
        self.resend_outcome();
    }

    pub(super) fn resend_outcome(&mut self) {
        if let Some(outcome) = &mut self.outcome {
            outcome.sent_at = None;
        }
    }

    // Its turn.

    /// Whether it is to be put among those that wait for their turn.
    pub(super) fn needs_turn(&mut self) -> bool {
        let needs = !self.has_turn && self.has_unsent();
        self.has_turn |= needs;
        needs
    }

    fn has_unsent(&self) -> bool {
        self.lines.has_unsent()
            || self.has_unsent_checkpoint()
            || self.progress.is_unsent
            || self.outcome.as_ref().is_some_and(|outcome| outcome.sent_at.is_none())
    }

    fn has_unsent_checkpoint(&self) -> bool {
        self.checkpoint.pending.is_some() && !self.checkpoint.is_sent
    }

    /// Puts into the message what there is room for. True: something is left.
    pub(super) fn fill(&mut self, room: &mut Room, now: Instant) -> bool {
        if self.hold_until.is_none_or(|until| now >= until) {
            self.hold_until = None;
            if !room.outcomes_first {
                self.fill_lines(room, now);
                self.fill_checkpoint(room);
                self.fill_progress(room, now);
            }
            self.fill_outcome(room, now);
        }
        self.has_turn = self.has_unsent();
        self.has_turn
    }

    fn fill_lines(&mut self, room: &mut Room, now: Instant) {
        if room.message.logs.len() == PARTS_MAX {
            return;
        }
        if let Some(report) = self.lines.take(&self.token, room.allowance(), room.is_credit_whole, now) {
            room.spend(report.encoded_len());
            room.message.logs.push(report);
        }
    }

    fn fill_checkpoint(&mut self, room: &mut Room) {
        if !self.has_unsent_checkpoint() || room.message.checkpoints.len() == PARTS_MAX {
            return;
        }
        let Some((sequence, payload)) = &self.checkpoint.pending else { return };
        let report =
            pb::CheckpointReport { lease: self.token.clone(), sequence: *sequence, payload: payload.clone() };
        let bytes = report.encoded_len();
        let may_exceed_credit = room.is_credit_whole && bytes <= room.bytes_left;
        if bytes <= room.allowance() || may_exceed_credit {
            room.spend(bytes);
            room.message.checkpoints.push(report);
            self.checkpoint.is_sent = true;
        }
    }

    fn fill_progress(&mut self, room: &mut Room, now: Instant) {
        let is_due = self.outcome.is_some() || self.progress_due().is_none_or(|due| now >= due);
        if !self.progress.is_unsent || !is_due || room.message.progress.len() == PARTS_MAX {
            return;
        }
        let report = pb::ProgressReport {
            lease: self.token.clone(),
            progress: self.progress.progress,
            status: self.progress.status.clone(),
        };
        let bytes = report.encoded_len();
        if bytes <= room.bytes_left {
            room.take(bytes);
            room.message.progress.push(report);
            self.progress.is_unsent = false;
            self.progress.sent_at = Some(now);
        }
    }

    fn progress_due(&self) -> Option<Instant> {
        self.progress.sent_at.map(|sent| sent + PROGRESS_INTERVAL)
    }

    /// The outcome goes with or after the last log line and the last checkpoint.
    fn fill_outcome(&mut self, room: &mut Room, now: Instant) {
        if self.lines.has_unsent() || self.has_unsent_checkpoint() || room.outcomes_left == 0 {
            return;
        }
        let Some(pending) = self.outcome.as_mut().filter(|outcome| outcome.sent_at.is_none()) else { return };
        if pending.bytes > room.bytes_left {
            room.outcome_waits = true;
            return;
        }
        room.take(pending.bytes);
        room.outcomes_left -= 1;
        room.message.outcomes.push(pb::OutcomeReport {
            lease: self.token.clone(),
            log_sequence: self.lines.last_sequence(),
            outcome: Some(pending.outcome.clone()),
        });
        pending.sent_at = Some(now);
    }

    /// When it can go on without anything changing.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.hold_until
            .filter(|until| *until > now)
            .or_else(|| self.progress_due().filter(|_| self.progress.is_unsent))
    }
}
