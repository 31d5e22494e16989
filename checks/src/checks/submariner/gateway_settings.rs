//! What gateways are told by labels and annotations of their nodes.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::node::Node;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::gateways::{SETTING_PREFIX, active, labelled, labelled_or_candidates, setting};
use crate::profile::submariner::{Mesh, member};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &SETTING_NAMES,
    &SETTINGS_IN_FORCE,
    &PUBLIC_IP_SETTING,
    &PORT_SETTINGS,
    &CLAMP_SETTING,
];

const NAMES: [&str; 4] = ["natt-discovery-port", "preferred-server", "public-ip", "udp-port"];

/// Something wrong with one node's setting.
struct Fault {
    node: String,
    found: String,
    evidence: Evidence,
    severity: Severity,
}

/// One outcome of all faults, as bad as the worst of them.
fn outcome_of(faults: Vec<Fault>) -> Outcome {
    let Some(worst) = faults.iter().map(|fault| fault.severity).max() else {
        return Outcome::holds();
    };
    let found = some_of(faults.iter().map(|fault| format!("{} on {}", fault.found, fault.node)));
    let mut nodes: Vec<String> = faults.iter().map(|fault| fault.node.clone()).collect();
    nodes.dedup();
    Outcome::broken_as(worst)
        .found(found)
        .nodes(nodes)
        .evidence_all(faults.into_iter().map(|fault| fault.evidence))
}

declare_check! {
    /// ## What it checks
    /// Labels and annotations `gateway.submariner.io/...` of nodes have a name that the gateway knows, and `preferred-server` is a boolean.
    ///
    /// ## Why it matters
    /// The gateway refuses to start on a node with any other name after that prefix, a mistyped one included, and libreswan with a
    /// `preferred-server` that is no boolean.
    ///
    /// ## How it is determined
    /// Labels and annotations of gateway nodes or, while none is labelled, of the nodes that `subctl join` would offer. On other nodes nobody
    /// reads them; there it is a warning, as they may become gateways.
    ///
    /// ## How to fix
    /// Remove the key; `udp-port`, `natt-discovery-port`, `public-ip` and `preferred-server` are known.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/local_endpoint.go` and `pkg/cable/libreswan/preferred_server.go`.
    pub static SETTING_NAMES = {
        code: "SM405",
        slug: "gateway-setting-names",
        title: "A node has a gateway setting that does not exist",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits at start",
        rules: ["submariner NODE-05"],
        run: Cluster(setting_names),
    };
}

fn setting_names(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let gateways = labelled_or_candidates(cluster)?;
    let libreswan = Mesh::of(audit).cable_driver(cluster)?.value == "libreswan";
    let mut faults = Vec::new();
    for node in cluster.facts.nodes.get()? {
        let severity = if gateways.iter().any(|gateway| gateway.name == node.name) {
            Severity::Fail
        } else {
            Severity::Warn
        };
        let places = [("labels", &node.labels), ("annotations", &node.annotations)];
        for (place, key, value) in places
            .iter()
            .flat_map(|(place, map)| map.iter().map(move |(k, v)| (place, k, v)))
        {
            let Some(name) = key.strip_prefix(SETTING_PREFIX) else {
                continue;
            };
            let bad_value = name == "preferred-server" && libreswan && !is_boolean(value);
            if NAMES.contains(&name) && !bad_value {
                continue;
            }
            let source = Source::read(format!("Node {}", node.name), format!("metadata.{place}[{key}]"));
            faults.push(Fault {
                node: node.name.clone(),
                found: if bad_value {
                    format!("{key}={value}")
                } else {
                    key.clone()
                },
                evidence: Evidence::new(cluster.name(), value, &source),
                severity,
            });
        }
    }
    Ok(outcome_of(faults)
        .expected(format!("after {SETTING_PREFIX} only {}", NAMES.join(", ")))
        .remedy("remove the key, or write it as the gateway reads it"))
}

/// What Go's `strconv.ParseBool` accepts.
fn is_boolean(text: &str) -> bool {
    matches!(
        text,
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    )
}

