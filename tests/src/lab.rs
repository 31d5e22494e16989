//! A network lab of namespaces alone: sites, nodes, a WAN router that can do to packets whatever real networks do, and faults in one line.
//!
//! ```no_run
//! use prejoin_tests::lab::{Lab, fault};
//! # fn main() -> anyhow::Result<()> {
//! let Some(lab) = Lab::new().site("east", 3).site("west", 3).up()? else { return Ok(()) };
//! lab.fault(fault::drop(fault::udp(8472).from("east").to("west-n2")))?;
//! # Ok(())
//! # }
//! ```
//!
//! A lab is a process of its own (the binary `prejoin-lab`): it makes the namespaces, as root or in a user namespace of its own, and ends with
//! the test, however that ends. Nothing needs to be installed: links and routes are made over netlink, and the router is a program that
//! counts every packet ([`RunningLab::traffic`]). See `docs/lab.md`.

mod by_hand;
mod enter;
pub mod fault;
mod firewall;
mod host;
mod namespace;
mod node_fault;
mod orders;
mod programs;
mod relay;
mod router;
mod stranger;
mod sys;
mod topology;
mod traffic;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

pub use self::by_hand::{WRITTEN_DOWN, become_agent, example, up};
pub use self::enter::{Room, become_program, enter};
pub(crate) use self::firewall::masquerade;
pub use self::host::serve;
pub use self::programs::program;
pub(crate) use self::programs::{cargo_build, folder, workspace};
pub use self::relay::relay;
pub use self::topology::{MTU, Node, Site, Topology};
pub use self::traffic::{Seen, Traffic};
pub use self::trial::{Outcome, Trial, What};

use self::fault::{AgentFault, Fault, NodeFault, Port};
use self::orders::{Answer, Doors, Order};

/// With this variable set, a lab that cannot be made is a failure and not a reason to skip.
pub const REQUIRE: &str = "PREJOIN_REQUIRE_LAB";

/// A lab that is yet to be made.
#[derive(Debug, Clone)]
pub struct Lab {
    topology: Topology,
    names: Vec<(String, IpAddr)>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// No sites yet, links of 1,500 bytes, both IP families.
    pub fn new() -> Self {
        Self {
            topology: Topology {
                sites: Vec::new(),
                wan_mtu: MTU,
                ipv6: true,
                pods: false,
            },
            names: Vec::new(),
        }
    }

    /// All nodes resolve this name to this address.
    #[must_use]
    pub fn name(mut self, name: &str, address: IpAddr) -> Self {
        self.names.push((name.to_owned(), address));
        self
    }

    /// Adds a site of this many nodes, `NAME-n1` and so on, half of them in the zone `NAME-a`, half in `NAME-b`.
    #[must_use]
    pub fn site(mut self, name: &str, nodes: u8) -> Self {
        self.topology.add_site(name, nodes);
        self
    }

    /// Nodes have no IPv6 addresses. Say so before naming sites.
    #[must_use]
    pub fn ipv4_only(mut self) -> Self {
        self.topology.ipv6 = false;
        self
    }

    /// Each node has a pod, and masquerades it; that of a site's first node is `NAME-pod`.
    #[must_use]
    pub fn pods(mut self) -> Self {
        self.topology.pods = true;
        self
    }

    /// The largest packet that crosses between sites, in bytes.
    #[must_use]
    pub fn wan_mtu(mut self, bytes: u32) -> Self {
        self.topology.wan_mtu = bytes;
        self
    }

    /// The MTU of all links of a node, site or zone, in bytes.
    ///
    /// # Panics
    /// If the lab has nothing of this name.
    #[must_use]
    pub fn mtu(mut self, name: &str, bytes: u32) -> Self {
        let chosen = self.topology.select(name).expect("the lab has something of this name");
        let nodes = self.topology.sites.iter_mut().flat_map(|site| &mut site.nodes);
        for (node, _) in nodes.zip(chosen).filter(|(_, chosen)| *chosen) {
            node.mtu = bytes;
        }
        self
    }

