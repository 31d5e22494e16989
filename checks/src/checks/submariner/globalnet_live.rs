//! Globalnet at work: the addresses that members were given.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::mcs::Condition;
use crate::facts::provenance::Source;
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::gateways::active;
use crate::profile::submariner::{Mesh, member};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&EGRESS_ADDRESSES, &INGRESS_ADDRESSES, &GATEWAY_GLOBAL_ADDRESS];

/// These rules are about members with Globalnet.
fn in_globalnet(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    member(cluster)?;
    if Mesh::of(audit).globalnet(cluster)?.value {
        return Ok(());
    }
    Err(NoVerdict::does_not_apply("Globalnet is off"))
}

fn is_allocated(conditions: &[Condition]) -> bool {
    conditions
        .iter()
        .any(|condition| condition.kind == "Allocated" && condition.status == "True")
}

declare_check! {
    /// ## What it checks
    /// The cluster has its addresses for egress: one `ClusterGlobalEgressIP` of the fixed name, with as many addresses as it asks for.
    ///
    /// ## Why it matters
    /// These are the addresses under which pods appear in other clusters. Without them pods reach nothing there.
    ///
    /// ## How it is determined
    /// `ClusterGlobalEgressIP` objects: exactly one, named `cluster-egress.submariner.io`, `numGlobalIPs` from 0 to 20 (1 if absent), as many in
    /// `status.allocatedIPs`, condition `Allocated`. With 0 there are none by intent, which is a warning.
    ///
    /// ## How to fix
    /// Delete other objects, correct the number; the field is `numGlobalIPs`, another name in the documentation is dropped silently.
    ///
    /// ## References
    /// `subctl`, `pkg/diagnose/globalnet.go`; `submariner`, `pkg/globalnet/controllers/cluster_egressip_controller.go`.
    pub static EGRESS_ADDRESSES = {
        code: "SM225",
        slug: "globalnet-egress-addresses",
        title: "The cluster lacks its global addresses for egress",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods reach nothing in other clusters",
        rules: ["submariner GN-06"],
        run: Cluster(egress_addresses),
    };
}

fn egress_addresses(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const NAME: &str = "cluster-egress.submariner.io";
    in_globalnet(audit, cluster)?;
    let egress = cluster
        .facts
        .submariner
        .get()?
        .cluster_global_egress_ips
        .known_value()?;
    let names = || some_of(egress.value.iter().map(|ip| &ip.name));
    let (outcome, value) = match egress.value.as_slice() {
        [one] if one.name == NAME => {
            let wanted = one.number.unwrap_or(1);
            let allocated = i64::try_from(one.allocated.len()).unwrap_or(i64::MAX);
            let value = format!("{allocated} of {wanted} addresses");
            let outcome = if wanted == 0 {
                Outcome::broken_as(Severity::Warn).found("no addresses by intent")
            } else if !(0..=20).contains(&wanted) {
                Outcome::broken().found(format!("{wanted} addresses wanted, 20 are the most"))
            } else if allocated != wanted || !is_allocated(&one.conditions) {
                let why = one.conditions.iter().find(|condition| condition.kind == "Allocated");
                Outcome::broken().found(format!("{value} {}", why.map_or("", |why| &why.message)).trim_end())
            } else {
                Outcome::holds().found(&value)
            };
            (outcome, value)
        }
        [] => (Outcome::broken().found("no ClusterGlobalEgressIP"), String::new()),
        _ => (
            Outcome::broken().found(format!("{} instead of {NAME} alone", names())),
            names(),
        ),
    };
    Ok(outcome
        .expected(format!("{NAME} with the addresses it asks for"))
        .evidence(Evidence::new(cluster.name(), &value, &egress.source))
        .remedy(format!("keep {NAME} alone, with numGlobalIPs from 1 to 20")))
}

declare_check! {
    /// ## What it checks
    /// Every exported Service of type ClusterIP, and every headless one, has its global addresses.
    ///
    /// ## Why it matters
    /// With Globalnet an exported Service is reached at its global address only.
    ///
    /// ## How it is determined
    /// For each `ServiceExport` the Service of its name. ClusterIP: one `GlobalIngressIP` of that name with an address, and an internal Service that has the address
    /// among its `externalIPs`. Headless: at least one `GlobalIngressIP` for it, each with an address; no internal Service, though `subctl diagnose` asks
    /// for one. Other types and missing Services are judged with exports.
    ///
    /// ## How to fix
    /// Look at the events of the `GlobalIngressIP` and the log of the Globalnet pod; check SM009 names one cause.
    ///
    /// ## References
    /// `submariner`, `pkg/globalnet/controllers/service_export_controller.go` and `global_ingressip_controller.go`; submariner issue 939.
    pub static INGRESS_ADDRESSES = {
        code: "SM226",
        slug: "globalnet-ingress-addresses",
        title: "An exported Service has no global address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "other clusters do not reach it",
        rules: ["submariner GN-07"],
        run: Cluster(ingress_addresses),
    };
}

