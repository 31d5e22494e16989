//! A program that runs beside a test, and what it says.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longer than anything that is waited for takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program that ends with this, at the latest.
pub struct Running {
    child: Child,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    /// Starts it; what it says on standard error is listened to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let stderr = child.stderr.take().expect("its standard error is a pipe");
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            said,
            heard: Vec::new(),
        }
    }

    /// Waits until it says something with these words.
    ///
    /// # Panics
    /// When it does not in time, with what it said instead.
    pub fn until(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        let mut is_said = false;
        while !is_said {
            let line = self.said.recv_timeout(end.saturating_duration_since(Instant::now()));
            assert!(line.is_ok(), "`{words}` was not said, but {:#?}", self.heard);
            is_said = line.as_ref().is_ok_and(|line| line.contains(words));
            self.heard.extend(line);
        }
    }

    /// Whether it has said nothing since what was last waited for.
    pub fn is_quiet(&self) -> bool {
        self.said.try_recv().is_err()
    }

    /// What was heard of it up to what was last waited for.
    pub fn heard(&self) -> String {
        self.heard.join("\n")
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
