//! Starts a program inside a node: enters the namespaces and becomes the program. Nothing needs to be installed for it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

/// Where and as what a program is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// Path of the user namespace, where the lab is in one of its own.
    pub user: Option<PathBuf>,
    /// Path of the network namespace.
    pub net: PathBuf,
    /// The name the program finds the machine to have.
    pub host_name: String,
    /// Files that the program finds in other files' places: (what, where).
    pub instead: Vec<(PathBuf, PathBuf)>,
}

/// Runs a program in a room, as the first process there: it sees its own processes and no others. Gives the program's exit code.
///
/// # Errors
/// When the room is not there, or the kernel refuses.
pub fn enter(room: &Room, program: &[String]) -> anyhow::Result<ExitCode> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("cannot open {}: is the lab gone?", path.display()));
    let net = open(&room.net)?;
    if let Some(user) = &room.user {
        setns(open(user)?, CloneFlags::CLONE_NEWUSER).context("cannot enter the lab's user namespace")?;
    }
    setns(net, CloneFlags::CLONE_NEWNET).context("cannot enter the node's network namespace")?;
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID;
    unshare(own).context("cannot take mounts, processes and a name of its own")?;
    sethostname(&room.host_name)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("cannot separate mounts")?;
    // What sysfs shows of links is of the namespace it was mounted in. Where a container forbids a new one, the old one stays:
    // then links have no driver's particulars, which nothing here relies on.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing);
    // Only a child is in the new namespace of processes.
    let mut child = Command::new("/proc/self/exe");
    child.arg("become");
    for (what, place) in &room.instead {
        child
            .arg("--instead")
            .arg(format!("{}:{}", what.display(), place.display()));
    }
    let status = child.arg("--").args(program).status()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Becomes a program, as the first process of its namespace; returns only if that fails.
pub fn become_program(room: &Room, program: &[String]) -> anyhow::Error {
    let nothing = None::<&str>;
    // Where a container forbids it, /proc still shows the outer processes, and an agent cannot tell whose network it sees.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing);
    for (what, place) in &room.instead {
        if let Err(error) = mount(Some(what), place, nothing, MsFlags::MS_BIND, nothing) {
            let swap = format!("cannot put {} in the place of {}", what.display(), place.display());
            return anyhow::Error::from(error).context(swap);
        }
    }
    let Some((name, arguments)) = program.split_first() else {
        return anyhow::anyhow!("no program is given");
    };
    let error = Command::new(name).args(arguments).exec();
    anyhow::Error::from(error).context(format!("cannot run {name}"))
}
