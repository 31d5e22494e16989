//! Real Kubernetes in network namespaces: clusters of an API server, controllers, a scheduler, kubelets and containerd, in the places of a
//! [network lab](crate::lab), whose faults are theirs.
//!
//! ```no_run
//! use prejoin_tests::kubernetes::Kubernetes;
//! # fn main() -> anyhow::Result<()> {
//! let Some(kubernetes) = Kubernetes::new().cluster("east", 2).cluster("west", 2).up()? else { return Ok(()) };
//! let nodes = kubernetes.at_desk("kubectl")?.args(["--context", "east", "get", "nodes"]).output()?;
//! # Ok(())
//! # }
//! ```
//!
//! Each node is a process of its own in namespaces of network, mounts, processes and host name; what it keeps is in memory. When the process
//! that made it ends, however that ends, the kernel takes all of it away, and a janitor the rest. A further place, the desk, is where users sit: `prejoin` and `kubectl` are run there. See `docs/lab.md`.

mod cgroup;
mod command;
mod components;
mod faults;
mod forward;
mod handle;
mod image;
mod janitor;
mod node;
mod orders;
mod pki;
mod programs;
mod raise;
mod trace;
mod units;

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;

use crate::lab::{Lab, RunningLab};

use self::handle::NodeHandle;
use self::janitor::Janitor;
use self::orders::Order;

pub use self::command::Outcome;
pub use self::faults::{Broken, fault_names};
pub use self::image::agents as agents_image;
pub use self::janitor::clean_up_after;
pub use self::node::be_node;
pub use self::orders::{Component, Way};
pub use self::programs::Programs;
pub use self::trace::Trace;

/// With this variable set, clusters that cannot be made are a failure and not a reason to skip.
pub const REQUIRE: &str = "PREJOIN_REQUIRE_KUBERNETES";
/// Where users sit.
pub const DESK: &str = "desk-n1";

/// Clusters that are yet to be made.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    clusters: Vec<(String, u8)>,
    kubelets: bool,
    dual_stack: bool,
    streaming_idle: Duration,
    images: Vec<PathBuf>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self::new()
    }
}

impl Kubernetes {
    /// No clusters yet, IPv4 alone, exec streams as patient as Kubernetes has them.
    pub fn new() -> Self {
        Self {
            clusters: Vec::new(),
            kubelets: true,
            dual_stack: false,
            streaming_idle: Duration::from_secs(4 * 3_600),
            images: Vec::new(),
        }
    }

    /// Adds a cluster of this many nodes, `NAME-n1` and so on; the control plane is on the first. Its kubeconfig's context has its name.
    #[must_use]
    pub fn cluster(mut self, name: &str, nodes: u8) -> Self {
        self.clusters.push((name.to_owned(), nodes));
        self
    }

    /// API servers alone: nothing acts on the objects that are put there, and pods need no service account.
    #[must_use]
    pub fn api_servers_only(mut self) -> Self {
        self.kubelets = false;
        self
    }

    /// Nodes, pods and Services have IPv6 addresses as well.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        self.dual_stack = true;
        self
    }

    /// Streams of exec that are silent for longer are closed by the kubelet.
    #[must_use]
    pub fn streaming_idle(mut self, limit: Duration) -> Self {
        self.streaming_idle = limit;
        self
    }

    /// Every node has this archive's images from the beginning.
    #[must_use]
    pub fn image(mut self, archive: &Path) -> Self {
        self.images.push(archive.to_owned());
        self
    }

    /// Makes them; all nodes are ready. Where that is not possible at all (no root, no Go), says so loudly and gives none, unless
    /// [`REQUIRE`] is set.
    ///
    /// # Errors
    /// When clusters can be made here but these were not.
    pub fn up(self) -> anyhow::Result<Option<RunningKubernetes>> {
        if let Some(lacking) = lacking() {
            if std::env::var_os(REQUIRE).is_some() {
                bail!("Kubernetes cannot run here: {lacking}");
            }
            eprintln!("SKIPPED: Kubernetes cannot run here: {lacking}; set {REQUIRE}=1 to make that a failure");
            return Ok(None);
        }
        let programs = Programs::build()?;
        let mut lab = Lab::new();
        if !self.dual_stack {
            lab = lab.ipv4_only();
        }
        for (name, nodes) in &self.clusters {
            lab = lab.site(name, *nodes);
        }
        // Before the nodes: what goes wrong there must still find its logs.
        let folder = Folder::new()?;
        let Some(lab) = lab.site("desk", 1).up()? else {
            return Ok(None);
        };
        let mut kubernetes = RunningKubernetes {
            nodes: Vec::new(),
            lab,
            programs,
            folder,
            contexts: self.clusters.iter().map(|(name, _)| name.clone()).collect(),
        };
        kubernetes.raise(&self)?;
        Ok(Some(kubernetes))
    }
}

