//! What an audit found, written so that it is seen whole or not at all: facts, observations and report, and what follows from them together with what
//! was known before: the lives of findings, what changed against the baseline, what measurements of paths mean, who is silent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::engine;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::history::drift::{self, Drift, DriftLine, Judging, Side};
use prejoin_checks::history::excursion::{self, Budget, Judgement};
use prejoin_checks::history::life::{Event, Life};
use prejoin_checks::history::lives::Lives;
use prejoin_checks::history::measure::{self, Measure};
use prejoin_checks::history::silence::{self, Attendance, Roster};
use prejoin_checks::policy::Policy;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Coverage, Report, Summary, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alerts::notice::NoLinks;
use super::alerts::{Round, Target};
use super::config::Group;
use super::store::audits::{Ending, Taken};
use super::store::baselines::Baseline;
use super::store::documents::Kind;
use super::store::measures::Measured;
use super::store::{Store, StoreError, damaged};
use super::view::cluster::AgentRow;
use super::view::path;
use crate::load::{Asked, Bundle};

/// Who accepted a baseline that nobody did.
const FIRST_TO_PASS: &str = "first audit that passed";

/// What lists show of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outline {
    /// The worst verdict of all findings that count.
    pub verdict: Verdict,
    /// What the clusters were judged for.
    pub profiles: Vec<Profile>,
    /// Findings by verdict.
    pub summary: Summary,
    /// How much was known.
    pub coverage: Coverage,
    /// Agents that were expected, and those that took part to the end.
    pub agents: Agents,
}

/// Agents expected and heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agents {
    /// Those that the audit planned for, and those heard before whose nodes are still there.
    pub expected: u64,
    /// Those that answered to the end.
    pub heard: u64,
}

impl Outline {
    fn of(report: &Report, attendance: &[Attendance]) -> Self {
        Self {
            verdict: report.verdict,
            profiles: report.profiles.clone(),
            summary: report.summary,
            coverage: report.coverage.clone(),
            agents: Agents {
                expected: attendance.iter().map(|cluster| cluster.expected).sum(),
                heard: attendance.iter().map(|cluster| cluster.heard).sum(),
            },
        }
    }
}

/// What an audit found, with what follows from it.
pub struct Found {
    /// All that the report was made of.
    pub bundle: Bundle,
    /// The report.
    pub report: Report,
    /// What happened to findings.
    pub events: Vec<Event>,
    /// All findings after it.
    pub lives: Vec<Life>,
    measures: Vec<(Measured, Judgement)>,
    roster: Roster,
    attendance: Vec<Attendance>,
    /// The baseline that it was held against, and what changed.
    drift: Option<(String, Drift)>,
    /// What of that was not there in the audit before.
    changes: Vec<DriftLine>,
}

/// Works out what follows from what an audit found together with what was known before.
pub async fn follow(store: &Store, group: &Group, bundle: Bundle, report: Report) -> Result<Found, StoreError> {
    let at = report.generated_at;
    let mut lives: Lives = store
        .lives(&group.name)
        .await?
        .into_iter()
        .map(|kept| kept.life)
        .collect();
    let names: BTreeSet<String> = bundle.clusters.iter().map(|facts| facts.name.clone()).collect();
    let mut roster = store.roster(&group.name).await?;
    let attendance = roster.record(at, &bundle.clusters, bundle.observations.as_deref());
    // An agent that was heard before and is not even expected any more is nothing that an audit by itself could know.
    let silent = silence::findings(&attendance, &report);
    let policy = policy(&bundle, &report);
    let report = engine::with_findings(report, silent, &policy);
    let mut events = lives.keep_clusters(at, &names);
    events.extend(lives.record(at, &report));
    let measures = measured(store, group, &report).await?;
    let before = store.drift(&group.name).await?;
    let accepted = accepted(store, group).await?;
    let comparing = tokio::task::spawn_blocking(move || {
        let drift = accepted.map(|accepted| {
            let mut drift = accepted.drift(&bundle, &report);
            if let Some((_, before)) = before.filter(|(baseline, _)| *baseline == accepted.audit) {
                drift.carry(&before);
            }
            (accepted.audit, drift)
        });
        (bundle, report, drift)
    });
    let (bundle, report, drift) = comparing.await.map_err(|error| damaged("what changed", &error))?;
    let lines = drift.iter().flat_map(|(_, drift)| &drift.lines);
    let changes = lines.filter(|line| line.first_seen >= at).cloned().collect();
    Ok(Found {
        changes,
        bundle,
        report,
        events,
        lives: lives.into_iter().collect(),
        measures,
        roster,
        attendance,
        drift,
    })
}

