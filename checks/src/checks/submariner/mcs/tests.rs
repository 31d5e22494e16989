//! Given exports, expect findings.

use crate::facts::ClusterFacts;
use crate::facts::kubernetes::Namespace;
use crate::facts::mcs::{Condition, Crd, ImportedSlice, Mcs, ServiceExport, ServiceImport};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::service::{Service, ServicePort};
use crate::profile::Profile::Submariner;
use crate::report::Verdict;
use crate::samples::{findings, report, submariner, value_mut};

const CODES: [&str; 12] = [
    "SM701", "SM702", "SM703", "SM704", "SM705", "SM706", "SM707", "SM709", "SM710", "SM711", "SM712", "SM715",
];

/// Two members that both export shop/cart and import it from each other.
fn exporting() -> Vec<ClusterFacts> {
    let mut clusters = submariner(&[("east", 1), ("west", 2)]);
    for (facts, pod) in clusters.iter_mut().zip(["10.20.0.7", "10.10.0.7"]) {
        let other = if facts.name == "east" { "west" } else { "east" };
        value_mut(&mut facts.namespaces).push(Namespace {
            name: "shop".to_owned(),
            ..Namespace::default()
        });
        value_mut(&mut facts.services).push(Service {
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            kind: "ClusterIP".to_owned(),
            ports: vec![ServicePort {
                name: "http".to_owned(),
                protocol: "TCP".to_owned(),
                port: 80,
                ..ServicePort::default()
            }],
            selector: [("app".to_owned(), "cart".to_owned())].into(),
            ..Service::default()
        });
        let export = ServiceExport {
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            ..ServiceExport::default()
        };
        let import = ServiceImport {
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            clusters: vec!["east".to_owned(), "west".to_owned()],
            ..ServiceImport::default()
        };
        let slice = ImportedSlice {
            namespace: "shop".to_owned(),
            service: "cart".to_owned(),
            source_cluster: other.to_owned(),
            managed_by: "lighthouse-agent.submariner.io".to_owned(),
            addresses: vec![pod.parse().unwrap()],
            ..ImportedSlice::default()
        };
        let known = |kind: &str| Source::read(kind, "");
        let mcs = Mcs {
            served_versions: vec!["v1alpha1".to_owned()],
            exports: Fact::known(vec![export], known("ServiceExports")),
            imports: Fact::known(vec![import], known("ServiceImports")),
            crds: Fact::known(
                [(
                    "serviceexports".to_owned(),
                    Crd {
                        stored_versions: vec!["v1alpha1".to_owned()],
                        ..Crd::default()
                    },
                )]
                .into(),
                known("CustomResourceDefinitions"),
            ),
            endpoint_slices: Fact::known(vec![slice], known("EndpointSlices")),
        };
        facts.mcs = Fact::known(mcs, known("multicluster.x-k8s.io"));
    }
    clusters
}

fn judged(code: &str, change: impl FnOnce(&mut ClusterFacts)) -> Verdict {
    let mut clusters = exporting();
    change(&mut clusters[1]);
    findings(&report(Submariner, &clusters), code)[0].verdict
}

fn cart(facts: &mut ClusterFacts) -> &mut Service {
    value_mut(&mut facts.services)
        .iter_mut()
        .find(|service| service.name == "cart")
        .unwrap()
}

fn export(facts: &mut ClusterFacts) -> &mut ServiceExport {
    &mut value_mut(&mut value_mut(&mut facts.mcs).exports)[0]
}

#[test]
fn equal_exports_pass() {
    for code in CODES {
        assert_eq!(judged(code, |_| {}), Verdict::Pass, "{code}");
    }
}

#[test]
fn exports_that_could_not_be_read_are_unknown() {
    for code in CODES {
        let verdict = judged(code, |west| {
            west.mcs = Fact::unknown(Reason::Forbidden, "list serviceexports: forbidden");
        });
        assert_eq!(verdict, Verdict::Unknown, "{code}");
    }
}

