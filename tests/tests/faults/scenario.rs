//! A lab whose sites are clusters, audited by `prejoin` as a user runs it: a configuration with sites and facts files, and agents in all
//! nodes and pods.

use std::path::PathBuf;
use std::process::{Command, Output};

use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::report::{Report, Verdict};
use prejoin_tests::lab::fault::{Fault, Port};
use prejoin_tests::lab::{Lab, RunningLab, Site, Topology, program};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clusters;

/// A lab, and the configuration of its audit.
pub(crate) struct Scenario {
    pub(crate) lab: RunningLab,
    /// Nodes on which there is no agent.
    pub(crate) without_agent: Vec<String>,
    config: Value,
    folder: TempDir,
}

/// What depends on the machine the lab runs on, not on the lab: whether its clock is kept (NET401), the modules of its kernel (SM446), its
/// files (SM476, SM477).
pub(crate) const OF_THE_MACHINE: [&str; 4] = ["NET401", "SM446", "SM476", "SM477"];
/// What the sample clusters chose knowingly, and are warned of: kube-proxy (CM307), a NodePort (CM602).
const CHOSEN: [&str; 2] = ["CM307", "CM602"];

/// How the sites of a lab are clusters.
type Facts = fn(&Topology, &Site) -> ClusterFacts;

impl Scenario {
    /// Two sites of two nodes with Cilium, IPv4 alone, to be joined by ClusterMesh; none where no lab can be made.
    pub(crate) fn clustermesh() -> Option<Self> {
        Self::of(
            Lab::new().ipv4_only().site("east", 2).site("west", 2),
            "clustermesh",
            clusters::cilium,
        )
    }

    /// The same with three nodes a side, so that one node, one zone and one direction are different things.
    pub(crate) fn larger_clustermesh() -> Option<Self> {
        Self::of(
            Lab::new().ipv4_only().site("east", 3).site("west", 3),
            "clustermesh",
            clusters::cilium,
        )
    }

    /// The same with both IP families.
    pub(crate) fn dual_stack() -> Option<Self> {
        Self::of(
            Lab::new().site("east", 2).site("west", 2),
            "clustermesh",
            clusters::cilium,
        )
    }

    /// Two sites with Flannel, to be joined by Submariner; `east-n1` holds the broker.
    pub(crate) fn submariner() -> Option<Self> {
        let lab = Lab::new().ipv4_only().site("east", 2).site("west", 2);
        Self::submariner_of(lab, "https://172.31.1.11:6443")
    }

    /// The same, the broker called by a name that all nodes know: who it is only they find out, so that it is a service that answers there.
    pub(crate) fn named_broker() -> Option<Self> {
        let broker = [172, 31, 1, 11].into();
        let lab = Lab::new().ipv4_only().site("east", 2).site("west", 2);
        let scenario = Self::submariner_of(lab.name("broker.example", broker), "https://broker.example:6443")?;
        scenario.lab.serve("east-n1", Port::Tcp(6443)).unwrap();
        Some(scenario)
    }

    fn submariner_of(lab: Lab, broker: &str) -> Option<Self> {
        let mut scenario = Self::of(lab, "submariner", clusters::flannel)?;
        // Nobody in a lab tells public addresses.
        scenario.set("submariner", json!({"brokerUrl": broker, "airGapped": true}));
        Some(scenario)
    }

    /// Any lab.
    pub(crate) fn of(lab: Lab, profile: &str, facts: Facts) -> Option<Self> {
        let lab = lab.pods().up().unwrap()?;
        let folder = tempfile::tempdir().unwrap();
        let topology = lab.topology();
        for site in &topology.sites {
            let file = folder.path().join(format!("{}.json", site.name));
            std::fs::write(file, serde_json::to_vec(&facts(topology, site)).unwrap()).unwrap();
        }
        let skip = [OF_THE_MACHINE.as_slice(), &CHOSEN].concat();
        Some(Self {
            config: json!({
                "apiVersion": "prejoin.dev/v1alpha1",
                "profiles": [profile],
                "probe": "cover",
                "skip": skip,
            }),
            without_agent: Vec::new(),
            folder,
            lab,
        })
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    /// Makes a fault and says what the report complains of.
    pub(crate) fn with(&self, fault: Fault) -> Vec<String> {
        self.lab.fault(fault).unwrap();
        self.complaints()
    }

    /// What the report complains of.
    pub(crate) fn complaints(&self) -> Vec<String> {
        complaints(&self.audit())
    }

    /// Audits the lab.
    pub(crate) fn audit(&self) -> Report {
        let output = self.prejoin(&["-o", "json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// `prejoin audit` of the lab with these arguments besides.
    pub(crate) fn prejoin(&self, arguments: &[&str]) -> Output {
        Command::new(program("prejoin").unwrap())
            .args(["audit", "-f"])
            .arg(self.config_file())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn config_file(&self) -> PathBuf {
        let sites: Vec<Value> = self.lab.topology().sites.iter().map(|site| self.site(site)).collect();
        let mut config = self.config.clone();
        config["sites"] = json!(sites);
        // JSON is YAML.
        let path = self.folder.path().join("prejoin.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn site(&self, site: &Site) -> Value {
        let with_agent = site
            .nodes
            .iter()
            .filter(|node| !self.without_agent.contains(&node.name));
        let mut nodes: Vec<Value> = with_agent
            .map(|node| {
                json!({
                    "name": node.name,
                    "local": self.lab.agent(&node.name).unwrap(),
                    "addresses": node.addresses(),
                    "network": "host",
                    "zone": node.zone,
                })
            })
            .collect();
        nodes.push(json!({
            // As in a cluster: an agent in a pod goes by the name of the pod's node.
            "name": site.nodes[0].name,
            "local": self.lab.agent(&site.pod()).unwrap(),
            "addresses": [site.pod_address()],
            "network": "pod",
        }));
        json!({"name": site.name, "facts": format!("{}.json", site.name), "nodes": nodes})
    }
}

/// Every finding that counts, as `CM501 fail: UDP 8472 from east to west: ...`. What is unknown for a cause that breaks something else is shown with
/// it, and is no complaint of its own.
pub(crate) fn complaints(report: &Report) -> Vec<String> {
    let breaks_for = |cause: &str| {
        report
            .findings
            .iter()
            .any(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn) && finding.cause == cause)
    };
    let findings = report
        .findings
        .iter()
        .filter(|finding| finding.counts())
        .filter(|finding| finding.verdict != Verdict::Unknown || !breaks_for(&finding.cause));
    findings
        .map(|finding| {
            let what = if finding.found.is_empty() {
                &finding.reason
            } else {
                &finding.found
            };
            format!("{} {}: {what}", finding.code, finding.verdict)
        })
        .collect()
}

/// Says that the report complains of exactly these, in any order: how each complaint begins.
#[track_caller]
pub(crate) fn assert_only(complaints: &[String], expected: &[&str]) {
    let named = |said: &String| expected.iter().any(|wanted| said.starts_with(wanted));
    let missing: Vec<_> = expected
        .iter()
        .filter(|wanted| !complaints.iter().any(|said| said.starts_with(**wanted)))
        .collect();
    let beside: Vec<_> = complaints.iter().filter(|said| !named(said)).collect();
    assert!(
        missing.is_empty() && beside.is_empty(),
        "not named: {missing:#?}\nnamed beside it: {beside:#?}\nall: {complaints:#?}"
    );
}
