//! `haulier.v1.LockService`: named locks. Convert, call the engine, convert.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::lock_service_server::LockService;
use tonic::{Request, Response, Status};

use super::check::Check;
use super::{convert, status};
use crate::engine::{AcquireAnswer, AcquireCall, Engine, HeldCall, ListLocksCall, Result};
use crate::model::{Epoch, LockSecret, NamedLock, limits};

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

/// Serves named locks.
#[derive(Clone)]
pub(crate) struct Locks {
    pub(crate) engine: Engine,
}

#[tonic::async_trait]
impl LockService for Locks {
    async fn acquire_lock(
        &self,
        request: Request<pb::AcquireLockRequest>,
    ) -> Answer<pb::AcquireLockResponse> {
        let call = acquire_call(request.into_inner()).map_err(status::of)?;
        let answer = self.engine.acquire_lock(call).await.map_err(status::of)?;
        Ok(Response::new(match answer {
            AcquireAnswer::Acquired { lock, held_for } => pb::AcquireLockResponse {
                acquired: true,
                fencing_token: lock.token.0,
                lease_time: Some(convert::duration(held_for)),
                lock: Some(lock_message(lock)),
            },
            AcquireAnswer::Refused(lock) => {
                pb::AcquireLockResponse { lock: lock.map(lock_message), ..Default::default() }
            }
        }))
    }

    async fn renew_lock(&self, request: Request<pb::RenewLockRequest>) -> Answer<pb::RenewLockResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        let token = given.fencing_token;
        if token <= 0 {
            let message =
                format!("is {token}: give the token that AcquireLock answered with, a positive number");
            check.refuse("fencing_token", message);
        }
        let call = held_call(&mut check, given.name, &given.owner_id, token);
        let lease_time = lease_time(&mut check, given.lease_time);
        let call = check.pass(call).map_err(status::of)?;
        self.engine.renew_lock(call, lease_time).await.map_err(status::of)?;
        Ok(Response::new(pb::RenewLockResponse { lease_time: Some(convert::duration(lease_time)) }))
    }

    async fn release_lock(
        &self,
        request: Request<pb::ReleaseLockRequest>,
    ) -> Answer<pb::ReleaseLockResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        let token = given.fencing_token;
        if token < 0 {
            let message = format!(
                "is {token}: give the token that AcquireLock answered with, or 0 for whichever it is"
            );
            check.refuse("fencing_token", message);
        }
        let call = held_call(&mut check, given.name, &given.owner_id, token);
        let call = check.pass(call).map_err(status::of)?;
        let released = self.engine.release_lock(call).await.map_err(status::of)?;
        Ok(Response::new(pb::ReleaseLockResponse { released }))
    }

    async fn list_locks(&self, request: Request<pb::ListLocksRequest>) -> Answer<pb::ListLocksResponse> {
        let call = list_call(request.into_inner()).map_err(status::of)?;
        let page = self.engine.list_locks(call).await.map_err(status::of)?;
        let locks = page.items.into_iter().map(lock_message).collect();
        Ok(Response::new(pb::ListLocksResponse { locks, next_page_token: page.next }))
    }

    async fn break_lock(&self, request: Request<pb::BreakLockRequest>) -> Answer<pb::BreakLockResponse> {
        let given = request.into_inner();
        let token = break_token(&given).map_err(status::of)?;
        let lock = self.engine.break_lock(given.name, token, given.reason).await.map_err(status::of)?;
        Ok(Response::new(pb::BreakLockResponse { lock: Some(lock_message(lock)) }))
    }
}

/// A longer wait than the longest is cut to it, as the contract says.
fn acquire_call(given: pb::AcquireLockRequest) -> Result<AcquireCall> {
    let mut check = Check::new();
    check.name("name", &given.name);
    check.text("owner", &given.owner);
    let wait = check.duration("wait", given.wait, Duration::ZERO..=Duration::MAX);
    let call = AcquireCall {
        secret: secret(&mut check, &given.owner_id),
        lease_time: lease_time(&mut check, given.lease_time),
        name: given.name,
        owner: given.owner,
        wait: wait.unwrap_or_default().min(limits::LOCK_WAIT_MAX),
    };
    check.pass(call)
}

fn held_call(check: &mut Check, name: String, owner_id: &str, token: i64) -> HeldCall {
    check.name("name", &name);
    HeldCall { name, secret: secret(check, owner_id), token: Epoch(token) }
}

fn secret(check: &mut Check, owner_id: &str) -> LockSecret {
    let most = limits::LOCK_OWNER_ID_CHARS_MAX;
    if owner_id.is_empty() {
        let message =
            format!("is empty: give a secret of 1 to {most} characters, fresh for each intent to hold");
        check.refuse("owner_id", message);
    } else {
        check.chars("owner_id", owner_id, most);
    }
    LockSecret::of(owner_id)
}

fn lease_time(check: &mut Check, given: Option<prost_types::Duration>) -> Duration {
    let allowed = limits::LOCK_LEASE_TIME_MIN..=limits::LOCK_LEASE_TIME_MAX;
    check.duration("lease_time", given, allowed).unwrap_or(limits::LOCK_LEASE_TIME_DEFAULT)
}

fn list_call(given: pb::ListLocksRequest) -> Result<ListLocksCall> {
    let mut check = Check::new();
    check.optional_name("name_prefix", &given.name_prefix);
    check.token("page_token", &given.page_token);
    let page_size = check.page_size("page_size", given.page_size);
    check.pass(ListLocksCall { prefix: given.name_prefix, page_size, page_token: given.page_token })
}

fn break_token(given: &pb::BreakLockRequest) -> Result<Option<Epoch>> {
    let mut check = Check::new();
    check.name("name", &given.name);
    check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
    let token = given.fencing_token;
    if token < 0 {
        let message = format!("is {token}: give the holder's token, or 0 for whoever holds it");
        check.refuse("fencing_token", message);
    }
    check.pass((token > 0).then_some(Epoch(token)))
}

fn lock_message(lock: NamedLock) -> pb::Lock {
    pb::Lock {
        name: lock.name,
        owner: lock.owner,
        fencing_token: lock.token.0,
        acquire_time: Some(convert::timestamp(lock.acquire_time)),
        expire_time: Some(convert::timestamp(lock.expire_time)),
        acquired_by: String::new(),
    }
}
