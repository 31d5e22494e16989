//! `prejoin lab` with kind: where Docker is not, a `kind` and a `docker` take its place that write down what they are told, and keep of each
//! node the chains, the MTU and the queue that it was given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::command::{Outcome, outcome};

/// Clusters are files; with a file `refuse-NAME` there, that one cannot be made.
const KIND: &str = r#"#!/bin/sh
cd "$(dirname "$0")" && echo "kind $*" >>words
case "$1 $2" in
    'get clusters') ls clusters ;;
    'create cluster') cat >"configuration-$4"; [ ! -e "refuse-$4" ] && touch "clusters/$4" ;;
    'delete cluster') rm -f "clusters/$4" ;;
    'get nodes') echo "$4-worker"; echo "$4-control-plane" ;;
esac
"#;

/// Addresses come from the place of a node in the order of names.
const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" && echo "docker $*" >>words
case "$1" in
    inspect)
        case "$4" in
            *east-control-plane) echo 172.18.0.2 ;;
            *east-worker) echo 172.18.0.3 ;;
            *west-control-plane) echo 172.18.0.4 ;;
            *west-worker) echo 172.18.0.5 ;;
        esac ;;
    exec)
        node=$3
        shift 3
        case "$*" in
            'iptables-save -t mangle') echo ':PREROUTING ACCEPT [0:0]'; cat "chains-$node" 2>/dev/null || true ;;
            iptables-restore*)
                cat >input && cat input >>words
                [ ! -e "refuse-$node" ] || exit 4
                sed -n 's/^\(:PREJOIN-.*\)/\1/p' input >>"chains-$node"
                sed -n 's/^-X //p' input | while read -r chain; do sed -i "/^:$chain /d" "chains-$node"; done ;;
            'ip -details link show dev eth0') echo "3: eth0@if9: <UP> mtu $(cat "mtu-$node" 2>/dev/null || echo 1500)" ;;
            'ip link set dev eth0 mtu '*) echo "$7 $8 $9" >"mtu-$node" ;;
            'tc qdisc show dev eth0') cat "queue-$node" 2>/dev/null || echo 'qdisc noqueue 0: root' ;;
            'tc -batch -') cat >>words; echo 'qdisc prio 7a7a: root' >"queue-$node" ;;
            'tc qdisc del '*) rm "queue-$node" ;;
        esac ;;
esac
"#;

/// The programs, and what they were told.
struct Fakes {
    folder: tempfile::TempDir,
}

impl Fakes {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("clusters")).unwrap();
        for (name, script) in [("kind", KIND), ("docker", DOCKER)] {
            let path = folder.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lab(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prejoin"));
        command.arg("lab").args(arguments).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path().display()));
        outcome(&command.output().unwrap())
    }

    /// What was said since this was last asked.
    fn words(&self) -> String {
        let file = self.path().join("words");
        let words = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        words
    }

    /// What the nodes keep.
    fn kept(&self) -> Vec<(String, String)> {
        let files = self.path().read_dir().unwrap().map(|entry| entry.unwrap());
        let kept = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
        let mut kept: Vec<(String, String)> = kept
            .filter(|(name, _)| ["chains-", "mtu-", "queue-"].iter().any(|kind| name.starts_with(kind)))
            .map(|(name, path)| (name, fs::read_to_string(path).unwrap().trim().to_owned()))
            .filter(|(_, content)| !content.is_empty() && content != "1500 alias")
            .collect();
        kept.sort_unstable();
        kept
    }
}

#[test]
fn up_makes_clusters_of_kind_and_says_how_to_audit_them() {
    let fakes = Fakes::new();
    let up = fakes.lab(&["up", "--image-archive", "agent.tar"]).exits(0);
    assert_eq!(
        up.stdout,
        "prejoin audit --context kind-prejoin-east --context kind-prejoin-west --agents ephemeral\n"
    );
    let words = fakes.words();
    assert!(
        words.contains("kind create cluster --name prejoin-west --config - --wait 3m\n"),
        "{words}"
    );
    assert!(
        words.contains("kind load image-archive agent.tar --name prejoin-west\n"),
        "{words}"
    );
    let configuration = fs::read_to_string(fakes.path().join("configuration-prejoin-west")).unwrap();
    assert!(configuration.contains("podSubnet: 10.12.0.0/16") && !configuration.contains("disableDefaultCNI"));
    fakes.lab(&["up"]).exits(1).says("prejoin-east is there already");
    fakes.lab(&["down"]).exits(0);
    assert_eq!(fs::read_dir(fakes.path().join("clusters")).unwrap().count(), 0);
    fakes
        .lab(&["down", "--on", "kind"])
        .exits(1)
        .says("no lab prejoin is up");
}

