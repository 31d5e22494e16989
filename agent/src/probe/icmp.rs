//! ICMP echoes: whether they are answered, how fast, and who says why not.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pnet::packet::icmp::IcmpTypes;
use pnet::packet::icmpv6::Icmpv6Types;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Sent;
use prejoin_checks::plan::cost;
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use super::outcome::Met;
use super::tally::{Arrival, Tally};
use super::{ProbeContext, local_failure};
use crate::sys;

/// Echoes of one client that wait for answers at once: more overflow its buffer, and are lost without the network's doing.
const IN_FLIGHT: usize = 128;
const RECEIVE_BUFFER_BYTES: i32 = 8 << 20;
const PAYLOAD: [u8; cost::NONCE_BYTES as usize] = [0; cost::NONCE_BYTES as usize];

/// One client for each family: each raw client gets a copy of all ICMP of the host.
#[derive(Default)]
pub(super) struct Clients {
    v4: OnceCell<Family>,
    v6: OnceCell<Family>,
}

struct Family {
    client: Client,
    room: Semaphore,
}

impl Clients {
    async fn family(&self, ipv6: bool) -> io::Result<&Family> {
        let (cell, kind) = if ipv6 {
            (&self.v6, ICMP::V6)
        } else {
            (&self.v4, ICMP::V4)
        };
        cell.get_or_try_init(async || {
            // A raw socket is told of errors; a ping socket only of answers.
            let raw = Config::builder().kind(kind).sock_type_hint(socket2::Type::RAW).build();
            let client = Client::new(&raw)?;
            sys::prepare_icmp(&client, ipv6, RECEIVE_BUFFER_BYTES)?;
            Ok(Family {
                client,
                room: Semaphore::new(IN_FLIGHT),
            })
        })
        .await
    }
}

/// What became of one echo.
enum Echo {
    Answered(Duration, Option<u8>),
    Failed(Met),
    Silent,
}

/// Sends echoes and waits for their answers.
pub(super) async fn probe(context: &ProbeContext, clients: &Clients, id: u32, target: IpAddr) -> Result<Sent, Unknown> {
    let family = clients
        .family(target.is_ipv6())
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unknown::new(
                Reason::Forbidden,
                "ICMP echoes may not be sent: no CAP_NET_RAW, and net.ipv4.ping_group_range is closed",
            ),
            _ => local_failure("an ICMP socket", &error),
        })?;
    let tally = std::sync::Mutex::new(Tally::default());
    let lock = || tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let one = async || {
        let _room = family.room.acquire().await;
        context.pacers.take(target, cost::EXCHANGE_PACKETS).await;
        let begun = context.elapsed();
        let sequence = lock().send(begun, 0);
        let echo = echo(context, &family.client, id, sequence, target).await;
        let mut tally = lock();
        match echo {
            Echo::Answered(round_trip, ttl) => {
                let arrival = Arrival {
                    at: begun + round_trip,
                    clock_micros: 0,
                    sent_micros: 0,
                    ttl,
                };
                // Begun anew: waiting in line is no part of the round trip.
                tally.restart(sequence, begun);
                tally.answer(sequence, 0, arrival, None);
            }
            Echo::Failed(met) => tally.errors.add(met),
            Echo::Silent => {}
        }
    };
    let mut running = FuturesUnordered::new();
    for attempt in 0..cost::TRIES {
        let count = if attempt == 0 {
            context.pace.samples.max(1)
        } else {
            cost::ICMP_RETRY_ECHOES
        };
        running.extend((0..count).map(|_| one()));
        if attempt + 1 < cost::TRIES {
            // The next try begins while answers to this one may still come.
            let deadline = Instant::now() + context.stagger();
            while let Ok(Some(())) = tokio::time::timeout_at(deadline, running.next()).await {}
        }
        if lock().answered() > 0 {
            break;
        }
    }
    while running.next().await.is_some() {}
    drop(running);
    let mut sent = lock().finish();
    sent.from = super::source_address((target, 9).into());
    Ok(sent)
}

/// One echo. Its identifier and sequence number are the probe's own, so that no two wait for the same answer.
async fn echo(context: &ProbeContext, client: &Client, id: u32, sequence: u32, target: IpAddr) -> Echo {
    let identifier = u16::try_from(id.wrapping_add(std::process::id()) & 0xFFFF).unwrap_or_default();
    // Ping sockets have an identifier of the kernel's choice: there, the sequence number alone tells probes to one target apart.
    let number = u16::try_from((id.wrapping_mul(251).wrapping_add(sequence)) & 0xFFFF).unwrap_or_default();
    let mut pinger = client.pinger(target, PingIdentifier(identifier)).await;
    pinger.timeout(context.timeout());
    context.count(1);
    match pinger.ping(PingSequence(number), &PAYLOAD).await {
        Ok((packet, round_trip)) => judge(&packet, round_trip),
        Err(SurgeError::IOError(error)) => Echo::Failed(Met::of_call(target.is_ipv6(), &error)),
        Err(_) => Echo::Silent,
    }
}

/// What came back may be an error that quotes the echo.
fn judge(packet: &IcmpPacket, round_trip: Duration) -> Echo {
    match packet {
        IcmpPacket::V4(packet) if packet.get_icmp_type() == IcmpTypes::EchoReply => {
            Echo::Answered(round_trip, packet.get_ttl())
        }
        IcmpPacket::V6(packet) if packet.get_icmpv6_type() == Icmpv6Types::EchoReply => {
            Echo::Answered(round_trip, Some(packet.get_max_hop_limit()).filter(|&hops| hops > 0))
        }
        IcmpPacket::V4(packet) => {
            let icmp = (packet.get_icmp_type().0, packet.get_icmp_code().0);
            Echo::Failed(Met::of_icmp(false, icmp, Some(packet.get_source().into()), None))
        }
        IcmpPacket::V6(packet) => {
            let icmp = (packet.get_icmpv6_type().0, packet.get_icmpv6_code().0);
            Echo::Failed(Met::of_icmp(true, icmp, Some(packet.get_source().into()), None))
        }
    }
}
