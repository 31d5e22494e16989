use super::super::support::{alone, joined, planned, ready, refused, verdict};
use crate::facts::provenance::Fact;
use crate::report::Verdict;
use crate::samples::{kernel_mut, link_mut, value_mut};

#[test]
fn a_gateway_without_an_address_in_the_pod_range() {
    assert_eq!(alone(&ready(), "SM321").found, "flannel.1 on east-n2");
    let mut bare = ready();
    value_mut(&mut kernel_mut(&mut bare, "east-n2").links).retain(|link| link.name == "eth0");
    assert_eq!(verdict(&bare, "SM321"), Verdict::Fail);
    assert_eq!(
        planned(&bare, "SM321", |plan| plan.health_check = Some(false)).verdict,
        Verdict::Warn
    );
    assert_eq!(
        planned(&bare, "SM321", |plan| plan.globalnet = Some(true)).verdict,
        Verdict::Warn
    );
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.links), "SM321"),
        Verdict::Unknown
    );
}

#[test]
fn shared_macs_are_recorded() {
    assert_eq!(alone(&joined(), "SM322").found, "one of its own on east-n1, east-n2");
    let mut shared = joined();
    for node in ["east-n1", "east-n2"] {
        link_mut(kernel_mut(&mut shared, node), "vx-submariner").mac = "02:00:00:00:00:01".to_owned();
    }
    let found = alone(&shared, "SM322");
    assert_eq!(
        (found.verdict, found.found.contains("more than once")),
        (Verdict::Pass, true)
    );
    assert_eq!(verdict(&ready(), "SM322"), Verdict::Skip);
    assert_eq!(
        verdict(&refused(joined(), |kernel| &mut kernel.links), "SM322"),
        Verdict::Unknown
    );
}

#[test]
fn host_names_differ() {
    assert_eq!(verdict(&ready(), "SM444"), Verdict::Pass);
    let rename = |names: [&str; 2]| {
        let mut facts = ready();
        for (kernel, name) in facts.node_facts.iter_mut().zip(names) {
            let Fact::Known(known) = &mut kernel.host_name else {
                unreachable!("a healthy node")
            };
            name.clone_into(&mut known.value);
        }
        facts
    };
    let same = alone(&rename(["localhost", "localhost"]), "SM444");
    assert_eq!(
        (same.verdict, same.found.as_str()),
        (Verdict::Fail, "host name localhost on east-n1, east-n2")
    );
    let odd = rename(["east-n1", "East_2"]);
    assert_eq!(verdict(&odd, "SM444"), Verdict::Pass);
    assert_eq!(
        planned(&odd, "SM444", |plan| plan.globalnet = Some(true)).verdict,
        Verdict::Fail
    );
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.host_name), "SM444"),
        Verdict::Unknown
    );
}

#[test]
fn names_of_objects() {
    assert!(super::can_name_an_object("ip-10-0-0-1.eu-central-1.compute.internal"));
    for name in ["East", "a_b", "-a", "a-", "", "a..b"] {
        assert!(!super::can_name_an_object(name), "{name}");
    }
}
