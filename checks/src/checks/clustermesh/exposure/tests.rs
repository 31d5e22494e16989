use crate::facts::ClusterFacts;
use crate::facts::provenance::{Fact, Reason};
use crate::facts::service::Service;
use crate::profile::Profile::Clustermesh;
use crate::report::Verdict;
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

fn mesh_service(facts: &mut ClusterFacts) -> &mut Service {
    value_mut(&mut facts.services)
        .iter_mut()
        .find(|service| service.name == "clustermesh-apiserver")
        .unwrap()
}

/// What is said of the first cluster, beside a healthy second.
fn verdict(code: &str, east: ClusterFacts) -> Verdict {
    let clusters = [east, cilium("west", 2)];
    let report = report(Clustermesh, &clusters);
    let of_east = findings(&report, code)
        .into_iter()
        .find(|finding| finding.subject.clusters == ["east"]);
    of_east.unwrap().verdict
}

#[test]
fn the_control_plane_is_ready_missing_or_broken() {
    assert_eq!(verdict("CM601", cilium("east", 1)), Verdict::Pass);

    let mut none_ready = cilium("east", 1);
    value_mut(&mut none_ready.workloads)[1].ready = 0;
    assert_eq!(verdict("CM601", none_ready.clone()), Verdict::Fail);

    let mut not_enabled = cilium("east", 1);
    value_mut(&mut not_enabled.workloads).retain(|workload| workload.name != "clustermesh-apiserver");
    value_mut(&mut not_enabled.services).retain(|service| service.name != "clustermesh-apiserver");
    assert_eq!(verdict("CM601", not_enabled), Verdict::Warn);

    let mut forbidden = cilium("east", 1);
    forbidden.workloads = Fact::unknown(Reason::Forbidden, "list deployments: forbidden");
    assert_eq!(verdict("CM601", forbidden), Verdict::Unknown);
}

#[test]
fn a_node_port_warns_and_a_load_balancer_passes() {
    assert_eq!(verdict("CM602", cilium("east", 1)), Verdict::Warn);
    let mut balanced = cilium("east", 1);
    mesh_service(&mut balanced).kind = "LoadBalancer".to_owned();
    assert_eq!(verdict("CM602", balanced.clone()), Verdict::Pass);
    assert_eq!(verdict("CM604", balanced.clone()), Verdict::Fail);
    mesh_service(&mut balanced).ingress = vec!["mesh.example.org".to_owned()];
    assert_eq!(verdict("CM604", balanced.clone()), Verdict::Warn);
    mesh_service(&mut balanced).ingress = vec!["192.0.2.7".to_owned()];
    assert_eq!(verdict("CM604", balanced), Verdict::Pass);
}

#[test]
fn a_node_port_outside_ciliums_range_fails_where_it_replaces_kube_proxy() {
    let mut east = cilium("east", 1);
    mesh_service(&mut east).ports[0].node_port = Some(40000);
    assert_eq!(verdict("CM603", east.clone()), Verdict::Pass);
    set_cilium_key(&mut east, "kube-proxy-replacement", Some("true"));
    assert_eq!(verdict("CM603", east.clone()), Verdict::Fail);
    set_cilium_key(&mut east, "node-port-range", Some("30000,45000"));
    assert_eq!(verdict("CM603", east.clone()), Verdict::Pass);
    set_cilium_key(&mut east, "node-port-range", Some("many"));
    assert_eq!(verdict("CM603", east), Verdict::Unknown);
}

#[test]
fn an_internal_load_balancer_of_another_region_warns() {
    let mut east = cilium("east", 1);
    value_mut(&mut east.nodes)
        .iter_mut()
        .for_each(|node| node.region = "europe-west1".to_owned());
    let service = mesh_service(&mut east);
    service.kind = "LoadBalancer".to_owned();
    service
        .annotations
        .insert("networking.gke.io/load-balancer-type".to_owned(), "Internal".to_owned());
    let mut west = cilium("west", 2);
    value_mut(&mut west.nodes)
        .iter_mut()
        .for_each(|node| node.region = "us-east1".to_owned());
    let clusters = [east, west];
    assert_eq!(
        findings(&report(Clustermesh, &clusters), "CM605")[0].verdict,
        Verdict::Warn
    );
}

#[test]
fn source_ranges_must_hold_a_node_of_each_peer() {
    let mut east = cilium("east", 1);
    mesh_service(&mut east).source_ranges = vec!["172.31.3.0/24".to_owned()];
    assert_eq!(verdict("CM606", east.clone()), Verdict::Warn);
    mesh_service(&mut east).source_ranges = vec!["172.31.2.0/24".to_owned()];
    assert_eq!(verdict("CM606", east), Verdict::Pass);
}

#[test]
fn several_replicas_need_session_affinity() {
    let mut east = cilium("east", 1);
    value_mut(&mut east.workloads)[1].desired = 2;
    assert_eq!(verdict("CM607", east.clone()), Verdict::Warn);
    mesh_service(&mut east).session_affinity = "ClientIP".to_owned();
    assert_eq!(verdict("CM607", east), Verdict::Pass);
}

#[test]
fn pinned_names_are_recorded_and_fail_nothing() {
    let mut east = cilium("east", 1);
    let source = crate::facts::provenance::Source::read("DaemonSet kube-system/cilium", "hostAliases");
    cilium_mut(&mut east).mesh.host_aliases = Fact::known(
        [("west.mesh.cilium.io".to_owned(), vec!["172.31.2.11".to_owned()])].into(),
        source,
    );
    let clusters = [east, cilium("west", 2)];
    let report = report(Clustermesh, &clusters);
    let finding = findings(&report, "CM608")
        .into_iter()
        .find(|finding| finding.subject.clusters == ["east"])
        .unwrap();
    assert_eq!((finding.verdict, finding.evidence.len()), (Verdict::Pass, 1));
}
