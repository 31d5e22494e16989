//! The main process of a container that only waits: sessions are started beside it, by exec.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Sleeps until SIGTERM or SIGINT. Nothing wakes it in between but children that ended: a container's first process inherits orphans and has to
/// bury them.
pub fn wait() -> Result<(), Errno> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked, they stay pending until asked for; the kernel would else drop them, as a first process has no default handlers.
    signals.thread_block()?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => bury_children()?,
            _ => return Ok(()),
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
