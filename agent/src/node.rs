//! Reads this node's kernel into [`NodeFacts`]: one file per source.
//!
//! Nothing is changed, nothing is sent, no module is loaded by asking. What cannot be read is `Unknown` with a reason; one source that fails
//! or hangs takes nothing away from the others.

mod clock;
mod counters;
mod features;
mod identity;
mod kernel_config;
mod links;
mod names;
mod netlink;
mod packet_filter;
mod paths;
mod programs;
mod routes;
mod rules;
mod sockets;
mod sysctls;
mod tree;
mod xfrm;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prejoin_checks::facts::kernel::{NetworkView, NodeFacts};
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};

use crate::node::links::LinkTable;
use crate::node::netlink::Netlink;
use crate::node::tree::Tree;

/// What to read, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// The node's name as the API or the configuration file has it.
    pub node: String,
    /// Addresses to which the kernel is asked for its route.
    pub peers: Vec<IpAddr>,
    /// Names to resolve.
    pub names: Vec<String>,
    /// Where `/proc`, `/sys` and `/lib/modules` are looked for; what is not there is looked for in `host` below it, where containers get the
    /// node's directories mounted.
    pub root: PathBuf,
    /// Whose network namespace it is, by the word of whoever started the agent; counts only where the kernel does not tell.
    pub network: Option<NetworkView>,
    /// What has not been read by then is unknown.
    pub deadline: Instant,
}

impl NodeOptions {
    /// The machine this runs on, to be read within the given time.
    pub fn new(node: impl Into<String>, time: Duration) -> Self {
        Self {
            node: node.into(),
            peers: Vec::new(),
            names: Vec::new(),
            root: PathBuf::from("/"),
            network: None,
            deadline: Instant::now() + time,
        }
    }
}

/// How much longer than its deadline a source may take that is just reading, before it is left behind.
const GRACE: Duration = Duration::from_millis(500);

/// Reads the node. Never fails as a whole: each fact that could not be read says why.
///
/// Files and netlink are read on one blocking thread that looks at the deadline as it goes; it ends by itself.
pub async fn read_node(options: &NodeOptions) -> NodeFacts {
    let late = Unknown::new(
        Reason::Unreachable,
        "the time for reading the node was over before this was read",
    );
    let facts = Arc::new(Mutex::new(NodeFacts::unread(&options.node, &late)));
    let kernel = tokio::task::spawn_blocking({
        let (options, facts) = (options.clone(), Arc::clone(&facts));
        move || read_kernel(&options, &facts)
    });
    let kernel = tokio::time::timeout_at((options.deadline + GRACE).into(), kernel);
    // Late or broken, what was read until then is in the facts, and the rest says that it was not read.
    let (_, names) = tokio::join!(kernel, names::resolve(&options.names, options.deadline));
    let mut facts = match Arc::try_unwrap(facts) {
        Ok(facts) => facts.into_inner().unwrap_or_else(PoisonError::into_inner),
        Err(late) => late.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    };
    facts.names = names;
    facts.collected_at = Some(jiff::Timestamp::now());
    env!("CARGO_PKG_VERSION").clone_into(&mut facts.collected_by);
    facts
}

/// Whose network namespace this is, by itself: from a few small files and the list of links.
pub fn network_view(options: &NodeOptions) -> Fact<NetworkView> {
    let tree = Tree::new(&options.root, options.deadline);
    let links = Netlink::open(netlink::ROUTE, options.deadline).and_then(|mut netlink| links::read(&mut netlink));
    identity::network(&tree, &links.unwrap_or_default(), options.network)
}

/// Reads one source after the other, each stored as soon as it is there.
fn read_kernel(options: &NodeOptions, facts: &Mutex<NodeFacts>) {
    let tree = Tree::new(&options.root, options.deadline);
    let store = || facts.lock().unwrap_or_else(PoisonError::into_inner);

    let identity = identity::read(&tree);
    let release = identity.kernel_release.ok().cloned();
    store().host_name = identity.host_name;
    store().kernel_release = identity.kernel_release;
    store().capabilities = identity.capabilities;

    let mut route = Netlink::open(netlink::ROUTE, options.deadline);
    let links = with(&mut route, links::read);
    let known_links = links.as_deref().unwrap_or_default();
    let table = LinkTable::new(known_links);
    store().network = identity::network(&tree, known_links, options.network);
    match with(&mut route, |netlink| routes::read(netlink, &table)) {
        Ok(read) => {
            store().routes = fact("rtnetlink", "routes", Ok(read.routes));
            store().cut_tables = read.cut_tables;
        }
        Err(unknown) => store().routes = Fact::Unknown(unknown),
    }
    store().rules = fact("rtnetlink", "rules", with(&mut route, rules::read));
    store().paths = routes::paths_to(&mut route, &options.peers, &table);
    let kinds: BTreeSet<String> = table.kinds();
    store().links = fact("rtnetlink", "links", links);

    let (sysctls, unread) = sysctls::read(&tree);
    store().sysctls = fact("/proc/sys", "", sysctls);
    store().unread_sysctls = unread;
    store().sockets = fact("/proc/net", "tcp, tcp6, udp, udp6", sockets::read(&tree));
    let features = features::read(&tree, release.as_deref(), &kinds);
    store().packet_filter = packet_filter::read(&tree, &features, options.deadline);
    store().features = features;
    store().xfrm_policies = xfrm::read(&tree, options.deadline);
    store().clock = fact("adjtimex(2)", "", clock::read(&tree));
    store().counters = fact(
        "/proc/net",
        "snmp, snmp6, netstat, xfrm_stat, stat/nf_conntrack",
        counters::read(&tree),
    );
    store().files = fact("/proc/self/mountinfo", "", paths::read(&tree));
}

/// Runs a request on a socket that may not have opened.
fn with<T>(
    netlink: &mut Result<Netlink, Unknown>,
    request: impl FnOnce(&mut Netlink) -> Result<T, Unknown>,
) -> Result<T, Unknown> {
    request(netlink.as_mut().map_err(|unknown| unknown.clone())?)
}

fn fact<T>(object: &str, field: &str, value: Result<T, Unknown>) -> Fact<T> {
    value.map(|value| Known::new(value, Source::read(object, field))).into()
}

/// For fuzzing: whatever the kernel answers over netlink, reading it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz_netlink(bytes: &[u8]) {
    let mut each = |message: &[u8]| {
        for read in [links::fuzz, routes::fuzz, rules::fuzz, xfrm::fuzz, packet_filter::fuzz] {
            read(message);
        }
    };
    each(bytes);
    netlink::fuzz(bytes, &mut each);
}

/// For fuzzing: whatever stands in the kernel's files, reading it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz_proc(bytes: &[u8]) {
    kernel_config::fuzz(bytes);
    let text = String::from_utf8_lossy(bytes);
    counters::fuzz(&text);
    for line in text.lines() {
        sockets::fuzz(line);
        features::fuzz(line);
    }
}
