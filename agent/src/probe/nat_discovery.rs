//! Submariner's NAT discovery, asked as its gateways ask each other (`pkg/natdiscovery/proto/natdiscovery.proto`).
//!
//! What its listener may be sent is law here: never an empty datagram, which stops it until the pod restarts; never the response form,
//! which it dereferences unchecked; never more than its 2,048 bytes; always from one and the same socket. [`Request`] can be nothing else.

use std::net::{IpAddr, SocketAddr};

use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{NatDiscoveryAnswer, Sent};
use prejoin_checks::plan::cost;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::outcome::Met;
use super::tally::{Arrival, Tally};
use super::{ProbeContext, cut, local_failure};
use crate::datagram::{self, clock_micros};

/// The longest name that is sent or kept: a DNS name's length.
const NAME_BYTES: usize = 253;
/// Who asks; no cluster of the mesh is called so.
const SENDER: &str = "prejoin";

/// Whom to ask.
pub(super) struct Order<'a> {
    pub(super) target: SocketAddr,
    pub(super) cluster_id: &'a str,
    pub(super) endpoint_id: &'a str,
}

/// Asks, and again if nothing answers, always from the same socket.
pub(super) async fn probe(context: &ProbeContext, order: Order<'_>) -> Result<Sent, Unknown> {
    if order.target.is_ipv6() {
        return Err(Unknown::new(
            Reason::NotAsked,
            "Submariner's NAT discovery speaks IPv4 only",
        ));
    }
    let opened = async {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
        datagram::tell_errors(&socket, false)?;
        socket.connect(order.target).await?;
        let from = socket.local_addr()?;
        Ok((socket, from))
    };
    let (socket, from) = opened.await.map_err(|error| local_failure("a UDP socket", &error))?;
    let mut tally = Tally::default();
    let mut answer = None;
    for attempt in 1..=cost::TRIES {
        context.pacers.take(order.target.ip(), cost::EXCHANGE_PACKETS).await;
        let sequence = tally.send(context.elapsed(), from.port());
        let number = u64::from(sequence) + 1;
        match socket.send(&Request::new(number, from, &order).0).await {
            Ok(_) => context.count(1),
            Err(error) => tally.errors.add(Met::of_call(false, &error)),
        }
        let patience = if attempt == cost::TRIES {
            context.timeout()
        } else {
            context.stagger()
        };
        answer = receive(
            context,
            &socket,
            &mut tally,
            order.target,
            from.port(),
            Instant::now() + patience,
        )
        .await;
        if answer.is_some() {
            break;
        }
    }
    let mut sent = tally.finish();
    sent.from = Some(from.ip());
    sent.nat_discovery = answer;
    Ok(sent)
}

async fn receive(
    context: &ProbeContext,
    socket: &UdpSocket,
    tally: &mut Tally,
    target: SocketAddr,
    port: u16,
    deadline: Instant,
) -> Option<NatDiscoveryAnswer> {
    let mut buffer = [0; 2_048];
    loop {
        let received = timeout_at(deadline, socket.recv(&mut buffer)).await.ok()?;
        while let Ok(queued) = datagram::read_error(socket) {
            tally.errors.add(queued.met);
        }
        let Ok(length) = received else { continue };
        let Some((number, answer)) = parse(&buffer[..length]) else {
            tally.foreign(target);
            continue;
        };
        let arrival = Arrival {
            at: context.elapsed(),
            clock_micros: clock_micros(),
            sent_micros: 0,
            ttl: None,
        };
        let sequence = number
            .checked_sub(1)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(u32::MAX);
        if tally.answer(sequence, port, arrival, None) {
            return Some(answer);
        }
    }
}

/// A request as it goes on the wire: never empty, never a response.
struct Request(Vec<u8>);

impl Request {
    fn new(number: u64, from: SocketAddr, order: &Order<'_>) -> Self {
        let details = |cluster: &str, endpoint: &str| [text(1, cluster), text(2, endpoint)].concat();
        let pair =
            |address: SocketAddr| [text(1, &address.ip().to_string()), varint(2, address.port().into())].concat();
        let request = [
            varint(1, number),
            bytes(2, &details(SENDER, SENDER)),
            bytes(3, &details(order.cluster_id, order.endpoint_id)),
            bytes(4, &pair(from)),
            bytes(5, &pair(order.target)),
        ];
        Self([varint(1, 1), bytes(2, &request.concat())].concat())
    }
}

