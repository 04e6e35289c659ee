//! Named locks from the command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use haulier::{Client, Error, LockKey};
use tokio::process::Command;

use super::program::Program;
use super::{NOT_HELD, OK, Server, duration, show, usage};

/// What a program that has lost its lock to another has at least to end by itself.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Tells the program which lock it runs under.
const NAME_VARIABLE: &str = "HAULIER_LOCK_NAME";
/// Tells the program the fencing token of that lock.
const TOKEN_VARIABLE: &str = "HAULIER_FENCING_TOKEN";

/// Commands on named locks.
#[derive(Subcommand)]
pub enum Lock {
    /// Acquire a lock, once: it ends by its lease time unless `renew` holds it for longer
    Acquire(Acquire),
    /// Hold a lock for longer, from now
    Renew(Renew),
    /// Release a lock
    Release(Release),
    /// List the locks that are held, by name
    List(List),
    /// Take a lock from its holder, who hears of it at its next renewal
    Break(Break),
    /// Hold a lock while a program runs: the program is stopped when the lock is lost
    ///
    /// The program finds the lock's name in HAULIER_LOCK_NAME and its fencing token in HAULIER_FENCING_TOKEN. The exit code is the
    /// program's, 128 and the signal that killed it, or 5 when the lock was not free in time or was lost.
    Run(Run),
}

/// Arguments of `lock acquire`.
#[derive(Args)]
pub struct Acquire {
    /// Name of the lock
    name: String,
    /// Secret of the owner; the same one gets the same lock and token again [default: a fresh one]
    #[arg(long)]
    owner_id: Option<String>,
    /// Who wants it, for people
    #[arg(long, default_value = "")]
    owner: String,
    /// How long it is held unless it is renewed, 5s to 10m
    #[arg(long, value_parser = duration, default_value = "30s")]
    lease_time: Duration,
    /// How long to wait while another holds it, at most 30s [default: not at all]
    #[arg(long, value_parser = duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    server: Server,
}

/// Who holds a lock.
#[derive(Args)]
struct Holder {
    /// Name of the lock
    name: String,
    /// Secret of the owner, as when it was acquired
    #[arg(long)]
    owner_id: String,
    /// Fencing token, as when it was acquired
    #[arg(long)]
    token: i64,
}

