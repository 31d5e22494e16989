//! The lab's own process: it holds the namespaces, routes their packets and makes faults, until nobody writes to it any more.
//! Then everything it made is gone, however the test ended.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::fault::Fault;
use super::namespace::{Namespace, Other, Wire, lay, raise, route_by};
use super::node_fault::{self, Cure};
use super::orders::{Answer, Doors, Order};
use super::router::{Router, STRANGER, STRANGER_GATEWAYS};
use super::topology::{MTU, Node, Site, Topology};
use super::{stranger, trial};

/// The link of a node.
pub(super) const LINK: &str = "eth0";

/// Serves one lab over standard input and output.
///
/// # Errors
/// When it may not even try. What goes wrong later is said in answers.
pub fn serve() -> anyhow::Result<()> {
    let user = become_able()?;
    let mut host = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).context("not an order")?;
        let answer = obey(&mut host, order, user).unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

fn obey(host: &mut Option<Host>, order: Order, user: bool) -> anyhow::Result<Answer> {
    if let Order::Up(topology) = order {
        let made = host.insert(Host::up(topology)?);
        return Ok(Answer::Up(made.doors(user)));
    }
    let host = host.as_mut().context("the lab is not up")?;
    Ok(match order {
        Order::Up(_) => unreachable!("handled above"),
        Order::Fault(fault) => Answer::Fault(host.fault(fault)?),
        Order::Heal(id) => {
            host.heal(id)?;
            Answer::Healed
        }
        Order::Traffic => Answer::Traffic(host.router.take_traffic()),
        Order::Try(trial) => Answer::Tried(trial::run(&trial, &host.topology, |name| host.place(name))?),
    })
}

/// Takes a user namespace where this process may not make network namespaces; says whether it did.
/// Must run before there are threads.
fn become_able() -> anyhow::Result<bool> {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .context("/proc/self/status tells no capabilities")?;
    let held = u64::from_str_radix(held.trim(), 16)?;
    if held & (CAP_NET_ADMIN | CAP_SYS_ADMIN) == CAP_NET_ADMIN | CAP_SYS_ADMIN {
        return Ok(false);
    }
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).context("no root here, and no user namespace to be had")?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(true)
}

/// One node's namespace and what is needed to change it.
pub(super) struct Place {
    pub node: Node,
    /// [`Topology::nodes`] by position.
    pub number: usize,
    pub namespace: Namespace,
    pub gateways: Vec<IpAddr>,
}

/// Everything a lab consists of.
pub(super) struct Host {
    pub topology: Topology,
    pub router: Router,
    pub wan: Namespace,
    pub places: Vec<Place>,
    pods: BTreeMap<String, Namespace>,
    stranger: Namespace,
    cures: HashMap<u64, Cure>,
    last_fault: u64,
    pub last_link: usize,
}

impl Host {
    fn up(topology: Topology) -> anyhow::Result<Self> {
        let router = Router::start(&topology)?;
        let wan = Namespace::new()?;
        // It is our router that forwards, and no kernel shall answer in its place.
        for setting in ["all", "default"] {
            wan.set(&format!("ipv6/conf/{setting}/disable_ipv6"), "1")?;
        }
        let mut host = Self {
            router,
            wan,
            places: Vec::new(),
            pods: BTreeMap::new(),
            stranger: Namespace::new()?,
            cures: HashMap::new(),
            last_fault: 0,
            last_link: 0,
            topology,
        };
        let sites = host.topology.sites.clone();
        for site in &sites {
            for node in &site.nodes {
                let gateways = node
                    .addresses()
                    .iter()
                    .map(|address| match address {
                        IpAddr::V4(_) => site.gateway4().into(),
                        IpAddr::V6(_) => site.gateway6().into(),
                    })
                    .collect();
                host.add_node(node, gateways)
                    .with_context(|| format!("cannot make {}", node.name))?;
            }
        }
        host.add_stranger().context("cannot make the stranger")?;
        let with_pods = if host.topology.pods { sites.as_slice() } else { &[] };
        for site in with_pods {
            for (place, node) in (0_u8..).zip(&site.nodes) {
                host.add_pod(site, node, place)
                    .with_context(|| format!("cannot make a pod of {}", node.name))?;
            }
        }
        Ok(host)
    }

