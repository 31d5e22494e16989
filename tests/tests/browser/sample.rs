//! A collector's views without a collector: sample clusters judged by the real engine, with a history around them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::diff::Change;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::intent::Intent;
use prejoin_checks::policy::Probe;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Finding, Report, Verdict};
use prejoin_checks::samples;
use prejoin_checks::samples::fleet::faulty_fleet;
use prejoin_checks::samples::network::{observed_report, silence};
use prejoin_collector::report::headlines;
use prejoin_collector::serve::view::audit::{
    AuditFilter, AuditLine, AuditState, ClusterProgress, Progress, ReadState, Step, Trigger,
};
use prejoin_collector::serve::view::cluster::{AgentRow, pairs};
use prejoin_collector::serve::view::drift::{BaselineView, DriftLine, Effect};
use prejoin_collector::serve::view::finding::{FindingFilter, LifeEvent, LifeState, concerning};
use prejoin_collector::serve::view::fleet::{AgentCount, ChangeKind, ClusterRow, Connection, GroupChange};
use prejoin_collector::serve::view::pair::ProfileVerdict;
use prejoin_collector::serve::view::path::{
    ClockPoint, Excursion, Measure, PathBudget, PathFilter, PathLine, PathPoint, RoundTripPoint,
};
use prejoin_collector::serve::view::reader::{Read, Waiving};
use prejoin_collector::serve::view::{
    Actions, AddressSpace, AuditList, AuditView, Changed, ClusterView, DriftView, FindingLine, FindingList,
    FindingView, Fleet, FlowLine, Freshness, Group, Life, NodeMatrix, PairMatrix, PairView, PathSeries, PathsView,
    ReadError, Reader,
};
use tokio::sync::broadcast;

/// The audit that all samples show.
pub(crate) const AUDIT: &str = "0199-4c2e";
/// An audit that runs.
pub(crate) const RUNNING: &str = "0199-4c2f";
/// The group.
pub(crate) const GROUP: &str = "production";

/// One group of clusters with what a collector would know of it.
pub(crate) struct Sample {
    group: String,
    facts: Vec<ClusterFacts>,
    report: Report,
    changes: broadcast::Sender<Changed>,
    /// How long after the audit the pages are looked at.
    later: SignedDuration,
}

/// Two clusters with three causes: another tunnel protocol, a node that does not receive, a pod range in the other's.
pub(crate) fn two() -> Arc<Sample> {
    let mut west = samples::cilium("west", 2);
    samples::set_cilium_key(&mut west, "tunnel-protocol", Some("geneve"));
    west.declared = vec![samples::declared(prejoin_checks::facts::RangeKind::Pods, "10.8.0.0/13")];
    probed(vec![samples::cilium("east", 1), west])
}

/// Three clusters whose names want to be markup, and to turn what follows around.
pub(crate) fn hostile() -> Arc<Sample> {
    let mut third = samples::cilium("c\u{202e}txet", 3);
    samples::set_cilium_key(&mut third, "tunnel-protocol", Some("geneve"));
    probed(vec![
        samples::cilium("<script>document.title='owned'</script>", 1),
        samples::cilium("\"><img src=x onerror=document.title='owned'>/../..", 2),
        third,
    ])
}

/// A hundred clusters, some with faults.
pub(crate) fn hundred() -> Arc<Sample> {
    let facts = faulty_fleet(100, 5);
    let report = samples::report(Profile::Clustermesh, &facts);
    Sample::new(facts, report)
}

/// Clusters with an agent on every node, of which the last receives no datagrams.
fn probed(facts: Vec<ClusterFacts>) -> Arc<Sample> {
    let facts: Vec<ClusterFacts> = facts.into_iter().map(samples::with_agents).collect();
    let deaf = facts
        .get(1)
        .and_then(|facts| facts.nodes.ok()?.last())
        .map(|node| node.name.clone())
        .unwrap_or_default();
    let report = observed_report(
        Profile::Clustermesh,
        &facts,
        &Intent::default(),
        |_, to, what, result| {
            if to == deaf && what.starts_with("UDP") {
                silence(result);
            }
        },
    );
    Sample::new(facts, report)
}

