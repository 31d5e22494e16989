//! The payload of everything that agents send each other: a numbered, timed message of one audit, authenticated with the audit's key.
//!
//! All messages have the same [`LENGTH`], so an answer is never larger than its question; a path MTU probe is a message with zeros behind
//! it. All numbers are big-endian.
//!
//! ```text
//!  0  D0 'P' 'J'  version                       16  sender's clock, µs since 1970      48  receiver's clock on sending
//!  4  kind                                      24  audit, 16 bytes                    56  sender's address as seen, 16 bytes
//!  5  0                                         40  receiver's clock on receiving      72  sender's port as seen
//!  6  length of the whole datagram, 2 bytes                                            74  0 0
//!  8  probe, 4 bytes                                                                   76  HMAC-SHA256 of bytes 0..76, its first 16 bytes
//! 12  sequence number, 4 bytes                                                         92  zeros up to the length
//! ```
//!
//! Requests reach ports on which a product may already be working, so the first bytes are such that it drops them: VXLAN sees flag I
//! (0x08) unset, Geneve a version other than 0, WireGuard an unknown type, ESP in UDP an SPI that no peer negotiates (on port 4500 it is
//! not IKE's zero marker), STUN and DNS no question. As IKE it has version 0.x and a wrong length; as Submariner's protobuf it has a field
//! with the illegal number 0, which is logged and dropped.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ring::hmac;

/// The length of every message but path MTU probes, which are longer.
pub const LENGTH: usize = 92;
/// The longest datagram that is a message: a jumbo frame and some.
pub const LONGEST: usize = 16_384;
/// How every message begins: a sign and the version of this format.
pub const MAGIC: [u8; 4] = [0xD0, b'P', b'J', 1];

/// Bytes that the authenticator covers.
const SIGNED: usize = 76;

/// What a message is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request; answered by [`Kind::Reply`].
    Request,
    /// The answer to a request.
    Reply,
    /// A request as long as the path is to carry; answered by [`Kind::MtuReply`].
    Mtu,
    /// The answer to that: short.
    MtuReply,
}

impl Kind {
    /// The kind of message that answers this one; none answers an answer.
    pub fn answer(self) -> Option<Self> {
        match self {
            Self::Request => Some(Self::Reply),
            Self::Mtu => Some(Self::MtuReply),
            Self::Reply | Self::MtuReply => None,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Mtu => 3,
            Self::MtuReply => 4,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::Request, Self::Reply, Self::Mtu, Self::MtuReply]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What it is there for.
    pub kind: Kind,
    /// [`PlannedProbe::id`](prejoin_checks::plan::PlannedProbe::id).
    pub probe: u32,
    /// Number within the probe, from 0.
    pub sequence: u32,
    /// The asking side's clock when it sent, in microseconds since 1970.
    pub sent_micros: u64,
    /// What the answering side adds; present in answers.
    pub answer: Option<AnswerPart>,
}

/// What the answering side adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerPart {
    /// Its clock when the request arrived, in microseconds since 1970.
    pub received_micros: u64,
    /// Its clock when it answered.
    pub transmitted_micros: u64,
    /// From where the request came, as it saw it.
    pub seen: SocketAddr,
}

/// Why bytes are no message of this audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Too short, too long, or not as long as it says.
    #[error("not as long as a message is")]
    Length,
    /// It does not begin as messages do.
    #[error("not a message")]
    Magic,
    /// It is of another audit.
    #[error("of another audit")]
    Audit,
    /// The authenticator is not that of this audit's key.
    #[error("forged")]
    Forged,
    /// The authenticator is right, the contents make no sense.
    #[error("malformed")]
    Malformed,
}

/// An audit's identity and key: writes its messages, and knows them.
#[derive(Clone)]
pub struct Seal {
    audit: [u8; 16],
    key: hmac::Key,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("audit", &self.audit)
            .finish_non_exhaustive()
    }
}

