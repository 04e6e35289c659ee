//! Every statement there is, by name, and the texts made of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::connection::Names;
use super::dialect::{Dialect, Setting};
use super::mysql;
use crate::model::Month;

/// Rows of one statement at most.
pub(crate) const STATEMENT_ROWS_MAX: usize = 128;

macro_rules! statements {
    ($($name:ident = $file:literal $(| $sqlite:literal)?,)*) => {
        /// A statement: its file in `sql/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Sql {
            $(#[doc = $file] $name,)*
        }

        impl Sql {
            /// Every statement, for the tests that prepare and explain each.
            #[cfg_attr(not(test), expect(dead_code, reason = "read by tests only"))]
            pub(crate) const ALL: &[Sql] = &[$(Sql::$name,)*];

            fn source(self, dialect: Dialect) -> &'static str {
                match (self, dialect) {
                    $($((Sql::$name, Dialect::Sqlite) => include_str!(concat!("sql/", $sqlite)),)?
                    (Sql::$name, _) => include_str!(concat!("sql/", $file)),)*
                }
            }
        }
    };
}

statements! {
    Acknowledge = "acknowledge.sql",
    BeatSessions = "beat_sessions.sql",
    CapLocks = "cap_locks.sql",
    CapSessions = "cap_sessions.sql",
    CountChildren = "count_children.sql",
    CountDueDeliveries = "count_due_deliveries.sql",
    CountDueTasks = "count_due_tasks.sql",
    CountLeases = "count_leases.sql",
    CountLeasesByQueue = "count_leases_by_queue.sql",
    CountLeasesByRoute = "count_leases_by_route.sql",
    CountLine = "count_line.sql",
    CountMonthLive = "count_month_live.sql",
    CountParents = "count_parents.sql",
    CountPending = "count_pending.sql",
    CountReady = "count_ready.sql",
    CountReadyByRoute = "count_ready_by_route.sql",
    DeleteBatches = "delete_batches.sql",
    DeleteCancels = "delete_cancels.sql",
    DeleteDeliveries = "delete_deliveries.sql",
    DeleteDeliveryTries = "delete_delivery_tries.sql",
    DeleteEdges = "delete_edges.sql",
    DeleteEnded = "delete_ended.sql",
    DeleteExpiry = "delete_expiry.sql",
    DeleteLabels = "delete_labels.sql",
    DeleteLaneLease = "delete_lane_lease.sql",
    DeleteLeases = "delete_leases.sql",
    DeleteLeasesBetween = "delete_leases_between.sql",
    DeleteLocks = "delete_locks.sql",
    DeleteLoops = "delete_loops.sql",
    DeleteMonth = "delete_month.sql",
    DeleteOldExpiry = "delete_old_expiry.sql",
    DeletePending = "delete_pending.sql",
    DeleteProgress = "delete_progress.sql",
    DeleteQueue = "delete_queue.sql",
    DeleteReady = "delete_ready.sql",
    DeleteRefs = "delete_refs.sql",
    DeleteServers = "delete_servers.sql",
    DeleteSession = "delete_session.sql",
    DeleteTaken = "delete_taken.mysql.sql" | "delete_taken.sqlite.sql",
    DeleteTakenBetween = "delete_taken_between.sql",
    DeleteTallies = "delete_tallies.sql",
    DeleteTask = "delete_task.sql",
    DeleteTicks = "delete_ticks.sql",
    DeleteWaits = "delete_waits.sql",
    DeliveriesOfJob = "deliveries_of_job.sql",
    DeliveriesOfState = "deliveries_of_state.sql",
    DropMonth = "drop_month.sql",
    DueDeliveries = "due_deliveries.sql",
    DueTasks = "due_tasks.sql",
    EndLeasesBetween = "end_leases_between.sql",
    EndLoops = "end_loops.sql",
    EndSession = "end_session.sql",
    Expired = "expired.sql",
    FindAttempts = "find_attempts.sql",
    FindEndings = "find_endings.sql",
    FlagLeases = "flag_leases.sql",
    FlagReady = "flag_ready.sql",
    ForcedCancels = "forced_cancels.sql",
    ForgetJobAttempts = "forget_job_attempts.sql",
    ForgetJobLogs = "forget_job_logs.sql",
    ForgetJobs = "forget_jobs.sql",
    ForgetOutcomes = "forget_outcomes.sql",
    ForgetProgress = "forget_progress.sql",
    FreeLock = "free_lock.sql",
    InsertAttempts = "insert_attempts.sql",
    InsertBatches = "insert_batches.sql",
    InsertCancel = "insert_cancel.sql",
    InsertDeliveries = "insert_deliveries.sql",
    InsertDeliveryTries = "insert_delivery_tries.sql",
    InsertEdges = "insert_edges.sql",
    InsertEnded = "insert_ended.sql",
    InsertExpiries = "insert_expiries.sql",
    InsertJobs = "insert_jobs.sql",
    InsertLabels = "insert_labels.sql",
    InsertLanes = "insert_lanes.sql",
    InsertLaneLease = "insert_lane_lease.sql",
    InsertLeases = "insert_leases.sql",
    InsertLock = "insert_lock.sql",
    InsertLogs = "insert_logs.sql",
    InsertLoop = "insert_loop.sql",
    InsertMonth = "insert_month.sql",
    InsertNewRefs = "insert_new_refs.sql",
    InsertOutcomes = "insert_outcomes.sql",
    InsertPending = "insert_pending.sql",
    InsertQueue = "insert_queue.sql",
    InsertReady = "insert_ready.sql",
    InsertRefs = "insert_refs.sql",
    InsertRoutes = "insert_routes.sql",
    InsertSession = "insert_session.sql",
    InsertTask = "insert_task.sql",
    InsertTicks = "insert_ticks.sql",
    LastErrors = "last_errors.sql",
    LeaseTaken = "lease_taken.sql",
    LimitQueue = "limit_queue.sql",
    LockCommands = "lock_commands.sql",
    LockDelivery = "lock_delivery.sql",
    LockDetail = "lock_detail.sql",
    LockEnded = "lock_ended.sql",
    LockIdBlock = "lock_id_block.sql",
    LockJob = "lock_job.sql",
    LockJobDigest = "lock_job_digest.sql",
    LockJobs = "lock_jobs.sql",
    LockLaneHead = "lock_lane_head.sql",
    LockLanes = "lock_lanes.sql",
    LockLeases = "lock_leases.sql",
    LockLeasesFree = "lock_leases_free.sql",
    LockLoops = "lock_loops.sql",
    LockNamedLock = "lock_named_lock.sql",
    LockOldLocks = "lock_old_locks.sql",
    LockQueues = "lock_queues.sql",
    LockReady = "lock_ready.sql",
    LockReadyBetween = "lock_ready_between.sql",
    LockReadyRows = "lock_ready_rows.sql",
    LockSessions = "lock_sessions.sql",
    LockUpkeep = "lock_upkeep.sql",
    LoseSession = "lose_session.sql",
    LostLeases = "lost_leases.sql",
    MarkMoved = "mark_moved.sql",
    MonthFigures = "month_figures.sql",
    MonthIsLive = "month_is_live.sql",
    MoveDelivery = "move_delivery.sql",
    MoveIdBlock = "move_id_block.sql",
    MoveJobs = "move_jobs.sql",
    MoveLanes = "move_lanes.sql",
    MoveLogSequences = "move_log_sequences.sql",
    MoveLoops = "move_loops.sql",
    MoveSession = "move_session.sql",
    MoveSpecs = "move_specs.sql",
    MoveTask = "move_task.sql",
    MoveUpkeep = "move_upkeep.sql",
    NextHeads = "next_heads.sql",
    NextTask = "next_task.sql",
    NoteDetail = "note_detail.sql",
    NoteStarts = "note_starts.sql",
    Now = "now.sql",
    OldDeliveries = "old_deliveries.sql",
    OldTicks = "old_ticks.sql",
    OverdueLeases = "overdue_leases.sql",
    PauseQueue = "pause_queue.sql",
    Ping = "ping.sql",
    ReadAllCancels = "read_all_cancels.sql",
    ReadAttempts = "read_attempts.sql",
    ReadCancels = "read_cancels.sql",
    ReadCheckpoints = "read_checkpoints.sql",
    ReadChildren = "read_children.sql",
    ReadCommands = "read_commands.sql",
    ReadContents = "read_contents.sql",
    ReadContentsBetween = "read_contents_between.sql",
    ReadDeliveries = "read_deliveries.sql",
    ReadDeliveryTries = "read_delivery_tries.sql",
    ReadEnded = "read_ended.sql",
    ReadEndings = "read_endings.sql",
    ReadForgottenSessions = "read_forgotten_sessions.sql",
    ReadHolders = "read_holders.sql",
    ReadIdBlock = "read_id_block.sql",
    ReadLane = "read_lane.sql",
    ReadLaneDue = "read_lane_due.sql",
    ReadLaneTail = "read_lane_tail.sql",
    ReadLaneLeases = "read_lane_leases.sql",
    ReadLapse = "read_lapse.sql",
    ReadLeases = "read_leases.sql",
    ReadLeasesByJob = "read_leases_by_job.sql",
    ReadLeasesOfLoop = "read_leases_of_loop.sql",
    ReadLocks = "read_locks.sql",
    ReadLogs = "read_logs.sql",
    ReadLoop = "read_loop.sql",
    ReadMonths = "read_months.sql",
    ReadOutcome = "read_outcome.sql",
    ReadOutcomes = "read_outcomes.sql",
    ReadParents = "read_parents.sql",
    ReadQueueLimits = "read_queue_limits.sql",
    ReadQueues = "read_queues.sql",
    ReadPending = "read_pending.sql",
    ReadPolicies = "read_policies.sql",
    ReadReady = "read_ready.sql",
    ReadRefs = "read_refs.sql",
    ReadRequests = "read_requests.sql",
    ReadRouteIds = "read_route_ids.sql",
    ReadRoutes = "read_routes.sql",
    ReadSchemas = "read_schemas.sql",
    ReadServers = "read_servers.sql",
    ReadSession = "read_session.sql",
    ReadSessionNames = "read_session_names.sql",
    ReadSessions = "read_sessions.sql",
    ReadSilentSessions = "read_silent_sessions.sql",
    ReadStatus = "read_status.sql",
    ReadTallies = "read_tallies.sql",
    ReadTask = "read_task.sql",
    ReadTaskByName = "read_task_by_name.sql",
    ReadTasks = "read_tasks.sql",
    ReadUpkeep = "read_upkeep.sql",
    ReadWaits = "read_waits.sql",
    RenewLock = "renew_lock.sql",
    RedefineTask = "redefine_task.sql",
    ReadyStored = "ready_stored.sql",
    RequeueJob = "requeue_job.sql",
    ResumeQueue = "resume_queue.sql",
    SettleOutcome = "settle_outcome.sql",
    TakeLock = "take_lock.sql",
    TakeReady = "take_ready.sql",
    TallyRoutes = "tally_routes.sql",
    TallySessions = "tally_sessions.sql",
    TallyWaits = "tally_waits.sql",
    UpsertCommands = "upsert_commands.sql",
    UpsertProgress = "upsert_progress.sql",
    UpsertServer = "upsert_server.sql",
    Views = "views.sql",
    ViewsBrief = "views_brief.sql",
    WalkBatchDown = "walk_batch_down.sql",
    WalkBatchUp = "walk_batch_up.sql",
    WalkLabelDown = "walk_label_down.sql",
    WalkLabelUp = "walk_label_up.sql",
    WalkLiveDown = "walk_live_down.sql",
    WalkLiveUp = "walk_live_up.sql",
    WalkLocks = "walk_locks.sql",
    WalkMonthDown = "walk_month_down.sql",
    WalkMonthUp = "walk_month_up.sql",
    WalkOutcomes = "walk_outcomes.sql",
    WalkRefs = "walk_refs.sql",
    WalkRoutesDown = "walk_routes_down.sql",
    WalkRoutesUp = "walk_routes_up.sql",
}

