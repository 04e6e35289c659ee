//! Leases: the fence around a running job.

use std::time::Duration;

use super::{Epoch, JobId, Month, RouteId, Run, SessionId, Time, Turn};

/// What a worker process must show to change a running job: guessed by nobody, superseded by the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// Raised with every claim.
    pub epoch: Epoch,
    /// Random, drawn with every claim.
    pub nonce: i64,
}

/// Facts about a leased job that spare its end a look at other tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseFlags(pub i64);

impl LeaseFlags {
    /// A row of progress, status or checkpoint exists.
    pub const PROGRESS: i64 = 1;
    /// A cancel request exists.
    pub const CANCEL: i64 = 2;
    /// Other jobs wait for its end.
    pub const CHILDREN: i64 = 4;
    /// It has a callback, which its success enqueues.
    pub const CALLBACK: i64 = 8;
    /// Something else follows its end, which its options tell: a notification, or the end of another job's callback.
    pub const FOLLOWS: i64 = 16;

    /// The facts that go back to the ready table with a job.
    pub fn that_stay(self) -> LeaseFlags {
        LeaseFlags(self.0 & !LeaseFlags::CANCEL)
    }

    /// The facts that a job has from the start.
    pub fn of(spec: &super::Spec) -> LeaseFlags {
        let mut flags = 0;
        if spec.callback.is_some() {
            flags |= LeaseFlags::CALLBACK;
        }
        if spec.reply.is_some() || spec.callback_of.is_some() {
            flags |= LeaseFlags::FOLLOWS;
        }
        LeaseFlags(flags)
    }

    /// Is this fact noted?
    pub fn has(self, flag: i64) -> bool {
        self.0 & flag != 0
    }
}

/// A leased job.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The fence.
    pub fence: Fence,
    /// The month whose tables hold the job.
    pub month: Month,
    /// Its run.
    pub run: Run,
    /// The route it was claimed by, to which it returns.
    pub route: RouteId,
    /// The priority it was claimed by.
    pub priority: i32,
    /// The lane of its named worker, if it has one.
    pub lane: Option<RouteId>,
    /// The holder.
    pub session: SessionId,
    /// The claim loop that leased it.
    pub claim_loop: i32,
    /// The claim sequence that leased it.
    pub claim: i64,
    /// Attempts, crashes and unacknowledged claims, this attempt included in `attempt`.
    pub turn: Turn,
    /// When it was leased.
    pub start_time: Time,
    /// When the attempt's timeout ends.
    pub deadline: Time,
    /// Facts about other tables.
    pub flags: LeaseFlags,
    /// Log lines stored of this epoch.
    pub log_sequence: i64,
}

impl Lease {
    /// How long the attempt may still take.
    pub fn time_left(&self, now: Time) -> Duration {
        self.deadline.since(now)
    }
}

/// A lease on the wire: opaque to workers, checked for damage, safe in shells and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken(pub Fence);

impl LeaseToken {
    const KIND: &'static str = "l1";

    /// The token as text.
    pub fn write(self) -> String {
        let Fence { job, epoch, nonce } = self.0;
        let mut bytes = Vec::with_capacity(24);
        for part in [job.0, epoch.0, nonce] {
            bytes.extend_from_slice(&part.to_be_bytes());
        }
        super::write_token(Self::KIND, &bytes)
    }

    /// Reads a token; says whether it was cut or is none at all. Whether the lease still holds is another
    /// question, which only the database can answer.
    pub fn read(text: &str) -> Result<LeaseToken, super::TokenError> {
        let bytes = super::read_token(Self::KIND, text)?;
        let parts: &[u8; 24] = bytes.as_slice().try_into().map_err(|_| super::TokenError::Malformed)?;
        let part = |at: usize| i64::from_be_bytes(std::array::from_fn(|i| parts[at * 8 + i]));
        Ok(LeaseToken(Fence { job: JobId(part(0)), epoch: Epoch(part(1)), nonce: part(2) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_token_survives_its_text_and_a_cut_one_is_told() {
        let token = LeaseToken(Fence { job: JobId(7), epoch: Epoch(1_700_000_000_000_000), nonce: i64::MAX });
        let text = token.write();
        assert_eq!(LeaseToken::read(&text), Ok(token));
        for cut in 0..text.len() {
            assert!(LeaseToken::read(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert!(LeaseToken::read("").is_err());
        assert!(LeaseToken::read("not a token").is_err());
    }
}