/// Arguments of `lock renew`.
#[derive(Args)]
pub struct Renew {
    #[command(flatten)]
    holder: Holder,
    /// How long it is held from now, 5s to 10m
    #[arg(long, value_parser = duration, default_value = "30s")]
    lease_time: Duration,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `lock release`.
#[derive(Args)]
pub struct Release {
    #[command(flatten)]
    holder: Holder,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `lock list`.
#[derive(Args)]
pub struct List {
    /// Only locks whose name starts so
    #[arg(long, default_value = "")]
    prefix: String,
    /// Locks at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `lock break`.
#[derive(Args)]
pub struct Break {
    /// Name of the lock
    name: String,
    /// Only while its holder has this fencing token [default: whoever holds it]
    #[arg(long)]
    token: Option<i64>,
    /// Why, in words, for the log of the server
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `lock run`.
#[derive(Args)]
pub struct Run {
    /// Name of the lock
    name: String,
    /// Who wants it, for people
    #[arg(long, default_value = "")]
    owner: String,
    /// How long another must wait when this machine dies, 5s to 10m
    #[arg(long, value_parser = duration, default_value = "30s")]
    lease_time: Duration,
    /// How long to wait while another holds it; 0s: not at all [default: for ever]
    #[arg(long, value_parser = duration)]
    wait: Option<Duration>,
    /// The program and its arguments
    #[arg(last = true, required = true, num_args = 1..)]
    program: Vec<OsString>,
    #[command(flatten)]
    server: Server,
}

/// Runs a command; answers its exit code.
pub(super) async fn run(command: Lock) -> haulier::Result<u8> {
    match command {
        Lock::Acquire(arguments) => acquire(arguments).await,
        Lock::Renew(arguments) => renew(arguments).await,
        Lock::Release(arguments) => release(arguments).await,
        Lock::List(arguments) => list(arguments).await,
        Lock::Break(arguments) => break_lock(arguments).await,
        Lock::Run(arguments) => run_program(arguments).await,
    }
}

async fn acquire(arguments: Acquire) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let owner_id = arguments.owner_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let wish = client.lock(&arguments.name).owner(arguments.owner).owner_id(&owner_id);
    let answer = wish.lease_time(arguments.lease_time).send(arguments.wait.unwrap_or(Duration::ZERO)).await?;
    if !answer.acquired {
        show::line(&format!("held\t{}", held_by(answer.lock)));
        return Ok(NOT_HELD);
    }
    show::line(&format!("acquired\t{}\t{owner_id}\t{}", arguments.name, answer.fencing_token));
    Ok(OK)
}

fn held_by(lock: Option<haulier::proto::Lock>) -> String {
    lock.map_or_else(
        || "by nobody any more".to_owned(),
        |lock| format!("{}\t{}\t{}", lock.name, lock.owner, lock.fencing_token),
    )
}

impl Holder {
    fn key(self) -> LockKey {
        LockKey { name: self.name, owner_id: self.owner_id, fencing_token: self.token }
    }
}

async fn renew(arguments: Renew) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    match client.renew_lock(&arguments.holder.key(), arguments.lease_time).await {
        Ok(_) => {
            show::line("renewed");
            Ok(OK)
        }
        Err(lost @ Error::LockLost { .. }) => Ok(not_held(&lost)),
        Err(error) => Err(error),
    }
}

async fn release(arguments: Release) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let released = client.release_lock(&arguments.holder.key()).await?;
    show::line(if released { "released" } else { "it was not held any more" });
    Ok(OK)
}

async fn list(arguments: List) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let locks: Vec<_> = client.list_locks(arguments.prefix).take(arguments.limit).try_collect().await?;
    show::locks(&locks);
    Ok(OK)
}

async fn break_lock(arguments: Break) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let mut call = client.break_lock(arguments.name).reason(arguments.reason);
    if let Some(token) = arguments.token {
        call = call.fencing_token(token);
    }
    let lock = call.await?;
    show::line(&format!("broken\t{}", held_by(Some(lock))));
    Ok(OK)
}

async fn run_program(arguments: Run) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let Some(lock) = hold(&client, &arguments).await? else {
        let name = &arguments.name;
        return Ok(complain(&format!(
            "the lock {name} is held by another: `haulier lock list` shows by whom"
        )));
    };
    let mut command = Command::new(&arguments.program[0]);
    command.args(&arguments.program[1..]);
    command.env(NAME_VARIABLE, lock.name()).env(TOKEN_VARIABLE, lock.fencing_token().to_string());
    let code = match Program::start(&mut command) {
        Ok(program) => attend(program, &lock).await,
        Err(error) => usage(&format!("{}: {error}", arguments.program[0].display())),
    };
    if let Err(error) = lock.release().await {
        super::warn(&format!("the lock could not be released, its lease time ends it: {error}"));
    }
    Ok(code)
}

async fn hold(client: &Client, arguments: &Run) -> haulier::Result<Option<haulier::Lock>> {
    let wish = client.lock(&arguments.name).owner(&arguments.owner).lease_time(arguments.lease_time);
    match arguments.wait {
        Some(wait) => wish.acquire_within(wait).await,
        None => wish.acquire().await.map(Some),
    }
}

/// Waits for the end of the program, and stops it when the lock is lost.
async fn attend(mut program: Program, lock: &haulier::Lock) -> u8 {
    tokio::select! {
        code = program.end() => return code,
        error = lock.lost() => {
            not_held(&error);
        }
    }
    program.stop(lock.time_left().max(STOP_TIME)).await;
    NOT_HELD
}

fn not_held(lost: &Error) -> u8 {
    complain(&lost.to_string())
}

fn complain(message: &str) -> u8 {
    super::warn(message);
    NOT_HELD
}
