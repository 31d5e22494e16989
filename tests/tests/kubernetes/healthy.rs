//! Clusters that are well.

use super::snapshot::Snapshot;
use super::suite::suite;

/// The flows of a ClusterMesh that start and end at nodes: tunnel, health, echo, path MTU.
const FLOWS: [&str; 4] = ["CM501", "CM506", "CM507", "CM508"];

#[test]
fn agents_are_installed_prove_every_flow_and_leave_nothing() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    {
        let _agents = suite.agents(&[]);
        let audited = suite.audit(&[]);
        assert!(!audited.stderr.contains("no agent"), "{}", audited.stderr);
        let nodes = suite
            .contexts()
            .iter()
            .flat_map(|context| suite.names(context, "nodes"));
        for node in nodes {
            for code in FLOWS {
                let paths = audited.paths(code);
                let proven = |path: &&String| path.contains(&node) && path.contains(": proven, ");
                let of_node: Vec<_> = paths.iter().filter(proven).collect();
                assert_eq!(of_node.len(), 2, "{code}: {node} sends and receives: {paths:#?}");
            }
        }
    }
    before.assert_unchanged(&suite);
}

/// What is installed twice is as if it was installed once.
#[test]
fn installing_again_changes_nothing() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let once = Snapshot::of(&suite);
    let again = suite.prejoin_everywhere(&["agents", "install", "--image", super::suite::IMAGE]);
    assert_eq!(again.code, 0, "{again:#?}");
    once.assert_unchanged(&suite);
}

#[test]
fn two_audits_at_once_do_not_disturb_each_other() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let alone = suite.audit(&[]).complaints();
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| suite.audit(&[]));
        (suite.audit(&[]), one.join().unwrap())
    });
    for audited in [one, other] {
        // Each finds ports that the other listens on, and captures there what it sends.
        let paths = audited.paths("CM501");
        assert!(paths.iter().all(|path| path.contains(": proven, ")), "{paths:#?}");
        // What cannot be measured on a port that is taken is unknown, and nothing is worse than that.
        let complaints = audited.complaints();
        let new: Vec<_> = complaints.difference(&alone).collect();
        assert!(new.iter().all(|said| said.contains(" unknown: ")), "{new:#?}");
    }
}
