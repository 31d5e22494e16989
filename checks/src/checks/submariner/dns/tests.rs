use super::{Stanza, stanzas};
use crate::facts::ClusterFacts;
use crate::facts::dns::Corefile;
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Submariner;
use crate::report::Verdict;
use crate::samples::{findings, report, submariner, value_mut};

const FORWARDING: &str = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n}\n#lighthouse-start\nclusterset.local:53 {\n    forward . 10.101.53.53\n}\n#lighthouse-end\n";
const PLAIN: &str = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n}\n";

fn file(object: &str, text: &str) -> Corefile {
    Corefile {
        source: Source::read(object, "Corefile"),
        text: text.to_owned(),
    }
}

fn judged(code: &str, change: impl FnOnce(&mut ClusterFacts)) -> Verdict {
    let mut clusters = submariner(&[("east", 1), ("west", 2)]);
    change(&mut clusters[0]);
    let report = report(Submariner, &clusters);
    findings(&report, code)
        .into_iter()
        .find(|finding| finding.subject.clusters == ["east"])
        .unwrap()
        .verdict
}

fn corefile(facts: &mut ClusterFacts) -> &mut Corefile {
    &mut value_mut(&mut facts.dns).corefiles[0]
}

#[test]
fn a_forward_to_lighthouse_passes() {
    for code in ["SM801", "SM802", "SM805", "SM806"] {
        assert_eq!(judged(code, |_| {}), Verdict::Pass, "{code}");
    }
    for code in ["SM803", "SM804"] {
        assert_eq!(judged(code, |_| {}), Verdict::Skip, "{code}");
    }
}

#[test]
fn dns_that_could_not_be_read_is_unknown() {
    for code in ["SM801", "SM802", "SM803", "SM804", "SM805", "SM806"] {
        assert_eq!(
            judged(code, |east| east.dns =
                Fact::unknown(Reason::Forbidden, "list configmaps: forbidden")),
            Verdict::Unknown,
            "{code}"
        );
    }
}

#[test]
fn another_name_than_coredns_needs_a_custom_config_map() {
    let rke2 =
        |east: &mut ClusterFacts| *corefile(east) = file("ConfigMap kube-system/rke2-coredns-rke2-coredns", PLAIN);
    assert_eq!(judged("SM801", rke2), Verdict::Fail);
}

#[test]
fn a_managed_corefile_warns() {
    assert_eq!(
        judged("SM802", |east| value_mut(&mut east.dns)
            .managed_by
            .push("addonmanager.kubernetes.io/mode: Reconcile".to_owned())),
        Verdict::Warn
    );
}

#[test]
fn kube_dns_needs_stub_domains() {
    let stubs = |stubs: &'static [&'static str]| {
        move |east: &mut ClusterFacts| {
            value_mut(&mut east.dns).kube_dns_stub_domains =
                Some(stubs.iter().map(|domain| ((*domain).to_owned(), Vec::new())).collect());
        }
    };
    assert_eq!(judged("SM803", stubs(&[])), Verdict::Fail);
    assert_eq!(judged("SM803", stubs(&["clusterset.local"])), Verdict::Pass);
}

#[test]
fn s_1549_node_local_dns_needs_a_zone_of_its_own() {
    let cache = |text: &'static str| {
        move |east: &mut ClusterFacts| {
            let dns = value_mut(&mut east.dns);
            dns.node_local_cache = true;
            dns.corefiles.push(file("ConfigMap kube-system/node-local-dns", text));
        }
    };
    assert_eq!(judged("SM804", cache(PLAIN)), Verdict::Fail);
    assert_eq!(judged("SM804", cache(FORWARDING)), Verdict::Pass);
}

#[test]
fn a_forward_to_a_service_that_is_gone_fails() {
    assert_eq!(
        judged("SM805", |east| corefile(east).text =
            FORWARDING.replace("10.101.53.53", "10.101.53.54")),
        Verdict::Fail
    );
    assert_eq!(
        judged("SM805", |east| corefile(east).text = PLAIN.to_owned()),
        Verdict::Fail
    );
}

#[test]
fn two_claims_on_one_domain_fail() {
    assert_eq!(
        judged("SM806", |east| corefile(east).text =
            PLAIN.replace("errors", "multicluster clusterset.local")),
        Verdict::Fail
    );
    assert_eq!(
        judged("SM806", |east| corefile(east).text = PLAIN.to_owned()),
        Verdict::Fail
    );
}

#[test]
fn corefiles_are_read_as_far_as_needed() {
    let stanza =
        &stanzas("a.example.,b.example:53 {\n  forward . 10.0.0.1 10.0.0.2:5353 {\n    prefer_udp\n  }\n}\n")[0];
    let expected = Stanza {
        zones: vec!["a.example".to_owned(), "b.example".to_owned()],
        forwards: vec!["10.0.0.1".to_owned(), "10.0.0.2:5353".to_owned()],
        plugins: ["forward", ".", "10.0.0.1", "10.0.0.2:5353"]
            .map(str::to_owned)
            .to_vec(),
    };
    assert_eq!(*stanza, expected);
    assert!(stanzas("}}}{{{").len() <= 1);
}
