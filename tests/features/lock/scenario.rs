//! One holder at a time, with a fencing token, and told when it is lost: see README.md.

use std::time::Duration;

use futures::TryStreamExt as _;
use haulier::{Client, Error};
use tokio::time::{sleep, timeout};

use crate::stage::{Result, bail, ensure, expect, named, present};

pub(crate) async fn story(client: Client, _queue: String) -> Result<()> {
    let (name, other) = (named("lock"), Client::from_env().await?);
    let asked_by = |client: &Client| client.lock(&name).lease_time(Duration::from_secs(5));
    let held = async || -> Result<Vec<i64>> {
        let locks: Vec<_> = client.list_locks(&name).try_collect().await?;
        Ok(locks.iter().map(|lock| lock.fencing_token).collect())
    };

    let a = present("the lock that A acquires", asked_by(&client).try_acquire().await?)?;
    expect("whether B has it at once", asked_by(&other).try_acquire().await?.is_some(), false)?;
    let first = a.fencing_token();
    expect("the locks held", held().await?, [first])?;

    let waiting = tokio::spawn(asked_by(&other).acquire());
    sleep(Duration::from_millis(300)).await;
    expect("whether B has it while A holds it", waiting.is_finished(), false)?;
    expect("A releases", a.release().await?, true)?;
    let Ok(b) = timeout(Duration::from_secs(20), waiting).await else {
        bail!("expected B to have the lock within 20 s of its release, it waits");
    };
    let b = b??;
    let second = b.fencing_token();
    ensure!(second > first, "expected a token larger than {first}, saw {second}");

    client.break_lock(&name).reason("for the scenario").await?;
    match timeout(Duration::from_secs(10), b.lost()).await {
        Ok(Error::LockLost { .. }) => {}
        Ok(other) => bail!("expected B to be told that it lost the lock, it was told {other}"),
        Err(_) => bail!("expected B to be told within 10 s that it lost the lock, it was not"),
    }
    let checked = b.check();
    ensure!(
        matches!(checked, Err(Error::LockLost { .. })),
        "expected a lost lock, B's check says {checked:?}"
    );
    let a = present("the lock that A acquires again", asked_by(&client).try_acquire().await?)?;
    let third = a.fencing_token();
    ensure!(third > second, "expected a token larger than {second}, saw {third}");
    expect("whether B held what it releases", b.release().await?, false)?;
    expect("A releases again", a.release().await?, true)?;
    expect("the locks held at the end", held().await?, Vec::<i64>::new())
}
