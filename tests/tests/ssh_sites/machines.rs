//! Two nodes of a lab with an OpenSSH server each, and a desk from which they are reached.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use prejoin_tests::lab::{self, Lab, RunningLab};
use tempfile::TempDir;

/// With this variable set, a machine without an OpenSSH server is a failure and not a reason to skip.
const REQUIRE: &str = "PREJOIN_REQUIRE_SSHD";
/// The machines as the documentation calls them, their nodes in the lab, and the addresses that it gives them.
const NODES: [(&str, &str, &str); 2] = [
    ("east-1", "east-n1", "192.0.2.11"),
    ("west-1", "west-n1", "198.51.100.11"),
];
/// From where the audit is run.
pub(super) const DESK: &str = "desk-n1";
/// Longer than anything here takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a command.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The machines at work; everything is gone when this is dropped.
pub(super) struct Machines {
    /// Before the lab, which waits for nobody.
    servers: Vec<Server>,
    lab: RunningLab,
    folder: TempDir,
}

/// An OpenSSH server.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            // It has not been waited for, so the number is still its own.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

impl Machines {
    /// None where there can be none, which is said.
    pub(super) fn up() -> Option<Self> {
        let sshd = sshd().map_err(|why| skip(&why)).ok()?;
        let lab = Lab::new()
            .ipv4_only()
            .site("east", 1)
            .site("west", 1)
            .site("desk", 1)
            .up()
            .unwrap()?;
        if lab.is_in_user_namespace() {
            skip("only root of the machine itself can log users in");
            return None;
        }
        let mut machines = Self {
            servers: Vec::new(),
            lab,
            folder: tempfile::tempdir().unwrap(),
        };
        machines.make_keys();
        for (name, node, _) in NODES {
            let server = machines.serve(&sshd, name, node);
            machines.servers.push(server);
        }
        machines.write_ssh_config_as("ssh_config", "known_hosts", "user_key");
        Some(machines)
    }

