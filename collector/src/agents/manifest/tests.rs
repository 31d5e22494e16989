use std::collections::BTreeSet;

use super::*;

fn run(own_namespace: bool) -> Run {
    Run {
        id: "4f2a91c0".to_owned(),
        deadline: Duration::from_secs(600),
        own_namespace,
        pods: false,
        services: Vec::new(),
    }
}

fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    objects.iter().find(|object| kind(object) == wanted).unwrap()
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(kind).collect()
}

#[test]
fn everything_carries_the_label_by_which_it_is_found_again() {
    let wanted = Wanted::default();
    let all = [
        installed(&wanted),
        for_run(&wanted, &run(true)),
        for_run(&wanted, &run(false)),
    ];
    for object in all.iter().flatten() {
        assert_eq!(object["metadata"]["labels"][PART_OF.0], PART_OF.1, "{object}");
    }
}

#[test]
fn node_agents_hold_one_capability_and_no_token() {
    for mode in [Mode::Node, Mode::Cluster, Mode::Restricted] {
        let objects = installed(&Wanted {
            mode,
            ..Wanted::default()
        });
        let pod = &find(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let security = &pod["containers"][0]["securityContext"];
        assert_eq!(pod["automountServiceAccountToken"], json!(false));
        assert_eq!(pod["hostNetwork"], json!(true));
        assert_eq!(security["readOnlyRootFilesystem"], json!(true));
        assert_eq!(security["seccompProfile"]["type"], json!("RuntimeDefault"));
        let capabilities = if mode == Mode::Restricted {
            json!({ "drop": ["ALL"] })
        } else {
            json!({ "drop": ["ALL"], "add": ["NET_RAW"] })
        };
        assert_eq!(security["capabilities"], capabilities);
        assert_eq!(security["runAsNonRoot"] == json!(true), mode == Mode::Restricted);
    }
}

#[test]
fn the_cluster_agent_is_in_every_mode_but_one() {
    let with = |mode| {
        installed(&Wanted {
            mode,
            ..Wanted::default()
        })
    };
    assert!(!kinds(&with(Mode::Node)).contains(&"Deployment"));
    for mode in [Mode::Cluster, Mode::Restricted] {
        let objects = with(mode);
        let pod = &find(&objects, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], Value::Null);
        assert_eq!(
            pod["containers"][0]["securityContext"]["capabilities"],
            json!({ "drop": ["ALL"] })
        );
    }
}

#[test]
fn options_reach_every_object_that_has_a_place_for_them() {
    let wanted = Wanted {
        namespace: "tools".to_owned(),
        image: "registry.example/agent:1".to_owned(),
        pull_secret: Some("pull".to_owned()),
        node_selector: BTreeMap::from([("pool".to_owned(), "edge".to_owned())]),
        mode: Mode::Cluster,
        collector: None,
    };
    for objects in [installed(&wanted), for_run(&wanted, &run(true))] {
        assert!(!json!(objects).to_string().contains(NAMESPACE));
        let pods: Vec<&Value> = objects
            .iter()
            .filter_map(|object| object.pointer("/spec/template/spec"))
            .collect();
        assert_eq!(pods.len(), 2);
        for pod in pods {
            assert_eq!(pod["containers"][0]["image"], json!("registry.example/agent:1"));
            assert_eq!(pod["imagePullSecrets"], json!([{ "name": "pull" }]));
            assert_eq!(
                pod["nodeSelector"],
                json!({ "kubernetes.io/os": "linux", "pool": "edge" })
            );
        }
    }
}

#[test]
fn the_default_image_is_that_of_this_version() {
    // The manifests name it as well, for those who apply them by other means.
    let yaml: Vec<&str> = BASE.into_iter().chain(CLUSTER_AGENT).chain([ANCHOR, PODS]).collect();
    let images: BTreeSet<&str> = yaml
        .iter()
        .flat_map(|yaml| yaml.lines())
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .collect();
    assert_eq!(images, BTreeSet::from([IMAGE]));
}

