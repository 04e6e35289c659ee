//! Named locks: acquired, renewed, released, broken, listed, forgotten. What decides is the row of the lock, under its own
//! lock or its own guard (secret, token); time alone takes nothing, it only lets the next one in.

use std::collections::HashSet;
use std::time::Duration;

use super::{REAPER, SILENT_AFTER};
use crate::model::{Epoch, HoldTime, LockSecret, NamedLock, ServerId, Time, limits, micros};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, key, values};

use crate::store::{LockAnswer, LockBreak, LockKey, LockOrder, LockWalk, Result};

/// The row of upkeep that holds the largest token of the locks that were forgotten: a new row begins above it, also after
/// the clock stepped back.
const FORGOTTEN: &str = "lock";

impl SqlStore {
    pub(crate) async fn acquire_lock(&self, order: &LockOrder) -> Result<LockAnswer> {
        transact!(self.engine, Class::Vital, |unit| acquire(unit, order))
    }

    pub(crate) async fn renew_lock(
        &self,
        lock: &LockKey,
        lease_time: Duration,
        server: ServerId,
    ) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| renew(unit, lock, lease_time, server))
    }

    pub(crate) async fn release_lock(&self, lock: &LockKey) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| async {
            let now = unit.now().await?;
            free(unit, lock, now).await
        })
    }

    pub(crate) async fn break_lock(&self, name: &str, token: Option<Epoch>) -> Result<LockBreak> {
        transact!(self.engine, Class::Vital, |unit| break_held(unit, name, token))
    }

    pub(crate) async fn free_locks(&self, names: &[String]) -> Result<Vec<String>> {
        read!(self.engine, |unit| free_ones(unit, names))
    }

    pub(crate) async fn walk_locks(&self, walk: &LockWalk) -> Result<(Vec<NamedLock>, Option<String>)> {
        read!(self.engine, |unit| walk_stretch(unit, walk))
    }

    pub(crate) async fn forget_locks(&self, after: Option<String>, limit: i64) -> Result<Option<String>> {
        let walk = LockWalk { prefix: String::new(), after: after.unwrap_or_default(), limit };
        let (now, in_amnesty, rows) = read!(self.engine, |unit| async {
            let now = unit.now().await?;
            let lapse = Lapse::read(unit, now, ServerId(0)).await?;
            let in_amnesty = lapse.is_in_amnesty(now, limits::LOCK_LEASE_TIME_MAX);
            Ok((now, in_amnesty, walk_rows(unit, &walk).await?))
        })?;
        if in_amnesty {
            return Ok(None);
        }
        let before = now.minus(limits::LOCK_LIFE);
        let next =
            if rows.len() as i64 == limit { rows.last().map(|row| row.lock.name.clone()) } else { None };
        let old: Vec<Value> =
            rows.iter().filter(|row| row.lock.expire_time < before).map(|row| key(&row.lock.name)).collect();
        if !old.is_empty() {
            transact!(self.engine, Class::Vital, |unit| forget(unit, &old, before))?;
        }
        Ok(next)
    }
}

/// A lock's row.
struct LockRow {
    /// Empty strings and old times when nobody holds it.
    lock: NamedLock,
    secret: Option<LockSecret>,
    server: ServerId,
}

impl LockRow {
    fn read(row: &mut Columns) -> Try<LockRow> {
        let name = row.text()?;
        let secret = row.bytes()?;
        let secret = match <[u8; 16]>::try_from(&secret[..]) {
            Ok(secret) => Some(LockSecret(secret)),
            Err(_) if secret.is_empty() => None,
            Err(_) => return Err(row.wrong("is neither empty nor 16 bytes")),
        };
        let lock = NamedLock {
            name,
            owner: row.text()?,
            token: Epoch(row.int()?),
            lease_time: Duration::from_micros(row.int()?.max(0).unsigned_abs()),
            acquire_time: Time(row.int()?),
            expire_time: Time(row.int()?),
        };
        Ok(LockRow { lock, secret, server: ServerId(row.int()?) })
    }

    /// As [`LockRow::read`], with what is known of the server.
    fn read_joined(row: &mut Columns) -> Try<(LockRow, ServerLife)> {
        let lock = LockRow::read(row)?;
        Ok((lock, read_life(row)?))
    }

    /// Does somebody hold it, so that no other may take it?
    fn is_held(&self, now: Time, lapse: &Lapse) -> bool {
        let held = HoldTime {
            lease_time: self.lock.lease_time,
            expire_time: self.lock.expire_time,
            server: lapse.server,
        };
        self.secret.is_some() && !held.is_over(now, lapse.amnesty_from, SILENT_AFTER)
    }
}

/// When a server was last alive, and since when without a gap; none when it is not known.
type ServerLife = Option<(Time, Time)>;

fn read_life(row: &mut Columns) -> Try<ServerLife> {
    Ok(row.maybe_int()?.map(Time).zip(row.maybe_int()?.map(Time)))
}