/// What this machine lacks to run them.
pub fn lacking() -> Option<&'static str> {
    if !geteuid().is_root() {
        Some("kubelets need root")
    } else if !Programs::can_be_built() {
        Some("what it is built with is not there: see above")
    } else {
        None
    }
}

/// Clusters at work; they are gone when this is dropped.
#[derive(Debug)]
pub struct RunningKubernetes {
    // In the order in which they must go.
    nodes: Vec<NodeHandle>,
    lab: RunningLab,
    programs: Programs,
    folder: Folder,
    contexts: Vec<String>,
}

impl RunningKubernetes {
    /// The network they are in.
    pub fn lab(&self) -> &RunningLab {
        &self.lab
    }

    /// The programs they were made of.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The clusters' names, which are those of contexts.
    pub fn contexts(&self) -> &[String] {
        &self.contexts
    }

    /// A folder of the lab's own; the nodes' logs are in `logs`.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// The kubeconfig as it serves at the desk.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Opens the way to the API servers from this process's own network; gives the kubeconfig that leads there by loopback ports. They lead
    /// through the desk, so faults of the network are met on the way.
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn open_leg(&self) -> anyhow::Result<PathBuf> {
        let desk = Path::new(self.lab.door(DESK)?);
        let mut servers = Vec::new();
        for cluster in &self.contexts {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            servers.push(listener.local_addr()?.to_string());
            forward::serve(
                listener,
                forward::from_inside(desk, raise::api_server(&self.lab, cluster)?)?,
            );
        }
        let path = self.folder().join("local-kubeconfig");
        raise::write_kubeconfig(
            &path,
            self.folder(),
            &self.contexts.iter().zip(&servers).collect::<Vec<_>>(),
        )?;
        Ok(path)
    }

    /// A command that is run at a place of the network lab, with the clusters' kubeconfig; a program of theirs (`kubectl`, `helm`) need not
    /// be installed.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn at(&self, place: &str, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let own = self.programs.path(&program.as_ref().to_string_lossy());
        let program = if own.exists() {
            own.as_os_str()
        } else {
            program.as_ref()
        };
        let words = self
            .lab
            .command(place, &[program.to_str().context("the name is not UTF-8")?])?;
        let (first, rest) = words.split_first().context("a command has words")?;
        let mut command = Command::new(first);
        command.args(rest).env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }

    /// A command that is run at the desk.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn at_desk(&self, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        self.at(DESK, program)
    }

    /// Runs `kubectl` at the desk and gives what it prints.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn kubectl(&self, context: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.at_desk("kubectl")?;
        command.args(["--context", context]).args(arguments);
        Outcome::of(command)?.succeeded()
    }

    /// Ends a program of a node and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run there.
    pub fn stop(&self, node: &str, component: Component, way: Way) -> anyhow::Result<()> {
        self.node(node)?.ask(&Order::Stop(component, way))
    }

    /// Starts a program of a node that was ended, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&self, node: &str, component: Component) -> anyhow::Result<()> {
        self.node(node)?.ask(&Order::Start(component))
    }

    /// Gives all nodes this archive's images.
    ///
    /// # Errors
    /// When it is no archive of images.
    pub fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let order = Order::Import(vec![archive.to_owned()]);
        self.nodes.iter().try_for_each(|node| node.ask(&order))
    }

    fn node(&self, name: &str) -> anyhow::Result<&NodeHandle> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.with_context(|| format!("there is no node {name}"))
    }
}

/// A lab's folder, and its name; gone with the lab, with its control groups.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    name: String,
    /// `prejoin-kubelab`.
    program: PathBuf,
    _janitor: Janitor,
}

impl Folder {
    fn new() -> anyhow::Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        cgroup::sweep()?;
        for entry in parent.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(cgroup::is_orphan) {
                // Another lab may sweep at the same time.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let name = cgroup::lab_name(LABS.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(&name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        std::fs::create_dir(path.join("logs"))?;
        let program = own_program()?;
        Ok(Self {
            _janitor: Janitor::start(&program, &name, &path)?,
            path,
            name,
            program,
        })
    }
}

/// `prejoin-kubelab`, which is beside the tests' other programs, one folder above the tests themselves.
fn own_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let mut programs = folders
        .map(|folder| folder.join("prejoin-kubelab"))
        .filter(|path| path.exists());
    programs
        .next()
        .context("prejoin-kubelab is not built: cargo build -p prejoin-tests --bins")
}
