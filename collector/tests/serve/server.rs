//! A collector in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const PREJOIN: &str = env!("CARGO_BIN_EXE_prejoin");

/// Whatever a collector is to say, it says within this time, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A directory with a configuration and facts.
pub(crate) struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    /// With the facts of this example, in one group called demo.
    pub(crate) fn new(example: &str) -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for cluster in ["east.json", "west.json"] {
            fs::copy(examples().join(example).join(cluster), site.file(cluster)).unwrap();
        }
        let config = "apiVersion: prejoin.dev/v1alpha1\nkind: Server\nlisten: 127.0.0.1:0\ntls: {off: true}\n\
                      groups:\n- name: demo\n  profiles: [clustermesh]\n  policy: {probe: none}\n  \
                      clusters: [{name: east, facts: east.json}, {name: west, facts: west.json}]\n";
        fs::write(site.file("server.yaml"), config).unwrap();
        site
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the program in the directory.
    pub(crate) fn prejoin(&self, words: &[&str]) -> Output {
        let mut command = Command::new(PREJOIN);
        command.args(words).current_dir(self.directory.path());
        command.output().unwrap()
    }

    /// A new token with this role, called so.
    pub(crate) fn token(&self, role: &str) -> String {
        let made = self.prejoin(&["serve", "token", "create", role, "--role", role]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// Starts a collector and waits until it listens.
    pub(crate) fn start(&self) -> Server {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, words: &[&str]) -> Server {
        let mut command = Command::new(PREJOIN);
        command.arg("serve").args(words).current_dir(self.directory.path());
        Server::of(command)
    }
}

/// A collector that runs.
pub(crate) struct Server {
    child: Mutex<Child>,
    pub(crate) address: SocketAddr,
    said: Mutex<Receiver<String>>,
    /// What it said so far.
    heard: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self {
            child: Mutex::new(child),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            said: Mutex::new(said),
            heard: Mutex::default(),
        };
        let line = server.until("listens on http://");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        server.address = address.unwrap().parse().unwrap();
        server
    }

    /// Waits until it says this from now on, and gives the line.
    pub(crate) fn until(&self, text: &str) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match said.recv_timeout(left) {
                Ok(line) => {
                    heard.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("it never said `{text}` ({error}), but {heard:#?}"),
            }
        }
    }

    /// Whether it has said this by now.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(self.said.lock().unwrap_or_else(PoisonError::into_inner).try_iter());
        heard.iter().any(|line| line.contains(text))
    }

    /// Its process.
    pub(crate) fn id(&self) -> String {
        self.child.lock().unwrap().id().to_string()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id()]).status();
        assert!(sent.unwrap().success());
    }

    /// Tells it to end, and waits; the exit code.
    pub(crate) fn end(self) -> i32 {
        self.signal("TERM");
        self.child.lock().unwrap().wait().unwrap().code().unwrap()
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, token: Option<&str>, body: &str) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.ask("POST", path, &headers, body)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_ask(method, path, headers, body).unwrap()
    }

    /// Like `ask`, of one that may be gone.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(name);
            request.push_str(": ");
            request.push_str(value);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Answer::of(&answer).ok_or_else(|| std::io::Error::other("no whole answer"))
    }

    /// The name of the latest audit.
    pub(crate) fn last_audit(&self) -> String {
        let audits = self.get("/api/v1/audits?limit=1").json();
        audits["audits"][0]["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let answer = Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head,
            body: bytes[end + 4..].to_vec(),
        };
        let announced = answer.header("content-length").and_then(|length| length.parse().ok());
        (announced.is_none_or(|length: usize| length == answer.body.len())).then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
