//! Given features set up alike or not, expect findings.

use crate::facts::ClusterFacts;
use crate::facts::dns::{Corefile, Dns};
use crate::facts::mcs::{Mcs, ServiceExport};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::service::Service;
use crate::profile::Profile::Clustermesh;
use crate::report::Verdict;
use crate::samples::{cilium, findings, report, set_cilium_key, value_mut};

fn verdicts(code: &str, clusters: &[ClusterFacts]) -> Vec<Verdict> {
    findings(&report(Clustermesh, clusters), code)
        .iter()
        .map(|finding| finding.verdict)
        .collect()
}

fn with_key(name: &str, number: u8, key: &str, value: &str) -> ClusterFacts {
    let mut facts = cilium(name, number);
    set_cilium_key(&mut facts, key, Some(value));
    facts
}

fn add_global_service(facts: &mut ClusterFacts, name: &str, headless: bool) {
    value_mut(&mut facts.services).push(Service {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        kind: "ClusterIP".to_owned(),
        headless,
        annotations: [("service.cilium.io/global".to_owned(), "true".to_owned())].into(),
        ..Service::default()
    });
}

#[test]
fn keys_that_must_be_alike() {
    for (code, key, other) in [
        ("CM701", "policy-default-local-cluster", "false"),
        ("CM704", "clustermesh-enable-endpoint-sync", "true"),
        ("CM709", "enable-hubble", "true"),
    ] {
        assert_eq!(
            verdicts(code, &[cilium("east", 1), cilium("west", 2)]),
            [Verdict::Pass],
            "{code}"
        );
        assert_eq!(
            verdicts(code, &[cilium("east", 1), with_key("west", 2, key, other)]),
            [Verdict::Warn],
            "{code}"
        );
        let mut unreadable = cilium("west", 2);
        crate::samples::cilium_mut(&mut unreadable).config =
            Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
        assert!(
            verdicts(code, &[cilium("east", 1), unreadable]).contains(&Verdict::Unknown),
            "{code}"
        );
    }
}

#[test]
fn a_global_service_of_one_cluster_warns() {
    let (mut east, mut west) = (cilium("east", 1), cilium("west", 2));
    add_global_service(&mut east, "cart", false);
    assert_eq!(verdicts("CM703", &[east.clone(), west.clone()]), [Verdict::Warn]);
    add_global_service(&mut west, "cart", false);
    assert_eq!(verdicts("CM703", &[east.clone(), west.clone()]), [Verdict::Pass]);
    west.services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
    assert!(verdicts("CM703", &[east, west]).contains(&Verdict::Unknown));
}

fn with_mcs(mut facts: ClusterFacts, corefile: &str) -> ClusterFacts {
    set_cilium_key(&mut facts, "clustermesh-enable-mcs-api", Some("true"));
    let exports = Fact::known(Vec::new(), Source::read("ServiceExports", ""));
    facts.mcs = Fact::known(
        Mcs {
            served_versions: vec!["v1beta1".to_owned()],
            exports,
            ..Mcs::default()
        },
        Source::read("server", "apis"),
    );
    let file = Corefile {
        source: Source::read("ConfigMap kube-system/coredns", "Corefile"),
        text: corefile.to_owned(),
    };
    facts.dns = Fact::known(
        Dns {
            corefiles: vec![file],
            coredns_version: "1.13.1".to_owned(),
            ..Dns::default()
        },
        Source::read("Deployment kube-system/coredns", ""),
    );
    facts
}

