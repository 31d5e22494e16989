//! The main process of a container that only waits: sessions are started beside it, by exec.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// By SIGTERM or SIGINT.
    Ended,
    /// The deadline has come.
    Deadline,
}

/// Sleeps until SIGTERM or SIGINT, or for as long as `deadline` says. Nothing wakes it in between but children that ended: a container's first
/// process inherits orphans and has to bury them.
pub fn wait(deadline: Option<Duration>) -> Result<Woken, Errno> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, Signal::SIGALRM] {
        signals.add(signal);
    }
    // Blocked, they stay pending until asked for; the kernel would else drop them, as a first process has no default handlers.
    signals.thread_block()?;
    if let Some(deadline) = deadline {
        alarm::set(u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX));
    }
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => bury_children()?,
            Signal::SIGALRM => return Ok(Woken::Deadline),
            _ => return Ok(Woken::Ended),
        }
    }
}

/// One signal may stand for several children.
fn bury_children() -> Result<(), Errno> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
