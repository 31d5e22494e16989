//! Alertmanager's API, version 2: `POST /api/v2/alerts` with all that is open and what has just ended.
//!
//! An alert is known there by its labels, so they hold nothing that changes while it lasts but its severity: with each change of state, the alerts of all
//! severities but the present one are ended in the same request. Alertmanager forgets what it is not told again until `endsAt`, and when it restarts; therefore everything open is
//! told after each audit, with an end some audits ahead. Who is notified of what it knows already is its own business: nobody.

use jiff::Timestamp;
use prejoin_checks::history::life::State;
use serde::Serialize;
use std::collections::BTreeMap;

use super::notice::{Alert, Notice};

/// The name under which all alerts of prejoin are known.
pub const ALERT_NAME: &str = "PrejoinFinding";

/// One alert, as Alertmanager takes it (`postableAlert` of its OpenAPI document).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert {
    /// What it is known by.
    pub labels: BTreeMap<&'static str, String>,
    /// What it says.
    pub annotations: BTreeMap<&'static str, String>,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when it is believed; in the past for what has ended.
    pub ends_at: Timestamp,
    /// Where to read more.
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
}

/// The path below Alertmanager's own address.
pub const PATH: &str = "/api/v2/alerts";

/// The body of the request.
pub fn body(notice: &Notice) -> Vec<PostableAlert> {
    let mut all: Vec<PostableAlert> = Vec::new();
    for alert in &notice.alerts {
        let goes_on = alert.state.matters().then(|| severity(alert));
        let others = SEVERITIES.into_iter().filter(|severity| goes_on != Some(*severity));
        all.extend(others.map(|severity| postable(notice, alert, severity, alert.since, notice.at)));
    }
    if let Some(standing) = &notice.standing {
        let open = standing.alerts.iter();
        all.extend(open.map(|alert| {
            let since = alert.broken_since.unwrap_or(alert.since);
            postable(notice, alert, severity(alert), since, standing.until)
        }));
    }
    // What ends and what goes on under the same labels (a fault that is about fewer nodes now) goes on.
    let mut seen = BTreeMap::new();
    for (place, alert) in all.iter().enumerate() {
        seen.insert(alert.labels.clone(), place);
    }
    let last: Vec<usize> = seen.into_values().collect();
    let mut place = 0;
    all.retain(|_| {
        place += 1;
        last.contains(&(place - 1))
    });
    all
}

/// What routes go by.
const SEVERITIES: [&str; 2] = ["critical", "warning"];

/// A failure that can no longer be looked at is as severe as it was: nothing says that it is over.
fn severity(alert: &Alert) -> &'static str {
    let failed = alert.state == State::Unknown && alert.broken_as == Some(State::Fail);
    if alert.state == State::Fail || failed {
        "critical"
    } else {
        "warning"
    }
}

fn postable(
    notice: &Notice,
    alert: &Alert,
    severity: &'static str,
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> PostableAlert {
    let labels = [
        ("alertname", ALERT_NAME.to_owned()),
        ("group", notice.group.clone()),
        ("code", alert.code.clone()),
        ("profile", alert.profile.to_string()),
        ("clusters", alert.clusters.join(",")),
        ("severity", severity.to_owned()),
    ];
    let annotations = [
        ("summary", format!("{} {}", alert.code, alert.title)),
        ("state", alert.headline()),
        ("expected", alert.expected.clone()),
        ("found", alert.found.clone()),
        ("description", alert.why.clone()),
        ("remedy", alert.remedy.clone()),
        ("nodes", alert.nodes.join(",")),
    ];
    // An empty label is no label, and an empty annotation says nothing.
    let filled = |(_, text): &(&'static str, String)| !text.is_empty();
    PostableAlert {
        labels: labels.into_iter().filter(filled).collect(),
        annotations: annotations.into_iter().filter(filled).collect(),
        starts_at: starts_at.min(ends_at),
        ends_at,
        generator_url: alert.link.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::target::TargetKind;
    use super::*;

    #[test]
    fn what_is_open_and_what_has_ended_is_told() {
        insta::assert_json_snapshot!(body(&samples::notice(TargetKind::Alertmanager)));
    }

    #[test]
    fn no_two_alerts_of_a_request_have_the_same_labels() {
        let notice = samples::notice(TargetKind::Alertmanager);
        let mut twice = notice.clone();
        twice.alerts.extend(notice.alerts.clone());
        assert_eq!(body(&twice), body(&notice));
    }

    #[test]
    fn a_change_of_severity_ends_the_alert_of_the_one_before() {
        let (lives, rounds) = samples::lived(&[&[("CM302", State::Fail)], &[("CM302", State::Warn)]]);
        let target = samples::target(TargetKind::Alertmanager, "http://127.0.0.1/");
        let told = body(&target.notice("id", &samples::round(&rounds[1], &lives)).unwrap());
        let lines: Vec<_> = told
            .iter()
            .map(|alert| (alert.labels["severity"].as_str(), alert.ends_at))
            .collect();
        assert_eq!(lines, [("critical", samples::at(2)), ("warning", samples::at(26))]);
    }

    #[test]
    fn what_failed_and_can_no_longer_be_looked_at_goes_on() {
        let (lives, rounds) = samples::lived(&[&[("CM302", State::Fail)], &[("CM302", State::Unknown)]]);
        let target = samples::target(TargetKind::Alertmanager, "http://127.0.0.1/");
        let told = body(&target.notice("id", &samples::round(&rounds[1], &lives)).unwrap());
        let critical = told
            .iter()
            .find(|alert| alert.labels["severity"] == "critical")
            .unwrap();
        assert_eq!(critical.ends_at, samples::at(26));
        assert_eq!(critical.annotations["state"], "unknown, was broken when last seen");
    }
}