#[test]
fn the_mcs_api_needs_types_zone_and_namespaces() {
    const ZONE: &str = ".:53 {\n    kubernetes cluster.local\n    multicluster clusterset.local\n}\n";
    let (east, west) = (with_mcs(cilium("east", 1), ZONE), with_mcs(cilium("west", 2), ZONE));
    assert_eq!(
        verdicts("CM705", &[east.clone(), west.clone()]),
        [Verdict::Pass, Verdict::Pass]
    );

    let no_zone = with_mcs(cilium("west", 2), ".:53 {\n    kubernetes cluster.local\n}\n");
    assert_eq!(
        verdicts("CM705", &[east.clone(), no_zone.clone()]),
        [Verdict::Warn, Verdict::Pass]
    );

    let mut exporting = east.clone();
    *value_mut(&mut value_mut(&mut exporting.mcs).exports) = vec![ServiceExport {
        namespace: "default".to_owned(),
        name: "cart".to_owned(),
        ..ServiceExport::default()
    }];
    assert_eq!(verdicts("CM705", &[exporting, no_zone]), [Verdict::Fail, Verdict::Pass]);

    let mut not_served = west;
    not_served.mcs = Fact::unknown(Reason::NotInstalled, "not served");
    assert_eq!(
        verdicts("CM705", &[east.clone(), not_served]),
        [Verdict::Fail, Verdict::Pass]
    );

    assert_eq!(
        verdicts("CM705", &[east, cilium("west", 2)]),
        [Verdict::Warn, Verdict::Pass]
    );
}

#[test]
fn shared_services_live_in_exported_namespaces() {
    let mut east = cilium("east", 1);
    add_global_service(&mut east, "cart", false);
    assert_eq!(verdicts("CM706", &[east.clone()]), [Verdict::Pass]);
    set_cilium_key(&mut east, "clustermesh-default-global-namespace", Some("false"));
    assert_eq!(verdicts("CM706", &[east.clone()]), [Verdict::Fail]);
    let namespace = crate::facts::kubernetes::Namespace {
        name: "shop".to_owned(),
        annotations: [("clustermesh.cilium.io/global".to_owned(), "true".to_owned())].into(),
        ..Default::default()
    };
    value_mut(&mut east.namespaces).push(namespace);
    assert_eq!(verdicts("CM706", &[east.clone()]), [Verdict::Pass]);
    east.namespaces = Fact::unknown(Reason::Forbidden, "list namespaces: forbidden");
    assert_eq!(verdicts("CM706", &[east]), [Verdict::Unknown]);
}

#[test]
fn slices_alone_need_readers_of_slices() {
    let mode = |name, number, mode| with_key(name, number, "clustermesh-service-v2", mode);
    assert_eq!(
        verdicts("CM707", &[cilium("east", 1), cilium("west", 2)]),
        [Verdict::Pass]
    );
    assert_eq!(
        verdicts("CM707", &[mode("east", 1, "only-endpointslice"), cilium("west", 2)]),
        [Verdict::Fail]
    );
    assert_eq!(
        verdicts(
            "CM707",
            &[
                mode("east", 1, "only-endpointslice"),
                mode("west", 2, "prefer-endpointslice")
            ]
        ),
        [Verdict::Pass]
    );
    assert_eq!(
        verdicts("CM707", &[mode("east", 1, "something-new"), cilium("west", 2)]),
        [Verdict::Fail]
    );
}

#[test]
fn a_cache_kept_for_ever_is_recorded() {
    let finding = |value: &str| {
        let report = report(Clustermesh, &[with_key("east", 1, "clustermesh-cache-ttl", value)]);
        (
            findings(&report, "CM708")[0].verdict,
            findings(&report, "CM708")[0].remedy.is_empty(),
        )
    };
    assert_eq!(finding("0s"), (Verdict::Pass, false));
    assert_eq!(finding("15m0s"), (Verdict::Pass, true));
}

#[test]
fn headless_global_services_merge_host_names_where_endpoints_are_synchronised() {
    let mut clusters = [cilium("east", 1), cilium("west", 2)];
    clusters
        .iter_mut()
        .for_each(|facts| add_global_service(facts, "db", true));
    assert_eq!(verdicts("CM710", &clusters), [Verdict::Pass]);
    clusters
        .iter_mut()
        .for_each(|facts| set_cilium_key(facts, "clustermesh-enable-endpoint-sync", Some("true")));
    assert_eq!(verdicts("CM710", &clusters), [Verdict::Warn]);
}
