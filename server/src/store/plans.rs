//! Every statement is prepared on every engine, and none reads a table from end to end that may be long.
//!
//! The tables are looked at empty, short and long, because an optimiser that sees a short table may choose otherwise.

use super::connection::Class;
use super::dialect::Dialect;
use super::open::{OpenOptions, open_store};
use super::sql_store::SqlStore;
use super::statement::{Place, Sql};
use crate::model::Month;

/// Statements that may look at every row of their table, each because the table is small by its nature.
const WHOLE_TABLE: &[(Sql, &str)] = &[
    (Sql::NextHeads, "SQLite reads the two rows that were found from end to end"),
    (Sql::CountLeases, "for health and tests"),
    (
        Sql::CountLeasesByQueue,
        "what runs, bounded by the slots of all worker processes; only for limited queues",
    ),
    (Sql::CountLeasesByRoute, "for dashboards, at most once in two seconds"),
    (Sql::CountDueDeliveries, "counts along an index, for dashboards, at most once in two seconds"),
    (Sql::CountDueTasks, "counts along an index, for dashboards, at most once in two seconds"),
    (Sql::CountReady, "for health and tests"),
    (Sql::CountReadyByRoute, "for dashboards, at most once in two seconds"),
    (Sql::ReadAllCancels, "sparse: running jobs that were asked to stop"),
    (Sql::ForcedCancels, "sparse: running jobs that were asked to stop"),
    (Sql::ReadLaneLeases, "sparse: transient runs with a named worker"),
    (Sql::ReadHolders, "for dashboards, at most once in two seconds"),
    (Sql::ReadServers, "one row a server"),
    (Sql::ReadMonths, "one row a month"),
    (Sql::ReadQueues, "one row a queue for which something is set"),
    (Sql::ReadRoutes, "one row a queue and command"),
    (Sql::ReadSessions, "one row a worker process"),
    (Sql::ReadSilentSessions, "one row a worker process"),
    (Sql::ReadForgottenSessions, "one row a worker process"),
    (Sql::CapSessions, "one row a worker process, and only when the clock went back"),
    (Sql::CapLocks, "only when the clock went back"),
    (Sql::DeleteServers, "one row a server"),
    (Sql::LostLeases, "what runs: bounded by the slots of all worker processes; driven from lost sessions"),
    (Sql::OverdueLeases, "what runs: bounded by the slots of all worker processes"),
    (Sql::LastErrors, "joined to the few rows just found by key; MariaDB reads an empty table whole"),
    (Sql::LockLoops, "SQLite sorts the few rows found by key"),
    (Sql::MonthIsLive, "once for each closed month"),
    (Sql::CountMonthLive, "for operators: what lives is small unless there is a backlog"),
    (Sql::MonthFigures, "for operators: counts a month whole"),
    (Sql::CountLine, "SQLite names the counted rows so; they are found by key, up to a limit"),
    (Sql::CountChildren, "SQLite names the counted rows so; they are found by key, up to a limit"),
    (Sql::DeleteEdges, "MariaDB may find the same few rows by the child, and sorts them"),
    (Sql::LockEnded, "the first row in the order of the key, passing over those that others deal with"),
    (Sql::LockReadyRows, "SQLite sorts the few rows found by key"),
    (Sql::ReadCommands, "one row a command"),
    (Sql::LockReadyBetween, "only when the clock went back"),
    (Sql::NextTask, "the first row in the order of its key"),
    (Sql::WalkLiveDown, "a list of all live jobs looks at all live jobs"),
    (Sql::WalkLiveUp, "a list of all live jobs looks at all live jobs"),
    (Sql::WalkRoutesDown, "looks at all that waits under its routes, and at what runs"),
    (Sql::WalkRoutesUp, "looks at all that waits under its routes, and at what runs"),
];

/// Keys in each statement that takes several.
const KEYS: u64 = 16;

async fn plan(store: &SqlStore, sql: Sql, place: Place) -> Vec<Vec<String>> {
    let explain = match store.engine.dialect() {
        Dialect::MySql => "EXPLAIN ",
        Dialect::Sqlite => "EXPLAIN QUERY PLAN ",
    };
    let statement = with_literals(store.engine.texts.get(sql, place, KEYS as usize));
    let mut unit = store.engine.begin_reading(Class::Read).await.unwrap();
    let rows = unit.lent.connection.look_up(&format!("{explain}{statement}")).await;
    let rows = rows.unwrap_or_else(|fault| panic!("{sql:?} is refused: {fault:?}\n{statement}"));
    unit.lent.give_back();
    rows
}

/// The statement with a literal for each bound value, each another one, as digits in bytes: it compares with numbers
/// and with keys.
fn with_literals(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n").replace("LIMIT ?", "LIMIT 10");
    let parts: Vec<&str> = text.split('?').collect();
    let literal =
        |number: usize| number.to_string().bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let last = parts.len() - 1;
    parts
        .into_iter()
        .enumerate()
        .map(|(at, part)| if at == last { part.to_owned() } else { format!("{part}x'{}'", literal(at + 1)) })
        .collect()
}

