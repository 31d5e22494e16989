//! `prejoin lab` as a user types it, on the lab of namespaces: made, audited, broken, mended, taken down. With kind: `collector/tests/cli/lab.rs`.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeSet;
use std::process::Command;

use prejoin_checks::report::{Report, Verdict};
use prejoin_collector::lab::Fault;
use prejoin_tests::kubernetes::{Outcome, REQUIRE, fault_names, lacking};
use prejoin_tests::lab;

/// A lab of this process's own.
struct Lab {
    name: String,
    kubeconfig: String,
}

impl Lab {
    fn prejoin(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(lab::program("prejoin").unwrap());
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        Outcome::of(command).unwrap()
    }

    fn lab(&self, words: &[&str]) -> Outcome {
        self.prejoin(&[&["lab"], words, &["--on", "namespaces", "--name", &self.name]].concat())
    }

    fn on_both(&self, words: &[&str]) -> Outcome {
        let outcome = self.prejoin(&[words, &["--context", "east", "--context", "west"]].concat());
        assert!(matches!(outcome.code, 0 | 3 | 5), "{words:?}: {outcome:#?}");
        outcome
    }

    /// What counts in a report: `SM501 fail: ...`.
    fn complaints(&self) -> BTreeSet<String> {
        let audited = self.on_both(&[
            "audit",
            "--profile",
            "submariner",
            "--agents",
            "installed",
            "-o",
            "json",
        ]);
        let report: Report = serde_json::from_str(&audited.stdout).unwrap();
        let counting = report.findings.iter().filter(|finding| finding.counts());
        let broken = counting.filter(|finding| finding.verdict != Verdict::Unknown);
        broken
            .map(|finding| format!("{} {}: {}", finding.code, finding.verdict, finding.found))
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // When the test has ended by itself, it is gone already.
        if std::thread::panicking() {
            self.lab(&["down"]);
        }
    }
}

#[test]
fn a_lab_is_made_audited_broken_mended_and_taken_down() {
    if let Some(lacking) = lacking() {
        assert!(std::env::var_os(REQUIRE).is_none(), "{lacking}");
        eprintln!("SKIPPED: Kubernetes cannot run here: {lacking}; set {REQUIRE}=1 to make that a failure");
        return;
    }
    let mut lab = Lab {
        name: format!("command-{}", std::process::id()),
        kubeconfig: String::new(),
    };
    let down = lab.lab(&["down"]);
    assert_eq!(
        (down.code, down.stderr.contains("no lab command-")),
        (1, true),
        "{down:#?}"
    );

    let up = lab.lab(&["up"]);
    assert_eq!(up.code, 0, "{up:#?}");
    let (export, audit) = up.stdout.split_once('\n').unwrap();
    export
        .strip_prefix("export KUBECONFIG=")
        .unwrap()
        .clone_into(&mut lab.kubeconfig);
    assert_eq!(
        audit.trim(),
        "prejoin audit --context east --context west --agents ephemeral"
    );
    assert_eq!(lab.lab(&["up"]).code, 1, "it is up already");

    lab.on_both(&["agents", "install"]);
    let well = lab.complaints();
    for (fault, named) in [("tunnel-port", "UDP 4500"), ("mtu", "1400"), ("one-node", "west-n2")] {
        assert_eq!(lab.lab(&["break", fault]).code, 0, "{fault}");
        assert_eq!(lab.lab(&["break", fault]).code, 1, "{fault} is broken already");
        let broken = lab.complaints();
        let new: Vec<&String> = broken.difference(&well).collect();
        assert!(
            !new.is_empty() && new.iter().any(|said| said.contains(named)),
            "{fault}: {new:#?}"
        );
        let heal = lab.lab(&["heal"]);
        assert!(heal.stderr.contains(&format!("mended: {fault}")), "{heal:#?}");
    }
    assert_eq!(lab.complaints(), well, "healed");

    assert_eq!(lab.lab(&["down"]).code, 0);
    assert_eq!(lab.lab(&["heal"]).code, 1);
    let left = std::env::temp_dir()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(&lab.name)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn both_kinds_of_labs_know_the_same_faults() {
    let ours: Vec<&str> = Fault::all().iter().map(|fault| fault.name()).collect();
    assert_eq!(ours, fault_names().collect::<Vec<_>>());
}
