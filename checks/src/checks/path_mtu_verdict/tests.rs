use crate::facts::ClusterFacts;
use crate::intent::Intent;
use crate::path_mtu::{PathMtu, TooBig};
use crate::profile::Profile::{Clustermesh, Submariner};
use crate::report::{Report, Verdict};
use crate::samples::network::{observed_report, silence};
use crate::samples::{cilium, findings, flannel, set_cilium_key};

fn pair() -> [ClusterFacts; 2] {
    [cilium("east", 1), cilium("west", 2)]
}

fn carries(bytes: u16, link_mtu: u16, told: bool) -> PathMtu {
    PathMtu {
        largest_confirmed: bytes,
        smallest_failed: Some(bytes + 1),
        link_mtu,
        told: told.then(|| TooBig {
            by: [192, 0, 2, 1].into(),
            mtu: bytes,
        }),
        left_open: false,
        black_hole: !told,
        sent: 90,
        rounds: 2,
    }
}

fn report(facts: &[ClusterFacts], found: impl Fn(&str, &str) -> Option<PathMtu>) -> Report {
    observed_report(Clustermesh, facts, &Intent::default(), |from, to, what, result| {
        if let (true, Some(found)) = (what == "path MTU", found(from, to)) {
            result.sent.as_mut().unwrap().path_mtu = Some(found);
        }
    })
}

#[test]
fn a_smaller_path_that_says_so_names_the_hop_and_the_largest_safe_mtu() {
    let report = report(&pair(), |_, _| Some(carries(1400, 1500, true)));
    let mtu = findings(&report, "CM508")[0];
    assert_eq!(mtu.verdict, Verdict::Fail);
    assert_eq!(
        mtu.found,
        "path MTU between all clusters: 1400 bytes of 1500; 192.0.2.1 says so"
    );
    assert!(
        mtu.remedy.contains("MTU=1400 on east (pods then get 1350)"),
        "{}",
        mtu.remedy
    );
}

#[test]
fn a_black_hole_is_called_one() {
    let report = report(&pair(), |_, _| Some(carries(1400, 1500, false)));
    assert!(findings(&report, "CM508")[0].found.contains("a black hole"));
}

#[test]
fn one_direction_only_is_named() {
    let report = report(&pair(), |from, _| {
        from.starts_with("west").then(|| carries(1400, 1500, true))
    });
    assert!(
        findings(&report, "CM508")[0]
            .found
            .starts_with("path MTU from west to east")
    );
}

#[test]
fn a_node_with_a_smaller_card_is_the_cause() {
    let report = report(&pair(), |_, to| (to == "east-n2").then(|| carries(1400, 1500, false)));
    assert!(
        findings(&report, "CM508")[0]
            .found
            .starts_with("path MTU from west to east/east-n2")
    );
}

#[test]
fn jumbo_frames_on_one_side_do_not_fit_the_path() {
    let report = report(&pair(), |from, _| {
        from.starts_with("east").then(|| carries(1500, 9000, true))
    });
    assert!(
        findings(&report, "CM508")[0]
            .found
            .starts_with("path MTU from east to west: 1500 bytes of 9000")
    );
}

#[test]
fn a_base_mtu_that_was_set_to_fit_is_enough() {
    let mut facts = pair();
    for cluster in &mut facts {
        set_cilium_key(cluster, "mtu", Some("1400"));
    }
    let report = report(&facts, |_, _| Some(carries(1400, 1500, true)));
    assert_eq!(findings(&report, "CM508")[0].verdict, Verdict::Pass);
}

#[test]
fn native_routing_adapts_to_what_the_path_says_but_not_to_silence() {
    let mut facts = pair();
    for cluster in &mut facts {
        set_cilium_key(cluster, "routing-mode", Some("native"));
    }
    let told = report(&facts, |_, _| Some(carries(1400, 1500, true)));
    let silent = report(&facts, |_, _| Some(carries(1400, 1500, false)));
    assert_eq!(findings(&told, "CM508")[0].verdict, Verdict::Warn);
    assert_eq!(findings(&silent, "CM508")[0].verdict, Verdict::Fail);
}

#[test]
fn where_nothing_arrives_the_path_mtu_is_unknown_for_the_same_cause() {
    let report = observed_report(Clustermesh, &pair(), &Intent::default(), |_, to, what, result| {
        if to == "west-n1" {
            silence(result);
            if what == "path MTU" {
                result.sent.as_mut().unwrap().path_mtu = Some(PathMtu::default());
            }
        }
    });
    let mtu = findings(&report, "CM508")
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Unknown)
        .unwrap();
    assert_eq!(mtu.cause, findings(&report, "CM501")[0].cause);
}

#[test]
fn submariner_is_told_what_to_clamp_tcp_to() {
    let facts = [flannel("east", 1), flannel("west", 2)];
    let report = observed_report(Submariner, &facts, &Intent::default(), |_, _, what, result| {
        if what == "path MTU" {
            result.sent.as_mut().unwrap().path_mtu = Some(carries(1400, 1500, true));
        }
    });
    let mtu = findings(&report, "SM511")[0];
    assert_eq!(mtu.verdict, Verdict::Warn);
    assert!(mtu.remedy.contains("tcp-clamp-mss=1275"), "{}", mtu.remedy);
}

/// What a search found where many datagrams are lost: so many bytes arrive, and from so many on they surely do not.
fn beside_loss(arrive: u16, fail: Option<u16>) -> Report {
    observed_report(Clustermesh, &pair(), &Intent::default(), |from, _, what, result| {
        let Ok(sent) = &mut result.sent else { return };
        if what == "path MTU" && from.starts_with("east") {
            sent.path_mtu = Some(PathMtu {
                largest_confirmed: arrive,
                smallest_failed: fail,
                left_open: true,
                link_mtu: 1500,
                ..PathMtu::default()
            });
        }
        if what == "UDP 8472" && from.starts_with("east") {
            (sent.sent, sent.answered) = (26, 6);
            sent.lossy_ports = vec![40_001, 40_002, 40_003];
        }
    })
}

#[test]
fn what_loss_leaves_open_is_unknown_for_that_loss() {
    for fail in [None, Some(1501)] {
        let report = beside_loss(1400, fail);
        let (mtu, loss) = (findings(&report, "CM508")[0], findings(&report, "NET302")[0]);
        assert_eq!((mtu.verdict, loss.verdict), (Verdict::Unknown, Verdict::Fail));
        assert_eq!(mtu.cause, loss.cause);
        assert!(
            mtu.found
                .contains("1400 bytes arrive, and too many datagrams are lost to tell whether 1500 do"),
            "{}",
            mtu.found
        );
    }
}

#[test]
fn what_is_certain_in_spite_of_loss_counts() {
    assert_eq!(findings(&beside_loss(1500, None), "CM508")[0].verdict, Verdict::Pass);
    let report = beside_loss(1400, Some(1480));
    assert_eq!(
        findings(&report, "CM508")[0].verdict,
        Verdict::Fail,
        "1480 bytes are less than are needed"
    );
}
