//! `prejoin facts`: what a cluster says, as a file that `prejoin check` takes.

use prejoin_tests::api_server::{ApiServer, Failure, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, User};
use serde_json::json;

use super::command::{Place, arg};

fn two_clusters() -> (ApiServer, ApiServer, prejoin_tests::kubeconfig::KubeconfigFile) {
    let east = ApiServer::start(Objects::cluster("good/east"));
    let west = ApiServer::start(Objects::cluster("good/west"));
    let kubeconfig = Kubeconfig::new()
        .context("east", &east.url(), User::Anonymous)
        .context("west", &west.url(), User::Anonymous)
        .write();
    (east, west, kubeconfig)
}

#[test]
fn a_facts_file_is_written_whole_and_can_be_checked() {
    let (_east, _west, kubeconfig) = two_clusters();
    let place = Place::new();
    let config = arg(kubeconfig.path());
    for name in ["east", "west"] {
        let file = format!("{name}.json");
        place
            .run(&["facts", "--kubeconfig", config, "--context", name, "-o", &file])
            .exits(0)
            .prints_nothing();
    }
    let report = place.run(&["check", "east.json", "west.json", "-o=json"]).json();
    assert_eq!(report["clusters"][0]["name"], "east");
    assert_eq!(report["clusters"][0]["nodes"], 2);
    assert_eq!(
        std::fs::read_dir(place.path("")).unwrap().count(),
        2,
        "nothing half written is left"
    );
}

#[test]
fn without_a_file_facts_go_to_standard_output_and_several_clusters_become_a_bundle() {
    let (_east, _west, kubeconfig) = two_clusters();
    let place = Place::new();
    let config = arg(kubeconfig.path());
    let one = place
        .run(&["facts", "--kubeconfig", config, "--context", "east"])
        .exits(0);
    assert_eq!(one.json()["schema"], "prejoin.dev/facts/v1alpha1");
    let both = place
        .run(&[
            "facts",
            "--kubeconfig",
            config,
            "--context",
            "east",
            "--context",
            "west",
        ])
        .exits(0);
    assert_eq!(both.json()["schema"], "prejoin.dev/bundle/v1alpha1");
    place.write("both.json", &both.stdout);
    let report = place.run(&["check", "both.json", "-o=json"]).json();
    assert_eq!(report["clusters"][1]["name"], "west");
}

#[test]
fn an_unreachable_cluster_leaves_what_was_there() {
    let (east, _west, kubeconfig) = two_clusters();
    east.inject(Failure::Reset.everywhere());
    let place = Place::new();
    place.write("east.json", "precious");
    place
        .run(&[
            "facts",
            "--kubeconfig",
            arg(kubeconfig.path()),
            "--context",
            "east",
            "-o",
            "east.json",
        ])
        .exits(5)
        .says("prejoin: east: unreachable: ")
        .says("nothing is written");
    assert_eq!(std::fs::read_to_string(place.path("east.json")).unwrap(), "precious");
}

#[test]
fn what_was_refused_is_said() {
    let (east, _west, kubeconfig) = two_clusters();
    east.inject(Failure::Forbidden.of("nodes"));
    let place = Place::new();
    let outcome = place
        .run(&["facts", "--kubeconfig", arg(kubeconfig.path()), "--context", "east"])
        .exits(0)
        .says("prejoin: east: not read: list nodes: forbidden for user");
    assert_eq!(outcome.json()["nodes"]["unknown"]["reason"], "forbidden");
}

#[test]
fn what_a_cluster_says_is_made_harmless_before_it_is_written() {
    let hostile = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
        "name": "n9", "labels": { "topology.kubernetes.io/zone": "\u{1b}]0;owned\u{7}" } } });
    let east = ApiServer::start(Objects::cluster("good/east").with(hostile));
    let kubeconfig = Kubeconfig::new()
        .context("east", &east.url(), User::Anonymous)
        .current("east")
        .write();
    let place = Place::new();
    let facts = place.run(&["facts", "--kubeconfig", arg(kubeconfig.path())]).exits(0);
    assert!(facts.stdout.contains(r"\\u{1b}]0;owned\\u{7}"), "{}", facts.stdout);
    assert!(
        !facts
            .stdout
            .replace('\n', "")
            .contains(prejoin_collector::text::is_hidden)
    );
    place.write("east.json", &facts.stdout);
    place.run(&["check", "east.json", "-o=json"]).json();
}

#[test]
fn a_file_that_cannot_be_written_is_exit_1() {
    let (_east, _west, kubeconfig) = two_clusters();
    let place = Place::new();
    place
        .run(&[
            "facts",
            "--kubeconfig",
            arg(kubeconfig.path()),
            "--context",
            "east",
            "-o",
            "no/such/east.json",
        ])
        .exits(1)
        .says("cannot write no/such/east.json: No such file or directory");
}