    /// What it will consist of.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Makes it. Where that is not possible at all (no root and no user namespaces), says so loudly and gives none,
    /// unless [`REQUIRE`] is set.
    ///
    /// # Errors
    /// When a lab can be made here but this one was not.
    pub fn up(self) -> anyhow::Result<Option<RunningLab>> {
        let program = programs::lab()?;
        let mut child = Command::new(&program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pipes = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .context("pipes were asked for")?;
        let lab = RunningLab {
            child,
            talk: Mutex::new((Some(pipes.0), BufReader::new(pipes.1))),
            doors: Doors {
                user: None,
                nodes: BTreeMap::new(),
            },
            topology: self.topology,
            program,
            files: Files::write(&self.names)?,
            of_agents: Mutex::default(),
        };
        lab.raise()
    }
}

/// A lab at work; it is gone when this is dropped.
#[derive(Debug)]
pub struct RunningLab {
    child: Child,
    talk: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
    doors: Doors,
    topology: Topology,
    program: PathBuf,
    files: Files,
    /// Faults that are not in the lab but in how agents are started, by node.
    of_agents: Mutex<Vec<(u64, String, NodeFault)>>,
}

/// Files that programs in nodes find in the place of this machine's.
#[derive(Debug)]
struct Files {
    folder: TempDir,
}

impl Files {
    fn write(names: &[(String, IpAddr)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // As the kubelet begins them, from which an agent tells whose network it sees.
        let heads = [
            ("host", "# Kubernetes-managed hosts file (host network)."),
            ("pod", "# Kubernetes-managed hosts file."),
        ];
        for (kind, head) in heads {
            let own = format!("{head}\n127.0.0.1 localhost\n::1 localhost\n");
            let known: Vec<String> = names
                .iter()
                .map(|(name, address)| format!("{address} {name}"))
                .collect();
            let known = known.join("\n") + "\n";
            std::fs::write(folder.path().join(format!("{kind}-hosts")), format!("{own}{known}"))?;
            std::fs::write(folder.path().join(format!("{kind}-bare-hosts")), own)?;
        }
        // Nobody is there, and says so at once.
        std::fs::write(
            folder.path().join("resolv.conf"),
            "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n",
        )?;
        for (name, value) in [("conntrack-count", "262144\n"), ("conntrack-max", "262144\n")] {
            std::fs::write(folder.path().join(name), value)?;
        }
        Ok(Self { folder })
    }

    /// `WHAT:PLACE` for each file that is replaced.
    fn instead(&self, pod: bool, faults: &[NodeFault]) -> anyhow::Result<Vec<String>> {
        let kind = if pod { "pod" } else { "host" };
        let bare = if faults.contains(&NodeFault::NamesUnknown) {
            "-bare"
        } else {
            ""
        };
        let mut files = vec![
            (format!("{kind}{bare}-hosts"), "/etc/hosts"),
            ("resolv.conf".to_owned(), "/etc/resolv.conf"),
        ];
        if faults.contains(&NodeFault::ConntrackFull) {
            let tables = "/proc/sys/net/netfilter";
            if !Path::new(tables).join("nf_conntrack_count").exists() {
                bail!("this kernel has no connection tracking");
            }
            files.push((
                "conntrack-count".to_owned(),
                "/proc/sys/net/netfilter/nf_conntrack_count",
            ));
            files.push(("conntrack-max".to_owned(), "/proc/sys/net/netfilter/nf_conntrack_max"));
        }
        files
            .into_iter()
            .filter(|(_, place)| Path::new(place).exists())
            .map(|(what, place)| Ok(format!("{}:{place}", path_text(&self.folder.path().join(what))?)))
            .collect()
    }
}

/// A fault that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

impl RunningLab {
    fn raise(mut self) -> anyhow::Result<Option<Self>> {
        match self.ask(&Order::Up(self.topology.clone())) {
            Ok(Answer::Up(doors)) => {
                self.doors = doors;
                Ok(Some(self))
            }
            Ok(_) => bail!("the lab answered something else"),
            // The lab ended: it says itself why, on standard error. All else is a lab that could be made and was not.
            Err(error) if error.is::<Ended>() && std::env::var_os(REQUIRE).is_none() => {
                eprintln!("SKIPPED: no network lab can be made here; set {REQUIRE}=1 to make that a failure");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn ask(&self, order: &Order) -> anyhow::Result<Answer> {
        let mut talk = self.talk.lock().expect("who holds it does not panic");
        let (Some(to), from) = &mut *talk else {
            bail!("the lab is gone")
        };
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        // A lab that is gone shows in its missing answer.
        let _ = to.write_all(&line);
        let mut answer = String::new();
        if from.read_line(&mut answer)? == 0 {
            return Err(Ended.into());
        }
        match serde_json::from_str(&answer)? {
            Answer::Failed(why) => bail!("{why}"),
            answer => Ok(answer),
        }
    }

    /// What the lab consists of.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The names of all nodes and pods.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.doors.nodes.keys().map(String::as_str)
    }

    /// Makes a fault.
    ///
    /// # Errors
    /// When the lab has nothing of a name in it, or the kernel refuses.
    ///
    /// # Panics
    /// If another thread panicked while it used the lab.
    pub fn fault(&self, fault: Fault) -> anyhow::Result<FaultId> {
        if let Fault::Node {
            node,
            fault: fault @ (NodeFault::Agent(_) | NodeFault::NamesUnknown | NodeFault::ConntrackFull),
        } = fault
        {
            if !self.doors.nodes.contains_key(&node) {
                bail!("the lab has no node {node}");
            }
            let mut faults = self.of_agents.lock().expect("who holds it does not panic");
            // Numbers of the lab's own faults are small.
            let id = u64::MAX - faults.len() as u64;
            faults.push((id, node, fault));
            return Ok(FaultId(id));
        }
        match self.ask(&Order::Fault(fault))? {
            Answer::Fault(id) => Ok(FaultId(id)),
            _ => bail!("the lab answered something else"),
        }
    }

    /// Starts a service on a node that takes connections on a port, or datagrams, and says nothing.
    ///
    /// # Errors
    /// When the lab has no such node, or the port is taken.
    pub fn serve(&self, node: &str, port: Port) -> anyhow::Result<()> {
        self.fault(fault::on_node(node, NodeFault::PortTaken(port))).map(|_| ())
    }

    /// Undoes a fault.
    ///
    /// # Errors
    /// When it was undone already, or the kernel refuses.
    ///
    /// # Panics
    /// If another thread panicked while it used the lab.
    pub fn heal(&self, FaultId(id): FaultId) -> anyhow::Result<()> {
        let mut of_agents = self.of_agents.lock().expect("who holds it does not panic");
        if let Some(place) = of_agents.iter().position(|(known, ..)| *known == id) {
            of_agents.remove(place);
            return Ok(());
        }
        drop(of_agents);
        self.ask(&Order::Heal(id)).map(|_| ())
    }

    /// What was on the wire since this was last asked.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn traffic(&self) -> anyhow::Result<Traffic> {
        match self.ask(&Order::Traffic)? {
            Answer::Traffic(traffic) => Ok(traffic),
            _ => bail!("the lab answered something else"),
        }
    }

    /// Sends something from node to node by plain sockets over IPv4.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn send(&self, from: &str, to: &str, what: What) -> anyhow::Result<Outcome> {
        self.try_out(Trial {
            from: from.to_owned(),
            to: to.to_owned(),
            ipv6: false,
            what,
        })
    }

