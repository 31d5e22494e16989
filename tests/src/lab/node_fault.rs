//! What can be wrong on a node: how each is made and undone.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::bail;

use super::fault::{NodeFault, Port};
use super::firewall;
use super::host::{Host, LINK};
use super::namespace::{self, Other};

/// The second link of a node, where it has one.
const SECOND_LINK: &str = "eth1";
/// The VXLAN device that takes a port.
const VXLAN: &str = "vxlan0";

/// How a fault is undone.
pub(super) enum Cure {
    /// The router forgets this rule.
    Rule(u64),
    /// The link of this node takes its own MTU again.
    Mtu(usize),
    /// The link of this node comes back, and its routes.
    Link(usize),
    /// The routes of this node come back.
    Routes(usize),
    /// The second link of this node goes away.
    SecondLink(usize),
    /// The socket is closed.
    Socket(Held),
    /// The VXLAN device of this node goes away.
    Vxlan(usize),
    /// The firewall of this node goes away.
    Firewall(usize),
}

/// A socket that holds a port.
#[derive(Debug)]
pub(super) enum Held {
    /// Accepts nothing.
    Tcp(#[expect(dead_code, reason = "held for its drop")] TcpListener),
    /// Reads nothing.
    Udp(#[expect(dead_code, reason = "held for its drop")] UdpSocket),
}

/// Makes a fault on a node, by its number.
pub(super) fn make(host: &mut Host, number: usize, fault: &NodeFault) -> anyhow::Result<Cure> {
    let place = &host.places[number];
    let inside = &place.namespace;
    Ok(match *fault {
        NodeFault::LinkMtu(mtu) => {
            namespace::set_mtu(inside, LINK, mtu)?;
            host.router.set_link_mtu(number, mtu);
            Cure::Mtu(number)
        }
        NodeFault::LinkDown => {
            namespace::switch(inside, LINK, false)?;
            Cure::Link(number)
        }
        NodeFault::NoRouteOut => {
            namespace::unroute(inside, LINK, &place.gateways)?;
            Cure::Routes(number)
        }
        NodeFault::StrictReturnPath => {
            make_return_path_strict(host, number)?;
            Cure::SecondLink(number)
        }
        NodeFault::PortTaken(port) => {
            let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            Cure::Socket(inside.run(|| {
                Ok(match port {
                    Port::Tcp(port) => Held::Tcp(TcpListener::bind(any(port))?),
                    Port::Udp(port) => Held::Udp(UdpSocket::bind(any(port))?),
                })
            })?)
        }
        NodeFault::VxlanDevice(port) => {
            namespace::add_vxlan(inside, VXLAN, port)?;
            Cure::Vxlan(number)
        }
        NodeFault::FirewallDrops(port) => {
            inside.run(|| firewall::close(port, firewall::Way::Drop))?;
            Cure::Firewall(number)
        }
        NodeFault::FirewallRejects(port) => {
            inside.run(|| firewall::close(port, firewall::Way::Reject))?;
            Cure::Firewall(number)
        }
        NodeFault::NamesUnknown | NodeFault::ConntrackFull | NodeFault::Agent(_) => {
            bail!("this fault is one of how an agent is started, not of a namespace")
        }
    })
}

fn make_return_path_strict(host: &mut Host, number: usize) -> anyhow::Result<()> {
    let inside = host.places[number].namespace.try_clone()?;
    let mtu = host.places[number].node.mtu;
    let link = host.wire(&inside, SECOND_LINK, number, mtu)?;
    namespace::raise(&inside, SECOND_LINK, Other::Router, &[])?;
    // The strictest of `all` and the link's own counts.
    inside.set("ipv4/conf/all/rp_filter", "1")?;
    host.router.detour(number, Some(link));
    Ok(())
}

/// Undoes a fault.
pub(super) fn cure(host: &Host, cure: Cure) -> anyhow::Result<()> {
    match cure {
        Cure::Rule(id) => host.router.remove_rule(id),
        Cure::Mtu(number) => {
            let place = &host.places[number];
            namespace::set_mtu(&place.namespace, LINK, place.node.mtu)?;
            host.router.set_link_mtu(number, place.node.mtu);
        }
        Cure::Link(number) => {
            let place = &host.places[number];
            namespace::switch(&place.namespace, LINK, true)?;
            // Addresses of IPv4 outlive a link that is down; those of IPv6 and all routes do not.
            let lost: Vec<_> = place.node.ipv6.iter().map(|&address| (address.into(), 64)).collect();
            namespace::raise(&place.namespace, LINK, Other::Router, &lost)?;
            namespace::route_by(&place.namespace, LINK, &place.gateways)?;
        }
        Cure::Routes(number) => {
            let place = &host.places[number];
            namespace::route_by(&place.namespace, LINK, &place.gateways)?;
        }
        Cure::SecondLink(number) => {
            let place = &host.places[number];
            host.router.detour(number, None);
            place.namespace.set("ipv4/conf/all/rp_filter", "0")?;
            namespace::switch(&place.namespace, SECOND_LINK, false)?;
        }
        Cure::Socket(held) => drop(held),
        Cure::Vxlan(number) => namespace::remove(&host.places[number].namespace, VXLAN)?,
        Cure::Firewall(number) => host.places[number].namespace.run(firewall::open)?,
    }
    Ok(())
}
