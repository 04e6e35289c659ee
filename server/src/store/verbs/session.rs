//! Sessions: registered, kept alive, drained, ended, given up for dead, forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{HoldTime, Session, SessionId, SessionState, Time, limits};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{lost, read_session, session_code, session_state, session_values};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Value, values};
use crate::store::{Beat, BeatAnswer, Result, Tick};

/// A server that ticked longer ago than this is silent.
pub(super) const SILENT_AFTER: Duration = limits::AMNESTY_AFTER;
/// Sessions that one transaction gives up for dead or forgets.
const SESSIONS_MAX: i64 = 100;

impl SqlStore {
    pub(crate) async fn register(&self, session: &Session) -> Result<()> {
        let row = session_values(session)?;
        transact!(self.engine, Class::Vital, |unit| unit.execute(
            Sql::InsertSession,
            Place::Fixed,
            row.clone()
        ))?;
        self.names.put(session.id, session.name.clone());
        Ok(())
    }

    pub(crate) async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatAnswer>> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.engine, Class::Vital, |unit| beat(unit, beats))
    }

    pub(crate) async fn end_session(&self, session: SessionId) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| end_session(unit, session))
    }

    pub(crate) async fn drain_session(&self, session: SessionId) -> Result<bool> {
        let bound = || values![session_code(SessionState::Draining), session, lost()];
        let changed = transact!(self.engine, Class::Vital, |unit| unit.execute(
            Sql::MoveSession,
            Place::Fixed,
            bound()
        ))?;
        Ok(changed == 1)
    }

    pub(crate) async fn session(&self, session: SessionId) -> Result<Option<Session>> {
        read!(self.engine, |unit| read_one(unit, session))
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<(Session, i64)>> {
        read!(self.engine, |unit| read_all(unit))
    }

    pub(crate) async fn lose_sessions(&self, tick: Tick) -> Result<Vec<SessionId>> {
        let silent = read!(self.engine, |unit| read_silent(unit, tick))?;
        let over: Vec<Silent> = silent.into_iter().filter(|one| one.is_over(tick)).collect();
        let mut lost = Vec::new();
        for some in over.chunks(SESSIONS_MAX as usize) {
            lost.extend(transact!(self.engine, Class::Vital, |unit| lose(unit, some))?);
        }
        Ok(lost)
    }

    pub(crate) async fn forget_sessions(&self, before: Time) -> Result<()> {
        transact!(self.engine, Class::Vital, |unit| forget(unit, before))
    }
}

/// Renews sessions; a beat that is not higher than the stored one changes nothing.
async fn beat(unit: &mut Unit<'_>, beats: &[Beat]) -> Try<Vec<BeatAnswer>> {
    let sessions: BTreeSet<SessionId> = beats.iter().map(|beat| beat.session).collect();
    let sessions: Vec<SessionId> = sessions.into_iter().collect();
    let states = lock_sessions(unit, &sessions).await?;
    let mut news: BTreeMap<SessionId, Beat> = BTreeMap::new();
    for beat in beats {
        let is_higher = states
            .get(&beat.session)
            .is_some_and(|(state, stored)| *state != SessionState::Lost && beat.beat > *stored);
        if is_higher && news.get(&beat.session).is_none_or(|known| known.beat < beat.beat) {
            news.insert(beat.session, *beat);
        }
    }
    renew(unit, news.into_values().collect()).await?;
    let answer = |beat: &Beat| match states.get(&beat.session) {
        Some((SessionState::Live, _)) => BeatAnswer::Renewed,
        Some((SessionState::Draining, _)) => BeatAnswer::Draining,
        Some((SessionState::Lost, _)) | None => BeatAnswer::Lost,
    };
    Ok(beats.iter().map(answer).collect())
}

/// Locks sessions: their states and last beats.
async fn lock_sessions(
    unit: &mut Unit<'_>,
    sessions: &[SessionId],
) -> Try<HashMap<SessionId, (SessionState, i64)>> {
    let mut states = HashMap::new();
    for mut row in unit.fetch_each(Sql::LockSessions, Place::Fixed, sessions, session_ids).await? {
        let session = SessionId(row.bytes_16()?);
        let state = row.coded(session_state)?;
        row.skip(1);
        states.insert(session, (state, row.int()?));
    }
    Ok(states)
}

