//! NetworkPolicies of a few namespaces, reduced to what decides who may talk to whom.

use std::collections::BTreeMap;

use prejoin_checks::facts::network_policy::{NetworkPolicy, Operator, PolicyPeer, PolicyPort, PolicyRule, Requirement};
use prejoin_checks::facts::provenance::{Known, Reason, Source, Unknown};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::object::{Meta, or_default};
use super::permissions::NETWORK_POLICIES;
use super::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    pod_selector: Selector,
    #[serde(deserialize_with = "or_default")]
    policy_types: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    ingress: Vec<Rule>,
    #[serde(deserialize_with = "or_default")]
    egress: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    #[serde(deserialize_with = "or_default")]
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    match_expressions: Vec<Requirement>,
}

/// Of either direction: the peers are called by it.
#[derive(Deserialize)]
struct Rule {
    #[serde(default, alias = "to", deserialize_with = "or_default")]
    from: Vec<Peer>,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<PortRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    ip_block: Option<IgnoredAny>,
    namespace_selector: Option<Selector>,
    pod_selector: Option<Selector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortRange {
    protocol: Option<String>,
    /// A number or a name.
    port: Option<Value>,
    end_port: Option<u16>,
}

/// The policies of these namespaces, in the order of their names. A server without the API has none.
pub(crate) async fn read(
    reader: &Reader<'_>,
    namespaces: impl IntoIterator<Item = &str>,
) -> Result<Known<Vec<NetworkPolicy>>, Unknown> {
    let mut policies = Vec::new();
    let namespaces: Vec<&str> = namespaces.into_iter().collect();
    for namespace in &namespaces {
        let listed = reader
            .list(
                &NETWORK_POLICIES,
                Scope::namespace(namespace),
                |all: &mut Vec<_>, object| {
                    all.push(reduce(object)?);
                    Ok(())
                },
            )
            .await;
        match listed {
            Ok(listed) => policies.extend(listed),
            Err(unknown) if unknown.reason == Reason::NotInstalled => {}
            Err(unknown) => return Err(unknown),
        }
    }
    policies.sort_by(|a: &NetworkPolicy, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let source = Source::read(format!("NetworkPolicies of {}", namespaces.join(", ")), "");
    Ok(Known::new(policies, source))
}

fn reduce(object: Object) -> Result<NetworkPolicy, String> {
    let Object { metadata, spec } = object;
    let is_about = |kind: &str| spec.policy_types.iter().any(|name| name == kind);
    // The server fills in the kinds of a policy that has none: always what may come in, and what may go out if there is a rule.
    let (ingress, egress) = if spec.policy_types.is_empty() {
        (true, !spec.egress.is_empty())
    } else {
        (is_about("Ingress"), is_about("Egress"))
    };
    Ok(NetworkPolicy {
        namespace: metadata.namespace,
        name: metadata.name,
        pods: requirements(spec.pod_selector),
        ingress: ingress.then(|| rules(spec.ingress)).transpose()?,
        egress: egress.then(|| rules(spec.egress)).transpose()?,
    })
}

fn rules(rules: Vec<Rule>) -> Result<Vec<PolicyRule>, String> {
    rules
        .into_iter()
        .map(|rule| {
            Ok(PolicyRule {
                peers: rule.from.into_iter().map(peer).collect(),
                ports: rule.ports.into_iter().map(port).collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

fn peer(peer: Peer) -> PolicyPeer {
    if peer.ip_block.is_some() {
        return PolicyPeer::Addresses;
    }
    PolicyPeer::Pods {
        namespaces: peer.namespace_selector.map(requirements),
        pods: peer.pod_selector.map_or_else(Vec::new, requirements),
    }
}

fn port(port: PortRange) -> Result<PolicyPort, String> {
    Ok(PolicyPort {
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        port: match port.port {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => return Err("a port is neither a number nor a name".to_owned()),
        },
        end_port: port.end_port,
    })
}

fn requirements(selector: Selector) -> Vec<Requirement> {
    let labels = selector.match_labels.into_iter().map(|(key, value)| Requirement {
        key,
        operator: Operator::In,
        values: vec![value],
    });
    labels.chain(selector.match_expressions).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: Value) -> Result<NetworkPolicy, String> {
        let mut object = json!({"metadata": {"name": "p", "namespace": "kube-system"}});
        object["spec"] = spec;
        reduce(serde_json::from_value(object).unwrap())
    }

    fn is(key: &str, value: &str) -> Requirement {
        Requirement {
            key: key.to_owned(),
            operator: Operator::In,
            values: vec![value.to_owned()],
        }
    }

    #[test]
    fn what_a_policy_is_silent_about_and_what_it_denies_differ() {
        let egress = policy(json!({"podSelector": {}, "policyTypes": ["Egress"]})).unwrap();
        assert_eq!((egress.ingress, egress.egress), (None, Some(Vec::new())));
        let implied = policy(json!({"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}, "egress": [{}]})).unwrap();
        assert_eq!(implied.pods, [is("k8s-app", "kube-dns")]);
        assert_eq!(
            (implied.ingress, implied.egress),
            (Some(Vec::new()), Some(vec![PolicyRule::default()]))
        );
    }

    #[test]
    fn peers_and_ports_of_a_rule() {
        let policy = policy(json!({
            "podSelector": null, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}], "ports": [{"port": "dns"}]}],
            "egress": [{"to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
                        "ports": [{"protocol": "UDP", "port": 53, "endPort": 54}, {}]}],
        }));
        let exists = Requirement {
            key: "app".to_owned(),
            operator: Operator::Exists,
            values: Vec::new(),
        };
        let port = |protocol: &str, port: Option<&str>, end_port| PolicyPort {
            protocol: protocol.to_owned(),
            port: port.map(str::to_owned),
            end_port,
        };
        let policy = policy.unwrap();
        assert_eq!(
            policy.ingress.unwrap(),
            [PolicyRule {
                peers: vec![PolicyPeer::Pods {
                    namespaces: None,
                    pods: vec![exists]
                }],
                ports: vec![port("TCP", Some("dns"), None)],
            }]
        );
        assert_eq!(
            policy.egress.unwrap(),
            [PolicyRule {
                peers: vec![
                    PolicyPeer::Pods {
                        namespaces: Some(Vec::new()),
                        pods: Vec::new()
                    },
                    PolicyPeer::Addresses
                ],
                ports: vec![port("UDP", Some("53"), Some(54)), port("TCP", None, None)],
            }]
        );
    }

    #[test]
    fn a_port_that_is_neither_number_nor_name_is_told() {
        let flaw = policy(json!({"egress": [{"ports": [{"port": ["hush"]}]}]})).unwrap_err();
        assert!(!flaw.contains("hush"), "{flaw}");
    }
}