#[test]
fn a_run_has_names_and_selectors_of_its_own_and_nothing_cluster_scoped_but_its_namespace() {
    let objects = for_run(&Wanted::default(), &run(true));
    let scoped: Vec<&str> = objects
        .iter()
        .filter(|object| object["metadata"]["namespace"].is_null())
        .map(kind)
        .collect();
    assert_eq!(scoped, ["Namespace"]);
    for object in objects.iter().filter(|object| kind(object) != "Namespace") {
        assert!(name(object).ends_with("-4f2a91c0"), "{object}");
    }
    let daemon_set = find(&objects, "DaemonSet");
    assert_eq!(daemon_set["spec"]["selector"]["matchLabels"][RUN], json!("4f2a91c0"));
    assert_eq!(
        daemon_set["spec"]["template"]["metadata"]["labels"][RUN],
        json!("4f2a91c0")
    );
    assert_eq!(daemon_set["spec"]["template"]["spec"]["priorityClassName"], Value::Null);
    let account = find(&objects, "Job")["spec"]["template"]["spec"]["serviceAccountName"].clone();
    assert_eq!(find(&objects, "RoleBinding")["subjects"][0]["name"], account);
    assert_eq!(
        find(&objects, "RoleBinding")["roleRef"]["name"],
        find(&objects, "Role")["metadata"]["name"]
    );
}

#[test]
fn the_cluster_keeps_a_runs_deadline_a_minute_after_the_pod_does() {
    let objects = for_run(&Wanted::default(), &run(true));
    let job = find(&objects, "Job");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], json!(660));
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], json!(0));
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["command"],
        json!([
            "/prejoin-cluster-agent",
            "wait",
            "--deadline",
            "600",
            "--remove-namespace"
        ])
    );
    assert_eq!(
        find(&objects, "Namespace")["metadata"]["annotations"][DEADLINE],
        json!("660")
    );
}

#[test]
fn a_run_in_someone_elses_namespace_may_not_remove_it() {
    let objects = for_run(&Wanted::default(), &run(false));
    let kinds = kinds(&objects);
    for absent in ["Namespace", "Role", "RoleBinding"] {
        assert!(!kinds.contains(&absent), "{absent}");
    }
    let pod = &find(&objects, "Job")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    assert!(!pod["containers"][0]["command"].to_string().contains("remove"));
}

#[test]
fn what_may_remove_a_namespace_may_remove_that_of_its_run_alone() {
    let wanted = Wanted {
        namespace: "prejoin-run-4f2a91c0".to_owned(),
        ..Wanted::default()
    };
    let objects = for_run(&wanted, &run(true));
    assert_eq!(
        find(&objects, "Role")["rules"],
        json!([{ "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["prejoin-run-4f2a91c0"], "verbs": ["get", "delete"] }])
    );
}

/// Servers refuse members that a kind does not have, even null ones.
#[test]
fn no_object_gets_a_member_that_its_file_does_not_have() {
    let wanted = Wanted::default();
    for object in [installed(&wanted), for_run(&wanted, &run(true))].iter().flatten() {
        let is_binding = kind(object).ends_with("Binding");
        assert_eq!(object.get("subjects").is_some(), is_binding, "{object}");
    }
}

/// Helm reads nothing outside a chart's folder, so the chart has copies.
#[test]
fn the_chart_has_the_same_objects() {
    let manifests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let copies = [
        ("base/namespace.yaml", "namespace.yaml"),
        ("base/priority-class.yaml", "priority-class.yaml"),
        ("base/service-account.yaml", "service-account.yaml"),
        ("base/network-policy.yaml", "network-policy.yaml"),
        ("base/node-agent.yaml", "node-agent.yaml"),
        ("rbac/clusterrole.yaml", "clusterrole.yaml"),
        (
            "components/cluster-agent/service-account.yaml",
            "cluster-agent-service-account.yaml",
        ),
        (
            "components/cluster-agent/network-policy.yaml",
            "cluster-agent-network-policy.yaml",
        ),
        ("components/cluster-agent/cluster-agent.yaml", "cluster-agent.yaml"),
        ("components/collector/credential.yaml", "collector-credential.yaml"),
        ("components/collector/role.yaml", "collector-role.yaml"),
    ];
    for (original, copy) in copies {
        let original = std::fs::read_to_string(manifests.join(original)).unwrap();
        let path = manifests.join("chart/prejoin/files").join(copy);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &original).unwrap();
        }
        let copy = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            copy,
            original,
            "{} is stale: UPDATE=1 cargo test -p prejoin-collector the_chart",
            path.display()
        );
    }
}

