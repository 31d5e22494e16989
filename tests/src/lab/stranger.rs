//! A host on the WAN that is no part of any site and answers on whatever port it is led to: datagrams come back as they went,
//! connections are taken and told something.

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::Context as _;

use super::fault::Traffic;
use super::namespace::Namespace;

/// Answers to this traffic from now on.
pub(super) fn serve(namespace: &Namespace, traffic: &Traffic) -> anyhow::Result<()> {
    let port = traffic.single_port().context("a stranger answers on one port")?;
    // An IPv6 socket takes IPv4 as well.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (datagrams, connections) = namespace.run(|| Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)))?;
    namespace.spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            // Who asked may have gone already.
            let _ = datagrams.send_to(&buffer[..length], from);
        }
    })?;
    namespace.spawn(move || {
        for mut connection in connections.incoming().flatten() {
            let _ = connection.write_all(b"220 not what you asked for\r\n");
        }
    })
}
