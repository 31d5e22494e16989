//! One cluster, two clusters, and the addresses of all.

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::intent::Intent;
use prejoin_checks::report::{Finding, Verdict};

use super::group::agents_of;
use super::latest::{Latest, key};
use super::{StoreReader, freshness};
use crate::load::Asked;
use crate::serve::store::documents::Kind;
use crate::serve::view::cluster::pairs;
use crate::serve::view::finding::concerning;
use crate::serve::view::pair::ProfileVerdict;
use crate::serve::view::reader::Read;
use crate::serve::view::{
    AddressSpace, ClusterView, FindingLine, FlowLine, Freshness, NodeMatrix, PairView, ReadError,
};
use crate::text;

/// The paths of a pair are shown over so long.
const SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

impl StoreReader {
    /// One cluster of a group.
    pub(super) async fn cluster_view(&self, name: &str, cluster: &str) -> Read<ClusterView> {
        let (current, group, latest) = self.audited(name).await?;
        let now = Timestamp::now();
        let summary = latest.report.clusters.iter().find(|known| known.name == cluster);
        let summary = summary.cloned().ok_or_else(|| no_cluster(cluster))?;
        let found = concerning(&latest.report, cluster, None);
        let (findings, passed) = lines(&latest, &found);
        let freshness = freshness(&group, &latest.audit, &latest, now);
        let facts: Option<ClusterFacts> = self.store().document(&latest.audit.id, Kind::Facts, cluster).await?;
        let intent = self.intent(&latest).await?;
        let ranges = facts.map(|facts| space(name, freshness, &[facts], &intent, &latest).of_cluster(cluster));
        Ok(ClusterView {
            group: name.to_owned(),
            freshness,
            audit: Some(latest.audit.id.clone()),
            summary,
            connection: self.connection(&current.file, &group, cluster),
            agents: agents_of(&latest, cluster),
            agent_list: latest.agents.get(cluster).cloned().unwrap_or_default(),
            pairs: pairs(&latest.report, cluster),
            findings,
            passed,
            ranges: ranges.unwrap_or_default(),
        })
    }

    /// Two clusters of a group.
    pub(super) async fn pair_view(&self, name: &str, a: &str, b: &str) -> Read<PairView> {
        let (_, group, latest) = self.audited(name).await?;
        let now = Timestamp::now();
        let is_there = |cluster: &str| latest.report.clusters.iter().any(|known| known.name == cluster);
        if let Some(missing) = [a, b].into_iter().find(|cluster| !is_there(cluster)) {
            return Err(no_cluster(missing));
        }
        if a == b {
            return Err(ReadError::NotFound("pair of a cluster with itself".to_owned()));
        }
        let found = concerning(&latest.report, a, Some(b));
        let (findings, passed) = lines(&latest, &found);
        let verdicts = latest.matrices.iter().filter_map(|matrix| {
            Some(ProfileVerdict {
                profile: matrix.profile,
                verdict: matrix.between(a, b)?,
            })
        });
        let verdicts = verdicts.collect();
        let since = now.saturating_sub(SHOWN).unwrap_or(now);
        Ok(PairView {
            group: name.to_owned(),
            a: a.to_owned(),
            b: b.to_owned(),
            freshness: freshness(&group, &latest.audit, &latest, now),
            audit: Some(latest.audit.id.clone()),
            verdicts,
            findings,
            passed,
            nodes: vec![
                NodeMatrix::between(&latest.report, a, b),
                NodeMatrix::between(&latest.report, b, a),
            ],
            flows: FlowLine::between(&latest.report, a, b),
            series: self.series(&group, (a, b), (since, now)).await?,
        })
    }

    /// Every range of every cluster of a group.
    pub(super) async fn address_space(&self, name: &str) -> Read<AddressSpace> {
        let (_, group, latest) = self.audited(name).await?;
        let freshness = freshness(&group, &latest.audit, &latest, Timestamp::now());
        let read = latest.space.get_or_try_init(|| async {
            let mut facts: Vec<ClusterFacts> = Vec::new();
            for cluster in &latest.report.clusters {
                let of_it = self.store().document(&latest.audit.id, Kind::Facts, &cluster.name);
                facts.extend(of_it.await?);
            }
            let intent = self.intent(&latest).await?;
            Ok::<_, ReadError>(space(name, freshness, &facts, &intent, &latest))
        });
        Ok(AddressSpace {
            freshness,
            ..read.await?.clone()
        })
    }

    async fn intent(&self, latest: &Latest) -> Read<Intent> {
        let asked: Option<Asked> = self.store().document(&latest.audit.id, Kind::Asked, "").await?;
        Ok(asked.map(|asked| asked.intent).unwrap_or_default())
    }
}

fn space(group: &str, freshness: Freshness, facts: &[ClusterFacts], intent: &Intent, latest: &Latest) -> AddressSpace {
    AddressSpace::of(group, freshness, facts, intent, &latest.report, key)
}

/// What is neither pass nor skip, and how much passes.
fn lines(latest: &Latest, found: &[&Finding]) -> (Vec<FindingLine>, u64) {
    let count = |verdict| found.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    let shown = found
        .iter()
        .filter(|finding| !matches!(finding.verdict, Verdict::Pass | Verdict::Skip));
    (
        shown.map(|finding| latest.line(finding)).collect(),
        count(Verdict::Pass),
    )
}

fn no_cluster(name: &str) -> ReadError {
    ReadError::NotFound(format!("cluster {} in that audit", text::short(name, 60)))
}