#[test]
fn pods_on_every_node_hold_nothing_and_are_the_runs_own() {
    let objects = for_run(
        &Wanted::default(),
        &Run {
            pods: true,
            ..run(true)
        },
    );
    let is_pods = |object: &&Value| name(object) == "prejoin-pod-4f2a91c0";
    let set = objects.iter().find(is_pods).unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(pod["hostNetwork"], Value::Null);
    assert_eq!(pod["serviceAccountName"], "prejoin-agent-4f2a91c0");
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(security["runAsNonRoot"], json!(true));
    assert_eq!(set["spec"]["selector"]["matchLabels"][RUN], "4f2a91c0");
    let policy = objects
        .iter()
        .find(|object| name(object) == "prejoin-pods-4f2a91c0")
        .unwrap();
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"][RUN], "4f2a91c0");
}

#[test]
fn a_test_service_has_one_name_everywhere_and_a_pod_behind_it_in_one_cluster() {
    let with = |profile, own| {
        let service = TestService {
            profile,
            of: "east".to_owned(),
            number: 0,
            own,
        };
        let run = Run {
            services: vec![service],
            ..run(true)
        };
        for_run(&Wanted::default(), &run)
    };
    let [own, other] = [true, false].map(|own| with(Profile::Clustermesh, own));
    let (own, other) = (find(&own, "Service").clone(), find(&other, "Service").clone());
    assert_eq!(own["metadata"]["name"], "prejoin-clustermesh-0-4f2a91c0");
    assert_eq!(own["metadata"]["name"], other["metadata"]["name"]);
    assert_eq!(own["metadata"]["annotations"][GLOBAL_SERVICE], "true");
    assert_eq!(own["spec"]["selector"]["app.kubernetes.io/component"], "cluster-agent");
    assert_eq!(own["spec"]["selector"][RUN], "4f2a91c0");
    assert_eq!(other["spec"]["selector"]["app.kubernetes.io/component"], "none");

    let exported = with(Profile::Submariner, true);
    let export = find(&exported, "ServiceExport");
    assert_eq!(
        export["metadata"]["name"],
        find(&exported, "Service")["metadata"]["name"]
    );
    assert!(!kinds(&with(Profile::Clustermesh, true)).contains(&"ServiceExport"));
    assert_eq!(
        find(&exported, "Namespace")["metadata"]["annotations"][GLOBAL_NAMESPACE],
        "true"
    );
}

fn dialling_out(token: Option<&str>) -> Vec<Value> {
    installed(&Wanted {
        namespace: "tools".to_owned(),
        collector: Some(DialOut {
            url: "https://collector.test:9443".to_owned(),
            fingerprint: Some("0f".repeat(32).parse().unwrap()),
            token: token.map(str::to_owned),
        }),
        ..Wanted::default()
    })
}

#[test]
fn a_cluster_agent_that_dials_out_is_told_where_to_and_keeps_its_credential_in_one_secret() {
    let objects = dialling_out(Some("pje_1"));
    let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/prejoin-cluster-agent", "dial"]));
    let value = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == name);
        found.map(|variable| variable["value"].clone())
    };
    assert_eq!(value("PREJOIN_COLLECTOR"), Some(json!("https://collector.test:9443")));
    assert_eq!(value("PREJOIN_COLLECTOR_FINGERPRINT"), Some(json!("0f".repeat(32))));
    assert_eq!(value("PREJOIN_NODE_NAME"), Some(Value::Null));
    assert_eq!(find(&objects, "Secret")["data"], json!({ "token": "cGplXzE=" }));
    // Another installation without a token leaves what the agent keeps there.
    assert_eq!(find(&dialling_out(None), "Secret").get("data"), None);
}

#[test]
fn who_dials_out_may_read_one_secret_and_start_sessions_in_its_own_namespace() {
    let objects = dialling_out(Some("t"));
    let role = find(&objects, "Role");
    assert_eq!(role["metadata"]["namespace"], "tools");
    assert_eq!(
        role["rules"],
        json!([
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["prejoin-collector"], "verbs": ["get", "patch"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
            { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"] },
        ])
    );
    assert_eq!(find(&objects, "RoleBinding")["subjects"][0]["namespace"], "tools");
    let name = prejoin_agent::arguments::CREDENTIAL_SECRET;
    assert_eq!(find(&objects, "Secret")["metadata"]["name"], name);
    assert!(!kinds(&installed(&Wanted::default())).contains(&"Role"));
}
