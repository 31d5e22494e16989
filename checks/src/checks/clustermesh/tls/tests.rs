//! Given reduced Secrets, expect findings.

use std::collections::BTreeMap;

use crate::facts::ClusterFacts;
use crate::facts::cilium::{Certificate, MeshSecrets, Peer};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::report::{Report, Verdict};
use crate::samples::{cilium, cilium_mut, findings, report, value_mut};

fn certificate(name: &str, signed_by: &str) -> Certificate {
    Certificate {
        common_name: name.to_owned(),
        issuer: signed_by.to_owned(),
        fingerprint: format!("fingerprint of {name} by {signed_by}"),
        subject_key_id: format!("key of {name}"),
        authority_key_id: format!("key of {signed_by}"),
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2028-01-01T00:00:00Z".parse().unwrap(),
        is_ca: name == signed_by,
        ..Certificate::default()
    }
}

/// A cluster with certificates of this CA and these peers.
fn with_secrets(name: &str, number: u8, ca: &str, peers: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = cilium(name, number);
    let leaf = |name: &str| vec![certificate(name, ca)];
    let mut server = certificate("clustermesh-apiserver", ca);
    server.names = vec!["*.mesh.cilium.io".to_owned()];
    let certificates = BTreeMap::from([
        ("cilium-ca/ca.crt".to_owned(), vec![certificate(ca, ca)]),
        ("clustermesh-apiserver-server-cert/tls.crt".to_owned(), vec![server]),
        ("clustermesh-apiserver-admin-cert/tls.crt".to_owned(), leaf("admin")),
        ("clustermesh-apiserver-remote-cert/tls.crt".to_owned(), leaf("remote")),
        ("clustermesh-apiserver-local-cert/tls.crt".to_owned(), leaf("local")),
    ]);
    let peers = peers
        .iter()
        .map(|(name, url)| {
            (
                (*name).to_owned(),
                Peer {
                    endpoints: vec![(*url).to_owned()],
                    ..Peer::default()
                },
            )
        })
        .collect();
    let present = vec!["cilium-clustermesh".to_owned(), "cilium-kvstoremesh".to_owned()];
    let secrets = MeshSecrets {
        present,
        certificates,
        peers,
        ipsec: None,
    };
    cilium_mut(&mut facts).secrets = Fact::known(secrets, Source::read("Secrets kube-system", ""));
    facts
}

fn secrets_mut(facts: &mut ClusterFacts) -> &mut MeshSecrets {
    value_mut(&mut cilium_mut(facts).secrets)
}

fn verdicts(report: &Report, code: &str) -> Vec<Verdict> {
    findings(report, code).iter().map(|finding| finding.verdict).collect()
}

fn judged(code: &str, clusters: &[ClusterFacts]) -> Vec<Verdict> {
    verdicts(&report(Clustermesh, clusters), code)
}

#[test]
fn without_read_secrets_nothing_is_asked() {
    let report = report(Clustermesh, &[cilium("east", 1), cilium("west", 2)]);
    for code in [
        "CM611", "CM612", "CM613", "CM614", "CM615", "CM616", "CM617", "CM618", "CM619", "CM620",
    ] {
        for finding in findings(&report, code) {
            assert_eq!(
                (finding.verdict, finding.reason.as_str()),
                (Verdict::Skip, "not asked"),
                "{code}"
            );
        }
    }
}

#[test]
fn a_refused_secret_is_unknown() {
    let mut east = cilium("east", 1);
    cilium_mut(&mut east).secrets = Fact::unknown(Reason::Forbidden, "get secrets: forbidden");
    let report = report(Clustermesh, &[east, with_secrets("west", 2, "one", &[])]);
    for code in [
        "CM611", "CM612", "CM613", "CM614", "CM615", "CM616", "CM617", "CM618", "CM619", "CM620",
    ] {
        assert!(verdicts(&report, code).contains(&Verdict::Unknown), "{code}");
    }
}

#[test]
fn one_ca_is_trusted_and_two_are_not_unless_bundled() {
    assert_eq!(
        judged(
            "CM611",
            &[with_secrets("east", 1, "one", &[]), with_secrets("west", 2, "one", &[])]
        ),
        [Verdict::Pass]
    );
    let (mut east, mut west) = (with_secrets("east", 1, "one", &[]), with_secrets("west", 2, "two", &[]));
    assert_eq!(judged("CM611", &[east.clone(), west.clone()]), [Verdict::Fail]);
    for facts in [&mut east, &mut west] {
        let bundle = vec![certificate("one", "one"), certificate("two", "two")];
        secrets_mut(facts)
            .certificates
            .insert("cilium-root-ca.crt/ca.crt".to_owned(), bundle);
    }
    assert_eq!(judged("CM611", &[east, west]), [Verdict::Pass]);
}

#[test]
fn certificates_of_an_older_ca_fail() {
    let mut east = with_secrets("east", 1, "one", &[]);
    assert_eq!(judged("CM612", &[east.clone()]), [Verdict::Pass]);
    secrets_mut(&mut east)
        .certificates
        .insert("cilium-ca/ca.crt".to_owned(), vec![certificate("new", "new")]);
    assert_eq!(judged("CM612", &[east]), [Verdict::Fail]);
}

