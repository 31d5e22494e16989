//! Policy routing rules.

use prejoin_checks::facts::kernel::Rule;
use prejoin_checks::facts::provenance::Unknown;

use crate::node::netlink::{Netlink, address, attributes, number};
use crate::node::routes::{AF_INET, AF_INET6};

const RTM_GETRULE: u16 = 34;
/// `struct fib_rule_hdr`: family, lengths of destination and source, TOS, table, two reserved, action, flags.
const HEADER_BYTES: usize = 12;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;

/// The rules of both families, each in the kernel's order.
pub(super) fn read(netlink: &mut Netlink) -> Result<Vec<Rule>, Unknown> {
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let what = if family == AF_INET {
            "list IPv4 rules"
        } else {
            "list IPv6 rules"
        };
        let mut header = [0; HEADER_BYTES];
        header[0] = family;
        let dump = netlink.dump(what, RTM_GETRULE, &header, |rules: &mut Vec<Rule>, message| {
            rules.extend(rule(message).filter(|_| message.first() == Some(&family)));
        });
        match dump {
            Err(refusal) if family == AF_INET6 && refusal.is_unsupported() => {}
            dump => all.extend(dump.map_err(|refusal| refusal.into_unknown(what))?.whole(what)?),
        }
    }
    Ok(all)
}

/// The rule in an `RTM_NEWRULE` message. One that leads to no table (`unreachable`, `goto`) has table 0.
fn rule(message: &[u8]) -> Option<Rule> {
    let &[family, to_len, from_len, _, table, ..] = message else {
        return None;
    };
    let mut rule = Rule {
        table: table.into(),
        ipv6: family == AF_INET6,
        ..Rule::default()
    };
    for (kind, value) in attributes(message.get(..HEADER_BYTES).map(|_| message)?, HEADER_BYTES) {
        match kind {
            FRA_TABLE => rule.table = number(value, 0)?,
            FRA_PRIORITY => rule.priority = number(value, 0)?,
            FRA_FWMARK => rule.mark = number(value, 0).filter(|mark| *mark != 0),
            FRA_DST => rule.to = prefix(value, to_len),
            FRA_SRC => rule.from = prefix(value, from_len),
            _ => {}
        }
    }
    Some(rule)
}

fn prefix(value: &[u8], length: u8) -> String {
    address(value).map(|ip| format!("{ip}/{length}")).unwrap_or_default()
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(message: &[u8]) {
    let _ = rule(message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::netlink::attribute;

    #[test]
    fn a_rule_by_mark_and_destination() {
        let header = vec![AF_INET, 16, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let parts = [
            attribute(FRA_DST, &[10, 2, 0, 0]),
            attribute(FRA_PRIORITY, &150_u32.to_ne_bytes()),
            attribute(FRA_FWMARK, &0xc_0000_u32.to_ne_bytes()),
            attribute(FRA_TABLE, &2004_u32.to_ne_bytes()),
        ];
        let expected = Rule {
            priority: 150,
            table: 2004,
            to: "10.2.0.0/16".to_owned(),
            mark: Some(0xc_0000),
            ..Rule::default()
        };
        assert_eq!(rule(&[header, parts.concat()].concat()), Some(expected));
    }

    #[test]
    fn the_first_rule_of_ipv6() {
        let message = [AF_INET6, 0, 0, 0, 255, 0, 0, 1, 0, 0, 0, 0];
        let expected = Rule {
            table: 255,
            ipv6: true,
            ..Rule::default()
        };
        assert_eq!(rule(&message), Some(expected));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = rule(&bytes);
        }
    }
}
