//! `prejoin audit` with agents that are shell scripts: what is typed, what is saved, what an interrupt leaves.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use prejoin_checks::samples::cilium;
use serde_json::{Value, json};

use super::command::{Outcome, Place, arg, outcome};

/// Two sites with a facts file each, and an agent on the first node of each.
struct Sites {
    place: Place,
}

/// What an agent does when it is asked to listen.
#[derive(Clone, Copy)]
enum Listening {
    /// It refuses.
    Refuses,
    /// It says so to whoever reads this pipe, and never answers.
    Hangs,
    /// It says so to whoever reads this pipe, and does not even notice the end of its input.
    Deaf,
    /// It ends.
    Dies,
}

impl Sites {
    fn new(listening: Listening) -> Self {
        let place = Place::new();
        let mut sites = Vec::new();
        for (name, number) in [("east", 1), ("west", 2)] {
            place.write_facts(&format!("{name}.json"), &cilium(name, number));
            let node = format!("{name}-n1");
            let script = place.write(&format!("agent-{name}"), script(&node, listening));
            let nodes = json!([{ "name": node, "local": ["/bin/sh", script] }]);
            sites.push(json!({ "name": name, "facts": format!("{name}.json"), "nodes": nodes }));
        }
        let config = json!({ "apiVersion": "prejoin.dev/v1alpha1", "profiles": ["clustermesh"], "sites": sites });
        place.write("prejoin.yaml", config.to_string());
        Self { place }
    }

    fn audit(&self, args: &[&str]) -> Outcome {
        self.place.run(&[&["audit", "-f=prejoin.yaml"], args].concat())
    }

    /// Whether the agent of a site was told to close.
    fn was_told(&self, site: &str) -> bool {
        self.place.path(&format!("agent-{site}.closed")).exists()
    }
}

fn script(node: &str, listening: Listening) -> String {
    let listen = match listening {
        Listening::Refuses => r#"echo '{"id":'$n',"failed":{"kind":"internal","detail":"not today"}}'"#,
        Listening::Hangs => r#"[ -p "$0.pipe" ] && echo listening >"$0.pipe""#,
        Listening::Deaf => r#"[ -p "$0.pipe" ] && echo listening >"$0.pipe"; exec sleep 30"#,
        Listening::Dies => "echo out of memory >&2; exit 9",
    };
    format!(
        r#"n=0
while read -r line; do
  n=$((n+1))
  case "$line" in
    *'"open"'*) echo '{{"id":'$n',"opened":{{"version":2,"agent":"0.1.0","role":"node","node":"{node}","abilities":{{}}}}}}' ;;
    *'"node_facts"'*) echo '{{"id":'$n',"node_facts":{{"node":"{node}"}}}}' ;;
    *'"listen"'*) {listen} ;;
    *'"close"'*) : >"$0.closed"; echo '{{"id":'$n',"closed":{{}}}}'; exit 0 ;;
    *) echo '{{"id":'$n',"failed":{{"kind":"internal","detail":"not today"}}}}' ;;
  esac
done
"#
    )
}

fn bundle(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.path(name)).unwrap()).unwrap()
}

#[test]
fn what_an_audit_saves_gives_the_same_report_byte_for_byte() {
    let sites = Sites::new(Listening::Refuses);
    sites.place.write(
        "waiver.yaml",
        std::fs::read_to_string(sites.place.path("prejoin.yaml"))
            .unwrap()
            .replace(
                "\"profiles\"",
                r#""waivers":[{"code":"CM302","owner":"me","reason":"so","until":"2099-01-01"}],"externalNetworks":[{"name":"office","cidr":"172.31.1.0/24"}],"profiles""#,
            ),
    );
    for output in ["table", "json", "yaml", "junit", "markdown"] {
        for config in ["prejoin.yaml", "waiver.yaml"] {
            let audited = sites
                .place
                .run(&["audit", "-f", config, "-o", output, "--skip=CM101", "--save=saved.json"]);
            let checked = sites.place.run(&["check", "saved.json", "-o", output]);
            assert_eq!(checked.stdout, audited.stdout, "{output}");
            assert_eq!(checked.code, audited.code, "{output}");
        }
    }
    let saved = bundle(&sites.place, "saved.json");
    assert_eq!(saved["observations"]["agents"].as_array().unwrap().len(), 2);
    assert_eq!(saved["clusters"][0]["node_facts"][0]["node"], "east-n1");
    // Flags override what was asked for then.
    let other = sites
        .place
        .run(&["check", "saved.json", "-o=json", "--only=CM302"])
        .json();
    let judged = |report: &Value| report["summary"]["skip"].as_u64().unwrap();
    assert!(judged(&other) > judged(&sites.place.run(&["check", "saved.json", "-o=json"]).json()));
}

