//! Network namespaces and the links in them, by netlink alone.

use std::fs::File;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};

use super::sys;

/// A network namespace; it is gone when this is dropped and nothing runs in it.
#[derive(Debug)]
pub(super) struct Namespace {
    net: File,
}

impl Namespace {
    /// A new one with nothing in it but a loopback link that is up.
    pub(super) fn new() -> anyhow::Result<Self> {
        let made = std::thread::spawn(|| -> anyhow::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let namespace = Self {
            net: made.join().expect("the thread does not panic")?,
        };
        namespace.netlink(async |netlink| {
            let lo = LinkUnspec::new_with_name("lo").up().build();
            netlink.link().set(lo).execute().await.context("cannot switch lo on")
        })?;
        Ok(namespace)
    }

    /// Another handle on the same.
    pub(super) fn try_clone(&self) -> anyhow::Result<Self> {
        Ok(Self {
            net: self.net.try_clone()?,
        })
    }

    /// By which another process finds it, as `/proc/PID/fd/N`.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    fn fd(&self) -> RawFd {
        self.net.as_raw_fd()
    }

    /// Runs something in it, on a thread of its own: sockets made there stay there.
    pub(super) fn run<T: Send>(&self, what: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.net, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
                what()
            });
            thread.join().expect("what runs in a namespace does not panic")
        })
    }

    /// Starts something in it that goes on by itself.
    pub(super) fn spawn(&self, what: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let net = self.net.try_clone()?;
        let (entered, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let result = setns(&net, CloneFlags::CLONE_NEWNET);
            let inside = result.is_ok();
            // Who waits for it is the caller below, which outlives this.
            let _ = entered.send(result);
            if inside {
                what();
            }
        });
        wait.recv()?.context("cannot enter a network namespace")
    }

    /// Talks to the kernel about its links, addresses and routes.
    pub(super) fn netlink<T, F>(&self, what: impl FnOnce(Handle) -> F + Send) -> anyhow::Result<T>
    where
        T: Send,
        F: Future<Output = anyhow::Result<T>>,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                let talk = tokio::spawn(connection);
                let result = what(handle).await;
                talk.abort();
                result
            })
        })
    }

    /// Sets a kernel setting, by its path below `/proc/sys/net`.
    pub(super) fn set(&self, setting: &str, value: &str) -> anyhow::Result<()> {
        self.run(|| {
            let path = Path::new("/proc/sys/net").join(setting);
            std::fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display()))
        })
    }
}

/// A link between the router and a node.
pub(super) struct Wire<'a> {
    /// Its name on the router's side.
    pub router_name: &'a str,
    /// Its name on the node.
    pub name: &'a str,
    /// MAC address of the node's end.
    pub mac: [u8; 6],
    /// MTU of the node's end.
    pub mtu: u32,
}

/// Lays a link from the router to a node; returns the index of the router's end.
pub(super) fn lay(router: &Namespace, node: &Namespace, wire: &Wire<'_>) -> anyhow::Result<u32> {
    let end = LinkMessageBuilder::<LinkUnspec>::default()
        .name(wire.name)
        .address(wire.mac.to_vec())
        .mtu(wire.mtu)
        .setns_by_fd(node.fd())
        .build();
    // This end takes everything; it is the router that knows the MTU of its links.
    let link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(wire.router_name)
        .mtu(65_535)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(end)))
        .build();
    let index = router.netlink(async |netlink| {
        netlink
            .link()
            .add(link)
            .execute()
            .await
            .with_context(|| format!("cannot make the link {}", wire.router_name))?;
        index_of(&netlink, wire.router_name).await
    })?;
    // Addresses of links only make packets of their own, of which no plan knows.
    for (setting, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("accept_dad", "0"),
    ] {
        node.set(&format!("ipv6/conf/{}/{setting}", wire.name), value)?;
    }
    node.run(|| sys::offload_nothing(wire.name).context("cannot switch checksum offload off"))?;
    Ok(index)
}

