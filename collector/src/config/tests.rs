use super::*;

fn parse(body: &str) -> Result<Config, ConfigError> {
    Config::parse("prejoin.yaml", &format!("apiVersion: prejoin.dev/v1alpha1\n{body}"))
}

fn complaint(body: &str) -> String {
    parse(body).unwrap_err().to_string()
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = parse(include_str!("full.yaml")).unwrap();
    assert_eq!(config.clusters.len(), 4);
    assert_eq!(config.clusters[0].context.as_deref(), Some("admin@east"));
    assert_eq!(
        config.clusters[0].ranges.load_balancers,
        ["198.51.100.0/24".parse().unwrap()]
    );
    let planned = config.clusters[2].planned.as_ref().unwrap();
    assert_eq!(planned.cluster_id, Some(3));
    assert_eq!(planned.ranges().pods[1], "fd00:3::/56".parse().unwrap());
    assert_eq!(config.profiles, [Profile::Clustermesh, Profile::Submariner]);
    assert_eq!(config.probe, Some(Probe::None));
    assert_eq!(config.timeout, Some(Timeout(Duration::from_secs(90))));
    assert_eq!(config.fail_on, Some(FailOn::Warn));
    assert_eq!(config.output, Some(Format::Markdown));
    assert_eq!(config.waivers[0].owner, "net-team");
    assert_eq!(config.submariner.globalnet, Some(true));
    assert_eq!(config.external_networks[0].name, "office");
    assert_eq!(config.pace.timeout, Some(ProbeTimeout { millis: 500 }));
    assert_eq!(config.agents.which, Some(crate::cli::UseAgents::Ephemeral));
    assert_eq!(config.agents.mode, Some(crate::agents::manifest::Mode::Restricted));
    let (edge, lab) = (&config.sites[0].nodes, &config.sites[1].nodes);
    assert_eq!(edge[0].ssh, Some(SshEntry::Destination("admin@gw1.example".to_owned())));
    let gw2 = SshOptions {
        destination: "gw2".to_owned(),
        options: vec!["-p".to_owned(), "2222".to_owned()],
        agent: Some("/opt/prejoin-agent".to_owned()),
        sudo: true,
    };
    assert_eq!(edge[1].ssh, Some(SshEntry::Full(gw2)));
    assert_eq!(lab[0].local, Some(LocalEntry::Beside(true)));
    assert!(matches!(&lab[1].local, Some(LocalEntry::Command(words)) if words.len() == 6));
    assert_eq!(lab[2].exec.as_ref().unwrap().pod, "agent-0");
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_an_excerpt() {
    let message = complaint("clusters:\n- name: east\n  contxt: admin@east\n");
    assert_eq!(
        message,
        "prejoin.yaml:4:3: unknown field `contxt`, expected one of name, context, kubeconfig, facts, planned, ranges, agents\n\
         \x20 |\n2 | clusters:\n3 | - name: east\n4 |   contxt: admin@east\n  |   ^"
    );
}

#[test]
fn a_value_that_makes_no_sense_is_named_with_its_place() {
    for (body, place, says) in [
        ("timeout: soon\n", ":2:10: ", "`soon` is no time to wait"),
        ("timeout: 2h\n", ":2:10: ", "at most an hour"),
        ("profiles: [istio]\n", ":2:12: ", "clustermesh"),
        (
            "externalNetworks:\n- {name: a, cidr: 10.0.0.300/8}\n",
            ":3:19: ",
            "10.0.0.300/8",
        ),
        ("kind: Pod\n", ":2:7: ", "Audit"),
        ("waivers:\n- code: CM301\n", ":3:3: ", "owner"),
        ("pace: {timeout: 2m}\n", ":2:17: ", "at most a minute"),
        ("pace: {rate: 0}\n", ":2:8: ", "nonzero"),
        (
            "sites:\n- {name: a, nodes: [{name: b, ssh: {destnation: c}}]}\n",
            ":3:",
            "destnation",
        ),
        (
            "sites:\n- {name: a, nodes: [{name: b, ssh: [c]}]}\n",
            ":3:",
            "a destination as `user@host`",
        ),
        (
            "sites:\n- {name: a, nodes: [{name: b, local: agent}]}\n",
            ":3:",
            "a command and its arguments",
        ),
        (
            "sites:\n- {name: a, nodes: [{name: b, addresses: [10.0.0.300]}]}\n",
            ":3:",
            "IP address",
        ),
        ("probe: all\n", ":2:8: ", "cover"),
    ] {
        let message = complaint(body);
        assert!(message.starts_with(&format!("prejoin.yaml{place}")), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn another_version_of_the_format_is_refused() {
    for text in [
        "apiVersion: prejoin.dev/v2\n",
        "clusters: []\n",
        "",
        "[]",
        "a: &a [*a]\n",
    ] {
        assert!(Config::parse("prejoin.yaml", text).is_err(), "{text}");
    }
}

#[test]
fn a_cluster_has_one_origin_and_a_name_of_its_own() {
    assert_eq!(
        complaint("clusters:\n- {name: east, context: east, facts: east.json}\n"),
        "prejoin.yaml: clusters[0] (east): only one of context, facts and planned can be said"
    );
    assert_eq!(
        complaint("clusters:\n- name: east\n- name: east\n"),
        "prejoin.yaml: clusters[0] and clusters[1] are both called east"
    );
    assert_eq!(
        complaint("clusters:\n- {name: east, planned: {}, ranges: {pods: [10.0.0.0/16]}}\n"),
        "prejoin.yaml: clusters[0] (east): the ranges of a planned cluster stand under planned"
    );
}

#[test]
fn a_site_has_nodes_that_can_be_told_apart_and_reached_in_one_way() {
    for (sites, says) in [
        ("{name: a}", "sites[0] (a): it has neither nodes nor facts"),
        ("{name: '', facts: a.json}", "sites[0]: name is empty"),
        (
            "{name: a, nodes: [{name: b, addresses: [10.0.0.1]}, {name: b, addresses: [10.0.0.2]}]}",
            "sites[0].nodes[1] (b): a node of this name and network is there already",
        ),
        (
            "{name: a, nodes: [{name: b, ssh: c, local: true, addresses: [10.0.0.1]}]}",
            "sites[0].nodes[0] (b): only one of ssh, exec and local can be said",
        ),
        (
            "{name: a, nodes: [{name: b}]}",
            "sites[0].nodes[0] (b): it needs addresses",
        ),
        (
            "{name: a, nodes: [{name: b, addresses: ['::']}]}",
            "sites[0].nodes[0] (b): :: is no address of a node",
        ),
        (
            "{name: a, nodes: [{name: b, ssh: -oProxyCommand=x, addresses: [10.0.0.1]}]}",
            "sites[0].nodes[0] (b): ssh needs a destination",
        ),
        (
            "{name: a, nodes: [{name: b, local: [], addresses: [10.0.0.1]}]}",
            "sites[0].nodes[0] (b): the command of local is empty",
        ),
    ] {
        let message = complaint(&format!("sites:\n- {sites}\n"));
        assert!(message.starts_with(&format!("prejoin.yaml: {says}")), "{message}");
    }
    // A node may have one agent in its own network and one in a pod's.
    let both = "{name: a, nodes: [{name: b, addresses: [10.0.0.1]}, {name: b, network: pod, addresses: [10.1.0.1]}]}";
    assert!(parse(&format!("sites:\n- {both}\n")).is_ok());
    let message = complaint("clusters:\n- {name: a}\nsites:\n- {name: a, facts: a.json}\n");
    assert_eq!(message, "prejoin.yaml: sites[0]: something else is called a already");
    let message = complaint("clusters:\n- {name: a, facts: a.json, agents: {use: true}}\n");
    assert!(message.contains("agents are reached through a context"), "{message}");
}

#[test]
fn the_schema_knows_every_key_of_the_full_example() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let example: serde_json::Value = serde_saphyr::from_str(include_str!("full.yaml")).unwrap();
    for key in example.as_object().unwrap().keys() {
        let described = properties[key]["description"].as_str();
        assert!(described.is_some(), "{key} is not described");
    }
    // Everything else in the schema is in the example, so that the test above it covers all keys.
    for key in properties.keys().filter(|key| *key != "apiVersion") {
        assert!(example.get(key).is_some(), "{key} is missing in full.yaml");
    }
    assert_eq!(schema["additionalProperties"], false);
}
