//! The claim loop: one call in flight, repeated until its answer comes, asked again as soon as a slot is free.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use haulier_proto::v1 as pb;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Status};

use super::attempt::run_attempt;
use super::{Judged, Session};
use crate::errors::Error;
use crate::options::duration;
use crate::report::Health;
use crate::retry::Backoff;

/// How much longer than its wait a claim may take before it is repeated.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Empty answers that come faster than this are not asked for as fast.
const SOON: Duration = Duration::from_millis(50);

impl Session {
    /// Claims until the session ends or drains; only an error that no repeat mends returns.
    pub(super) async fn claim(&self) -> Error {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => std::future::pending().await,
            error = self.claim_on() => error,
        }
    }

    async fn claim_on(&self) -> Error {
        let (mut backoff, mut refusals) = (Backoff::calls(), Backoff::refusals());
        let mut hurry = Backoff::calls();
        // Raised after every answer, repeated only when none came.
        let mut sequence = 1;
        loop {
            let free = self.free_slots().await;
            let begin = Instant::now();
            let status = match self.claim_once(sequence, free).await {
                Ok(answer) => {
                    self.engine.has_claimed.store(true, Relaxed);
                    let is_empty = answer.jobs.is_empty();
                    self.start(sequence, answer.jobs);
                    sequence += 1;
                    backoff.reset();
                    refusals.reset();
                    if is_empty && begin.elapsed() < SOON.min(self.max_wait) {
                        hurry.pause().await;
                    } else {
                        hurry.reset();
                    }
                    continue;
                }
                Err(status) => status,
            };
            match Judged::of(&status) {
                Judged::Lost => {
                    self.lost.cancel();
                    std::future::pending::<()>().await;
                }
                Judged::Unserved if !self.engine.has_claimed.load(Relaxed) => {
                    return self.engine.unserved("ClaimJob", &status);
                }
                Judged::Refused | Judged::Unserved => {
                    tracing::error!(code = ?status.code(), message = status.message(), "a claim was refused: trying again");
                    refusals.pause().await;
                }
                Judged::Later => {
                    tracing::debug!(code = ?status.code(), message = status.message(), "a claim was not answered: repeating it");
                    backoff.pause().await;
                }
            }
        }
    }

    async fn claim_once(&self, sequence: i64, free: usize) -> Result<pb::ClaimJobResponse, Status> {
        // Worker processes do not come back in step.
        let wait = self.max_wait.mul_f64(rand::random_range(0.8..=1.0));
        let ack_sequence = self.engine.hub.tell(|state| {
            state.claim_sent(sequence);
            state.ack_sequence()
        });
        let mut request = Request::new(pb::ClaimJobRequest {
            session_id: self.registered.session_id.clone(),
            r#loop: 0,
            sequence,
            ack_sequence,
            max_jobs: free.try_into().unwrap_or(i32::MAX),
            wait: Some(duration(wait)),
        });
        let limit = wait + ANSWER_TIME;
        request.set_timeout(limit);
        let answered = timeout(limit, async { self.engine.service().claim_job(request).await }).await;
        let answer = answered.map_err(|_| Status::unavailable("no answer in time"))??.into_inner();
        if answer.sequence != sequence {
            return Err(Status::internal(format!(
                "the answer is to sequence {}, not {sequence}",
                answer.sequence
            )));
        }
        Ok(answer)
    }

    /// Waits until there is a free slot and the leases hold; gives how many jobs to ask for.
    async fn free_slots(&self) -> usize {
        let engine = &self.engine;
        let (mut load, mut health) = (engine.load.subscribe(), engine.health.subscribe());
        loop {
            let changed = engine.hub.changed();
            let free = engine.settings.slots.saturating_sub(load.borrow_and_update().slots);
            let holds = *health.borrow_and_update() == Health::Held;
            let claimable = engine.hub.look(|state| state.claimable(free));
            if claimable > 0 && holds {
                return claimable;
            }
            // Watches are marked as seen above, so no change is missed; of the hub's the next one will do.
            tokio::select! {
                _ = load.changed() => {}
                _ = health.changed() => {}
                () = changed => {}
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Takes the jobs of an answer over: from now on their leases are listed.
    fn start(&self, sequence: i64, jobs: Vec<pb::LeasedJob>) {
        let engine = &self.engine;
        let received_at = Instant::now();
        let keys = engine.hub.tell(|state| state.claim_answered(sequence, &jobs));
        engine.load.send_modify(|load| {
            load.slots += keys.len();
            load.live += keys.len();
        });
        for (key, job) in keys.into_iter().zip(jobs) {
            tokio::spawn(run_attempt(engine.clone(), key, job, sequence, received_at));
        }
    }
}
