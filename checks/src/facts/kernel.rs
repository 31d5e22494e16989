//! [`NodeFacts`]: what a node's own kernel says, read by the agent that runs on it.
//!
//! The API's view of the same node is [`Node`](crate::facts::node::Node); both are kept. Nothing here needs a privilege unless it says so:
//! what the agent may not read is `forbidden`, never a guess.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::provenance::{Fact, Unknown};

/// Everything one agent read about the node it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// The node's name as the API or the configuration file has it.
    pub node: String,
    /// When it was read, RFC 3339 in UTC, by the node's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<jiff::Timestamp>,
    /// The prejoin version of the agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub collected_by: String,
    /// Which network namespace the agent sees.
    #[serde(default)]
    pub network: Fact<NetworkView>,
    /// `uname -n`.
    #[serde(default)]
    pub host_name: Fact<String>,
    /// `uname -r`.
    #[serde(default)]
    pub kernel_release: Fact<String>,
    /// Effective capabilities of the agent, as `CAP_NET_RAW`.
    #[serde(default)]
    pub capabilities: Fact<Vec<String>>,
    /// Network links, in index order, with their addresses.
    #[serde(default)]
    pub links: Fact<Vec<Link>>,
    /// Routes of all tables; see [`Route::table`]. Tables with more than 1,000 routes are cut there and say so in [`NodeFacts::cut_tables`].
    #[serde(default)]
    pub routes: Fact<Vec<Route>>,
    /// Tables of which not all routes are in [`NodeFacts::routes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_tables: Vec<u32>,
    /// Policy routing rules.
    #[serde(default)]
    pub rules: Fact<Vec<Rule>>,
    /// How the kernel would send to each address that was asked about.
    #[serde(default)]
    pub paths: Vec<PathTo>,
    /// Kernel settings by dotted name, as `net.ipv4.conf.eth0.rp_filter` (a dot in an interface's name is a `/`, as sysctl(8) has it). Absent: the kernel has no such setting.
    #[serde(default)]
    pub sysctls: Fact<BTreeMap<String, String>>,
    /// Kernel settings that are there, but could not be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_sysctls: BTreeMap<String, Unknown>,
    /// TCP sockets that listen and UDP sockets that are bound, of the whole network namespace.
    #[serde(default)]
    pub sockets: Fact<Vec<BoundSocket>>,
    /// What the kernel has of what a product may need.
    #[serde(default)]
    pub features: Fact<Vec<KernelFeature>>,
    /// IPsec policies in force (`ip xfrm policy`), without those of sockets; needs CAP_NET_ADMIN on most kernels.
    #[serde(default)]
    pub xfrm_policies: Fact<Vec<XfrmPolicy>>,
    /// Packet filters that matter; needs CAP_NET_ADMIN on most kernels.
    #[serde(default)]
    pub packet_filter: Fact<PacketFilter>,
    /// The state of the clock, as adjtimex(2) tells.
    #[serde(default)]
    pub clock: Fact<Clock>,
    /// Kernel counters since boot by name, as `Udp.NoPorts`, `Udp.InCsumErrors`, `TcpExt.IPReversePathFilter`.
    #[serde(default)]
    pub counters: Fact<BTreeMap<String, u64>>,
    /// What names resolved to, in the order asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ResolvedName>,
    /// What some paths of the host are, by path: `/run/xtables.lock`, `/sys/fs/bpf`. A path that the agent cannot see is not in it.
    #[serde(default)]
    pub files: Fact<BTreeMap<String, FileKind>>,
}

/// Which network namespace an agent sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkView {
    /// The node's own.
    Host,
    /// A pod's.
    Pod,
}

/// One network link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind as the kernel has it: `vxlan`, `geneve`, `wireguard`, `veth`, `bridge`, `dummy`, `ipip`, ...; empty for a card, `loopback` for `lo`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Largest packet it takes, in bytes, as an IP packet.
    pub mtu: u32,
    /// Whether it is switched on (`IFF_UP`).
    pub up: bool,
    /// RFC 2863 state as the kernel has it: `up`, `down`, `lowerlayerdown`, `unknown`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub oper_state: String,
    /// Its MAC address, `aa:bb:cc:dd:ee:ff`; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The index of the bridge or bond it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// What it carries, if it is a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// Its addresses in the kernel's order, the first IPv4 address first among its family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<LinkAddress>,
}

