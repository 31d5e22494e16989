//! Clusters whose agent dials in: how it gets in, who is connected, and sessions over the connections.
//!
//! ```text
//! router: enroll, rotate, connect ─▶ hub: one connection for each cluster ─┬─▶ transport::Route::Dialled: sessions
//!         throttle: wrong tokens      watch: closed when revoked           └─▶ facts, members: what an audit needs
//! ```
//!
//! What an agent sends is hostile input. A cluster speaks for itself alone: its name is the one it was enrolled under, and facts that say
//! otherwise are refused and shown ([`Hub::refusals`]).

mod audit;
mod hub;
mod router;
pub mod throttle;

pub use audit::{enlist, facts, members};
pub use hub::{ConnectedCluster, Hub, Refusal};
pub use router::router;

#[cfg(test)]
mod tests;