/// Where a statement's tables of a month stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// It names no month.
    Fixed,
    /// In the database itself.
    Month(Month),
    /// In the attached file of a closed month; SQLite only.
    Moved(Month),
}

impl Place {
    /// The month, if it names one.
    pub(crate) fn month(self) -> Option<Month> {
        match self {
            Place::Fixed => None,
            Place::Month(month) | Place::Moved(month) => Some(month),
        }
    }

    /// What stands before the table's name.
    pub(crate) fn schema(self) -> String {
        match self {
            Place::Moved(month) => format!("history_{month}."),
            _ => String::new(),
        }
    }
}

/// The texts of statements for one database, made once.
///
/// They are leaked: their number is that of statements times a dozen sizes times the months that a process sees, and of the ways
/// in which a few of the smallest are held back for each other.
pub(crate) struct Texts {
    dialect: Dialect,
    prefix: String,
    made: RwLock<HashMap<(Sql, Place, usize), &'static str>>,
    /// Texts of several statements, by where theirs stand in memory.
    joined: RwLock<HashMap<Vec<usize>, &'static str>>,
    names: RwLock<HashMap<Sql, Names>>,
}

impl Texts {
    /// No texts yet.
    pub(crate) fn new(dialect: Dialect, prefix: &str) -> Self {
        Self {
            dialect,
            prefix: prefix.to_owned(),
            made: RwLock::default(),
            joined: RwLock::default(),
            names: RwLock::default(),
        }
    }