fn varint(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    put(&mut out, value);
    out
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    put(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

/// A name, cut where it is longer than a name can be.
fn text(field: u8, value: &str) -> Vec<u8> {
    bytes(field, cut(value, NAME_BYTES).as_bytes())
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

/// One field of a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The next field of a message; none at its end, or where it is malformed.
fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = take_varint(message)?;
    let value = match tag & 7 {
        0 => Value::Number(take_varint(message)?),
        1 => Value::Bytes(take(message, 8)?),
        2 => {
            let length = usize::try_from(take_varint(message)?).ok()?;
            Value::Bytes(take(message, length)?)
        }
        5 => Value::Bytes(take(message, 4)?),
        _ => return None,
    };
    (tag >> 3 != 0).then_some((tag >> 3, value))
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// All fields of a message, if it is one.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut all = Vec::new();
    while !message.is_empty() {
        all.push(field(&mut message)?);
    }
    Some(all)
}

fn name(value: Value<'_>) -> String {
    match value {
        Value::Bytes(bytes) => {
            let text: String = String::from_utf8_lossy(bytes)
                .chars()
                .filter(|character| !character.is_control())
                .collect();
            cut(&text, NAME_BYTES).to_owned()
        }
        Value::Number(_) => String::new(),
    }
}

/// A response, with the number of the request it answers.
fn parse(datagram: &[u8]) -> Option<(u64, NatDiscoveryAnswer)> {
    let response = fields(datagram)?.into_iter().find_map(|field| match field {
        (3, Value::Bytes(response)) => Some(response),
        _ => None,
    })?;
    let mut number = 0;
    let mut code = 0;
    let mut answer = NatDiscoveryAnswer::default();
    for field in fields(response)? {
        match field {
            (1, Value::Number(value)) => number = value,
            (2, Value::Number(value)) => code = value,
            (3, Value::Bytes(sender)) => {
                for (field, value) in fields(sender)? {
                    match field {
                        1 => answer.cluster_id = name(value),
                        2 => answer.endpoint_id = name(value),
                        _ => {}
                    }
                }
            }
            (5, Value::Number(value)) => answer.src_ip_nat = value != 0,
            (6, Value::Number(value)) => answer.src_port_nat = value != 0,
            (7, Value::Number(value)) => answer.dst_ip_nat = value != 0,
            (8, Value::Bytes(pair)) => answer.received_src = received_from(pair)?,
            _ => {}
        }
    }
    answer.result = match code {
        0 => "OK".to_owned(),
        1 => "NAT_DETECTED".to_owned(),
        2 => "UNKNOWN_DST_CLUSTER".to_owned(),
        3 => "UNKNOWN_DST_ENDPOINT".to_owned(),
        4 => "MALFORMED".to_owned(),
        other => other.to_string(),
    };
    Some((number, answer))
}

/// An address and port as `192.0.2.1:4500`; empty where it is none.
fn received_from(pair: &[u8]) -> Option<String> {
    let (mut address, mut port) = (None, None);
    for field in fields(pair)? {
        match field {
            (1, value @ Value::Bytes(_)) => address = name(value).parse::<IpAddr>().ok(),
            (2, Value::Number(value)) => port = u16::try_from(value).ok(),
            _ => {}
        }
    }
    Some(
        address
            .zip(port)
            .map(|pair| SocketAddr::from(pair).to_string())
            .unwrap_or_default(),
    )
}

/// For fuzzing: whatever arrives, parsing it does not panic, and keeps no more than arrived.
pub(super) fn fuzz(datagram: &[u8]) {
    if let Some((_, answer)) = parse(datagram) {
        assert!(answer.cluster_id.len() <= NAME_BYTES && answer.endpoint_id.len() <= NAME_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(cluster_id: &str, endpoint_id: &str) -> Vec<u8> {
        let order = Order {
            target: "192.0.2.9:4490".parse().unwrap(),
            cluster_id,
            endpoint_id,
        };
        Request::new(1, "198.51.100.7:40000".parse().unwrap(), &order).0
    }

    fn response(code: u64) -> Vec<u8> {
        let sender = [text(1, "west"), text(2, "submariner-cable-west-192-0-2-9")].concat();
        let source = [text(1, "203.0.113.5"), varint(2, 61_000)].concat();
        let response = [
            varint(1, 1),
            varint(2, code),
            bytes(3, &sender),
            varint(5, 1),
            varint(6, 1),
            bytes(8, &source),
        ];
        bytes(3, &response.concat())
    }

    proptest! {
        #[test]
        fn a_request_is_never_empty_and_never_a_response(cluster in ".{0,400}", endpoint in ".{0,400}") {
            let request = request(&cluster, &endpoint);
            prop_assert!(!request.is_empty() && request.len() <= 2_048);
            let fields = fields(&request).unwrap();
            prop_assert_eq!(fields.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
            // Every part must be there: what is missing is answered with MALFORMED.
            let Value::Bytes(inner) = fields[1].1 else { panic!("a message") };
            let parts: Vec<_> = super::fields(inner).unwrap().into_iter().map(|(number, _)| number).collect();
            prop_assert_eq!(parts, [1, 2, 3, 4, 5]);
            prop_assert!(parse(&request).is_none(), "it is not taken for an answer either");
        }

        #[test]
        fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..80) {
            fuzz(&bytes);
            let mut changed = response(0);
            let at = at % changed.len();
            changed[at] = bytes.first().copied().unwrap_or(0xFF);
            fuzz(&changed);
            changed.truncate(at);
            fuzz(&changed);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_gateways() {
        let expected: &[u8] = &[
            8, 1, 18, 69, 8, 1, // version 1, request of 69 bytes, number 1
            18, 18, 10, 7, b'p', b'r', b'e', b'j', b'o', b'i', b'n', 18, 7, b'p', b'r', b'e', b'j', b'o', b'i', b'n',
            26, 9, 10, 4, b'w', b'e', b's', b't', 18, 1, b'c', // the receiver
            34, 18, 10, 12, b'1', b'9', b'8', b'.', b'5', b'1', b'.', b'1', b'0', b'0', b'.', b'7', 16, 0xC0, 0xB8, 2,
            42, 14, 10, 9, b'1', b'9', b'2', b'.', b'0', b'.', b'2', b'.', b'9', 16, 0x8A, 35,
        ];
        let request = request("west", "c");
        assert_eq!(request, expected);
    }

    #[test]
    fn answers_name_who_answers_and_what_it_saw() {
        let (number, answer) = parse(&response(1)).unwrap();
        assert_eq!(number, 1);
        assert_eq!(answer.result, "NAT_DETECTED");
        assert_eq!(
            (answer.cluster_id.as_str(), answer.received_src.as_str()),
            ("west", "203.0.113.5:61000")
        );
        assert_eq!(
            (answer.src_ip_nat, answer.src_port_nat, answer.dst_ip_nat),
            (true, true, false)
        );
        assert_eq!(parse(&response(9)).unwrap().1.result, "9");
        assert_eq!(parse(&[]), None);
    }
}
