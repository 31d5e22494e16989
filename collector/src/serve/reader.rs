//! [`StoreReader`]: the views of pages and API, from what the store keeps.
//!
//! What the last audit of a group found is read once and kept in memory until the next one ended: pages are looked at more often than clusters are
//! audited.

mod actions;
mod audits;
mod cluster;
mod findings;
mod group;
mod latest;
mod paths;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

use super::config::Group;
use super::dial::Hub;
use super::store::audits::Audit;
use super::store::{Store, StoreError};
use super::view::reader::{AuditFilter, FindingFilter, PathFilter};
use super::view::{
    AddressSpace, AuditList, AuditView, Changed, ClusterView, DriftView, FindingList, FindingView, Fleet, Freshness,
    Group as GroupView, PairView, PathsView, ReadError, Reader,
};
use super::{Current, say};
use latest::Latest;

/// So many changes are told at most to who listens slowly; then it reads everything again.
const CHANGES: usize = 64;

/// Gives the views.
#[derive(Clone)]
pub struct StoreReader(Arc<Inner>);

struct Inner {
    store: Store,
    /// Clusters that dialled in.
    hub: Hub,
    config: watch::Receiver<Current>,
    changes: broadcast::Sender<Changed>,
    /// Told when someone wants an audit.
    wished: Arc<Notify>,
    /// What the last audit of each group found.
    latest: Mutex<HashMap<String, Arc<Latest>>>,
    /// One reads at a time: two that ask for the same do the work once.
    reading: tokio::sync::Mutex<()>,
}

impl StoreReader {
    /// Of this store, for the groups of this configuration.
    pub fn new(store: Store, hub: Hub, config: watch::Receiver<Current>, wished: Arc<Notify>) -> Self {
        Self(Arc::new(Inner {
            store,
            hub,
            config,
            changes: broadcast::channel(CHANGES).0,
            wished,
            latest: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }))
    }

    /// Says that something has changed.
    pub fn tell(&self, group: &str, audit: Option<&str>) {
        // Nobody may be listening.
        let _ = self.0.changes.send(Changed {
            group: group.to_owned(),
            audit: audit.map(str::to_owned),
        });
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    fn current(&self) -> Current {
        self.0.config.borrow().clone()
    }

    /// The group of the configuration.
    fn configured(&self, name: &str) -> Result<(Current, Group), ReadError> {
        let current = self.current();
        let group = current.config.group(name).cloned();
        group
            .map(|group| (current, group))
            .ok_or_else(|| ReadError::no_group(name))
    }

    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// What the last audit of a group found that ended with a report.
    async fn latest(&self, group: &str) -> Result<Option<Arc<Latest>>, ReadError> {
        let Some(audit) = self.store().latest_done(group).await? else {
            return Ok(None);
        };
        if let Some(known) = self.known(group, &audit) {
            return Ok(Some(known));
        }
        let _turn = self.0.reading.lock().await;
        if let Some(known) = self.known(group, &audit) {
            return Ok(Some(known));
        }
        let latest = Arc::new(Latest::read(self.store(), audit).await?);
        if let Ok(mut all) = self.0.latest.lock() {
            all.insert(group.to_owned(), Arc::clone(&latest));
        }
        Ok(Some(latest))
    }

    fn known(&self, group: &str, audit: &Audit) -> Option<Arc<Latest>> {
        let all = self.0.latest.lock().ok()?;
        all.get(group).filter(|latest| latest.audit.id == audit.id).cloned()
    }

    /// Like [`StoreReader::latest`], where there must have been one.
    async fn audited(&self, group: &str) -> Result<(Current, Group, Arc<Latest>), ReadError> {
        let (current, config) = self.configured(group)?;
        let latest = self.latest(group).await?;
        let latest = latest.ok_or_else(|| {
            ReadError::NotFound(format!(
                "audit of {} that ended with a report yet",
                crate::text::short(group, 60)
            ))
        })?;
        Ok((current, config, latest))
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Failed(crate::text::sanitise(&error.to_string()).into_owned())
    }
}

/// Of when a group's last audit is, and until when the next one is not overdue.
fn freshness(group: &Group, audit: &Audit, latest: &Latest, now: Timestamp) -> Freshness {
    let as_of = latest.report.generated_at;
    let due = group
        .schedule()
        .due(Some(audit.scheduled_for), as_of.max(audit.scheduled_for));
    let took = audit
        .ended_at
        .map_or_else(Default::default, |ended| ended.duration_since(audit.started_at));
    // The next one takes its time too, and may take twice that.
    let grace = took
        .saturating_mul(2)
        .saturating_add(jiff::SignedDuration::from_secs(60));
    Freshness {
        as_of: Some(as_of),
        shown_at: now,
        current_until: due.at.saturating_add(grace).ok(),
    }
}

impl Reader for StoreReader {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn fleet(&self) -> Result<Fleet, ReadError> {
        let shown_at = Timestamp::now();
        let mut groups = Vec::new();
        for group in &self.current().config.groups {
            groups.push(self.group_view(&group.name, shown_at).await?);
        }
        Ok(Fleet { shown_at, groups })
    }

    async fn group(&self, group: &str) -> Result<GroupView, ReadError> {
        self.group_view(group, Timestamp::now()).await
    }

    async fn pair(&self, group: &str, a: &str, b: &str) -> Result<PairView, ReadError> {
        self.pair_view(group, a, b).await
    }

    async fn cluster(&self, group: &str, cluster: &str) -> Result<ClusterView, ReadError> {
        self.cluster_view(group, cluster).await
    }

    async fn findings(&self, group: &str, filter: &FindingFilter) -> Result<FindingList, ReadError> {
        self.finding_list(group, filter).await
    }

    async fn finding(&self, group: &str, key: &str) -> Result<FindingView, ReadError> {
        self.finding_view(group, key).await
    }

    async fn addresses(&self, group: &str) -> Result<AddressSpace, ReadError> {
        self.address_space(group).await
    }

    async fn paths(&self, group: &str, filter: &PathFilter) -> Result<PathsView, ReadError> {
        self.paths_view(group, filter).await
    }

    async fn audits(&self, filter: &AuditFilter) -> Result<AuditList, ReadError> {
        self.audit_list(filter).await
    }

    async fn audit(&self, id: &str) -> Result<AuditView, ReadError> {
        self.audit_view(id).await
    }

    async fn drift(&self, group: &str) -> Result<DriftView, ReadError> {
        self.drift_view(group).await
    }

    fn changes(&self) -> broadcast::Receiver<Changed> {
        self.0.changes.subscribe()
    }
}
