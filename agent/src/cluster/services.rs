//! Services: addresses, ports, and the annotations of networking products.

use std::net::IpAddr;

use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::facts::service::{Service, ServicePort};
use serde::Deserialize;
use serde_json::Value;

use super::object::{Meta, or_default, pick_by};
use super::permissions::SERVICES;
use super::reader::{Reader, Scope};

/// Parts of annotation keys that networking products and clouds' load balancers use.
const ANNOTATIONS: &[&str] = &[
    "cilium.io/",
    "io.cilium/",
    "submariner.io/",
    "load-balancer",
    "loadbalancer",
    "metallb",
    "cloud.google.com/",
    "networking.gke.io/",
    "external-dns.alpha.kubernetes.io/hostname",
];

const LABELS: &[&str] = &["k8s-app", "app", "component", "app.kubernetes.io/", "io.cilium/"];

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    cluster_ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
    session_affinity: String,
    session_affinity_config: Option<AffinityConfig>,
    external_traffic_policy: String,
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    external_ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    load_balancer_source_ranges: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    selector: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    #[serde(default)]
    name: String,
    #[serde(default)]
    protocol: String,
    #[serde(rename = "port")]
    number: u16,
    #[serde(default, rename = "nodePort")]
    on_node: Option<u16>,
    #[serde(default, rename = "targetPort")]
    target: Value,
    #[serde(default)]
    app_protocol: Option<String>,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "or_default")]
    ingress: Vec<Ingress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: String,
    hostname: String,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Fact<Vec<Service>> {
    let services = reader
        .list(&SERVICES, Scope::ALL, |services: &mut Vec<Service>, object: Object| {
            services.push(reduce(object)?);
            Ok(())
        })
        .await;
    services.map_or_else(Fact::Unknown, |mut services| {
        services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Fact::known(services, Source::read("Services", ""))
    })
}

fn reduce(object: Object) -> Result<Service, String> {
    let Object { metadata, spec, status } = object;
    let mut written = spec.cluster_ips;
    if written.is_empty() && !spec.cluster_ip.is_empty() {
        written.push(spec.cluster_ip);
    }
    let headless = written.iter().any(|ip| ip == "None");
    let cluster_ips = written
        .iter()
        .filter(|ip| !ip.is_empty() && *ip != "None")
        .map(|ip| ip.parse())
        .collect::<Result<Vec<IpAddr>, _>>()
        .map_err(|_| "spec.clusterIPs holds no address".to_owned())?;
    Ok(Service {
        namespace: metadata.namespace,
        name: metadata.name,
        kind: if spec.kind.is_empty() {
            "ClusterIP".to_owned()
        } else {
            spec.kind
        },
        cluster_ips,
        headless,
        ports: spec.ports.into_iter().map(Port::reduce).collect(),
        session_affinity: if spec.session_affinity == "None" {
            String::new()
        } else {
            spec.session_affinity
        },
        session_affinity_timeout_seconds: spec
            .session_affinity_config
            .and_then(|config| config.client_ip?.timeout_seconds),
        external_traffic_policy: spec.external_traffic_policy,
        external_ips: spec.external_ips,
        source_ranges: spec.load_balancer_source_ranges,
        ingress: status
            .load_balancer
            .ingress
            .into_iter()
            .flat_map(|ingress| [ingress.ip, ingress.hostname])
            .filter(|address| !address.is_empty())
            .collect(),
        selector: spec.selector,
        annotations: pick_by(metadata.annotations, |key| {
            ANNOTATIONS.iter().any(|part| key.contains(part))
        }),
        labels: pick_by(metadata.labels, |key| {
            LABELS.contains(&key)
                || key.starts_with("app.kubernetes.io/")
                || key.starts_with("io.cilium/")
                || key.contains("submariner.io/")
        }),
    })
}

impl Port {
    pub(crate) fn reduce(self) -> ServicePort {
        ServicePort {
            name: self.name,
            protocol: if self.protocol.is_empty() {
                "TCP".to_owned()
            } else {
                self.protocol
            },
            port: self.number,
            node_port: self.on_node.filter(|port| *port != 0),
            target_port: match self.target {
                Value::Number(number) => number.to_string(),
                Value::String(name) => name,
                _ => String::new(),
            },
            app_protocol: self.app_protocol.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(json: &str) -> Result<Service, String> {
        reduce(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_load_balancer_is_reduced_to_what_peers_see() {
        let service = service(
            r#"{"metadata":{"name":"clustermesh-apiserver","namespace":"kube-system","labels":{"k8s-app":"clustermesh-apiserver","helm.sh/chart":"x"},
                "annotations":{"service.beta.kubernetes.io/aws-load-balancer-scheme":"internal","kubectl.kubernetes.io/last-applied-configuration":"{}"}},
              "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.5","clusterIPs":["10.96.0.5"],
                "ports":[{"port":2379,"targetPort":"etcd","nodePort":32379,"protocol":"TCP"}],
                "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},
                "externalTrafficPolicy":"Local","loadBalancerSourceRanges":["10.0.0.0/8"]},
              "status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4"},{"hostname":"lb.example.com"}]}}}"#,
        )
        .unwrap();
        assert_eq!(service.key(), "kube-system/clustermesh-apiserver");
        assert_eq!(service.cluster_ips, ["10.96.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            (service.ports[0].node_port, service.ports[0].target_port.as_str()),
            (Some(32379), "etcd")
        );
        assert_eq!(service.ingress, ["1.2.3.4", "lb.example.com"]);
        assert_eq!(service.session_affinity_timeout_seconds, Some(10800));
        assert_eq!((service.annotations.len(), service.labels.len()), (1, 1));
    }

    #[test]
    fn headless_and_external_name_services_have_no_address() {
        let headless =
            service(r#"{"metadata":{"name":"h"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}"#).unwrap();
        assert!(headless.headless && headless.cluster_ips.is_empty());
        let external =
            service(r#"{"metadata":{"name":"e"},"spec":{"type":"ExternalName","externalName":"x.y"}}"#).unwrap();
        assert!(!external.headless && external.cluster_ips.is_empty());
    }

    #[test]
    fn a_cluster_ip_that_is_none_makes_the_service_unreadable() {
        assert!(service(r#"{"metadata":{"name":"h"},"spec":{"clusterIP":"10.0.0.300"}}"#).is_err());
    }
}