    /// Which database they are for.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What table names begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The text of a statement for so many rows.
    pub(crate) fn get(&self, sql: Sql, place: Place, rows: usize) -> &'static str {
        let key = (sql, place, rows);
        if let Some(text) = self.made.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return text;
        }
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        made.entry(key).or_insert_with(|| self.setting(place, rows).expand(sql.source(self.dialect)).leak())
    }

    /// One text of several that this has made.
    pub(crate) fn joined(&self, texts: &[&'static str]) -> &'static str {
        let key: Vec<usize> = texts.iter().map(|text| text.as_ptr().addr()).collect();
        if let Some(text) = self.joined.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return text;
        }
        let mut joined = self.joined.write().unwrap_or_else(PoisonError::into_inner);
        let join = || match self.dialect {
            Dialect::MySql => mysql::block(texts),
            Dialect::Sqlite => texts.join("; "),
        };
        joined.entry(key).or_insert_with(|| join().leak())
    }

    /// The names of a statement's columns, once it has answered a row.
    pub(crate) fn names(&self, sql: Sql) -> Option<Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(&sql).cloned()
    }

    /// Remembers the names of a statement's columns.
    pub(crate) fn learn_names(&self, sql: Sql, names: &Names) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(sql, Arc::clone(names));
    }

    /// What a text is made for.
    pub(crate) fn setting(&self, place: Place, rows: usize) -> Setting<'_> {
        Setting { dialect: self.dialect, prefix: &self.prefix, place, rows }
    }
}

