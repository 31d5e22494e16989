//! What the control plane says of itself: its pods' flags, kubeadm's configuration, OpenShift's network.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::kubernetes::{Kubeadm, OpenShiftNetwork};
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;

use super::config_map::ConfigMap;
use super::permissions::OPENSHIFT_NETWORKS;
use super::reader::Reader;

/// ConfigMap kube-system/kubeadm-config.
pub(crate) async fn kubeadm(reader: &Reader<'_>) -> Fact<Kubeadm> {
    let read = async {
        let maps = reader.config_maps("kube-system").await?;
        let map = maps
            .get("kubeadm-config")
            .ok_or_else(|| Unknown::not_found("there is no ConfigMap kube-system/kubeadm-config"))?;
        parse_kubeadm(map)
    };
    read.await.into()
}

fn parse_kubeadm(map: &ConfigMap) -> Result<Known<Kubeadm>, Unknown> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ClusterConfiguration {
        #[serde(default)]
        cluster_name: Option<String>,
        #[serde(default)]
        control_plane_endpoint: Option<String>,
        #[serde(default)]
        networking: Option<Networking>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Networking {
        #[serde(default)]
        pod_subnet: Option<String>,
        #[serde(default)]
        service_subnet: Option<String>,
    }
    const KEY: &str = "ClusterConfiguration";
    let read: ClusterConfiguration = map.yaml(KEY)?;
    let networking = read.networking.unwrap_or_default();
    let ranges = |field: &str, text: Option<String>| {
        split_cidrs(&text.unwrap_or_default()).map_err(|text| {
            let source = map.source(&format!("{KEY} networking.{field}"));
            Unknown::unparsable(&source, &text)
        })
    };
    Ok(Known::new(
        Kubeadm {
            cluster_name: read.cluster_name.unwrap_or_default(),
            control_plane_endpoint: read.control_plane_endpoint.unwrap_or_default(),
            pod_subnets: ranges("podSubnet", networking.pod_subnet)?,
            service_subnets: ranges("serviceSubnet", networking.service_subnet)?,
        },
        map.source(KEY),
    ))
}

/// Blocks separated by commas or spaces; the piece that is none, if there is one.
pub(crate) fn split_cidrs(text: &str) -> Result<Vec<Cidr>, String> {
    let blocks = Cidr::split_list(text).into_iter();
    blocks
        .map(|block| block.map(|(cidr, _)| cidr).map_err(|error| error.text))
        .collect()
}

/// OpenShift's `Network` object `cluster`.
pub(crate) async fn openshift_network(reader: &Reader<'_>) -> Fact<OpenShiftNetwork> {
    #[derive(Deserialize)]
    struct Object {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Spec {
        network_type: String,
        cluster_network: Vec<Entry>,
        service_network: Vec<Cidr>,
    }
    #[derive(Deserialize)]
    struct Entry {
        cidr: Cidr,
    }
    let object: Result<Object, Unknown> = reader.get(&OPENSHIFT_NETWORKS, None, "cluster").await;
    object.map_or_else(Fact::Unknown, |Object { spec }| {
        Fact::known(
            OpenShiftNetwork {
                network_type: spec.network_type,
                cluster_network: spec.cluster_network.into_iter().map(|entry| entry.cidr).collect(),
                service_network: spec.service_network,
            },
            Source::read("Network cluster (config.openshift.io)", "spec"),
        )
    })
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Reason;

    use super::*;

    fn config(yaml: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
            "data": {"ClusterConfiguration": yaml},
        }))
        .unwrap()
    }

    #[test]
    fn kubeadm_names_the_cluster_and_its_ranges() {
        let kubeadm = parse_kubeadm(&config(
            "apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: east\ncontrolPlaneEndpoint: api:6443\netcd: {local: {dataDir: /x}}\n\
             networking:\n  podSubnet: 10.244.0.0/16,fd00:10:244::/56\n  serviceSubnet: 10.96.0.0/16\n",
        ))
        .unwrap()
        .value;
        assert_eq!(kubeadm.cluster_name, "east");
        assert_eq!(kubeadm.pod_subnets.len(), 2);
        assert_eq!(kubeadm.service_subnets, ["10.96.0.0/16".parse().unwrap()]);
    }

    #[test]
    fn kubeadm_without_networking_has_no_ranges() {
        let kubeadm = parse_kubeadm(&config("clusterName: east\nnetworking: {podSubnet: ''}\n"))
            .unwrap()
            .value;
        assert_eq!((kubeadm.pod_subnets.len(), kubeadm.service_subnets.len()), (0, 0));
    }

    #[test]
    fn a_range_that_is_none_is_told_and_not_left_out() {
        let unknown = parse_kubeadm(&config("networking: {podSubnet: 10.0.0.0/77}")).unwrap_err();
        assert_eq!(unknown.reason, Reason::Unparsable);
        assert!(unknown.detail.contains("podSubnet"), "{unknown}");
    }
}
