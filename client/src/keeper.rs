//! Keeps what a program holds: a thread with a runtime and a connection of its own, on which locks are renewed, so that code that
//! blocks its runtime does not lose them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::connect::{Connector, Transport};
use crate::errors::{Error, Result};

/// The thread, for as long as anybody has it.
pub(crate) struct Keeper {
    handle: Handle,
    connector: Connector,
    transport: Mutex<Transport>,
    _stop: DropGuard,
}

impl Keeper {
    fn start(connector: Connector) -> Result<Arc<Self>> {
        let no_thread =
            |error: std::io::Error| Error::config("the thread that renews locks", error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let keep = move || runtime.block_on(stopped.cancelled());
        std::thread::Builder::new().name("haulier-locks".into()).spawn(keep).map_err(no_thread)?;
        let transport = {
            let _entered = handle.enter();
            Mutex::new(connector.lazy())
        };
        Ok(Arc::new(Self { handle, connector, transport, _stop: stop.drop_guard() }))
    }

    /// Runs something on the thread. What must be done to its end holds the keeper.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }

    /// The connection of the thread.
    pub(crate) fn transport(&self) -> Transport {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another connection, for when the present one takes what it is given and answers nothing. On the thread only.
    pub(crate) fn renew_transport(&self) {
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = self.connector.lazy();
    }
}

/// The keeper of a client and its clones: started when it is first needed.
#[derive(Clone, Default)]
pub(crate) struct Keeping(Arc<Mutex<Option<Arc<Keeper>>>>);

impl Keeping {
    /// The keeper.
    pub(crate) fn keeper(&self, connector: &Connector) -> Result<Arc<Keeper>> {
        let mut keeper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*keeper {
            Some(keeper) => Ok(Arc::clone(keeper)),
            None => {
                let started = Keeper::start(connector.clone())?;
                Ok(Arc::clone(keeper.insert(started)))
            }
        }
    }
}
