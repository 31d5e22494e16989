//! A real agent process over pipes, with an end to every wait.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prejoin_agent::protocol::{Answer, Ask, Open, Opened, Reply, Request, line};

/// Nothing here takes this long: a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The audit of all tests.
pub(crate) const AUDIT: &str = "000102030405060708090a0b0c0d0e0f";
/// Its key.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// One `prejoin-agent session`.
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next_id: u64,
}

impl Agent {
    /// Starts one with these options, allowed to probe the loopback block.
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prejoin-agent"));
        command.arg("session").args(["--node-name", "here"]).args(options);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // A reader that is not read from stops reading: what the agent writes then stays in the pipe.
        let (sender, lines) = sync_channel(0);
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            stdin,
            lines,
            next_id: 1,
        }
    }

    /// Starts one and opens a session.
    pub(crate) fn open(options: &[&str]) -> Self {
        let mut agent = Self::start(options);
        agent.opened(open());
        agent
    }

    /// Opens a session.
    pub(crate) fn opened(&mut self, open: Open) -> Opened {
        match self.ask(Ask::Open(open)) {
            Answer::Opened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request and gives the first answer to it.
    pub(crate) fn ask(&mut self, ask: Ask) -> Answer {
        let id = self.send(ask);
        let reply = self.answer();
        assert_eq!(reply.id, id, "{reply:?}");
        reply.answer
    }

    /// Sends a request; gives its id.
    pub(crate) fn send(&mut self, ask: Ask) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.say(&line::encode(&Request { id, ask }).unwrap());
        id
    }

    /// Sends these bytes.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // An agent that has ended takes nothing more; what it said before is looked at.
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Reply {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")),
            Err(RecvTimeoutError::Disconnected) => panic!("the agent has ended: {}", self.end().stderr),
            Err(RecvTimeoutError::Timeout) => panic!("no answer"),
        }
    }

    /// The answers until a request's last one, which is not a [`Answer::Probed`].
    pub(crate) fn answers_to(&mut self, id: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let reply = self.answer();
            assert_eq!(reply.id, id, "{reply:?}");
            let more = matches!(reply.answer, Answer::Probed { .. });
            answers.push(reply.answer);
            if !more {
                return answers;
            }
        }
    }

    /// Closes the agent's stdin.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Sends the agent a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the agent to end by itself.
    pub(crate) fn end(&mut self) -> End {
        let last: Vec<Reply> = std::iter::from_fn(|| match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line::decode(line.as_bytes()).unwrap()),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the agent does not end"),
        })
        .collect();
        let status = self.child.wait().unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        End { status, last, stderr }
    }

    /// Waits for the agent to end although nobody reads what it says.
    pub(crate) fn end_unread(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Of an agent that has ended, neither does anything.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How an agent ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// What it said that was not read before.
    pub(crate) last: Vec<Reply>,
    /// What it logged.
    pub(crate) stderr: String,
}

/// A session of the newest version, for a minute.
pub(crate) fn open() -> Open {
    Open {
        versions: vec![1, 2],
        audit: AUDIT.to_owned(),
        key: KEY.to_owned(),
        node: "node-1".to_owned(),
        deadline_seconds: 60,
    }
}

/// A loopback address that no other test uses.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let pid = std::process::id().to_be_bytes();
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 128 | pid[2] & 0x7F, pid[3].wrapping_add(high), low)
}

/// Whether nothing holds the port, on TCP or UDP.
pub(crate) fn is_free(address: Ipv4Addr, port: u16) -> bool {
    let address = SocketAddr::from((address, port));
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}
