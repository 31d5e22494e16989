//! The broker's address, and where it lives.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::{Mesh, declared, field, installed, member};
use crate::report::{Evidence, Severity};

use crate::alike::some_of;

pub(super) static CHECKS: &[&Check] = &[&BROKER_ADDRESS, &BROKER_IS_MEMBER, &BROKER_SCHEME];

declare_check! {
    /// ## What it checks
    /// The address at which members look for the broker is not a loopback address.
    ///
    /// ## Why it matters
    /// Every member's pods dial this address. `subctl join` tests it from the workstation only, where a loopback address of kind works; inside a
    /// member it is the member itself, and nothing is ever exchanged.
    ///
    /// ## How it is determined
    /// `spec.brokerK8sApiServer` of a member's `Submariner` object. Before a join the broker URL of the plan; without one the API server's
    /// address in the kubeconfig of the cluster that holds the broker, which `subctl deploy-broker` writes into the broker file. For other
    /// clusters a loopback address means nothing, only the workstation uses it. Whether members reach the address, and whether the
    /// certificate covers it, takes an agent to tell.
    ///
    /// ## How to fix
    /// Deploy the broker with the cluster's internal address (with kind, the control plane container's address and port 6443), or join with
    /// `--broker-url`.
    ///
    /// ## References
    /// submariner issues 1850 and 3614, subctl issue 93, submariner-operator issue 2261.
    pub static BROKER_ADDRESS = {
        code: "SM010",
        slug: "broker-address",
        title: "Members cannot reach the broker at this address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "a loopback address is the member itself: the join succeeds and nothing is exchanged",
        rules: ["submariner PLAT-11", "submariner KIND-02"],
        run: Cluster(broker_address),
    };
}

fn broker_address(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let plan = mesh.plan();
    if let Some(config) = installed(cluster)? {
        let address = config.value.broker_api_server.clone();
        return Ok(judge_address(
            cluster,
            &Known::new(address, field(config, "spec.brokerK8sApiServer")),
        ));
    }
    if let Some(url) = &plan.broker_url {
        let outcome = judge_address(cluster, &Known::new(url.clone(), declared("brokerUrl")));
        return Ok(outcome.cause("broker-url"));
    }
    let holds_broker = match &plan.broker_cluster {
        Some(name) => cluster.name() == name,
        None => mesh.broker()?.is_some_and(|broker| broker.cluster.id == cluster.id),
    };
    let address = cluster.facts.api_server.known_value()?;
    let outcome = judge_address(cluster, address);
    if holds_broker || !outcome.is_broken() {
        return Ok(outcome);
    }
    Ok(Outcome::broken_as(Severity::Info)
        .found(format!(
            "{}, which is good enough for a workstation but not for a broker",
            address.value
        ))
        .evidence(Evidence::of(cluster.name(), address)))
}

fn judge_address(cluster: &Cluster<'_>, address: &Known<String>) -> Outcome {
    let outcome = if is_loopback(&address.value) {
        Outcome::broken().remedy(if cluster.is_kind() {
            "before `subctl deploy-broker` set this cluster's server in the kubeconfig to the address of its control plane's container and port 6443 \
             (networking.apiServerAddress of kind is for this machine alone), or join with --broker-url"
        } else {
            "deploy the broker with an address that members reach, or join with --broker-url"
        })
    } else {
        Outcome::holds()
    };
    outcome
        .expected("an address that is the same host from everywhere")
        .found(&address.value)
        .evidence(Evidence::of(cluster.name(), address))
}

/// Whether a URL or `host:port` names the machine it is used on.
fn is_loopback(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(ipv6) => ipv6.split(']').next().unwrap_or(ipv6),
        None if authority.matches(':').count() > 1 => authority,
        None => authority.split(':').next().unwrap_or(authority),
    };
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

