//! What this process can do, found by trying. Nothing is sent.

use prejoin_checks::observation::Abilities;
use socket2::{Domain, Protocol, Socket, Type};

/// Opens a socket of each kind, and closes it.
pub(super) fn find() -> Abilities {
    let opens = |domain, kind, protocol| Socket::new(domain, kind, protocol).is_ok();
    let (icmp_v4, icmp_v6) = (Some(Protocol::ICMPV4), Some(Protocol::ICMPV6));
    // Both need CAP_NET_RAW in the network's own user namespace.
    let raw = opens(Domain::IPV4, Type::RAW, icmp_v4) && opens(Domain::PACKET, Type::DGRAM, None);
    Abilities {
        raw,
        // Without the capability, the kernel sends echoes for groups in net.ipv4.ping_group_range.
        icmp: raw || opens(Domain::IPV4, Type::DGRAM, icmp_v4) || opens(Domain::IPV6, Type::DGRAM, icmp_v6),
        ipv4: opens(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)),
        ipv6: opens(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)),
    }
}
