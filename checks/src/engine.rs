//! [`judge`]: facts and policy in, report out. Pure: the same input gives the same report, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::alike::Alike;
use crate::catalog;
use crate::check::{Check, NoVerdict, Run};
use crate::facts::ClusterFacts;
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::intent::Intent;
use crate::observation::Observations;
use crate::observation::failures::Failures;
use crate::outcome::{ClusterId, Outcome, State};
use crate::policy::{Policy, Waiver};
use crate::profile::Profile;
use crate::report::paths;
use crate::report::{
    AffectedPairs, ClusterSummary, Coverage, DOES_NOT_APPLY, Finding, NOT_ASKED, ONE_CLUSTER, REPORT_SCHEMA, Ratio,
    Report, Severity, Subject, SubjectKind, Summary, Verdict, WaivedBy,
};

/// Judges clusters by their facts alone, for every profile of the policy.
pub fn judge(facts: &[ClusterFacts], intent: &Intent, policy: &Policy) -> Report {
    judge_observed(facts, None, intent, policy)
}

/// Judges clusters by their facts and by what agents saw, for every profile of the policy.
pub fn judge_observed(
    facts: &[ClusterFacts],
    observations: Option<&Observations>,
    intent: &Intent,
    policy: &Policy,
) -> Report {
    let clusters: Vec<Cluster<'_>> = facts
        .iter()
        .enumerate()
        .map(|(id, facts)| Cluster::new(id, facts))
        .collect();
    // Without agents nothing was looked at, whatever else was kept.
    let failures = observations
        .filter(|seen| !seen.plan.agents.is_empty())
        .map(Failures::of);
    let mut findings = Vec::new();
    let mut flows = Ratio::default();
    for profile in &policy.profiles {
        let audit = Audit::new(*profile, &clusters, intent, policy).observed(failures.as_ref());
        let required = crate::profile::flow::required(&audit);
        flows.wanted += required.len() as u64;
        for check in catalog::checks().filter(|check| check.profiles.contains(profile)) {
            let outcomes = if policy.selects(check) {
                run(check, &audit)
            } else {
                vec![not_selected(&audit)]
            };
            let proven = required.iter().any(|flow| flow.code == check.code) && is_proven(&outcomes);
            flows.known += u64::from(proven);
            findings.extend(outcomes.into_iter().map(|outcome| finding(check, &audit, outcome)));
        }
    }
    sort(&mut findings);
    let summary = summarise(&findings);
    let summaries: Vec<ClusterSummary> = clusters
        .iter()
        .map(|cluster| cluster_summary(cluster, policy))
        .collect();
    let coverage = coverage(&summaries, flows, &summary, &findings);
    let verdict = verdict(&summary, &summaries);
    let exit_code = exit_code(verdict, &summary, &summaries, policy);
    Report {
        schema: REPORT_SCHEMA.to_owned(),
        generated_at: policy.evaluated_at,
        verdict,
        clusters: summaries,
        profiles: policy.profiles.clone(),
        summary,
        coverage,
        findings,
        paths: failures.as_ref().map(paths::records).unwrap_or_default(),
        drift: None,
        exit_code,
    }
}

/// A report with further findings that no check can have, because they follow from what was before: its counts, verdict and exit code follow from all of them.
pub fn with_findings(report: Report, more: Vec<Finding>, policy: &Policy) -> Report {
    if more.is_empty() {
        return report;
    }
    let mut findings = report.findings;
    findings.extend(more);
    sort(&mut findings);
    let summary = summarise(&findings);
    let coverage = coverage(&report.clusters, report.coverage.flows, &summary, &findings);
    let verdict = verdict(&summary, &report.clusters);
    Report {
        verdict,
        exit_code: exit_code(verdict, &summary, &report.clusters, policy),
        summary,
        coverage,
        findings,
        ..report
    }
}

