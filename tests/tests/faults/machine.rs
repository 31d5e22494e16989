//! What depends on the machine that the lab runs on is left out of the other scenarios: here it is held to what the machine says by other means.
//! And what the sample clusters chose knowingly is warned of.

use std::path::Path;
use std::process::Command;

use prejoin_checks::report::{Finding, Report, Verdict};
use serde_json::json;

use super::scenario::{OF_THE_MACHINE, Scenario, assert_only, complaints};

#[track_caller]
fn of_east<'r>(report: &'r Report, code: &str) -> &'r Finding {
    let of_code = |finding: &&Finding| finding.code == code && finding.subject.clusters == ["east"];
    report.findings.iter().find(of_code).unwrap()
}

/// What a path of this machine is: nodes of the lab have its files.
fn kind_of(path: &str) -> &'static str {
    match Path::new(path).metadata() {
        Ok(file) if file.is_dir() => "a directory",
        Ok(_) => "a file",
        Err(_) => "absent",
    }
}

#[test]
fn files_of_the_machine_are_told_as_they_are() {
    const LOCK: &str = "/run/xtables.lock";
    const NETWORK_MANAGER: &str = "/run/NetworkManager";
    let Some(mut scenario) = Scenario::submariner() else {
        return;
    };
    scenario.set("skip", json!([]));
    let before = kind_of(LOCK);
    let report = scenario.audit();
    let lock = of_east(&report, "SM477");
    if lock.verdict == Verdict::Unknown {
        // In a container, and a lab may be in one, what a process sees are not the node's files.
        for finding in [lock, of_east(&report, "SM476")] {
            assert_eq!(finding.verdict, Verdict::Unknown, "{}", finding.found);
            assert!(finding.found.contains("are not the node's"), "{}", finding.found);
        }
        return;
    }
    // Whoever calls iptables on this machine makes the file.
    if before == kind_of(LOCK) {
        assert!(lock.found.contains(before), "{}", lock.found);
        assert_eq!(lock.verdict == Verdict::Pass, before == "a file", "{}", lock.found);
    }
    let manager = of_east(&report, "SM476");
    let runs = kind_of(NETWORK_MANAGER) != "absent";
    assert_eq!(manager.found.contains("NetworkManager runs"), runs, "{}", manager.found);
    assert_eq!(manager.verdict, Verdict::Pass, "it is worth a word and no more");
}

#[test]
fn the_cable_driver_that_every_kernel_has_is_found_on_this_one() {
    let Some(mut scenario) = Scenario::submariner() else {
        return;
    };
    scenario.set("skip", json!([]));
    scenario.set(
        "submariner",
        json!({"brokerUrl": "https://172.31.1.11:6443", "airGapped": true, "cableDriver": "vxlan"}),
    );
    // Without VXLAN no lab has routes between nodes either: SM445, which all scenarios ask, would fail.
    let driver = scenario.audit();
    assert_eq!(
        of_east(&driver, "SM446").verdict,
        Verdict::Pass,
        "{}",
        of_east(&driver, "SM446").found
    );
}

#[test]
fn the_clock_is_kept_or_not_as_the_machine_says() {
    let Some(mut scenario) = Scenario::clustermesh() else {
        return;
    };
    scenario.set("skip", json!([]));
    let report = scenario.audit();
    let clock = of_east(&report, "NET401");
    let said = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    match said.as_ref().map(|output| output.stdout.trim_ascii()) {
        Ok(b"yes") => assert_eq!(clock.verdict, Verdict::Pass, "{}", clock.found),
        Ok(b"no") => assert_ne!(clock.verdict, Verdict::Pass, "{}", clock.found),
        // No systemd to ask: that it is known at all is left.
        _ => assert_ne!(clock.verdict, Verdict::Unknown, "{}", clock.reason),
    }
}

#[test]
fn what_the_sample_clusters_chose_is_warned_of_and_nothing_else() {
    let Some(mut scenario) = Scenario::clustermesh() else {
        return;
    };
    scenario.set("skip", json!(OF_THE_MACHINE));
    let report = scenario.audit();
    assert_only(
        &complaints(&report),
        &["CM307 warn: kube-proxy replacement", "CM602 warn: NodePort"],
    );
    let aliases = of_east(&report, "CM608");
    assert_eq!(
        (aliases.verdict, aliases.found.as_str()),
        (Verdict::Pass, "no name is pinned")
    );
}
