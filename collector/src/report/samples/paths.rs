//! Reports over what probes showed: made by the engine from observations, for what the table says of paths.

use prejoin_checks::engine::judge_observed;
use prejoin_checks::facts::node::{Node, NodeAddress};
use prejoin_checks::intent::Intent;
use prejoin_checks::policy::Probe;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Ratio, Report, Summary};
use prejoin_checks::samples::{cilium, network, value_mut};

/// Two clusters with agents everywhere, and a filter in front of one node: only what was probed.
pub(super) fn paths() -> Report {
    let facts = [cilium("east", 1), cilium("west", 2)];
    let mut report = network::observed_report(
        Profile::Clustermesh,
        &facts,
        &Intent::default(),
        |_, to, what, result| {
            if (to, what) == ("west-n2", "UDP 8472") {
                network::silence(result);
            }
        },
    );
    let flows = ["CM501", "CM505", "CM506", "CM507", "CM508", "NET301", "NET302"];
    report.findings.retain(|finding| flows.contains(&finding.code.as_str()));
    report.summary = Summary {
        pass: 6,
        fail: 1,
        ..Summary::default()
    };
    report.coverage.facts = Ratio { known: 41, wanted: 41 };
    report
}

/// Two clusters of 40 nodes each: one node does not receive, another has lost its network.
pub(in crate::report) fn forty_nodes() -> Report {
    let facts = [("east", 1_u8), ("west", 2)].map(|(name, number)| {
        let mut facts = cilium(name, number);
        *value_mut(&mut facts.nodes) = (1..=40_u8)
            .map(|index| Node {
                name: format!("{name}-n{index:02}"),
                addresses: vec![NodeAddress {
                    kind: "InternalIP".to_owned(),
                    ip: [172, 31, number, 10 + index].into(),
                }],
                os: "linux".to_owned(),
                ready: true,
                ..Node::default()
            })
            .collect();
        facts
    });
    let policy = network::probing(Profile::Clustermesh, Probe::Full);
    let intent = Intent::default();
    let mut seen = network::observe(network::plan(&facts, &intent, &policy));
    for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
        let (from, to, what) = network::ends(&seen.plan, probe);
        if (to == "west-n17" && what == "UDP 8472") || from == "east-n05" || to == "east-n05" {
            network::silence(result);
        }
    }
    let mut report = judge_observed(&facts, Some(&seen), &intent, &policy);
    report
        .findings
        .retain(|finding| finding.code.starts_with("CM50") && finding.code != "CM508");
    report
}
