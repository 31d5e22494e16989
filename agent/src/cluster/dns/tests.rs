use prejoin_checks::facts::kubernetes::Container;
use serde_json::{Value, json};

use super::*;

fn config_maps(namespace: &'static str, maps: Vec<Value>) -> BTreeMap<&'static str, Arc<ConfigMaps>> {
    let mut kept = ConfigMaps::default();
    for mut map in maps {
        map["metadata"]["namespace"] = namespace.into();
        kept.keep(serde_json::from_value(map).unwrap()).unwrap();
    }
    BTreeMap::from([(namespace, Arc::new(kept))])
}

fn map(name: &str, data: Value) -> Value {
    let mut map = json!({"metadata": {"name": name}});
    map["data"] = data;
    map
}

fn workload(kind: &str, name: &str, container: &str, image: &str) -> Workload {
    Workload {
        kind: kind.to_owned(),
        namespace: SYSTEM.to_owned(),
        name: name.to_owned(),
        desired: 2,
        containers: vec![Container {
            name: container.to_owned(),
            image: image.to_owned(),
            ..Container::default()
        }],
        ..Workload::default()
    }
}

fn sources(dns: &Dns) -> Vec<String> {
    dns.corefiles
        .iter()
        .map(|corefile| corefile.source.to_string())
        .collect()
}

#[test]
fn a_plain_cluster_has_one_corefile_and_nobody_who_overwrites_it() {
    let maps = config_maps(
        SYSTEM,
        vec![
            map(
                "coredns",
                json!({"Corefile": ".:53 {\n    kubernetes cluster.local\n}\n"}),
            ),
            map("kube-proxy", json!({"config.conf": "mode: iptables"})),
        ],
    );
    let coredns = workload(
        "Deployment",
        "coredns",
        "coredns",
        "registry.k8s.io/coredns/coredns:v1.13.1",
    );
    let dns = from_config(&maps, &[&coredns], None).unwrap();
    assert_eq!(sources(&dns), ["ConfigMap kube-system/coredns  Corefile"]);
    assert_eq!(dns.coredns_version, "1.13.1");
    assert!(dns.managed_by.is_empty() && !dns.node_local_cache && dns.kube_dns_stub_domains.is_none());
}

#[test]
fn a_renamed_corefile_of_a_chart_is_found_with_the_mark_of_its_manager() {
    let mut coredns = map("rke2-coredns-rke2-coredns", json!({"Corefile": ".:53 {\n}\n"}));
    coredns["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm", "k8s-app": "kube-dns"});
    coredns["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "rke2-coredns"});
    let running = workload(
        "Deployment",
        "rke2-coredns-rke2-coredns",
        "coredns",
        "index.docker.io/rancher/hardened-coredns:v1.12.1-build20250401",
    );
    let dns = from_config(&config_maps(SYSTEM, vec![coredns]), &[&running], None).unwrap();
    assert_eq!(
        sources(&dns),
        ["ConfigMap kube-system/rke2-coredns-rke2-coredns  Corefile"]
    );
    assert_eq!(
        dns.managed_by,
        [
            "app.kubernetes.io/managed-by=Helm",
            "meta.helm.sh/release-name=rke2-coredns"
        ]
    );
    assert_eq!(dns.coredns_version, "1.12.1-build20250401");
}

#[test]
fn custom_config_maps_and_the_node_cache_count_as_corefiles() {
    let maps = config_maps(
        SYSTEM,
        vec![
            map(
                "coredns",
                json!({"Corefile": ".:53 {\n import custom/*.override\n}\nimport custom/*.server\n"}),
            ),
            map(
                "coredns-custom",
                json!({"lighthouse.server": "clusterset.local:53 {\n}\n", "note.txt": "x"}),
            ),
            map("mesh-dns", json!({"lighthouse.server": "a:53 {\n}\n"})),
            map("unrelated", json!({"web.server": "listen 80"})),
            map("node-local-dns", json!({"Corefile": "cluster.local:53 {\n}\n"})),
            map(
                "submariner-lighthouse-coredns",
                json!({"Corefile": "clusterset.local:53 {\n}\n"}),
            ),
        ],
    );
    let cache = workload(
        "DaemonSet",
        "node-local-dns",
        "node-cache",
        "registry.k8s.io/dns/k8s-dns-node-cache:1.26.4",
    );
    let dns = from_config(&maps, &[&cache], Some((SYSTEM, "mesh-dns"))).unwrap();
    assert_eq!(
        sources(&dns),
        [
            "ConfigMap kube-system/coredns  Corefile",
            "ConfigMap kube-system/coredns-custom  lighthouse.server",
            "ConfigMap kube-system/mesh-dns  lighthouse.server",
            "ConfigMap kube-system/node-local-dns  Corefile",
        ]
    );
    assert!(dns.node_local_cache);
}

#[test]
fn kube_dns_tells_its_stub_domains_where_it_runs() {
    let kube_dns = workload(
        "Deployment",
        "kube-dns",
        "kubedns",
        "gke.gcr.io/k8s-dns-kube-dns:1.24.1",
    );
    let with = |data: Value| config_maps(SYSTEM, vec![map("kube-dns", data)]);
    let stub_domains = |maps| from_config(&maps, &[&kube_dns], None).map(|dns| dns.kube_dns_stub_domains);
    let known = stub_domains(with(json!({"stubDomains": "{\"clusterset.local\": [\"10.3.0.9\"]}"}))).unwrap();
    assert_eq!(known.unwrap()["clusterset.local"], ["10.3.0.9"]);
    assert_eq!(stub_domains(with(json!({}))).unwrap(), Some(BTreeMap::new()));
    let unknown = stub_domains(with(json!({"stubDomains": "[1"}))).unwrap_err();
    assert_eq!(unknown.reason, Reason::Unparsable);
    let elsewhere = from_config(&with(json!({"stubDomains": "[1"})), &[], None).unwrap();
    assert_eq!(elsewhere.kube_dns_stub_domains, None);
}

#[test]
fn openshift_forwards_by_its_operator() {
    let operator: Operator = serde_json::from_value(json!({
        "metadata": {"name": "default"},
        "spec": {"servers": [
            {"name": "lighthouse", "zones": ["clusterset.local"], "forwardPlugin": {"policy": "Random", "upstreams": ["172.30.5.7"]}},
            {"name": "corp", "zones": ["corp.example"], "forwardPlugin": null},
        ]},
    }))
    .unwrap();
    let servers = operator.servers();
    assert_eq!(servers["lighthouse"].upstreams, ["172.30.5.7"]);
    assert_eq!(servers["corp"].zones, ["corp.example"]);
    assert!(
        serde_json::from_str::<Operator>(r#"{"spec":{"servers":null}}"#)
            .unwrap()
            .servers()
            .is_empty()
    );
}

#[test]
fn the_right_to_read_imports_is_told_from_the_role() {
    let role = |rule: Value| serde_json::from_value::<Role>(json!({"rules": [rule]})).unwrap();
    let plain = json!({"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]});
    assert!(!role(plain).reads_imports());
    for (group, resource, verb) in [("multicluster.x-k8s.io", "serviceimports", "list"), ("*", "*", "*")] {
        assert!(role(json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})).reads_imports());
    }
    assert!(!role(json!({"apiGroups": null, "nonResourceURLs": ["/metrics"]})).reads_imports());
    assert!(uses_multicluster(".:53 {\n    multicluster clusterset.local\n}\n"));
    assert!(!uses_multicluster("# no multicluster here\n"));
}

#[test]
fn only_names_become_part_of_a_request() {
    assert!(is_name("kube-system") && is_name("coredns.custom"));
    for text in ["", "..", "a/b", "a?b", "a%2fb", "Ab", "-a"] {
        assert!(!is_name(text), "{text}");
    }
}
