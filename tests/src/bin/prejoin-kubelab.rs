//! Real Kubernetes clusters in network namespaces, by hand: `docs/lab.md` says how to use it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prejoin_tests::kubernetes::{Broken, DESK, Kubernetes, RunningKubernetes, agents_image, be_node, clean_up_after};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

const USAGE: &str = "\
prejoin-kubelab up [--clusters N] [--nodes N] [--dual-stack] [--image ARCHIVE]... [--agents] [--name LAB] [--detach]
prejoin-kubelab run [--name LAB] [--at PLACE] -- PROGRAM...    at the desk, or on a node: east-n1
prejoin-kubelab kubeconfig [--name LAB]                        of this machine's own view
prejoin-kubelab break FAULT [--name LAB]                       `prejoin lab break --help` lists them
prejoin-kubelab heal [FAULT] [--name LAB]                      prints what was broken
prejoin-kubelab down [--name LAB]";

/// The image of agents, as installations of this version name it.
const AGENTS: &str = concat!("docker.io/prejoin/agent:", env!("CARGO_PKG_VERSION"));

/// In the order in which clusters take them.
const CLUSTERS: [&str; 8] = ["east", "west", "north", "south", "alpha", "beta", "gamma", "delta"];
/// What the keeper says when all nodes are ready.
const READY: &str = "ready";

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next();
    // What a lab starts inside its nodes, and beside them.
    if verb.as_deref() == Some("node") {
        return be_node().map(|()| ExitCode::SUCCESS);
    }
    if verb.as_deref() == Some("janitor") {
        let (groups, folder) = arguments.next().zip(arguments.next()).context("whose janitor?")?;
        return clean_up_after(&groups, Path::new(&folder)).map(|()| ExitCode::SUCCESS);
    }
    let wanted = Wanted::read(arguments)?;
    match verb.as_deref() {
        Some("up") if wanted.detach => detach(&wanted),
        Some("up") => keep(&wanted),
        Some("run") => Err(run(&wanted)),
        Some("kubeconfig") => {
            println!("{}", Lab::find(&wanted.name)?.1.kubeconfig.display());
            Ok(ExitCode::SUCCESS)
        }
        Some("break") => {
            let fault = wanted.fault.clone().context("which fault?")?;
            order(&wanted.name, &Order::Break(fault))
        }
        Some("heal") => order(&wanted.name, &Order::Heal(wanted.fault.clone())),
        Some("down") => down(&wanted.name),
        _ => bail!("usage:\n{USAGE}"),
    }
}

/// What the command line asks for.
#[derive(Debug)]
struct Wanted {
    clusters: usize,
    nodes: u8,
    dual_stack: bool,
    images: Vec<PathBuf>,
    agents: bool,
    fault: Option<String>,
    name: String,
    detach: bool,
    place: String,
    program: Vec<String>,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut wanted = Self {
            clusters: 2,
            nodes: 2,
            dual_stack: false,
            images: Vec::new(),
            agents: false,
            fault: None,
            name: "default".to_owned(),
            detach: false,
            place: DESK.to_owned(),
            program: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--" => wanted.program = arguments.by_ref().collect(),
                "--clusters" => wanted.clusters = value()?.parse()?,
                "--nodes" => wanted.nodes = value()?.parse()?,
                "--image" => wanted.images.push(fs::canonicalize(value()?)?),
                "--name" => wanted.name = value()?,
                "--at" => wanted.place = value()?,
                "--dual-stack" => wanted.dual_stack = true,
                "--agents" => wanted.agents = true,
                "--detach" => wanted.detach = true,
                fault if !fault.starts_with('-') && wanted.fault.is_none() => wanted.fault = Some(argument),
                other => bail!("{other} is not known; usage:\n{USAGE}"),
            }
        }
        if wanted.clusters == 0 || wanted.clusters > CLUSTERS.len() || wanted.nodes == 0 {
            bail!("1 to {} clusters of one node and more", CLUSTERS.len());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if wanted.name.is_empty() || !wanted.name.chars().all(plain) {
            bail!("a lab's name is of letters, digits and `-`");
        }
        Ok(wanted)
    }
}

/// How others find a lab; its keeper holds a lock on the file this is in.
#[derive(Debug, Serialize, Deserialize)]
struct Lab {
    keeper: i32,
    kubeconfig: PathBuf,
    /// What comes before a program's own words to run it at a place.
    places: Vec<(String, Vec<String>)>,
    /// The kubeconfig at the desk, and where programs are found.
    desk_kubeconfig: PathBuf,
    path: PathBuf,
    /// The socket on which its keeper takes orders.
    orders: PathBuf,
}

/// To a lab's keeper, in one line.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Break(String),
    Heal(Option<String>),
}

/// What it says to that: the names of the faults, or why not.
type Answer = Result<Vec<String>, String>;

impl Lab {
    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("prejoin-kubelab.{name}.json"))
    }

    fn find(name: &str) -> anyhow::Result<(File, Self)> {
        let file = File::open(Self::file(name)).ok();
        let file = file.filter(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
        let file = file.with_context(|| format!("there is no lab {name}"))?;
        let lab = serde_json::from_reader(BufReader::new(&file)).context("the lab is not up yet")?;
        Ok((file, lab))
    }

    fn of(kubernetes: &RunningKubernetes) -> anyhow::Result<Self> {
        let nodes = kubernetes.lab().topology().nodes();
        let places = nodes.map(|node| Ok((node.name.clone(), kubernetes.lab().command(&node.name, &[])?)));
        Ok(Self {
            keeper: i32::try_from(std::process::id())?,
            kubeconfig: kubernetes.open_leg()?,
            places: places.collect::<anyhow::Result<_>>()?,
            desk_kubeconfig: kubernetes.kubeconfig(),
            path: kubernetes.programs().folder().to_owned(),
            orders: kubernetes.folder().join("orders"),
        })
    }
}

