//! What every node needs, whatever the clusters are to be joined with, as its own kernel shows it.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{Seen, asked, judge, no_agent, nodes};
use crate::facts::kernel::NetworkView;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;

pub(super) static CHECKS: &[&Check] = &[&CLOCK, &CONNTRACK, &IPV6_DISABLED, &AGENT_NETWORK, &INOTIFY];

declare_check! {
    /// ## What it checks
    /// Something keeps every node's clock synchronised, and the kernel's bound on its error is below a minute.
    ///
    /// ## Why it matters
    /// Clusters trust each other by certificates and tokens, which are valid between two moments. A node whose clock runs away refuses its
    /// peers one day, and no message says that the clock is why.
    ///
    /// ## How it is determined
    /// The kernel's own state (adjtimex): whether it is told that its clock is synchronised, and the largest error it allows for. The difference
    /// between two clusters' clocks is another thing: agents measure it where they probe.
    ///
    /// ## How to fix
    /// Run chrony (with `rtcsync`, else the kernel is not told), systemd-timesyncd or ntpd, and let it reach its servers.
    ///
    /// ## References
    /// `adjtimex(2)`; chrony.conf, `rtcsync`.
    pub static CLOCK = {
        code: "NET401",
        slug: "clock-synchronised",
        title: "Nothing keeps a node's clock synchronised",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "certificates and tokens of the other clusters are taken for expired, or not yet valid",
        rules: ["clustermesh CP-18", "submariner SYS-12"],
        run: Cluster(clock),
    };
}

