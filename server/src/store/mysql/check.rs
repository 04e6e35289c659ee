//! The settings of MySQL and MariaDB that the promises rest on.

use std::collections::HashMap;

use crate::store::connection::Connection;
use crate::store::fault::Try;
use crate::store::mysql::is_mariadb;
use crate::store::{Check, Problem, Severity};

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'max_allowed_packet', \
    'binlog_format', 'log_bin', 'sync_binlog', 'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'read_only', \
    'super_read_only', 'innodb_rollback_on_timeout', 'character_set_server', 'wsrep_on')";

/// Smallest packet that a batch of jobs fits in with room.
const PACKET_MIN: i64 = 16 << 20;

/// Looks at the settings.
pub(crate) async fn check(connection: &mut Connection) -> Try<Vec<Check>> {
    let mut variables = HashMap::new();
    for row in connection.look_up(VARIABLES).await? {
        if let [name, value] = &row[..] {
            variables.insert(name.to_lowercase(), value.clone());
        }
    }
    let get = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let log_bin = is_on(&get("log_bin"));
    let mut checks = vec![
        version(&get("version")),
        packet(&get("max_allowed_packet")),
        flush(&get("innodb_flush_log_at_trx_commit")),
        doublewrite(&get("innodb_doublewrite")),
        read_only(&get("read_only")),
        finding("log_bin", &get("log_bin"), None),
    ];
    if log_bin {
        checks.push(binlog_format(&get("binlog_format")));
        checks.push(sync_binlog(&get("sync_binlog")));
    }
    if is_on(&get("wsrep_on")) {
        let remedy = "Galera acknowledges a commit before every node has it on disk: use one node for writing, and \
            a plain primary where no accepted job may be lost";
        checks.push(finding("wsrep_on", "ON", Some((Severity::Durability, remedy.into()))));
    }
    Ok(checks)
}

fn finding(name: &str, value: &str, problem: Option<(Severity, String)>) -> Check {
    let problem = problem.map(|(severity, remedy)| Problem { severity, remedy });
    Check { name: name.into(), value: value.into(), problem }
}

fn is_on(value: &str) -> bool {
    value.eq_ignore_ascii_case("on") || value == "1"
}

fn version(value: &str) -> Check {
    let is_mariadb = is_mariadb(value);
    let mut numbers = value.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let is = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let least = if is_mariadb { (10, 6) } else { (8, 0) };
    let problem = (is < least).then(|| {
        let remedy =
            "too old: Haulier needs SKIP LOCKED, which MySQL has from 8.0 and MariaDB from 10.6; upgrade it";
        (Severity::Fatal, remedy.to_owned())
    });
    finding("version", value, problem)
}

fn packet(value: &str) -> Check {
    let bytes: i64 = value.parse().unwrap_or_default();
    let problem = (bytes < PACKET_MIN).then(|| {
        let remedy = format!("a batch of jobs may not fit: set max_allowed_packet = {PACKET_MIN} or more");
        (Severity::Fatal, remedy)
    });
    finding("max_allowed_packet", value, problem)
}

fn flush(value: &str) -> Check {
    let problem = (value != "1").then(|| {
        let remedy = "accepted jobs may be lost with power: set innodb_flush_log_at_trx_commit = 1";
        (Severity::Durability, remedy.to_owned())
    });
    finding("innodb_flush_log_at_trx_commit", value, problem)
}

fn doublewrite(value: &str) -> Check {
    let problem = (value.eq_ignore_ascii_case("off") || value == "0").then(|| {
        let remedy = "a page half written at a power cut cannot be mended: set innodb_doublewrite = ON, unless the \
            file system writes whole pages";
        (Severity::Advice, remedy.to_owned())
    });
    finding("innodb_doublewrite", value, problem)
}

fn read_only(value: &str) -> Check {
    let problem = (!value.eq_ignore_ascii_case("off") && value != "0")
        .then(|| (Severity::Fatal, "this server takes no writes: point the URL at the primary".to_owned()));
    finding("read_only", value, problem)
}

fn binlog_format(value: &str) -> Check {
    let problem = value.eq_ignore_ascii_case("statement").then(|| {
        let remedy = "READ COMMITTED does not work with it: set binlog_format = ROW (or MIXED)";
        (Severity::Fatal, remedy.to_owned())
    });
    finding("binlog_format", value, problem)
}

fn sync_binlog(value: &str) -> Check {
    let problem = (value != "1").then(|| {
        let remedy =
            "the binary log may lose accepted jobs with power, and replicas with it: set sync_binlog = 1";
        (Severity::Durability, remedy.to_owned())
    });
    finding("sync_binlog", value, problem)
}
