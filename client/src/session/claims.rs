//! The claim loops: each with one call in flight, repeated until its answer comes, asked again as soon as a slot is free. While
//! many jobs wait a second loop asks for more while the answer of the first is made, travels and is read.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use haulier_proto::v1 as pb;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Status};

use super::attempt::{Brought, run_attempt};
use super::{Judged, Load, Session};
use crate::errors::Error;
use crate::options::duration;
use crate::report::Health;
use crate::retry::Backoff;

/// How much longer than its wait a claim may take before it is repeated.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Fewer jobs in an answer do not say that many wait.
const MANY: usize = 64;
/// Empty answers that come faster than this are not asked for as fast.
const SOON: Duration = Duration::from_millis(50);

impl Session {
    /// Claims until the session ends or drains; only an error that no repeat mends returns.
    pub(super) async fn claim(&self) -> Error {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => std::future::pending().await,
            error = self.claim_on(0) => error,
            error = self.claim_on(1) => error,
        }
    }

    async fn claim_on(&self, claim_loop: usize) -> Error {
        let (mut backoff, mut refusals) = (Backoff::calls(), Backoff::refusals());
        let mut hurry = Backoff::calls();
        // Raised after every answer, repeated only when none came.
        let mut sequence = 1;
        loop {
            let free = self.free_slots(claim_loop).await;
            let begin = Instant::now();
            let status = match self.claim_once(claim_loop, sequence, free).await {
                Ok(answer) => {
                    self.engine.has_claimed.store(true, Relaxed);
                    let is_empty = answer.jobs.is_empty();
                    self.start(Brought { claim_loop, sequence }, answer.jobs);
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

    async fn claim_once(
        &self,
        claim_loop: usize,
        sequence: i64,
        free: usize,
    ) -> Result<pb::ClaimJobResponse, Status> {
        // Worker processes do not come back in step.
        let wait = self.max_wait.mul_f64(rand::random_range(0.8..=1.0));
        let ack_sequence = self.engine.hub.tell(|state| {
            state.claim_sent(claim_loop, sequence);
            state.ack_sequence(claim_loop)
        });
        let mut request = Request::new(pb::ClaimJobRequest {
            session_id: self.registered.session_id.clone(),
            r#loop: claim_loop as i32,
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

    /// Waits until there is a free slot and the leases hold; gives how many jobs to ask for, and counts these as asked for.
    async fn free_slots(&self, claim_loop: usize) -> usize {
        let engine = &self.engine;
        let (mut load, mut health) = (engine.load.subscribe(), engine.health.subscribe());
        loop {
            let changed = engine.hub.changed();
            let free = load.borrow_and_update().free(claim_loop, engine.settings.slots);
            let holds = *health.borrow_and_update() == Health::Held;
            let claimable = engine.hub.look(|state| state.claimable(free));
            if claimable > 0 && holds {
                engine.load.send_modify(|load| load.asked[claim_loop] = claimable);
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
    fn start(&self, brought_by: Brought, jobs: Vec<pb::LeasedJob>) {
        let engine = &self.engine;
        let received_at = Instant::now();
        let Brought { claim_loop, sequence } = brought_by;
        let keys = engine.hub.tell(|state| state.claim_answered(claim_loop, sequence, &jobs));
        engine.load.send_modify(|load| {
            load.slots += keys.len();
            load.live += keys.len();
            let asked = std::mem::take(&mut load.asked[claim_loop]);
            // Less than half of what was asked for was all there is.
            load.has_backlog = keys.len() >= MANY.max(asked / 2);
        });
        for (key, job) in keys.into_iter().zip(jobs) {
            tokio::spawn(run_attempt(engine.clone(), key, job, brought_by, received_at));
        }
    }
}

impl Load {
    /// How many jobs a loop may ask for: as many again when its last call has no answer yet. Beside another loop it asks only
    /// while many wait, and for many.
    fn free(&self, claim_loop: usize, slots: usize) -> usize {
        let mine = self.asked[claim_loop];
        if mine > 0 {
            return mine;
        }
        let others: usize = self.asked.iter().sum();
        let free = slots.saturating_sub(self.slots + others);
        match (claim_loop, others) {
            (0, 0) => free,
            _ if others > 0 && self.has_backlog && free >= slots.div_ceil(4) => free.min(slots.div_ceil(2)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loop_asks_only_while_many_wait_and_for_many() {
        let idle = Load::default();
        assert_eq!((idle.free(0, 100), idle.free(1, 100)), (100, 0), "one loop asks");
        let asking = Load { asked: [40, 0], ..Load::default() };
        assert_eq!(asking.free(1, 100), 0, "nothing says that many wait");
        let busy = Load { slots: 20, asked: [40, 0], has_backlog: true, ..Load::default() };
        assert_eq!(busy.free(1, 100), 40, "what is neither taken nor asked for");
        assert_eq!(Load { slots: 0, asked: [10, 0], ..busy }.free(1, 100), 50, "half of the slots at most");
        assert_eq!(Load { slots: 40, ..busy }.free(1, 100), 0, "too few to be worth a call");
        let unanswered = Load { slots: 60, asked: [40, 40], ..Load::default() };
        assert_eq!(
            (unanswered.free(0, 100), unanswered.free(1, 100)),
            (40, 40),
            "what has no answer is repeated"
        );
        let other = Load { slots: 40, asked: [0, 40], ..busy };
        assert_eq!(other.free(0, 100), 0, "the same goes for the first beside the second");
        assert_eq!(Load { asked: [0, 0], ..other }.free(0, 100), 60, "alone it asks for all there are");
        assert_eq!(
            Load { asked: [1, 0], has_backlog: true, ..Load::default() }.free(1, 1),
            0,
            "one slot, one loop"
        );
    }
}
