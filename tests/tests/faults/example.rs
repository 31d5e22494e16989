//! `examples/lab.yaml`, as a person uses it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::report::Report;
use prejoin_checks::report::paths::PathOutcome;
use prejoin_checks::samples::{NOW, cilium_mut, set_cilium_key, value_mut};
use prejoin_collector::text::write_json;
use prejoin_tests::lab::{self, Site, Topology, WRITTEN_DOWN, program};
use tempfile::TempDir;

use super::clusters;
use super::scenario::{assert_only, complaints};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A cluster with Cilium that Submariner can be joined to as well: its second node is a gateway, and packets of pods take the host's routes.
fn for_both(topology: &Topology, site: &Site) -> ClusterFacts {
    let mut facts = clusters::cilium(topology, site);
    let flannel = clusters::flannel(topology, site);
    facts.collected_at = Some(NOW.parse().unwrap());
    facts.control_plane = flannel.control_plane.clone();
    facts.dns = flannel.dns.clone();
    let labels: BTreeMap<_, _> = flannel
        .nodes
        .get()
        .unwrap()
        .iter()
        .map(|node| (&node.name, &node.labels))
        .collect();
    for node in value_mut(&mut facts.nodes) {
        node.labels.clone_from(labels[&node.name]);
    }
    cilium_mut(&mut facts).mesh.host_aliases = Fact::known(
        BTreeMap::new(),
        Source::read("Deployment kube-system/clustermesh-apiserver", "hostAliases"),
    );
    set_cilium_key(&mut facts, "enable-host-legacy-routing", Some("true"));
    facts
}

/// The lab of the example, raised as a person does it: by the program, in the foreground.
struct ByHand {
    up: Child,
    folder: TempDir,
}

impl ByHand {
    fn up() -> Option<Self> {
        // Says loudly that it skips, where no lab can be made.
        lab::example().up().unwrap()?;
        let folder = tempfile::tempdir().unwrap();
        let mut up = Command::new(env!("CARGO_BIN_EXE_prejoin-lab"))
            .arg("up")
            .env(WRITTEN_DOWN, folder.path().join("lab.json"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(up.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("Ctrl-C")), "it says that it is up");
        Some(Self { up, folder })
    }

    fn written_down(&self) -> PathBuf {
        self.folder.path().join("lab.json")
    }

    /// `prejoin audit -f examples/lab.yaml`, in the terminal beside it.
    fn audit(&self, arguments: &[&str]) -> Output {
        let programs = Path::new(env!("CARGO_BIN_EXE_prejoin-lab")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path)));
        Command::new(program("prejoin").unwrap())
            .args(["audit", "-f"])
            .arg(examples().join("lab.yaml"))
            .args(arguments)
            .env("PATH", path.unwrap())
            .env(WRITTEN_DOWN, self.written_down())
            .output()
            .unwrap()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.up.kill();
        let _ = self.up.wait();
    }
}

#[test]
fn the_facts_of_the_example_are_those_of_the_lab() {
    let lab = lab::example();
    for site in &lab.topology().sites {
        let facts = for_both(lab.topology(), site);
        let file = examples().join("lab").join(format!("{}.json", site.name));
        if std::env::var_os("PREJOIN_UPDATE_DOCS").is_some() {
            let mut text = Vec::new();
            write_json(&facts, &mut text).unwrap();
            std::fs::write(&file, text).unwrap();
        }
        let written: ClusterFacts = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert!(
            written == facts,
            "{} is stale: PREJOIN_UPDATE_DOCS=1 writes it",
            file.display()
        );
    }
}

#[test]
fn the_example_audits_the_lab_with_every_flow_of_both_profiles_proven() {
    let Some(by_hand) = ByHand::up() else { return };
    let output = by_hand.audit(&["-o", "json"]);
    let report: Report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    // True of such clusters: their NodePorts, and a network plugin that Submariner does not know.
    assert_only(&complaints(&report), &["CM307 warn", "CM602 warn", "SM307 warn"]);
    assert_eq!((report.summary.unknown, report.summary.fail), (0, 0));
    let coverage = &report.coverage;
    for (what, ratio) in [
        ("facts", coverage.facts),
        ("flows", coverage.flows),
        ("checks", coverage.checks),
    ] {
        assert_eq!(ratio.known, ratio.wanted, "{what}: coverage of 100 %");
    }
    for codes in [
        &["CM501", "CM505", "CM506", "CM507", "CM508"][..],
        &["SM501", "SM502", "SM504", "SM505", "SM511"],
    ] {
        for code in codes {
            let mut of_code = report
                .paths
                .iter()
                .filter(|path| path.codes.iter().any(|of| of == code))
                .peekable();
            assert!(of_code.peek().is_some(), "{code} is probed");
            assert!(
                of_code.all(|path| path.outcome == PathOutcome::Proven),
                "{code} is proven"
            );
        }
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_lab_is_gone_after_ctrl_c() {
    let Some(mut by_hand) = ByHand::up() else { return };
    kill(Pid::from_raw(by_hand.up.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert!(by_hand.up.wait().unwrap().success());
    assert!(!by_hand.written_down().exists());
    let output = by_hand.audit(&["-o", "json"]);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.exit_code, 5, "no agent, no proof");
    let said = complaints(&report);
    assert!(said.iter().any(|said| said.contains("prejoin-lab up")), "{said:#?}");
}
