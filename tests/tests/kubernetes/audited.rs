//! A report, as tests look at it.

use std::collections::BTreeSet;

use prejoin_checks::report::{Report, Verdict};
use prejoin_tests::kubernetes::Outcome;
use serde_json::{Value, json};

use super::suite::Suite;

/// What an audit came to.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) report: Report,
    pub(super) json: Value,
    pub(super) stderr: String,
}

impl Suite {
    /// Audits all clusters for a ClusterMesh.
    pub(super) fn audit(&self, arguments: &[&str]) -> Audited {
        let fixed = ["audit", "--profile", "clustermesh", "-o", "json"];
        Audited::of(&self.prejoin_everywhere(&[&fixed, arguments].concat()))
    }
}

impl Audited {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let json = serde_json::from_str(&outcome.stdout);
        assert!(json.is_ok(), "{outcome:#?}");
        let json: Value = json.unwrap();
        Self {
            report: serde_json::from_value(json.clone()).unwrap(),
            json,
            stderr: outcome.stderr.clone(),
        }
    }

    /// What came of a flow's probes: `east-n1 to west-n1: proven, delivered`.
    pub(super) fn paths(&self, code: &str) -> BTreeSet<String> {
        let paths = self.json["paths"].as_array().into_iter().flatten();
        let of_flow = paths.filter(|path| path["codes"].as_array().unwrap().contains(&json!(code)));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of_flow
            .map(|path| {
                let (from, to) = (text(&path["from"]["node"]), text(&path["to"]["node"]));
                format!("{from} to {to}: {}, {}", text(&path["outcome"]), text(&path["shown"]))
            })
            .collect()
    }

    /// Every finding that counts: `CM501 fail: UDP 8472 from east to west: ...`. What is unknown for a cause that fails elsewhere is shown with
    /// it, and is no complaint of its own.
    pub(super) fn complaints(&self) -> BTreeSet<String> {
        let findings = || self.report.findings.iter();
        let fails_for = |cause: &str| findings().any(|of| of.verdict == Verdict::Fail && of.cause == cause);
        let counting = findings().filter(|finding| finding.counts());
        counting
            .filter(|finding| finding.verdict != Verdict::Unknown || !fails_for(&finding.cause))
            .map(|finding| {
                let what = if finding.found.is_empty() {
                    &finding.reason
                } else {
                    &finding.found
                };
                format!("{} {}: {what}", finding.code, finding.verdict)
            })
            .collect()
    }
}
