//! What a cluster's own API shows: an Event for each change, and a ClusterReport of OpenReports with all that stands. Pure: who writes them is elsewhere.
//!
//! Both names follow from what they are about, so that writing one again after a restart replaces it and adds nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use prejoin_checks::history::life::{EventKind, State};
use prejoin_checks::report::{Finding, Report, Severity, Verdict};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::notice::{Alert, Notice};
use super::webhook::hex;

/// Who says it: the controller in Events, the source in reports.
pub const SOURCE: &str = "prejoin";
/// The API version of ClusterReports.
pub const REPORT_API_VERSION: &str = "openreports.io/v1alpha1";
/// Kubernetes takes notes of 1,024 bytes.
const MOST_NOTE_BYTES: usize = 1_000;
/// An object of a few megabytes is more than an API server takes: the worst results are kept, and the summary counts them all.
const MOST_RESULTS: usize = 500;
/// A message is a sentence, not evidence.
const MOST_MESSAGE_BYTES: usize = 2_000;

/// The Events that a notice gives one cluster: about `regarding`, an object of prejoin's in that cluster, in its namespace.
pub fn events(notice: &Notice, cluster: &str, regarding: &ObjectReference) -> Vec<Event> {
    let concerns = |alert: &&Alert| alert.clusters.is_empty() || alert.clusters.iter().any(|name| name == cluster);
    let alerts = notice.alerts.iter().filter(concerns);
    alerts.filter_map(|alert| event(notice, alert, regarding)).collect()
}

fn event(notice: &Notice, alert: &Alert, regarding: &ObjectReference) -> Option<Event> {
    let reason = match alert.event? {
        EventKind::FlappingBegan => "FindingFlapping",
        EventKind::FlappingEnded => "FindingSettled",
        EventKind::Resolved => "FindingResolved",
        EventKind::Began | EventKind::Changed => match alert.state {
            State::Fail => "FindingFails",
            State::Warn => "FindingWarns",
            State::Unknown => "FindingUnknown",
            State::Waived => "FindingWaived",
            State::Good => "FindingResolved",
        },
    };
    let type_ = if alert.state.matters() { "Warning" } else { "Normal" };
    let mut note = format!(
        "{} {}: {} ({}): {}",
        alert.code,
        alert.title,
        alert.headline(),
        alert.clusters.join(" "),
        alert.found
    );
    if alert.state.matters() && !alert.remedy.is_empty() {
        note = format!("{note}. {}", alert.remedy);
    }
    Some(Event {
        metadata: ObjectMeta {
            // The same change told twice is the same Event.
            name: Some(format!(
                "prejoin.{}.{:x}.{}",
                alert.fingerprint,
                notice.at.as_millisecond(),
                reason.to_ascii_lowercase()
            )),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Audit".to_owned()),
        event_time: Some(MicroTime(notice.at)),
        note: Some(at_most(&note, MOST_NOTE_BYTES)),
        reason: Some(reason.to_owned()),
        regarding: Some(regarding.clone()),
        reporting_controller: Some(SOURCE.to_owned()),
        reporting_instance: Some(format!("prejoin-{}", notice.group)),
        type_: Some(type_.to_owned()),
        ..Event::default()
    })
}

/// A ClusterReport of OpenReports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// [`REPORT_API_VERSION`].
    pub api_version: String,
    /// `ClusterReport`.
    pub kind: String,
    /// Its name follows from the group.
    pub metadata: ReportMetadata,
    /// [`SOURCE`].
    pub source: String,
    /// How many results there are of each kind, those left out included.
    pub summary: ReportSummary,
    /// The results, the worst first.
    pub results: Vec<ReportResult>,
}

/// What names a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportMetadata {
    /// Its name.
    pub name: String,
    /// Who manages it.
    pub labels: BTreeMap<String, String>,
}

