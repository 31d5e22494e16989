//! Measurements: `cargo test -p prejoin-tests --test kubernetes -- --ignored --nocapture --test-threads=1 measured`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;

use super::sessions::{PATIENCE, open, routes};
use super::suite::{IMAGE, Suite, suite};

/// What a node's kubelet says of the containers of agents.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    cpu: Duration,
    memory_bytes: u64,
}

/// By node, as the kubelets report it.
fn used(suite: &Suite) -> BTreeMap<String, Used> {
    let mut all = BTreeMap::new();
    for context in suite.contexts() {
        for node in suite.names(context, "nodes") {
            let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
            let summary: Value = serde_json::from_str(&suite.kubectl(context, &["get", "--raw", &path])).unwrap();
            let pods = summary["pods"].as_array().unwrap().iter();
            for pod in pods.filter(|pod| pod["podRef"]["name"].as_str().unwrap().starts_with("prejoin-")) {
                let container = &pod["containers"][0];
                let name = format!("{node} {}", container_of(pod));
                let entry: &mut Used = all.entry(name).or_default();
                entry.cpu +=
                    Duration::from_nanos(container["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap_or_default());
                entry.memory_bytes += container["memory"]["workingSetBytes"].as_u64().unwrap_or_default();
            }
        }
    }
    all
}

fn container_of(pod: &Value) -> &'static str {
    let name = pod["podRef"]["name"].as_str().unwrap_or_default();
    if name.starts_with("prejoin-cluster-agent") {
        "cluster agent"
    } else {
        "node agent"
    }
}

/// The CPU time that a process of a node has used by now.
fn cpu_of_api_server(suite: &Suite, node: &str) -> Option<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let processes = suite.lab()?.lab().processes(node).unwrap();
    let stats = processes
        .into_iter()
        .filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
    let mut servers = stats.filter(|stat| stat.contains("(kube-apiserver)"));
    let stat = servers.next()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u32 = fields[11].parse::<u32>().ok()? + fields[12].parse::<u32>().ok()?;
    Some(TICK * ticks)
}

#[test]
#[ignore = "a measurement"]
fn measured_two_hundred_sessions_through_one_api_server() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&["--mode", "node"]);
    let first = &suite.contexts()[0];
    let nodes = suite.names(first, "nodes");
    let routes: Vec<_> = routes(&suite)
        .into_iter()
        .filter(|(node, _)| nodes.contains(node))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 1..=5 {
        let before = cpu_of_api_server(&suite, &nodes[0]);
        let begun = Instant::now();
        runtime.block_on(async {
            let sessions = join_all(routes.iter().cycle().take(200).map(|(node, route)| open(node, route))).await;
            let opened = begun.elapsed();
            join_all(sessions.into_iter().map(|session| session.close(PATIENCE))).await;
            let cpu = before.zip(cpu_of_api_server(&suite, &nodes[0])).map(|(before, after)| after.saturating_sub(before));
            println!("round {round}: 200 sessions open after {opened:.2?}, closed after {:.2?}; CPU time of the API server: {cpu:?}", begun.elapsed());
        });
    }
}

#[test]
#[ignore = "a measurement"]
fn measured_memory_and_cpu_of_agents_as_kubelets_report_them() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let before = used(&suite);
    let over = AtomicBool::new(false);
    let highest = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut highest: BTreeMap<String, Used> = BTreeMap::new();
            // Kubelets look every ten seconds or so; the last look is after the audit.
            let mut looks_after = 0;
            while looks_after < 2 {
                looks_after += usize::from(over.load(Ordering::SeqCst));
                for (name, now) in used(&suite) {
                    let known = highest.entry(name).or_default();
                    known.cpu = known.cpu.max(now.cpu);
                    known.memory_bytes = known.memory_bytes.max(now.memory_bytes);
                }
                // It is the kubelets' own time that is waited for.
                std::thread::sleep(Duration::from_secs(if over.load(Ordering::SeqCst) { 20 } else { 1 }));
            }
            highest
        });
        let begun = Instant::now();
        for _ in 0..10 {
            suite.audit(&["--agents", "installed"]);
        }
        println!("ten audits in {:.1?}", begun.elapsed());
        over.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    for (name, highest) in highest {
        let idle = before.get(&name).copied().unwrap_or_default();
        println!(
            "{name}: {} KiB idle, {} KiB at the highest, {:.1?} of CPU an audit",
            idle.memory_bytes >> 10,
            highest.memory_bytes >> 10,
            highest.cpu.saturating_sub(idle.cpu) / 10
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn measured_audits_from_the_command_to_the_end() {
    let Some(suite) = suite() else { return };
    for round in 1..=5 {
        let begun = Instant::now();
        let audited = suite.audit(&["--agents", "ephemeral", "--image", IMAGE]);
        let waited: Vec<_> = audited
            .stderr
            .lines()
            .filter(|line| line.contains("agents ready after"))
            .collect();
        println!(
            "round {round}: with ephemeral agents {:.1?}; {waited:?}",
            begun.elapsed()
        );
    }
    let _agents = suite.agents(&[]);
    for round in 1..=5 {
        let begun = Instant::now();
        suite.audit(&["--agents", "installed"]);
        println!("round {round}: with installed agents {:.1?}", begun.elapsed());
    }
}