declare_check! {
    /// ## What it checks
    /// The gateway runs with the settings its node has.
    ///
    /// ## Why it matters
    /// A change of a node's label or annotation is read only when the gateway pod starts. Until then peers use the old value.
    ///
    /// ## How it is determined
    /// The settings of the active gateway's node against `backend_config` of the member's own `Endpoint`; an annotation beats a label.
    ///
    /// ## How to fix
    /// Restart the gateway pod.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/local_endpoint.go`; Submariner documentation, NAT traversal.
    pub static SETTINGS_IN_FORCE = {
        code: "SM406",
        slug: "gateway-settings-in-force",
        title: "The gateway does not run with its node's settings yet",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "peers use the old value until the gateway pod is restarted",
        rules: ["submariner NODE-06"],
        run: Cluster(settings_in_force),
    };
}

fn settings_in_force(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    member(cluster)?;
    let Some((gateway, endpoint)) = active(cluster)? else {
        return Err(NoVerdict::does_not_apply("no gateway is active"));
    };
    let node = cluster.facts.nodes.get()?.iter().find(|node| node.name == gateway.name);
    let Some(node) = node else {
        return Err(NoVerdict::does_not_apply(format!("no node is called {}", gateway.name)));
    };
    let mut faults = Vec::new();
    for name in NAMES {
        let Some((value, source)) = setting(node, name) else {
            continue;
        };
        let in_force = endpoint.backend_config.get(name).map(String::as_str);
        // A public address stands in the endpoint as what became of it.
        let differs = name != "public-ip" && in_force != Some(value);
        if differs {
            faults.push(Fault {
                node: node.name.clone(),
                found: format!("{name}={value}, in force {}", in_force.unwrap_or("nothing")),
                evidence: Evidence::new(cluster.name(), &value, &source),
                severity: Severity::Info,
            });
        }
    }
    Ok(outcome_of(faults)
        .expected("the Endpoint as the node's settings say")
        .remedy("restart the gateway pod"))
}

declare_check! {
    /// ## What it checks
    /// The setting `public-ip` of gateway nodes can be resolved.
    ///
    /// ## Why it matters
    /// It is a comma list of `method:parameter`, tried in order until one succeeds. A gateway that reaches an item it cannot read, or finds no
    /// address at all, exits. A label cannot hold the colon, so that only an annotation works.
    ///
    /// ## How it is determined
    /// Methods are `api`, `lb`, `ipv4` and `dns`, each item has exactly one colon. What follows an `ipv4:` item with an IPv4 address is never
    /// reached. Whether a name or a service answers takes an agent. With `--air-gapped` only `ipv4:` items count.
    ///
    /// ## How to fix
    /// `kubectl annotate node NAME gateway.submariner.io/public-ip=ipv4:ADDRESS`.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/public_ip.go`.
    pub static PUBLIC_IP_SETTING = {
        code: "SM407",
        slug: "gateway-public-ip-setting",
        title: "A gateway's public-ip setting cannot be read",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits at start",
        rules: ["submariner NODE-07"],
        run: Cluster(public_ip_setting),
    };
}

fn public_ip_setting(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let air_gapped = Mesh::of(audit).air_gapped(cluster)?.value;
    let mut faults = Vec::new();
    let mut set = false;
    for node in labelled_or_candidates(cluster)? {
        let Some((value, source)) = setting(node, "public-ip") else {
            continue;
        };
        set = true;
        if let Some((problem, severity)) = public_ip_problem(value, air_gapped) {
            faults.push(Fault {
                node: node.name.clone(),
                found: format!("`{value}`: {problem}"),
                evidence: Evidence::new(cluster.name(), &value, &source),
                severity,
            });
        }
    }
    if !set {
        return Err(NoVerdict::does_not_apply("no gateway node has the setting"));
    }
    Ok(outcome_of(faults)
        .expected("method:parameter items, the first that succeeds being readable")
        .remedy(format!(
            "kubectl annotate --overwrite node NAME {SETTING_PREFIX}public-ip=ipv4:ADDRESS, and remove a label of that name"
        )))
}

fn public_ip_problem(value: &str, air_gapped: bool) -> Option<(String, Severity)> {
    let mut may_succeed = false;
    for item in value.split(',').map(str::trim) {
        let mut parts = item.split(':');
        let (Some(method), Some(parameter), None) = (parts.next(), parts.next(), parts.next()) else {
            if air_gapped {
                continue;
            }
            return Some((format!("`{item}` is not method:parameter"), Severity::Fail));
        };
        match method {
            "ipv4" if parameter.parse::<std::net::Ipv4Addr>().is_ok() => return None,
            "api" | "dns" | "lb" if !air_gapped => may_succeed = true,
            _ => {}
        }
    }
    match (may_succeed, air_gapped) {
        (true, _) => None,
        (false, true) => Some((
            "no ipv4: item, and no other counts when air-gapped".to_owned(),
            Severity::Warn,
        )),
        (false, false) => Some(("no item can give an address".to_owned(), Severity::Fail)),
    }
}