declare_check! {
    /// ## What it checks
    /// The cluster that holds the broker is not a member as well.
    ///
    /// ## Why it matters
    /// `subctl uninstall` in that cluster removes the broker with the member, while others still use it.
    ///
    /// ## How it is determined
    /// `Broker` and `Submariner` objects in one cluster.
    ///
    /// ## How to fix
    /// Move the broker to a cluster of its own, or see to it that this cluster is uninstalled last.
    ///
    /// ## References
    /// subctl issue 29.
    pub static BROKER_IS_MEMBER = {
        code: "SM011",
        slug: "broker-is-member",
        title: "The broker lives in a member",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "uninstalling Submariner there takes the broker from all others",
        rules: ["submariner PLAT-13"],
        run: Cluster(broker_is_member),
    };
}

fn broker_is_member(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = member(cluster)?;
    let broker = match cluster.facts.submariner.get()?.broker.known_value() {
        Ok(broker) => broker,
        Err(why) if crate::profile::submariner::absent(&why) => {
            return Ok(Outcome::holds().found("the broker is elsewhere"));
        }
        Err(why) => return Err(why.into()),
    };
    Ok(Outcome::broken()
        .expected("a broker in a cluster that is no member")
        .found(format!("Broker and Submariner in {}", cluster.name()))
        .evidence(Evidence::new(cluster.name(), &"Broker", &broker.source))
        .evidence(Evidence::new(cluster.name(), &"Submariner", &config.source))
        .remedy(format!(
            "uninstall Submariner from {} last, or move the broker",
            cluster.name()
        )))
}

declare_check! {
    /// ## What it checks
    /// The broker's address in Submariner's objects has no scheme: `host:port`, not `https://host:port`.
    ///
    /// ## Why it matters
    /// The components put `https://` before what they are given. `subctl` strips a scheme; objects and chart values written by hand may keep it.
    ///
    /// ## How it is determined
    /// `spec.brokerK8sApiServer` of the `Submariner` and `ServiceDiscovery` objects; before a join by Helm or GitOps the broker URL of the plan.
    ///
    /// ## How to fix
    /// Remove the scheme.
    ///
    /// ## References
    /// `subctl`, `pkg/deploy/submariner.go`.
    pub static BROKER_SCHEME = {
        code: "SM012",
        slug: "broker-scheme",
        title: "The broker's address has a scheme",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the components build a URL from it that leads nowhere",
        rules: ["submariner PLAT-14"],
        run: Cluster(broker_scheme),
    };
}

