//! Job ids: small and growing, taken from blocks that are reserved ahead of need.
//!
//! A block is given out only while it is known to be the newest, so that ids follow time over all replicas and a
//! job's month is that of its block. An idle server confirms its block by a read; only use costs a write.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::clock;
use crate::model::{JobId, Month, limits};
use crate::store::{IdBlock, Result, Store};

const BLOCK_MIN: i64 = 64;
const BLOCK_MAX: i64 = 10_000;

struct Held {
    blocks: VecDeque<IdBlock>,
    /// When the newest block was last known to be the newest.
    confirmed: Instant,
    /// How many ids the next block holds.
    size: i64,
    /// Ids given out since the last confirmation.
    used: i64,
}

/// The ids that this server may give out.
pub(crate) struct Ids {
    held: Mutex<Held>,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let held = Held { blocks: VecDeque::new(), confirmed: clock::instant(), size: BLOCK_MIN, used: 0 };
        Self { held: Mutex::new(held) }
    }

    /// `count` ids with their months.
    pub(crate) async fn take(&self, store: &dyn Store, count: usize) -> Result<Vec<(JobId, Month)>> {
        let mut held = self.held.lock().await;
        if held.confirmed.elapsed() > limits::ID_BLOCK_LIFE {
            held.confirm(store).await?;
        }
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            match held.blocks.front_mut() {
                Some(block) if block.next < block.end => {
                    ids.push((JobId(block.next), block.month));
                    block.next += 1;
                }
                Some(_) => drop(held.blocks.pop_front()),
                None => held.reserve(store, (count - ids.len()) as i64).await?,
            }
        }
        held.used += count as i64;
        Ok(ids)
    }

    /// `count` ids in a row, all of one month.
    pub(crate) async fn take_run(&self, store: &dyn Store, count: usize) -> Result<Vec<(JobId, Month)>> {
        let wanted = count as i64;
        let mut held = self.held.lock().await;
        if held.confirmed.elapsed() > limits::ID_BLOCK_LIFE {
            held.confirm(store).await?;
        }
        loop {
            while held.blocks.front().is_some_and(|block| block.end - block.next < wanted) {
                held.blocks.pop_front();
            }
            if let Some(block) = held.blocks.front_mut() {
                let (first, month) = (block.next, block.month);
                block.next += wanted;
                held.used += wanted;
                return Ok((first..first + wanted).map(|id| (JobId(id), month)).collect());
            }
            held.reserve(store, wanted).await?;
        }
    }

    /// Keeps a block ready, so that a lone enqueue after a pause need not wait for one; called now and then.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<()> {
        let mut held = self.held.lock().await;
        held.confirm(store).await?;
        let left: i64 = held.blocks.iter().map(|block| block.end - block.next).sum();
        let was_used = std::mem::take(&mut held.used) > 0;
        if held.blocks.is_empty() || (was_used && left < held.size / 2) {
            held.reserve(store, 0).await?;
        }
        Ok(())
    }

    /// Throws away what is held: an id of it was found to be taken.
    pub(crate) async fn forget(&self) {
        self.held.lock().await.blocks.clear();
    }
}

impl Held {
    async fn confirm(&mut self, store: &dyn Store) -> Result<()> {
        let asked = clock::instant();
        let newest = match self.blocks.back() {
            Some(block) => store.is_newest(*block).await?,
            None => true,
        };
        if !newest {
            self.blocks.clear();
        }
        self.confirmed = asked;
        Ok(())
    }

    /// One more block, larger while ids are used up fast and smaller while they are not.
    async fn reserve(&mut self, store: &dyn Store, at_least: i64) -> Result<()> {
        let fast = self.confirmed.elapsed() < limits::ID_BLOCK_LIFE && self.used > self.size / 2;
        self.size = if fast { self.size * 2 } else { self.size / 2 }.clamp(BLOCK_MIN, BLOCK_MAX);
        let asked = clock::instant();
        let block = store.reserve_ids(self.size.max(at_least)).await?;
        // A block of another server lies between this one and what is left: the older ids would come out of order.
        if self.blocks.back().is_some_and(|last| last.end != block.next || last.month != block.month) {
            self.blocks.clear();
        }
        self.blocks.push_back(block);
        self.confirmed = asked;
        Ok(())
    }
}