impl Seal {
    /// Of this audit, with its key.
    pub fn new(audit: [u8; 16], key: &[u8; 32]) -> Self {
        Self {
            audit,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The same from the hexadecimal text of [`Open`](crate::protocol::Open); none if it is not exactly 16 and 32 bytes.
    pub fn of_hex(audit: &str, key: &str) -> Option<Self> {
        Some(Self::new(of_hex(audit)?, &of_hex(key)?))
    }

    /// A message as it goes on the wire.
    pub fn write(&self, message: &Message) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.write_header(message, LENGTH, &mut bytes);
        bytes
    }

    /// A path MTU probe of this many bytes, at least [`LENGTH`] and at most [`LONGEST`]: a message and zeros.
    pub fn write_padded(&self, message: &Message, length: usize) -> Vec<u8> {
        let length = length.clamp(LENGTH, LONGEST);
        let mut bytes = vec![0; length];
        if let Some(header) = bytes.first_chunk_mut() {
            self.write_header(message, length, header);
        }
        bytes
    }

    fn write_header(&self, message: &Message, length: usize, bytes: &mut [u8; LENGTH]) {
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = message.kind.code();
        let length = u16::try_from(length).expect("messages are at most 16 KiB");
        bytes[6..8].copy_from_slice(&length.to_be_bytes());
        bytes[8..12].copy_from_slice(&message.probe.to_be_bytes());
        bytes[12..16].copy_from_slice(&message.sequence.to_be_bytes());
        bytes[16..24].copy_from_slice(&message.sent_micros.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.audit);
        if let Some(answer) = &message.answer {
            bytes[40..48].copy_from_slice(&answer.received_micros.to_be_bytes());
            bytes[48..56].copy_from_slice(&answer.transmitted_micros.to_be_bytes());
            let seen = match answer.seen.ip() {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            bytes[56..72].copy_from_slice(&seen.octets());
            bytes[72..74].copy_from_slice(&answer.seen.port().to_be_bytes());
        }
        let tag = hmac::sign(&self.key, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag.as_ref()[..LENGTH - SIGNED]);
    }

    /// The message that a whole datagram or packet payload holds.
    pub fn read(&self, datagram: &[u8]) -> Result<Message, Foreign> {
        self.read_cut(datagram, datagram.len())
    }

    /// The message at the beginning of a payload of which a capture kept only the first bytes.
    pub fn read_cut(&self, kept: &[u8], length: usize) -> Result<Message, Foreign> {
        let header: &[u8; LENGTH] = kept.first_chunk().ok_or(Foreign::Length)?;
        if header[0..4] != MAGIC {
            return Err(Foreign::Magic);
        }
        if length > LONGEST || length < kept.len() || length != usize::from(u16::from_be_bytes([header[6], header[7]]))
        {
            return Err(Foreign::Length);
        }
        if header[24..40] != self.audit {
            return Err(Foreign::Audit);
        }
        let tag = hmac::sign(&self.key, &header[..SIGNED]);
        let differ = tag
            .as_ref()
            .iter()
            .zip(&header[SIGNED..])
            .fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs));
        if differ != 0 {
            return Err(Foreign::Forged);
        }
        let kind = Kind::of_code(header[4]).ok_or(Foreign::Malformed)?;
        if kind != Kind::Mtu && length != LENGTH || kept[LENGTH..].iter().any(|&byte| byte != 0) {
            return Err(Foreign::Malformed);
        }
        let answer = kind.answer().is_none().then(|| AnswerPart {
            received_micros: u64::from_be_bytes(part(header, 40)),
            transmitted_micros: u64::from_be_bytes(part(header, 48)),
            seen: SocketAddr::new(
                Ipv6Addr::from(part::<16>(header, 56)).to_canonical(),
                u16::from_be_bytes([header[72], header[73]]),
            ),
        });
        Ok(Message {
            kind,
            probe: u32::from_be_bytes(part(header, 8)),
            sequence: u32::from_be_bytes(part(header, 12)),
            sent_micros: u64::from_be_bytes(part(header, 16)),
            answer,
        })
    }

    /// The probe and sequence number that the beginning of a payload names, if it is one of this format and audit, or is cut off before
    /// it could say which audit: what an ICMP error quotes. Not authenticated.
    pub fn quoted(&self, kept: &[u8]) -> Option<(u32, u32)> {
        let start: &[u8; 16] = kept.first_chunk()?;
        let same_audit = kept.len() < 40 || kept[24..40] == self.audit;
        (start[0..4] == MAGIC && same_audit)
            .then(|| (u32::from_be_bytes(part(start, 8)), u32::from_be_bytes(part(start, 12))))
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("lies within the bytes")
}

fn of_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |character: u8| {
            char::from(character)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// For fuzzing: whatever the bytes are, reading them neither panics nor accepts what this key did not write.
///
/// # Panics
/// If it does.
pub fn fuzz(bytes: &[u8]) {
    let seal = Seal::new([7; 16], &[9; 32]);
    let read = seal.read(bytes);
    seal.quoted(bytes);
    if let Ok(message) = read {
        assert_eq!(
            seal.write_padded(&message, bytes.len()),
            bytes,
            "only what was written is read"
        );
    }
    let _ = seal.read_cut(bytes, bytes.len().saturating_mul(2));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new([7; 16], &[9; 32])
    }

    prop_compose! {
        fn message()(
            code in 1_u8..=4,
            probe: u32,
            sequence: u32,
            sent_micros: u64,
            received_micros: u64,
            transmitted_micros: u64,
            address in prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)],
            port: u16,
        ) -> Message {
            let kind = Kind::of_code(code).unwrap();
            // A mapped address is written and read as the IPv4 address that it is.
            let seen = SocketAddr::new(address.to_canonical(), port);
            let answer = kind.answer().is_none().then_some(AnswerPart { received_micros, transmitted_micros, seen });
            Message { kind, probe, sequence, sent_micros, answer }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message()) {
            prop_assert_eq!(seal().read(&seal().write(&message)), Ok(message));
        }

