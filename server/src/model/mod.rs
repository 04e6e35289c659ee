//! The nouns of Haulier and its pure decisions. No IO, no async, no SQL, no protobuf.
//!
//! What is stored is smaller than what is shown: a live job is *ready* (with a start time) or *leased*, an
//! ended run has an [`Outcome`]. [`State`] is what people see of it, and [`after_attempt`] is the one place
//! that decides what a job does next.

mod cancel;
mod delivery;
mod error;
mod filter;
mod id;
mod job;
mod lease;
pub mod limits;
mod lock;
mod log;
mod next;
mod queue;
mod recurring;
mod retention;
mod retry;
pub mod schedule;
mod server;
mod session;
mod tally;
mod token;
mod transient;

pub use cancel::{CancelMark, CancelReason, Cancelled};
pub use delivery::{
    AfterTry, Delivery, DeliveryId, DeliveryRetries, DeliveryState, DeliveryTry, TryEnd, after_try,
};
pub use error::{FailureReason, JobError};
pub use filter::{Filter, Order};
pub use id::{Epoch, JobId, Month, RouteId, Run, ServerId, SessionId, Time, check_name, check_text, micros};
pub use job::{
    Callback, Condition, Dependency, Ending, Hidden, Job, NamedWorker, Outcome, Payload, Phase, Priority,
    ReadyKey, RefPolicy, Reply, ReplyBody, ReplyMode, Route, RouteKind, Spec, State, Turn, View, Wait, Work,
    read_generated_ref, ref_id_of,
};
pub use lease::{Fence, Lease, LeaseFlags, LeaseToken};
pub use lock::{HoldTime, LockSecret, NamedLock};
pub use log::{Attempt, AttemptEnd, Level, LogLine, TAKEN};
pub use next::{Circumstances, Ended, Next, after_attempt};
pub use queue::{
    LimitChange, LiveCounts, LiveJobs, QueueLimits, QueuePause, QueueSetting, QueueStanding, RateLimit,
    StartLog,
};
pub use recurring::{
    CatchUp, Definition, Due, Moments, Overlap, ScheduleError, Skip, Standing, Task, TaskId, TaskParent,
    TaskRun, Timing, decide, due_ref_id, first_due, upcoming,
};
pub use retention::Retention;
pub use retry::{Backoff, RetryPolicy, RetryProfiles};
pub use server::{Server, ServerAbout};
pub use session::{ServedCommand, Session, SessionState};
pub use tally::{Event, Tally, Waits, slot};
pub use token::{TokenError, digest, read_token, write_token};
pub use transient::after_transient;
