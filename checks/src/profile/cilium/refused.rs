//! Values on which the agent refuses to start.
//!
//! A running agent cannot have them: the ConfigMap was changed and the change not loaded yet. The next restart breaks the agent, so
//! the rules about these values still fail, but no other rule may take them for what is in force.
//!
//! Source: `pkg/option/config.go`, `pkg/clustermesh/types`, `daemon/cmd` of Cilium.

use std::fmt;

use super::Settings;
use super::values::{self, Family};
use super::version::Version;

/// Why the agent refuses to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The keys that together are the reason. Which of them was changed last cannot be told.
    pub keys: Vec<&'static str>,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the agent refuses to start on it ({}), so a running agent has not loaded it yet",
            self.why
        )
    }
}

/// Names of clusters: 1 to 32 lower-case letters, digits and hyphens, the first and last no hyphen.
pub fn is_cluster_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=32).contains(&bytes.len())
        && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
        && [bytes.first(), bytes.last()]
            .iter()
            .all(|end| end.is_some_and(|byte| alphanumeric(*byte)))
}

/// Whether this id, where another program uses bit 7 of the packet mark, makes the kernel drop packets that a policy matched.
pub fn is_unsafe_id(id: u32) -> bool {
    id & 0x80 != 0
}

/// All reasons why the agent refuses to start on what the objects show.
pub(super) fn refusals(settings: &Settings<'_>) -> Vec<Refusal> {
    let mut found = identity(settings);
    found.extend(datapath(settings));
    found.extend(encryption(settings));
    found
}

fn refusal(keys: &[&'static str], why: impl Into<String>) -> Refusal {
    Refusal {
        keys: keys.to_vec(),
        why: why.into(),
    }
}

fn identity(settings: &Settings<'_>) -> Vec<Refusal> {
    let mut found = Vec::new();
    let shown = |key| settings.shown(key).ok().map(|known| known.value);
    let name = shown("cluster-name").map(values::name_or_default);
    if let Some(name) = name.as_ref().filter(|name| !is_cluster_name(name)) {
        found.push(refusal(&["cluster-name"], format!("`{name}` is no cluster name")));
    }
    let max = shown("max-connected-clusters").unwrap_or_default();
    let no_choice = settings.versions.at_least(Version(1, 15, 0)) == Ok(false);
    if !["255", "511"].contains(&max.as_str()) && !no_choice {
        found.push(refusal(
            &["max-connected-clusters"],
            format!("max-connected-clusters is `{max}`, neither 255 nor 511"),
        ));
    }
    let text = shown("cluster-id").unwrap_or_default();
    let Ok(id) = text.parse::<u32>() else {
        found.push(refusal(&["cluster-id"], format!("cluster-id is `{text}`, no number")));
        return found;
    };
    if max.parse().is_ok_and(|max: u32| id > max) {
        found.push(refusal(
            &["cluster-id", "max-connected-clusters"],
            format!("cluster-id {id} is above max-connected-clusters {max}"),
        ));
    }
    if id != 0 && name.is_some_and(|name| name == "default") {
        found.push(refusal(
            &["cluster-name", "cluster-id"],
            format!("the name is `default` and the id {id}"),
        ));
    }
    let skb_mark_used = ["eni", "alibabacloud"].contains(&shown("ipam").unwrap_or_default().as_str())
        || shown("cni-chaining-mode").as_deref() == Some("aws-cni");
    let overridden = shown("allow-unsafe-policy-skb-usage")
        .as_deref()
        .and_then(values::switch)
        == Some(true);
    let guarded = settings.versions.at_least(Version(1, 17, 0)) == Ok(true);
    if guarded && skb_mark_used && is_unsafe_id(id) && !overridden {
        found.push(refusal(
            &["cluster-id", "ipam", "cni-chaining-mode"],
            format!("cluster-id {id} has bit 7 set, which this kind of address management uses"),
        ));
    }
    if id != 0 && shown("enable-ztunnel").as_deref().and_then(values::switch) == Some(true) {
        found.push(refusal(
            &["enable-ztunnel", "cluster-id"],
            "ztunnel does not go with a mesh",
        ));
    }
    found
}

fn datapath(settings: &Settings<'_>) -> Vec<Refusal> {
    let mut found = Vec::new();
    let shown = |key| settings.shown(key).map(|known| known.value).unwrap_or_default();
    let on = |key| values::switch(&shown(key)) == Some(true);
    let routing = shown("routing-mode");
    if !["tunnel", "native"].contains(&routing.as_str()) {
        found.push(refusal(&["routing-mode"], format!("routing-mode is `{routing}`")));
    }
    let protocol = shown("tunnel-protocol");
    if !["vxlan", "geneve"].contains(&protocol.as_str()) {
        found.push(refusal(
            &["tunnel-protocol"],
            format!("tunnel-protocol is `{protocol}`"),
        ));
    }
    let legacy_native = settings.written("routing-mode").is_none() && shown("tunnel") == "disabled";
    let tunnel = routing == "tunnel" && !legacy_native;
    if tunnel && shown("ipam") == "eni" {
        found.push(refusal(&["ipam", "routing-mode"], "ipam eni does not go with a tunnel"));
    }
    if tunnel && on("auto-direct-node-routes") {
        found.push(refusal(
            &["auto-direct-node-routes", "routing-mode"],
            "auto-direct-node-routes does not go with a tunnel",
        ));
    }
    if on("direct-routing-skip-unreachable") && !on("auto-direct-node-routes") {
        found.push(refusal(
            &["direct-routing-skip-unreachable", "auto-direct-node-routes"],
            "direct-routing-skip-unreachable needs auto-direct-node-routes",
        ));
    }
    if on("enable-ip-masq-agent") && !on("enable-bpf-masquerade") {
        found.push(refusal(
            &["enable-ip-masq-agent", "enable-bpf-masquerade"],
            "ip-masq-agent needs enable-bpf-masquerade",
        ));
    }
    for family in Family::ALL {
        let wanted = shown("underlay-protocol") == family.to_string().to_lowercase();
        if wanted && values::switch(&shown(family.enable_key())) == Some(false) {
            found.push(refusal(
                &["underlay-protocol", family.enable_key()],
                format!("underlay-protocol is {family}, which is disabled"),
            ));
        }
    }
    found
}

fn encryption(settings: &Settings<'_>) -> Vec<Refusal> {
    let shown = |key| settings.shown(key).map(|known| known.value).unwrap_or_default();
    let on = |key| values::switch(&shown(key)) == Some(true);
    if !on("enable-ipsec") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (key, what) in [
        ("enable-wireguard", "WireGuard"),
        ("enable-host-firewall", "host policies"),
        ("enable-encryption-strict-mode-ingress", "strict ingress encryption"),
    ] {
        if on(key) {
            found.push(refusal(
                &["enable-ipsec", key],
                format!("IPsec does not go with {what}"),
            ));
        }
    }
    for key in ["local-router-ipv4", "local-router-ipv6"] {
        if !shown(key).is_empty() {
            found.push(refusal(
                &["enable-ipsec", key],
                "IPsec does not go with a fixed local router address",
            ));
        }
    }
    found
}
