//! Cilium and OVN-Kubernetes: datapaths that Submariner must fit into.

use std::collections::BTreeSet;

use super::kube_proxy::replaced_by_cilium;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::{Mesh, absent, field, installed, member};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &CILIUM_HOST_ROUTING,
    &CILIUM_IDENTITY,
    &OVN_NETWORK,
    &OVN_SOURCE_ADDRESS,
    &OVN_AND_WIREGUARD,
];

declare_check! {
    /// ## What it checks
    /// Cilium, where it runs, routes through the host's tables.
    ///
    /// ## Why it matters
    /// The route agent writes the routes to other clusters into the host's tables. Cilium's eBPF host routing goes past them: traffic that must cross nodes is
    /// lost. With legacy host routing it works, though nobody has validated it, hence the warning.
    ///
    /// ## How it is determined
    /// eBPF host routing is in force if `kube-proxy-replacement` and `enable-bpf-masquerade` are true and `enable-host-legacy-routing` is not; absent keys
    /// mean false in every version.
    ///
    /// ## How to fix
    /// Set the chart value `bpf.hostLegacyRouting=true`, or use another plugin.
    ///
    /// ## References
    /// submariner issues 2934, 3159, 3168 and 4105.
    pub static CILIUM_HOST_ROUTING = {
        code: "SM307",
        slug: "cilium-host-routing",
        title: "Cilium goes past the routes of Submariner",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "traffic for other clusters that must cross nodes is lost",
        rules: ["submariner CNI-07"],
        run: Cluster(cilium_host_routing),
    };
}

fn cilium_host_routing(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let is_true = |key: &str| settings.written(key).filter(|known| known.value == "true");
    let legacy = is_true("enable-host-legacy-routing");
    let masquerade = is_true("enable-bpf-masquerade");
    let replaced = replaced_by_cilium(cluster)?;
    let evidence: Vec<Evidence> = [&legacy, &masquerade, &replaced]
        .into_iter()
        .flatten()
        .map(|known| {
            let text = format!("{}={}", known.source.field, known.value);
            Evidence::new(cluster.name(), &text, &known.source)
        })
        .collect();
    let outcome = match (legacy.is_some(), replaced.is_some() && masquerade.is_some()) {
        (false, true) => Outcome::broken()
            .found("eBPF host routing")
            .remedy("set bpf.hostLegacyRouting=true in Cilium's chart"),
        (true, _) => not_validated("legacy host routing, as it is set"),
        (false, false) => not_validated("legacy host routing, as eBPF host routing lacks what it needs"),
    };
    Ok(outcome
        .expected("routing through the host's tables")
        .evidence_all(evidence))
}

fn not_validated(found: &str) -> Outcome {
    Outcome::broken_as(Severity::Warn)
        .found(found)
        .remedy("prove the data path with subctl verify, and keep host routing legacy in Cilium's upgrades")
}

declare_check! {
    /// ## What it checks
    /// Where Submariner publishes itself to Cilium, Cilium has an identity for the mesh that leaves Submariner its own.
    ///
    /// ## Why it matters
    /// Newer releases appear to Cilium as one more cluster of a mesh, of id 255 and name `submariner`. Cilium must have an id from 1 to 254 and a name of its
    /// own, or its agents refuse the peer.
    ///
    /// ## How it is determined
    /// `cluster-id` and `cluster-name` of ConfigMap `cilium-config`, where `spec.ciliumNamespace` of the `Submariner` object is set. The keys in Secret `cilium-clustermesh` are not
    /// looked at.
    ///
    /// ## How to fix
    /// Set `cluster.id` and `cluster.name` in Cilium's chart and restart the agents.
    ///
    /// ## References
    /// `subctl`, `pkg/diagnose/cilium.go`; submariner issue 4106, submariner-operator issue 4146, subctl issue 1835.
    pub static CILIUM_IDENTITY = {
        code: "SM308",
        slug: "cilium-identity-for-submariner",
        title: "Cilium lacks an identity that goes with Submariner's",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Cilium's agents refuse Submariner as a peer",
        rules: ["submariner CNI-07b"],
        run: Cluster(cilium_identity),
    };
}