    /// Sends something from node to node by plain sockets over IPv6.
    ///
    /// # Errors
    /// When the lab has no such node or no IPv6.
    pub fn send6(&self, from: &str, to: &str, what: What) -> anyhow::Result<Outcome> {
        self.try_out(Trial {
            from: from.to_owned(),
            to: to.to_owned(),
            ipv6: true,
            what,
        })
    }

    fn try_out(&self, trial: Trial) -> anyhow::Result<Outcome> {
        match self.ask(&Order::Try(trial))? {
            Answer::Tried(outcome) => Ok(outcome),
            _ => bail!("the lab answered something else"),
        }
    }

    /// Path of a node's network namespace, for as long as the lab lasts.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn door(&self, node: &str) -> anyhow::Result<&String> {
        let door = self.doors.nodes.get(node);
        door.with_context(|| format!("the lab has no node {node}"))
    }

    /// The processes that are in a node's network, by their numbers on this machine.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn processes(&self, node: &str) -> anyhow::Result<BTreeSet<u32>> {
        processes_in(Path::new(self.door(node)?))
    }

    /// Whether it is in a user namespace of its own, where root is this user and there are no other users.
    pub fn is_in_user_namespace(&self) -> bool {
        self.doors.user.is_some()
    }

    /// The command that starts a program inside a node, from anywhere on this machine.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn command(&self, node: &str, program: &[&str]) -> anyhow::Result<Vec<String>> {
        let net = self.door(node)?;
        let mut command = vec![
            path_text(&self.program)?,
            "enter".to_owned(),
            "--net".to_owned(),
            net.clone(),
        ];
        if let Some(user) = &self.doors.user {
            command.extend(["--user".to_owned(), user.clone()]);
        }
        command.extend(["--host-name", node].map(str::to_owned));
        let faults = self.faults_of(node);
        let is_pod = self.topology.node(node).is_none();
        for instead in self.files.instead(is_pod, &faults)? {
            command.extend(["--instead".to_owned(), instead]);
        }
        command.push("--".to_owned());
        command.extend(program.iter().map(|&word| word.to_owned()));
        Ok(command)
    }

    /// The command that starts a session of the real agent inside a node or pod, with what is wrong with it.
    ///
    /// # Errors
    /// When the lab has no such node, or the agent does not build.
    pub fn agent(&self, node: &str) -> anyhow::Result<Vec<String>> {
        let agent = path_text(&program("prejoin-agent")?)?;
        let mut program: Vec<String> = Vec::new();
        let mut session = vec![agent, "session".to_owned(), "--node-name".to_owned(), node.to_owned()];
        for fault in self.faults_of(node) {
            match fault {
                NodeFault::Agent(AgentFault::OlderProtocol) => {
                    session.extend(["--highest-version", "1"].map(str::to_owned));
                }
                NodeFault::Agent(AgentFault::ClockAhead) => {
                    program.extend(["/usr/bin/env", "PREJOIN_TEST_CLOCK_AHEAD_MILLIS=3000"].map(str::to_owned));
                }
                NodeFault::Agent(fault) => {
                    program.extend([path_text(&self.program)?, "relay".to_owned()]);
                    program.extend([serde_json::to_string(&fault)?, "--".to_owned()]);
                }
                _ => {}
            }
        }
        program.extend(session);
        let words: Vec<&str> = program.iter().map(String::as_str).collect();
        self.command(node, &words)
    }

    fn faults_of(&self, node: &str) -> Vec<NodeFault> {
        let faults = self.of_agents.lock().expect("who holds it does not panic");
        let of_node = faults.iter().filter(|(_, known, _)| known == node);
        of_node.map(|(.., fault)| fault.clone()).collect()
    }
}

/// The processes of this machine that are in this network namespace.
fn processes_in(net: &Path) -> anyhow::Result<BTreeSet<u32>> {
    let inode = net.metadata()?.ino();
    let mut inside = BTreeSet::new();
    for entry in Path::new("/proc").read_dir()? {
        let entry = entry?;
        let number: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ended meanwhile is nowhere.
        let its = entry.path().join("ns/net").metadata().map(|data| data.ino());
        inside.extend(number.filter(|_| its.is_ok_and(|its| its == inode)));
    }
    Ok(inside)
}

impl Drop for RunningLab {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            talk.0 = None;
        }
        // It ends by itself when nobody can write to it any more.
        let _ = self.child.wait();
    }
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("the path is not UTF-8")?.to_owned())
}

/// The lab's process ended without an answer.
#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the lab ended without an answer")
    }
}

impl std::error::Error for Ended {}