fn ingress_addresses(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    in_globalnet(audit, cluster)?;
    let exports = cluster.facts.mcs.get()?.exports.get()?;
    let services = cluster.facts.services.get()?;
    let ingress = cluster.facts.submariner.get()?.global_ingress_ips.known_value()?;
    let mut problems = Vec::new();
    let mut judged = 0_usize;
    for export in exports {
        let mut named = services.iter().filter(|service| service.namespace == export.namespace);
        let Some(service) = named.find(|service| service.name == export.name) else {
            continue;
        };
        let own = || {
            ingress
                .value
                .iter()
                .filter(|ip| ip.namespace == export.namespace && is_for(ip, service))
        };
        if !service.headless && service.kind != "ClusterIP" {
            continue;
        }
        judged += 1;
        let without = own()
            .filter(|ip| ip.allocated.is_empty() || !is_allocated(&ip.conditions))
            .count();
        let problem = if own().next().is_none() {
            Some("has no GlobalIngressIP")
        } else if without > 0 {
            Some("was given no address")
        } else if !service.headless && !own().any(|ip| is_served(services, export, &ip.allocated)) {
            Some("has no internal Service with its address")
        } else {
            None
        };
        problems.extend(problem.map(|problem| format!("{} {problem}", service.key())));
    }
    if judged == 0 {
        return Err(NoVerdict::does_not_apply("no Service is exported"));
    }
    let outcome = if problems.is_empty() {
        Outcome::holds().found(format!("{judged} exported Services have their addresses"))
    } else {
        Outcome::broken()
            .found(some_of(&problems))
            .remedy("look at the events of the GlobalIngressIP and the log of the Globalnet pod")
    };
    Ok(outcome
        .expected("a global address for every exported Service")
        .evidence(Evidence::new(
            cluster.name(),
            &format!("{} GlobalIngressIPs", ingress.value.len()),
            &ingress.source,
        )))
}

fn is_for(ip: &crate::facts::submariner::GlobalIngressIp, service: &Service) -> bool {
    if service.headless {
        ip.service == service.name
    } else {
        ip.name == service.name && ip.target == "ClusterIPService"
    }
}

/// Whether an internal Service answers at the address.
fn is_served(services: &[Service], export: &crate::facts::mcs::ServiceExport, address: &str) -> bool {
    services
        .iter()
        .any(|service| service.namespace == export.namespace && service.external_ips.iter().any(|ip| ip == address))
}

declare_check! {
    /// ## What it checks
    /// The active gateway has a global address, inside the Global CIDR and the same that peers ping.
    ///
    /// ## Why it matters
    /// The health check and traffic from the gateway's own host use this address.
    ///
    /// ## How it is determined
    /// Annotation `submariner.io/globalIp` of the `Gateway` object (not of the node) against the Global CIDR and against `healthCheckIP` of the
    /// member's own `Endpoint`.
    ///
    /// ## How to fix
    /// Restart the Globalnet pod on the gateway. A gateway without an interface of the network plugin never gets one.
    ///
    /// ## References
    /// `submariner`, `pkg/globalnet/controllers/gateway_controller.go` and `pkg/controllers/datastoresyncer/gateway_handler.go`.
    pub static GATEWAY_GLOBAL_ADDRESS = {
        code: "SM227",
        slug: "gateway-global-address",
        title: "The gateway has no proper global address",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the health check fails, and hosts do not reach other clusters",
        rules: ["submariner GN-08"],
        run: Cluster(gateway_global_address),
    };
}