fn cilium_identity(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = member(cluster)?;
    if config.value.cilium_namespace.is_empty() {
        return Err(NoVerdict::does_not_apply(
            "Submariner does not publish itself to Cilium",
        ));
    }
    let settings = cluster.cilium()?;
    let written = |key: &str| {
        settings
            .written(key)
            .unwrap_or_else(|| Known::new(String::new(), settings.cilium.config_source(key)))
    };
    let (id, name) = (written("cluster-id"), written("cluster-name"));
    let mut problems = Vec::new();
    if !id.value.parse::<u32>().is_ok_and(|id| (1..=254).contains(&id)) {
        problems.push(format!("cluster-id `{}`", id.value));
    }
    if ["", "default", "submariner"].contains(&name.value.as_str()) {
        problems.push(format!("cluster-name `{}`", name.value));
    }
    let outcome = if problems.is_empty() {
        Outcome::holds().found(format!("cluster-id {}, cluster-name {}", id.value, name.value))
    } else {
        Outcome::broken()
            .found(some_of(&problems))
            .remedy("set cluster.id and cluster.name in Cilium's chart and restart its agents")
    };
    Ok(outcome
        .expected("cluster-id from 1 to 254, and a cluster-name of its own")
        .evidence(Evidence::of(cluster.name(), &id))
        .evidence(Evidence::of(cluster.name(), &name)))
}

declare_check! {
    /// ## What it checks
    /// Submariner's pod range is written as OVN-Kubernetes' routes have it.
    ///
    /// ## Why it matters
    /// The route agent looks for a route of the management port whose destination is, as text, one of its pod ranges. OVN-Kubernetes' configuration may write the
    /// length of a node's block behind the range (`10.128.0.0/14/23`), which discovery takes over as it is; then no route matches.
    ///
    /// ## How it is determined
    /// `net_cidr` of ConfigMap `ovn-config`. Before a join a length behind the range is a warning, unless the range is given; for a member the ranges, without that
    /// length, against `status.clusterCIDR`. The route itself takes an agent.
    ///
    /// ## How to fix
    /// Pass `--clustercidr` with the range as the route has it.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers/ovn/host_networking.go`; `submariner-operator`, `pkg/discovery/network/ovnkubernetes.go`.
    pub static OVN_NETWORK = {
        code: "SM309",
        slug: "ovn-network-range",
        title: "Submariner's pod range matches no route of OVN-Kubernetes",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "hosts of this cluster do not reach other clusters",
        rules: ["submariner CNI-09"],
        run: Cluster(ovn_network),
    };
}

fn ovn_network(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    needs_ovn(cluster)?;
    let ovn = match cluster.facts.cni.ovn.known_value() {
        Ok(ovn) => ovn,
        Err(why) if absent(&why) => return Err(NoVerdict::does_not_apply("no ConfigMap ovn-config is there")),
        Err(why) => return Err(why.into()),
    };
    let written = Known::new(
        ovn.value.net_cidr.clone(),
        Source::read(ovn.source.object.clone(), "net_cidr"),
    );
    let ranges: BTreeSet<String> = ovn.value.pod_cidrs.iter().map(ToString::to_string).collect();
    let expected = format!("pod range {}", some_of(&ranges));
    let remedy = format!(
        "pass --clustercidr {} for {}",
        ranges.iter().cloned().collect::<Vec<_>>().join(","),
        cluster.name()
    );
    if let Some(config) = installed(cluster)? {
        let status = &config.value.status_cluster_cidr;
        let known: BTreeSet<String> = status.split(',').map(|item| item.trim().to_owned()).collect();
        let outcome = if known == ranges {
            Outcome::holds()
        } else {
            Outcome::broken().remedy(remedy)
        };
        return Ok(outcome
            .expected(expected)
            .found(status)
            .evidence(Evidence::of(cluster.name(), &written))
            .evidence(Evidence::new(
                cluster.name(),
                status,
                &field(config, "status.clusterCIDR"),
            )));
    }
    let has_length = written.value.split(',').any(|item| item.matches('/').count() > 1);
    let stated = Mesh::of(audit).stated_pod_cidrs(cluster)?;
    let outcome = if has_length && stated.is_empty() {
        Outcome::broken_as(Severity::Warn).remedy(remedy)
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected(expected)
        .found(&written.value)
        .evidence(Evidence::of(cluster.name(), &written)))
}