/// The sizes in which rows are inserted: few, for the statements to stay prepared, and close enough that four at most make
/// up any number.
const INSERT_SIZES: [usize; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, STATEMENT_ROWS_MAX];

/// How many of so many rows the next insert takes.
pub(crate) fn rows_of_insert(rows: usize) -> usize {
    INSERT_SIZES.into_iter().rev().find(|size| *size <= rows).unwrap_or_default()
}

/// Items, and the last once more until their number is a power of two: each statement over keys finds a row once however
/// often it is named, and one statement is one round trip.
pub(crate) fn filled<T: Clone>(items: &[T]) -> Cow<'_, [T]> {
    let missing = items.len().next_power_of_two() - items.len();
    match items.last() {
        Some(last) if missing > 0 => {
            items.iter().chain(std::iter::repeat_n(last, missing)).cloned().collect()
        }
        _ => Cow::Borrowed(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_inserted_by_few_statements_of_few_sizes() {
        let parts = |rows: usize| {
            let mut left = rows;
            let next = move || {
                let size = rows_of_insert(left);
                left -= size;
                (size > 0).then_some(size)
            };
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        assert_eq!(parts(300), [128, 128, 32, 12]);
        assert_eq!(parts(63), [48, 12, 3]);
        assert!((1..=STATEMENT_ROWS_MAX).all(|rows| parts(rows).len() <= 4));
    }

    #[test]
    fn keys_are_filled_up_to_a_power_of_two() {
        assert_eq!(*filled(&[7, 8, 9]), [7, 8, 9, 9]);
        assert!(matches!(filled(&[7, 8]), Cow::Borrowed([7, 8])));
        assert!(filled::<u8>(&[]).is_empty());
    }

    #[test]
    fn every_word_in_braces_is_known() {
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            for sql in Sql::ALL {
                let text = Texts::new(dialect, "").get(*sql, Place::Month(Month(202611)), 2);
                assert!(!text.contains(['{', '}']), "{sql:?}: {text}");
                assert!(sql.source(dialect).starts_with("-- "), "{sql:?} does not say what it promises");
            }
        }
    }
}
