//! Counters of the network namespace since it began.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Reason, Unknown};

use crate::node::tree::Tree;

type Counters = BTreeMap<String, u64>;
type Format = fn(&str) -> Option<Counters>;

/// All counters by name: `Udp.NoPorts`, `TcpExt.IPReversePathFilter`, `Udp6.NoPorts`, `Xfrm.InNoStates`, `Conntrack.invalid`.
pub(super) fn read(tree: &Tree) -> Result<Counters, Unknown> {
    let parse = |path: &str, format: Format| {
        let text = tree.text(path)?;
        format(&text).ok_or_else(|| Unknown::new(Reason::Unparsable, format!("{path} makes no sense")))
    };
    let mut counters = parse("/proc/net/snmp", pairs_of_lines)?;
    // A kernel may be built without each of these.
    let others: [(&str, Format); 4] = [
        ("/proc/net/netstat", pairs_of_lines),
        ("/proc/net/snmp6", ipv6),
        ("/proc/net/xfrm_stat", xfrm),
        ("/proc/net/stat/nf_conntrack", conntrack),
    ];
    for (path, format) in others {
        match parse(path, format) {
            Err(unknown) if unknown.reason == Reason::NotFound => {}
            parsed => counters.extend(parsed?),
        }
    }
    Ok(counters)
}

/// Names in one line, values in the next, both begun by the same word. What may be negative is a setting, and left out.
fn pairs_of_lines(text: &str) -> Option<Counters> {
    let mut counters = Counters::new();
    let mut lines = text.lines();
    while let Some(names) = lines.next() {
        let (group, names) = names.split_once(':')?;
        let (same, values) = lines.next()?.split_once(':')?;
        let (names, values): (Vec<&str>, Vec<&str>) = (
            names.split_ascii_whitespace().collect(),
            values.split_ascii_whitespace().collect(),
        );
        if group != same || names.len() != values.len() {
            return None;
        }
        for (name, value) in names.into_iter().zip(values) {
            if !value.starts_with('-') {
                counters.insert(format!("{group}.{name}"), value.parse().ok()?);
            }
        }
    }
    Some(counters)
}

/// One counter in each line, the group at the front of its name.
fn ipv6(text: &str) -> Option<Counters> {
    lines(text, |name| {
        let group = ["UdpLite6", "Icmp6", "Udp6", "Ip6"]
            .into_iter()
            .find(|group| name.starts_with(group))?;
        Some(format!("{group}.{}", &name[group.len()..]))
    })
}

fn xfrm(text: &str) -> Option<Counters> {
    lines(text, |name| Some(format!("Xfrm.{}", name.strip_prefix("Xfrm")?)))
}

/// A name and a value in each line; a name that is of no known group is kept as it is.
fn lines(text: &str, rename: fn(&str) -> Option<String>) -> Option<Counters> {
    let counter = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (name, value) = (words.next()?, words.next()?.parse().ok()?);
        Some((rename(name).unwrap_or_else(|| name.to_owned()), value))
    };
    text.lines().map(counter).collect()
}

/// Names in the first line, then a line of hexadecimal numbers for each processor; all but the number of entries are to be added up.
fn conntrack(text: &str) -> Option<Counters> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_ascii_whitespace().collect();
    let mut counters = Counters::new();
    for line in lines {
        let values: Vec<&str> = line.split_ascii_whitespace().collect();
        if values.len() != names.len() {
            return None;
        }
        for (name, value) in names.iter().zip(values) {
            let value = u64::from_str_radix(value, 16).ok()?;
            let sum = counters.entry(format!("Conntrack.{name}")).or_default();
            *sum = if *name == "entries" {
                value
            } else {
                sum.saturating_add(value)
            };
        }
    }
    Some(counters)
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(text: &str) {
    let _ = (pairs_of_lines(text), ipv6(text), xfrm(text), conntrack(text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_stand_in_pairs_of_lines() {
        let text = "Tcp: RtoAlgorithm MaxConn ActiveOpens\nTcp: 1 -1 227\nUdp: InDatagrams NoPorts\nUdp: 12 3\n";
        let expected = [
            ("Tcp.ActiveOpens", 227),
            ("Tcp.RtoAlgorithm", 1),
            ("Udp.InDatagrams", 12),
            ("Udp.NoPorts", 3),
        ];
        assert_eq!(
            pairs_of_lines(text),
            Some(expected.map(|(name, value)| (name.to_owned(), value)).into())
        );
    }

    #[test]
    fn values_that_are_not_as_many_as_names_make_no_sense() {
        for text in [
            "Udp: A B\nUdp: 1\n",
            "Udp: A\n",
            "Udp: A\nTcp: 1\n",
            "x",
            "Udp: A\nUdp: x\n",
        ] {
            assert_eq!(pairs_of_lines(text), None, "{text}");
        }
    }

    #[test]
    fn counters_of_ipv6_and_of_ipsec_get_their_group() {
        let counters =
            ipv6("Ip6InReceives                   \t1294\nUdp6NoPorts   \t7\nUdpLite6InErrors 0\n").expect("parsed");
        assert_eq!(
            (
                counters["Ip6.InReceives"],
                counters["Udp6.NoPorts"],
                counters["UdpLite6.InErrors"]
            ),
            (1294, 7, 0)
        );
        assert_eq!(
            xfrm("XfrmInNoStates          \t5\n").expect("parsed")["Xfrm.InNoStates"],
            5
        );
    }

    #[test]
    fn connection_tracking_is_added_up_over_processors() {
        let counters = conntrack("entries  clashres found invalid\n00000010 00000000 00000001 0000000a\n00000010 00000000 00000000 00000001\n").expect("parsed");
        assert_eq!((counters["Conntrack.entries"], counters["Conntrack.invalid"]), (16, 11));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC{0,20}[:\n ]){0,10}") {
            let _ = (pairs_of_lines(&text), ipv6(&text), xfrm(&text), conntrack(&text));
        }
    }
}
