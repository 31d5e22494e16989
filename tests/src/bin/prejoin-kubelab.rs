//! Real Kubernetes clusters in network namespaces, by hand: `docs/lab.md` says how to use it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prejoin_tests::kubernetes::{DESK, Kubernetes, RunningKubernetes, be_node, clean_up_after};
use serde::{Deserialize, Serialize};

const USAGE: &str = "\
prejoin-kubelab up [--clusters N] [--nodes N] [--dual-stack] [--image ARCHIVE]... [--name LAB] [--detach]
prejoin-kubelab run [--name LAB] [--at PLACE] -- PROGRAM...    at the desk, or on a node: east-n1
prejoin-kubelab kubeconfig [--name LAB]                        of this machine's own view
prejoin-kubelab down [--name LAB]";

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
                "--detach" => wanted.detach = true,
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
}

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
        let lab = Lab::of(&kubernetes)?;
        file.write_all(&serde_json::to_vec(&lab)?)?;
        eprintln!("export KUBECONFIG={}", lab.kubeconfig.display());
        eprintln!("contexts: {}", kubernetes.contexts().join(" "));
        println!("{READY}");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        drop(kubernetes);
        anyhow::Ok(true)
    });
    // Before the lock is gone with this process.
    fs::remove_file(&path)?;
    Ok(if ended? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
