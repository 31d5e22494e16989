//! `prejoin check`: facts files in, a report out, no network.

use prejoin_checks::samples::{cilium, set_cilium_key};

use super::command::{Place, outcome, verdicts};

/// East and west agree; `apart` uses another tunnel protocol.
fn place() -> Place {
    let place = Place::new();
    place.write_facts("east.json", &cilium("east", 1));
    place.write_facts("west.json", &cilium("west", 2));
    let mut apart = cilium("apart", 3);
    set_cilium_key(&mut apart, "tunnel-protocol", Some("geneve"));
    place.write_facts("apart.json", &apart);
    place
}

const PASSES: [&str; 9] = [
    "check",
    "east.json",
    "west.json",
    "--profile=clustermesh",
    "--only=CM302",
    "--probe=none",
    "-o",
    "json",
    "--color=never",
];

#[test]
fn the_report_and_the_exit_code_say_the_same() {
    let place = place();
    let fine = place.run(&PASSES).exits(0).json();
    assert_eq!(verdicts(&fine, "CM302"), ["pass"]);
    assert_eq!(fine["exit_code"], 0);
    let broken = place
        .run(&["check", "east.json", "apart.json", "--profile=clustermesh", "-o=json"])
        .exits(3)
        .json();
    assert_eq!(verdicts(&broken, "CM302"), ["fail"]);
    assert_eq!(broken["exit_code"], 3);
}

#[test]
fn without_agents_required_flows_leave_the_audit_incomplete_unless_that_is_accepted() {
    let place = place();
    let check = |more: &[&str]| {
        let args = [
            "check",
            "east.json",
            "west.json",
            "--profile=clustermesh",
            "--only=CM302,CM501",
            "-o=json",
        ];
        place.run(&[&args[..], more].concat())
    };
    assert_eq!(verdicts(&check(&[]).exits(5).json(), "CM501"), ["unknown"]);
    assert_eq!(
        verdicts(&check(&["--allow-unknown"]).exits(0).json(), "CM501"),
        ["unknown"]
    );
    assert_eq!(verdicts(&check(&["--probe=none"]).exits(0).json(), "CM501"), ["skip"]);
}

#[test]
fn nothing_judged_is_never_a_pass_whatever_is_allowed() {
    let place = place();
    let args = [
        "check",
        "east.json",
        "west.json",
        "--only=CM302",
        "--skip=CM302",
        "-o=json",
    ];
    place.run(&args).exits(5);
    place.run(&[&args[..], &["--allow-unknown"]].concat()).exits(5);
}

#[test]
fn warnings_count_only_when_that_is_asked_for() {
    let place = place();
    // The sample exposes its mesh on a NodePort.
    let args = [
        "check",
        "east.json",
        "--profile=clustermesh",
        "--probe=none",
        "--only=CM602",
        "-o=json",
    ];
    let report = place.run(&args).exits(0).json();
    assert_eq!(verdicts(&report, "CM602"), ["warn"]);
    place.run(&[&args[..], &["--fail-on=warn"]].concat()).exits(4);
}

#[test]
fn profiles_come_from_signs_when_none_is_named() {
    let place = place();
    let report = place
        .run(&["check", "east.json", "west.json", "-o=json"])
        .says("judging for clustermesh, of which the clusters show signs")
        .json();
    assert_eq!(report["profiles"], serde_json::json!(["clustermesh"]));
    place.write_facts("plain.json", &prejoin_checks::samples::cluster("plain", 4));
    place
        .run(&["check", "plain.json", "-o=json"])
        .says("no sign of a mesh found: judging for clustermesh");
}

#[test]
fn several_profiles_are_judged_side_by_side() {
    let place = place();
    let report = place
        .run(&[
            "check",
            "east.json",
            "west.json",
            "--profile=submariner",
            "--profile=clustermesh",
            "-o=json",
        ])
        .json();
    assert_eq!(report["profiles"], serde_json::json!(["submariner", "clustermesh"]));
}

#[test]
fn one_cluster_is_judged_alone_and_the_report_says_so() {
    let place = place();
    let report = place
        .run(&["check", "east.json", "--profile=clustermesh", "--probe=none", "-o=json"])
        .json();
    let finding = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == "CM302")
        .unwrap();
    assert_eq!(finding["verdict"], "skip");
    assert_eq!(finding["reason"], "only one cluster");
}