/// What the store calls a finding: of a pair of samples, something without spaces.
fn key(finding: &Finding) -> String {
    let names = [finding.subject.clusters.join(","), finding.subject.nodes.join(",")].concat();
    let sum = names
        .bytes()
        .fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("{}-{sum:08x}", finding.code)
}

impl Sample {
    fn new(facts: Vec<ClusterFacts>, report: Report) -> Arc<Self> {
        Arc::new(Self {
            group: GROUP.to_owned(),
            facts,
            report,
            changes: broadcast::channel(16).0,
            later: SignedDuration::from_mins(4),
        })
    }

    /// The same, looked at so much later.
    pub(crate) fn later(self: Arc<Self>, later: SignedDuration) -> Arc<Self> {
        Arc::new(Self {
            group: self.group.clone(),
            facts: self.facts.clone(),
            report: self.report.clone(),
            changes: broadcast::channel(16).0,
            later,
        })
    }

    /// The names of its clusters.
    pub(crate) fn clusters(&self) -> Vec<String> {
        self.facts.iter().map(|facts| facts.name.clone()).collect()
    }

    /// The name of a finding that fails.
    pub(crate) fn failing(&self) -> String {
        self.report
            .findings
            .iter()
            .find(|finding| finding.verdict == Verdict::Fail)
            .map(key)
            .unwrap_or_default()
    }

    /// Tells pages that something has changed.
    pub(crate) fn tell(&self, audit: Option<&str>) {
        let _ = self.changes.send(Changed {
            group: self.group.clone(),
            audit: audit.map(str::to_owned),
        });
    }

