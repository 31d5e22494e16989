//! Submariner, wherever its objects are, as a member and as the cluster that holds the broker.
//!
//! The `Submariner` object holds the IPsec key and a token of the broker. Only named fields are ever deserialised, and
//! those are not among them, but for the key with `--read-secrets`: `psk.rs` makes a fingerprint of it at once.

mod broker;
mod connections;
mod globalnet;
mod installed;
mod operator;
mod psk;

use std::collections::BTreeSet;

use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use prejoin_checks::facts::submariner::{Broker, Submariner, SubmarinerCluster, SubmarinerConfig};

use super::reader::Reader;
use super::workloads::Workloads;

const GROUP: &str = "submariner.io";

/// Reads what there is of Submariner; its namespaces are those its objects are in.
pub(crate) async fn read(reader: &Reader<'_>, workloads: &Workloads) -> Fact<Submariner> {
    let served = reader.served_apis().await;
    if let Ok(served) = &served
        && !served.iter().any(|version| version.split('/').next() == Some(GROUP))
    {
        return Fact::unknown(Reason::NotInstalled, format!("{GROUP} is not served"));
    }
    let (config, service_discovery, broker, data_plane, globalnet) = tokio::join!(
        operator::config(reader),
        operator::service_discovery(reader),
        operator::broker(reader),
        connections::read(reader),
        globalnet::read(reader),
    );
    let connections::DataPlane {
        clusters,
        endpoints,
        gateways,
        gateway_namespace,
        route_agents,
    } = data_plane;
    // Where discovery is refused the lists were asked for all the same; if none could be had either, nothing is known.
    let any_read = config.ok().is_some() || clusters.ok().is_some() || gateways.ok().is_some();
    if let (Err(unknown), false) = (served, any_read) {
        return Fact::Unknown(unknown);
    }
    let member = member_namespace(&config, gateway_namespace, workloads);
    let brokers = broker_namespaces(&broker, &clusters, member.as_deref());
    let (range_infos, installed, psk) = tokio::join!(
        broker::read(reader, &brokers),
        installed::read(reader, workloads, member.as_deref()),
        psk::read(reader, member.as_deref()),
    );
    let submariner = Submariner {
        config,
        service_discovery,
        broker,
        clusters,
        endpoints,
        gateways,
        route_agents,
        cluster_global_egress_ips: globalnet.egress,
        global_ingress_ips: globalnet.ingress,
        globalnet_info: range_infos.globalnet,
        clusterset_ip_info: range_infos.clusterset_ip,
        gateway_lease_holder: installed.lease_holder,
        versions: installed.versions,
        unready_pods: installed.unready_pods,
        psk,
    };
    Fact::Known(Known::new(submariner, Source::read("/apis", GROUP)))
}

/// The operator's namespace in a member.
fn member_namespace(
    config: &Fact<SubmarinerConfig>,
    of_gateways: Option<String>,
    workloads: &Workloads,
) -> Option<String> {
    let of_config = config.ok().map(|config| config.namespace.clone());
    let of_operator = || {
        let mut deployments = workloads.deployments.iter().flatten().map(|found| &found.workload);
        let operator = deployments.find(|workload| workload.name == "submariner-operator")?;
        Some(operator.namespace.clone())
    };
    of_config.or(of_gateways).or_else(of_operator)
}

/// The broker's namespaces, as a rule one: where its object is, or where `Cluster` objects are that are no member's.
fn broker_namespaces(
    broker: &Fact<Broker>,
    clusters: &Fact<Vec<SubmarinerCluster>>,
    member: Option<&str>,
) -> Result<Vec<String>, Unknown> {
    if let Some(broker) = broker.ok() {
        return Ok(vec![broker.namespace.clone()]);
    }
    let namespaces: BTreeSet<String> = clusters
        .get()?
        .iter()
        .map(|cluster| cluster.namespace.clone())
        .filter(|namespace| Some(namespace.as_str()) != member)
        .collect();
    if !namespaces.is_empty() {
        return Ok(namespaces.into_iter().collect());
    }
    match broker.why() {
        Some(unknown) if unknown.reason != Reason::NotInstalled => Err(unknown.clone()),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(namespaces: &[&str]) -> Fact<Vec<SubmarinerCluster>> {
        let cluster = |namespace: &&str| SubmarinerCluster {
            namespace: (*namespace).to_owned(),
            ..SubmarinerCluster::default()
        };
        Fact::known(namespaces.iter().map(cluster).collect(), Source::read("Clusters", ""))
    }

    #[test]
    fn the_brokers_namespace_is_told_by_the_objects_in_it() {
        let none = || Fact::unknown(Reason::NotInstalled, "there is no Broker object");
        let member = Some("submariner-operator");
        let broker = Broker {
            namespace: "mesh-broker".to_owned(),
            ..Broker::default()
        };
        let broker = Fact::known(broker, Source::read("Broker", ""));
        assert_eq!(
            broker_namespaces(&broker, &clusters(&[]), member).unwrap(),
            ["mesh-broker"]
        );
        // Installed by a chart there is no object, but the members' clusters are there.
        let both = clusters(&["submariner-operator", "my-broker", "my-broker"]);
        assert_eq!(broker_namespaces(&none(), &both, member).unwrap(), ["my-broker"]);
        assert!(
            broker_namespaces(&none(), &clusters(&["submariner-operator"]), member)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn whether_there_is_a_broker_is_not_known_where_it_may_not_be_read() {
        let forbidden = Fact::unknown(Reason::Forbidden, "list brokers.submariner.io: forbidden");
        let unknown = broker_namespaces(
            &forbidden,
            &clusters(&["submariner-operator"]),
            Some("submariner-operator"),
        );
        assert_eq!(unknown.unwrap_err().reason, Reason::Forbidden);
        let none: Fact<Broker> = Fact::unknown(Reason::NotInstalled, "there is no Broker object");
        let unread = Fact::unknown(Reason::Forbidden, "list clusters.submariner.io: forbidden");
        assert!(broker_namespaces(&none, &unread, None).is_err());
    }
}
