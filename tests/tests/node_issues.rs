//! What users of ClusterMesh and Submariner ran into on the nodes themselves: kernels as agents would have read them, and the findings that would have told.
//!
//! Named after issues as in `clustermesh_issues.rs` and `submariner_issues.rs`; `kubernetes` is terraform-hcloud-kubernetes, `h` is submariner-charts. Every
//! scenario starts from nodes without a complaint, so that the list of complaints is what the fault alone gives.
#![expect(clippy::unwrap_used, reason = "tests")]

use prejoin_checks::engine::judge;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::{FilterChain, Link, LinkAddress, NodeFacts, Presence};
use prejoin_checks::intent::{Intent, SubmarinerPlan};
use prejoin_checks::profile::Profile::{self, Clustermesh, Submariner};
use prejoin_checks::report::Report;
use prejoin_checks::samples::{
    self, cilium, cilium_mut, complaints, findings, flannel, kernel_mut, link_mut, set_cilium_key, set_feature,
    set_sysctl, submariner, value_mut, with_agents,
};

fn report(profile: Profile, facts: &[ClusterFacts]) -> Report {
    samples::report(profile, facts)
}

/// What is complained of that the API alone does not show.
fn complaints_of_nodes(profile: Profile, facts: &[ClusterFacts]) -> Vec<String> {
    let mut without = facts.to_vec();
    without.iter_mut().for_each(|facts| facts.node_facts.clear());
    let known = complaints(&report(profile, &without));
    let all = complaints(&report(profile, facts)).into_iter();
    all.filter(|complaint| !known.contains(complaint)).collect()
}

fn found(report: &Report, code: &str) -> String {
    let finding = findings(report, code).into_iter().find(|finding| finding.counts());
    finding.unwrap().found.clone()
}

/// Two clusters with Cilium of this version and these keys, and agents on all nodes.
fn meshed(version: &str, keys: &[(&str, &str)]) -> [ClusterFacts; 2] {
    [("east", 1), ("west", 2)].map(|(name, number)| {
        let mut facts = cilium(name, number);
        for (key, value) in keys {
            set_cilium_key(&mut facts, key, Some(value));
        }
        let cilium = cilium_mut(&mut facts);
        for component in value_mut(&mut cilium.versions).values_mut() {
            version.clone_into(component);
        }
        *value_mut(&mut cilium.agent_pods) = [(version.to_owned(), 2)].into();
        with_agents(facts)
    })
}

fn on_all_nodes(facts: &mut [ClusterFacts], change: impl Fn(&mut NodeFacts)) {
    facts
        .iter_mut()
        .flat_map(|facts| &mut facts.node_facts)
        .for_each(change);
}

/// Gives Cilium's routes to pods of other nodes this MTU.
fn set_route_mtu(kernel: &mut NodeFacts, mtu: u32) {
    for route in value_mut(&mut kernel.routes)
        .iter_mut()
        .filter(|route| route.link == "cilium_host")
    {
        route.mtu = Some(mtu);
    }
}

/// Members of one clusterset, with agents on all nodes.
fn joined() -> Vec<ClusterFacts> {
    submariner(&[("east", 1), ("west", 2)])
        .into_iter()
        .map(with_agents)
        .collect()
}

fn planned(facts: &[ClusterFacts], plan: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    plan(&mut intent.submariner);
    judge(facts, &intent, &samples::policy(Submariner))
}

#[test]
fn healthy_nodes_give_no_cause_for_complaint() {
    assert_eq!(complaints_of_nodes(Clustermesh, &meshed("1.20.0", &[])), [""; 0]);
    assert_eq!(complaints(&report(Submariner, &joined())), [""; 0]);
    let ready = [with_agents(flannel("east", 1)), with_agents(flannel("west", 2))];
    assert_eq!(complaints(&report(Submariner, &ready)), [""; 0]);
}

/// WireGuard's padding was not counted: pods were given 80 bytes less than the card, 95 are needed.
#[test]
fn issue_23917_45940_wireguards_padding_is_not_counted() {
    let with = |version, routes| {
        let mut facts = meshed(version, &[("enable-wireguard", "true")]);
        on_all_nodes(&mut facts, |kernel| set_route_mtu(kernel, routes));
        report(Clustermesh, &facts)
    };
    let old = with("1.19.4", 1370);
    assert!(found(&old, "CM352").starts_with("WireGuard is given 80 bytes, 95 are needed"));
    let new = with("1.19.5", 1355);
    assert!(findings(&new, "CM352").iter().all(|finding| !finding.counts()));
}

