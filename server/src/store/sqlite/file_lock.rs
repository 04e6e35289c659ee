//! One server process a file: a lock that a second process sees.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::store::{Result, StoreError};

/// Held while a server process uses a database file; freed by the operating system when the process ends.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock of a database file, or says who cannot have it.
    pub(crate) fn take(database: &Path) -> Result<FileLock> {
        let path = lock_path(database);
        let cannot = |why: String| StoreError::Other(format!("cannot lock {}: {why}", path.display()));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| cannot(format!("{error}; is the folder there and writable?")))?;
        match file.try_lock() {
            Ok(()) => Ok(FileLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(cannot(format!(
                "another server process uses {}; stop it, or use MySQL or MariaDB for several servers",
                database.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(error.to_string())),
        }
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