/// Makes a lab and keeps it until it is told to end.
fn keep(wanted: &Wanted) -> anyhow::Result<ExitCode> {
    let path = Lab::file(&wanted.name);
    let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
    if file.try_lock().is_err() {
        bail!("the lab {} is up already", wanted.name);
    }
    file.set_len(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt, mut hang_up) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        let mut lab = Kubernetes::new();
        for cluster in &CLUSTERS[..wanted.clusters] {
            lab = lab.cluster(cluster, wanted.nodes);
        }
        for image in &wanted.images {
            lab = lab.image(image);
        }
        if wanted.dual_stack {
            lab = lab.dual_stack();
        }
        let Some(kubernetes) = lab.up()? else { return Ok(false) };
        if wanted.agents {
            kubernetes.import(&agents_image(kubernetes.programs(), AGENTS)?)?;
        }
        let lab = Lab::of(&kubernetes)?;
        let orders = UnixListener::bind(&lab.orders)?;
        file.write_all(&serde_json::to_vec(&lab)?)?;
        eprintln!("export KUBECONFIG={}", lab.kubeconfig.display());
        eprintln!("contexts: {}", kubernetes.contexts().join(" "));
        println!("{READY}");
        let mut broken = Broken::default();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => break,
                caller = orders.accept() => {
                    // A caller that is gone does not end the lab.
                    let _ = obey(caller?.0, &kubernetes, &mut broken).await;
                }
            }
        }
        drop(kubernetes);
        anyhow::Ok(true)
    });
    // Before the lock is gone with this process.
    fs::remove_file(&path)?;
    Ok(if ended? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does what one caller says.
async fn obey(
    caller: tokio::net::UnixStream,
    kubernetes: &RunningKubernetes,
    broken: &mut Broken,
) -> anyhow::Result<()> {
    let (from, mut to) = caller.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(from).read_line(&mut line).await?;
    let done = match serde_json::from_str(&line)? {
        Order::Break(fault) => broken.make(kubernetes, &fault).map(|()| vec![fault]),
        Order::Heal(fault) => broken.heal(kubernetes, fault.as_deref()),
    };
    let answer: Answer = done.map_err(|error| format!("{error:#}"));
    Ok(to.write_all(&serde_json::to_vec(&answer)?).await?)
}

/// Has the keeper of a lab break or mend something; prints what.
fn order(name: &str, order: &Order) -> anyhow::Result<ExitCode> {
    let (_, lab) = Lab::find(name)?;
    let mut keeper = UnixStream::connect(&lab.orders).context("the lab's keeper takes no orders")?;
    keeper.write_all(&[&serde_json::to_vec(order)?[..], b"\n"].concat())?;
    let answer: Answer = serde_json::from_reader(BufReader::new(keeper)).context("the lab's keeper did not answer")?;
    match answer {
        Ok(faults) => {
            faults.iter().for_each(|fault| println!("{fault}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => bail!("{why}"),
    }
}

/// Has another process keep the lab; returns when it is up.
fn detach(wanted: &Wanted) -> anyhow::Result<ExitCode> {
    let log = std::env::temp_dir().join(format!("prejoin-kubelab.{}.log", wanted.name));
    let mut keeper = Command::new(std::env::current_exe()?);
    keeper.args(std::env::args().skip(1).filter(|argument| argument != "--detach"));
    keeper
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?);
    // What ends this process from a terminal is not for the keeper.
    let mut keeper = keeper.process_group(0).spawn()?;
    let mut word = String::new();
    BufReader::new(keeper.stdout.take().context("a pipe was asked for")?).read_line(&mut word)?;
    eprint!("{}", fs::read_to_string(&log)?);
    if word.trim() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    keeper.wait()?;
    fs::remove_file(&log)?;
    Ok(ExitCode::FAILURE)
}

/// Becomes a program at a place of the lab; returns only if that fails.
fn run(wanted: &Wanted) -> anyhow::Error {
    let try_to = || -> anyhow::Result<std::io::Error> {
        let (_, lab) = Lab::find(&wanted.name)?;
        let place = lab.places.iter().find(|(name, _)| *name == wanted.place);
        let (_, words) = place.with_context(|| format!("the lab has no place {}", wanted.place))?;
        let mut search = lab.path.into_os_string();
        search.push(":");
        search.push(std::env::var_os("PATH").unwrap_or_default());
        let (first, rest) = words.split_first().context("a command has words")?;
        let mut command = Command::new(first);
        command.args(rest).args(&wanted.program).env("PATH", search);
        Ok(command.env("KUBECONFIG", lab.desk_kubeconfig).exec())
    };
    try_to().map_or_else(|error| error, anyhow::Error::from)
}

/// Has the keeper of a lab end it, and waits until it is gone.
fn down(name: &str) -> anyhow::Result<ExitCode> {
    let (file, lab) = Lab::find(name)?;
    kill(Pid::from_raw(lab.keeper), Signal::SIGTERM).context("cannot tell the lab's keeper")?;
    // The keeper holds it as long as anything is left.
    file.lock_shared()?;
    let _ = fs::remove_file(std::env::temp_dir().join(format!("prejoin-kubelab.{name}.log")));
    Ok(ExitCode::SUCCESS)
}