fn clock(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const MINUTE_MICROS: u64 = 60_000_000;
    asked(audit, cluster, || {
        let advice = (
            "a synchronised clock, its error below a minute",
            "run chrony (with rtcsync), systemd-timesyncd or ntpd on these nodes and let it reach its servers",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let clock = on.kernel.clock.get()?;
            let seen = if !clock.synchronised {
                Seen::fault("the kernel is not told that its clock is synchronised")
            } else if clock.max_error_micros >= MINUTE_MICROS {
                Seen::fault("the clock may be off by a minute and more")
            } else {
                Seen::fine("synchronised")
            };
            let value = format!(
                "synchronised: {}, error at most {} ms",
                clock.synchronised,
                clock.max_error_micros / 1000
            );
            Ok(seen.evidence(on.evidence(&on.kernel.clock, "adjtimex", &value)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// At most 70 % of a node's connection tracking table is in use.
    ///
    /// ## Why it matters
    /// A full table drops the first packet of every new connection. Traffic of other clusters comes on top, and gateways carry all of it.
    ///
    /// ## How it is determined
    /// `net.netfilter.nf_conntrack_count` against `net.netfilter.nf_conntrack_max`, at one moment. Nodes whose kernel tracks no connections (no such
    /// settings) are left out; Cilium's own maps are not seen here.
    ///
    /// ## How to fix
    /// Raise `net.netfilter.nf_conntrack_max` (kube-proxy: `conntrack.maxPerCore`), or shorten `nf_conntrack_tcp_timeout_established`. Nodes of kind
    /// have the limit of the machine they run on, and kind has kube-proxy leave it alone: raise it there.
    ///
    /// ## References
    /// Linux documentation, `networking/nf_conntrack-sysctl`.
    pub static CONNTRACK = {
        code: "NET402",
        slug: "connection-tracking-room",
        title: "A node's connection tracking table is nearly full",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "new connections are dropped once it is full",
        rules: [],
        run: Cluster(conntrack),
    };
}

fn conntrack(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const COUNT: &str = "net.netfilter.nf_conntrack_count";
    const MAX: &str = "net.netfilter.nf_conntrack_max";
    asked(audit, cluster, || {
        let remedy = if cluster.is_kind() {
            "raise net.netfilter.nf_conntrack_max on the machine that kind runs on: its nodes share that limit, and kind has kube-proxy leave it alone"
        } else {
            "raise net.netfilter.nf_conntrack_max on these nodes (kube-proxy sets it: conntrack.maxPerCore)"
        };
        let advice = ("at most 70 % of the connection tracking table in use", remedy);
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            if on.kernel.sysctl(MAX)?.is_none() {
                return Err(NoVerdict::does_not_apply("the kernel tracks no connections"));
            }
            let (count, max) = (on.number(COUNT)?, on.number(MAX)?);
            if max == 0 {
                return Ok(Seen::fine("no limit"));
            }
            let percent = count.saturating_mul(100) / max;
            let seen = if percent > 70 {
                Seen::fault(format!("{percent} % in use"))
            } else {
                Seen::fine("room enough")
            };
            Ok(seen
                .evidence(on.sysctl_evidence(COUNT))
                .evidence(on.sysctl_evidence(MAX)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// In a cluster whose pods or Services have IPv6 addresses, no node has IPv6 switched off in its kernel.
    ///
    /// ## Why it matters
    /// Such a node takes no IPv6 address and sends no IPv6 packet: pods there have half of the dual stack, and the network plugin may not start.
    ///
    /// ## How it is determined
    /// `net.ipv6.conf.all.disable_ipv6`, where pod or Service ranges are IPv6. A kernel without such a setting has no IPv6 at all.
    ///
    /// ## How to fix
    /// Set `net.ipv6.conf.all.disable_ipv6` to 0 and remove `ipv6.disable=1` from the kernel's command line.
    ///
    /// ## References
    /// Linux documentation, `networking/ip-sysctl`.
    pub static IPV6_DISABLED = {
        code: "NET403",
        slug: "ipv6-switched-off",
        title: "A node of an IPv6 cluster has IPv6 switched off",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "pods on it have no IPv6",
        rules: [],
        run: Cluster(ipv6_disabled),
    };
}

fn ipv6_disabled(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const SETTING: &str = "net.ipv6.conf.all.disable_ipv6";
    asked(audit, cluster, || {
        let services = &cluster.services()?.ranges;
        let has_ipv6 = services.iter().any(|range| !range.cidr.is_ipv4())
            || cluster.pods()?.summary().iter().any(|cidr| !cidr.is_ipv4());
        if !has_ipv6 {
            return Err(NoVerdict::does_not_apply("pods and Services have no IPv6 addresses"));
        }
        let advice = (
            "IPv6 switched on",
            "set net.ipv6.conf.all.disable_ipv6=0 on these nodes, and remove ipv6.disable=1 from the kernel's command line",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let seen = match on.kernel.sysctl(SETTING)? {
                Some(value) if value.trim() == "0" => Seen::fine("IPv6 is on"),
                Some(_) => Seen::fault("IPv6 is switched off"),
                None => Seen::fault("the kernel has no IPv6"),
            };
            Ok(seen.evidence(on.sysctl_evidence(SETTING)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The agents see their nodes' own network, and as the nodes that the API has.
    ///
    /// ## Why it matters
    /// An agent in a pod's network reads that pod's links, routes and settings. None of it is judged, so every rule about nodes stays open.
    ///
    /// ## How it is determined
    /// What the agents say of their network namespace, and whether a node of their name is in the cluster.
    ///
    /// ## How to fix
    /// Run the agents with `hostNetwork: true`, as the manifests do, and give each its node's name.
    ///
    /// ## References
    /// Kubernetes documentation, DaemonSet and host network.
    pub static AGENT_NETWORK = {
        code: "NET404",
        slug: "agent-on-host-network",
        title: "An agent does not see its node's own network",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "nothing is known of these nodes",
        rules: [],
        run: Cluster(agent_network),
    };
}

fn agent_network(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let nodes = cluster.facts.nodes.get()?;
        if cluster.facts.node_facts.is_empty() {
            return Err(no_agent().into());
        }
        let mut in_pod: Vec<String> = Vec::new();
        let mut open: Option<Unknown> = None;
        for kernel in &cluster.facts.node_facts {
            match kernel.network.get() {
                Ok(NetworkView::Pod) => in_pod.push(kernel.node.clone()),
                Ok(NetworkView::Host) => {}
                Err(why) => open = Some(why),
            }
        }
        let strangers: Vec<String> = cluster
            .facts
            .node_facts
            .iter()
            .map(|kernel| kernel.node.clone())
            .filter(|name| !nodes.iter().any(|node| node.name == *name))
            .collect();
        let mut found = Vec::new();
        if !in_pod.is_empty() {
            found.push(format!("in a pod's network on {}", some_of(&in_pod)));
        }
        if !strangers.is_empty() {
            found.push(format!("no node is called {}", some_of(&strangers)));
        }
        if found.is_empty() {
            return match open {
                Some(why) => Err(why.into()),
                None => Ok(Outcome::holds().found("agents on the host network")),
            };
        }
        in_pod.extend(strangers);
        Ok(Outcome::broken()
            .expected("agents on the host network of nodes that the API has")
            .found(found.join("; "))
            .remedy("run the agents with hostNetwork: true and give each its node's name")
            .nodes(in_pod))
    })
}

declare_check! {
    /// ## What it checks
    /// Machines that run clusters of kind allow 512 inotify instances and 524288 watches for each user.
    ///
    /// ## Why it matters
    /// All nodes of all clusters on that machine share these limits. Several clusters exceed the usual 128 instances: pods fail with "too many open files".
    ///
    /// ## How it is determined
    /// `fs.inotify.max_user_instances` and `fs.inotify.max_user_watches`, where nodes are kind's.
    ///
    /// ## How to fix
    /// `fs.inotify.max_user_instances=512` and `fs.inotify.max_user_watches=524288` on the machine.
    ///
    /// ## References
    /// kind documentation, known issues, pod errors due to too many open files.
    pub static INOTIFY = {
        code: "NET405",
        slug: "kind-inotify-limits",
        title: "The machine below kind allows too few inotify instances",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "pods of several clusters fail with too many open files",
        rules: ["submariner KIND-10"],
        run: Cluster(inotify),
    };
}

fn inotify(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const LIMITS: [(&str, u64); 2] = [
        ("fs.inotify.max_user_instances", 512),
        ("fs.inotify.max_user_watches", 524_288),
    ];
    asked(audit, cluster, || {
        let all = nodes(cluster)?;
        if !cluster.is_kind() {
            return Err(NoVerdict::does_not_apply("not a cluster of kind"));
        }
        let advice = (
            "512 inotify instances and 524288 watches",
            "set fs.inotify.max_user_instances=512 and fs.inotify.max_user_watches=524288 on the machine",
        );
        judge(audit, cluster, all, advice, |on| {
            let mut faults = Vec::new();
            for (setting, least) in LIMITS {
                let value = on.number(setting)?;
                if value < least {
                    faults.push(format!("{setting}={value}"));
                }
            }
            Ok(Seen::faults(faults, "enough").evidence_all(LIMITS.map(|(setting, _)| on.sysctl_evidence(setting))))
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::kernel::NetworkView;
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{cluster, findings, kernel_mut, report, set_sysctl, value_mut, with_agents};

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    fn east() -> ClusterFacts {
        with_agents(cluster("east", 1))
    }

    #[test]
    fn a_clock_that_nothing_keeps_warns() {
        assert_eq!(alone(&east(), "NET401").verdict, Verdict::Pass);
        let mut free = east();
        value_mut(&mut kernel_mut(&mut free, "east-n2").clock).synchronised = false;
        let found = alone(&free, "NET401");
        assert_eq!(
            (found.verdict, found.subject.nodes),
            (Verdict::Warn, vec!["east-n2".to_owned()])
        );
        let mut vague = east();
        value_mut(&mut kernel_mut(&mut vague, "east-n1").clock).max_error_micros = 61_000_000;
        assert_eq!(
            alone(&vague, "NET401").found,
            "the clock may be off by a minute and more on east-n1"
        );
        kernel_mut(&mut vague, "east-n1").clock = Fact::unknown(Reason::Forbidden, "adjtimex: not permitted");
        assert_eq!(alone(&vague, "NET401").reason, "forbidden");
        assert_eq!(alone(&cluster("east", 1), "NET401").reason, "not asked");
    }

    #[test]
    fn a_connection_table_above_70_percent_warns() {
        assert_eq!(alone(&east(), "NET402").verdict, Verdict::Pass);
        let mut full = east();
        set_sysctl(
            kernel_mut(&mut full, "east-n1"),
            "net.netfilter.nf_conntrack_count",
            "190000",
        );
        assert_eq!(alone(&full, "NET402").found, "72 % in use on east-n1");
        let mut of_kind = full.clone();
        "kind://docker/east/east-n1".clone_into(&mut value_mut(&mut of_kind.nodes)[0].provider_id);
        assert!(
            alone(&of_kind, "NET402")
                .remedy
                .contains("on the machine that kind runs on")
        );
        set_sysctl(
            kernel_mut(&mut full, "east-n1"),
            "net.netfilter.nf_conntrack_max",
            "many",
        );
        assert_eq!(alone(&full, "NET402").reason, "unparsable");
        for kernel in &mut full.node_facts {
            value_mut(&mut kernel.sysctls).retain(|name, _| !name.contains("conntrack"));
        }
        assert_eq!(alone(&full, "NET402").verdict, Verdict::Skip);
    }

    #[test]
    fn ipv6_switched_off_under_ipv6_pods_fails() {
        assert_eq!(alone(&east(), "NET403").verdict, Verdict::Skip);
        let mut dual = east();
        value_mut(&mut dual.service_cidrs).push("fd00:10::/112".parse().expect("a block"));
        assert_eq!(alone(&dual, "NET403").verdict, Verdict::Pass);
        set_sysctl(kernel_mut(&mut dual, "east-n1"), "net.ipv6.conf.all.disable_ipv6", "1");
        assert_eq!(alone(&dual, "NET403").verdict, Verdict::Fail);
        value_mut(&mut kernel_mut(&mut dual, "east-n1").sysctls).remove("net.ipv6.conf.all.disable_ipv6");
        assert_eq!(alone(&dual, "NET403").found, "the kernel has no IPv6 on east-n1");
        kernel_mut(&mut dual, "east-n1").sysctls = Fact::unknown(Reason::Forbidden, "read /proc/sys: not permitted");
        assert_eq!(alone(&dual, "NET403").verdict, Verdict::Unknown);
    }

    #[test]
    fn agents_belong_on_the_host_network_of_known_nodes() {
        assert_eq!(alone(&east(), "NET404").verdict, Verdict::Pass);
        assert_eq!(alone(&cluster("east", 1), "NET404").verdict, Verdict::Skip);
        let mut facts = east();
        kernel_mut(&mut facts, "east-n2").network = Fact::known(NetworkView::Pod, Source::read("node", ""));
        assert_eq!(alone(&facts, "NET404").found, "in a pod's network on east-n2");
        "other".clone_into(&mut facts.node_facts[0].node);
        assert_eq!(
            alone(&facts, "NET404").found,
            "in a pod's network on east-n2; no node is called other"
        );
        let mut open = east();
        kernel_mut(&mut open, "east-n2").network =
            Fact::unknown(Reason::Forbidden, "read /proc/1/ns/net: not permitted");
        assert_eq!(alone(&open, "NET404").verdict, Verdict::Unknown);
    }

    #[test]
    fn limits_of_the_machine_below_kind() {
        assert_eq!(alone(&east(), "NET405").verdict, Verdict::Skip);
        let mut kind = east();
        for node in value_mut(&mut kind.nodes) {
            "kind://docker/east/n".clone_into(&mut node.provider_id);
        }
        assert_eq!(alone(&kind, "NET405").verdict, Verdict::Pass);
        set_sysctl(kernel_mut(&mut kind, "east-n1"), "fs.inotify.max_user_instances", "128");
        assert_eq!(
            alone(&kind, "NET405").found,
            "fs.inotify.max_user_instances=128 on east-n1"
        );
        kernel_mut(&mut kind, "east-n1").sysctls = Fact::unknown(Reason::Forbidden, "read /proc/sys: not permitted");
        assert_eq!(alone(&kind, "NET405").verdict, Verdict::Unknown);
    }
}