/// What must be known of outages of ours before anything is taken by time.
struct Lapse {
    amnesty_from: Option<Time>,
    server: ServerLife,
}

impl Lapse {
    /// An outage that no reaper has noticed yet counts from now on: the first to come after it may not take what others
    /// could not renew.
    async fn read(unit: &mut Unit<'_>, now: Time, server: ServerId) -> Try<Lapse> {
        let row = unit.fetch_one(Sql::ReadLapse, Place::Fixed, values![server, key(REAPER)]).await?;
        let mut row = row.ok_or_else(|| Fault::other("the row reaper of upkeep is missing"))?;
        let (last, amnesty) = (Time(row.int()?), Time(row.int()?));
        let is_outage = last > Time(0) && now.since(last) > limits::AMNESTY_AFTER;
        let amnesty_from = if is_outage { Some(now) } else { (amnesty > Time(0)).then_some(amnesty) };
        Ok(Lapse { amnesty_from, server: read_life(&mut row)? })
    }

    fn is_in_amnesty(&self, now: Time, lease_time: Duration) -> bool {
        self.amnesty_from.is_some_and(|from| now < from.plus(lease_time))
    }

    fn of(&self, server: ServerLife) -> Lapse {
        Lapse { server, ..*self }
    }
}

async fn acquire(unit: &mut Unit<'_>, order: &LockOrder) -> Try<LockAnswer> {
    let LockOrder { name, secret, lease_time, server, may_take, .. } = order;
    let mut found = lock_row(unit, name).await?;
    if found.is_none() {
        if !may_take {
            return Ok(LockAnswer::Refused(None));
        }
        if let Some(lock) = insert(unit, order).await? {
            return Ok(LockAnswer::Acquired(lock));
        }
        found = lock_row(unit, name).await?;
    }
    let row = found.ok_or_else(|| Fault::raced("named lock"))?;
    // Read under the row's lock, so that of two holders the later is not the earlier in time.
    let now = unit.now().await?;
    if row.secret == Some(*secret) {
        let lock = LockKey { name: name.clone(), secret: *secret, token: row.lock.token };
        if !renew(unit, &lock, *lease_time, *server).await? {
            return Err(Fault::raced("named lock"));
        }
        let lock = NamedLock { lease_time: *lease_time, expire_time: now.plus(*lease_time), ..row.lock };
        return Ok(LockAnswer::Acquired(lock));
    }
    let lapse = Lapse::read(unit, now, row.server).await?;
    if row.is_held(now, &lapse) {
        return Ok(LockAnswer::Refused(Some(row.lock)));
    }
    if !may_take {
        return Ok(LockAnswer::Refused(None));
    }
    let lock = taken(order, row.lock.token.next(now), now);
    let bound = [lock_values(&lock, order).split_off(1), values![key(name), row.lock.token]].concat();
    if unit.execute(Sql::TakeLock, Place::Fixed, bound).await? != 1 {
        return Err(Fault::raced("named lock"));
    }
    Ok(LockAnswer::Acquired(lock))
}

async fn lock_row(unit: &mut Unit<'_>, name: &str) -> Try<Option<LockRow>> {
    let row = unit.fetch_one(Sql::LockNamedLock, Place::Fixed, values![key(name)]).await?;
    row.map(|mut row| LockRow::read(&mut row)).transpose()
}

/// Takes a lock that has no row; none when somebody made one meanwhile.
async fn insert(unit: &mut Unit<'_>, order: &LockOrder) -> Try<Option<NamedLock>> {
    let now = unit.now().await?;
    let forgotten = unit.fetch_one(Sql::ReadUpkeep, Place::Fixed, values![key(FORGOTTEN)]).await?;
    let mut forgotten = forgotten.ok_or_else(|| Fault::other("the row lock of upkeep is missing"))?;
    let lock = taken(order, Epoch(forgotten.int()?).next(now), now);
    let stored = unit.execute(Sql::InsertLock, Place::Fixed, lock_values(&lock, order)).await?;
    Ok((stored == 1).then_some(lock))
}

fn taken(order: &LockOrder, token: Epoch, now: Time) -> NamedLock {
    NamedLock {
        name: order.name.clone(),
        owner: order.owner.clone(),
        token,
        lease_time: order.lease_time,
        acquire_time: now,
        expire_time: now.plus(order.lease_time),
    }
}

fn lock_values(lock: &NamedLock, order: &LockOrder) -> Vec<Value> {
    values![
        key(&lock.name),
        order.secret.0.to_vec(),
        lock.owner.as_str(),
        lock.token,
        micros(lock.lease_time),
        lock.acquire_time,
        lock.expire_time,
        order.server,
    ]
}

async fn renew(unit: &mut Unit<'_>, lock: &LockKey, lease_time: Duration, server: ServerId) -> Try<bool> {
    let now = unit.now().await?;
    let set = values![micros(lease_time), now.plus(lease_time), server];
    let bound = [set, guard(lock)].concat();
    Ok(unit.execute(Sql::RenewLock, Place::Fixed, bound).await? == 1)
}

