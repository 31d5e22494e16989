//! The kernel calls that no crate offers safely: the only `unsafe` code of this crate.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper; each says why it is sound"
)]

use std::io;

use nix::libc;

/// What adjtimex(2) tells of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockState {
    /// Whether something keeps it synchronised.
    pub(crate) synchronised: bool,
    /// The bound on its error, in microseconds.
    pub(crate) max_error_micros: u64,
    /// The estimate of its error, in microseconds.
    pub(crate) estimated_error_micros: u64,
}

/// Reads the state of the clock; changes nothing.
pub(crate) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: `timex` is numbers only, for which zero is a value; no mode is set, so that the call only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` that lives until the call returns.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ClockState {
        synchronised: state.status & libc::STA_UNSYNC == 0,
        max_error_micros: u64::try_from(state.maxerror).unwrap_or_default(),
        estimated_error_micros: u64::try_from(state.esterror).unwrap_or_default(),
    })
}