/// Worst first, then by code and subject.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        b.verdict
            .cmp(&a.verdict)
            .then_with(|| a.code.cmp(&b.code))
            .then_with(|| a.profile.cmp(&b.profile))
            .then_with(|| a.subject.cmp(&b.subject))
    });
}

fn run(check: &Check, audit: &Audit<'_>) -> Vec<Outcome> {
    let guard = |judge: &dyn Fn() -> Vec<Outcome>, about: Vec<ClusterId>| {
        catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| {
            let broken = Unknown::new(
                Reason::CheckFailed,
                format!("check {} broke: please report it", check.code),
            );
            vec![Outcome::none(broken).about(about)]
        })
    };
    match check.run {
        Run::Cluster(judge) => audit
            .clusters
            .iter()
            .flat_map(|cluster| {
                let one = || vec![judge(audit, cluster).unwrap_or_else(Outcome::none).about([cluster.id])];
                guard(&one, vec![cluster.id])
            })
            .collect(),
        Run::Between(_) if audit.clusters.len() < 2 => {
            vec![Outcome::does_not_apply(ONE_CLUSTER).about(audit.everyone())]
        }
        Run::Between(judge) | Run::Set(judge) => guard(&|| judge(audit), audit.everyone()),
    }
}

/// Whether a flow was proven, and nothing of it left open.
fn is_proven(outcomes: &[Outcome]) -> bool {
    let counts = |outcome: &&Outcome| !matches!(outcome.state, State::NoVerdict(NoVerdict::DoesNotApply(_)));
    let mut counting = outcomes.iter().filter(counts).peekable();
    counting.peek().is_some() && counting.all(|outcome| outcome.state == State::Holds)
}

fn not_selected(audit: &Audit<'_>) -> Outcome {
    Outcome::none(Unknown::new(Reason::NotAsked, "not selected")).about(audit.everyone())
}

fn finding(check: &Check, audit: &Audit<'_>, outcome: Outcome) -> Finding {
    let (verdict, severity, reason, detail) = match &outcome.state {
        State::Holds => (Verdict::Pass, check.severity, String::new(), String::new()),
        State::Broken => (verdict_of(check.severity), check.severity, String::new(), String::new()),
        State::BrokenAs(severity) => (verdict_of(*severity), *severity, String::new(), String::new()),
        State::NoVerdict(NoVerdict::DoesNotApply(reason)) if reason == ONE_CLUSTER => (
            Verdict::Skip,
            check.severity,
            ONE_CLUSTER.to_owned(),
            "nothing was compared".to_owned(),
        ),
        State::NoVerdict(NoVerdict::DoesNotApply(reason)) => {
            (Verdict::Skip, check.severity, DOES_NOT_APPLY.to_owned(), reason.clone())
        }
        State::NoVerdict(NoVerdict::Missing(unknown)) => {
            // Of a cluster that does not exist yet, what is not known is what was not declared.
            let about = &outcome.clusters;
            let planned = !about.is_empty() && about.iter().all(|id| audit.cluster(*id).facts.planned);
            let (verdict, reason) = match unknown.reason {
                Reason::NotFound if planned => (Verdict::Skip, Reason::NotDeclared.to_string()),
                Reason::NotAsked => (Verdict::Skip, NOT_ASKED.to_owned()),
                Reason::NotInstalled | Reason::NotDeclared => (Verdict::Skip, unknown.reason.to_string()),
                reason => (Verdict::Unknown, reason.to_string()),
            };
            (verdict, check.severity, reason, unknown.detail.clone())
        }
    };
    let subject = subject(audit, &outcome);
    let waiver = matches!(verdict, Verdict::Fail | Verdict::Warn)
        .then(|| audit.policy.waiver(check.code, &subject.clusters))
        .flatten();
    let in_force = waiver.filter(|waiver| waiver.until >= audit.policy.today());
    let expired = waiver.filter(|waiver| waiver.until < audit.policy.today());
    Finding {
        code: check.code.to_owned(),
        slug: check.slug.to_owned(),
        title: check.title.to_owned(),
        severity,
        verdict,
        profile: audit.profile,
        cause: outcome
            .cause
            .clone()
            .unwrap_or_else(|| own_cause(check, &subject, &detail)),
        subject,
        expected: outcome.expected,
        found: if outcome.found.is_empty() {
            detail
        } else {
            outcome.found
        },
        reason,
        why: check.why.to_owned(),
        evidence: outcome.evidence,
        remedy: outcome.remedy,
        waived_by: in_force.map(waived_by),
        waiver_expired: expired.map(waived_by),
    }
}

