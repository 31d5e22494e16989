//! The first process of a node: it starts the node's programs and does what the lab orders, until nobody orders any more. Then it ends, and
//! the kernel ends all that it started, in pods and outside, and takes away what they mounted.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::orders::{Answer, NodeSpec, Order};
use super::units::Units;
use super::{cgroup, components, forward};
use crate::lab;

/// What kubelets would set for the whole machine, and find set already: nothing is changed.
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// Folders that are the node's own, and in memory.
const OWN: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// Is a node, inside its namespaces, as ordered over standard input.
///
/// # Errors
/// When orders or answers cannot be passed. What goes wrong in a node is said in answers.
pub fn be_node() -> anyhow::Result<()> {
    // Should the process outside be killed, nobody would close standard input.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut node = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).context("not an order")?;
        let answer = match obey(&mut node, order) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

struct Node {
    spec: NodeSpec,
    units: Units,
}

fn obey(node: &mut Option<Node>, order: Order) -> anyhow::Result<()> {
    if let Order::Be(spec) = order {
        furnish(&spec)?;
        let units = Units::new(&spec.name, Path::new(components::STATE), &spec.logs);
        *node = Some(Node { spec: *spec, units });
        return Ok(());
    }
    let Node { spec, units } = node.as_mut().context("the node is nobody yet")?;
    match order {
        Order::Be(_) => unreachable!("handled above"),
        Order::Start(component) => units.start(component, components::command(component, spec)?),
        Order::Stop(component, way) => units.stop(component, way),
        Order::Network(pod_ranges) => components::write_network(&pod_ranges),
        Order::Import(archives) => {
            for archive in archives {
                let path = archive.to_str().context("the path is not UTF-8")?;
                units.run(components::ctr(spec, &["images", "import", "--digests", path]))?;
            }
            Ok(())
        }
    }
}

/// Makes the namespaces this is in a node's.
fn furnish(spec: &NodeSpec) -> anyhow::Result<()> {
    let nothing = None::<&str>;
    for own in OWN {
        for needed in [&spec.pki, &spec.logs, spec.programs.folder()] as [&Path; 3] {
            if needed.starts_with(own) {
                bail!("{} cannot be in {own}, which is a node's own", needed.display());
            }
        }
        mount(Some("lab"), own, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("cannot mount a tmpfs on {own}"))?;
    }
    // Mounts of volumes reach the containers that want them to.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SHARED, nothing)?;
    cgroup::mount_anew()?;
    cgroup::make(&spec.cgroup)?;
    let settings = Path::new(components::STATE).join("settings");
    fs::create_dir_all(&settings)?;
    // A device of its own: kubelets ask which mount it is that their own folders are on.
    mount(
        Some("settings"),
        &settings,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )?;
    for (setting, value) in SETTINGS {
        let (file, place) = (settings.join(setting), Path::new("/proc/sys").join(setting));
        if place.exists() {
            fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
            fs::write(&file, format!("{value}\n"))?;
            mount(Some(&file), &place, nothing, MsFlags::MS_BIND, nothing)
                .with_context(|| format!("cannot cover {}", place.display()))?;
        }
    }
    lab::masquerade("cni0").context("cannot masquerade pods")?;
    serve_kubernetes(spec)
}

/// In the place of kube-proxy, for the one Service that every pod may need: the cluster's own API.
fn serve_kubernetes(spec: &NodeSpec) -> anyhow::Result<()> {
    take_address(spec.kubernetes_service)?;
    let listener =
        TcpListener::bind((spec.kubernetes_service, 443)).context("cannot listen for the Service kubernetes")?;
    let api_server = spec.api_server.clone();
    forward::serve(listener, move || TcpStream::connect(&api_server));
    Ok(())
}

/// Gives the loopback link an address of its own.
fn take_address(address: Ipv4Addr) -> anyhow::Result<()> {
    /// The index of `lo` in every namespace.
    const LOOPBACK: u32 = 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        let talk = tokio::spawn(connection);
        let added = netlink.address().add(LOOPBACK, address.into(), 32).execute().await;
        talk.abort();
        added.with_context(|| format!("cannot take {address}"))
    })
}