/// How an audit was judged.
fn policy(bundle: &Bundle, report: &Report) -> Policy {
    let asked = bundle.audit.as_deref();
    asked.map_or_else(
        || Policy::new(report.profiles.clone(), report.generated_at),
        Asked::policy,
    )
}

/// The state that was accepted.
struct Accepted {
    audit: String,
    clusters: Vec<ClusterFacts>,
    report: Report,
}

async fn accepted(store: &Store, group: &Group) -> Result<Option<Accepted>, StoreError> {
    let Some(baseline) = store.baseline(&group.name).await? else {
        return Ok(None);
    };
    let (bundle, report) = (
        bundle(store, &baseline.audit).await?,
        store.document(&baseline.audit, Kind::Report, "").await?,
    );
    // Both are kept as long as the baseline is.
    let both = bundle
        .zip(report)
        .ok_or_else(|| damaged("the baseline", &"its documents are gone"))?;
    Ok(Some(Accepted {
        audit: baseline.audit,
        clusters: both.0.clusters,
        report: both.1,
    }))
}

impl Accepted {
    fn drift(&self, bundle: &Bundle, report: &Report) -> Drift {
        let asked = bundle.audit.as_deref();
        let intent = asked.map(|asked| asked.intent.clone()).unwrap_or_default();
        let policy = policy(bundle, report);
        drift::drift(
            Side {
                clusters: &self.clusters,
                report: &self.report,
            },
            Side {
                clusters: &bundle.clusters,
                report,
            },
            Judging {
                observations: bundle.observations.as_deref(),
                intent: &intent,
                policy: &policy,
            },
        )
    }
}

/// What was measured between clusters, and what that means.
async fn measured(store: &Store, group: &Group, report: &Report) -> Result<Vec<(Measured, Judgement)>, StoreError> {
    let points = path::points(report);
    let now = measure::measures(report);
    let budget = Budget {
        round_trip_micros: group
            .round_trip_budget
            .and_then(|budget| u64::try_from(budget.0.as_micros()).ok()),
        ..Budget::default()
    };
    let until = report.generated_at;
    let since = until
        .checked_sub(SignedDuration::from_hours(24 * excursion::MOST_DAYS))
        .unwrap_or(until);
    let mut all = Vec::new();
    let mut past: BTreeMap<_, Vec<Measure>> = BTreeMap::new();
    for (way, measure) in &now {
        let known = store.measures(&group.name, way, (since, until)).await?;
        let mut series: Vec<Measure> = known.into_iter().map(|measured| measured.measure).collect();
        series.push(measure.clone());
        past.insert(way.clone(), series);
    }
    for (way, measure) in now {
        let forth = past.get(&way).map(Vec::as_slice).unwrap_or_default();
        let back = past.get(&way.back()).map(Vec::as_slice).unwrap_or_default();
        let Some(judgement) = excursion::judge(forth, back, &budget) else {
            continue;
        };
        let point = points.get(&(way.from.clone(), way.to.clone()));
        let node_pairs = point.map_or(0, |point| point.node_pairs);
        all.push((
            Measured {
                way,
                node_pairs,
                measure,
            },
            judgement,
        ));
    }
    Ok(all)
}

/// Who is told of an audit.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Where alerts go.
    pub targets: &'a [Target],
    /// Until when what it found is to be believed.
    pub until: Timestamp,
}

