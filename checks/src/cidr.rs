//! [`Cidr`]: one block of addresses, always canonical.
//!
//! Blocks are *laminar*: two of them are nested, equal or disjoint, never half across each other. All arithmetic
//! here rests on that. Blocks of different families never overlap; an IPv4-mapped IPv6 block
//! (`::ffff:10.0.0.0/104`) stays an IPv6 block, and [`Cidr::ipv4_mapped`] says what it stands for.
//!
//! Operations on sets of blocks (aggregate, difference, what is uncovered, what is free) are in `cidr/set.rs`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod set;
#[cfg(test)]
mod tests;

/// One block of IPv4 or IPv6 addresses in canonical form: the address is the first of the block.
///
/// `10.1.2.3/16` parses as `10.1.0.0/16` and [`Cidr::parse_noting_host_bits`] says that bits were dropped.
/// A bare address is the block of that one address. Octets with leading zeros (`010.0.0.0/8`) are refused: some
/// programs read them as octal, so nobody can say which block is meant.
///
/// Ordered by family (IPv4 first), first address, prefix length: a block comes directly before what it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Cidr(IpNetwork);

/// Why a text is no address block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address block: {reason}", excerpt(text))]
pub struct CidrError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Cidr {
    /// The block of `prefix_len` bits that holds `address`; `None` if the length is too large for the family.
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let network = IpNetwork::new(address, prefix_len).ok()?;
        Some(Self(IpNetwork::new(network.network(), prefix_len).ok()?))
    }

    /// The block of one address.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNetwork::from(address))
    }

    /// Parses a block and says whether host bits were set, which is often a typing error worth telling.
    ///
    /// Accepts `ADDRESS/LENGTH`, `ADDRESS` and, for IPv4, `ADDRESS/NETMASK`; white space around it is ignored.
    pub fn parse_noting_host_bits(text: &str) -> Result<(Self, bool), CidrError> {
        let (address, cidr) = parse(text.trim()).map_err(|reason| CidrError {
            text: text.to_owned(),
            reason,
        })?;
        Ok((cidr, address != cidr.first()))
    }

    /// Parses a list as configurations hold it, blocks separated by commas, white space or both.
    ///
    /// One result per item in the order given, each as from [`Cidr::parse_noting_host_bits`], so that one bad item
    /// does not hide the others. Empty items are no items: `""` and `","` are empty lists.
    pub fn split_list(text: &str) -> Vec<Result<(Self, bool), CidrError>> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|item| !item.is_empty())
            .map(Self::parse_noting_host_bits)
            .collect()
    }

    /// The first address.
    pub fn first(self) -> IpAddr {
        self.0.ip()
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// The number of leading bits that all addresses of the block share.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix()
    }

    /// Whether this is an IPv4 block.
    pub fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
    }

    /// The size as a power of two: 8 for a `/24`, 0 for one address, 128 for `::/0` (whose size no integer holds).
    pub fn size_log2(self) -> u8 {
        self.address_bits() - self.prefix_len()
    }

    /// Whether `address` lies in this block. Never across families.
    pub fn contains_addr(self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether `other` lies wholly in this block; a block contains itself.
    pub fn contains(self, other: Self) -> bool {
        self.prefix_len() <= other.prefix_len() && self.contains_addr(other.first())
    }

    /// Whether the two blocks share an address: one of them then contains the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The addresses that both blocks share: the smaller of the two, or nothing.
    pub fn intersection(self, other: Self) -> Option<Self> {
        if self.contains(other) {
            Some(other)
        } else {
            other.contains(self).then_some(self)
        }
    }

    /// The block of `prefix_len` bits around this one, if it is at least as large.
    pub fn supernet(self, prefix_len: u8) -> Option<Self> {
        (prefix_len <= self.prefix_len())
            .then(|| Self::new(self.first(), prefix_len))
            .flatten()
    }

    /// The smallest blocks that hold all `addresses`: at most one per family, IPv4 first.
    pub fn smallest_covering(addresses: &[IpAddr]) -> Vec<Self> {
        let of_family = |ipv4: bool| {
            let family = || addresses.iter().filter(move |address| address.is_ipv4() == ipv4);
            let (lowest, highest) = (Self::host(*family().min()?), Self::host(*family().max()?));
            let differing = (lowest.first_bits() ^ highest.first_bits()).checked_ilog2();
            let host_bits = differing.map_or(0, |bit| bit + 1);
            lowest.supernet(lowest.address_bits() - u8::try_from(host_bits).ok()?)
        };
        [of_family(true), of_family(false)].into_iter().flatten().collect()
    }

    /// The private block that this one lies wholly in: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` (RFC 1918),
    /// `100.64.0.0/10` (RFC 6598, shared by carriers and often used like the others) or `fc00::/7` (RFC 4193).
    pub fn private_block(self) -> Option<Self> {
        const fn v4(a: u8, b: u8) -> IpAddr {
            IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
        }
        const UNIQUE_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0));
        let blocks = [
            (v4(10, 0), 8),
            (v4(172, 16), 12),
            (v4(192, 168), 16),
            (v4(100, 64), 10),
            (UNIQUE_LOCAL, 7),
        ];
        let mut blocks = blocks.into_iter().filter_map(|(first, len)| Self::new(first, len));
        blocks.find(|block| block.contains(self))
    }

    /// The IPv4 block that an IPv4-mapped IPv6 block (inside `::ffff:0:0/96`, RFC 4291 section 2.5.5.2) stands for.
    ///
    /// Such a block in a configuration is a finding of its own: products disagree on whether it is IPv4 or IPv6.
    pub fn ipv4_mapped(self) -> Option<Self> {
        let IpAddr::V6(first) = self.first() else { return None };
        let prefix_len = self.prefix_len().checked_sub(96)?;
        Self::new(IpAddr::V4(first.to_ipv4_mapped()?), prefix_len)
    }

    /// The block at the address with this number; `None` if the number or the length is too large for the family.
    pub(crate) fn from_bits(ipv4: bool, first: u128, prefix_len: u8) -> Option<Self> {
        let address = if ipv4 {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(first).ok()?))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(first))
        };
        Self::new(address, prefix_len)
    }

    /// How many bits an address of this family has.
    fn address_bits(self) -> u8 {
        if self.is_ipv4() { 32 } else { 128 }
    }

    /// The first address as a number.
    pub(crate) fn first_bits(self) -> u128 {
        address_to_bits(self.first())
    }

    /// The last address as a number.
    pub(crate) fn last_bits(self) -> u128 {
        address_to_bits(self.last())
    }
}

