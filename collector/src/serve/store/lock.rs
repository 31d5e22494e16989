//! [`Lock`]: one collector to a file.

use std::fs::{File, OpenOptions};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::{Place, StoreError};

/// Held as long as this collector runs on a file of SQLite; the kernel lets go of it however the collector ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] Option<Flock<File>>);

impl Lock {
    /// Takes the lock. Collectors on PostgreSQL need none: they share.
    pub fn take(place: &Place) -> Result<Self, StoreError> {
        let Place::File(path) = place else {
            return Ok(Self(None));
        };
        let failed = |why: String| StoreError::File {
            path: path.display().to_string(),
            why,
        };
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(Path::new(&name))
            .map_err(|error| failed(format!("cannot be used: {error}")))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self(Some(held))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(failed(
                "another `prejoin serve` uses it (several need PostgreSQL)".to_owned(),
            )),
            Err((_, errno)) => Err(failed(format!("cannot be locked: {errno}"))),
        }
    }
}