#[test]
fn definitions_that_differ() {
    assert_eq!(judged("SM701", |west| cart(west).headless = true), Verdict::Fail);
    assert_eq!(judged("SM702", |west| cart(west).ports[0].port = 8080), Verdict::Fail);
    assert_eq!(
        judged("SM702", |west| cart(west).ports.push(ServicePort {
            name: "admin".to_owned(),
            protocol: "TCP".to_owned(),
            port: 81,
            ..ServicePort::default()
        })),
        Verdict::Warn
    );
    assert_eq!(
        judged("SM703", |west| cart(west).session_affinity = "ClientIP".to_owned()),
        Verdict::Warn
    );
    assert_eq!(
        judged("SM705", |west| cart(west).selector =
            [("app".to_owned(), "other".to_owned())].into()),
        Verdict::Warn
    );
}

#[test]
fn exports_that_cannot_work() {
    assert_eq!(
        judged("SM704", |west| cart(west).kind = "LoadBalancer".to_owned()),
        Verdict::Fail
    );
    assert_eq!(
        judged("SM709", |west| value_mut(&mut west.services)
            .retain(|service| service.name != "cart")),
        Verdict::Warn
    );
    assert_eq!(
        judged("SM715", |west| value_mut(&mut west.mcs).served_versions =
            vec!["v1beta1".to_owned()]),
        Verdict::Warn
    );
}

#[test]
fn l_605_a_namespace_missing_at_the_importer_warns() {
    assert_eq!(
        judged("SM706", |west| value_mut(&mut west.namespaces)
            .retain(|namespace| namespace.name != "shop")),
        Verdict::Warn
    );
}

#[test]
fn l_957_two_exports_with_one_flattened_name_fail() {
    let collide = |west: &mut ClusterFacts| {
        let exports = value_mut(&mut value_mut(&mut west.mcs).exports);
        exports.push(ServiceExport {
            namespace: "b-c".to_owned(),
            name: "a".to_owned(),
            ..ServiceExport::default()
        });
        exports.push(ServiceExport {
            namespace: "c".to_owned(),
            name: "a-b".to_owned(),
            ..ServiceExport::default()
        });
    };
    assert_eq!(judged("SM707", collide), Verdict::Fail);
}

#[test]
fn l_1831_conditions_of_every_exporter_are_read() {
    let condition = |kind: &str, status: &str, reason: &str| Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        ..Condition::default()
    };
    assert_eq!(
        judged("SM710", |west| export(west).conditions.push(condition(
            "Conflict",
            "True",
            "ConflictingPorts"
        ))),
        Verdict::Warn
    );
    assert_eq!(
        judged("SM710", |west| export(west).conditions.push(condition(
            "Conflict",
            "True",
            "TypeConflict"
        ))),
        Verdict::Fail
    );
    assert_eq!(
        judged("SM710", |west| export(west).conditions.push(condition(
            "Valid",
            "False",
            "ServiceUnavailable"
        ))),
        Verdict::Fail
    );
    assert_eq!(
        judged("SM710", |west| export(west)
            .conditions
            .push(condition("Conflict", "False", ""))),
        Verdict::Pass
    );
}

#[test]
fn imports_that_lack_a_cluster_fail() {
    assert_eq!(
        judged("SM711", |west| value_mut(&mut value_mut(&mut west.mcs).imports)[0]
            .clusters = vec!["west".to_owned()]),
        Verdict::Fail
    );
}

#[test]
fn imported_addresses_outside_what_is_advertised_fail() {
    let outside = |west: &mut ClusterFacts| {
        value_mut(&mut value_mut(&mut west.mcs).endpoint_slices)[0].addresses = vec!["10.99.0.7".parse().unwrap()];
    };
    assert_eq!(judged("SM712", outside), Verdict::Fail);
    let headless = |west: &mut ClusterFacts| {
        outside(west);
        value_mut(&mut value_mut(&mut west.mcs).endpoint_slices)[0].headless = Some(true);
    };
    assert_eq!(judged("SM712", headless), Verdict::Warn);
}
