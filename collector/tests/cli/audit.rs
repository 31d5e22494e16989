//! `prejoin audit` against API servers on loopback.

use std::io::{Read, Write};

use prejoin_checks::samples::cilium;
use prejoin_tests::api_server::{ApiServer, Failure, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, KubeconfigFile, User};
use serde_json::{Value, json};

use super::command::{Outcome, Place, arg, outcome};

struct Fleet {
    place: Place,
    east: ApiServer,
    west: ApiServer,
    kubeconfig: KubeconfigFile,
}

impl Fleet {
    fn new() -> Self {
        let east = ApiServer::start(Objects::cluster("good/east"));
        let west = ApiServer::start(Objects::cluster("good/west"));
        let kubeconfig = Kubeconfig::new()
            .context("east", &east.url(), User::Token("t".to_owned()))
            .context("west", &west.url(), User::Token("t".to_owned()))
            .context("twin", &east.url(), User::Token("t".to_owned()))
            .context(
                "plugin",
                &west.url(),
                User::ExecPlugin {
                    command: "no-such-plugin".to_owned(),
                },
            )
            .context("gone", "http://127.0.0.1:1", User::Anonymous)
            .context_of_undefined_cluster("dangling", User::Anonymous)
            .current("east")
            .write();
        Self {
            place: Place::new(),
            east,
            west,
            kubeconfig,
        }
    }

    fn audit(&self, args: &[&str]) -> Outcome {
        let kubeconfig = [
            "audit",
            "-o=json",
            "--probe=none",
            "--kubeconfig",
            arg(self.kubeconfig.path()),
        ];
        self.place.run(&[&kubeconfig[..], args].concat())
    }
}

/// Why a cluster of a report could not be reached.
fn unreachable<'a>(report: &'a Value, name: &str) -> Option<&'a str> {
    let clusters = report["clusters"].as_array().unwrap();
    let cluster = clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
    cluster["unreachable"].as_str()
}

