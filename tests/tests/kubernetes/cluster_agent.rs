//! The cluster agent with its service account, in the pod network.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::suite::suite;

/// What is different each time facts are read, and what the reader itself is told of its way.
fn comparable(mut facts: Value) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for restless in ["at", "readAt", "read_at", "collectedAt", "collected_at", "provenance"] {
                    members.remove(restless);
                }
                members.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    forget(&mut facts);
    facts
}

#[test]
fn it_reads_the_same_facts_inside_as_prejoin_reads_outside() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    for context in suite.contexts() {
        let mut command = suite.command("kubectl");
        let exec = ["--context", context, "--namespace=prejoin-system", "exec", "--stdin"];
        let session = [
            "deployment/prejoin-cluster-agent",
            "--",
            "/prejoin-cluster-agent",
            "session",
        ];
        let mut agent = command
            .args(exec)
            .args(session)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let open = json!({ "id": 1, "open": {
            "versions": [2], "audit": "00".repeat(16), "key": "00".repeat(32), "node": context, "deadline_seconds": 60,
        }});
        let mut stdin = agent.stdin.take().unwrap();
        for line in [open, json!({ "id": 2, "cluster_facts": {} })] {
            writeln!(stdin, "{line}").unwrap();
        }
        let mut answers = std::io::BufRead::lines(std::io::BufReader::new(agent.stdout.take().unwrap()));
        let inside = answers.by_ref().find_map(|line| {
            let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert!(answer.get("failed").is_none(), "{answer}");
            answer.get("cluster_facts").cloned()
        });
        writeln!(stdin, "{}", json!({ "id": 3, "close": {} })).unwrap();
        drop(stdin);
        assert!(agent.wait().unwrap().success());

        let outside = suite.prejoin(&["facts", "--context", context]);
        assert_eq!(outside.code, 0, "{outside:#?}");
        let outside: Value = serde_json::from_str(&outside.stdout).unwrap();
        let (inside, outside) = (comparable(inside.unwrap()), comparable(outside));
        let members = outside.as_object().unwrap().iter();
        let different: Vec<&String> = members
            .filter(|(member, value)| inside[member.as_str()] != **value)
            .map(|(member, _)| member)
            .collect();
        // By which way the server was reached is the reader's own.
        assert_eq!(
            different,
            ["api_server", "kubeconfig_cluster"],
            "of {context}:\n{inside:#}\n{outside:#}"
        );
    }
}
