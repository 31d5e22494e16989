//! The WAN router: takes every packet of every node, and forwards, answers, changes, delays or loses it. Nothing in it is left to chance.

mod answer;
mod nat;
mod packet;
mod rule;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt;
use socket2::Socket;

use self::answer::Error;
use self::nat::{Change, Nat};
use self::packet::Packet;
pub(super) use self::packet::seal_transport;
use self::rule::{Rule, Verdict};
use super::fault::{Action, Traffic as On};
use super::sys;
use super::topology::Topology;
use super::traffic::{Seen, Traffic};

/// Frames taken from one link before the others have their turn.
const BATCH: usize = 64;
/// What waits for the router on one link, in bytes of kernel memory.
const QUEUE_BYTES: usize = 8 << 20;

/// A handle on the router, which works on a thread of its own until the process ends.
#[derive(Clone)]
pub(super) struct Router {
    state: Arc<Mutex<State>>,
    wake: Arc<UnixStream>,
}

/// The router's end of a link.
struct Link {
    socket: Arc<Socket>,
    mac: [u8; 6],
    /// Who is at the other end: [`Topology::nodes`] by position, or one more for the stranger.
    node: usize,
    /// Larger packets do not get into the node.
    mtu: u32,
}

struct State {
    topology: Topology,
    names: Vec<String>,
    addresses: HashMap<IpAddr, usize>,
    /// Position in [`Topology::sites`] of each node; the stranger is in none.
    site: Vec<usize>,
    links: Vec<Link>,
    /// The link by which other sites' packets go to a node, where that is not its first.
    detour: HashMap<usize, usize>,
    /// Addresses of pods, and of their nodes.
    masqueraded: HashMap<IpAddr, IpAddr>,
    rules: Vec<Rule>,
    masquerade: Nat,
    nat: Nat,
    later: BinaryHeap<Reverse<Later>>,
    serial: u64,
    start: Instant,
    seen: Vec<Seen>,
}

/// Something to be done at a time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    at: Instant,
    serial: u64,
    what: Due,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Give this packet to this node; whether it comes from another site.
    Deliver(usize, Vec<u8>, bool),
    /// Let go what a rule holds back under this number.
    Release(u64),
}

impl Router {
    /// Starts a router without links.
    pub(super) fn start(topology: &Topology) -> anyhow::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let mut addresses = HashMap::new();
        let mut site = Vec::new();
        for (index, node) in topology.nodes().enumerate() {
            addresses.extend(node.addresses().into_iter().map(|address| (address, index)));
            let place = topology.sites.iter().position(|site| site.name == node.site);
            site.push(place.expect("every node is in a site"));
        }
        addresses.extend(STRANGER.map(|address| (address, site.len())));
        site.push(topology.sites.len());
        let state = Arc::new(Mutex::new(State {
            topology: topology.clone(),
            names: topology.nodes().map(|node| node.name.clone()).collect(),
            addresses,
            site,
            links: Vec::new(),
            detour: HashMap::new(),
            masqueraded: HashMap::new(),
            rules: Vec::new(),
            masquerade: Nat::default(),
            nat: Nat::default(),
            later: BinaryHeap::new(),
            serial: 0,
            start: Instant::now(),
            seen: Vec::new(),
        }));
        let router = Self {
            state: Arc::clone(&state),
            wake: Arc::new(wake),
        };
        std::thread::Builder::new()
            .name("router".to_owned())
            .spawn(move || work(&state, &woken))?;
        Ok(router)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the router does not panic")
    }

    /// Takes over the router's end of a link, by its index; returns the link's number. Must run in the router's namespace.
    pub(super) fn attach(&self, index: u32, mac: [u8; 6], node: usize, mtu: u32) -> anyhow::Result<usize> {
        let socket = sys::packet_socket(index).context("cannot open a packet socket")?;
        // Beyond the system's limit where that is allowed, else up to it.
        if nix::sys::socket::setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES).is_err() {
            socket.set_recv_buffer_size(QUEUE_BYTES)?;
        }
        let mut state = self.state();
        state.links.push(Link {
            socket: Arc::new(socket),
            mac,
            node,
            mtu,
        });
        let number = state.links.len() - 1;
        drop(state);
        (&*self.wake).write_all(&[0])?;
        Ok(number)
    }

    /// From now on this applies to these packets.
    pub(super) fn add_rule(&self, id: u64, on: On, action: Action) -> anyhow::Result<()> {
        let mut state = self.state();
        let rule = Rule::new(id, on, action, &state.topology)?;
        state.rules.push(rule);
        Ok(())
    }

    /// Takes a rule away; what it held back goes on.
    pub(super) fn remove_rule(&self, id: u64) {
        let mut state = self.state();
        state.rules.retain(|rule| rule.id != id);
        state.nat = Nat::default();
    }

    /// What other sites send to a node takes this link from now on, or its first one again.
    pub(super) fn detour(&self, node: usize, link: Option<usize>) {
        let mut state = self.state();
        match link {
            Some(link) => state.detour.insert(node, link),
            None => state.detour.remove(&node),
        };
    }

    /// What a pod sends is on the wire as its node's, and what answers it goes to the node, for the pod.
    pub(super) fn masquerade(&self, pod: Ipv4Addr, node: Ipv4Addr, number: usize) {
        let mut state = self.state();
        state.masqueraded.insert(pod.into(), node.into());
        state.addresses.insert(pod.into(), number);
    }

    /// Larger packets than this do not get into the node.
    pub(super) fn set_link_mtu(&self, node: usize, mtu: u32) {
        for link in self.state().links.iter_mut().filter(|link| link.node == node) {
            link.mtu = mtu;
        }
    }

    /// Everything seen since this was last asked.
    pub(super) fn take_traffic(&self) -> Traffic {
        Traffic(std::mem::take(&mut self.state().seen))
    }
}