fn gateway_global_address(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    in_globalnet(audit, cluster)?;
    let Some((gateway, endpoint)) = active(cluster)? else {
        return Err(NoVerdict::does_not_apply("no gateway is active"));
    };
    let blocks = Mesh::of(audit).global_cidrs(cluster)?;
    let address = &gateway.global_ip;
    let is_inside = address
        .parse()
        .is_ok_and(|ip: std::net::IpAddr| blocks.iter().any(|block| block.cidr.contains_addr(ip)));
    let pinged: Vec<&String> = endpoint.health_check_ips.iter().filter(|ip| !ip.is_empty()).collect();
    let shown = some_of(blocks.iter().map(|block| block.cidr));
    let outcome = if address.is_empty() {
        Outcome::broken().found("none")
    } else if !is_inside {
        Outcome::broken().found(format!("{address}, outside {shown}"))
    } else if !pinged.is_empty() && !pinged.contains(&address) {
        Outcome::broken().found(format!("{address}, while peers ping {}", some_of(pinged)))
    } else {
        Outcome::holds().found(address)
    };
    let source = Source::read(
        format!("Gateway {}", gateway.name),
        "metadata.annotations[submariner.io/globalIp]",
    );
    Ok(outcome
        .expected(format!("an address in {shown} that peers ping"))
        .evidence(Evidence::new(cluster.name(), address, &source))
        .remedy("restart the Globalnet pod on the gateway"))
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::mcs::{Condition, Mcs, ServiceExport};
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::facts::service::Service;
    use crate::facts::submariner::GlobalIngressIp;
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{findings, report, submariner, submariner_mut, turn_globalnet_on, value_mut};

    fn member() -> ClusterFacts {
        let mut facts = submariner(&[("east", 1), ("west", 2)]);
        turn_globalnet_on(&mut facts);
        facts.remove(0)
    }

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    fn allocated() -> Vec<Condition> {
        vec![Condition {
            kind: "Allocated".to_owned(),
            status: "True".to_owned(),
            ..Condition::default()
        }]
    }

    #[test]
    fn the_cluster_has_the_egress_addresses_it_asks_for() {
        let mut facts = member();
        assert_eq!(alone(&facts, "SM225").verdict, Verdict::Pass);
        let egress =
            |facts: &mut ClusterFacts| value_mut(&mut submariner_mut(facts).cluster_global_egress_ips).remove(0);
        let mut fewer = egress(&mut facts);
        fewer.allocated.pop();
        for (change, expected) in [
            (vec![], Verdict::Fail),
            (vec![fewer.clone()], Verdict::Fail),
            (vec![fewer.clone(), fewer.clone()], Verdict::Fail),
        ] {
            *value_mut(&mut submariner_mut(&mut facts).cluster_global_egress_ips) = change;
            assert_eq!(alone(&facts, "SM225").verdict, expected);
        }
        (fewer.number, fewer.allocated, fewer.conditions) = (Some(0), vec![], vec![]);
        *value_mut(&mut submariner_mut(&mut facts).cluster_global_egress_ips) = vec![fewer];
        assert_eq!(alone(&facts, "SM225").verdict, Verdict::Warn);
        submariner_mut(&mut facts).cluster_global_egress_ips = Fact::unknown(Reason::Forbidden, "list: forbidden");
        assert_eq!(alone(&facts, "SM225").verdict, Verdict::Unknown);
    }

    /// A member that exports one Service with global address 242.1.0.20.
    fn exporting(headless: bool) -> ClusterFacts {
        let mut facts = member();
        let own = |name: &str| Service {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            kind: "ClusterIP".to_owned(),
            headless,
            ..Service::default()
        };
        let mut internal = own("submariner-x");
        internal.external_ips = vec!["242.1.0.20".to_owned()];
        let services = value_mut(&mut facts.services);
        services.push(own("web"));
        if !headless {
            services.push(internal);
        }
        let exports = vec![ServiceExport {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            ..ServiceExport::default()
        }];
        facts.mcs = Fact::known(
            Mcs {
                exports: Fact::known(exports, Source::read("ServiceExports", "")),
                ..Mcs::default()
            },
            Source::read("CustomResourceDefinitions", ""),
        );
        value_mut(&mut submariner_mut(&mut facts).global_ingress_ips).push(GlobalIngressIp {
            namespace: "shop".to_owned(),
            name: if headless { "pod-web-1" } else { "web" }.to_owned(),
            target: if headless {
                "HeadlessServicePod"
            } else {
                "ClusterIPService"
            }
            .to_owned(),
            service: "web".to_owned(),
            allocated: "242.1.0.20".to_owned(),
            conditions: allocated(),
        });
        facts
    }

    #[test]
    fn exported_services_have_global_addresses() {
        assert_eq!(alone(&exporting(false), "SM226").verdict, Verdict::Pass);
        assert_eq!(alone(&exporting(true), "SM226").verdict, Verdict::Pass);
        let mut none_given = exporting(false);
        value_mut(&mut submariner_mut(&mut none_given).global_ingress_ips)[0]
            .allocated
            .clear();
        assert_eq!(alone(&none_given, "SM226").found, "shop/web was given no address");
        let mut not_served = exporting(false);
        value_mut(&mut not_served.services).pop();
        assert_eq!(alone(&not_served, "SM226").verdict, Verdict::Fail);
        let mut without = exporting(true);
        value_mut(&mut submariner_mut(&mut without).global_ingress_ips).clear();
        assert_eq!(alone(&without, "SM226").found, "shop/web has no GlobalIngressIP");
        without.services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
        assert_eq!(alone(&without, "SM226").verdict, Verdict::Unknown);
        assert_eq!(alone(&member(), "SM226").verdict, Verdict::Skip);
    }

    #[test]
    fn the_gateways_global_address_is_in_its_block_and_pinged() {
        let mut facts = member();
        assert_eq!(alone(&facts, "SM227").verdict, Verdict::Pass);
        for address in ["", "242.2.0.1", "242.1.0.99"] {
            value_mut(&mut submariner_mut(&mut facts).gateways)[0].global_ip = address.to_owned();
            assert_eq!(alone(&facts, "SM227").verdict, Verdict::Warn, "{address}");
        }
        submariner_mut(&mut facts).gateways = Fact::unknown(Reason::Forbidden, "list gateways: forbidden");
        assert_eq!(alone(&facts, "SM227").verdict, Verdict::Unknown);
    }

    #[test]
    fn without_globalnet_nothing_is_asked() {
        let facts = submariner(&[("east", 1)]).remove(0);
        for code in ["SM225", "SM226", "SM227"] {
            assert_eq!(alone(&facts, code).verdict, Verdict::Skip, "{code}");
        }
    }
}
