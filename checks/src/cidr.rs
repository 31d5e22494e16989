//! [`Cidr`]: one block of addresses, always canonical.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One block of IPv4 or IPv6 addresses in canonical form: the address is the first of the block.
///
/// `10.1.2.3/16` parses as `10.1.0.0/16` and [`Cidr::parse_noting_host_bits`] says that bits were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Cidr(IpNetwork);

/// Why a text is no address block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address block: {reason}")]
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
    pub fn parse_noting_host_bits(text: &str) -> Result<(Self, bool), CidrError> {
        let network: IpNetwork = text
            .trim()
            .parse()
            .map_err(|error: ipnetwork::IpNetworkError| CidrError {
                text: text.to_owned(),
                reason: error.to_string(),
            })?;
        let canonical = Self::new(network.ip(), network.prefix()).ok_or_else(|| CidrError {
            text: text.to_owned(),
            reason: "prefix too long".to_owned(),
        })?;
        Ok((canonical, network.ip() != canonical.first()))
    }

    /// The first address.
    pub fn first(self) -> IpAddr {
        self.0.ip()
    }

    /// The number of leading bits that all addresses of the block share.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix()
    }

    /// Whether this is an IPv4 block.
    pub fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
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
