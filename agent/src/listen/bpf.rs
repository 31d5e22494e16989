//! The filter of the capture, as a classic BPF program: of all packets only those that begin as our messages do.

use nix::libc;
use socket2::SockFilter;

use crate::nonce::MAGIC;

/// Bytes of each packet that are kept: an IP header with options, a UDP header and a message.
pub(super) const SNAP_BYTES: u32 = 256;

const PROTOCOL_UDP: u32 = 17;

/// Keeps packets to this host whose UDP payload, or whose payload of any other protocol, begins with [`MAGIC`]; IPv4
/// except for fragments, and IPv6 without extension headers. Offsets are from the IP header on, as of `SOCK_DGRAM` packet sockets.
pub(super) fn of_messages() -> Vec<SockFilter> {
    let magic = u32::from_be_bytes(MAGIC);
    let packet_type = u32::from_ne_bytes((libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).to_ne_bytes());
    vec![
        // 0: packets that this host itself sends, and those to others, are no arrivals.
        load_byte_at(packet_type),
        jump_if_equal(u32::from(libc::PACKET_HOST), 0, REJECT - 2),
        // 2: the version of IP.
        load_byte_at(0),
        and(0xF0),
        jump_if_equal(0x40, 0, 10 - 5),
        // 5: IPv4: no fragments; X is the length of the header, A the protocol.
        load_half_at(6),
        jump_if_any_bit(0x3FFF, REJECT - 7, 0),
        load_header_length_into_x(0),
        load_byte_at(9),
        jump_always(13 - 10),
        // 10: IPv6: the same.
        jump_if_equal(0x60, 0, REJECT - 11),
        load_into_x(40),
        load_byte_at(6),
        // 13: the payload begins behind the UDP header, or else straight behind that of IP.
        jump_if_equal(PROTOCOL_UDP, 0, 16 - 14),
        load_word_behind_x(8),
        jump_always(17 - 16),
        // 16
        load_word_behind_x(0),
        // 17
        jump_if_equal(magic, 0, REJECT - 18),
        give(SNAP_BYTES),
        // 19
        give(0),
    ]
}

/// Where the program rejects a packet.
const REJECT: u8 = 19;

fn statement(code: u32, value: u32) -> SockFilter {
    SockFilter::new(u16::try_from(code).expect("operations are of 16 bits"), 0, 0, value)
}
fn load_byte_at(offset: u32) -> SockFilter {
    statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
}
fn load_half_at(offset: u32) -> SockFilter {
    statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
}
fn load_word_behind_x(offset: u32) -> SockFilter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_IND, offset)
}
fn load_header_length_into_x(offset: u32) -> SockFilter {
    statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, offset)
}
fn load_into_x(value: u32) -> SockFilter {
    statement(libc::BPF_LDX | libc::BPF_IMM, value)
}
fn and(value: u32) -> SockFilter {
    statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, value)
}
fn give(bytes: u32) -> SockFilter {
    statement(libc::BPF_RET | libc::BPF_K, bytes)
}
fn jump_always(by: u32) -> SockFilter {
    statement(libc::BPF_JMP | libc::BPF_JA, by)
}
fn jump_if_equal(value: u32, then: u8, otherwise: u8) -> SockFilter {
    jump(libc::BPF_JEQ, value, then, otherwise)
}
fn jump_if_any_bit(bits: u32, then: u8, otherwise: u8) -> SockFilter {
    jump(libc::BPF_JSET, bits, then, otherwise)
}
fn jump(condition: u32, value: u32, then: u8, otherwise: u8) -> SockFilter {
    let code = u16::try_from(libc::BPF_JMP | condition | libc::BPF_K).expect("operations are of 16 bits");
    SockFilter::new(code, then, otherwise, value)
}
