//! Alerts: what happened to findings, told where people look already.
//!
//! ```text
//! history::Event ─▶ Round ─▶ Target::notice ─▶ Notice ─▶ outbox ─▶ Courier ─┬─ webhook: the notice itself, signed
//!   (an audit)       pure       per target     (stored)   (the store's)      ├─ Alertmanager v2
//!                                                                            └─ Slack
//! ```
//!
//! What is told is a change of state, not a state: an audit that finds what the one before found tells nothing. Alertmanager alone is told all that is
//! open after each audit, because it forgets what it is not told again; it notifies nobody of what it knows already.
//!
//! A notice is stored with the audit that gave rise to it and leaves the store when its target took it: each is delivered at least once, and those of one
//! target in order. `id` is the same in every attempt, so that who gets one twice can tell.

pub mod alertmanager;
pub mod courier;
pub mod kubernetes;
pub mod notice;
pub mod outbox;
pub mod slack;
pub mod target;
pub mod webhook;

pub use courier::{Backoff, Courier};
pub use notice::{Alert, Notice, Round};
pub use outbox::{Claim, Message, Outbox};
pub use target::{Target, TargetKind};

#[cfg(test)]
mod samples;