fn broker_scheme(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let mut addresses: Vec<Known<String>> = Vec::new();
    if let Some(config) = installed(cluster)? {
        let address = config.value.broker_api_server.clone();
        addresses.push(Known::new(address, field(config, "spec.brokerK8sApiServer")));
        if let Ok(known) = cluster.facts.submariner.get()?.service_discovery.known_value()
            && let Some(own) = &known.value
        {
            let source = Source::read(known.source.object.clone(), "spec.brokerK8sApiServer");
            addresses.push(Known::new(own.broker_api_server.clone(), source));
        }
    } else if mesh.joined_by_subctl() {
        return Err(NoVerdict::does_not_apply("subctl strips a scheme"));
    } else if let Some(url) = &mesh.plan().broker_url {
        addresses.push(Known::new(url.clone(), declared("brokerUrl")));
    } else {
        return Err(NoVerdict::does_not_apply("the plan names no broker URL"));
    }
    let with_scheme: Vec<_> = addresses
        .iter()
        .filter(|address| address.value.contains("://"))
        .collect();
    let outcome = if with_scheme.is_empty() {
        Outcome::holds()
    } else {
        Outcome::broken()
            .found(some_of(with_scheme.iter().map(|address| &address.value)))
            .remedy("write host:port, without https://")
    };
    let evidence = addresses.iter().map(|address| Evidence::of(cluster.name(), address));
    Ok(outcome.expected("host:port without a scheme").evidence_all(evidence))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::intent::{Intent, SubmarinerPlan};
    use crate::profile::Profile::Submariner;
    use crate::report::{Report, Severity, Verdict};
    use crate::samples::{
        findings, flannel, hold_broker, policy, report, submariner, submariner_config_mut, submariner_mut, value_mut,
    };

    fn planned(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
        let mut intent = Intent::default();
        change(&mut intent.submariner);
        judge(facts, &intent, &policy(Submariner))
    }

    /// A cluster as kind's kubeconfig shows it.
    fn kind(name: &str, number: u8) -> ClusterFacts {
        let mut facts = flannel(name, number);
        *value_mut(&mut facts.api_server) = "127.0.0.1:40123".to_owned();
        for node in value_mut(&mut facts.nodes) {
            node.provider_id = format!("kind://docker/{name}/{}", node.name);
        }
        facts
    }

    #[test]
    fn loopback_is_seen_in_every_spelling() {
        for here in [
            "127.0.0.1:6443",
            "https://localhost:6443/x",
            "https://[::1]:6443",
            "0.0.0.0:1",
            "::1",
            "a.localhost",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "10.0.0.1:6443",
            "https://api.example.com/k8s/c-1",
            "[fd00::1]:6443",
            "localhost.example.com",
            "",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn kinds_loopback_address_fails_for_the_brokers_cluster_only() {
        let facts = [kind("east", 1), kind("west", 2)];
        let told = planned(&facts, |plan| plan.broker_cluster = Some("east".to_owned()));
        assert!(findings(&told, "SM010")[0].remedy.contains("container and port 6443"));
        let verdicts: Vec<_> = findings(&told, "SM010")
            .iter()
            .map(|finding| (finding.subject.clusters[0].as_str(), finding.verdict, finding.severity))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("east", Verdict::Fail, Severity::Fail),
                ("west", Verdict::Pass, Severity::Info)
            ]
        );
    }

    #[test]
    fn a_broker_url_stands_for_all_who_join() {
        let facts = [kind("east", 1)];
        let good = planned(&facts, |plan| {
            plan.broker_url = Some("https://172.18.0.2:6443".to_owned());
        });
        assert_eq!(findings(&good, "SM010")[0].verdict, Verdict::Pass);
        let bad = planned(&facts, |plan| {
            plan.broker_url = Some("https://localhost:6443".to_owned());
        });
        assert_eq!(findings(&bad, "SM010")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_member_that_dials_itself_fails_and_an_unread_one_is_unknown() {
        let mut facts = submariner(&[("east", 1)]);
        assert_eq!(findings(&report(Submariner, &facts), "SM010")[0].verdict, Verdict::Pass);
        submariner_config_mut(&mut facts[0]).broker_api_server = "127.0.0.1:6443".to_owned();
        assert_eq!(findings(&report(Submariner, &facts), "SM010")[0].verdict, Verdict::Fail);
        submariner_mut(&mut facts[0]).config = Fact::unknown(Reason::Forbidden, "list submariners: forbidden");
        for code in ["SM010", "SM011", "SM012"] {
            assert_eq!(
                findings(&report(Submariner, &facts), code)[0].verdict,
                Verdict::Unknown,
                "{code}"
            );
        }
    }

    #[test]
    fn a_broker_in_a_member_is_warned_of() {
        let mut facts = submariner(&[("east", 1), ("west", 2)]);
        hold_broker(&mut facts[0]);
        let report = report(Submariner, &facts);
        let verdicts: Vec<_> = findings(&report, "SM011")
            .iter()
            .map(|finding| finding.verdict)
            .collect();
        assert_eq!(verdicts, [Verdict::Warn, Verdict::Pass]);
    }

    #[test]
    fn a_scheme_fails_in_objects_and_in_plans_without_subctl() {
        let mut facts = submariner(&[("east", 1)]);
        assert_eq!(findings(&report(Submariner, &facts), "SM012")[0].verdict, Verdict::Pass);
        submariner_config_mut(&mut facts[0]).broker_api_server = "https://172.31.0.11:6443".to_owned();
        assert_eq!(findings(&report(Submariner, &facts), "SM012")[0].verdict, Verdict::Fail);
        let url = || Some("https://172.18.0.2:6443".to_owned());
        let by_hand =
            |plan: &mut SubmarinerPlan| (plan.installer, plan.broker_url) = (Some("gitops".to_owned()), url());
        assert_eq!(
            findings(&planned(&[flannel("east", 1)], by_hand), "SM012")[0].verdict,
            Verdict::Fail
        );
        let by_subctl = planned(&[flannel("east", 1)], |plan| plan.broker_url = url());
        assert_eq!(findings(&by_subctl, "SM012")[0].verdict, Verdict::Skip);
    }
}