#[test]
fn facts_are_taken_as_yaml_from_standard_input_and_in_bundles() {
    let place = place();
    let east = std::fs::read_to_string(place.path("east.json")).unwrap();
    let west = std::fs::read_to_string(place.path("west.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&east).unwrap();
    place.write("east.yaml", serde_saphyr::to_string(&value).unwrap());
    let args = |files: &[&'static str]| [&["check"], files, &PASSES[3..]].concat();
    place.run(&args(&["east.yaml", "west.json"])).exits(0);
    for (name, bundle) in [
        ("list.json", format!("[{east},{west}]")),
        (
            "bundle.json",
            format!(r#"{{"schema":"prejoin.dev/bundle/v1alpha1","clusters":[{east},{west}]}}"#),
        ),
    ] {
        place.write(name, bundle);
        let report = place.run(&["check", name, "--profile=clustermesh", "-o=json"]).json();
        assert_eq!(report["clusters"].as_array().unwrap().len(), 2);
    }
    let input = std::fs::File::open(place.path("east.json")).unwrap();
    let piped = place.command(&args(&["-", "west.json"])).stdin(input).output().unwrap();
    outcome(&piped).exits(0);
}

#[test]
fn a_configuration_alone_is_enough_and_flags_go_before_environment_before_file() {
    let place = place();
    place.write(
        "audit/prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\n\
         clusters: [{name: east, facts: ../east.json}, {name: renamed, facts: ../apart.json}]\n\
         profiles: [clustermesh]\nprobe: none\nonly: [CM302]\noutput: json\n",
    );
    let from_file = place.run(&["check", "-f", "audit/prejoin.yaml"]).exits(3).json();
    assert_eq!(from_file["clusters"][1]["name"], "renamed");

    let with = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = place.command(&[&["check", "-f", "audit/prejoin.yaml"], flags].concat());
        outcome(&command.envs(variables.iter().copied()).output().unwrap())
    };
    let environment = [("PREJOIN_PROFILE", "submariner"), ("PREJOIN_ONLY", "")];
    assert_eq!(
        with(&environment[..1], &[]).json()["profiles"],
        serde_json::json!(["submariner"])
    );
    // A variable that is set to nothing says nothing.
    assert_eq!(with(&environment[1..], &[]).code, 3);
    assert_eq!(
        with(&environment[..1], &["--profile=clustermesh"]).json()["profiles"],
        serde_json::json!(["clustermesh"])
    );
    // Files named on the command line replace the file's clusters.
    let replaced = with(&[], &["east.json", "west.json"]).exits(0).json();
    assert_eq!(replaced["clusters"][1]["name"], "west");
}

#[test]
fn waivers_hold_until_their_day() {
    let place = place();
    for (until, code) in [("2999-12-31", 0), ("2001-01-01", 3)] {
        place.write(
            "prejoin.yaml",
            format!(
                "apiVersion: prejoin.dev/v1alpha1\nonly: [CM302]\nprobe: none\nprofiles: [clustermesh]\n\
                 waivers: [{{code: CM302, clusters: [east, apart], owner: me, reason: rebuilt, until: {until}}}]\n"
            ),
        );
        place
            .run(&["check", "east.json", "apart.json", "-f", "prejoin.yaml", "-o=json"])
            .exits(code);
    }
}

#[test]
fn names_of_clusters_that_are_not_there_are_remarked_on() {
    let place = place();
    place.write(
        "prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\nonly: [CM302]\nprobe: none\noutput: json\n\
         waivers: [{code: CM302, clusters: [east, wst], owner: me, reason: rebuilt, until: 2999-12-31}]\n\
         submariner: {clusters: {est: {}}, brokerCluster: west}\n",
    );
    let outcome = place
        .run(&["check", "east.json", "west.json", "-f", "prejoin.yaml"])
        .exits(0)
        .says("waivers[0].clusters names wst, which is no cluster of this audit")
        .says("submariner.clusters names est,");
    assert!(!outcome.stderr.contains("brokerCluster"), "{outcome:?}");
}

#[test]
fn planned_clusters_and_declared_ranges_are_part_of_the_audit() {
    let place = place();
    place.write(
        "prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\n\
         clusters:\n- {name: east, facts: east.json, ranges: {nodes: [203.0.113.0/24]}}\n\
         - {name: north, planned: {pods: [10.200.0.0/16], services: [10.201.0.0/16]}}\n\
         profiles: [clustermesh]\nprobe: none\noutput: json\n",
    );
    let report = place.run(&["check", "-f", "prejoin.yaml"]).json();
    let north = &report["clusters"][1];
    assert_eq!(north["planned"], true);
    assert_eq!(north["pods"], serde_json::json!(["10.200.0.0/16"]));
}

#[test]
fn a_planned_cluster_is_judged_by_what_is_declared_and_nothing_is_assumed() {
    let place = place();
    let check = |id: u32| {
        place.write(
            "prejoin.yaml",
            format!(
                "apiVersion: prejoin.dev/v1alpha1\n\
                 clusters:\n- {{name: east, facts: east.json}}\n\
                 - {{name: north, planned: {{clusterId: {id}, clusterName: north, pods: [10.200.0.0/16], services: [10.201.0.0/16]}}}}\n\
                 profiles: [clustermesh]\nprobe: none\noutput: json\n"
            ),
        );
        place.run(&["check", "-f", "prejoin.yaml"]).json()
    };
    let about_north = |report: &serde_json::Value| {
        let findings = report["findings"].as_array().unwrap().iter();
        let about = findings.filter(|finding| {
            finding["subject"]["clusters"]
                .as_array()
                .unwrap()
                .contains(&"north".into())
        });
        about.cloned().collect::<Vec<_>>()
    };
    let twice = check(1);
    let duplicate = about_north(&twice)
        .into_iter()
        .find(|finding| finding["slug"] == "cluster-id-duplicate")
        .unwrap();
    assert_eq!(duplicate["verdict"], "fail");
    let evidence = duplicate["evidence"].to_string();
    assert!(
        evidence.contains("prejoin.yaml clusters[1].planned cluster-id"),
        "{evidence}"
    );
    for finding in about_north(&check(3)) {
        let verdict = finding["verdict"].as_str().unwrap();
        assert!(["pass", "skip"].contains(&verdict), "{finding:#}");
    }
}

#[test]
fn output_without_a_reader_ends_quietly() {
    let place = place();
    let mut child = place
        .command(&PASSES)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe's only reader is gone before anything can have been written to it in full.
    drop(child.stdout.take());
    let ended = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.code, 0);
}