/// Writes all that an audit found. Until this is done nothing of it is shown; after a failure nothing ever is.
pub async fn record(store: &Store, taken: &Taken, found: &Found, told: &Told<'_>) -> Result<(), StoreError> {
    let Found { bundle, report, .. } = found;
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
    documents.push(store.prepare(Kind::Agents, "", &agents(found)).await?);
    let outline = Outline::of(report, &found.attendance);
    let ending = Ending {
        at: Timestamp::now(),
        verdict: report.verdict.to_string(),
        exit_code: report.exit_code,
        summary: serde_json::to_string(&outline).map_err(|error| damaged("an audit's outline", &error))?,
    };
    let baseline = store.baseline(&taken.group).await?;
    let mut tx = store.write().await?;
    for document in documents {
        store.put(&mut tx, taken, document).await?;
    }
    for life in &found.lives {
        store.put_life(&mut tx, &taken.group, life).await?;
    }
    store.put_events(&mut tx, taken, &found.events).await?;
    for (measured, judgement) in &found.measures {
        store.put_measure(&mut tx, taken, measured, judgement).await?;
    }
    store.put_roster(&mut tx, &taken.group, &found.roster).await?;
    let round = Round {
        group: &taken.group,
        audit: &taken.id,
        at: report.generated_at,
        until: told.until,
        events: &found.events,
        lives: &found.lives,
        changes: &found.changes,
        links: &NoLinks,
    };
    for target in told.targets {
        if let Some(notice) = target.notice(Uuid::now_v7().to_string(), &round) {
            let notice = serde_json::to_string(&notice).map_err(|error| damaged("a notice", &error))?;
            store.post(&mut tx, taken, &target.name, ending.at, &notice).await?;
        }
    }
    match (&found.drift, baseline) {
        (Some((baseline, drift)), _) => store.put_drift(&mut tx, &taken.group, baseline, drift).await?,
        (None, None) if passes(report) => {
            let first = Baseline {
                audit: taken.id.clone(),
                by: FIRST_TO_PASS.to_owned(),
                at: ending.at,
                note: String::new(),
            };
            store.accept(&mut tx, &taken.group, &first).await?;
        }
        (None, _) => {}
    }
    store.end(&mut tx, taken, &ending).await?;
    Ok(tx.commit().await?)
}

/// Whether a report is good enough to hold later ones against: nothing fails, nothing is unknown, and warnings are accepted by its own policy.
fn passes(report: &Report) -> bool {
    report.exit_code == 0 && matches!(report.verdict, Verdict::Pass | Verdict::Warn)
}

/// Every agent that was expected, by cluster.
fn agents(found: &Found) -> BTreeMap<String, Vec<AgentRow>> {
    let mut clusters = BTreeMap::new();
    for attendance in &found.attendance {
        let heard = found.roster.clusters.get(&attendance.cluster).into_iter().flatten();
        let mut rows: Vec<AgentRow> = heard
            .filter(|(_, heard)| heard.silent_since.is_none())
            .map(|(name, heard)| AgentRow {
                node: name.clone(),
                heard: true,
                version: String::new(),
                why: String::new(),
                last_heard: Some(heard.last),
            })
            .collect();
        rows.extend(attendance.silent.iter().map(|silent| AgentRow {
            node: silent.agent.clone(),
            heard: false,
            version: String::new(),
            why: silent.why.clone(),
            last_heard: silent.last_heard,
        }));
        rows.sort_by(|a, b| a.node.cmp(&b.node));
        clusters.insert(attendance.cluster.clone(), rows);
    }
    let seen = found.bundle.observations.iter();
    for (agent, report) in seen.flat_map(|seen| seen.plan.agents.iter().zip(&seen.agents)) {
        let rows = clusters.get_mut(&agent.cluster).into_iter().flatten();
        for row in rows.filter(|row| row.node == agent.node) {
            row.version.clone_from(&report.version);
        }
    }
    clusters
}

/// All that an audit's report was made of; none if it is too old to be kept.
pub async fn bundle(store: &Store, audit: &str) -> Result<Option<Bundle>, StoreError> {
    let report: Option<Report> = store.document(audit, Kind::Report, "").await?;
    let Some(report) = report else { return Ok(None) };
    let mut clusters = Vec::new();
    // In the order of the report, which is part of what it gives.
    for cluster in &report.clusters {
        clusters.extend(store.document(audit, Kind::Facts, &cluster.name).await?);
    }
    Ok(Some(Bundle {
        schema: crate::load::BUNDLE_SCHEMA.to_owned(),
        clusters,
        audit: store.document(audit, Kind::Asked, "").await?,
        observations: store.document(audit, Kind::Observations, "").await?,
    }))
}
