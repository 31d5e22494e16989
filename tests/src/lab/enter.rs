//! Starts a program inside a node: enters the namespaces and becomes the program. Nothing needs to be installed for it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Becomes the program; returns only if that fails.
pub fn become_program(room: &Room, program: &[String]) -> anyhow::Error {
    match enter(room) {
        Ok(()) => {
            let Some((name, arguments)) = program.split_first() else {
                return anyhow::anyhow!("no program is given");
            };
            let error = Command::new(name).args(arguments).exec();
            anyhow::Error::from(error).context(format!("cannot run {name}"))
        }
        Err(error) => error,
    }
}

fn enter(room: &Room) -> anyhow::Result<()> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("cannot open {}: is the lab gone?", path.display()));
    let net = open(&room.net)?;
    if let Some(user) = &room.user {
        setns(open(user)?, CloneFlags::CLONE_NEWUSER).context("cannot enter the lab's user namespace")?;
    }
    setns(net, CloneFlags::CLONE_NEWNET).context("cannot enter the node's network namespace")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("cannot take mounts and a name of its own")?;
    sethostname(&room.host_name)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("cannot separate mounts")?;
    for (what, place) in &room.instead {
        mount(Some(what), place, nothing, MsFlags::MS_BIND, nothing)
            .with_context(|| format!("cannot put {} in the place of {}", what.display(), place.display()))?;
    }
    // What sysfs shows of links is of the namespace it was mounted in. Where a container forbids a new one, the old one stays:
    // then links have no driver's particulars, which nothing here relies on.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing);
    Ok(())
}
