//! Agents in clusters: installed, for as long as wanted or for one audit, found, and removed without trace.
//!
//! ```text
//! manifests/ ─▶ manifest: objects ─▶ install: apply, wait ─▶ find: members of an audit ─▶ remove: delete, wait, prove
//! ```
//!
//! What is applied carries our label and our field manager; what has not both is never changed and never deleted.

pub mod command;
pub mod ephemeral;
mod find;
mod follow;
pub mod install;
pub mod manifest;
mod objects;
pub mod permissions;
pub mod remove;
pub mod rollout;
mod server;
pub mod status;
mod trouble;

use std::time::Duration;

pub(crate) use find::id;
pub use find::{Where, absent, imagined, of_cluster};
pub use manifest::{LABEL, NAMESPACE};
pub use trouble::Trouble;

use crate::output;
use crate::run::Canceller;

/// How long a client may take to be made: it may run a credential plugin.
const CONNECTING: Duration = Duration::from_secs(30);

/// The first interrupt ends the waiting, the second everything.
async fn interrupted(canceller: Canceller) {
    /// What a shell says of a command that an interrupt ended.
    const INTERRUPTED: i32 = 130;
    if tokio::signal::ctrl_c().await.is_err() {
        // Then an interrupt does what it always does.
        return std::future::pending().await;
    }
    output::say("prejoin: interrupted: ending (once more: at once)");
    canceller.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(INTERRUPTED);
    }
}