#[test]
fn agents_are_told_to_close_and_what_they_refused_is_unknown() {
    let sites = Sites::new(Listening::Refuses);
    let report = sites.audit(&["-o=json"]).says("probes between 2 agents").json();
    assert!(sites.was_told("east") && sites.was_told("west"));
    assert_ne!(report["verdict"], "pass");
}

#[test]
fn an_agent_that_dies_is_told_with_its_last_words() {
    let sites = Sites::new(Listening::Dies);
    sites.audit(&["-o=json", "--save=saved.json"]);
    let saved = bundle(&sites.place, "saved.json");
    let failure = &saved["observations"]["agents"][0]["failure"];
    assert_eq!(failure["kind"], "died");
    assert_eq!(failure["detail"], "the agent ended: exit code 9: out of memory");
}

#[test]
fn an_agent_that_cannot_be_started_is_said_at_once() {
    let sites = Sites::new(Listening::Refuses);
    std::fs::remove_file(sites.place.path("agent-west")).unwrap();
    sites
        .audit(&["-o=json"])
        .says("prejoin: west/west-n1: no agent: the agent ended: exit code")
        .json();
    assert!(sites.was_told("east"));
}

#[test]
fn a_dry_run_sends_nothing_and_says_what_would_be_sent() {
    let sites = Sites::new(Listening::Dies);
    let shown = sites.audit(&["--dry-run", "--rate=77"]).exits(0).stdout;
    assert!(shown.contains("probes between 2 agents"), "{shown}");
    assert!(shown.contains("never more than 77 packets a second"), "{shown}");
    assert!(sites.was_told("east") && sites.was_told("west"));
    let without = sites.place.run(&["audit", "--facts=east.json", "--dry-run"]).exits(0);
    assert_eq!(without.stdout, "There are no agents, so nothing would be sent.\n");
}

#[test]
fn without_probes_no_agent_is_started() {
    let sites = Sites::new(Listening::Dies);
    sites.audit(&["-o=json", "--probe=none"]).json();
    assert!(!sites.was_told("east"));
}

#[test]
fn an_interrupt_ends_it_in_order_with_a_report_of_what_is_known() {
    let sites = Sites::new(Listening::Hangs);
    let pipe = sites.place.path("agent-east.pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let audit = sites
        .place
        .command(&["audit", "-f=prejoin.yaml", "-o=json", "--save=saved.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Ends when the agent has been asked to listen, and the audit waits for its answer.
    let mut asked = String::new();
    File::open(&pipe).unwrap().read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "listening\n");
    kill(Pid::from_raw(audit.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = outcome(&audit.wait_with_output().unwrap()).exits(5).says("interrupted");
    assert_eq!(ended.json()["verdict"], "unknown");
    assert!(sites.was_told("east") && sites.was_told("west"));
    let saved = bundle(&sites.place, "saved.json");
    assert_eq!(saved["observations"]["cut_short"], "interrupted");
    let results = saved["observations"]["results"].as_array().unwrap();
    assert!(!results.is_empty());
    assert!(
        results
            .iter()
            .all(|result| result["sent"]["Err"]["reason"] == "interrupted")
    );
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let sites = Sites::new(Listening::Deaf);
    let pipe = sites.place.path("agent-east.pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut audit = sites
        .place
        .command(&["audit", "-f=prejoin.yaml", "-o=json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = String::new();
    File::open(&pipe).unwrap().read_to_string(&mut asked).unwrap();
    let process = Pid::from_raw(audit.id().try_into().unwrap());
    kill(process, Signal::SIGINT).unwrap();
    let mut said = BufReader::new(audit.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(said.any(|line| line.contains("once more: at once")));
    // Its agents are deaf to the end of the session, so that the first interrupt alone would still be waiting for them.
    kill(process, Signal::SIGINT).unwrap();
    let ended = audit.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(ended.stdout.is_empty(), "no report");
}

#[test]
fn only_one_audit_is_judged_at_a_time() {
    let sites = Sites::new(Listening::Refuses);
    sites.audit(&["-o=json", "--save=saved.json"]);
    let copy: PathBuf = sites.place.path("copy.json");
    std::fs::copy(sites.place.path("saved.json"), &copy).unwrap();
    sites
        .place
        .run(&["check", "saved.json", arg(&copy)])
        .exits(2)
        .prints_nothing()
        .says("copy.json is a second audit's bundle");
    // Its clusters can be compared with other facts all the same.
    sites.place.run(&["diff", "saved.json", "copy.json"]).exits(0);
}
