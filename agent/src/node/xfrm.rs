//! IPsec policies.

use prejoin_checks::facts::kernel::XfrmPolicy;
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};

use crate::node::features::kernel_listens;
use crate::node::netlink::{self, Netlink};
use crate::node::tree::Tree;

const XFRM_MSG_GETPOLICY: u16 = 0x15;
/// `struct xfrm_userpolicy_id`, which the kernel wants in a question even when it asks for all.
const QUESTION_BYTES: usize = 64;
/// Where things stand in `struct xfrm_userpolicy_info`: the selector first, then limits and counters of lifetimes, priority, index.
const DESTINATION: usize = 0;
const SOURCE: usize = 16;
const FAMILY: usize = 40;
const DESTINATION_LEN: usize = 42;
const SOURCE_LEN: usize = 43;
const DIRECTION: usize = 160;

/// The policies in force. Where the kernel's part for them is not loaded there are none; asking would load it.
pub(super) fn read(tree: &Tree, deadline: std::time::Instant) -> Fact<Vec<XfrmPolicy>> {
    match kernel_listens(tree, netlink::XFRM.unsigned_abs()) {
        Ok(true) => super::fact("ip xfrm policy", "", ask(deadline)),
        Ok(false) if tree.path("/proc/net/pfkey").exists() => Fact::unknown(
            Reason::NotFound,
            "ip xfrm policy: policies may have been made by af_key, and xfrm_user is not loaded to show them",
        ),
        Ok(false) => Fact::known(
            Vec::new(),
            Source::estimate("/proc/net/netlink", "neither xfrm_user nor af_key"),
        ),
        Err(unknown) => Fact::Unknown(unknown),
    }
}

fn ask(deadline: std::time::Instant) -> Result<Vec<XfrmPolicy>, Unknown> {
    let what = "ip xfrm policy";
    let mut netlink = Netlink::open(netlink::XFRM, deadline)?;
    let policies = netlink.dump(
        what,
        XFRM_MSG_GETPOLICY,
        &[0; QUESTION_BYTES],
        |policies: &mut Vec<XfrmPolicy>, message| {
            policies.extend(policy(message));
        },
    );
    policies.map_err(|refusal| refusal.into_unknown(what))?.whole(what)
}

/// The policy in an `XFRM_MSG_NEWPOLICY` message; none for that of a single socket.
fn policy(message: &[u8]) -> Option<XfrmPolicy> {
    let direction = match message.get(DIRECTION)? {
        0 => "in",
        1 => "out",
        2 => "fwd",
        _ => return None,
    };
    let family = u16::from_ne_bytes(*message.get(FAMILY..)?.first_chunk()?);
    let prefix = |at: usize, length: usize| {
        Some(format!(
            "{}/{}",
            selector_address(family, message.get(at..at + 16)?)?,
            message.get(length)?
        ))
    };
    Some(XfrmPolicy {
        direction: direction.to_owned(),
        source: prefix(SOURCE, SOURCE_LEN)?,
        destination: prefix(DESTINATION, DESTINATION_LEN)?,
    })
}

/// Unlike elsewhere in netlink an unspecified address is one: the policy for all.
fn selector_address(family: u16, bytes: &[u8]) -> Option<std::net::IpAddr> {
    match family {
        2 => Some(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?.into()),
        10 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(message: &[u8]) {
    let _ = policy(message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(direction: u8) -> Vec<u8> {
        let mut bytes = vec![0; 168];
        bytes[..4].copy_from_slice(&[10, 2, 0, 0]);
        bytes[16..20].copy_from_slice(&[10, 1, 0, 0]);
        bytes[FAMILY..FAMILY + 2].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[DESTINATION_LEN] = 16;
        bytes[SOURCE_LEN] = 24;
        bytes[DIRECTION] = direction;
        bytes
    }

    #[test]
    fn a_policy_has_direction_and_selectors() {
        let expected = XfrmPolicy {
            direction: "out".to_owned(),
            source: "10.1.0.0/24".to_owned(),
            destination: "10.2.0.0/16".to_owned(),
        };
        assert_eq!(policy(&message(1)), Some(expected));
    }

    #[test]
    fn a_policy_for_everything_is_one() {
        let mut bytes = vec![0; 168];
        bytes[FAMILY..FAMILY + 2].copy_from_slice(&10_u16.to_ne_bytes());
        assert_eq!(policy(&bytes).expect("a policy").source, "::/0");
    }

    #[test]
    fn a_sockets_own_policy_is_left_out() {
        assert_eq!(policy(&message(3)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = policy(&bytes);
        }
    }
}
