//! The programs of a node, as its first process keeps them: started, awaited by `sd_notify`, ended, buried.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::orders::{Component, Way};

/// Longer than any program takes to start, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a program may take to end by itself.
const POLITE: Duration = Duration::from_secs(20);

/// All children of this process, and how those ended that did.
#[derive(Default)]
struct Children {
    ended: HashMap<Pid, WaitStatus>,
    /// How many were ever started.
    started: u64,
}

/// The programs of this node.
pub(super) struct Units {
    shared: Arc<(Mutex<Children>, Condvar)>,
    running: HashMap<Component, Pid>,
    /// Where programs say that they are ready.
    sockets: PathBuf,
    logs: PathBuf,
    node: String,
}

impl Units {
    /// For the first process of a namespace, which every orphan becomes a child of.
    pub(super) fn new(node: &str, sockets: &Path, logs: &Path) -> Self {
        let shared = Arc::new((Mutex::new(Children::default()), Condvar::new()));
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || bury(&of_thread));
        Self {
            shared,
            running: HashMap::new(),
            sockets: sockets.to_owned(),
            logs: logs.to_owned(),
            node: node.to_owned(),
        }
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.shared.0.lock().expect("who holds it does not panic")
    }

    fn spawn(&self, command: &mut Command) -> anyhow::Result<Pid> {
        let mut children = self.children();
        let program = command.get_program().display().to_string();
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        children.started += 1;
        self.shared.1.notify_all();
        Ok(Pid::from_raw(i32::try_from(child.id())?))
    }

    /// Waits until it ends, so long and no longer.
    fn ended(&self, pid: Pid, patience: Duration) -> Option<WaitStatus> {
        let (mut children, _) = self
            .shared
            .1
            .wait_timeout_while(self.children(), patience, |children| !children.ended.contains_key(&pid))
            .expect("who holds it does not panic");
        children.ended.remove(&pid)
    }

    /// Starts a program and waits until it says that it is ready, if it is one that does.
    pub(super) fn start(&mut self, component: Component, mut command: Command) -> anyhow::Result<()> {
        let name = component.program();
        let log_path = self.logs.join(format!("{}-{name}.log", self.node));
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let socket = self.sockets.join(format!("{name}.notify"));
        let _ = std::fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket)?;
        command.env("NOTIFY_SOCKET", &socket);
        let pid = self.spawn(&mut command)?;
        self.running.insert(component, pid);
        if !component.notifies() {
            return Ok(());
        }
        ready.set_read_timeout(Some(Duration::from_millis(200)))?;
        let deadline = Instant::now() + PATIENCE;
        let mut word = [0; 4096];
        loop {
            if ready
                .recv(&mut word)
                .is_ok_and(|length| word[..length].starts_with(b"READY=1"))
            {
                return Ok(());
            }
            let ended = self.ended(pid, Duration::ZERO);
            if ended.is_some() || Instant::now() > deadline {
                self.running.remove(&component);
                bail!(
                    "{name} did not become ready ({ended:?}); the end of its log:\n{}",
                    tail(&log_path)
                );
            }
        }
    }

    /// Ends a program and waits until it is gone.
    pub(super) fn stop(&mut self, component: Component, way: Way) -> anyhow::Result<()> {
        let pid = self.running.remove(&component).context("it does not run")?;
        let first = match way {
            Way::Terminate => Signal::SIGTERM,
            Way::Kill => Signal::SIGKILL,
        };
        for signal in [first, Signal::SIGKILL] {
            // It has not been taken from the table, so the number is still its own; perhaps it ended already.
            let _ = kill(pid, signal);
            if self.ended(pid, POLITE).is_some() {
                return Ok(());
            }
        }
        bail!("{} does not end", component.program())
    }

    /// Runs a program to its end.
    pub(super) fn run(&self, mut command: Command) -> anyhow::Result<()> {
        let log_path = self.logs.join(format!("{}-commands.log", self.node));
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().display().to_string();
        let pid = self.spawn(&mut command)?;
        match self.ended(pid, PATIENCE) {
            Some(WaitStatus::Exited(_, 0)) => Ok(()),
            other => bail!("{name} failed ({other:?}):\n{}", tail(&log_path)),
        }
    }
}

/// Waits for every child there is, forever.
fn bury(shared: &(Mutex<Children>, Condvar)) {
    let lock = || shared.0.lock().expect("who holds it does not panic");
    loop {
        let started = lock().started;
        match waitpid(None, None) {
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    lock().ended.insert(pid, status);
                    shared.1.notify_all();
                }
            }
            Err(Errno::EINTR) => {}
            // No children: until there is one more than before.
            Err(_) => {
                let waited = shared.1.wait_while(lock(), |children| children.started == started);
                drop(waited.expect("who holds it does not panic"));
            }
        }
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = File::open(path).and_then(std::io::read_to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