/// Traffic of the nodes themselves was encrypted, and still sized by the card.
#[test]
fn issue_37919_47176_46100_node_traffic_is_sized_by_the_card() {
    let mut facts = meshed("1.20.0", &[("enable-wireguard", "true"), ("encrypt-node", "true")]);
    on_all_nodes(&mut facts, |kernel| set_route_mtu(kernel, 1355));
    let before = report(Clustermesh, &facts);
    assert!(found(&before, "CM353").starts_with("packets of 1500 bytes over eth0 of 1500"));
    on_all_nodes(&mut facts, |kernel| {
        for route in value_mut(&mut kernel.routes)
            .iter_mut()
            .filter(|route| route.link == "eth0")
        {
            route.mtu = Some(1355);
        }
    });
    let after = report(Clustermesh, &facts);
    assert!(findings(&after, "CM353").iter().all(|finding| !finding.counts()));
}

/// A public card of 1500 bytes, and a private one of 1450 that carries the traffic between nodes.
#[test]
fn kubernetes_450_a_private_card_smaller_than_the_public_one() {
    let mut facts = meshed("1.20.0", &[]);
    on_all_nodes(&mut facts, |kernel| link_mut(kernel, "eth0").mtu = 1450);
    let report = report(Clustermesh, &facts);
    assert!(found(&report, "CM351").starts_with("base MTU 1500, but eth0 takes 1450"));
    assert!(complaints(&report).contains(&"CM351 warn".to_owned()));
}

/// The host's route to the other cluster has an MTU of its own, of which pods are not told.
#[test]
fn issue_41478_the_mtu_of_a_route_does_not_reach_pods() {
    let mut facts = meshed("1.20.0", &[]);
    on_all_nodes(&mut facts[..1], |kernel| {
        let mut route = kernel.routes.get().unwrap()[0].clone();
        "172.31.2.0/24".clone_into(&mut route.destination);
        route.mtu = Some(1400);
        value_mut(&mut kernel.routes).push(route);
    });
    assert_eq!(complaints_of_nodes(Clustermesh, &facts), ["CM356 warn"]);
}

/// Forwarded packets are dropped by default: pods beside the gateway work, all others do not.
#[test]
fn s_2121_a_forward_policy_that_drops() {
    let mut facts = joined();
    on_all_nodes(&mut facts[..1], |kernel| {
        let forward = &mut value_mut(&mut kernel.packet_filter).chains[0];
        forward.drops_by_default = true;
        forward.rules = 0;
    });
    let report = report(Submariner, &facts);
    assert_eq!(complaints(&report), ["SM320 fail"]);
    assert_eq!(
        found(&report, "SM320"),
        "ip filter FORWARD drops everything on east-n1, east-n2"
    );
}

/// Names resolve, hosts do not answer: the host's firewall forwards by zones.
#[test]
fn s_3204_a_firewall_of_the_host() {
    let mut facts = joined();
    on_all_nodes(&mut facts[..1], |kernel| {
        value_mut(&mut kernel.packet_filter).chains.push(FilterChain {
            family: "inet".to_owned(),
            table: "firewalld".to_owned(),
            chain: "filter_FORWARD".to_owned(),
            hook: "forward".to_owned(),
            drops_by_default: false,
            rules: 8,
        });
    });
    assert_eq!(complaints(&report(Submariner, &facts)), ["SM320 warn"]);
}

/// Something sets the filter of new links to strict right after the route agent set it to loose.
#[test]
fn s_2422_2005_the_filter_of_the_device_is_strict_again() {
    let mut facts = joined();
    set_sysctl(
        kernel_mut(&mut facts[0], "east-n2"),
        "net.ipv4.conf.vx-submariner.rp_filter",
        "1",
    );
    let report = report(Submariner, &facts);
    assert_eq!(complaints(&report), ["SM922 fail"]);
    assert_eq!(found(&report, "SM922"), "strict on vx-submariner on east-n2");
}

/// A strict filter on the gateway's uplink drops what comes back.
#[test]
fn s_4099_a_strict_filter_on_the_uplink() {
    let mut facts = joined();
    set_sysctl(
        kernel_mut(&mut facts[0], "east-n2"),
        "net.ipv4.conf.eth0.rp_filter",
        "1",
    );
    assert_eq!(complaints(&report(Submariner, &facts)), ["SM471 warn"]);
}