#[test]
fn all_clusters_of_all_origins_are_in_the_report_in_the_order_given() {
    let fleet = Fleet::new();
    fleet.place.write_facts("north.json", &cilium("north", 3));
    fleet.place.write(
        "prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\n\
         clusters:\n- {name: south, planned: {pods: [10.99.0.0/16]}}\n- {name: unused, facts: unused.json}\n",
    );
    let report = fleet
        .audit(&[
            "--context=west",
            "--context=east",
            "--facts=north.json",
            "-f=prejoin.yaml",
        ])
        .json();
    let names: Vec<&Value> = report["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cluster| &cluster["name"])
        .collect();
    assert_eq!(names, ["west", "east", "north", "south"]);
    assert!(fleet.east.requests_for("secrets").is_empty());
}

#[test]
fn without_a_context_the_current_one_is_read_and_nothing_is_compared() {
    let fleet = Fleet::new();
    let report = fleet.audit(&[]).json();
    assert_eq!(report["clusters"].as_array().unwrap().len(), 1);
    assert_eq!(report["clusters"][0]["name"], "east");
    assert!(fleet.west.requests().is_empty());
}

#[test]
fn one_cluster_that_cannot_be_reached_does_not_keep_the_others_from_being_judged() {
    let fleet = Fleet::new();
    for (context, cause) in [
        ("gone", "Connection refused"),
        ("plugin", "no-such-plugin"),
        ("dangling", "dangling"),
    ] {
        let report = fleet.audit(&["--context=east", "--context", context]).json();
        assert_eq!(unreachable(&report, "east"), None);
        let why = unreachable(&report, context).unwrap_or_else(|| panic!("{context} is reachable"));
        assert!(why.contains(cause) && !why.contains('\n'), "{why}");
        assert_ne!(report["exit_code"], 0);
        assert_eq!(report["clusters"][0]["nodes"], 2);
    }
}

#[test]
fn a_token_that_is_not_accepted_makes_the_cluster_unreachable() {
    let fleet = Fleet::new();
    fleet.west.inject(Failure::Unauthorized.everywhere());
    let report = fleet.audit(&["--context=east", "--context=west"]).json();
    assert_eq!(unreachable(&report, "east"), None);
    assert!(unreachable(&report, "west").unwrap().contains("unauthorized"));
}

#[test]
fn a_cluster_that_hangs_costs_its_timeout_and_no_more() {
    let fleet = Fleet::new();
    fleet.west.inject(Failure::Hang.everywhere());
    let report = fleet
        .audit(&["--context=east", "--context=west", "--timeout=3s"])
        .json();
    assert_eq!(unreachable(&report, "east"), None);
    assert!(unreachable(&report, "west").unwrap().contains("no answer within"));
}

#[test]
fn a_credential_plugin_that_hangs_costs_its_timeout_and_no_more() {
    let fleet = Fleet::new();
    // Ends by itself when nobody listens any more.
    let plugin = fleet.place.write("hang", "#!/bin/sh\nwhile echo; do sleep 0.2; done\n");
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let kubeconfig = Kubeconfig::new()
        .context("east", &fleet.east.url(), User::Token("t".to_owned()))
        .context(
            "slow",
            &fleet.west.url(),
            User::ExecPlugin {
                command: arg(&plugin).to_owned(),
            },
        )
        .write();
    let args = [
        "audit",
        "-o=json",
        "--timeout=3s",
        "--context=east",
        "--context=slow",
        "--kubeconfig",
    ];
    let report = fleet.place.run(&[&args[..], &[arg(kubeconfig.path())]].concat()).json();
    assert!(unreachable(&report, "slow").unwrap().contains("credential plugin"));
    assert_eq!(unreachable(&report, "east"), None);
}

#[test]
fn nothing_read_at_all_is_never_a_pass() {
    let fleet = Fleet::new();
    for allow in ["--allow-unknown=false", "--allow-unknown"] {
        let report = fleet.audit(&["--context=gone", allow]).exits(5).json();
        assert_eq!(report["verdict"], "unknown");
    }
}

#[test]
fn an_unknown_context_is_refused_and_the_known_ones_are_named() {
    let fleet = Fleet::new();
    fleet
        .audit(&["--context=east", "--context=wst"])
        .exits(2)
        .prints_nothing()
        .says("there is no context `wst` in the kubeconfig; there are: east, west, twin, plugin, gone, dangling");
    assert!(fleet.east.requests().is_empty(), "refused before a cluster was asked");
}

#[test]
fn one_cluster_through_two_contexts_is_refused() {
    let fleet = Fleet::new();
    fleet
        .audit(&["--context=east", "--context=twin"])
        .exits(2)
        .prints_nothing()
        .says("east (context east) and twin (context twin) are the same cluster");
    fleet
        .audit(&["--context=east", "--context=east"])
        .exits(2)
        .says("two clusters are called east");
}

#[test]
fn no_kubeconfig_is_said() {
    let place = Place::new();
    for args in [&["audit"][..], &["audit", "--context=east"], &["facts"]] {
        place.run(args).exits(2).prints_nothing().says("no kubeconfig");
    }
    place
        .run(&["audit", "--kubeconfig=missing"])
        .exits(2)
        .says("kubeconfig missing: there is no such file");
    place.write(
        "kubeconfig",
        "clusters: [{name: a, cluster: {token: s3cret, server: [s3cret]}}]\n",
    );
    let broken = place
        .run(&["audit", "--kubeconfig=kubeconfig"])
        .exits(2)
        .says("is no kubeconfig: line 1");
    assert!(!broken.stderr.contains("s3cret"), "{broken:?}");
}

#[test]
fn a_kubeconfig_without_a_current_context_needs_one() {
    let fleet = Fleet::new();
    let kubeconfig = Kubeconfig::new()
        .context("east", &fleet.east.url(), User::Anonymous)
        .write();
    fleet
        .place
        .run(&["audit", "--kubeconfig", arg(kubeconfig.path())])
        .exits(2)
        .says("no --context was given and the kubeconfig has no current one; there are: east");
}

#[test]
fn files_of_the_kubeconfig_variable_are_joined_and_missing_ones_passed_over() {
    let fleet = Fleet::new();
    let first = Kubeconfig::new()
        .context("east", &fleet.east.url(), User::Anonymous)
        .write();
    // Says something else of east, too late, and adds west.
    let second = Kubeconfig::new()
        .context("east", "http://127.0.0.1:1", User::Anonymous)
        .context("west", &fleet.west.url(), User::Anonymous)
        .current("west")
        .write();
    let list = std::env::join_paths([first.path(), fleet.place.path("missing").as_path(), second.path()]).unwrap();
    let run = |args: &[&str]| {
        let mut command = fleet.place.command(&[&["audit", "-o=json"], args].concat());
        outcome(&command.env("KUBECONFIG", &list).output().unwrap())
    };
    let report = run(&["--context=east", "--context=west"]).json();
    assert_eq!(unreachable(&report, "east"), None);
    assert_eq!(unreachable(&report, "west"), None);
    assert_eq!(run(&[]).json()["clusters"][0]["name"], "west");
}

#[test]
fn the_default_kubeconfig_is_found_in_the_home_directory() {
    let fleet = Fleet::new();
    fleet
        .place
        .write(".kube/config", std::fs::read(fleet.kubeconfig.path()).unwrap());
    let report = fleet.place.run(&["audit", "-o=json", "--context=west"]).json();
    assert_eq!(unreachable(&report, "west"), None);
}

#[test]
fn a_configuration_alone_is_enough() {
    let fleet = Fleet::new();
    let east = Kubeconfig::new()
        .context("admin", &fleet.east.url(), User::Anonymous)
        .write();
    fleet.place.write("etc/kube/east", std::fs::read(east.path()).unwrap());
    fleet.place.write(
        "etc/prejoin.yaml",
        serde_json::to_string(&json!({
            "apiVersion": "prejoin.dev/v1alpha1",
            "clusters": [
                { "name": "first", "context": "admin", "kubeconfig": "kube/east" },
                { "name": "west", "kubeconfig": fleet.kubeconfig.path() },
            ],
            "profiles": ["clustermesh"], "probe": "none", "output": "json",
        }))
        .unwrap(),
    );
    let report = fleet.place.run(&["audit", "-f", "etc/prejoin.yaml"]).json();
    assert_eq!(report["clusters"][0]["name"], "first");
    assert_eq!(unreachable(&report, "first"), None);
    assert_eq!(unreachable(&report, "west"), None);
    fleet
        .place
        .run(&["check", "-f", "etc/prejoin.yaml"])
        .exits(2)
        .says("`prejoin check` asks no cluster");
}

#[test]
fn facts_and_a_live_cluster_that_are_the_same_are_refused() {
    let fleet = Fleet::new();
    let facts = fleet
        .place
        .run(&["facts", "--kubeconfig", arg(fleet.kubeconfig.path())])
        .exits(0)
        .stdout;
    fleet
        .place
        .write("old.json", facts.replacen("\"name\": \"east\"", "\"name\": \"old\"", 1));
    fleet
        .audit(&["--context=east", "--facts=old.json"])
        .exits(2)
        .says("east (context east) and old (old.json) are the same cluster");
}

#[test]
fn a_proxy_of_the_environment_is_left_alone_for_loopback() {
    let fleet = Fleet::new();
    let mut command = fleet
        .place
        .command(&["audit", "-o=json", "--kubeconfig", arg(fleet.kubeconfig.path())]);
    let dead = "http://127.0.0.1:1";
    let output = command
        .env("HTTPS_PROXY", dead)
        .env("HTTP_PROXY", dead)
        .output()
        .unwrap();
    assert_eq!(unreachable(&outcome(&output).json(), "east"), None);
}

#[test]
fn a_cluster_is_reached_through_the_proxy_of_its_kubeconfig() {
    let fleet = Fleet::new();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = json!({
        "server": "http://api.cluster.invalid:6443",
        "proxy-url": format!("http://{}", proxy.local_addr().unwrap()),
    });
    let kubeconfig = Kubeconfig::new()
        .context_with_cluster("far", &cluster, User::Anonymous)
        .current("far")
        .write();
    let server = fleet.east.url().trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        for client in proxy.incoming() {
            let (client, server) = (client.unwrap(), std::net::TcpStream::connect(&server).unwrap());
            std::thread::spawn(move || tunnel(client, &server));
        }
    });
    let report = fleet
        .place
        .run(&["audit", "-o=json", "--kubeconfig", arg(kubeconfig.path())])
        .json();
    assert_eq!(unreachable(&report, "far"), None);
    assert_eq!(report["clusters"][0]["nodes"], 2);
}

/// Answers a CONNECT for the cluster's name, then passes bytes on both ways.
fn tunnel(mut client: std::net::TcpStream, server: &std::net::TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"CONNECT api.cluster.invalid:6443 "));
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let pass = |mut from: std::net::TcpStream, mut to: std::net::TcpStream| {
        // Ends when either side closes.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    let (upstream, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = std::thread::spawn(move || pass(upstream, back));
    pass(client, server.try_clone().unwrap());
    answers.join().unwrap();
}
