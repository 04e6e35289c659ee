//! Commands as worker processes declared them last: the named worker of jobs that name none themselves.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::bulk::Sweep;
use super::{Core, RegisterCall, Result};
use crate::model::{Filter, Time, Work};
use crate::store::{CommandRow, Declaration};

/// How long after a change waiting jobs are looked through again: a server that had not heard of it may still have
/// stored some by the old declaration.
const REPEAT: Duration = Duration::from_secs(8);

/// Every command this server has heard of.
#[derive(Default)]
pub(crate) struct Commands {
    known: RwLock<HashMap<String, CommandRow>>,
}

impl Commands {
    /// The named worker that the command of this work declares; empty: none.
    pub(crate) fn worker_of(&self, work: &Work) -> String {
        let Work::Command(command) = work else { return String::new() };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(command).map(|row| row.worker.clone()).unwrap_or_default()
    }

    fn learn(&self, rows: Vec<CommandRow>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(rows.into_iter().map(|row| (row.command.clone(), row)));
    }

    fn changed_since(&self, time: Time) -> Vec<CommandRow> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|row| row.change_time >= time).cloned().collect()
    }
}

impl Core {
    /// Hears what worker processes declared through other servers.
    pub(crate) async fn reload_commands(&self) -> Result<()> {
        self.commands.learn(self.store.commands().await?);
        Ok(())
    }

    /// Notes what a worker process declares. Where a named worker changed, waiting jobs follow.
    pub(crate) async fn declare(self: &Arc<Self>, call: &RegisterCall) -> Result<()> {
        let declarations: Vec<Declaration> = call
            .commands
            .iter()
            .map(|served| Declaration {
                command: served.command.clone(),
                worker: served.worker.clone(),
                version: served.version.clone(),
                request_schema: served.json_schema.clone(),
            })
            .collect();
        let changed = self.store.declare(&declarations).await?;
        self.commands.learn(changed.clone());
        for row in &changed {
            self.follow_declaration(row).await?;
        }
        Ok(())
    }

    /// Looks through waiting jobs once more after a change.
    pub(crate) async fn follow_declarations(self: &Arc<Self>) -> Result<()> {
        for row in self.commands.changed_since(self.clock.now().minus(REPEAT)) {
            self.follow_declaration(&row).await?;
        }
        Ok(())
    }

    async fn follow_declaration(self: &Arc<Self>, row: &CommandRow) -> Result<()> {
        let filter = Filter { command: row.command.clone(), ..Filter::default() };
        let mut sweep = Sweep::over_live(self, filter).await?;
        while let Some(live) = sweep.next(self).await? {
            self.heed(self.store.follow_declaration(&row.command, &row.worker, &live).await?);
        }
        Ok(())
    }
}