fn needs_ovn(cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    if is_ovn_kubernetes(cluster)? {
        return Ok(());
    }
    Err(NoVerdict::does_not_apply("OVN-Kubernetes does not run"))
}

declare_check! {
    /// ## What it checks
    /// Whether source addresses of pods may be lost on the way: OVN-Kubernetes.
    ///
    /// ## Why it matters
    /// On OpenShift 4.18 and later packets from other clusters arrive under another source address. UDP 4800 is not needed, as OVN-Kubernetes carries packets between
    /// nodes itself.
    ///
    /// ## How it is determined
    /// OVN-Kubernetes runs.
    ///
    /// ## How to fix
    /// Let no network policy rely on addresses of remote pods.
    ///
    /// ## References
    /// submariner issue 3307, ovn-kubernetes issue 5082.
    pub static OVN_SOURCE_ADDRESS = {
        code: "SM310",
        slug: "ovn-source-address",
        title: "OVN-Kubernetes may not keep source addresses",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "network policies do not recognise remote pods",
        rules: ["submariner CNI-10"],
        run: Cluster(ovn_source_address),
    };
}

fn ovn_source_address(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    needs_ovn(cluster)?;
    Ok(Outcome::broken()
        .found("OVN-Kubernetes: network policies must not rely on addresses of remote pods")
        .remedy("let no network policy rely on addresses of remote pods"))
}

declare_check! {
    /// ## What it checks
    /// OVN-Kubernetes is not combined with the WireGuard cable driver.
    ///
    /// ## Why it matters
    /// The combination does not work, and the fault is open.
    ///
    /// ## How it is determined
    /// The plugin, and `spec.cableDriver` of the `Submariner` object or the plan.
    ///
    /// ## How to fix
    /// Join all clusters with `--cable-driver libreswan`.
    ///
    /// ## References
    /// submariner issue 3032.
    pub static OVN_AND_WIREGUARD = {
        code: "SM311",
        slug: "ovn-and-wireguard",
        title: "WireGuard does not work with OVN-Kubernetes",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods do not reach other clusters",
        rules: ["submariner CNI-11"],
        run: Cluster(ovn_and_wireguard),
    };
}

