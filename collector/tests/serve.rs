//! `prejoin serve` as a user runs it, on facts files: a process of its own, asked over HTTP.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]
#![expect(clippy::panic, reason = "tests say what they expect by panicking")]

#[path = "serve/server.rs"]
mod server;

#[path = "serve/kill.rs"]
mod kill;
#[path = "serve/store_faults.rs"]
mod store_faults;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};
use server::{PREJOIN, Site};

#[test]
fn one_audit_appears_in_the_api_in_metrics_and_on_the_page() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    let fleet = server.get("/api/v1/fleet").json();
    let group = &fleet["groups"][0];
    assert_eq!(group["name"], "demo");
    assert_eq!(group["clusters"].as_array().unwrap().len(), 2);
    let audits = server.get("/api/v1/audits").json();
    let [audit] = audits["audits"].as_array().unwrap().as_slice() else {
        panic!("{audits}");
    };
    assert_eq!(audit["state"], "done");
    assert_eq!(audit["trigger"], json!({"by": "schedule"}));
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("prejoin_audit_current{group=\"demo\"} 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("demo"));
    for path in [
        "/groups/demo",
        "/groups/demo/clusters/east",
        "/groups/demo/pairs/east/west",
        "/groups/demo/findings",
        "/groups/demo/addresses",
        "/groups/demo/paths",
        "/groups/demo/drift",
    ] {
        assert_eq!(server.get(&format!("/api/v1{path}")).status, 200, "{path}");
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.end(), 0);
}

#[test]
fn the_report_of_an_audit_is_the_one_that_its_bundle_gives() {
    let site = Site::new("broken");
    let server = site.start();
    server.until("demo: audit 1: fail");
    let id = server.last_audit();
    let report = server.get(&format!("/api/v1/audits/{id}/report")).json();
    let bundle = site.file("bundle.json");
    fs::write(&bundle, server.get(&format!("/api/v1/audits/{id}/bundle")).body).unwrap();
    let again = Command::new(PREJOIN)
        .args(["check", bundle.to_str().unwrap(), "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), report);
    let keys = server.get("/api/v1/groups/demo/findings?verdicts=fail&limit=1").json();
    let finding = &keys["findings"][0];
    assert_eq!(finding["life"]["state"], "new");
    let key = finding["key"].as_str().unwrap().replace(' ', "%20");
    let view = server.get(&format!("/api/v1/groups/demo/findings/{key}")).json();
    assert_eq!(view["history"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_known_already_is_not_sent_again() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    let first = server.get("/api/v1/groups/demo");
    let tag = first.header("etag").unwrap();
    let second = server.ask("GET", "/api/v1/groups/demo", &[("if-none-match", &tag)], "");
    assert_eq!((second.status, second.body.len()), (304, 0));
}

#[test]
fn problems_are_told_as_problems() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    for (path, status) in [
        ("/api/v1/groups/none", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/groups/demo/findings?verdicts=bad", 400),
        ("/api/v1/groups/demo/findings?what=x", 400),
        ("/api/v1/audits/none", 404),
        ("/api/v1/log", 403),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(
            answer.header("content-type").unwrap(),
            "application/problem+json",
            "{path}"
        );
        assert_eq!(answer.json()["status"], status, "{path}");
    }
}

#[test]
fn who_has_no_token_may_look_from_this_machine_and_no_more() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    assert_eq!(server.post("/api/v1/groups/demo/audits", None, "").status, 403);
    let passed_on = server.ask("GET", "/api/v1/fleet", &[("x-forwarded-for", "192.0.2.1")], "");
    assert_eq!(passed_on.status, 401);
    assert_eq!(
        server.post("/api/v1/groups/demo/audits", Some("pjn_wrong"), "").status,
        401
    );
    let operator = site.token("operator");
    let asked = server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    assert_eq!(asked.status, 202, "{}", asked.text());
    server.until("demo: audit 2: ");
    assert_eq!(server.last_audit(), asked.json()["audit"].as_str().unwrap());
    let admin = site.token("admin");
    let log = server.ask(
        "GET",
        "/api/v1/log",
        &[("authorization", &format!("Bearer {admin}"))],
        "",
    );
    let log = log.json();
    let done: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|deed| deed["action"].as_str().unwrap())
        .collect();
    assert_eq!(done, ["token.create", "audit.run", "token.create"]);
    assert!(site.prejoin(&["serve", "token", "revoke", "operator"]).status.success());
    assert_eq!(
        server.post("/api/v1/groups/demo/audits", Some(&operator), "").status,
        401
    );
}

#[test]
fn the_first_audit_that_passes_is_what_later_ones_are_held_against() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: warn");
    let drift = server.get("/api/v1/groups/demo/drift").json();
    assert_eq!(drift["baseline"]["accepted_by"], "first audit that passed");
    assert_eq!(drift["lines"], json!([]));
    let east = site.file("east.json");
    let facts = fs::read_to_string(&east).unwrap();
    fs::copy(server::examples().join("broken/west.json"), site.file("west.json")).unwrap();
    assert!(!facts.is_empty());
    let operator = site.token("operator");
    server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    server.until("demo: audit 2: fail");
    let drift = server.get("/api/v1/groups/demo/drift").json();
    let lines = drift["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["effect"] == "breaks"), "{drift}");
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("prejoin_verdict{group=\"demo\",verdict=\"fail\"} 1"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("prejoin_drift{group=\"demo\",effect=\"breaks\"} 0"),
        "{metrics}"
    );
    fs::copy(server::examples().join("good/west.json"), site.file("west.json")).unwrap();
    server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    server.until("demo: audit 3: warn");
    let ended = server.get("/api/v1/groups/demo/findings?states=resolved").json();
    assert!(ended["total"].as_u64().unwrap() > 0, "{ended}");
    assert_eq!(server.get("/api/v1/groups/demo/drift").json()["lines"], json!([]));
}

#[test]
fn a_wrong_file_keeps_the_configuration_and_says_so() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    let right = fs::read_to_string(site.file("server.yaml")).unwrap();
    fs::write(site.file("server.yaml"), right.replace("groups:", "grups:")).unwrap();
    server.signal("HUP");
    server.until("the configuration stays as it was: ");
    assert_eq!(server.get("/api/v1/groups/demo").status, 200);
    fs::write(site.file("server.yaml"), right.replace("name: demo", "name: other")).unwrap();
    server.signal("HUP");
    server.until("other: audit 1: ");
    assert_eq!(server.get("/api/v1/groups/demo").status, 404);
}

#[test]
fn a_cluster_whose_file_is_gone_is_a_failed_audit_and_no_old_green() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: warn");
    fs::remove_file(site.file("west.json")).unwrap();
    let operator = site.token("operator");
    server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    server.until("demo: audit 2 failed: ");
    let group = server.get("/api/v1/groups/demo").json();
    assert!(
        group["last_failure"]["why"].as_str().unwrap().contains("west.json"),
        "{group}"
    );
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("prejoin_audit_failed{group=\"demo\"} 1")
    );
}