#[test]
fn without_a_network_plugin_nobody_waits_for_nodes() {
    let fakes = Fakes::new();
    fakes
        .lab(&["up", "--no-cni", "--clusters", "3", "--name", "mesh"])
        .exits(0);
    assert!(
        fakes
            .words()
            .contains("kind create cluster --name mesh-north --config -\n")
    );
    let configuration = fs::read_to_string(fakes.path().join("configuration-mesh-north")).unwrap();
    assert!(configuration.contains("disableDefaultCNI: true"));
}

#[test]
fn half_a_lab_is_taken_away_and_other_clusters_are_not() {
    let fakes = Fakes::new();
    for name in ["clusters/kind", "clusters/east", "refuse-prejoin-west"] {
        fs::write(fakes.path().join(name), "").unwrap();
    }
    fakes
        .lab(&["up"])
        .exits(1)
        .says("kind create cluster --name prejoin-west");
    let mut left: Vec<_> = fs::read_dir(fakes.path().join("clusters"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["east", "kind"]);
}

#[test]
fn every_fault_is_made_and_mended_and_leaves_nothing() {
    let fakes = Fakes::new();
    fakes.lab(&["up"]).exits(0);
    for (fault, nodes) in [
        ("tunnel-port", 4),
        ("mesh-port", 4),
        ("api-port", 4),
        ("icmp", 4),
        ("mtu", 2),
        ("one-node", 1),
        ("loss", 4),
        ("latency", 4),
    ] {
        fakes.lab(&["break", fault]).exits(0).says(fault);
        assert_eq!(fakes.kept().len(), nodes, "{fault}: {:?}", fakes.kept());
        fakes.lab(&["break", fault]).exits(1).says("is broken already");
        fakes.lab(&["heal"]).exits(0).says(&format!("mended: {fault}"));
        assert_eq!(fakes.kept(), [], "{fault}");
    }
    fakes.lab(&["heal"]).exits(0).says("nothing was broken");
}

#[test]
fn a_fault_is_between_clusters_and_not_inside_one() {
    let fakes = Fakes::new();
    fakes.lab(&["up"]).exits(0);
    fakes.words();
    fakes.lab(&["break", "icmp"]).exits(0);
    let words = fakes.words();
    let of_east: &str = words
        .split("docker exec -i prejoin-east-worker iptables-restore")
        .nth(1)
        .unwrap();
    let of_east = of_east.split("COMMIT").next().unwrap();
    assert!(
        of_east.contains("-s 172.18.0.4/32 -p icmp -j DROP") && of_east.contains("-s 172.18.0.5/32"),
        "{of_east}"
    );
    assert!(!of_east.contains("172.18.0.2"), "{of_east}");
}

#[test]
fn faults_are_mended_one_by_one() {
    let fakes = Fakes::new();
    fakes.lab(&["up"]).exits(0);
    fakes.lab(&["break", "icmp"]).exits(0);
    fakes.lab(&["break", "latency"]).exits(0);
    fakes.lab(&["heal", "icmp"]).exits(0).says("mended: icmp");
    assert!(fakes.kept().iter().all(|(name, _)| name.starts_with("queue-")));
    fakes.lab(&["heal"]).exits(0).says("mended: latency");
}

#[test]
fn a_fault_that_cannot_be_made_everywhere_is_made_nowhere() {
    let fakes = Fakes::new();
    fakes.lab(&["up"]).exits(0);
    fs::write(fakes.path().join("refuse-prejoin-west-worker"), "").unwrap();
    fakes
        .lab(&["break", "icmp"])
        .exits(1)
        .says("prejoin-west-worker iptables-restore");
    assert_eq!(fakes.kept(), []);
}

#[test]
fn a_lab_that_cannot_be_made_says_what_is_lacking() {
    let fakes = Fakes::new();
    fs::write(fakes.path().join("docker"), "#!/bin/sh\nexit 1\n").unwrap();
    fakes
        .lab(&["up", "--on", "kind"])
        .exits(1)
        .says("docker does not answer")
        .prints_nothing();
    fakes.lab(&["up", "--clusters", "1"]).exits(2).prints_nothing();
    let unknown = fakes.lab(&["break", "everything"]).exits(2);
    assert!(unknown.stderr.contains("tunnel-port"), "{unknown:?}");
}