fn verdict_of(severity: Severity) -> Verdict {
    match severity {
        Severity::Info => Verdict::Pass,
        Severity::Warn => Verdict::Warn,
        Severity::Fail => Verdict::Fail,
    }
}

/// What could not be read is one cause however many checks it costs; what is broken is a cause of its own.
fn own_cause(check: &Check, subject: &Subject, detail: &str) -> String {
    if detail.is_empty() {
        format!("{} {}", check.code, subject.clusters.join(" "))
    } else {
        detail.to_owned()
    }
}

fn waived_by(waiver: &Waiver) -> WaivedBy {
    WaivedBy {
        owner: waiver.owner.clone(),
        reason: waiver.reason.clone(),
        until: waiver.until,
    }
}

fn subject(audit: &Audit<'_>, outcome: &Outcome) -> Subject {
    let name = |id: &ClusterId| audit.cluster(*id).name().to_owned();
    let names = |ids: &Vec<ClusterId>| ids.iter().map(name).collect::<Vec<_>>();
    let kind = match outcome.clusters.len() {
        0 | 1 if !outcome.nodes.is_empty() => SubjectKind::Node,
        1 => SubjectKind::Cluster,
        2 => SubjectKind::Pair,
        _ => SubjectKind::Set,
    };
    Subject {
        kind,
        clusters: names(&outcome.clusters),
        nodes: outcome.nodes.clone(),
        pairs: AffectedPairs {
            within: outcome.pairs.within.iter().map(names).collect(),
            across: outcome
                .pairs
                .across
                .iter()
                .map(|parts| parts.iter().map(names).collect())
                .collect(),
        },
    }
}

fn summarise(findings: &[Finding]) -> Summary {
    let mut summary = Summary::default();
    for finding in findings {
        let count = match finding.verdict {
            _ if finding.waived_by.is_some() => &mut summary.waived,
            Verdict::Pass => &mut summary.pass,
            Verdict::Warn => &mut summary.warn,
            Verdict::Fail => &mut summary.fail,
            Verdict::Unknown => &mut summary.unknown,
            Verdict::Skip => &mut summary.skip,
        };
        *count += 1;
    }
    summary
}

fn coverage(clusters: &[ClusterSummary], flows: Ratio, summary: &Summary, findings: &[Finding]) -> Coverage {
    let mut facts = Ratio::default();
    for cluster in clusters {
        facts.known += cluster.facts.known;
        facts.wanted += cluster.facts.wanted;
    }
    let judged = summary.pass + summary.warn + summary.fail + summary.waived;
    Coverage {
        facts,
        flows,
        checks: Ratio {
            known: judged,
            wanted: judged + summary.unknown,
        },
        not_asked: findings.iter().filter(|finding| finding.is_not_asked()).count() as u64,
    }
}

/// The worst of what counts; nothing judged, or a cluster of which nothing was read, is never a pass.
fn verdict(summary: &Summary, clusters: &[ClusterSummary]) -> Verdict {
    let nothing_judged = summary.pass + summary.warn + summary.fail + summary.waived == 0;
    if summary.fail > 0 {
        Verdict::Fail
    } else if summary.unknown > 0 || nothing_judged || clusters.iter().any(|cluster| cluster.unreachable.is_some()) {
        Verdict::Unknown
    } else if summary.warn > 0 {
        Verdict::Warn
    } else {
        Verdict::Pass
    }
}

