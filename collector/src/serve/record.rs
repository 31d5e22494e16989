//! What an audit found, written so that it is seen whole or not at all.

use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Coverage, Report, Summary, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::audits::{Ending, Taken};
use super::store::documents::Kind;
use super::store::{Store, StoreError, damaged};
use crate::load::Bundle;

/// What lists show of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outline {
    /// The worst verdict of all findings that count.
    pub verdict: Verdict,
    /// What the clusters were judged for.
    pub profiles: Vec<Profile>,
    /// The names of the clusters.
    pub clusters: Vec<String>,
    /// Clusters of which nothing could be read.
    pub unreachable: Vec<String>,
    /// Findings by verdict.
    pub summary: Summary,
    /// How much was known.
    pub coverage: Coverage,
    /// Agents that were to probe, and those that did to the end.
    pub agents: Agents,
}

/// Agents expected and heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agents {
    /// Were to probe.
    pub expected: u64,
    /// Did, to the end.
    pub heard: u64,
}

impl Outline {
    /// Of what an audit found.
    pub fn of(bundle: &Bundle, report: &Report) -> Self {
        let agents = bundle.observations.iter().flat_map(|seen| &seen.agents);
        let heard = agents.clone().filter(|agent| agent.failure.is_none()).count();
        let unreachable = report.clusters.iter().filter(|cluster| cluster.unreachable.is_some());
        Self {
            verdict: report.verdict,
            profiles: report.profiles.clone(),
            clusters: report.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
            unreachable: unreachable.map(|cluster| cluster.name.clone()).collect(),
            summary: report.summary,
            coverage: report.coverage.clone(),
            agents: Agents {
                expected: agents.count() as u64,
                heard: heard as u64,
            },
        }
    }
}

/// Writes all that an audit found. Until this is done nothing of it is shown; after a failure nothing ever is.
pub async fn record(store: &Store, taken: &Taken, bundle: &Bundle, report: &Report) -> Result<(), StoreError> {
    // Parts mean nothing by themselves, and are many: written before, they keep others waiting for a shorter time.
    let mut documents = Vec::new();
    for facts in &bundle.clusters {
        documents.push(store.prepare(Kind::Facts, &facts.name, facts).await?);
    }
    if let Some(observations) = &bundle.observations {
        documents.push(store.prepare(Kind::Observations, "", observations).await?);
    }
    if let Some(asked) = &bundle.audit {
        documents.push(store.prepare(Kind::Asked, "", asked).await?);
    }
    documents.push(store.prepare(Kind::Report, "", report).await?);
    let outline = Outline::of(bundle, report);
    let ending = Ending {
        at: jiff::Timestamp::now(),
        verdict: report.verdict.to_string(),
        exit_code: report.exit_code,
        summary: serde_json::to_string(&outline).map_err(|error| damaged("an audit's outline", &error))?,
    };
    let mut tx = store.write().await?;
    for document in documents {
        store.put(&mut tx, taken, document).await?;
    }
    store.end(&mut tx, taken, &ending).await?;
    Ok(tx.commit().await?)
}

/// All that an audit's report was made of; none if it is too old to be kept.
pub async fn bundle(store: &Store, audit: &str) -> Result<Option<Bundle>, StoreError> {
    let mut clusters = Vec::new();
    for name in store.document_names(audit, Kind::Facts).await? {
        clusters.extend(store.document(audit, Kind::Facts, &name).await?);
    }
    if clusters.is_empty() {
        return Ok(None);
    }
    Ok(Some(Bundle {
        schema: crate::load::BUNDLE_SCHEMA.to_owned(),
        clusters,
        audit: store.document(audit, Kind::Asked, "").await?,
        observations: store.document(audit, Kind::Observations, "").await?,
    }))
}
