//! The state of the clock.

use prejoin_checks::facts::kernel::Clock;
use prejoin_checks::facts::provenance::Unknown;

use crate::node::tree::{Tree, reason};
use crate::sys;

pub(super) fn read(tree: &Tree) -> Result<Clock, Unknown> {
    let state = sys::clock_state().map_err(|error| Unknown::new(reason(&error), format!("adjtimex: {error}")))?;
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    Ok(Clock {
        synchronised: state.synchronised,
        max_error_micros: state.max_error_micros,
        estimated_error_micros: state.estimated_error_micros,
        source: tree.text(source).unwrap_or_default().trim_end().to_owned(),
    })
}