fn address_to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address as written and the block around it, or what is wrong with the text.
fn parse(text: &str) -> Result<(IpAddr, Cidr), String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| address_problem(address))?;
    let Some(prefix) = prefix else {
        return Ok((address, Cidr::host(address)));
    };
    let prefix_len = match (address, prefix.parse::<Ipv4Addr>()) {
        (IpAddr::V4(_), Ok(netmask)) => ipnetwork::ipv4_mask_to_prefix(netmask)
            .map_err(|_| "the netmask is not ones followed by zeros".to_owned())?,
        _ => prefix_len(prefix)?,
    };
    let cidr = Cidr::new(address, prefix_len).ok_or_else(|| {
        let bits = Cidr::host(address).address_bits();
        format!("the prefix length is at most {bits} in this family")
    })?;
    Ok((address, cidr))
}

/// Digits only: `u8::from_str` alone would accept `+8`.
fn prefix_len(text: &str) -> Result<u8, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| "the prefix length is no number from 0 to 128".to_owned())
}

fn address_problem(address: &str) -> String {
    let octets: Vec<&str> = address.splitn(5, '.').collect();
    let numeric = |octet: &&str| !octet.is_empty() && octet.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = |octet: &&str| octet.len() > 1 && octet.starts_with('0');
    if octets.len() == 4 && octets.iter().all(numeric) && octets.iter().any(leading_zero) {
        "an octet with a leading zero is read as octal by some programs and as decimal by others".to_owned()
    } else {
        "it does not start with an IPv4 or IPv6 address".to_owned()
    }
}

/// The start of a text that may be hostile, safe to print.
fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    let start: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        start + "…"
    } else {
        start
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_noting_host_bits(text).map(|(cidr, _)| cidr)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
