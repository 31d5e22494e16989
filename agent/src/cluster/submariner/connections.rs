//! Who is in the clusterset and who is connected: `Cluster`, `Endpoint`, `Gateway` and `RouteAgent`.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Fact, Source, Unknown};
use prejoin_checks::facts::submariner::{Connection, Endpoint, Gateway, RemoteEndpoint, RouteAgent, SubmarinerCluster};
use serde::Deserialize;

use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::{
    SUBMARINER_CLUSTERS, SUBMARINER_ENDPOINTS, SUBMARINER_GATEWAYS, SUBMARINER_ROUTE_AGENTS,
};
use crate::cluster::reader::{Reader, Scope};
use crate::cluster::workloads::is_secret_name;

/// What was found of the data plane.
pub(super) struct DataPlane {
    pub(super) clusters: Fact<Vec<SubmarinerCluster>>,
    pub(super) endpoints: Fact<Vec<Endpoint>>,
    pub(super) gateways: Fact<Vec<Gateway>>,
    pub(super) gateway_namespace: Option<String>,
    pub(super) route_agents: Fact<Vec<RouteAgent>>,
}

#[derive(Deserialize)]
struct ClusterObject {
    metadata: Meta,
    spec: ClusterSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClusterSpec {
    cluster_id: String,
    #[serde(deserialize_with = "or_default")]
    cluster_cidr: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    service_cidr: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    global_cidr: Vec<String>,
}

#[derive(Deserialize)]
struct EndpointObject {
    metadata: Meta,
    spec: EndpointSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EndpointSpec {
    cluster_id: String,
    cable_name: String,
    hostname: String,
    #[serde(deserialize_with = "or_default")]
    subnets: Vec<String>,
    private_ip: String,
    public_ip: String,
    #[serde(rename = "healthCheckIP")]
    health_check_ip: String,
    #[serde(rename = "privateIPs", deserialize_with = "or_default")]
    private_ips: Vec<String>,
    #[serde(rename = "publicIPs", deserialize_with = "or_default")]
    public_ips: Vec<String>,
    #[serde(rename = "healthCheckIPs", deserialize_with = "or_default")]
    health_check_ips: Vec<String>,
    nat_enabled: Option<bool>,
    backend: String,
    #[serde(deserialize_with = "or_default")]
    backend_config: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct GatewayObject {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    status: GatewayStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GatewayStatus {
    version: String,
    ha_status: String,
    status_failure: String,
    local_endpoint: Option<EndpointSpec>,
    #[serde(deserialize_with = "or_default")]
    connections: Vec<ConnectionStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConnectionStatus {
    status: String,
    status_message: String,
    endpoint: EndpointSpec,
    #[serde(rename = "usingIP")]
    using_ip: String,
    #[serde(rename = "usingNAT")]
    using_nat: Option<bool>,
}

#[derive(Deserialize)]
struct RouteAgentObject {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    status: RouteAgentStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteAgentStatus {
    version: String,
    status_failure: String,
    #[serde(deserialize_with = "or_default")]
    remote_endpoints: Vec<RemoteStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RemoteStatus {
    status: String,
    status_message: String,
    spec: RemoteSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RemoteSpec {
    cluster_id: String,
}

pub(super) async fn read(reader: &Reader<'_>) -> DataPlane {
    let (clusters, endpoints, gateways, route_agents) = tokio::join!(
        reader.list(&SUBMARINER_CLUSTERS, Scope::ALL, |all: &mut Vec<_>, object| {
            all.push(cluster(object));
            Ok(())
        }),
        reader.list(
            &SUBMARINER_ENDPOINTS,
            Scope::ALL,
            |all: &mut Vec<_>, object: EndpointObject| {
                all.push(endpoint(object.metadata.namespace, object.spec));
                Ok(())
            }
        ),
        reader.list(
            &SUBMARINER_GATEWAYS,
            Scope::ALL,
            |all: &mut Vec<_>, object: GatewayObject| {
                all.push((object.metadata.namespace.clone(), gateway(object)?));
                Ok(())
            }
        ),
        reader.list(&SUBMARINER_ROUTE_AGENTS, Scope::ALL, |all: &mut Vec<_>, object| {
            all.push(route_agent(object));
            Ok(())
        }),
    );
    let gateway_namespace = gateways
        .as_ref()
        .ok()
        .and_then(|gateways| gateways.iter().map(|(namespace, _)| namespace.clone()).min());
    let gateways = gateways.map(|all| all.into_iter().map(|(_, gateway)| gateway).collect());
    DataPlane {
        clusters: sorted(clusters, "Clusters (submariner.io)", |cluster: &SubmarinerCluster| {
            (cluster.namespace.clone(), cluster.cluster_id.clone())
        }),
        endpoints: sorted(endpoints, "Endpoints (submariner.io)", |endpoint: &Endpoint| {
            (endpoint.namespace.clone(), endpoint.cable_name.clone())
        }),
        gateways: sorted(gateways, "Gateways (submariner.io)", |gateway: &Gateway| {
            gateway.name.clone()
        }),
        gateway_namespace,
        route_agents: sorted(route_agents, "RouteAgents (submariner.io)", |agent: &RouteAgent| {
            agent.name.clone()
        }),
    }
}

fn sorted<T, K: Ord>(list: Result<Vec<T>, Unknown>, object: &str, key: impl Fn(&T) -> K) -> Fact<Vec<T>> {
    list.map_or_else(Fact::Unknown, |mut list| {
        list.sort_by_cached_key(key);
        Fact::known(list, Source::read(object, ""))
    })
}

fn cluster(object: ClusterObject) -> SubmarinerCluster {
    SubmarinerCluster {
        namespace: object.metadata.namespace,
        cluster_id: object.spec.cluster_id,
        cluster_cidr: object.spec.cluster_cidr,
        service_cidr: object.spec.service_cidr,
        global_cidr: object.spec.global_cidr,
    }
}

fn endpoint(namespace: String, spec: EndpointSpec) -> Endpoint {
    // Newer objects have lists, and may keep the first of them in the old field.
    let listed = |list: Vec<String>, single: String| {
        if list.is_empty() && !single.is_empty() {
            vec![single]
        } else {
            list
        }
    };
    let mut backend_config = spec.backend_config;
    backend_config.retain(|key, _| !changes_by_itself(key) && !is_secret_name(key));
    Endpoint {
        namespace,
        cluster_id: spec.cluster_id,
        cable_name: spec.cable_name,
        hostname: spec.hostname,
        subnets: spec.subnets,
        private_ips: listed(spec.private_ips, spec.private_ip),
        public_ips: listed(spec.public_ips, spec.public_ip),
        health_check_ips: listed(spec.health_check_ips, spec.health_check_ip),
        nat_enabled: spec.nat_enabled,
        backend: spec.backend,
        backend_config,
    }
}

/// Counters and times, which would differ from one reading to the next.
fn changes_by_itself(key: &str) -> bool {
    [
        "LastChecked",
        "ReceiveBytes",
        "TransmitBytes",
        "preferred-server-timestamp",
    ]
    .contains(&key)
}

fn gateway(object: GatewayObject) -> Result<Gateway, String> {
    let GatewayObject { metadata, status } = object;
    let updated_at = match metadata.annotations.get("update-timestamp") {
        Some(text) => {
            let time = text.parse().ok().map(jiff::Timestamp::from_second);
            Some(
                time.and_then(Result::ok)
                    .ok_or("annotation update-timestamp is no time")?,
            )
        }
        None => None,
    };
    let connection = |connection: ConnectionStatus| Connection {
        status: connection.status,
        message: connection.status_message,
        endpoint: endpoint(String::new(), connection.endpoint),
        using_ip: connection.using_ip,
        using_nat: connection.using_nat,
    };
    Ok(Gateway {
        version: status.version,
        ha_status: status.ha_status,
        failure: status.status_failure,
        updated_at,
        global_ip: metadata
            .annotations
            .get("submariner.io/globalIp")
            .cloned()
            .unwrap_or_default(),
        // Before it has one, the gateway writes an empty endpoint.
        local_endpoint: status
            .local_endpoint
            .filter(|spec| !spec.cluster_id.is_empty())
            .map(|spec| endpoint(String::new(), spec)),
        connections: status.connections.into_iter().map(connection).collect(),
        name: metadata.name,
    })
}

fn route_agent(object: RouteAgentObject) -> RouteAgent {
    let remote = |remote: RemoteStatus| RemoteEndpoint {
        cluster_id: remote.spec.cluster_id,
        status: remote.status,
        message: remote.status_message,
    };
    RouteAgent {
        name: object.metadata.name,
        version: object.status.version,
        failure: object.status.status_failure,
        remotes: object.status.remote_endpoints.into_iter().map(remote).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoint_of(spec: Value) -> Endpoint {
        endpoint("submariner-operator".to_owned(), serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn an_endpoint_keeps_public_keys_and_drops_what_counts() {
        let endpoint = endpoint_of(json!({
            "backend": "wireguard", "cable_name": "submariner-cable-west-172-18-0-6", "cluster_id": "west", "hostname": "west-worker",
            "backend_config": {"natt-discovery-port": "4490", "preferred-server": "false", "preferred-server-timestamp": "1767225600",
                               "publicKey": "pZ0=", "udp-port": "4500", "ReceiveBytes": "12", "TransmitBytes": "7", "LastChecked": "3", "psk": "hush"},
            "healthCheckIP": "10.245.1.1", "nat_enabled": true, "private_ip": "172.18.0.6", "public_ip": "203.0.113.7",
            "subnets": ["10.97.0.0/16", "10.245.0.0/16"],
        }));
        let keys: Vec<_> = endpoint.backend_config.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["natt-discovery-port", "preferred-server", "publicKey", "udp-port"]
        );
        assert_eq!(endpoint.private_ips, ["172.18.0.6"]);
        assert_eq!((endpoint.public_ips.len(), endpoint.health_check_ips.len()), (1, 1));
    }

    #[test]
    fn lists_of_newer_endpoints_come_before_their_single_fields() {
        let endpoint = endpoint_of(json!({
            "cluster_id": "west", "privateIPs": ["172.18.0.6", "fc00::6"], "private_ip": "172.18.0.6", "publicIPs": null,
            "healthCheckIPs": [], "healthCheckIP": "", "subnets": null, "backend_config": null,
        }));
        assert_eq!(endpoint.private_ips.len(), 2);
        assert!(endpoint.public_ips.is_empty() && endpoint.health_check_ips.is_empty());
    }

    #[test]
    fn a_gateway_tells_its_connections_and_when_it_last_lived() {
        let object = json!({
            "metadata": {"name": "east-worker", "namespace": "submariner-operator",
                         "annotations": {"update-timestamp": "1767225600", "submariner.io/globalIp": "242.0.255.254"}},
            "status": {"version": "0.21.0", "haStatus": "active", "statusFailure": "",
                       "localEndpoint": {"cluster_id": "east", "hostname": "east-worker"},
                       "connections": [{"status": "connected", "statusMessage": "", "usingIP": "172.18.0.6", "usingNAT": false,
                                        "latencyRTT": {"average": "1ms"}, "endpoint": {"cluster_id": "west", "backend": "libreswan"}}]},
        });
        let gateway = gateway(serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(gateway.updated_at.unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(
            (gateway.ha_status.as_str(), gateway.global_ip.as_str()),
            ("active", "242.0.255.254")
        );
        assert_eq!(gateway.local_endpoint.unwrap().cluster_id, "east");
        assert_eq!(
            (gateway.connections.len(), gateway.connections[0].using_nat),
            (1, Some(false))
        );
    }

    #[test]
    fn a_gateway_that_has_just_begun_has_no_endpoint() {
        let object =
            json!({"metadata": {"name": "g"}, "status": {"localEndpoint": {"cluster_id": ""}, "connections": null}});
        assert_eq!(
            gateway(serde_json::from_value(object).unwrap()).unwrap().local_endpoint,
            None
        );
        let new = json!({"metadata": {"name": "g"}, "status": null});
        assert!(gateway(serde_json::from_value(new).unwrap()).is_ok());
        for time in ["yesterday", "99999999999999999", ""] {
            let odd = json!({"metadata": {"name": "g", "annotations": {"update-timestamp": time}}});
            assert!(gateway(serde_json::from_value(odd).unwrap()).is_err(), "{time}");
        }
    }

    #[test]
    fn a_route_agent_tells_whom_it_reaches() {
        let object = json!({
            "metadata": {"name": "east-worker2"},
            "status": {"version": "0.21.0", "remoteEndpoints": [
                {"status": "connected", "spec": {"cluster_id": "west", "subnets": ["10.245.0.0/16"]}, "latencyRTT": {"last": "1ms"}},
                {"status": "error", "statusMessage": "failed to ping", "spec": {"cluster_id": "north"}},
            ]},
        });
        let agent = route_agent(serde_json::from_value(object).unwrap());
        assert_eq!(
            (agent.remotes.len(), agent.remotes[1].message.as_str()),
            (2, "failed to ping")
        );
        assert_eq!(agent.remotes[0].cluster_id, "west");
    }

    #[test]
    fn a_cluster_keeps_its_ranges_as_they_are_written() {
        let object = json!({
            "metadata": {"name": "west", "namespace": "submariner-k8s-broker"},
            "spec": {"cluster_id": "west", "color_codes": ["blue"], "cluster_cidr": ["10.245.0.0/16,fd00::/48"], "service_cidr": ["10.97.0.0/16"], "global_cidr": null},
        });
        let cluster = cluster(serde_json::from_value(object).unwrap());
        assert_eq!(cluster.cluster_cidr, ["10.245.0.0/16,fd00::/48"]);
        assert_eq!(
            (cluster.namespace.as_str(), cluster.global_cidr.len()),
            ("submariner-k8s-broker", 0)
        );
    }
}