    /// Whether a page listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    fn ago(&self, minutes: i64) -> Timestamp {
        self.report.generated_at - SignedDuration::from_mins(minutes)
    }

    fn freshness(&self) -> Freshness {
        Freshness {
            as_of: Some(self.report.generated_at),
            shown_at: self.now(),
            current_until: Some(self.ago(-70)),
        }
    }

    fn check(&self, group: &str) -> Read<()> {
        if group == self.group {
            Ok(())
        } else {
            Err(ReadError::no_group(group))
        }
    }

    fn life(&self, finding: &Finding) -> Option<Life> {
        finding.counts().then(|| {
            let (state, first, changes) = match finding.code.as_str() {
                "CM302" => (LifeState::New, 0, 1),
                "NET101" => (LifeState::Open, 60 * 24 * 9, 1),
                code if code.starts_with("CM8") || code.starts_with("CM5") => (LifeState::Flapping, 60 * 7, 5),
                _ => (LifeState::Open, 60 * 26, 1),
            };
            Life {
                state,
                first_seen: self.ago(first),
                last_seen: self.ago(0),
                since: self.ago(first.min(60)),
                resolved_at: None,
                changes,
                times_seen: u64::try_from(first / 60 + 1).unwrap_or(1),
            }
        })
    }

    fn line(&self, finding: &Finding) -> FindingLine {
        let pairs = match finding.subject.clusters.len() as u64 {
            0 | 1 => self.facts.len() as u64 - 1,
            clusters => clusters - 1,
        };
        FindingLine {
            life: self.life(finding),
            ..FindingLine::of(finding, key(finding), pairs)
        }
    }

    fn causes(&self) -> Vec<FindingLine> {
        [Verdict::Fail, Verdict::Unknown, Verdict::Warn]
            .into_iter()
            .flat_map(|verdict| self.report.causes(verdict))
            .map(|cause| self.line(cause[0]))
            .collect()
    }

    fn counting(&self, findings: Vec<&Finding>) -> (Vec<FindingLine>, u64) {
        let passed = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Pass)
            .count() as u64;
        (
            findings
                .into_iter()
                .filter(|finding| finding.counts())
                .map(|finding| self.line(finding))
                .collect(),
            passed,
        )
    }

    fn agent_rows(&self, cluster: &ClusterFacts) -> Vec<AgentRow> {
        let silent = self.facts.iter().position(|facts| facts.name == cluster.name) == Some(6);
        let nodes = cluster.nodes.ok().into_iter().flatten();
        nodes
            .enumerate()
            .map(|(place, node)| AgentRow {
                node: node.name.clone(),
                heard: !(silent && place == 2),
                version: "0.1.0".to_owned(),
                why: if silent && place == 2 {
                    "did not answer within 10 s".to_owned()
                } else {
                    String::new()
                },
                last_heard: Some(self.ago(if silent && place == 2 { 185 } else { 0 })),
            })
            .collect()
    }

    fn agents_of(&self, cluster: &ClusterFacts) -> AgentCount {
        let rows = self.agent_rows(cluster);
        AgentCount {
            heard: rows.iter().filter(|row| row.heard).count() as u64,
            expected: rows.len() as u64,
        }
    }

    fn connection(&self, place: usize) -> Connection {
        match place {
            6 => Connection::Disconnected {
                last_heard: Some(self.ago(185)),
            },
            place if place % 4 == 3 => Connection::Kubeconfig {
                context: self.facts[place].name.clone(),
            },
            _ => Connection::Connected {
                since: self.ago(60 * 24 * 3),
                version: "0.1.0".to_owned(),
            },
        }
    }

    fn recent(&self) -> Vec<GroupChange> {
        let mut changes: Vec<GroupChange> = self
            .causes()
            .into_iter()
            .take(4)
            .zip([0, 120, 420, 900])
            .map(|(line, minutes)| GroupChange {
                at: self.ago(minutes),
                kind: ChangeKind::Appeared,
                text: format!(
                    "{} {}: {}",
                    line.code,
                    line.title,
                    line.clusters.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
                ),
                before: Some(Verdict::Pass),
                after: Some(line.verdict),
                finding: Some(line.key),
                audit: AUDIT.to_owned(),
            })
            .collect();
        changes.push(GroupChange {
            at: self.ago(1_000),
            kind: ChangeKind::Resolved,
            text: "CM401 Encryption is not the same everywhere".to_owned(),
            before: Some(Verdict::Fail),
            after: Some(Verdict::Pass),
            finding: None,
            audit: AUDIT.to_owned(),
        });
        changes
    }

    fn group_view(&self) -> Group {
        let matrices = PairMatrix::all(&self.report);
        let agents: Vec<AgentCount> = self.facts.iter().map(|facts| self.agents_of(facts)).collect();
        Group {
            name: self.group.clone(),
            profiles: self.report.profiles.clone(),
            freshness: self.freshness(),
            audit: Some(AUDIT.to_owned()),
            verdict: self.report.verdict,
            headline: headlines(&self.report).join("\n"),
            summary: self.report.summary,
            coverage: self.report.coverage.clone(),
            agents: AgentCount {
                heard: agents.iter().map(|agents| agents.heard).sum(),
                expected: agents.iter().map(|agents| agents.expected).sum(),
            },
            clusters: self
                .report
                .clusters
                .iter()
                .enumerate()
                .map(|(place, summary)| ClusterRow {
                    summary: summary.clone(),
                    verdict: matrices[0].worst(place).unwrap_or(Verdict::Unknown),
                    agents: agents[place],
                    connection: self.connection(place),
                })
                .collect(),
            matrices,
            causes: self.causes(),
            changes: self.recent(),
            schedule: Some("every hour at minute 0 (Europe/Zurich)".to_owned()),
            next_run: Some(self.ago(-60)),
            running: None,
            last_failure: None,
        }
    }

    /// A day of audits every 15 minutes: a step in the round trip, some loss, a hole in the MTU, a clock that drifts, an hour without audits.
    fn series(&self, from: &str, to: &str) -> PathSeries {
        let points = (0..96_u64).rev().filter(|turn| !(40..44).contains(turn));
        let points = points.map(|turn| {
            let noise = (turn * 2_654_435_761) % 97;
            let base = if turn < 30 { 2_100 } else { 420 };
            PathPoint {
                at: self.ago(i64::try_from(turn).unwrap_or(0) * 15),
                node_pairs: 4,
                round_trip: (turn != 55).then_some(RoundTripPoint {
                    min_micros: base - 60,
                    median_micros: base + noise,
                    p95_micros: base + 150 + noise * 4,
                    samples: 40,
                }),
                sent: 40,
                lost: if turn == 55 { 40 } else { u64::from(noise > 88) },
                path_mtu: Some(if (10..18).contains(&turn) { 1_400 } else { 1_500 }),
                clock: Some(ClockPoint {
                    offset_micros: 40 + i64::try_from((96 - turn) * 9 + noise).unwrap_or(0),
                    bound_micros: 175,
                }),
            }
        });
        PathSeries {
            from: from.to_owned(),
            to: to.to_owned(),
            points: points.collect(),
            budget: PathBudget {
                round_trip_micros: Some(5_000),
                path_mtu: Some(1_450),
                clock_micros: Some(50_000),
            },
            excursions: vec![
                Excursion {
                    measure: Measure::RoundTrip,
                    since: self.ago(29 * 15),
                    until: None,
                    verdict: Verdict::Warn,
                    text: "minimum 2.04 ms, 0.36 ms before (40 samples each): a route change".to_owned(),
                },
                Excursion {
                    measure: Measure::PathMtu,
                    since: self.ago(17 * 15),
                    until: Some(self.ago(9 * 15)),
                    verdict: Verdict::Fail,
                    text: "1400 bytes, 1450 needed: a hole in the path MTU".to_owned(),
                },
            ],
        }
    }

    fn audit_line(&self, id: &str, minutes: i64, state: AuditState, verdict: Option<Verdict>) -> AuditLine {
        AuditLine {
            id: id.to_owned(),
            group: self.group.clone(),
            state,
            trigger: if minutes == 0 {
                Trigger::User { name: "kim".to_owned() }
            } else {
                Trigger::Schedule
            },
            started_at: Some(self.ago(minutes) - SignedDuration::from_secs(42)),
            ended_at: (state != AuditState::Running).then(|| self.ago(minutes)),
            verdict,
            summary: verdict.map(|_| self.report.summary),
            failure: (state == AuditState::Failed).then(|| "the store is full".to_owned()),
        }
    }
}

