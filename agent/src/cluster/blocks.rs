//! Many addresses as few blocks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prejoin_checks::facts::kubernetes::ObservedBlock;

/// Addresses by block of 256.
#[derive(Debug, Default)]
pub(crate) struct Blocks(BTreeMap<IpAddr, ObservedBlock>);

impl Blocks {
    /// Counts an address; `owner` names who has it, as `namespace/name`.
    pub(crate) fn add(&mut self, address: IpAddr, owner: &str) {
        let block = self.0.entry(first_of_block(address)).or_insert_with(|| ObservedBlock {
            count: 0,
            first: address,
            last: address,
            example: owner.to_owned(),
        });
        block.count += 1;
        block.last = block.last.max(address);
        // The example is the owner of the smallest address, whatever the order they come in.
        if address < block.first {
            block.first = address;
            owner.clone_into(&mut block.example);
        }
    }

    /// The blocks in the order of their addresses.
    pub(crate) fn into_vec(self) -> Vec<ObservedBlock> {
        self.0.into_values().collect()
    }
}

impl<'a> FromIterator<(IpAddr, &'a str)> for Blocks {
    fn from_iter<I: IntoIterator<Item = (IpAddr, &'a str)>>(addresses: I) -> Self {
        let mut blocks = Self::default();
        for (address, owner) in addresses {
            blocks.add(address, owner);
        }
        blocks
    }
}

fn first_of_block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xff).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0xff).into(),
    }
}

/// An address and who has it, as `namespace/name`.
pub(crate) type Owned = (IpAddr, Box<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_block_are_counted_together() {
        let mut blocks = Blocks::default();
        for (address, owner) in [
            ("10.0.1.9", "b"),
            ("10.0.1.200", "c"),
            ("10.0.1.3", "a"),
            ("10.0.2.0", "d"),
            ("fd00::1:ff", "f"),
            ("fd00::1:100", "g"),
        ] {
            blocks.add(address.parse().unwrap(), owner);
        }
        let seen: Vec<_> = blocks
            .into_vec()
            .into_iter()
            .map(|block| {
                (
                    block.count,
                    block.first.to_string(),
                    block.last.to_string(),
                    block.example,
                )
            })
            .collect();
        let expected = [
            (3, "10.0.1.3", "10.0.1.200", "a"),
            (1, "10.0.2.0", "10.0.2.0", "d"),
            (1, "fd00::1:ff", "fd00::1:ff", "f"),
            (1, "fd00::1:100", "fd00::1:100", "g"),
        ]
        .map(|(n, first, last, owner)| (n, first.to_owned(), last.to_owned(), owner.to_owned()));
        assert_eq!(seen, expected);
    }
}
