//! What the operator was told: `Submariner`, `ServiceDiscovery` and `Broker`, named fields only.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use prejoin_checks::facts::submariner::{Broker, ServiceDiscovery, SubmarinerConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::object::{Meta, managers, or_default};
use crate::cluster::permissions::{Resource, SERVICE_DISCOVERIES, SUBMARINER_BROKERS, SUBMARINERS};
use crate::cluster::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object<Spec, Status> {
    metadata: Meta,
    spec: Spec,
    status: Option<Status>,
}

/// Named fields of the object's `spec`; the key, the token and the names of their Secrets are not among them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    #[serde(rename = "serviceCIDR")]
    service_cidr: String,
    #[serde(rename = "globalCIDR")]
    global_cidr: String,
    #[serde(rename = "clustersetIPCIDR")]
    clusterset_ip_cidr: String,
    version: String,
    broker_k8s_api_server: String,
    broker_k8s_remote_namespace: String,
    broker_k8s_insecure: Option<bool>,
    cable_driver: String,
    #[serde(rename = "ceIPSecNATTPort")]
    nat_t_port: Option<i64>,
    #[serde(rename = "ceIPSecForceUDPEncaps")]
    force_udp_encaps: Option<bool>,
    #[serde(rename = "ceIPSecPreferredServer")]
    preferred_server: Option<bool>,
    nat_enabled: Option<bool>,
    air_gapped_deployment: Option<bool>,
    load_balancer_enabled: Option<bool>,
    service_discovery_enabled: Option<bool>,
    #[serde(rename = "clustersetIPEnabled")]
    clusterset_ip_enabled: Option<bool>,
    #[serde(rename = "coreDNSCustomConfig")]
    coredns_custom_config: Option<CoreDnsCustomConfig>,
    #[serde(deserialize_with = "or_default")]
    custom_domains: Vec<String>,
    connection_health_check: Option<HealthCheck>,
    repository: String,
    cilium_namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CoreDnsCustomConfig {
    config_map_name: String,
    namespace: String,
}

#[derive(Deserialize)]
struct HealthCheck {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    #[serde(rename = "serviceCIDR")]
    service_cidr: String,
    #[serde(rename = "globalCIDR")]
    global_cidr: String,
    network_plugin: String,
    version: String,
    #[serde(rename = "gatewayDaemonSetStatus")]
    gateways: Option<DaemonSet>,
    #[serde(rename = "routeAgentDaemonSetStatus")]
    route_agents: Option<DaemonSet>,
    #[serde(rename = "globalnetDaemonSetStatus")]
    globalnet: Option<DaemonSet>,
}

