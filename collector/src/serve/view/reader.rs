//! [`Reader`], who gives views, and [`Actions`], who does what a person asks for on a page or by the API.

use std::future::Future;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use super::audit::AuditFilter;
pub use super::finding::FindingFilter;
pub use super::path::PathFilter;
use super::{
    AddressSpace, AuditList, AuditView, ClusterView, DriftView, FindingList, FindingView, Fleet, Group, PairView,
    PathsView,
};

/// Why a view cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such thing, or not any more.
    #[error("there is no {0}")]
    NotFound(String),
    /// It could not be read: the store failed. The text is harmless to show.
    #[error("{0}")]
    Failed(String),
}

impl ReadError {
    /// There is no such group.
    pub fn no_group(name: &str) -> Self {
        Self::NotFound(format!("group {}", crate::text::short(name, 60)))
    }
}

/// The answer of a [`Reader`].
pub type Read<T> = Result<T, ReadError>;

/// Gives everything that pages and API show. All of it is read for the moment of the call.
pub trait Reader: Send + Sync + 'static {
    /// The moment by the collector's clock.
    fn now(&self) -> Timestamp;

    /// All groups. With 100 clusters this is asked for most often: it should come from what the last audit left ready.
    fn fleet(&self) -> impl Future<Output = Read<Fleet>> + Send;

    /// One group.
    fn group(&self, group: &str) -> impl Future<Output = Read<Group>> + Send;

    /// Two clusters of a group, in either order.
    fn pair(&self, group: &str, a: &str, b: &str) -> impl Future<Output = Read<PairView>> + Send;

    /// One cluster of a group.
    fn cluster(&self, group: &str, cluster: &str) -> impl Future<Output = Read<ClusterView>> + Send;

    /// Findings of a group.
    fn findings(&self, group: &str, filter: &FindingFilter) -> impl Future<Output = Read<FindingList>> + Send;

    /// One finding of a group.
    fn finding(&self, group: &str, key: &str) -> impl Future<Output = Read<FindingView>> + Send;

    /// Every range of every cluster of a group.
    fn addresses(&self, group: &str) -> impl Future<Output = Read<AddressSpace>> + Send;

    /// Paths of a group over time.
    fn paths(&self, group: &str, filter: &PathFilter) -> impl Future<Output = Read<PathsView>> + Send;

    /// Audits, latest first.
    fn audits(&self, filter: &AuditFilter) -> impl Future<Output = Read<AuditList>> + Send;

    /// One audit.
    fn audit(&self, id: &str) -> impl Future<Output = Read<AuditView>> + Send;

    /// What changed in a group against its baseline.
    fn drift(&self, group: &str) -> impl Future<Output = Read<DriftView>> + Send;

    /// Tells from now on what has changed, so that who shows it reads it again. Telling too often does no harm.
    fn changes(&self) -> broadcast::Receiver<Changed>;
}

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// In this group.
    pub group: String,
    /// In this audit, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
}

/// Does what a person asks for. Who may is decided before.
pub trait Actions: Send + Sync + 'static {
    /// Runs an audit of a group as soon as none is running, and says which: the one that waits already, if one does.
    fn run_audit(&self, group: &str, by: &str) -> impl Future<Output = Read<String>> + Send;

    /// Accepts the state that an audit found as what is right.
    fn accept_baseline(&self, group: &str, audit: &str, by: &str, note: &str) -> impl Future<Output = Read<()>> + Send;

    /// Answers for a finding until a day, inclusive.
    fn waive(&self, group: &str, waiving: &Waiving, by: &str) -> impl Future<Output = Read<()>> + Send;
}

/// A finding that someone is to answer for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiving {
    /// The finding.
    pub key: String,
    /// Why.
    pub reason: String,
    /// The last day, UTC.
    #[schemars(with = "String")]
    pub until: Date,
}
