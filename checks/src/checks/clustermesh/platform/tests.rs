//! Given versions, kernels and networks, expect findings.

use super::kernel::{is_rhel_equivalent, kernel_number};
use crate::facts::ClusterFacts;
use crate::facts::cni::{Flannel, Plugin, PluginKind};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::profile::cilium::version::Version;
use crate::report::{Severity, Verdict};
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

fn version(name: &str, number: u8, version: &str) -> ClusterFacts {
    let mut facts = cilium(name, number);
    let cilium = cilium_mut(&mut facts);
    for component in value_mut(&mut cilium.versions).values_mut() {
        version.clone_into(component);
    }
    *value_mut(&mut cilium.agent_pods) = [(version.to_owned(), 2)].into();
    facts
}

fn verdicts(code: &str, clusters: &[ClusterFacts]) -> Vec<Verdict> {
    findings(&report(Clustermesh, clusters), code)
        .iter()
        .map(|finding| finding.verdict)
        .collect()
}

#[test]
fn one_minor_release_apart_is_recorded_and_two_fail() {
    let clusters = |other: &str| [version("east", 1, "1.20.0"), version("west", 2, other)];
    assert_eq!(verdicts("CM901", &clusters("1.20.2")), [Verdict::Pass]);
    let one = report(Clustermesh, &clusters("1.19.6"));
    assert_eq!(
        (findings(&one, "CM901")[0].verdict, findings(&one, "CM901")[0].severity),
        (Verdict::Pass, Severity::Info)
    );
    assert_eq!(verdicts("CM901", &clusters("1.18.12")), [Verdict::Fail]);
}

#[test]
fn only_the_pairs_too_far_apart_are_blocked() {
    let clusters = [
        version("east", 1, "1.18.12"),
        version("west", 2, "1.19.6"),
        version("north", 3, "1.20.0"),
    ];
    let report = report(Clustermesh, &clusters);
    let finding = findings(&report, "CM901")[0];
    assert_eq!(
        finding.subject.pairs.across,
        [[vec!["east".to_owned()], vec!["north".to_owned()]]]
    );
}

#[test]
fn a_version_that_nothing_tells_is_unknown() {
    let mut west = version("west", 2, "latest");
    value_mut(&mut cilium_mut(&mut west).agent_pods).clear();
    assert!(verdicts("CM901", &[cilium("east", 1), west.clone()]).contains(&Verdict::Unknown));
    assert!(verdicts("CM904", &[cilium("east", 1), west]).contains(&Verdict::Unknown));
}

#[test]
fn an_apiserver_left_behind_warns_but_not_during_a_rollout() {
    let mut east = cilium("east", 1);
    assert_eq!(verdicts("CM902", &[east.clone()]), [Verdict::Pass]);
    value_mut(&mut cilium_mut(&mut east).versions).insert("clustermesh-apiserver".to_owned(), "1.19.6".to_owned());
    assert_eq!(verdicts("CM902", &[east.clone()]), [Verdict::Warn]);
    value_mut(&mut cilium_mut(&mut east).agent_pods).insert("1.19.6".to_owned(), 1);
    assert_eq!(verdicts("CM902", &[east.clone()]), [Verdict::Pass]);
    cilium_mut(&mut east).versions = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
    assert_eq!(verdicts("CM902", &[east]), [Verdict::Unknown]);
}

#[test]
fn a_key_rotation_waits_for_the_upgrade() {
    let encrypting = |name: &str, number: u8, release: &str, keys: [u32; 2]| {
        let mut facts = version(name, number, release);
        set_cilium_key(&mut facts, "enable-ipsec", Some("true"));
        for (node, key) in value_mut(&mut cilium_mut(&mut facts).nodes).iter_mut().zip(keys) {
            node.encryption_key = Some(key);
        }
        facts
    };
    let at_rest = [
        encrypting("east", 1, "1.20.0", [3, 3]),
        encrypting("west", 2, "1.19.6", [3, 3]),
    ];
    assert_eq!(verdicts("CM903", &at_rest), [Verdict::Pass]);
    let rotating = [
        encrypting("east", 1, "1.20.0", [3, 4]),
        encrypting("west", 2, "1.19.6", [3, 3]),
    ];
    assert_eq!(verdicts("CM903", &rotating), [Verdict::Warn]);
}

