//! Findings with their lives.

use jiff::Timestamp;
use prejoin_checks::catalog;
use prejoin_checks::history::life::{Life, State};
use prejoin_checks::report::{AffectedPairs, Finding, Severity, Subject, SubjectKind, Verdict, WaivedBy};

use super::latest::{Latest, key, life, life_state, verdict};
use super::{StoreReader, freshness};
use crate::serve::config::Group;
use crate::serve::view::finding::{FindingFilter, LifeEvent, LifeState};
use crate::serve::view::reader::Read;
use crate::serve::view::{FindingLine, FindingList, FindingView, ReadError};
use crate::text;

/// So many findings are given where no number is asked for, and at most.
const GIVEN: usize = 100;
const MOST: usize = 1000;
/// So much of a finding's history is shown.
const HISTORY: u32 = 100;
/// So many findings with the same cause are named.
const SAME_CAUSE: usize = 20;

impl StoreReader {
    /// Findings of a group, worst first.
    pub(super) async fn finding_list(&self, name: &str, filter: &FindingFilter) -> Read<FindingList> {
        let (_, group, latest) = self.audited(name).await?;
        let after: usize = match filter.after.as_deref() {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| ReadError::NotFound(format!("place {} in the list", text::short(text, 40))))?,
        };
        let limit = filter
            .limit
            .map_or(GIVEN, |limit| usize::try_from(limit).unwrap_or(MOST))
            .clamp(1, MOST);
        let of_it = |finding: &&Finding| {
            let is_wanted = filter
                .code
                .as_ref()
                .is_none_or(|code| code.eq_ignore_ascii_case(&finding.code))
                && filter
                    .cluster
                    .as_ref()
                    .is_none_or(|name| finding.subject.clusters.contains(name))
                && (filter.verdicts.is_empty() || filter.verdicts.contains(&finding.verdict));
            is_wanted
                && (filter.states.is_empty()
                    || state_of(&latest, finding).is_some_and(|state| filter.states.contains(&state)))
        };
        let found: Vec<&Finding> = latest.report.findings.iter().filter(of_it).collect();
        // What ended is no longer in the report as broken.
        let ended = latest.lives.values().filter(|kept| {
            filter.states.contains(&LifeState::Resolved)
                && !kept.life.is_open()
                && filter
                    .code
                    .as_ref()
                    .is_none_or(|code| code.eq_ignore_ascii_case(&kept.life.key.code))
                && filter
                    .cluster
                    .as_ref()
                    .is_none_or(|name| kept.life.key.clusters.contains(name))
                && (filter.verdicts.is_empty() || filter.verdicts.contains(&Verdict::Pass))
        });
        let ended: Vec<_> = ended.collect();
        let total = found.len() + ended.len();
        let lines = found
            .iter()
            .map(|finding| latest.line(finding))
            .chain(ended.iter().map(|kept| FindingLine {
                life: Some(life(kept)),
                ..FindingLine::of(&past(&kept.life), kept.life.key.to_string(), 0)
            }));
        Ok(FindingList {
            group: name.to_owned(),
            freshness: freshness(&group, &latest.audit, &latest, Timestamp::now()),
            total: total as u64,
            findings: lines.skip(after).take(limit).collect(),
            next: (after + limit < total).then(|| (after + limit).to_string()),
        })
    }

    /// One finding of a group.
    pub(super) async fn finding_view(&self, name: &str, wanted: &str) -> Read<FindingView> {
        let (_, group, latest) = self.audited(name).await?;
        let kept = latest.lives.get(wanted);
        // The report has the worst first.
        let seen = latest.report.findings.iter().find(|finding| key(finding) == wanted);
        let finding = match (seen, kept) {
            (Some(finding), _) => finding.clone(),
            (None, Some(kept)) => past(&kept.life),
            (None, None) => {
                return Err(ReadError::NotFound(format!(
                    "finding {} in {}",
                    text::short(wanted, 120),
                    text::short(name, 60)
                )));
            }
        };
        let events = self.store().events_of(name, wanted, HISTORY).await?;
        let history = events.into_iter().map(|happened| LifeEvent {
            at: happened.event.at,
            audit: happened.audit,
            verdict: verdict(happened.event.life.state),
            text: happened.event.life.last.found,
        });
        let same = latest.report.findings.iter().filter(|other| {
            !finding.cause.is_empty()
                && other.cause == finding.cause
                && other.profile == finding.profile
                && key(other) != wanted
        });
        Ok(FindingView {
            group: name.to_owned(),
            key: wanted.to_owned(),
            freshness: freshness(&group, &latest.audit, &latest, Timestamp::now()),
            audit: latest.audit.id.clone(),
            life: kept.map(life),
            history: history.collect(),
            same_cause: same.take(SAME_CAUSE).map(|other| latest.line(other)).collect(),
            rerun: rerun(&group, &finding),
            finding,
        })
    }
}

/// How a finding of the report is, if it has a life. One that passes is in no list of those that ended: its life is.
fn state_of(latest: &Latest, finding: &Finding) -> Option<LifeState> {
    let kept = latest.lives.get(&key(finding))?;
    Some(life_state(&kept.life)).filter(|state| *state != LifeState::Resolved)
}

/// A finding that the last report does not have, as its life tells of it.
fn past(life: &Life) -> Finding {
    let check = catalog::find(&life.key.code);
    let verdict = verdict(life.state).unwrap_or(Verdict::Pass);
    Finding {
        code: life.key.code.clone(),
        slug: check.map_or_else(String::new, |check| check.slug.to_owned()),
        title: life.last.title.clone(),
        severity: check.map_or(Severity::Fail, |check| check.severity),
        verdict,
        profile: life.key.profile,
        subject: Subject {
            kind: match life.key.clusters.len() {
                0 | 1 => SubjectKind::Cluster,
                2 => SubjectKind::Pair,
                _ => SubjectKind::Set,
            },
            clusters: life.key.clusters.clone(),
            nodes: life.last.nodes.clone(),
            pairs: AffectedPairs::default(),
        },
        expected: life.last.expected.clone(),
        found: life.last.found.clone(),
        reason: String::new(),
        why: life.last.why.clone(),
        evidence: Vec::new(),
        remedy: life.last.remedy.clone(),
        cause: String::new(),
        waived_by: life
            .waived_until()
            .filter(|_| life.state == State::Waived)
            .map(|until| WaivedBy {
                owner: String::new(),
                reason: String::new(),
                until,
            }),
        waiver_expired: None,
    }
}

/// The command that asks just this again, by hand.
fn rerun(group: &Group, finding: &Finding) -> String {
    let mut words = vec!["prejoin audit".to_owned()];
    let everyone: Vec<String> = group.members().map(str::to_owned).collect();
    // Of many clusters, or of sites, the group's own schedule is the better way.
    let clusters = if finding.subject.clusters.is_empty() {
        &everyone
    } else {
        &finding.subject.clusters
    };
    for cluster in clusters {
        let Some(entry) = group.clusters.iter().find(|entry| entry.name == *cluster) else {
            return format!("prejoin --collector URL audit {}", text::quoted(&group.name));
        };
        words.push(match (&entry.facts, &entry.planned) {
            (Some(facts), _) => format!("--facts {}", text::quoted(&facts.display().to_string())),
            (None, Some(_)) => return format!("prejoin --collector URL audit {}", text::quoted(&group.name)),
            (None, None) => {
                let context = entry.context.as_ref().unwrap_or(&entry.name);
                format!("--context {}", text::quoted(context))
            }
        });
    }
    words.push(format!("--profile {} --only {}", finding.profile, finding.code));
    words.join(" ")
}