/// Counts of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportSummary {
    /// Rules that hold.
    pub pass: u64,
    /// Broken ones.
    pub fail: u64,
    /// Broken with a defect one can live with.
    pub warn: u64,
    /// What could not be determined.
    pub error: u64,
    /// What does not apply, was not asked, or is waived.
    pub skip: u64,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportResult {
    /// The check's code.
    pub policy: String,
    /// The check's slug.
    pub rule: String,
    /// The profile.
    pub category: String,
    /// How much it matters.
    pub severity: String,
    /// `pass`, `fail`, `warn`, `error` (it could not be determined) or `skip`.
    pub result: String,
    /// When it was judged.
    pub timestamp: ReportTime,
    /// What was found, and what to do.
    pub message: String,
    /// The particulars.
    pub properties: BTreeMap<String, String>,
}

/// A time as OpenReports has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And so many nanoseconds.
    pub nanos: i32,
}

/// What a report says of one cluster and of those it is or would be joined with. What passes and what does not apply is counted and not listed.
pub fn cluster_report(group: &str, cluster: &str, report: &Report) -> ClusterReport {
    let mut summary = ReportSummary::default();
    let mut results = Vec::new();
    for finding in report.findings.iter().filter(|finding| {
        let about = &finding.subject.clusters;
        about.is_empty() || about.iter().any(|name| name == cluster)
    }) {
        let (count, result) = match finding.verdict {
            _ if finding.waived_by.is_some() => (&mut summary.skip, "skip"),
            Verdict::Pass => (&mut summary.pass, "pass"),
            Verdict::Fail => (&mut summary.fail, "fail"),
            Verdict::Warn => (&mut summary.warn, "warn"),
            Verdict::Unknown => (&mut summary.error, "error"),
            Verdict::Skip => (&mut summary.skip, "skip"),
        };
        *count += 1;
        if finding.waived_by.is_some() || finding.counts() {
            results.push(reported(finding, result, report.generated_at));
        }
    }
    results.truncate(MOST_RESULTS);
    ClusterReport {
        api_version: REPORT_API_VERSION.to_owned(),
        kind: "ClusterReport".to_owned(),
        metadata: ReportMetadata {
            name: report_name(group),
            labels: BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), SOURCE.to_owned())]),
        },
        source: SOURCE.to_owned(),
        summary,
        results,
    }
}

/// The name of a group's report: as much of the group's own as a name may hold, and what tells apart those that are alike in that.
fn report_name(group: &str) -> String {
    let plain: String = group
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(50)
        .collect();
    let plain = plain.trim_matches('-');
    if plain == group && !plain.is_empty() {
        return format!("prejoin-{plain}");
    }
    let digest = hex(&Sha256::digest(group)[..4]);
    format!("prejoin-{plain}-{digest}").replace("--", "-")
}

fn reported(finding: &Finding, result: &str, judged: Timestamp) -> ReportResult {
    let mut message = format!("{}: {}", finding.title, finding.found);
    if !finding.remedy.is_empty() {
        message = format!("{message}. {}", finding.remedy);
    }
    let mut properties = BTreeMap::from([("clusters".to_owned(), finding.subject.clusters.join(","))]);
    let mut say = |name: &str, text: &str| {
        if !text.is_empty() {
            properties.insert(name.to_owned(), at_most(text, MOST_MESSAGE_BYTES));
        }
    };
    say("nodes", &finding.subject.nodes.join(","));
    say("expected", &finding.expected);
    say("why", &finding.why);
    if let Some(by) = &finding.waived_by {
        say("waivedBy", &format!("{} until {}: {}", by.owner, by.until, by.reason));
    }
    ReportResult {
        policy: finding.code.clone(),
        rule: finding.slug.clone(),
        category: finding.profile.to_string(),
        severity: match finding.severity {
            Severity::Fail => "high",
            Severity::Warn => "medium",
            Severity::Info => "info",
        }
        .to_owned(),
        result: result.to_owned(),
        timestamp: ReportTime {
            seconds: judged.as_second(),
            nanos: judged.subsec_nanosecond(),
        },
        message: at_most(&message, MOST_MESSAGE_BYTES),
        properties,
    }
}

/// The beginning of a text, of at most so many bytes.
fn at_most(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mark = '…';
    let end = (0..=bytes - mark.len_utf8())
        .rev()
        .find(|end| text.is_char_boundary(*end));
    format!("{}{mark}", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests;