async fn free(unit: &mut Unit<'_>, lock: &LockKey, now: Time) -> Try<bool> {
    let bound = [values![Vec::<u8>::new(), "", now], guard(lock)].concat();
    Ok(unit.execute(Sql::FreeLock, Place::Fixed, bound).await? == 1)
}

fn guard(lock: &LockKey) -> Vec<Value> {
    values![key(&lock.name), lock.secret.0.to_vec(), lock.token]
}

async fn break_held(unit: &mut Unit<'_>, name: &str, token: Option<Epoch>) -> Try<LockBreak> {
    let Some(row) = lock_row(unit, name).await? else { return Ok(LockBreak::NotHeld) };
    let Some(secret) = row.secret else { return Ok(LockBreak::NotHeld) };
    if token.is_some_and(|token| token != row.lock.token) {
        return Ok(LockBreak::OtherHolder(row.lock));
    }
    let now = unit.now().await?;
    let lock = LockKey { name: name.to_owned(), secret, token: row.lock.token };
    if !free(unit, &lock, now).await? {
        return Err(Fault::raced("named lock"));
    }
    Ok(LockBreak::Broken(row.lock))
}

/// Those of the names that somebody could take now.
async fn free_ones(unit: &mut Unit<'_>, names: &[String]) -> Try<Vec<String>> {
    let now = unit.now().await?;
    let lapse = Lapse::read(unit, now, ServerId(0)).await?;
    let keys = |names: &[String]| names.iter().map(|name| key(name)).collect();
    let mut held = HashSet::new();
    for mut row in unit.fetch_each(Sql::ReadLocks, Place::Fixed, names, keys).await? {
        let (row, server) = LockRow::read_joined(&mut row)?;
        if row.is_held(now, &lapse.of(server)) {
            held.insert(row.lock.name);
        }
    }
    Ok(names.iter().filter(|name| !held.contains(*name)).cloned().collect())
}

/// The held ones of a stretch, and where to go on, if there is more.
async fn walk_stretch(unit: &mut Unit<'_>, walk: &LockWalk) -> Try<(Vec<NamedLock>, Option<String>)> {
    let now = unit.now().await?;
    let lapse = Lapse::read(unit, now, ServerId(0)).await?;
    let rows = walk_joined(unit, walk).await?;
    let next = if rows.len() as i64 == walk.limit {
        rows.last().map(|(row, _)| row.lock.name.clone())
    } else {
        None
    };
    let held = rows.into_iter().filter(|(row, server)| row.is_held(now, &lapse.of(*server)));
    Ok((held.map(|(row, _)| row.lock).collect(), next))
}

async fn walk_rows(unit: &mut Unit<'_>, walk: &LockWalk) -> Try<Vec<LockRow>> {
    Ok(walk_joined(unit, walk).await?.into_iter().map(|(row, _)| row).collect())
}

async fn walk_joined(unit: &mut Unit<'_>, walk: &LockWalk) -> Try<Vec<(LockRow, ServerLife)>> {
    // Names are ASCII: no name that begins with the prefix is beyond this end.
    let end = [walk.prefix.as_bytes(), &[0xff]].concat();
    let bound = values![key(&walk.after), key(&walk.prefix), end, walk.limit];
    let rows = unit.fetch(Sql::WalkLocks, Place::Fixed, bound).await?;
    rows.into_iter().map(|mut row| LockRow::read_joined(&mut row)).collect()
}

/// Forgets locks whose time was over before `before`, and remembers the largest of their tokens.
async fn forget(unit: &mut Unit<'_>, names: &[Value], before: Time) -> Try<()> {
    let bound = |names: &[Value]| names.iter().cloned().chain([Value::from(before)]).collect();
    let mut old = Vec::new();
    for mut row in unit.fetch_each(Sql::LockOldLocks, Place::Fixed, names, bound).await? {
        old.push((row.bytes()?, row.int()?));
    }
    let Some(largest) = old.iter().map(|(_, token)| *token).max() else { return Ok(()) };
    let row = unit.fetch_one(Sql::LockUpkeep, Place::Fixed, values![key(FORGOTTEN)]).await?;
    let mut row = row.ok_or_else(|| Fault::other("the row lock of upkeep is missing"))?;
    let largest = largest.max(row.int()?);
    unit.execute(Sql::MoveUpkeep, Place::Fixed, values![largest, 0_i64, key(FORGOTTEN)]).await?;
    let guards = |old: &[(bytes::Bytes, i64)]| {
        old.iter().flat_map(|(name, token)| values![name.clone(), *token]).collect()
    };
    if unit.execute_each(Sql::DeleteLocks, Place::Fixed, &old, guards).await? != old.len() as u64 {
        return Err(Fault::raced("named locks"));
    }
    Ok(())
}