/// What a tunnel link is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tunnel {
    /// UDP port it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// VNI or key; absent if set by metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its own outer address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// The one peer, group, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// The link below it, by index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<u32>,
}

/// One address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix it brings with it.
    pub prefix_len: u8,
    /// `global`, `link`, `host`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Whether the kernel counts it as secondary.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secondary: bool,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// `10.0.0.0/8`; `0.0.0.0/0` and `::/0` for a default route.
    pub destination: String,
    /// The table: 254 is `main`, 253 `default`, 255 `local`.
    pub table: u32,
    /// `unicast`, `blackhole`, `unreachable`, `local`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Name of the link it leaves by; empty for a multipath route.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// Number of next hops of a multipath route, 0 for others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next_hops: u32,
    /// Preferred source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Its MTU, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its metric; lower is preferred.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metric: u32,
    /// Who put it there, as `ip route` shows: `kernel`, `boot`, `static`, `dhcp`, `bird`, or a number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

/// One policy routing rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Lower goes first.
    pub priority: u32,
    /// The table it leads to.
    pub table: u32,
    /// `from` prefix, empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `to` prefix, empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// Packet mark it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// Whether it is IPv6's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
}

/// How the kernel would send to an address (`ip route get`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathTo {
    /// The address asked about.
    pub to: IpAddr,
    /// The answer; `not found` where there is no route.
    pub route: Fact<ChosenRoute>,
}

/// What the kernel chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChosenRoute {
    /// The link it leaves by.
    pub link: String,
    /// The source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// MTU of the route, its own or learned from ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MTU of the link.
    pub link_mtu: u32,
    /// The table it was found in.
    pub table: u32,
}

/// A socket that holds a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct BoundSocket {
    /// `tcp` (listening) or `udp` (bound).
    pub protocol: String,
    /// The address it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The user id that owns it.
    pub uid: u32,
    /// The program, where the agent may see it; empty otherwise. A kernel socket (VXLAN, WireGuard) has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
}

/// What the kernel has of something a product may need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFeature {
    /// The module's name with underscores: `vxlan`, `geneve`, `wireguard`, `esp4`, `xfrm_user`, `ip_set`, `ip_set_hash_net`, `xt_set`, `xt_TCPMSS`, `nf_tables`, ...
    pub name: String,
    /// In what form.
    pub presence: Presence,
    /// How that is known: `/proc/modules`, `modules.builtin`, `modules.dep`, `a test device`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen_in: String,
}

/// In what form the kernel has a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Loaded or in use.
    Loaded,
    /// Part of the kernel image.
    BuiltIn,
    /// In the running kernel's module tree: loaded on demand.
    Loadable,
    /// Nowhere to be found, although the module tree of this kernel was read.
    Absent,
    /// Not loaded; the module tree of this kernel could not be read.
    Unknown,
}

/// One IPsec policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct XfrmPolicy {
    /// `in`, `out`, `fwd`.
    pub direction: String,
    /// Source selector.
    pub source: String,
    /// Destination selector.
    pub destination: String,
}

/// Packet filters that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PacketFilter {
    /// Base chains, of nf_tables (iptables-nft included).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<FilterChain>,
    /// Whether legacy iptables tables hold rules beside (`/proc/net/ip_tables_names`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legacy_tables: Vec<String>,
}

/// One base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilterChain {
    /// `ip`, `ip6`, `inet`, `netdev`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// `input`, `forward`, `output`, `prerouting`, `postrouting`, `ingress`.
    pub hook: String,
    /// Whether what no rule decides is dropped.
    pub drops_by_default: bool,
    /// The number of rules.
    pub rules: u32,
}