#[test]
fn kernels_are_held_against_the_version() {
    let with = |kernel: &str, release: &str, ready: u32| {
        let mut facts = version("east", 1, release);
        value_mut(&mut facts.nodes)[0].kernel = kernel.to_owned();
        value_mut(&mut facts.workloads)[0].ready = ready;
        verdicts("CM904", &[facts])[0]
    };
    assert_eq!(with("5.10.0-28-amd64", "1.20.0", 1), Verdict::Pass);
    assert_eq!(with("5.4.0-190-generic", "1.20.0", 0), Verdict::Fail);
    assert_eq!(with("5.4.0-190-generic", "1.20.0", 1), Verdict::Warn);
    assert_eq!(with("5.4.0-190-generic", "1.17.18", 0), Verdict::Pass);
    assert_eq!(with("4.19.56", "1.14.19", 0), Verdict::Fail);
    assert_eq!(with("4.18.0-553.el8_10.x86_64", "1.19.6", 0), Verdict::Pass);
    assert_eq!(with("custom", "1.20.0", 1), Verdict::Unknown);
}

#[test]
fn kernel_numbers_and_their_backports() {
    assert_eq!(kernel_number("6.18.44-fc-v595"), Some([6, 18, 44]));
    assert_eq!(kernel_number("5.10"), Some([5, 10, 0]));
    assert_eq!(kernel_number("linux"), None);
    assert!(is_rhel_equivalent("4.18.0-372.9.1.el8.x86_64", Version(1, 18, 0)));
    assert!(!is_rhel_equivalent("4.18.0-372.9.1.el8.x86_64", Version(1, 19, 0)));
    assert!(!is_rhel_equivalent("4.18.0-553-generic", Version(1, 18, 0)));
}

#[test]
fn flannel_beside_vxlan_warns() {
    let mut east = cilium("east", 1);
    assert_eq!(verdicts("CM905", &[east.clone()]), [Verdict::Pass]);
    let source = Source::read("DaemonSet kube-flannel/kube-flannel-ds", "");
    value_mut(&mut east.cni.plugins).push(Plugin {
        kind: PluginKind::Flannel,
        source: source.clone(),
        version: String::new(),
        running: true,
    });
    assert_eq!(verdicts("CM905", &[east.clone()]), [Verdict::Warn]);
    east.cni.flannel = Fact::known(
        Flannel {
            port: Some(8473),
            ..Flannel::default()
        },
        source,
    );
    assert_eq!(verdicts("CM905", &[east.clone()]), [Verdict::Pass]);
    east.cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
    assert_eq!(verdicts("CM905", &[east]), [Verdict::Unknown]);
}

#[test]
fn odd_architectures_are_recorded() {
    let mut east = cilium("east", 1);
    value_mut(&mut east.nodes)[1].architecture = "s390x".to_owned();
    let clusters = [east];
    let report = report(Clustermesh, &clusters);
    let finding = findings(&report, "CM906")[0];
    assert_eq!(
        (finding.verdict, finding.severity, finding.subject.nodes.len()),
        (Verdict::Pass, Severity::Info, 1)
    );
}

#[test]
fn a_lab_on_one_network_says_so() {
    assert_eq!(
        verdicts("CM911", &[cilium("east", 1), cilium("west", 2)]),
        [Verdict::Pass]
    );
    let mut west = cilium("west", 2);
    for (node, last) in value_mut(&mut west.nodes).iter_mut().zip(21_u8..) {
        node.addresses[0].ip = [172, 31, 1, last].into();
    }
    assert_eq!(verdicts("CM911", &[cilium("east", 1), west]), [Verdict::Warn]);
}

#[test]
fn a_loopback_api_server_is_recorded() {
    let mut east = cilium("east", 1);
    value_mut(&mut east.api_server).clone_from(&"https://127.0.0.1:38291".to_owned());
    let clusters = [east];
    let report = report(Clustermesh, &clusters);
    assert_eq!(findings(&report, "CM912")[0].severity, Severity::Info);
    assert_eq!(findings(&report, "CM912")[0].verdict, Verdict::Pass);
    assert_eq!(findings(&report, "CM912")[0].remedy, "");
    let [mut east] = clusters;
    "kind://docker/east/east-n1".clone_into(&mut value_mut(&mut east.nodes)[0].provider_id);
    let report = self::report(Clustermesh, &[east]);
    assert!(
        findings(&report, "CM912")[0]
            .remedy
            .contains("kind get kubeconfig --internal")
    );
}