impl Reader for Sample {
    fn now(&self) -> Timestamp {
        self.report.generated_at + self.later
    }

    async fn fleet(&self) -> Read<Fleet> {
        Ok(Fleet {
            shown_at: self.now(),
            groups: vec![self.group_view()],
        })
    }

    async fn group(&self, group: &str) -> Read<Group> {
        self.check(group)?;
        Ok(self.group_view())
    }

    async fn pair(&self, group: &str, a: &str, b: &str) -> Read<PairView> {
        self.check(group)?;
        let verdicts: Vec<ProfileVerdict> = PairMatrix::all(&self.report)
            .iter()
            .filter_map(|matrix| {
                Some(ProfileVerdict {
                    profile: matrix.profile,
                    verdict: matrix.between(a, b)?,
                })
            })
            .collect();
        if verdicts.is_empty() {
            return Err(ReadError::NotFound("such pair".to_owned()));
        }
        let (findings, passed) = self.counting(concerning(&self.report, a, Some(b)));
        Ok(PairView {
            group: self.group.clone(),
            a: a.to_owned(),
            b: b.to_owned(),
            freshness: self.freshness(),
            audit: Some(AUDIT.to_owned()),
            verdicts,
            findings,
            passed,
            nodes: vec![
                NodeMatrix::between(&self.report, a, b),
                NodeMatrix::between(&self.report, b, a),
            ],
            flows: FlowLine::between(&self.report, a, b),
            series: vec![self.series(a, b), self.series(b, a)],
        })
    }

    async fn cluster(&self, group: &str, cluster: &str) -> Read<ClusterView> {
        self.check(group)?;
        let place = self.facts.iter().position(|facts| facts.name == cluster);
        let place = place.ok_or_else(|| ReadError::NotFound("such cluster".to_owned()))?;
        let (findings, passed) = self.counting(concerning(&self.report, cluster, None));
        Ok(ClusterView {
            group: self.group.clone(),
            freshness: self.freshness(),
            audit: Some(AUDIT.to_owned()),
            summary: self.report.clusters[place].clone(),
            connection: self.connection(place),
            agents: self.agents_of(&self.facts[place]),
            agent_list: self.agent_rows(&self.facts[place]),
            pairs: pairs(&self.report, cluster),
            findings,
            passed,
            ranges: self.addresses(group).await?.of_cluster(cluster),
        })
    }