/// An address with the length of its prefix.
pub(super) type Interface = (IpAddr, u8);

/// Who is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// The router, which takes every frame: nobody is asked for MAC addresses.
    Router,
    /// Another kernel, which takes only its own.
    Kernel,
}

/// Switches a link on and gives it addresses.
pub(super) fn raise(node: &Namespace, link: &str, other: Other, addresses: &[Interface]) -> anyhow::Result<()> {
    node.netlink(async |netlink| {
        let index = index_of(&netlink, link).await?;
        let up = LinkUnspec::new_with_index(index)
            .arp(other == Other::Kernel)
            .multicast(false)
            .up()
            .build();
        netlink
            .link()
            .set(up)
            .execute()
            .await
            .context("cannot switch a link on")?;
        for &(address, length) in addresses {
            netlink
                .address()
                .add(index, address, length)
                .execute()
                .await
                .with_context(|| format!("cannot add {address}/{length}"))?;
        }
        Ok(())
    })
}

/// Adds a default route by each of these gateways.
pub(super) fn route_by(node: &Namespace, link: &str, gateways: &[IpAddr]) -> anyhow::Result<()> {
    node.netlink(async |netlink| {
        let index = index_of(&netlink, link).await?;
        for &gateway in gateways {
            netlink
                .route()
                .add(default_route(index, gateway))
                .execute()
                .await
                .with_context(|| format!("cannot route by {gateway}"))?;
        }
        Ok(())
    })
}

/// Takes the default routes by these gateways away.
pub(super) fn unroute(node: &Namespace, link: &str, gateways: &[IpAddr]) -> anyhow::Result<()> {
    node.netlink(async |netlink| {
        let index = index_of(&netlink, link).await?;
        for &gateway in gateways {
            netlink
                .route()
                .del(default_route(index, gateway))
                .execute()
                .await
                .context("cannot take a route away")?;
        }
        Ok(())
    })
}

fn default_route(link: u32, gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(link)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .output_interface(link)
            .build(),
    }
}

/// Changes the MTU of a link.
pub(super) fn set_mtu(node: &Namespace, link: &str, mtu: u32) -> anyhow::Result<()> {
    change(node, link, |link| link.mtu(mtu))
}

/// Switches a link off or on; routes by it are gone with it.
pub(super) fn switch(node: &Namespace, link: &str, up: bool) -> anyhow::Result<()> {
    change(node, link, |link| if up { link.up() } else { link.down() })
}

fn change(
    node: &Namespace,
    link: &str,
    how: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec> + Send,
) -> anyhow::Result<()> {
    node.netlink(async |netlink| {
        let index = index_of(&netlink, link).await?;
        let message = how(LinkUnspec::new_with_index(index)).build();
        netlink
            .link()
            .set(message)
            .execute()
            .await
            .context("cannot change a link")
    })
}

/// Makes a VXLAN device that holds this UDP port, and is up: the port is the kernel's from then on.
pub(super) fn add_vxlan(node: &Namespace, name: &str, port: u16) -> anyhow::Result<()> {
    node.netlink(async |netlink| {
        let link = LinkVxlan::new(name, 1).port(port).learning(false).up().build();
        netlink
            .link()
            .add(link)
            .execute()
            .await
            .context("cannot make a VXLAN device")
    })
}

/// Takes a link away.
pub(super) fn remove(namespace: &Namespace, name: &str) -> anyhow::Result<()> {
    namespace.netlink(async |netlink| {
        let index = index_of(&netlink, name).await?;
        netlink
            .link()
            .del(index)
            .execute()
            .await
            .context("cannot remove a link")
    })
}

async fn index_of(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    use futures::TryStreamExt as _;
    let found = netlink
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_next()
        .await?;
    Ok(found.with_context(|| format!("there is no link {name}"))?.header.index)
}