        #[test]
        fn a_path_mtu_probe_is_read_at_every_length(message in message(), length in LENGTH..=LONGEST) {
            let message = Message { kind: Kind::Mtu, answer: None, ..message };
            let bytes = seal().write_padded(&message, length);
            prop_assert_eq!(bytes.len(), length);
            prop_assert_eq!(seal().read(&bytes), Ok(message));
            prop_assert_eq!(seal().read_cut(&bytes[..LENGTH], length), Ok(message));
        }

        #[test]
        fn a_changed_bit_is_rejected(message in message(), bit in 0..LENGTH * 8) {
            let mut bytes = seal().write(&message);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(seal().read(&bytes).is_err());
        }

        #[test]
        fn a_message_cut_or_prolonged_is_rejected(message in message(), length in 0..LENGTH * 2) {
            prop_assume!(length != LENGTH);
            let mut bytes = seal().write(&message).to_vec();
            bytes.resize(length, 0);
            prop_assert_eq!(seal().read(&bytes), Err(Foreign::Length));
        }

        #[test]
        fn other_audits_and_keys_are_told_apart(message in message()) {
            let bytes = seal().write(&message);
            prop_assert_eq!(Seal::new([8; 16], &[9; 32]).read(&bytes), Err(Foreign::Audit));
            prop_assert_eq!(Seal::new([7; 16], &[8; 32]).read(&bytes), Err(Foreign::Forged));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..300_usize) {
            fuzz(&bytes);
            let mut begun = seal().write(&Message { kind: Kind::Request, probe: 1, sequence: 2, sent_micros: 3, answer: None }).to_vec();
            begun.truncate(cut);
            begun.extend_from_slice(&bytes);
            fuzz(&begun);
        }

        #[test]
        fn what_an_error_quotes_names_the_probe(message in message(), length in 0..=LENGTH) {
            let bytes = seal().write(&message);
            let quoted = seal().quoted(&bytes[..length]);
            prop_assert_eq!(quoted, (length >= 16).then_some((message.probe, message.sequence)));
        }
    }

    #[test]
    fn what_follows_a_path_mtu_probe_must_be_zeros() {
        let message = Message {
            kind: Kind::Mtu,
            probe: 1,
            sequence: 1,
            sent_micros: 0,
            answer: None,
        };
        let mut bytes = seal().write_padded(&message, 1_400);
        bytes[1_399] = 1;
        assert_eq!(seal().read(&bytes), Err(Foreign::Malformed));
    }

    #[test]
    fn products_take_it_for_nothing_of_theirs() {
        let bytes = seal().write(&Message {
            kind: Kind::Request,
            probe: 92,
            sequence: 0,
            sent_micros: 1_790_000_000_000_000,
            answer: None,
        });
        assert_eq!(bytes[0] & 0x08, 0, "VXLAN: flag I is unset (RFC 7348, section 5)");
        assert_ne!(
            bytes[0] >> 6,
            0,
            "Geneve: not version 0 (RFC 8926, section 3.4); STUN: not 00 (RFC 8489, section 5)"
        );
        assert!(
            u32::from_le_bytes(bytes[0..4].try_into().unwrap()) > 4,
            "WireGuard: not one of its message types"
        );
        assert_ne!(
            bytes[0..4],
            [0; 4],
            "UDP 4500: not IKE's marker (RFC 3948, section 2.2)"
        );
        assert_eq!(bytes[17] >> 4, 0, "IKE: major version 0 (RFC 7296, section 3.1)");
        // Protobuf: field 1290 as a varint, then a field with the number 0, which no decoder takes.
        assert_eq!((bytes[0] & 7, bytes[2] & 0x80, bytes[3] >> 3), (0, 0, 0));
    }

    #[test]
    fn keys_come_as_hexadecimal_text() {
        let (audit, key) = ("07".repeat(16), "09".repeat(32));
        let message = Message {
            kind: Kind::Request,
            probe: 1,
            sequence: 1,
            sent_micros: 0,
            answer: None,
        };
        let bytes = Seal::of_hex(&audit, &key).unwrap().write(&message);
        assert_eq!(seal().read(&bytes), Ok(message));
        for (audit, key) in [
            ("07", key.as_str()),
            (&audit, "09"),
            (&"0x".repeat(16), &key),
            (&"é".repeat(16), &key),
        ] {
            assert!(Seal::of_hex(audit, key).is_none(), "{audit} {key}");
        }
        assert!(!format!("{:?}", seal()).contains('9'), "the key is not shown");
    }
}