    async fn findings(&self, group: &str, filter: &FindingFilter) -> Read<FindingList> {
        self.check(group)?;
        let findings: Vec<FindingLine> = self
            .report
            .findings
            .iter()
            .filter(|finding| filter.verdicts.is_empty() || filter.verdicts.contains(&finding.verdict))
            .filter(|finding| filter.code.as_ref().is_none_or(|code| *code == finding.code))
            .filter(|finding| {
                filter
                    .cluster
                    .as_ref()
                    .is_none_or(|cluster| finding.subject.clusters.contains(cluster))
            })
            .map(|finding| self.line(finding))
            .collect();
        Ok(FindingList {
            group: self.group.clone(),
            freshness: self.freshness(),
            total: findings.len() as u64,
            findings: findings
                .into_iter()
                .take(filter.limit.unwrap_or(100) as usize)
                .collect(),
            next: None,
        })
    }

    async fn finding(&self, group: &str, wanted: &str) -> Read<FindingView> {
        self.check(group)?;
        let finding = self.report.findings.iter().find(|finding| key(finding) == wanted);
        let finding = finding.ok_or_else(|| ReadError::NotFound("such finding".to_owned()))?;
        let same_cause = self
            .report
            .findings
            .iter()
            .filter(|other| other.cause == finding.cause && key(other) != wanted && other.counts());
        let contexts: Vec<String> = finding
            .subject
            .clusters
            .iter()
            .map(|cluster| format!("--context {cluster}"))
            .collect();
        Ok(FindingView {
            group: self.group.clone(),
            key: wanted.to_owned(),
            freshness: self.freshness(),
            audit: AUDIT.to_owned(),
            finding: finding.clone(),
            life: self.life(finding),
            history: [
                (0, Some(finding.verdict)),
                (180, Some(Verdict::Pass)),
                (420, Some(finding.verdict)),
                (1_440, Some(Verdict::Pass)),
            ]
            .into_iter()
            .map(|(minutes, verdict)| LifeEvent {
                at: self.ago(minutes),
                audit: AUDIT.to_owned(),
                verdict,
                text: if verdict == Some(Verdict::Pass) {
                    "holds".to_owned()
                } else {
                    finding.found.clone()
                },
            })
            .collect(),
            same_cause: same_cause.map(|other| self.line(other)).collect(),
            rerun: format!(
                "prejoin audit {} --profile {} --only {}",
                contexts.join(" "),
                finding.profile,
                finding.code
            ),
        })
    }

    async fn addresses(&self, group: &str) -> Read<AddressSpace> {
        self.check(group)?;
        Ok(AddressSpace::of(
            group,
            self.freshness(),
            &self.facts,
            &Intent::default(),
            &self.report,
            key,
        ))
    }

    async fn paths(&self, group: &str, filter: &PathFilter) -> Read<PathsView> {
        self.check(group)?;
        let names = self.clusters();
        let until = filter.until.unwrap_or_else(|| self.now());
        let since = filter.since.unwrap_or(until - SignedDuration::from_hours(24));
        let ordered = names
            .iter()
            .flat_map(|from| names.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from != to);
        let pairs = ordered.take(400).filter_map(|(from, to)| {
            let latest = *self.series(from, to).points.last()?;
            Some(PathLine {
                from: from.clone(),
                to: to.clone(),
                verdict: Verdict::Warn,
                latest,
            })
        });
        let series = filter
            .pair
            .iter()
            .flat_map(|(a, b)| [self.series(a, b), self.series(b, a)]);
        let series = series.map(|mut series| {
            series.points.retain(|point| point.at >= since && point.at <= until);
            series
        });
        Ok(PathsView {
            group: self.group.clone(),
            freshness: self.freshness(),
            since,
            until,
            pairs: pairs.collect(),
            series: series.collect(),
        })
    }

