//! A collector that is killed at any moment of an audit.

use serde_json::Value;
use std::collections::BTreeMap;

use super::server::{Server, Site};

/// So many times it is killed; `PREJOIN_KILLS` says otherwise.
const KILLS: u32 = 20;

#[test]
fn killed_at_any_moment_nothing_accepted_is_lost_and_no_audit_is_half_shown() {
    let kills = std::env::var("PREJOIN_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let site = Site::new("broken");
    let operator = site.token("operator");
    // How long an audit takes here, so that every moment of one is met.
    let server = site.start();
    server.until("demo: audit 1: ");
    let begun = std::time::Instant::now();
    server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    server.until("demo: audit 2: ");
    let whole = begun.elapsed();
    let mut accepted: BTreeMap<u64, Value> = BTreeMap::new();
    let mut half_done = 0;
    seen(&server, &mut accepted);
    server.kill();
    for kill in 0..kills {
        let server = site.start();
        seen(&server, &mut accepted);
        half_done += u32::from(server.has_said("is taken over"));
        server.post("/api/v1/groups/demo/audits", Some(&operator), "");
        // Spread over the length of an audit, and beyond its end.
        std::thread::sleep(whole.mul_f64(1.2 * f64::from(kill) / f64::from(kills)));
        server.kill();
    }
    let server = site.start();
    server.post("/api/v1/groups/demo/audits", Some(&operator), "");
    server.until("demo: audit ");
    half_done += u32::from(server.has_said("is taken over"));
    let now = audits(&server);
    for (number, audit) in &accepted {
        assert_eq!(now.get(number), Some(audit), "audit {number} was accepted");
    }
    let numbers: Vec<u64> = now.keys().copied().collect();
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "no audit is missing"
    );
    assert!(
        half_done > 0,
        "no audit was ever met half way: {kills} kills within {whole:?}"
    );
    assert_eq!(server.end(), 0);
}

fn state(server: &Server) -> String {
    let audits = server.get("/api/v1/audits?limit=1").json();
    audits["audits"][0]["state"].as_str().unwrap_or_default().to_owned()
}

/// Adds what is shown as done; what was shown before is the same still.
fn seen(server: &Server, accepted: &mut BTreeMap<u64, Value>) {
    let now = audits(server);
    for (number, audit) in accepted.iter() {
        assert_eq!(now.get(number), Some(audit), "audit {number} was accepted");
    }
    accepted.extend(now);
}

/// Every audit that is shown as done, by its number from 1, each with a whole report and all it was made of.
fn audits(server: &Server) -> BTreeMap<u64, Value> {
    let mut lines: Vec<Value> = Vec::new();
    let mut path = "/api/v1/audits?group=demo&limit=500".to_owned();
    loop {
        let page = server.get(&path).json();
        lines.extend(page["audits"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/audits?group=demo&limit=500&before={next}");
    }
    lines.retain(|line| line["state"] != "waiting");
    lines.reverse();
    let numbered = (1..).zip(lines).filter(|(_, line)| line["state"] == "done");
    numbered
        .map(|(number, line)| {
            let id = line["id"].as_str().unwrap();
            let report = server.get(&format!("/api/v1/audits/{id}/report"));
            assert_eq!(report.status, 200, "{line}: {}", report.text());
            assert_eq!(report.json()["verdict"], line["verdict"]);
            let bundle = server.get(&format!("/api/v1/audits/{id}/bundle"));
            assert_eq!(bundle.json()["clusters"].as_array().unwrap().len(), 2, "{line}");
            (number, line)
        })
        .collect()
}

#[test]
fn told_to_end_it_gives_its_audit_back_and_the_next_one_runs_it() {
    let site = Site::new("good");
    let server = site.start();
    assert_eq!(server.end(), 0);
    let server = site.start();
    if state(&server) != "done" {
        server.until("demo: audit 1: ");
    }
    assert_eq!(audits(&server).len(), 1);
}