fn exit_code(verdict: Verdict, summary: &Summary, clusters: &[ClusterSummary], policy: &Policy) -> u8 {
    let nothing_judged = summary.pass + summary.warn + summary.fail + summary.waived == 0;
    // A rule that holds where there is nothing to break it proves nothing.
    let mut existing = clusters.iter().filter(|cluster| !cluster.planned).peekable();
    let nothing_read = existing.peek().is_some() && existing.all(|cluster| cluster.unreachable.is_some());
    match verdict {
        Verdict::Fail => 3,
        Verdict::Unknown if !policy.allow_unknown || nothing_judged || nothing_read => 5,
        _ if summary.warn > 0 && policy.fail_on_warn => 4,
        _ => 0,
    }
}

fn cluster_summary(cluster: &Cluster<'_>, policy: &Policy) -> ClusterSummary {
    let facts = cluster.facts;
    let inventory = facts.inventory();
    let asked = |unknown: &Unknown| !matches!(unknown.reason, Reason::NotAsked | Reason::NotDeclared);
    // A source that was looked for and is not there was answered: there is nothing more to read.
    let answered = |unknown: &Unknown| matches!(unknown.reason, Reason::NotFound | Reason::NotInstalled);
    let wanted = inventory.iter().filter(|(_, why)| why.is_none_or(asked)).count() as u64;
    let known = inventory
        .iter()
        .filter(|(_, why)| why.is_none_or(|why| asked(why) && answered(why)))
        .count() as u64;
    let mut missing: BTreeSet<&str> = facts
        .reads
        .iter()
        .filter_map(|read| read.failure.as_ref())
        .filter(|failure| asked(failure) && !answered(failure))
        .map(|failure| failure.detail.as_str())
        .collect();
    missing.extend(
        inventory
            .iter()
            .filter_map(|(_, why)| *why)
            .filter(|why| asked(why) && !answered(why))
            .map(|why| why.detail.as_str()),
    );
    let cidrs = |cidrs: Vec<crate::cidr::Cidr>| cidrs.iter().map(ToString::to_string).collect();
    ClusterSummary {
        name: facts.name.clone(),
        uid: facts.uid.ok().cloned(),
        mesh_id: crate::profile::mesh_id(
            cluster,
            policy.profiles.first().copied().unwrap_or(Profile::Clustermesh),
        ),
        kubernetes: facts.kubernetes_version.ok().cloned().unwrap_or_default(),
        cni: crate::profile::cni_name(cluster),
        pods: cluster.pods().map(|pods| cidrs(pods.summary())).unwrap_or_default(),
        services: cluster
            .services()
            .map(|services| cidrs(services.ranges.iter().map(|range| range.cidr).collect()))
            .unwrap_or_default(),
        nodes: facts.nodes.ok().map(Vec::len),
        planned: facts.planned,
        unreachable: facts.unreachable().map(|why| why.detail.clone()),
        facts: Ratio { known, wanted },
        missing: said_once(missing, facts),
        collected_at: facts.collected_at,
    }
}

/// What is missing, in order, with what is missing of many nodes for one reason said once.
fn said_once(missing: BTreeSet<&str>, facts: &ClusterFacts) -> Vec<String> {
    let mut of_node: BTreeMap<&str, &str> = BTreeMap::new();
    for node in &facts.node_facts {
        let whys = node.inventory().into_iter().filter_map(|(_, why)| why);
        of_node.extend(whys.map(|why| (why.detail.as_str(), node.node.as_str())));
    }
    let mut alike = Alike::default();
    for text in missing {
        let node: Vec<&str> = of_node.get(text).copied().into_iter().collect();
        alike.add((), text, &node, ());
    }
    let mut said: Vec<String> = alike.groups().map(|((), text, _)| text).collect();
    said.sort();
    said
}
