//! A real agent that goes wrong: its own process in between changes what it is told and what it says.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::fault::AgentFault;

/// Runs an agent and goes wrong in one way, over standard input and output.
///
/// # Errors
/// When the agent cannot be run.
pub fn relay(fault: &AgentFault, program: &[String]) -> anyhow::Result<()> {
    let (name, arguments) = program.split_first().context("no program is given")?;
    let mut agent = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let to = agent.stdin.take().context("it was asked for")?;
    let from = BufReader::new(agent.stdout.take().context("it was asked for")?);
    let agent = Mutex::new(agent);
    std::thread::scope(|scope| {
        scope.spawn(|| ask(fault, io::stdin().lock(), to, &agent));
        answer(fault, from, io::stdout())
    })
}

/// Passes requests on until the one that the fault is about.
fn ask(fault: &AgentFault, requests: impl BufRead, mut agent: ChildStdin, process: &Mutex<Child>) {
    for line in requests.lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        if request.get("probe").is_some() {
            match fault {
                AgentFault::Dies => {
                    // Ours ends with it: its answers end.
                    let _ = process.lock().map(|mut process| process.kill());
                    std::process::exit(137);
                }
                AgentFault::Hangs => continue,
                AgentFault::Garbage => {
                    // A collector that has gone already hears no garbage.
                    let _ = io::stdout().write_all(b"\x00\x01{{{\"probed\": no\n");
                    continue;
                }
                _ => {}
            }
        }
        // An agent that has ended takes no more; that shows in its answers.
        if writeln!(agent, "{line}").is_err() {
            return;
        }
    }
}

/// Passes answers on, changed where the fault is about them.
fn answer(fault: &AgentFault, answers: impl BufRead, mut out: impl Write) -> anyhow::Result<()> {
    for line in answers.lines() {
        let mut answer: Value = serde_json::from_str(&line?)?;
        match fault {
            AgentFault::WrongName(name) => {
                if let Some(opened) = answer.get_mut("opened") {
                    opened["node"] = json!(name);
                }
            }
            AgentFault::UnknownProtocol => {
                if let Some(opened) = answer.get_mut("opened") {
                    opened["version"] = json!(99);
                }
            }
            AgentFault::ClaimsUnheard => {
                let heard = answer.pointer_mut("/heard/heard").and_then(Value::as_array_mut);
                for probe in heard.into_iter().flatten() {
                    probe["heard"]["received"] = json!(1_000_000);
                }
            }
            _ => {}
        }
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
