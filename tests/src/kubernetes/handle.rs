//! A node as its lab holds it: the process that is it, and the talk with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, bail};

use super::orders::{Answer, NodeSpec, Order};

/// A node at work; it is gone when this is dropped, with everything in it.
#[derive(Debug)]
pub(super) struct NodeHandle {
    name: String,
    child: Child,
    talk: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl NodeHandle {
    /// Starts it: `command` is the node's first process, in its place.
    pub(super) fn start(spec: NodeSpec, command: &[String]) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("a command has words")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let pipes = pipes.context("pipes were asked for")?;
        let node = Self {
            name: spec.name.clone(),
            child,
            talk: Mutex::new((Some(pipes.0), BufReader::new(pipes.1))),
        };
        node.ask(&Order::Be(Box::new(spec)))?;
        Ok(node)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives an order and waits until it is carried out.
    pub(super) fn ask(&self, order: &Order) -> anyhow::Result<()> {
        let mut talk = self.talk.lock().expect("who holds it does not panic");
        let (Some(to), from) = &mut *talk else {
            bail!("{} is gone", self.name)
        };
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        to.write_all(&line).with_context(|| format!("{} is gone", self.name))?;
        let mut answer = String::new();
        if from.read_line(&mut answer)? == 0 {
            bail!("{} ended without an answer", self.name);
        }
        match serde_json::from_str(&answer)? {
            Answer::Done => Ok(()),
            Answer::Failed(why) => bail!("{}: {why}", self.name),
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            talk.0 = None;
        }
        // It ends when nobody orders any more, and its end is the end of all that is in it.
        let _ = self.child.wait();
    }
}
