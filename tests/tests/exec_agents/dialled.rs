//! The same agents, reached through cluster agents that dial out: `prejoin serve`, `prejoin-cluster-agent dial` and the agents of the nodes are
//! real processes, and between them is what is between them anywhere.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use prejoin_collector::serve::store::documents::Kind;
use prejoin_collector::serve::store::{Place, Store};
use prejoin_tests::api_server::{ExecFate, ExecVersion};
use prejoin_tests::lab;
use prejoin_tests::running::Running;
use serde_json::{Value, json};

use crate::{Audited, CLUSTERS, Fleet};

/// One of our programs, without the environment of this test.
fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(lab::program(name).unwrap());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// Two clusters whose agents dial in to one collector.
struct Dialled {
    fleet: Fleet,
    folder: tempfile::TempDir,
    server: Running,
    agents: Vec<Running>,
}

impl Dialled {
    fn up() -> Option<Self> {
        let fleet = Fleet::up(ExecVersion::V5, [ExecFate::Runs; 2])?;
        let folder = tempfile::tempdir().unwrap();
        // Given back at once: nobody else is given it that soon.
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        std::fs::write(
            folder.path().join("server.yaml"),
            format!(
                "apiVersion: prejoin.dev/v1alpha1\nlisten: 127.0.0.1:{port}\ngroups:\n- name: mesh\n  profiles: [clustermesh]\n  \
                 enrolled: [east, west]\n  schedule: {{cron: '0 0 1 1 *'}}\n"
            ),
        )
        .unwrap();
        let config = folder.path().join("server.yaml");
        let mut server = Running::start(program("prejoin", &["serve", "-f", config.to_str().unwrap()]));
        server.until("listens on https://");
        let mut dialled = Self {
            fleet,
            folder,
            server,
            agents: Vec::new(),
        };
        for (place, (cluster, _)) in CLUSTERS.iter().enumerate() {
            let agent = dialled.agent(cluster, &dialled.fleet.servers[place].url());
            dialled.agents.push(agent);
        }
        Some(dialled)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Enrols a cluster, and starts its agent with what was printed.
    fn agent(&self, cluster: &str, api: &str) -> Running {
        let invitation: Value = serde_json::from_slice(&self.serve(&["enroll", cluster, "-o", "json"])).unwrap();
        let kubeconfig = self.path(&format!("{cluster}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "own",
            "clusters": [{ "name": "own", "cluster": { "server": api } }],
            "users": [{ "name": "own", "user": { "token": "t" } }],
            "contexts": [{ "name": "own", "context": { "cluster": "own", "user": "own", "namespace": "prejoin-system" } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let said = |key: &str| invitation[key].as_str().unwrap().to_owned();
        let credential = self.path(&format!("{cluster}.json"));
        let mut command = program(
            "prejoin-cluster-agent",
            &[
                "dial",
                "--collector",
                &said("url"),
                "--fingerprint",
                &said("fingerprint"),
                "--enroll",
                &said("token"),
                "--credential-file",
                credential.to_str().unwrap(),
            ],
        );
        command.env("KUBECONFIG", &kubeconfig);
        let mut agent = Running::start(command);
        agent.until(&format!("connected as cluster {cluster}"));
        agent
    }

    /// What a command beside the server prints.
    fn serve(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(lab::program("prejoin").unwrap())
            .arg("serve")
            .args(arguments)
            .arg("-f")
            .arg(self.path("server.yaml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The last report.
    fn report(&self) -> Audited {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let report = runtime.block_on(async {
            let store = Store::open(&Place::File(self.path("prejoin.db"))).await.unwrap();
            let audit = store.latest_done("mesh").await.unwrap().unwrap();
            store.document::<Value>(&audit.id, Kind::Report, "").await.unwrap()
        });
        Audited {
            report: report.unwrap(),
            stderr: self.server.heard(),
        }
    }
}

#[test]
fn clusters_that_dial_in_prove_paths_and_one_that_is_revoked_is_cut_off() {
    let Some(mut dialled) = Dialled::up() else { return };
    dialled.server.until("mesh: audit 1: ");
    let audited = dialled.report();
    for code in ["CM501", "CM506", "CM507", "CM508"] {
        let paths = audited.paths(code);
        assert_eq!(paths.len(), 4, "{code}: {paths:#?}\n{}", audited.stderr);
        for node in ["c1n1", "c1n2", "c2n1", "c2n2"] {
            let proven = |path: &&String| path.contains(node) && path.contains(": proven, ");
            assert_eq!(paths.iter().filter(proven).count(), 2, "{code}: {paths:#?}");
        }
    }
    let pods = ["c1n1", "c1n2", "c2n1", "c2n2"].map(|node| format!("prejoin-agent-{node}"));
    assert_eq!(dialled.fleet.executed_in(), BTreeSet::from(pods));
    dialled.fleet.until_empty();

    dialled.serve(&["revoke", "west"]);
    dialled
        .server
        .until("cluster west was refused: its credential serves no more");
    dialled.agents[1].until("the collector refuses: 401");
    // The other is not concerned.
    assert!(dialled.agents[0].is_quiet());
}

#[test]
fn agents_find_a_collector_again_that_was_away_and_bring_no_token_for_it() {
    let Some(mut dialled) = Dialled::up() else { return };
    let config = dialled.path("server.yaml");
    let arguments = ["serve", "-f", config.to_str().unwrap()];
    // The first has to be gone before the second can listen.
    dialled.server.kill();
    dialled.server = Running::start(program("prejoin", &arguments));
    dialled.server.until("listens on https://");
    for (agent, (cluster, _)) in dialled.agents.iter_mut().zip(CLUSTERS) {
        agent.until(&format!("connected as cluster {cluster}"));
    }
}