/// What is wrong with a plan, if anything is.
fn complaint(dialect: Dialect, plan: &[Vec<String>]) -> Option<String> {
    let bad = |step: &&Vec<String>| match dialect {
        // id, select_type, table, type, possible_keys, key, .., Extra
        Dialect::MySql => {
            let (table, kind) =
                (step.get(2).map_or("", String::as_str), step.get(3).map_or("", String::as_str));
            let extra = step.last().map_or("", String::as_str);
            let inserts = step.get(1).is_some_and(|kind| kind == "INSERT");
            // A table of no more rows than there are keys is read in the order of its key, which is no worse.
            let few = kind == "index"
                && step.get(8).is_some_and(|rows| rows.parse().is_ok_and(|rows: u64| rows <= KEYS));
            let whole = !few
                && !inserts
                && matches!(kind, "ALL" | "index")
                && !table.starts_with('<')
                && !table.is_empty();
            whole || extra.contains("filesort") || extra.contains("temporary")
        }
        // id, parent, notused, detail
        Dialect::Sqlite => {
            let detail = step.last().map_or("", String::as_str);
            (detail.starts_with("SCAN") && !detail.contains("CONSTANT") && !detail.contains("VALUES CLAUSE"))
                || detail.contains("TEMP B-TREE")
        }
    };
    plan.iter().find(bad).map(|step| step.join(" | "))
}

async fn check_plans(store: &SqlStore, month: Month, rows: usize) {
    let mut complaints = Vec::new();
    for sql in Sql::ALL {
        let plan = plan(store, *sql, Place::Month(month)).await;
        let may_scan = WHOLE_TABLE.iter().any(|(allowed, _)| allowed == sql);
        if let Some(step) = complaint(store.engine.dialect(), &plan).filter(|_| !may_scan) {
            complaints.push(format!("{sql:?}: {step}"));
        }
    }
    assert!(complaints.is_empty(), "with {rows} rows:\n{}", complaints.join("\n"));
}

/// Fills the tables that may be long, each row with a key of its own.
async fn fill(store: &SqlStore, month: Month, from: usize, to: usize) {
    let ids = match store.engine.dialect() {
        Dialect::MySql => format!("SELECT seq FROM seq_{from}_to_{}", to - 1),
        Dialect::Sqlite => format!(
            "WITH RECURSIVE s (seq) AS (SELECT {from} UNION ALL SELECT seq + 1 FROM s WHERE seq < {}) SELECT seq FROM s",
            to - 1
        ),
    };
    let key = match store.engine.dialect() {
        Dialect::MySql => "CAST(CONCAT('q', LPAD(seq, 12, '0')) AS BINARY)",
        Dialect::Sqlite => "CAST(printf('q%012d', seq) AS BLOB)",
    };
    let tables = [
        format!(
            "job_ready SELECT seq % 5, 15, seq, seq, {month_number}, 1, 0, 0, 0, 0, 0, 0, 9, 0, seq % 3, 1, 15",
            month_number = month.0
        ),
        format!(
            "job_lease SELECT seq, {}, 1, 1, 1, x'00', 0, seq, 1, 15, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0",
            month.0
        ),
        format!("job_ref SELECT {key}, seq, 9"),
        format!("named_lock SELECT {key}, x'', '', seq, 9, 0, 9, 0"),
        "lane SELECT seq, seq".to_owned(),
        "job_edge SELECT seq, seq + 1, 1".to_owned(),
        "job_ended SELECT seq, 1, 2, 0, 0".to_owned(),
        "job_pending SELECT seq, 1, 1".to_owned(),
        format!("outcome_{month} SELECT seq, 1, 1, 2, 1, 0, 0, 0, x'', '', 0, 0, NULL, 0, NULL, NULL"),
        format!("job_{month} SELECT seq, 1, 0, 0, 1, 15, 0, x'00', 0, NULL, '{{}}', NULL"),
        format!("job_attempt_{month} SELECT seq, 1, 1, 1, 3, x'', '', 0, 0, 'x'"),
        format!("job_label_{month} SELECT 1, x'31', seq"),
        format!("job_batch_{month} SELECT x'31', seq, seq"),
        "recurring_task SELECT seq, CAST(seq AS {bytes}), 1, seq, 0, 0, '{}', '{}', 0, NULL, NULL"
            .replace("{bytes}", if store.engine.dialect() == Dialect::MySql { "BINARY" } else { "BLOB" }),
        "recurring_tick SELECT seq, seq % 7, seq, 0, 0, 0".to_owned(),
        "delivery SELECT seq, seq, 1, 3, 1, 1, 0, 0, seq, 0, 'x'".to_owned(),
        "delivery_try SELECT seq, 1, 0, 0, 0, NULL".to_owned(),
        format!("job_log_{month} SELECT seq, 1, 1, 1, 0, 3, 'x', NULL"),
    ];
    let mut unit = store.engine.begin(Class::Vital).await.unwrap();
    for table in tables {
        let (name, select) = table.split_once(' ').unwrap();
        let sql = format!("INSERT INTO {name} {select} FROM ({ids}) AS source");
        unit.lent.connection.run(sql).await.unwrap();
    }
    unit.lent.connection.run("COMMIT".into()).await.unwrap();
    if store.engine.dialect() == Dialect::MySql {
        let analyze = format!(
            "ANALYZE TABLE job_ready, job_lease, job_ref, lane, job_edge, job_ended, job_pending, named_lock, recurring_task, recurring_tick, outcome_{month}, job_{month}, job_label_{month}, job_batch_{month}, delivery, delivery_try"
        );
        unit.lent.connection.look_up(&analyze).await.unwrap();
    }
    unit.lent.give_back();
}

async fn look_at_plans(url: &str) {
    let store = open_store(url, OpenOptions::default()).await.unwrap();
    let month = super::Store::reserve_ids(&*store, 10).await.unwrap().month;
    let mut rows = 0;
    check_plans(&store, month, rows).await;
    for more in [10, 48, 100, 100_000] {
        fill(&store, month, rows + 1, more + 1).await;
        rows = more;
        check_plans(&store, month, rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_served_by_a_key_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    look_at_plans(&format!("sqlite:{}", folder.path().join("plans.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_served_by_a_key_on_mariadb() {
    look_at_plans(&haulier_tests::mariadb::shared().database().unwrap()).await;
}
