use std::path::PathBuf;

use prejoin_checks::facts::RangeKind;
use prejoin_checks::samples::{cilium, declared};

use super::*;

/// A file with the facts of these clusters.
fn file(directory: &tempfile::TempDir, name: &str, facts: &[ClusterFacts]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, serde_json::to_vec(facts).unwrap()).unwrap();
    path
}

fn cluster(path: PathBuf, name: Option<&str>) -> Cluster {
    Cluster {
        origin: Origin::File(path),
        name: name.map(str::to_owned),
    }
}

async fn gathered(clusters: &[Cluster]) -> Result<Vec<String>, String> {
    let facts = gather(
        clusters.to_vec(),
        &BTreeMap::new(),
        Reading::default(),
        &Cancel::never(),
    )
    .await;
    match facts {
        Ok(gathered) => Ok(gathered.facts.into_iter().map(|facts| facts.name).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn an_entry_names_the_one_cluster_of_its_file_or_picks_one_of_several() {
    let directory = tempfile::tempdir().unwrap();
    let one = file(&directory, "one.json", &[cilium("east", 1)]);
    let two = file(&directory, "two.json", &[cilium("west", 2), cilium("north", 3)]);
    let names = gathered(&[cluster(one.clone(), Some("first")), cluster(two.clone(), Some("north"))]).await;
    assert_eq!(names.unwrap(), ["first", "north"]);
    let names = gathered(&[cluster(one, None), cluster(two.clone(), None)]).await;
    assert_eq!(names.unwrap(), ["east", "west", "north"]);
    let error = gathered(&[cluster(two, Some("south"))]).await.unwrap_err();
    assert!(
        error.ends_with("two.json holds 2 clusters, and none of them is called south"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_is_recognised_under_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let one = file(&directory, "one.json", &[cilium("east", 1)]);
    let error = gathered(&[cluster(one.clone(), Some("a")), cluster(one.clone(), Some("b"))])
        .await
        .unwrap_err();
    assert!(error.contains("are the same cluster"), "{error}");
    let error = gathered(&[cluster(one.clone(), None), cluster(one, None)])
        .await
        .unwrap_err();
    assert!(error.starts_with("two clusters are called east"), "{error}");
}

#[tokio::test]
async fn declared_ranges_go_to_the_cluster_of_that_name() {
    let directory = tempfile::tempdir().unwrap();
    let both = file(&directory, "both.json", &[cilium("east", 1), cilium("west", 2)]);
    let range = declared(RangeKind::Nodes, "203.0.113.0/24");
    let ranges = BTreeMap::from([("west".to_owned(), vec![range.clone()])]);
    let gathered = gather(vec![cluster(both, None)], &ranges, Reading::default(), &Cancel::never()).await;
    let facts = gathered.unwrap().facts;
    assert!(facts[0].declared.is_empty());
    assert_eq!(facts[1].declared, [range]);
}

#[test]
fn a_cluster_takes_its_own_part_of_a_kubeconfig() {
    let text = r#"{
        "clusters": [{"name": "c1", "cluster": {}}, {"name": "c2", "cluster": {}}],
        "users": [{"name": "u1", "user": {}}, {"name": "u2", "user": {}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u2"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u1"}}
        ]
    }"#;
    let part = kubeconfig::only(&Kubeconfig::from_yaml(text).unwrap(), "one");
    assert_eq!(part.contexts.len(), 1);
    assert_eq!(part.clusters[0].name, "c1");
    assert_eq!(part.auth_infos[0].name, "u2");
    assert_eq!((part.clusters.len(), part.auth_infos.len()), (1, 1));
}
