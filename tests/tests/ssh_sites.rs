//! "Two machines with ssh" of `docs/agents.md`, done as it stands there: two nodes of a lab, each with a real OpenSSH server, a third from
//! which `prejoin` is run.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod ssh_sites {
    mod machines;

    use std::path::Path;

    use serde_json::Value;

    use machines::{DESK, Machines, Outcome, built_agent};

    /// What came of a flow's probe: `SM501 east-1 to west-1: proven, delivered`.
    fn paths(report: &Value) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let path = |path: &Value| {
            let (from, to) = (text(&path["from"]["node"]), text(&path["to"]["node"]));
            let (outcome, shown) = (text(&path["outcome"]), text(&path["shown"]));
            format!("{} {from} to {to}: {outcome}, {shown}", text(&path["codes"][0]))
        };
        report["paths"].as_array().unwrap().iter().map(path).collect()
    }

    fn report(outcome: &Outcome) -> Value {
        let report = serde_json::from_str(&outcome.stdout);
        assert!(report.is_ok(), "{outcome:#?}");
        report.unwrap()
    }

    /// The facts that are known of a site's nodes and cluster.
    fn facts_known(report: &Value, site: &str) -> u64 {
        let clusters = report["clusters"].as_array().unwrap();
        let found = clusters.iter().find(|cluster| cluster["name"] == site);
        found.unwrap()["facts"]["known"].as_u64().unwrap()
    }

    #[test]
    fn two_machines_with_ssh() {
        let Some(machines) = Machines::up() else { return };
        let agent = machines.copy_agents();
        machines.write_config(&agent, "ssh_config");
        let idle = machines.processes();
        assert!(idle.len() >= 2, "the servers: {idle:?}");
        machines.lab().traffic().unwrap();

        let dry = machines.audit(&["--dry-run"]);
        assert_eq!(dry.code, 0, "{dry:#?}");
        assert_eq!(dry.stderr, "");
        for flow in ["SM501  UDP 4500, east to west: east-1 to west-1", "packets a second"] {
            assert!(dry.stdout.contains(flow), "{dry:#?}");
        }
        for packet in machines.lab().traffic().unwrap().0 {
            let ends = [packet.sender.as_deref(), packet.receiver.as_deref()];
            assert!(
                !packet.source.is_ipv4() || ends.contains(&Some(DESK)),
                "sent by a dry run: {packet:?}"
            );
        }
        machines.until_only(&idle);

        let audit = machines.audit(&["-o", "json", "--save", "audit.json"]);
        let (audited, paths) = (report(&audit), paths(&report(&audit)));
        for code in ["SM501", "SM502", "SM503", "SM511"] {
            for (from, to) in [("east-1", "west-1"), ("west-1", "east-1")] {
                let proven = paths
                    .iter()
                    .filter(|path| path.starts_with(&format!("{code} {from} to {to}: proven")));
                assert_eq!(proven.count(), 1, "{code} {from} to {to}: {paths:#?}");
            }
        }
        for from in ["east-1", "west-1"] {
            assert!(
                paths.contains(&format!("SM505 {from} to broker: proven, delivered")),
                "{paths:#?}"
            );
        }
        assert_eq!(paths.len(), 10, "{paths:#?}");
        let (facts, flows) = (&audited["coverage"]["facts"], &audited["coverage"]["flows"]);
        assert_eq!((&facts["known"], &flows["known"]), (&facts["wanted"], &flows["wanted"]));
        machines.until_only(&idle);

        let again = machines.prejoin(&["check", "audit.json", "-o", "json"]);
        assert_eq!(report(&again), audited);
    }

    /// One machine cannot be reached: why is said in one line and nobody is asked, and the other machine is judged all the same.
    #[test]
    fn what_ssh_refuses_is_said_and_nobody_is_asked() {
        let Some(machines) = Machines::up() else { return };
        let agent = built_agent();
        let nowhere = machines.path("no-such-agent");
        let trusting = |known_hosts: &str| machines.write_ssh_config(known_hosts, "user_key");
        let [wrong, unknown, right] = ["wrong_hosts", "east_hosts", "known_hosts"].map(trusting);
        let refused = machines.write_ssh_config("known_hosts", "other_key");
        let idle = machines.processes();
        let cases: [(&str, &str, &Path, &[&str]); 4] = [
            (
                "a wrong host key",
                &wrong,
                &agent,
                &["Host key for", "has changed", "Host key verification failed"],
            ),
            (
                "an unknown host",
                &unknown,
                &agent,
                // Where nobody can be asked, ssh says no more than this.
                &["Host key verification failed"],
            ),
            ("no agent there", &right, &nowhere, &["exit code 127", "no-such-agent"]),
            (
                "a key that is not accepted",
                &refused,
                &agent,
                &["Permission denied (publickey"],
            ),
        ];
        for (what, ssh_config, west_agent, says) in cases {
            machines.write_config_of([("ssh_config", &agent), (ssh_config, west_agent)]);
            let audit = machines.audit(&["-o", "json"]);
            let audited = report(&audit);
            let said: Vec<&str> = audit.stderr.lines().filter(|line| line.contains("no agent")).collect();
            assert_eq!(said.len(), 1, "{what}: {audit:#?}");
            assert!(
                said[0].starts_with("prejoin: west/west-1: no agent: "),
                "{what}: {said:?}"
            );
            assert!(says.iter().all(|says| said[0].contains(says)), "{what}: {said:?}");

            let of_agent = audited["findings"].as_array().unwrap().iter();
            let mut of_agent =
                of_agent.filter(|finding| finding["code"] == "NET301" && finding["verdict"] == "unknown");
            let found = of_agent.next().unwrap();
            assert_eq!(found["subject"]["nodes"], serde_json::json!(["west-1"]), "{what}");
            assert!(of_agent.next().is_none(), "{what}: east-1 is well");
            assert!(
                says.iter().all(|says| found.to_string().contains(says)),
                "{what}: {found}"
            );

            assert!(facts_known(&audited, "east") > facts_known(&audited, "west"), "{what}");
            let paths = paths(&audited);
            assert!(
                paths.contains(&"SM505 east-1 to broker: proven, delivered".to_owned()),
                "{what}: {paths:#?}"
            );
            assert_ne!(audit.code, 0, "{what}: what is not known is no pass");
            machines.until_only(&idle);
        }
        assert!(!machines.somebody_was_asked());
    }
}