#[derive(Deserialize)]
struct DaemonSet {
    status: Option<DaemonSetStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonSetStatus {
    desired_number_scheduled: u32,
    number_ready: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceDiscoverySpec {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    #[serde(deserialize_with = "or_default")]
    custom_domains: Vec<String>,
    #[serde(rename = "coreDNSCustomConfig")]
    coredns_custom_config: Option<CoreDnsCustomConfig>,
    broker_k8s_api_server: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BrokerSpec {
    #[serde(deserialize_with = "or_default")]
    components: Vec<String>,
    globalnet_enabled: Option<bool>,
    #[serde(rename = "globalnetCIDRRange")]
    globalnet_cidr_range: String,
    default_globalnet_cluster_size: Option<u64>,
    #[serde(rename = "clustersetIPEnabled")]
    clusterset_ip_enabled: Option<bool>,
    #[serde(rename = "clustersetIPCIDRRange")]
    clusterset_ip_cidr_range: String,
    #[serde(deserialize_with = "or_default")]
    default_custom_domains: Vec<String>,
}

/// No status is looked at.
#[derive(Deserialize)]
struct NoStatus {}

/// The `Submariner` object; `not installed` where there is none.
pub(super) async fn config(reader: &Reader<'_>) -> Fact<SubmarinerConfig> {
    let first = first(reader, &SUBMARINERS, |object: Object<Spec, Status>| {
        (object.metadata.key(), reduce(object))
    });
    required(first.await, "Submariner")
}

/// The `ServiceDiscovery` object, if there is one.
pub(super) async fn service_discovery(reader: &Reader<'_>) -> Fact<Option<ServiceDiscovery>> {
    let first = first(
        reader,
        &SERVICE_DISCOVERIES,
        |object: Object<ServiceDiscoverySpec, NoStatus>| {
            let spec = object.spec;
            let value = ServiceDiscovery {
                cluster_id: spec.cluster_id,
                custom_domains: spec.custom_domains,
                coredns_custom_config: spec.coredns_custom_config.as_ref().map_or_else(String::new, key),
                broker_api_server: spec.broker_k8s_api_server,
            };
            (object.metadata.key(), value)
        },
    );
    match first.await {
        Ok(Some((key, value))) => Fact::known(Some(value), Source::read(format!("ServiceDiscovery {key}"), "")),
        Ok(None) => Fact::known(None, Source::read("ServiceDiscoveries", "")),
        Err(unknown) => Fact::Unknown(unknown),
    }
}

/// The `Broker` object; `not installed` where there is none.
pub(super) async fn broker(reader: &Reader<'_>) -> Fact<Broker> {
    let first = first(reader, &SUBMARINER_BROKERS, |object: Object<BrokerSpec, NoStatus>| {
        let spec = object.spec;
        let key = object.metadata.key();
        let value = Broker {
            namespace: object.metadata.namespace,
            components: spec.components,
            globalnet_enabled: spec.globalnet_enabled,
            globalnet_cidr_range: spec.globalnet_cidr_range,
            globalnet_cluster_size: spec.default_globalnet_cluster_size,
            clusterset_ip_enabled: spec.clusterset_ip_enabled,
            clusterset_ip_cidr_range: spec.clusterset_ip_cidr_range,
            custom_domains: spec.default_custom_domains,
        };
        (key, value)
    });
    required(first.await, "Broker")
}

/// The first by `namespace/name` of what should be one object.
pub(super) async fn first<T, V>(
    reader: &Reader<'_>,
    resource: &Resource,
    reduce: impl Fn(T) -> (String, V) + Send + Sync,
) -> Result<Option<(String, V)>, Unknown>
where
    T: DeserializeOwned,
    V: Send,
{
    let all = reader
        .list(resource, Scope::ALL, |all: &mut BTreeMap<String, V>, object| {
            all.extend([reduce(object)]);
            Ok(())
        })
        .await?;
    Ok(all.into_iter().next())
}

fn required<V>(first: Result<Option<(String, V)>, Unknown>, kind: &str) -> Fact<V> {
    let read = || {
        let absent = || Unknown::new(Reason::NotInstalled, format!("there is no {kind} object"));
        let (key, value) = first?.ok_or_else(absent)?;
        Ok(Known::new(value, Source::read(format!("{kind} {key}"), "")))
    };
    read().into()
}

/// `namespace/name`; the operator looks in kube-system where no namespace is given.
fn key(config: &CoreDnsCustomConfig) -> String {
    if config.config_map_name.is_empty() {
        return String::new();
    }
    let namespace = if config.namespace.is_empty() {
        "kube-system"
    } else {
        &config.namespace
    };
    format!("{namespace}/{}", config.config_map_name)
}

fn reduce(object: Object<Spec, Status>) -> SubmarinerConfig {
    let Object { metadata, spec, status } = object;
    let status = status.unwrap_or_default();
    let daemon_sets = [
        ("gateway", status.gateways),
        ("routeagent", status.route_agents),
        ("globalnet", status.globalnet),
    ];
    SubmarinerConfig {
        managed_by: managers(&metadata),
        namespace: metadata.namespace,
        cluster_id: spec.cluster_id,
        status_cluster_id: status.cluster_id,
        cluster_cidr: spec.cluster_cidr,
        service_cidr: spec.service_cidr,
        global_cidr: spec.global_cidr,
        clusterset_ip_cidr: spec.clusterset_ip_cidr,
        status_cluster_cidr: status.cluster_cidr,
        status_service_cidr: status.service_cidr,
        status_global_cidr: status.global_cidr,
        network_plugin: status.network_plugin,
        version: if spec.version.is_empty() {
            status.version
        } else {
            spec.version
        },
        broker_api_server: spec.broker_k8s_api_server,
        broker_namespace: spec.broker_k8s_remote_namespace,
        broker_insecure: spec.broker_k8s_insecure,
        cable_driver: spec.cable_driver,
        nat_t_port: spec.nat_t_port,
        force_udp_encaps: spec.force_udp_encaps,
        preferred_server: spec.preferred_server,
        nat_enabled: spec.nat_enabled,
        air_gapped: spec.air_gapped_deployment,
        load_balancer_enabled: spec.load_balancer_enabled,
        service_discovery_enabled: spec.service_discovery_enabled,
        clusterset_ip_enabled: spec.clusterset_ip_enabled,
        coredns_custom_config: spec.coredns_custom_config.as_ref().map_or_else(String::new, key),
        custom_domains: spec.custom_domains,
        health_check_present: spec.connection_health_check.is_some(),
        health_check_enabled: spec.connection_health_check.and_then(|check| check.enabled),
        repository: spec.repository,
        cilium_namespace: spec.cilium_namespace,
        daemon_sets: daemon_sets
            .into_iter()
            .filter_map(|(name, daemon_set)| {
                let status = daemon_set?.status?;
                let text = format!("{} of {} ready", status.number_ready, status.desired_number_scheduled);
                Some((name.to_owned(), text))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(spec: Value, status: Value) -> SubmarinerConfig {
        let mut object = json!({"metadata": {"name": "submariner", "namespace": "submariner-operator"}});
        object["spec"] = spec;
        object["status"] = status;
        reduce(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_member_is_read_without_its_key_and_token() {
        let config = config(
            json!({
                "broker": "k8s", "brokerK8sApiServer": "172.18.0.3:6443", "brokerK8sApiServerToken": "hush-token",
                "brokerK8sCA": "hush-ca", "brokerK8sRemoteNamespace": "submariner-k8s-broker", "brokerK8sSecret": "broker-secret-x",
                "cableDriver": "libreswan", "ceIPSecPSK": "hush-psk", "ceIPSecDebug": false, "ceIPSecNATTPort": 4500,
                "clusterCIDR": "", "clusterID": "east", "serviceCIDR": "", "globalCIDR": "242.0.0.0/16",
                "clustersetIPCIDR": "243.0.0.0/20", "connectionHealthCheck": {"enabled": true, "intervalSeconds": 1, "maxPacketLossCount": 5},
                "coreDNSCustomConfig": {"configMapName": "coredns-custom"}, "customDomains": null,
                "namespace": "submariner-operator", "natEnabled": true, "repository": "quay.io/submariner",
                "serviceDiscoveryEnabled": true, "version": "0.21.0", "imageOverrides": {"x": "y"},
            }),
            json!({
                "clusterID": "east", "clusterCIDR": "10.244.0.0/16", "serviceCIDR": "10.96.0.0/16", "globalCIDR": "242.0.0.0/16",
                "networkPlugin": "calico", "natEnabled": true,
                "gatewayDaemonSetStatus": {"lastResourceVersion": "1", "mismatchedContainerImages": false,
                    "status": {"currentNumberScheduled": 1, "desiredNumberScheduled": 2, "numberReady": 1, "numberMisscheduled": 0}},
                "routeAgentDaemonSetStatus": {"status": null}, "loadBalancerStatus": {},
            }),
        );
        assert_eq!(
            (config.cluster_id.as_str(), config.network_plugin.as_str()),
            ("east", "calico")
        );
        assert_eq!(
            (config.nat_t_port, config.nat_enabled, config.air_gapped),
            (Some(4500), Some(true), None)
        );
        assert_eq!(config.coredns_custom_config, "kube-system/coredns-custom");
        assert_eq!(
            config.daemon_sets,
            BTreeMap::from([("gateway".to_owned(), "1 of 2 ready".to_owned())])
        );
        let kept = serde_json::to_string(&config).unwrap();
        assert!(!kept.contains("hush") && !kept.contains("broker-secret"), "{kept}");
    }

    #[test]
    fn an_absent_health_check_and_one_that_says_nothing_differ() {
        let absent = config(json!({"clusterID": "east"}), Value::Null);
        assert_eq!(
            (absent.health_check_present, absent.health_check_enabled),
            (false, None)
        );
        let silent = config(json!({"connectionHealthCheck": {"intervalSeconds": 1}}), json!({}));
        assert_eq!((silent.health_check_present, silent.health_check_enabled), (true, None));
        let on = config(json!({"connectionHealthCheck": {"enabled": true}}), json!({}));
        assert_eq!(on.health_check_enabled, Some(true));
    }

    #[test]
    fn the_version_that_was_asked_for_comes_before_the_one_reported() {
        let version = |spec: Value, status: Value| config(spec, status).version;
        assert_eq!(
            version(json!({"version": "0.21.0"}), json!({"version": "0.20.0"})),
            "0.21.0"
        );
        assert_eq!(version(json!({}), json!({"version": "0.20.0"})), "0.20.0");
    }

    #[test]
    fn a_field_of_a_wrong_type_is_told_without_what_stands_beside_it() {
        let json = r#"{"metadata":{},"spec":{"ceIPSecPSK":"hush","clusterID":["hush"]}}"#;
        let error = serde_json::from_str::<Object<Spec, Status>>(json).err().unwrap();
        let flaw = crate::cluster::failure::JsonFlaw(&error).to_string();
        assert!(!flaw.contains("hush"), "{flaw}");
    }

    #[test]
    fn the_absence_of_an_object_is_known() {
        let none: Fact<Broker> = required(Ok(None), "Broker");
        assert!(none.is_not_installed());
    }
}
