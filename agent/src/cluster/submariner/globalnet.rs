//! Globalnet's addresses: `ClusterGlobalEgressIP` and `GlobalIngressIP`.

use prejoin_checks::facts::mcs::Condition;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::facts::submariner::{GlobalEgressIp, GlobalIngressIp};
use serde::Deserialize;

use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::{CLUSTER_GLOBAL_EGRESS_IPS, GLOBAL_INGRESS_IPS};
use crate::cluster::reader::{Reader, Scope};

/// What was found of Globalnet.
pub(super) struct Globalnet {
    pub(super) egress: Fact<Vec<GlobalEgressIp>>,
    pub(super) ingress: Fact<Vec<GlobalIngressIp>>,
}

#[derive(Deserialize)]
struct Object<Spec> {
    metadata: Meta,
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Deserialize)]
struct EgressSpec {
    #[serde(rename = "numGlobalIPs")]
    number: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IngressSpec {
    target: String,
    service_ref: Option<Reference>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "allocatedIPs", deserialize_with = "or_default")]
    allocated_ips: Vec<String>,
    #[serde(rename = "allocatedIP")]
    allocated_ip: String,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

pub(super) async fn read(reader: &Reader<'_>) -> Globalnet {
    let (egress, ingress) = tokio::join!(
        reader.list(&CLUSTER_GLOBAL_EGRESS_IPS, Scope::ALL, |all: &mut Vec<_>, object| {
            all.push(reduce_egress(object));
            Ok(())
        }),
        reader.list(&GLOBAL_INGRESS_IPS, Scope::ALL, |all: &mut Vec<_>, object| {
            all.push(reduce_ingress(object));
            Ok(())
        }),
    );
    Globalnet {
        egress: egress.map_or_else(Fact::Unknown, |mut all| {
            all.sort_by(|a: &GlobalEgressIp, b| a.name.cmp(&b.name));
            Fact::known(all, Source::read("ClusterGlobalEgressIPs", ""))
        }),
        ingress: ingress.map_or_else(Fact::Unknown, |mut all| {
            all.sort_by(|a: &GlobalIngressIp, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            Fact::known(all, Source::read("GlobalIngressIPs", ""))
        }),
    }
}

fn reduce_egress(object: Object<EgressSpec>) -> GlobalEgressIp {
    GlobalEgressIp {
        name: object.metadata.name,
        number: object.spec.number,
        allocated: object.status.allocated_ips,
        conditions: object.status.conditions,
    }
}

fn reduce_ingress(object: Object<IngressSpec>) -> GlobalIngressIp {
    GlobalIngressIp {
        namespace: object.metadata.namespace,
        name: object.metadata.name,
        target: object.spec.target,
        service: object.spec.service_ref.unwrap_or_default().name,
        allocated: object.status.allocated_ip,
        conditions: object.status.conditions,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_clusters_egress_addresses() {
        let object = json!({
            "metadata": {"name": "cluster-egress.submariner.io"}, "spec": {"numGlobalIPs": 8},
            "status": {"allocatedIPs": ["242.0.0.1", "242.0.0.2"],
                       "conditions": [{"type": "Allocated", "status": "True", "reason": "Success", "message": "Allocated 8 global IP(s)"}]},
        });
        let egress = reduce_egress(serde_json::from_value(object).unwrap());
        assert_eq!(
            (
                egress.number,
                egress.allocated.len(),
                egress.conditions[0].kind.as_str()
            ),
            (Some(8), 2, "Allocated")
        );
        let new = reduce_egress(serde_json::from_str(r#"{"metadata":{"name":"x"},"spec":{}}"#).unwrap());
        assert_eq!((new.number, new.allocated.len()), (None, 0));
    }

    #[test]
    fn an_ingress_address_names_what_it_leads_to() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"target": "ClusterIPService", "serviceRef": {"name": "web"}, "podRef": null},
            "status": {"allocatedIP": "242.0.0.9", "conditions": null},
        });
        let ingress = reduce_ingress(serde_json::from_value(object).unwrap());
        assert_eq!(
            (ingress.service.as_str(), ingress.allocated.as_str()),
            ("web", "242.0.0.9")
        );
        assert_eq!(ingress.target, "ClusterIPService");
    }
}