#[test]
fn an_intermediate_ca_warns() {
    let mut east = with_secrets("east", 1, "one", &[]);
    assert_eq!(judged("CM613", &[east.clone()]), [Verdict::Pass]);
    secrets_mut(&mut east).certificates.insert(
        "cilium-ca/ca.crt".to_owned(),
        vec![certificate("one", "corporate root")],
    );
    assert_eq!(judged("CM613", &[east]), [Verdict::Warn]);
}

#[test]
fn expiry_warns_before_it_fails_and_short_lives_are_healthy() {
    // Judged on 2026-11-21.
    for (from, until, expected) in [
        ("2026-01-01", "2028-01-01", Verdict::Pass),
        ("2026-01-01", "2026-12-01", Verdict::Warn),
        ("2026-01-01", "2026-11-01", Verdict::Fail),
        ("2027-01-01", "2028-01-01", Verdict::Fail),
        ("2026-11-20", "2026-12-04", Verdict::Pass),
    ] {
        let mut east = with_secrets("east", 1, "one", &[]);
        for list in secrets_mut(&mut east).certificates.values_mut() {
            list[0].not_before = format!("{from}T00:00:00Z").parse().unwrap();
            list[0].not_after = format!("{until}T00:00:00Z").parse().unwrap();
        }
        assert_eq!(judged("CM614", &[east]), [expected], "{from} to {until}");
    }
}

#[test]
fn the_server_certificate_covers_what_peers_dial() {
    let east = with_secrets("east", 1, "one", &[("west", "https://west.mesh.cilium.io:32379")]);
    let west = with_secrets("west", 2, "one", &[("east", "https://east.mesh.example.org:32379")]);
    assert_eq!(judged("CM615", &[east.clone(), west]), [Verdict::Fail, Verdict::Pass]);
    let west = with_secrets("west", 2, "one", &[("east", "https://east.mesh.cilium.io:32379")]);
    assert_eq!(judged("CM615", &[east, west]), [Verdict::Pass, Verdict::Pass]);
}

#[test]
fn a_user_of_its_own_must_be_known_to_the_peers() {
    let mut east = with_secrets("east", 1, "one", &[]);
    secrets_mut(&mut east).certificates.insert(
        "clustermesh-apiserver-remote-cert/tls.crt".to_owned(),
        vec![certificate("remote-east", "one")],
    );
    let mut west = with_secrets("west", 2, "one", &[]);
    let users = |names: &[&str]| {
        Fact::known(
            names.iter().map(|name| (*name).to_owned()).collect(),
            Source::read("ConfigMap kube-system/clustermesh-remote-users", "users.yaml"),
        )
    };
    cilium_mut(&mut west).mesh.remote_users = users(&["remote-north"]);
    assert_eq!(
        judged("CM616", &[east.clone(), west.clone()]),
        [Verdict::Fail, Verdict::Pass]
    );
    cilium_mut(&mut west).mesh.remote_users = users(&["remote-east"]);
    assert_eq!(judged("CM616", &[east, west]), [Verdict::Pass, Verdict::Pass]);
}

#[test]
fn missing_peer_secrets_fail_once_somebody_is_connected() {
    let mut east = with_secrets("east", 1, "one", &[]);
    secrets_mut(&mut east).present.clear();
    assert_eq!(
        judged("CM617", &[east.clone(), with_secrets("west", 2, "one", &[])]),
        [Verdict::Pass, Verdict::Pass]
    );
    let west = with_secrets("west", 2, "one", &[("east", "https://east.mesh.cilium.io:32379")]);
    assert_eq!(judged("CM617", &[east, west]), [Verdict::Fail, Verdict::Pass]);
}

#[test]
fn a_peer_pinned_to_a_node_that_went_away_warns() {
    let west = || with_secrets("west", 2, "one", &[]);
    let east = |address: &str| with_secrets("east", 1, "one", &[("west", &format!("https://{address}:32379"))]);
    assert!(judged("CM618", &[east("172.31.2.11"), west()]).contains(&Verdict::Pass));
    assert!(judged("CM618", &[east("172.31.2.99"), west()]).contains(&Verdict::Warn));
}

#[test]
fn dialling_ones_own_control_plane_fails_and_its_address_alone_warns() {
    let west = || with_secrets("west", 2, "one", &[]);
    let east = |url: &str| with_secrets("east", 1, "one", &[("west", url)]);
    assert!(judged("CM619", &[east("https://172.31.2.11:32379"), west()]).contains(&Verdict::Pass));
    assert!(judged("CM619", &[east("https://172.31.1.11:32379"), west()]).contains(&Verdict::Fail));
    assert!(judged("CM619", &[east("https://172.31.1.11:32380"), west()]).contains(&Verdict::Warn));
}

#[test]
fn certificates_supplied_by_hand_must_all_be_there() {
    let mut east = with_secrets("east", 1, "one", &[]);
    assert_eq!(judged("CM620", &[east.clone()]), [Verdict::Pass]);
    secrets_mut(&mut east)
        .certificates
        .remove("clustermesh-apiserver-remote-cert/tls.crt");
    assert_eq!(judged("CM620", &[east]), [Verdict::Fail]);
}