/// Takes every address in the pod range off the hosts: the plugin only routes to pods.
fn without_pod_addresses(facts: &mut [ClusterFacts]) {
    on_all_nodes(facts, |kernel| {
        let is_pods = |address: &LinkAddress| address.ip.to_string().starts_with("10.");
        for link in value_mut(&mut kernel.links) {
            link.addresses.retain(|address| !is_pods(address));
        }
    });
}

/// The gateway finds no link of the network plugin.
#[test]
fn s_1892_no_address_of_the_plugin_on_the_gateway() {
    let mut facts = joined();
    without_pod_addresses(&mut facts[..1]);
    assert_eq!(complaints(&report(Submariner, &facts)), ["SM321 fail"]);
}

/// Kubenet of AKS gives the host no address in the pod range: the gateway asks for health checks to be off.
#[test]
fn h_171_kubenet_needs_health_checks_off() {
    let mut facts = [with_agents(flannel("east", 1)), with_agents(flannel("west", 2))];
    without_pod_addresses(&mut facts[..1]);
    let on = planned(&facts, |_| ());
    assert_eq!(complaints(&on), ["SM321 fail"]);
    assert!(
        findings(&on, "SM321")
            .iter()
            .any(|finding| finding.remedy.contains("--health-check=false"))
    );
    let off = planned(&facts, |plan| plan.health_check = Some(false));
    assert!(!complaints(&off).contains(&"SM321 fail".to_owned()));
}

/// Nodes of kind, on a machine whose kernel has no WireGuard.
#[test]
fn s_1281_wireguard_is_absent_below_kind() {
    let mut facts = [with_agents(flannel("east", 1)), with_agents(flannel("west", 2))];
    for facts in &mut facts {
        for node in value_mut(&mut facts.nodes) {
            node.provider_id = format!("kind://docker/{}/{}", facts.name, node.name);
        }
    }
    on_all_nodes(&mut facts, |kernel| set_feature(kernel, "wireguard", Presence::Absent));
    let report = planned(&facts, |plan| plan.cable_driver = Some("wireguard".to_owned()));
    assert!(complaints(&report).contains(&"SM446 fail".to_owned()));
    assert_eq!(found(&report, "SM446"), "no wireguard on east-n2");
    let remedy = &findings(&report, "SM446")[0].remedy;
    assert!(remedy.contains("on the machine that the kind nodes run on"), "{remedy}");
}

/// A card that makes checksums of packets inside VXLAN wrong.
#[test]
fn s_2875_a_card_spoils_what_is_inside_vxlan() {
    let mut facts = joined();
    let kernel = kernel_mut(&mut facts[0], "east-n2");
    value_mut(&mut kernel.counters).insert("Udp.InCsumErrors".to_owned(), 40_000);
    assert_eq!(complaints(&report(Submariner, &facts)), ["SM466 warn"]);
}

/// What healthy nodes look like elsewhere: none of it is a fault.
#[test]
fn unlike_nodes_that_are_healthy() {
    let mut facts = joined();
    on_all_nodes(&mut facts, |kernel| {
        // A bond of two cards under a VLAN, Docker beside, the address of a virtual router on loopback.
        for name in ["eth0", "docker0", "nodelocaldns"] {
            set_sysctl(kernel, &format!("net.ipv4.conf.{name}.rp_filter"), "2");
        }
        let made = |name: &str, kind: &str, ip: [u8; 4]| Link {
            index: 90,
            name: name.to_owned(),
            kind: kind.to_owned(),
            mtu: 1500,
            addresses: vec![LinkAddress {
                ip: ip.into(),
                prefix_len: 16,
                scope: "global".to_owned(),
                secondary: false,
            }],
            ..Link::default()
        };
        let links = value_mut(&mut kernel.links);
        links.push(made("docker0", "bridge", [172, 17, 0, 1]));
        links.push(made("nodelocaldns", "dummy", [169, 254, 20, 10]));
        set_sysctl(kernel, "net.ipv4.conf.all.send_redirects", "0");
        set_sysctl(kernel, "net.ipv4.conf.eth0.send_redirects", "1");
    });
    assert_eq!(complaints(&report(Submariner, &facts)), [""; 0]);
}