fn ovn_and_wireguard(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    needs_ovn(cluster)?;
    let driver = Mesh::of(audit).cable_driver(cluster)?;
    let outcome = if driver.value == "wireguard" {
        Outcome::broken().remedy("join all clusters with --cable-driver libreswan")
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected("libreswan with OVN-Kubernetes")
        .found(&driver.value)
        .evidence(Evidence::of(cluster.name(), &driver)))
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::cni::{Ovn, PluginKind};
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::intent::{Intent, SubmarinerClusterPlan};
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{
        cilium, cilium_mut, findings, flannel, policy, report, set_cilium_key, submariner, submariner_config_mut,
        value_mut,
    };

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    fn with_keys(keys: &[(&str, &str)]) -> ClusterFacts {
        let mut facts = cilium("east", 1);
        for (key, value) in keys {
            set_cilium_key(&mut facts, key, Some(value));
        }
        facts
    }

    /// OVN-Kubernetes with this `net_cidr`.
    fn ovn(mut facts: ClusterFacts, net_cidr: &str) -> ClusterFacts {
        value_mut(&mut facts.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
        facts.cni.ovn = Fact::known(
            Ovn {
                namespace: "ovn-kubernetes".to_owned(),
                net_cidr: net_cidr.to_owned(),
                pod_cidrs: vec!["10.10.0.0/16".parse().unwrap()],
                service_cidrs: Vec::new(),
            },
            Source::read("ConfigMap ovn-kubernetes/ovn-config", ""),
        );
        facts
    }

    #[test]
    fn ebpf_host_routing_fails_and_legacy_warns() {
        let ebpf = [("kube-proxy-replacement", "true"), ("enable-bpf-masquerade", "true")];
        assert_eq!(alone(&with_keys(&ebpf), "SM307").verdict, Verdict::Fail);
        let legacy = [ebpf[0], ebpf[1], ("enable-host-legacy-routing", "true")];
        assert_eq!(
            alone(&with_keys(&legacy), "SM307").found,
            "legacy host routing, as it is set"
        );
        // Without masquerading in eBPF the agent falls back.
        assert_eq!(alone(&with_keys(&ebpf[..1]), "SM307").verdict, Verdict::Warn);
        assert_eq!(alone(&with_keys(&[]), "SM307").verdict, Verdict::Warn);
        assert_eq!(alone(&flannel("east", 1), "SM307").verdict, Verdict::Skip);
        let mut unread = with_keys(&[]);
        cilium_mut(&mut unread).config = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
        assert_eq!(alone(&unread, "SM307").verdict, Verdict::Unknown);
    }

    #[test]
    fn submariner_as_a_peer_of_cilium_needs_an_identity_there() {
        let mut member = submariner(&[("east", 1)]).remove(0);
        member.cilium = with_keys(&[]).cilium;
        assert_eq!(alone(&member, "SM308").verdict, Verdict::Skip);
        submariner_config_mut(&mut member).cilium_namespace = "kube-system".to_owned();
        assert_eq!(alone(&member, "SM308").verdict, Verdict::Pass);
        set_cilium_key(&mut member, "cluster-id", Some("255"));
        set_cilium_key(&mut member, "cluster-name", Some("submariner"));
        assert_eq!(
            alone(&member, "SM308").found,
            "cluster-id `255`, cluster-name `submariner`"
        );
        cilium_mut(&mut member).config = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
        assert_eq!(alone(&member, "SM308").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_length_behind_ovns_range_is_taken_over_unless_the_range_is_given() {
        let plain = ovn(flannel("east", 1), "10.10.0.0/16");
        assert_eq!(alone(&plain, "SM309").verdict, Verdict::Pass);
        let with_length = ovn(flannel("east", 1), "10.10.0.0/16/24");
        assert_eq!(alone(&with_length, "SM309").verdict, Verdict::Warn);
        let mut intent = Intent::default();
        let plan = SubmarinerClusterPlan {
            cluster_cidr: vec!["10.10.0.0/16".parse().unwrap()],
            ..SubmarinerClusterPlan::default()
        };
        intent.submariner.clusters.insert("east".to_owned(), plan);
        let given = judge(&[with_length], &intent, &policy(Submariner));
        assert_eq!(findings(&given, "SM309")[0].verdict, Verdict::Pass);
    }

    #[test]
    fn a_members_range_is_ovns_as_text() {
        let mut member = ovn(submariner(&[("east", 1)]).remove(0), "10.10.0.0/16/24");
        assert_eq!(alone(&member, "SM309").verdict, Verdict::Pass);
        submariner_config_mut(&mut member).status_cluster_cidr = "10.10.0.0/16/24".to_owned();
        assert_eq!(alone(&member, "SM309").verdict, Verdict::Fail);
        member.cni.ovn = Fact::unknown(Reason::Forbidden, "get configmap: forbidden");
        assert_eq!(alone(&member, "SM309").verdict, Verdict::Unknown);
    }

    #[test]
    fn wireguard_and_ovn_do_not_go_together() {
        let judged = |facts: ClusterFacts, driver: &str| {
            let mut intent = Intent::default();
            intent.submariner.cable_driver = Some(driver.to_owned());
            findings(&judge(&[facts], &intent, &policy(Submariner)), "SM311")[0].verdict
        };
        assert_eq!(judged(ovn(flannel("east", 1), ""), "wireguard"), Verdict::Fail);
        assert_eq!(judged(ovn(flannel("east", 1), ""), "libreswan"), Verdict::Pass);
        assert_eq!(judged(flannel("east", 1), "wireguard"), Verdict::Skip);
        let mut unread = flannel("east", 1);
        unread.cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
        assert_eq!(judged(unread.clone(), "wireguard"), Verdict::Unknown);
        assert_eq!(alone(&unread, "SM310").verdict, Verdict::Unknown);
    }

    #[test]
    fn ovns_source_addresses_are_recorded() {
        assert!(
            alone(&ovn(flannel("east", 1), ""), "SM310")
                .found
                .starts_with("OVN-Kubernetes")
        );
        assert_eq!(alone(&flannel("east", 1), "SM310").verdict, Verdict::Skip);
    }
}