/// Addresses of the host that is no part of any site.
pub(super) const STRANGER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 7)),
];

/// The router's legs towards the stranger.
pub(super) const STRANGER_GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1)),
];

fn work(state: &Mutex<State>, woken: &UnixStream) {
    let mut sockets: Vec<Arc<Socket>> = Vec::new();
    let mut buffer = vec![0; 65_536 + packet::ETHERNET];
    loop {
        let timeout = {
            let mut state = state.lock().expect("who holds it does not panic");
            state.do_what_is_due();
            if sockets.len() != state.links.len() {
                sockets = state.links.iter().map(|link| Arc::clone(&link.socket)).collect();
            }
            state.later.peek().map(|Reverse(next)| next.at)
        };
        let timeout = match timeout {
            // Rounded up: a millisecond too late is a millisecond of delay, too early is a busy loop.
            Some(at) => {
                let millis = at.saturating_duration_since(Instant::now()).as_micros().div_ceil(1_000);
                PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
            }
            None => PollTimeout::NONE,
        };
        let mut waiting: Vec<PollFd<'_>> = std::iter::once(woken.as_fd())
            .chain(sockets.iter().map(|socket| socket.as_fd()))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if poll(&mut waiting, timeout).is_err() {
            continue;
        }
        let ready: Vec<bool> = waiting.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            // Only says that there is a new link.
            while (&*woken).read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
        for (link, socket) in sockets.iter().enumerate().filter(|&(link, _)| ready[link + 1]) {
            let mut state = state.lock().expect("who holds it does not panic");
            for _ in 0..BATCH {
                match (&**socket).read(&mut buffer) {
                    Ok(count) => {
                        if let Some(packet) = Packet::of_frame(&buffer[..count]) {
                            state.take(link, packet);
                        }
                    }
                    Err(_) => break,
                }
            }
        }
    }
}

impl State {
    fn take(&mut self, link: usize, mut packet: Packet) {
        if is_local(packet.destination) {
            return;
        }
        let from = self.links[link].node;
        // The node's own business, before the packet is on any wire.
        if let Some(&node) = self.masqueraded.get(&packet.source) {
            let change = Change {
                source: Some(node),
                ..Change::default()
            };
            self.masquerade.translate(&mut packet, change);
        } else {
            self.masquerade.pass(&packet);
        }
        let record = self.record(Some(from), &packet);
        if self.is_own(packet.destination) {
            if let Some(reply) = answer::echo_reply(&packet) {
                self.deliver(from, &reply.bytes, true);
            }
            return;
        }
        self.nat.restore(&mut packet);
        let Some(&to) = self.addresses.get(&packet.destination) else {
            self.refuse(from, record, &packet, Error::NoRoute);
            return;
        };
        let inside = self.site[from] == self.site[to];
        if !inside {
            if packet.ttl <= 1 {
                self.refuse(from, record, &packet, Error::TimeExceeded);
                return;
            }
            packet.age();
        }
        self.forward(from, to, record, packet, inside);
    }

    fn forward(&mut self, from: usize, to: usize, record: usize, mut packet: Packet, inside: bool) {
        let mut delay = Duration::ZERO;
        let mut copies = 1;
        let mut change = None;
        let mut mtu = if inside { u32::MAX } else { self.topology.wan_mtu };
        let mut told = true;
        let mut released = Vec::new();
        let now = Instant::now();
        for index in 0..self.rules.len() {
            let rule = &mut self.rules[index];
            if !rule.covers(Some(from), to, &packet, inside) {
                continue;
            }
            match rule.judge(&packet, now) {
                Verdict::Pass => {}
                Verdict::Lose => {
                    self.lose(record);
                    return;
                }
                Verdict::Reject(how) => {
                    self.refuse(from, record, &packet, Error::Rejected(how));
                    return;
                }
                Verdict::Narrow { bytes, told: says } => {
                    if bytes < mtu {
                        (mtu, told) = (bytes, says);
                    }
                }
                Verdict::Change(wanted) => change = Some(wanted),
                Verdict::Delay(by) => delay += by,
                Verdict::Twice => copies = 2,
                Verdict::Hold(hold) => {
                    rule.hold(hold, to, packet);
                    self.push(now + rule::LONGEST_HOLD, Due::Release(hold));
                    return;
                }
                Verdict::Overtake(held) => released.extend(self.rules[index].release(held)),
            }
        }
        let size = u32::try_from(packet.bytes.len()).expect("a packet is shorter than 64 KiB");
        if size > mtu && packet.whole {
            if told {
                self.refuse(from, record, &packet, Error::TooBig(mtu));
            } else {
                self.lose(record);
            }
            return;
        }
        let mut to = to;
        if let Some(change) = change {
            self.nat.translate(&mut packet, change);
            to = self.addresses.get(&packet.destination).copied().unwrap_or(to);
        } else {
            self.nat.pass(&packet);
        }
        self.masquerade.restore(&mut packet);
        let pieces = if size > mtu {
            packet::fragments(&packet, mtu as usize)
        } else {
            vec![packet.bytes]
        };
        for piece in pieces {
            for _ in 0..copies {
                if delay.is_zero() {
                    self.deliver(to, &piece, !inside);
                } else {
                    self.push(now + delay, Due::Deliver(to, piece.clone(), !inside));
                }
            }
        }
        for (to, packet) in released {
            self.let_go(to, packet, !inside);
        }
    }

