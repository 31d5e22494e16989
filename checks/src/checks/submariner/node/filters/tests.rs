use super::super::support::{alone, joined, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::kernel::{FilterChain, PacketFilter, XfrmPolicy};
use crate::report::Verdict;
use crate::samples::{kernel_mut, submariner_config_mut, value_mut};

fn with_filter(change: impl Fn(&mut PacketFilter)) -> ClusterFacts {
    let mut facts = ready();
    change(value_mut(&mut kernel_mut(&mut facts, "east-n1").packet_filter));
    facts
}

fn blind() -> ClusterFacts {
    refused(ready(), |kernel| &mut kernel.packet_filter)
}

#[test]
fn rules_in_both_back_ends() {
    assert_eq!(verdict(&ready(), "SM022"), Verdict::Pass);
    let mixed = with_filter(|filter| filter.legacy_tables.push("ip nat".to_owned()));
    assert_eq!(
        alone(&mixed, "SM022").found,
        "legacy tables ip nat beside nf_tables on east-n1"
    );
    let legacy = with_filter(|filter| {
        filter.chains.clear();
        filter.legacy_tables.push("ip nat".to_owned());
    });
    assert_eq!(verdict(&legacy, "SM022"), Verdict::Pass);
    assert_eq!(verdict(&blind(), "SM022"), Verdict::Unknown);
}

#[test]
fn a_forward_chain_that_drops() {
    assert_eq!(verdict(&ready(), "SM320"), Verdict::Pass);
    let drops = |rules| {
        with_filter(move |filter| {
            filter.chains[0].drops_by_default = true;
            filter.chains[0].rules = rules;
        })
    };
    assert_eq!(
        alone(&drops(0), "SM320").found,
        "ip filter FORWARD drops everything on east-n1"
    );
    assert_eq!(verdict(&drops(0), "SM320"), Verdict::Fail);
    assert_eq!(verdict(&drops(5), "SM320"), Verdict::Warn);
    assert_eq!(verdict(&blind(), "SM320"), Verdict::Unknown);
    // Chains of pods' own direction are nobody's concern here.
    let input = with_filter(|filter| {
        filter.chains[0].hook = "input".to_owned();
        filter.chains[0].drops_by_default = true;
    });
    assert_eq!(verdict(&input, "SM320"), Verdict::Pass);
}

#[test]
fn what_cannot_be_read_of_legacy_and_firewalld() {
    let legacy = with_filter(|filter| filter.legacy_tables.push("ip filter".to_owned()));
    assert_eq!(verdict(&legacy, "SM320"), Verdict::Unknown);
    let firewalld = with_filter(|filter| {
        filter.chains.push(FilterChain {
            family: "inet".to_owned(),
            table: "firewalld".to_owned(),
            chain: "filter_FORWARD".to_owned(),
            hook: "forward".to_owned(),
            drops_by_default: false,
            rules: 9,
        });
    });
    assert_eq!(verdict(&firewalld, "SM320"), Verdict::Warn);
}

#[test]
fn ipsec_policies_of_others() {
    assert_eq!(verdict(&ready(), "SM475"), Verdict::Pass);
    let with_policy = |mut facts: ClusterFacts, source: &str| {
        value_mut(&mut kernel_mut(&mut facts, "east-n2").xfrm_policies).push(XfrmPolicy {
            direction: "out".to_owned(),
            source: source.to_owned(),
            destination: "0.0.0.0/0".to_owned(),
        });
        facts
    };
    assert_eq!(verdict(&with_policy(ready(), "10.9.0.0/16"), "SM475"), Verdict::Warn);
    assert_eq!(verdict(&with_policy(ready(), "0.0.0.0/0"), "SM475"), Verdict::Pass);
    let mut member = with_policy(joined(), "10.9.0.0/16");
    assert_eq!(verdict(&member, "SM475"), Verdict::Skip);
    submariner_config_mut(&mut member).cable_driver = "wireguard".to_owned();
    assert_eq!(verdict(&member, "SM475"), Verdict::Warn);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.xfrm_policies), "SM475"),
        Verdict::Unknown
    );
}