    pub(super) fn lab(&self) -> &RunningLab {
        &self.lab
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn address(&self, node: &str) -> Ipv4Addr {
        self.lab.topology().node(node).unwrap().ipv4
    }

    fn make_keys(&self) {
        for key in ["user_key", "other_key", "east-1_key", "west-1_key"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &self.shown(key)]);
            assert!(command.status().unwrap().success());
        }
        let public = |key: &str| fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        self.write("authorized_keys", &public("user_key"));
        let of = |node: &str, key: &str| format!("{} {}", self.address(node), public(key));
        let east = of("east-n1", "east-1_key");
        self.write("east_hosts", &east);
        self.write("known_hosts", &(east.clone() + &of("west-n1", "west-1_key")));
        self.write("wrong_hosts", &(east + &of("west-n1", "east-1_key")));
    }

    /// Starts a server and waits until it listens.
    fn serve(&self, sshd: &Path, name: &str, node: &str) -> Server {
        let (key, pid, config) = (
            format!("{name}_key"),
            format!("{name}.pid"),
            format!("{name}_sshd_config"),
        );
        let lines = [
            format!("ListenAddress {}", self.address(node)),
            format!("HostKey {}", self.shown(&key)),
            format!("PidFile {}", self.shown(&pid)),
            format!("AuthorizedKeysFile {}", self.shown("authorized_keys")),
            "StrictModes no".to_owned(),
            "UsePAM no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            "Subsystem sftp internal-sftp".to_owned(),
        ];
        self.write(&config, &lines.join("\n"));
        // An account that is not locked, in a /run of its own; the mounts are the server's alone.
        self.write("shadow", "root:*:20000:0:99999:7:::\n");
        let script = r#"mount --bind "$1" /etc/shadow && mount -t tmpfs none /run && mkdir /run/sshd && exec "$2" -D -e -f "$3""#;
        let (shadow, config) = (self.shown("shadow"), self.shown(&config));
        let program = ["sh", "-c", script, "sh", &shadow, sshd.to_str().unwrap(), &config];
        let mut server = Server(
            self.command(node, &program)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap(),
        );
        let mut said = BufReader::new(server.0.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("Server listening on") {
            assert!(said.read_line(&mut all).unwrap() > 0, "sshd ended: {all}");
        }
        // Whatever else it says must not hold it up.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        server
    }

    fn command(&self, node: &str, program: &[&str]) -> Command {
        let words = self.lab.command(node, program).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// Copies the agent to both machines; where it then is there. They share their disks, so a directory stands for each home.
    pub(super) fn copy_agents(&self) -> PathBuf {
        let agent = built_agent();
        let place = self.path("home");
        fs::create_dir(&place).unwrap();
        for (name, ..) in NODES {
            let (config, to) = (self.shown("ssh_config"), format!("{name}:{}/", place.to_str().unwrap()));
            let outcome = self.run(&["scp", "-q", "-F", &config, agent.to_str().unwrap(), &to]);
            assert_eq!(outcome.code, 0, "{outcome:#?}");
        }
        place.join("prejoin-agent")
    }

    /// What `ssh -F` takes, with these known hosts and this key.
    pub(super) fn write_ssh_config(&self, known_hosts: &str, key: &str) -> String {
        let name = format!("{known_hosts}-{key}");
        self.write_ssh_config_as(&name, known_hosts, key);
        name
    }

    fn write_ssh_config_as(&self, name: &str, known_hosts: &str, key: &str) {
        let hosts = NODES.map(|(name, node, _)| format!("Host {name}\n  HostName {}\n", self.address(node)));
        let all = [
            "Host *".to_owned(),
            "User root".to_owned(),
            format!("IdentityFile {}", self.shown(key)),
            "IdentitiesOnly yes".to_owned(),
            format!("UserKnownHostsFile {}", self.shown(known_hosts)),
            "GlobalKnownHostsFile /dev/null".to_owned(),
        ];
        self.write(name, &format!("{}{}\n", hosts.concat(), all.join("\n  ")));
    }

    /// `prejoin.yaml` with the agent there on both machines.
    pub(super) fn write_config(&self, agent: &Path, ssh_config: &str) {
        self.write_config_of([(ssh_config, agent); 2]);
    }

    /// `prejoin.yaml` as the documentation has it, with the machines' own addresses, for root, and with ways that lead into the lab.
    pub(super) fn write_config_of(&self, ways: [(&str, &Path); 2]) {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agents.md")).unwrap();
        let (_, rest) = page.split_once("```yaml\n# prejoin.yaml\n").unwrap();
        let (mut config, _) = rest
            .split_once("```")
            .map(|(config, rest)| (config.to_owned(), rest))
            .unwrap();
        for ((name, node, address), (ssh_config, agent)) in NODES.iter().zip(ways) {
            let documented = format!("{{destination: {name}, agent: ./prejoin-agent, sudo: true}}");
            assert!(config.contains(&documented) && config.contains(address), "{config}");
            let (options, agent) = (self.shown(ssh_config), agent.display());
            let own = format!("{{destination: {name}, options: [-F, {options}], agent: {agent}}}");
            config = config
                .replace(&documented, &own)
                .replace(address, &self.address(node).to_string());
        }
        self.write("prejoin.yaml", &config);
    }

    /// `prejoin audit -f prejoin.yaml`, at the desk.
    pub(super) fn audit(&self, more: &[&str]) -> Outcome {
        self.prejoin(&[&["audit", "-f", "prejoin.yaml"], more].concat())
    }

    pub(super) fn prejoin(&self, arguments: &[&str]) -> Outcome {
        let prejoin = lab::program("prejoin").unwrap();
        self.run(&[&[prejoin.to_str().unwrap()], arguments].concat())
    }

    /// Runs a program at the desk, where any question that ssh might have is put to a program that notes it.
    fn run(&self, program: &[&str]) -> Outcome {
        let ask = self.path("ask");
        fs::write(&ask, format!("#!/bin/sh\necho \"$1\" >> {}\n", self.shown("asked"))).unwrap();
        fs::set_permissions(&ask, fs::Permissions::from_mode(0o755)).unwrap();
        let limit = PATIENCE.as_secs().to_string();
        let mut command = self.command(DESK, &[&["timeout", &limit], program].concat());
        let output = command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .envs([("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "force")])
            .env("SSH_ASKPASS", ask)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(super) fn somebody_was_asked(&self) -> bool {
        self.path("asked").exists()
    }

    /// The processes in the machines' networks: of servers, sessions and agents.
    pub(super) fn processes(&self) -> BTreeSet<u32> {
        NODES
            .iter()
            .flat_map(|(_, node, _)| self.lab.processes(node).unwrap())
            .collect()
    }

    /// Waits until the machines have no other processes than these. Some of these may have ended: a server forks while it starts.
    pub(super) fn until_only(&self, idle: &BTreeSet<u32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let named = |process: &u32| (*process, fs::read_to_string(format!("/proc/{process}/cmdline")));
            let left: Vec<_> = self.processes().difference(idle).map(named).collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            std::thread::yield_now();
        }
    }
}

/// The agent as it was built.
pub(super) fn built_agent() -> PathBuf {
    lab::program("prejoin-agent").unwrap()
}

/// The OpenSSH server of this machine, or why there can be none.
fn sshd() -> Result<PathBuf, String> {
    for client in ["ssh", "scp", "ssh-keygen"] {
        find(client).ok_or_else(|| format!("there is no `{client}`"))?;
    }
    find("sshd").ok_or_else(|| "there is no `sshd`".to_owned())
}

/// Says loudly that there is no test of this here.
fn skip(why: &str) {
    assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, and {why}");
    // Not by `eprintln`, which tests that pass keep to themselves.
    let said = format!("SKIPPED: audits over ssh are not tried: {why}; set {REQUIRE}=1 to make that a failure\n");
    let _ = std::io::stderr().write_all(said.as_bytes());
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).collect::<Vec<_>>();
    let servers = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    own.into_iter()
        .chain(servers)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