declare_check! {
    /// ## What it checks
    /// The settings `udp-port` and `natt-discovery-port` of gateway nodes are port numbers.
    ///
    /// ## Why it matters
    /// With anything else than 1 to 65535 the gateway exits. An empty `natt-discovery-port` turns NAT discovery off: peers then go by the static
    /// NAT setting, which may choose the wrong address.
    ///
    /// ## How it is determined
    /// Labels and annotations of gateway nodes or, while none is labelled, of the nodes that `subctl join` would offer.
    ///
    /// ## How to fix
    /// Write a real port.
    ///
    /// ## References
    /// `submariner`, `pkg/natdiscovery/natdiscovery.go` and `pkg/apis/submariner.io/v1/endpoint.go`.
    pub static PORT_SETTINGS = {
        code: "SM408",
        slug: "gateway-port-settings",
        title: "A gateway's port setting is no port",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits at start",
        rules: ["submariner NODE-08"],
        run: Cluster(port_settings),
    };
}

fn port_settings(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mut faults = Vec::new();
    for node in labelled_or_candidates(cluster)? {
        for name in ["udp-port", "natt-discovery-port"] {
            let Some((value, source)) = setting(node, name) else {
                continue;
            };
            let severity = match value.parse::<u16>() {
                Ok(1..) if value.bytes().all(|byte| byte.is_ascii_digit()) => continue,
                _ if value.is_empty() && name == "natt-discovery-port" => Severity::Warn,
                _ => Severity::Fail,
            };
            faults.push(Fault {
                node: node.name.clone(),
                found: format!("{name}=`{value}`"),
                evidence: Evidence::new(cluster.name(), &value, &source),
                severity,
            });
        }
    }
    Ok(outcome_of(faults)
        .expected("ports from 1 to 65535")
        .remedy("write a real port, or remove the setting"))
}

declare_check! {
    /// ## What it checks
    /// The annotation `submariner.io/tcp-clamp-mss` is a number and stands on every gateway node alike.
    ///
    /// ## Why it matters
    /// Each route agent reads it from its own node and ignores what is no number. On the active gateway alone, the clamp is lost with the
    /// next failover.
    ///
    /// ## How it is determined
    /// Annotations of members' nodes. Which size is right takes path MTU probes.
    ///
    /// ## How to fix
    /// Annotate every gateway node of both clusters and restart the route agents.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/main.go`; submariner issues 1872, 2092 and 2364.
    pub static CLAMP_SETTING = {
        code: "SM410",
        slug: "gateway-mss-clamp-setting",
        title: "The MSS clamp is not set alike on all gateways",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "large TCP segments are lost on some gateways",
        rules: ["submariner NODE-10"],
        run: Cluster(clamp_setting),
    };
}

fn clamp_setting(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEY: &str = "submariner.io/tcp-clamp-mss";
    member(cluster)?;
    let nodes = cluster.facts.nodes.get()?;
    let source = |node: &Node| Source::read(format!("Node {}", node.name), format!("metadata.annotations[{KEY}]"));
    let annotated: Vec<(&Node, &String)> = nodes
        .iter()
        .filter_map(|node| Some((node, node.annotations.get(KEY)?)))
        .collect();
    if annotated.is_empty() {
        return Err(NoVerdict::does_not_apply("no node has the annotation"));
    }
    let fault = |node: &Node, found: String, value: &str| Fault {
        node: node.name.clone(),
        found,
        evidence: Evidence::new(cluster.name(), &value, &source(node)),
        severity: Severity::Warn,
    };
    let mut faults: Vec<Fault> = annotated
        .iter()
        .filter(|(_, value)| value.parse::<u32>().is_err())
        .map(|(node, value)| fault(node, format!("`{value}`, which is no number,"), value))
        .collect();
    for node in labelled(cluster)? {
        let own = node.annotations.get(KEY);
        if own != Some(annotated[0].1) {
            let value = own.map_or("absent", String::as_str);
            faults.push(fault(node, value.to_owned(), value));
        }
    }
    Ok(outcome_of(faults)
        .expected("one number on every gateway node")
        .remedy(format!(
            "annotate every gateway node of both clusters with {KEY} and restart the route agents"
        )))
}

#[cfg(test)]
mod tests;