    fn add_node(&mut self, node: &Node, gateways: Vec<IpAddr>) -> anyhow::Result<()> {
        let place = Place {
            node: node.clone(),
            number: self.places.len(),
            namespace: Namespace::new()?,
            gateways,
        };
        // As nodes of clusters are; and no error is held back, so that two runs see the same.
        for (setting, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
        ] {
            place.namespace.set(setting, value)?;
        }
        self.wire(&place.namespace, LINK, place.number, node.mtu)?;
        raise(&place.namespace, LINK, Other::Router, &with_prefixes(&node.addresses()))?;
        route_by(&place.namespace, LINK, &place.gateways)?;
        self.places.push(place);
        Ok(())
    }

    fn add_pod(&mut self, site: &Site, node: &Node, place_in_site: u8) -> anyhow::Result<()> {
        const POD_LINK: &str = "lxc0";
        let gateway = site.pod_range(place_in_site, 1);
        let address = site.pod_range(place_in_site, 200);
        let place = self.place(&node.name)?;
        let pod = Namespace::new()?;
        let wire = Wire {
            router_name: POD_LINK,
            name: LINK,
            mac: [2, 0, 0, 2, place_in_site, site.number],
            mtu: node.mtu,
        };
        lay(&place.namespace, &pod, &wire)?;
        raise(&place.namespace, POD_LINK, Other::Kernel, &[(gateway.into(), 24)])?;
        raise(&pod, LINK, Other::Kernel, &[(address.into(), 24)])?;
        route_by(&pod, LINK, &[gateway.into()])?;
        self.router.masquerade(address, node.ipv4, place.number);
        let name = match place_in_site {
            0 => site.pod(),
            other => format!("{}-{}", site.pod(), other + 1),
        };
        self.pods.insert(name, pod);
        Ok(())
    }

    fn add_stranger(&mut self) -> anyhow::Result<()> {
        let namespace = Namespace::new()?;
        self.wire(&namespace, LINK, self.places.len(), MTU)?;
        raise(&namespace, LINK, Other::Router, &with_prefixes(&STRANGER))?;
        route_by(&namespace, LINK, &STRANGER_GATEWAYS)?;
        self.stranger = namespace;
        Ok(())
    }

    /// Lays a link to a namespace; returns its number at the router.
    pub(super) fn wire(&mut self, to: &Namespace, name: &str, node: usize, mtu: u32) -> anyhow::Result<usize> {
        self.last_link += 1;
        let number = u16::try_from(self.last_link)?.to_be_bytes();
        let mac = [2, 0, 0, 1, number[0], number[1]];
        let wire = Wire {
            router_name: &format!("w{}", self.last_link),
            name,
            mac,
            mtu,
        };
        let index = lay(&self.wan, to, &wire)?;
        self.wan.run(|| self.router.attach(index, mac, node, mtu))
    }

    fn doors(&self, user: bool) -> Doors {
        Doors {
            user: user.then(|| format!("/proc/{}/ns/user", std::process::id())),
            nodes: self
                .places
                .iter()
                .map(|place| (place.node.name.clone(), place.namespace.path()))
                .chain(self.pods.iter().map(|(name, pod)| (name.clone(), pod.path())))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn place(&self, name: &str) -> anyhow::Result<&Place> {
        let found = self.places.iter().find(|place| place.node.name == name);
        found.with_context(|| format!("the lab has no node {name}"))
    }

    fn fault(&mut self, fault: Fault) -> anyhow::Result<u64> {
        self.last_fault += 1;
        let id = self.last_fault;
        let cure = match fault {
            Fault::Path { on, action } => {
                if action == super::fault::Action::Hijack {
                    stranger::serve(&self.stranger, &on)?;
                }
                self.router.add_rule(id, on, action)?;
                Cure::Rule(id)
            }
            Fault::Node { node, fault } => {
                let number = self.place(&node)?.number;
                node_fault::make(self, number, &fault)?
            }
        };
        self.cures.insert(id, cure);
        Ok(id)
    }

    fn heal(&mut self, id: u64) -> anyhow::Result<()> {
        let Some(cure) = self.cures.remove(&id) else {
            bail!("there is no fault {id}");
        };
        node_fault::cure(self, cure)
    }
}

fn with_prefixes(addresses: &[IpAddr]) -> Vec<(IpAddr, u8)> {
    let length = |address: &IpAddr| if address.is_ipv4() { 24 } else { 64 };
    addresses.iter().map(|address| (*address, length(address))).collect()
}
