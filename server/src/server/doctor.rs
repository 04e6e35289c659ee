//! Looks at a database without serving: `haulier doctor` and `haulier migrate`.

use super::{StartError, bounds, database};
use crate::config::Config;
use crate::store::{self, Check, Purpose, Severity};

/// What the promises rest on, as the database has it now.
pub async fn doctor(config: &Config) -> Result<Vec<Check>, StartError> {
    config.validate(&bounds())?;
    let store = database::open_to_look(config).await?;
    let checks = store.check().await.map_err(|error| database::failed(config, error));
    store.close().await;
    checks
}

/// Brings the tables to this version.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    config.validate(&bounds())?;
    let options = database::options(config, Purpose::Serve);
    store::migrate(&config.database_url.0, options).await.map_err(|error| database::failed(config, error))
}

/// The findings as a table for people, and whether a server could work with them.
pub fn report(checks: &[Check]) -> (String, bool) {
    let width = |of: fn(&Check) -> &str| {
        checks.iter().map(|check| of(check).chars().count()).max().unwrap_or_default()
    };
    let (names, values) = (width(|check| &check.name), width(|check| &check.value));
    let mut table = String::new();
    for check in checks {
        let (verdict, remedy) = match &check.problem {
            None => ("ok", ""),
            Some(problem) => (verdict(problem.severity), problem.remedy.as_str()),
        };
        let line = format!("{verdict:<8}  {:<names$}  {:<values$}  {remedy}", check.name, check.value);
        table.push_str(line.trim_end());
        table.push('\n');
    }
    let is_fatal =
        |check: &Check| check.problem.as_ref().is_some_and(|problem| problem.severity == Severity::Fatal);
    (table, !checks.iter().any(is_fatal))
}

fn verdict(severity: Severity) -> &'static str {
    match severity {
        Severity::Advice => "advice",
        Severity::Durability => "unsafe",
        Severity::Fatal => "fatal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Problem;

    fn check(name: &str, problem: Option<Severity>) -> Check {
        let problem = problem.map(|severity| Problem { severity, remedy: "set it to 1".into() });
        Check { name: name.into(), value: "2".into(), problem }
    }

    #[test]
    fn findings_are_a_table_with_the_remedy_last() {
        let (table, is_well) = report(&[check("version", None), check("sync", Some(Severity::Durability))]);
        assert_eq!(table, "ok        version  2\nunsafe    sync     2  set it to 1\n");
        assert!(is_well);
        assert!(!report(&[check("version", Some(Severity::Fatal))]).1);
    }
}