#[test]
fn everything_can_be_exported_and_copied_while_it_runs() {
    let site = Site::new("good");
    let server = site.start();
    server.until("demo: audit 1: ");
    let export = site.prejoin(&["serve", "export"]);
    assert!(export.status.success());
    let lines: Vec<Value> = String::from_utf8(export.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["kind"], "audit");
    assert_eq!(lines[0]["bundle"]["clusters"].as_array().unwrap().len(), 2);
    assert!(lines.iter().any(|line| line["kind"] == "baseline"));
    let copy = site.file("copy.db");
    assert!(
        site.prejoin(&["serve", "backup", copy.to_str().unwrap()])
            .status
            .success()
    );
    let twice = site.prejoin(&["serve", "backup", copy.to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(2));
    let of_copy = site.prejoin(&["serve", "export", "--store", copy.to_str().unwrap()]);
    let line: Value = serde_json::from_slice(of_copy.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(line, lines[0]);
}

#[test]
fn the_command_line_asks_a_collector() {
    let site = Site::new("broken");
    let server = site.start();
    server.until("demo: audit 1: fail");
    let url = format!("http://{}", server.address);
    let status = site.prejoin(&["--collector", &url, "status"]);
    assert_eq!(status.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&status.stdout).starts_with("demo  fail  "));
    let operator = site.token("operator");
    fs::write(site.file("token"), operator).unwrap();
    let token = site.file("token");
    let audit = site.prejoin(&[
        "--collector",
        &url,
        "--token-file",
        token.to_str().unwrap(),
        "audit",
        "--group",
        "demo",
        "-o",
        "json",
    ]);
    assert_eq!(
        audit.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&audit.stderr)
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&audit.stdout).unwrap()["verdict"],
        "fail"
    );
    let diff = site.prejoin(&["--collector", &url, "diff", "--group", "demo"]);
    assert_eq!(diff.status.code(), Some(5), "nothing was accepted");
    let unknown = site.prejoin(&["--collector", &url, "diff", "--group", "none"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_second_collector_on_one_file_is_refused() {
    let site = Site::new("good");
    let server = site.start();
    let second = site.prejoin(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another `prejoin serve` uses it"), "{said}");
    assert_eq!(server.end(), 0);
}

#[test]
fn what_happens_to_findings_is_told_to_a_webhook() {
    let site = Site::new("broken");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = fs::read_to_string(site.file("server.yaml")).unwrap();
    let address = listener.local_addr().unwrap();
    let target = format!("alerts: [{{name: ops, kind: webhook, url: 'http://{address}/hook'}}]\n");
    fs::write(site.file("server.yaml"), config + &target).unwrap();
    let (sender, told) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        reader.get_mut().write_all(answer).unwrap();
        sender.send(body).unwrap();
    });
    let server = site.start();
    server.until("demo: audit 1: fail");
    let body = told.recv_timeout(Duration::from_secs(120)).unwrap();
    let notice: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(notice["schema"], "prejoin.dev/alert/v1alpha1");
    assert_eq!(
        (&notice["group"], &notice["audit"]),
        (&json!("demo"), &json!(server.last_audit()))
    );
    assert!(
        notice["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["state"] == "fail"),
        "{notice}"
    );
}
