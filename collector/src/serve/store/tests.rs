use std::sync::Arc;

use prejoin_checks::samples;
use serde_json::json;

use super::audits::{Audit, Ending, State, Taken};
use super::documents::Kind;
use super::*;

/// A store in a directory that goes when the test does.
pub(crate) async fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    (directory, store)
}

async fn open(directory: &Path) -> Store {
    Store::open(&Place::parse("with space?.db", directory)).await.unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ending() -> Ending {
    Ending {
        at: at(9),
        verdict: "pass".to_owned(),
        exit_code: 0,
        summary: "{}".to_owned(),
    }
}

async fn begin(store: &Store, last: Option<&Audit>) -> Option<Taken> {
    store.take("g", last, at(1), at(2)).await.unwrap()
}

#[tokio::test]
async fn what_an_audit_found_is_there_whole_once_it_ended_and_not_before() {
    let (_directory, store) = fresh().await;
    let taken = begin(&store, None).await.unwrap();
    let facts = samples::cluster("east", 1);
    let prepared = store.prepare(Kind::Facts, "east", &facts).await.unwrap();
    let mut tx = store.write().await.unwrap();
    store.put(&mut tx, &taken, prepared).await.unwrap();
    assert_eq!(store.latest("g").await.unwrap().unwrap().state, State::Running);
    store.end(&mut tx, &taken, &ending()).await.unwrap();
    let read = store.document::<prejoin_checks::facts::ClusterFacts>(&taken.id, Kind::Facts, "east");
    assert!(read.await.unwrap().is_none());
    tx.commit().await.unwrap();
    let read = store.document::<prejoin_checks::facts::ClusterFacts>(&taken.id, Kind::Facts, "east");
    assert_eq!(read.await.unwrap().unwrap(), facts);
    assert_eq!(store.latest_done("g").await.unwrap().unwrap().number, 1);
}

#[tokio::test]
async fn what_does_not_change_is_kept_once() {
    let (_directory, store) = fresh().await;
    let parts = async || -> i64 {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM parts");
        count.fetch_one(store.pool()).await.unwrap()
    };
    let nodes: Vec<_> = (0..50)
        .map(|n| json!({"name": format!("n{n}"), "text": "x".repeat(600)}))
        .collect();
    let mut last: Option<Audit> = None;
    let mut counts = Vec::new();
    for (moment, changed) in [("a", false), ("b", false), ("c", true)] {
        let mut nodes = nodes.clone();
        if changed {
            nodes[7]["name"] = json!("other");
        }
        let document = json!({"at": moment, "nodes": nodes, "small": {"a": 1}});
        let taken = begin(&store, last.as_ref()).await.unwrap();
        let prepared = store.prepare(Kind::Facts, "east", &document).await.unwrap();
        let mut tx = store.write().await.unwrap();
        store.put(&mut tx, &taken, prepared).await.unwrap();
        store.end(&mut tx, &taken, &ending()).await.unwrap();
        tx.commit().await.unwrap();
        let read: serde_json::Value = store.document(&taken.id, Kind::Facts, "east").await.unwrap().unwrap();
        assert_eq!(read, document);
        counts.push(parts().await);
        last = store.latest("g").await.unwrap();
    }
    // The items, their list, the fields; then nothing; then one item, the list and the fields.
    assert_eq!(counts, [52, 52, 55]);
}

#[tokio::test]
async fn of_many_collectors_one_takes_an_audit() {
    let (directory, first) = fresh().await;
    let others = futures::future::join_all((0..5).map(|_| open(directory.path()))).await;
    let all: Arc<Vec<Store>> = Arc::new(others.into_iter().chain([first]).collect());
    let mut last = None;
    for number in 1..=5 {
        let tries = (0..all.len()).map(|place| {
            let (all, last) = (Arc::clone(&all), last.clone());
            tokio::spawn(async move { begin(&all[place], last.as_ref()).await })
        });
        let taken = futures::future::join_all(tries).await;
        let taken: Vec<(usize, Taken)> = taken
            .into_iter()
            .enumerate()
            .filter_map(|(place, taken)| Some((place, taken.unwrap()?)))
            .collect();
        let [(place, taken)] = taken.as_slice() else {
            panic!("{taken:?}");
        };
        assert_eq!(taken.number, number);
        let mut tx = all[*place].write().await.unwrap();
        all[*place].end(&mut tx, taken, &ending()).await.unwrap();
        tx.commit().await.unwrap();
        last = all[0].latest("g").await.unwrap();
    }
}

#[tokio::test]
async fn a_group_has_one_running_audit() {
    let (_directory, store) = fresh().await;
    begin(&store, None).await.unwrap();
    let running = store.latest("g").await.unwrap();
    assert_eq!(begin(&store, running.as_ref()).await, None);
    assert!(store.take("other", None, at(1), at(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn who_lost_an_audit_can_no_longer_write_it() {
    let (directory, store) = fresh().await;
    let taken = begin(&store, None).await.unwrap();
    let other = open(directory.path()).await;
    let audit = other.latest("g").await.unwrap().unwrap();
    // On a file there is one collector, so the one before is gone.
    let again = other.take_over(&audit, at(5)).await.unwrap().unwrap();
    assert_eq!((again.number, again.attempt), (1, 2));
    assert_eq!(other.take_over(&audit, at(5)).await.unwrap(), None);
    assert!(matches!(store.renew(&taken).await, Err(StoreError::Lost)));
    assert!(matches!(store.fail(&taken, at(6), "x").await, Err(StoreError::Lost)));
    let mut tx = store.write().await.unwrap();
    assert!(matches!(
        store.end(&mut tx, &taken, &ending()).await,
        Err(StoreError::Lost)
    ));
    drop(tx);
    other.renew(&again).await.unwrap();
    let mut tx = other.write().await.unwrap();
    other.end(&mut tx, &again, &ending()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.latest("g").await.unwrap().unwrap().state, State::Done);
}

#[tokio::test]
async fn a_file_has_one_collector() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::parse("a.db", directory.path());
    let held = Lock::take(&place).unwrap();
    let refused = Lock::take(&place).unwrap_err().to_string();
    assert!(refused.contains("another `prejoin serve` uses it"), "{refused}");
    drop(held);
    Lock::take(&place).unwrap();
}

#[tokio::test]
async fn documents_are_forgotten_with_the_parts_that_only_they_had() {
    let (_directory, store) = fresh().await;
    let mut audits = Vec::new();
    for text in ["old", "new"] {
        let last = store.latest("g").await.unwrap();
        let taken = begin(&store, last.as_ref()).await.unwrap();
        let document = json!({"items": [text.repeat(300)]});
        let prepared = store.prepare(Kind::Facts, "east", &document).await.unwrap();
        let mut tx = store.write().await.unwrap();
        store.put(&mut tx, &taken, prepared).await.unwrap();
        store.end(&mut tx, &taken, &ending()).await.unwrap();
        tx.commit().await.unwrap();
        audits.push(taken.id);
    }
    assert_eq!(
        store.forget_documents("g", at(9).as_millisecond(), &[]).await.unwrap(),
        0
    );
    let keep = [audits[1].clone()];
    assert_eq!(
        store
            .forget_documents("g", at(10).as_millisecond(), &keep)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        store.document_names(&audits[0], Kind::Facts).await.unwrap(),
        Vec::<String>::new()
    );
    let kept: serde_json::Value = store.document(&audits[1], Kind::Facts, "east").await.unwrap().unwrap();
    assert_eq!(kept["items"][0].as_str().unwrap().len(), 900);
    assert_eq!(store.audits(Some("g"), None, 10).await.unwrap().len(), 2);
}

#[test]
fn a_place_is_a_file_or_a_server_and_is_shown_without_its_password() {
    let directory = Path::new("/var/lib");
    assert_eq!(Place::parse("a.db", directory), Place::File("/var/lib/a.db".into()));
    assert_eq!(Place::parse("sqlite:///b.db", directory), Place::File("/b.db".into()));
    let server = Place::parse("postgres://me:secret@db:5432/prejoin", directory);
    assert_eq!(server.to_string(), "db:5432/prejoin");
}
