//! NetworkPolicies of the namespaces that matter to a product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One `NetworkPolicy` (networking.k8s.io/v1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkPolicy {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Which pods of the namespace it is about; none of it means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Requirement>,
    /// What may come in; absent where the policy says nothing of that direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<PolicyRule>>,
    /// What may go out; absent where the policy says nothing of that direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<PolicyRule>>,
}

/// One rule of a policy: both its peers and its ports must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRule {
    /// With whom; empty means everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PolicyPeer>,
    /// On which ports; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PolicyPort>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyPeer {
    /// A block of addresses, which network plugins apply to pods each in its own way.
    Addresses,
    /// Pods by their labels.
    Pods {
        /// Labels of their namespaces; absent means the policy's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespaces: Option<Vec<Requirement>>,
        /// Their labels; none means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pods: Vec<Requirement>,
    },
}

/// Ports of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyPort {
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// Number or name; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The last of a range that `port` begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

/// One requirement of a label selector; `matchLabels` are requirements with one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what, for the operators that compare values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label selector compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// It has none of them, or is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Requirement {
    /// Whether a label with this value, or its absence, meets the requirement.
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let among = value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value));
        match self.operator {
            Operator::In => among,
            Operator::NotIn => !among,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
