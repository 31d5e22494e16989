//! Clusters with both families of addresses.

use std::collections::BTreeSet;

use serde_json::json;

use super::audited::Audited;
use super::snapshot::Snapshot;
use super::suite::{IMAGE, Suite, suite};

/// The families in which a flow was proven.
fn families(audited: &Audited, code: &str) -> BTreeSet<&'static str> {
    let paths = audited.json["paths"].as_array().into_iter().flatten();
    let of_flow = paths.filter(|path| path["codes"].as_array().unwrap().contains(&json!(code)));
    let proven = of_flow.filter(|path| path["outcome"] == "proven");
    proven
        .map(|path| {
            if path["to"]["address"].as_str().unwrap().contains(':') {
                "IPv6"
            } else {
                "IPv4"
            }
        })
        .collect()
}

#[test]
fn flows_are_proven_in_both_families_by_way_of_an_api_that_has_ipv6_alone() {
    // Two labs at once would be measured against each other.
    let Some(_turn) = suite() else { return };
    let Some(suite) = Suite::of_both_families() else { return };
    let mut config = suite.config();
    let lab = suite.lab().unwrap();
    for context in suite.contexts() {
        let node = lab.lab().topology().node(&format!("{context}-n1")).unwrap();
        let server = format!("https://[{}]:6443", node.ipv6.unwrap());
        config.cluster(context)["server"] = json!(server);
        let both = r#"--patch={"data":{"enable-ipv6":"true"}}"#;
        suite.kubectl(
            context,
            &["--namespace=kube-system", "patch", "configmap", "cilium-config", both],
        );
    }
    let path = config.write();
    let before = Snapshot::of(&suite);
    let audited = suite.audit(&[
        "--agents",
        "ephemeral",
        "--image",
        IMAGE,
        "--kubeconfig",
        path.to_str().unwrap(),
    ]);
    before.assert_unchanged(&suite);
    for (code, in_which) in [
        // Tunnels are of one family.
        ("CM501", &["IPv4"][..]),
        ("CM506", &["IPv4", "IPv6"]),
        ("CM507", &["IPv4", "IPv6"]),
        ("CM508", &["IPv4", "IPv6"]),
    ] {
        let proven = families(&audited, code);
        assert_eq!(
            proven,
            in_which.iter().copied().collect(),
            "{code}: {:#?}",
            audited.paths(code)
        );
        let paths = audited.paths(code);
        assert!(
            paths.iter().all(|path| path.contains(": proven, ")),
            "{code}: {paths:#?}"
        );
    }
}