    /// Gives a node what was held back for it.
    fn let_go(&mut self, to: usize, mut packet: Packet, from_outside: bool) {
        self.masquerade.restore(&mut packet);
        self.deliver(to, &packet.bytes, from_outside);
    }

    /// Tells a sender what is wrong with its packet, unless a rule drops that too.
    fn refuse(&mut self, sender: usize, record: usize, about: &Packet, error: Error) {
        self.lose(record);
        let gateways = match self.topology.sites.get(self.site[sender]) {
            Some(site) => (site.gateway4(), site.gateway6()),
            None => return,
        };
        let reset = match error {
            Error::Rejected(super::fault::Rejection::Reset) => answer::reset(about),
            _ => None,
        };
        let Some(mut answer) = reset.or_else(|| answer::error(about, gateways, error)) else {
            return;
        };
        let now = Instant::now();
        let dropped = self
            .rules
            .iter_mut()
            .any(|rule| rule.covers(None, sender, &answer, false) && matches!(rule.judge(&answer, now), Verdict::Lose));
        let record = self.record(None, &answer);
        if dropped {
            self.lose(record);
        } else {
            self.masquerade.restore(&mut answer);
            self.deliver(sender, &answer.bytes, true);
        }
    }

    fn deliver(&mut self, to: usize, packet: &[u8], from_outside: bool) {
        let detour = self.detour.get(&to).filter(|_| from_outside);
        // The first link of each node has the node's own number.
        let link = &self.links[detour.copied().unwrap_or(to)];
        if packet.len() > link.mtu as usize {
            return;
        }
        let kind: [u8; 2] = if packet[0] >> 4 == 4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        let frame = [&link.mac[..], &[2, 0, 0, 0, 0, 1], &kind, packet].concat();
        // A link that is down loses packets; so does a real one.
        let _ = link.socket.send(&frame);
    }

    fn push(&mut self, at: Instant, what: Due) {
        self.serial += 1;
        self.later.push(Reverse(Later {
            at,
            serial: self.serial,
            what,
        }));
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        while self.later.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(next)) = self.later.pop() else { return };
            match next.what {
                Due::Deliver(to, packet, from_outside) => self.deliver(to, &packet, from_outside),
                Due::Release(held) => {
                    let released: Vec<(usize, Packet)> =
                        self.rules.iter_mut().filter_map(|rule| rule.release(held)).collect();
                    for (to, packet) in released {
                        self.let_go(to, packet, true);
                    }
                }
            }
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let leg = |site: &super::topology::Site| address == site.gateway4() || address == site.gateway6();
        self.topology.sites.iter().any(leg) || STRANGER_GATEWAYS.contains(&address)
    }

    fn name(&self, node: usize) -> String {
        self.names.get(node).map_or("stranger", String::as_str).to_owned()
    }

    fn record(&mut self, sender: Option<usize>, packet: &Packet) -> usize {
        let payload = packet.payload();
        self.seen.push(Seen {
            at_micros: u64::try_from(self.start.elapsed().as_micros()).expect("a lab does not last for ages"),
            sender: sender.map(|node| self.name(node)),
            receiver: self.addresses.get(&packet.destination).map(|&node| self.name(node)),
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            ports: packet.ports,
            icmp: packet.icmp.map(|icmp| (icmp.kind, icmp.code)),
            bytes: u32::try_from(packet.bytes.len()).expect("a packet is shorter than 64 KiB"),
            payload_bytes: u32::try_from(payload.len()).expect("a packet is shorter than 64 KiB"),
            head: payload.iter().take(16).copied().collect(),
            lost: false,
        });
        self.seen.len() - 1
    }

    fn lose(&mut self, record: usize) {
        if let Some(seen) = self.seen.get_mut(record) {
            seen.lost = true;
        }
    }
}

/// Whether an address has no meaning beyond a link: what kernels say among neighbours is nobody's business.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast() || address.is_link_local(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}