    async fn audits(&self, _filter: &AuditFilter) -> Read<AuditList> {
        let done = (0..24).map(|hour| match hour {
            5 => self.audit_line("0199-3f05", 300, AuditState::Failed, None),
            _ => self.audit_line(
                AUDIT,
                hour * 60,
                AuditState::Done,
                Some(if hour < 9 { self.report.verdict } else { Verdict::Pass }),
            ),
        });
        let running = self.audit_line(RUNNING, -3, AuditState::Running, None);
        Ok(AuditList {
            shown_at: self.now(),
            audits: std::iter::once(running).chain(done).collect(),
            next: Some("0199-2000".to_owned()),
        })
    }

    async fn audit(&self, id: &str) -> Read<AuditView> {
        let running = id == RUNNING;
        if !running && id != AUDIT {
            return Err(ReadError::NotFound("such audit".to_owned()));
        }
        let group = self.group_view();
        Ok(AuditView {
            line: if running {
                self.audit_line(RUNNING, -3, AuditState::Running, None)
            } else {
                self.audit_line(AUDIT, 0, AuditState::Done, Some(self.report.verdict))
            },
            shown_at: self.now(),
            profiles: self.report.profiles.clone(),
            probe: Probe::Cover,
            progress: running.then(|| Progress {
                step: Step::Probe,
                probes: 480,
                finished: 131,
                waiting_for: vec!["west/west-n2 (no answer for 4 s)".to_owned()],
            }),
            headline: if running { String::new() } else { group.headline },
            coverage: (!running).then_some(group.coverage),
            agents: group.agents,
            clusters: self
                .clusters()
                .into_iter()
                .enumerate()
                .map(|(place, name)| ClusterProgress {
                    name,
                    state: if place == 6 { ReadState::Partly } else { ReadState::Read },
                    detail: if place == 6 {
                        "list ciliumnodes: forbidden".to_owned()
                    } else {
                        String::new()
                    },
                })
                .collect(),
            causes: if running { Vec::new() } else { self.causes() },
            changes: if running { Vec::new() } else { self.recent() },
            has_report: !running,
            has_bundle: !running,
        })
    }

    async fn drift(&self, group: &str) -> Read<DriftView> {
        self.check(group)?;
        let cluster = |place: usize| self.facts[place.min(self.facts.len() - 1)].name.clone();
        let line =
            |effect, change, place, path: &str, old: Option<&str>, new: Option<&str>, codes: &[&str]| DriftLine {
                change,
                cluster: cluster(place),
                object: "ConfigMap kube-system/cilium-config".to_owned(),
                path: path.to_owned(),
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
                first_seen: self.ago(120),
                effect,
                codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            };
        Ok(DriftView {
            group: self.group.clone(),
            freshness: self.freshness(),
            audit: Some(AUDIT.to_owned()),
            baseline: Some(BaselineView {
                audit: AUDIT.to_owned(),
                as_of: self.ago(60 * 24 * 12),
                accepted_at: self.ago(60 * 24 * 12 - 9),
                accepted_by: "kim".to_owned(),
                note: "after the move to 1.20".to_owned(),
            }),
            lines: vec![
                line(
                    Effect::Breaks,
                    Change::Changed,
                    1,
                    "cilium.config.tunnel-protocol",
                    Some("vxlan"),
                    Some("geneve"),
                    &["CM302"],
                ),
                line(
                    Effect::Weakens,
                    Change::Removed,
                    1,
                    "nodes[west-n2].agent",
                    Some("0.1.0"),
                    None,
                    &["CM501", "CM504"],
                ),
                line(
                    Effect::Neutral,
                    Change::Changed,
                    0,
                    "nodes[east-n1].kernel",
                    Some("6.8.0-45-generic"),
                    Some("6.8.0-47-generic"),
                    &[],
                ),
                line(
                    Effect::Neutral,
                    Change::Added,
                    0,
                    "namespaces[payments]",
                    None,
                    Some("{}"),
                    &[],
                ),
            ],
        })
    }

    fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }
}

impl Actions for Sample {
    async fn run_audit(&self, group: &str, _by: &str) -> Read<String> {
        self.check(group)?;
        Ok(RUNNING.to_owned())
    }

    async fn accept_baseline(&self, group: &str, _audit: &str, _by: &str, _note: &str) -> Read<()> {
        self.check(group)
    }

    async fn waive(&self, group: &str, _waiving: &Waiving, _by: &str) -> Read<()> {
        self.check(group)
    }
}