/// The state of a clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Whether something keeps it synchronised (no `STA_UNSYNC`).
    pub synchronised: bool,
    /// The kernel's bound on its error, in microseconds.
    pub max_error_micros: u64,
    /// The kernel's estimate of its error, in microseconds.
    pub estimated_error_micros: u64,
    /// The clock source: `tsc`, `kvm-clock`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// What a name resolved to on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedName {
    /// The name asked for.
    pub name: String,
    /// Its addresses, or why there are none.
    pub result: Result<Vec<IpAddr>, Unknown>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Nothing.
    Absent,
    /// A file.
    File,
    /// A directory, nothing mounted on it.
    Directory,
    /// A mount point.
    Mount,
    /// Something else.
    Other,
}

impl NodeFacts {
    /// A node of which nothing is known yet, for the given reason.
    pub fn unread(node: impl Into<String>, unknown: &Unknown) -> Self {
        fn all<T>(unknown: &Unknown) -> Fact<T> {
            Fact::Unknown(unknown.clone())
        }
        Self {
            node: node.into(),
            collected_at: None,
            collected_by: String::new(),
            network: all(unknown),
            host_name: all(unknown),
            kernel_release: all(unknown),
            capabilities: all(unknown),
            links: all(unknown),
            routes: all(unknown),
            cut_tables: Vec::new(),
            rules: all(unknown),
            paths: Vec::new(),
            sysctls: all(unknown),
            unread_sysctls: BTreeMap::new(),
            sockets: all(unknown),
            features: all(unknown),
            xfrm_policies: all(unknown),
            packet_filter: all(unknown),
            clock: all(unknown),
            counters: all(unknown),
            names: Vec::new(),
            files: all(unknown),
        }
    }

    /// Every fact by name with why it is not known, if it is not: what coverage counts.
    pub fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("network namespace", self.network.why()),
            ("host name", self.host_name.why()),
            ("kernel release", self.kernel_release.why()),
            ("capabilities", self.capabilities.why()),
            ("links", self.links.why()),
            ("routes", self.routes.why()),
            ("routing rules", self.rules.why()),
            ("sysctls", self.sysctls.why()),
            ("sockets", self.sockets.why()),
            ("kernel features", self.features.why()),
            ("IPsec policies", self.xfrm_policies.why()),
            ("packet filter", self.packet_filter.why()),
            ("clock", self.clock.why()),
            ("counters", self.counters.why()),
            ("files", self.files.why()),
        ]
    }

    /// The sockets that hold one of these ports for good, by protocol and port: those of another audit's agent close when that ends, and are
    /// not among them.
    pub fn holders<'a>(&'a self, ports: &'a [(&str, u16)]) -> Result<impl Iterator<Item = &'a BoundSocket>, Unknown> {
        let sockets = self.sockets.get()?.iter();
        Ok(sockets
            .filter(|socket| ports.contains(&(socket.protocol.as_str(), socket.port)) && !socket.is_of_an_agent()))
    }

    /// The link with this name.
    pub fn link(&self, name: &str) -> Result<Option<&Link>, Unknown> {
        Ok(self.links.get()?.iter().find(|link| link.name == name))
    }

    /// A kernel setting; `None` where the kernel has none of that name.
    pub fn sysctl(&self, name: &str) -> Result<Option<&str>, Unknown> {
        if let Some(unread) = self.unread_sysctls.get(name) {
            return Err(unread.clone());
        }
        Ok(self.sysctls.get()?.get(name).map(String::as_str))
    }

    /// How the kernel would send to this address, if that was asked.
    pub fn path_to(&self, to: IpAddr) -> Option<&Fact<ChosenRoute>> {
        self.paths.iter().find(|path| path.to == to).map(|path| &path.route)
    }
}

impl BoundSocket {
    /// Whether an agent of ours holds it. The kernel keeps the first 15 bytes of a program's name.
    pub fn is_of_an_agent(&self) -> bool {
        ["prejoin-agent", "prejoin-cluster"].contains(&self.program.as_str())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