fn session_ids(sessions: &[SessionId]) -> Vec<Value> {
    sessions.iter().map(|session| Value::from(*session)).collect()
}

async fn renew(unit: &mut Unit<'_>, beats: Vec<Beat>) -> Try<()> {
    if beats.is_empty() {
        return Ok(());
    }
    let now = unit.now().await?;
    let renewed = |chunk: &[Beat]| {
        let numbers = chunk.iter().flat_map(|beat| values![beat.session, beat.beat]);
        let servers = chunk.iter().flat_map(|beat| values![beat.session, beat.server]);
        let sessions = chunk.iter().map(|beat| Value::from(beat.session));
        numbers.chain(servers).chain([Value::from(now)]).chain(sessions).chain([Value::Int(lost())]).collect()
    };
    if unit.execute_each(Sql::BeatSessions, Place::Fixed, &beats, renewed).await? != beats.len() as u64 {
        return Err(Fault::raced("sessions"));
    }
    Ok(())
}

/// Ends a session: its state first, then its loops, so that one that is made meanwhile waits and sees the end.
async fn end_session(unit: &mut Unit<'_>, session: SessionId) -> Try<bool> {
    let now = unit.now().await?;
    let ended = unit.execute(Sql::EndSession, Place::Fixed, values![lost(), now, session, lost()]).await?;
    unit.execute(Sql::EndLoops, Place::Fixed, values![session]).await?;
    Ok(ended == 1)
}

async fn read_one(unit: &mut Unit<'_>, session: SessionId) -> Try<Option<Session>> {
    let row = unit.fetch_one(Sql::ReadSession, Place::Fixed, values![session]).await?;
    row.map(|mut row| read_session(&mut row)).transpose()
}

async fn read_all(unit: &mut Unit<'_>) -> Try<Vec<(Session, i64)>> {
    let rows = unit.fetch(Sql::ReadSessions, Place::Fixed, values![lost()]).await?;
    rows.into_iter().map(|mut row| Ok((read_session(&mut row)?, row.int()?))).collect()
}

/// A session whose time is over.
struct Silent {
    session: SessionId,
    held: HoldTime,
}

impl Silent {
    /// Is it over at `tick`, all outages of ours allowed for?
    fn is_over(&self, tick: Tick) -> bool {
        self.held.is_over(tick.now, tick.amnesty_from, SILENT_AFTER)
    }
}

async fn read_silent(unit: &mut Unit<'_>, tick: Tick) -> Try<Vec<Silent>> {
    let rows = unit.fetch(Sql::ReadSilentSessions, Place::Fixed, values![lost(), tick.now]).await?;
    let read = |mut row: crate::store::value::Columns| {
        let session = SessionId(row.bytes_16()?);
        let held = HoldTime {
            lease_time: Duration::from_micros(row.int()?.max(0).unsigned_abs()),
            expire_time: Time(row.int()?),
            server: row.maybe_int()?.map(Time).zip(row.maybe_int()?.map(Time)),
        };
        Ok(Silent { session, held })
    };
    rows.into_iter().map(read).collect()
}

/// Marks sessions as lost that did not beat since they were seen; answers which.
async fn lose(unit: &mut Unit<'_>, silent: &[Silent]) -> Try<Vec<SessionId>> {
    let mut over = Vec::new();
    for one in silent {
        let guard = values![lost(), one.session, lost(), one.held.expire_time];
        if unit.execute(Sql::LoseSession, Place::Fixed, guard).await? == 1 {
            unit.execute(Sql::EndLoops, Place::Fixed, values![one.session]).await?;
            over.push(one.session);
        }
    }
    Ok(over)
}

async fn forget(unit: &mut Unit<'_>, before: Time) -> Try<()> {
    let found =
        unit.fetch(Sql::ReadForgottenSessions, Place::Fixed, values![lost(), before, SESSIONS_MAX]).await?;
    for mut row in found {
        let session = SessionId(row.bytes_16()?);
        unit.execute(Sql::DeleteSession, Place::Fixed, values![session, lost()]).await?;
        unit.execute(Sql::DeleteLoops, Place::Fixed, values![session]).await?;
    }
    Ok(())
}
