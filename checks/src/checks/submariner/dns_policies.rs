//! Policies between cluster DNS and Lighthouse, which answers for the clusterset's names.

mod passage;

use std::collections::BTreeMap;

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::dns::DnsPods;
use crate::facts::network_policy::NetworkPolicy;
use crate::facts::provenance::{Known, Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::{Mesh, installed};
use crate::report::Evidence;
use passage::{Direction, Passage, Pods, passage};

pub(super) static CHECKS: &[&Check] = &[&DNS_POLICIES];

const LIGHTHOUSE: &str = "submariner-lighthouse-coredns";
/// Where `subctl` installs the operator.
const NAMESPACE: &str = "submariner-operator";
/// Lighthouse listens where cluster DNS forwards to, and answers that are too long for UDP are asked for again over TCP.
const PORTS: [(&str, u16); 2] = [("UDP", 53), ("TCP", 53)];

declare_check! {
    /// ## What it checks
    /// No NetworkPolicy keeps cluster DNS from Lighthouse: neither those about cluster DNS' pods (what may go out) nor those about Lighthouse's
    /// (what may come in), on UDP and TCP 53.
    ///
    /// ## Why it matters
    /// Cluster DNS forwards names of the clusterset to Lighthouse. Namespaces that deny by default, kube-system among them, let it ask the API server
    /// and its upstream servers, and nobody else.
    ///
    /// ## How it is determined
    /// NetworkPolicies of cluster DNS' namespaces and of Submariner's operator, against the labels of both pod templates; before a join against the labels
    /// that the operator will give. Pods on the host network are under no policy. Unknown where it hangs on a block of addresses, which network plugins
    /// apply to pods each in its own way, on the name of a port, or on labels of a namespace other than its name. Policies of the plugins' own kinds
    /// (Cilium, Calico, AdminNetworkPolicy) are not looked at.
    ///
    /// ## How to fix
    /// Allow cluster DNS' pods to reach the pods `app=submariner-lighthouse-coredns` on UDP and TCP 53, and these to be reached from there.
    ///
    /// ## References
    /// Kubernetes documentation, Network Policies; `submariner-operator`, `controllers/servicediscovery`.
    pub static DNS_POLICIES = {
        code: "SM807",
        slug: "dns-policies",
        title: "A NetworkPolicy keeps cluster DNS from Lighthouse",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve",
        rules: ["submariner DNS-08"],
        run: Cluster(dns_policies),
    };
}

fn dns_policies(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if !Mesh::of(audit).service_discovery(cluster)?.value {
        return Err(NoVerdict::does_not_apply("service discovery is off"));
    }
    let dns = cluster.facts.dns.get()?;
    let policies = dns.policies.known_value()?;
    let namespace = installed(cluster)?.map_or(NAMESPACE, |config| config.value.namespace.as_str());
    let planned = BTreeMap::from(
        [("app", LIGHTHOUSE), ("component", "submariner-lighthouse")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let lighthouse = Pods {
        namespace,
        labels: dns
            .pods
            .iter()
            .find(|pods| pods.name == LIGHTHOUSE && pods.namespace == namespace)
            .map_or(&planned, |pods| &pods.labels),
    };
    let servers: Vec<&DnsPods> = dns.pods.iter().filter(|pods| pods.name != LIGHTHOUSE).collect();
    if servers.is_empty() {
        return Err(Unknown::not_found("no pods of cluster DNS were found").into());
    }
    let mut closing: Vec<&NetworkPolicy> = Vec::new();
    let mut undecided: Option<&NetworkPolicy> = None;
    for server in servers {
        let pods = Pods {
            namespace: &server.namespace,
            labels: &server.labels,
        };
        for port in PORTS {
            let out = (!server.host_network).then(|| passage(&policies.value, pods, Direction::Out, lighthouse, port));
            let into = passage(&policies.value, lighthouse, Direction::In, pods, port);
            for passage in out.into_iter().chain([into]) {
                match passage {
                    Passage::Open => {}
                    // Nodes' own addresses can be allowed by block only, or are allowed whatever a policy says.
                    Passage::Closed(found) if server.host_network => undecided = undecided.or(found.first().copied()),
                    Passage::Closed(found) => closing.extend(found),
                    Passage::Undecided(policy) => undecided = undecided.or(Some(policy)),
                }
            }
        }
    }
    let mut names: Vec<String> = closing.into_iter().map(object).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty()
        && let Some(policy) = undecided
    {
        return Err(NoVerdict::missing(
            Reason::NotFound,
            format!(
                "{}: what it allows cannot be told from its labels and ports",
                object(policy)
            ),
        ));
    }
    Ok(if names.is_empty() {
        Outcome::holds().found("nothing in the way")
    } else {
        Outcome::broken()
            .found(some_of(&names))
            .remedy("allow cluster DNS' pods to reach app=submariner-lighthouse-coredns on UDP and TCP 53, and these to be reached")
    }
    .expected("cluster DNS reaches Lighthouse on UDP and TCP 53")
    .evidence(evidence(cluster, policies)))
}

fn object(policy: &NetworkPolicy) -> String {
    format!("NetworkPolicy {}/{}", policy.namespace, policy.name)
}

fn evidence(cluster: &Cluster<'_>, policies: &Known<Vec<NetworkPolicy>>) -> Evidence {
    let found = format!("{} policies", policies.value.len());
    let source: &Source = &policies.source;
    Evidence::new(cluster.name(), &found, source)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::facts::ClusterFacts;
    use crate::facts::network_policy::{NetworkPolicy, Operator, PolicyPeer, PolicyPort, PolicyRule, Requirement};
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{findings, flannel, report, submariner, submariner_config_mut, value_mut};

    fn judged(change: impl FnOnce(&mut ClusterFacts)) -> Finding {
        let mut clusters = submariner(&[("east", 1), ("west", 2)]);
        change(&mut clusters[0]);
        let report = report(Submariner, &clusters);
        let of_east = findings(&report, "SM807")
            .into_iter()
            .find(|finding| finding.subject.clusters == ["east"]);
        of_east.unwrap().clone()
    }

    fn verdict(policies: Vec<NetworkPolicy>) -> Verdict {
        judged(|east| *value_mut(&mut value_mut(&mut east.dns).policies) = policies).verdict
    }

    fn is(key: &str, value: &str) -> Vec<Requirement> {
        vec![Requirement {
            key: key.to_owned(),
            operator: Operator::In,
            values: vec![value.to_owned()],
        }]
    }

    /// What may go out of kube-system; no rule means nothing.
    fn egress(rules: Vec<PolicyRule>) -> NetworkPolicy {
        NetworkPolicy {
            namespace: "kube-system".to_owned(),
            name: "restrict".to_owned(),
            egress: Some(rules),
            ..NetworkPolicy::default()
        }
    }

    fn to(peer: PolicyPeer, ports: &[(&str, Option<&str>)]) -> PolicyRule {
        PolicyRule {
            peers: vec![peer],
            ports: ports
                .iter()
                .map(|(protocol, port)| PolicyPort {
                    protocol: (*protocol).to_owned(),
                    port: port.map(str::to_owned),
                    end_port: None,
                })
                .collect(),
        }
    }

    fn lighthouse() -> PolicyPeer {
        PolicyPeer::Pods {
            namespaces: Some(is("kubernetes.io/metadata.name", "submariner-operator")),
            pods: is("app", "submariner-lighthouse-coredns"),
        }
    }

    #[test]
    fn without_policies_nothing_is_in_the_way() {
        assert_eq!(verdict(Vec::new()), Verdict::Pass);
    }

    #[test]
    fn a_namespace_that_denies_by_default_cuts_cluster_dns_off() {
        let finding = judged(|east| {
            value_mut(&mut value_mut(&mut east.dns).policies).push(egress(Vec::new()));
        });
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(finding.found, "NetworkPolicy kube-system/restrict");
    }

    #[test]
    fn before_a_join_the_labels_that_pods_will_have_count() {
        let judged = |rules: Vec<PolicyRule>| {
            let mut clusters = [flannel("east", 1), flannel("west", 2)];
            value_mut(&mut value_mut(&mut clusters[0].dns).policies).push(egress(rules));
            findings(&report(Submariner, &clusters), "SM807")
                .into_iter()
                .find(|finding| finding.subject.clusters == ["east"])
                .unwrap()
                .verdict
        };
        assert_eq!(judged(Vec::new()), Verdict::Warn);
        assert_eq!(judged(vec![to(lighthouse(), &[])]), Verdict::Pass);
    }

    #[test]
    fn both_protocols_must_be_allowed() {
        let both = [("UDP", Some("53")), ("TCP", Some("53"))];
        assert_eq!(verdict(vec![egress(vec![to(lighthouse(), &both)])]), Verdict::Pass);
        assert_eq!(verdict(vec![egress(vec![to(lighthouse(), &both[..1])])]), Verdict::Warn);
        // One rule for each is as good, and a second policy only adds.
        let split = vec![
            egress(vec![to(lighthouse(), &[("UDP", None)])]),
            egress(vec![to(lighthouse(), &both[1..])]),
        ];
        assert_eq!(verdict(split), Verdict::Pass);
    }

    #[test]
    fn policies_about_other_pods_or_the_other_direction_are_not_in_the_way() {
        let other_pods = NetworkPolicy {
            pods: is("k8s-app", "metrics-server"),
            ..egress(Vec::new())
        };
        let other_direction = NetworkPolicy {
            ingress: Some(Vec::new()),
            egress: None,
            ..egress(Vec::new())
        };
        assert_eq!(verdict(vec![other_pods, other_direction]), Verdict::Pass);
    }

    #[test]
    fn lighthouse_must_let_cluster_dns_in() {
        let ingress = |rules: Vec<PolicyRule>| NetworkPolicy {
            namespace: "submariner-operator".to_owned(),
            ingress: Some(rules),
            egress: None,
            ..egress(Vec::new())
        };
        let from = |namespaces| PolicyPeer::Pods {
            namespaces,
            pods: is("k8s-app", "kube-dns"),
        };
        assert_eq!(verdict(vec![ingress(Vec::new())]), Verdict::Warn);
        // Without a selector of namespaces it is pods of its own that a policy allows.
        assert_eq!(verdict(vec![ingress(vec![to(from(None), &[])])]), Verdict::Warn);
        assert_eq!(
            verdict(vec![ingress(vec![to(from(Some(Vec::new())), &[])])]),
            Verdict::Pass
        );
    }

    #[test]
    fn what_cannot_be_decided_is_unknown() {
        let by_label = PolicyPeer::Pods {
            namespaces: Some(is("team", "network")),
            pods: Vec::new(),
        };
        for rule in [
            to(PolicyPeer::Addresses, &[]),
            to(by_label, &[]),
            to(lighthouse(), &[("UDP", Some("dns")), ("TCP", Some("dns"))]),
        ] {
            assert_eq!(verdict(vec![egress(vec![rule.clone()])]), Verdict::Unknown, "{rule:?}");
        }
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let unread = judged(|east| {
            value_mut(&mut east.dns).policies = Fact::unknown(Reason::Forbidden, "list networkpolicies: forbidden");
        });
        assert_eq!(unread.verdict, Verdict::Unknown);
        let no_pods = judged(|east| value_mut(&mut east.dns).pods.clear());
        assert_eq!(no_pods.verdict, Verdict::Unknown);
    }

    #[test]
    fn pods_on_the_host_network_go_out_as_they_please() {
        let finding = judged(|east| {
            let dns = value_mut(&mut east.dns);
            dns.pods[0].host_network = true;
            value_mut(&mut dns.policies).push(egress(Vec::new()));
        });
        assert_eq!(finding.verdict, Verdict::Pass);
    }

    #[test]
    fn without_service_discovery_it_does_not_apply() {
        let finding = judged(|east| submariner_config_mut(east).service_discovery_enabled = Some(false));
        assert_eq!(finding.verdict, Verdict::Skip);
    }

    #[test]
    fn selectors_compare_as_kubernetes_does() {
        let labels = BTreeMap::from([("app".to_owned(), "dns".to_owned())]);
        let met = |key: &str, operator, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let requirement = Requirement {
                key: key.to_owned(),
                operator,
                values,
            };
            requirement.is_met_by(labels.get(key).map(String::as_str))
        };
        assert!(met("app", Operator::In, &["web", "dns"]) && !met("app", Operator::In, &["web"]));
        assert!(met("app", Operator::NotIn, &["web"]) && met("tier", Operator::NotIn, &["web"]));
        assert!(met("app", Operator::Exists, &[]) && !met("tier", Operator::Exists, &[]));
        assert!(met("tier", Operator::DoesNotExist, &[]) && !met("app", Operator::DoesNotExist, &[]));
    }
}
