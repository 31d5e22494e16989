//! Lists: what a request selects, cut into pages, written out item by item.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};

use super::objects::{Collection, Items, namespace_of};
use super::selector::Selector;
use super::status;

/// Bytes of a list body that are written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The part of a list that one request asks for.
pub(super) struct PageRequest {
    /// Namespace to keep, where the collection holds all of them.
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    /// Objects per page; all of them when absent.
    pub(super) limit: Option<usize>,
    pub(super) position: Position,
    /// Whether only metadata was asked for.
    pub(super) metadata_only: bool,
}

/// Where a page begins: what a continue token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Counted from 1.
    pub(super) page: usize,
    /// Index in the collection at which to go on looking.
    pub(super) start: usize,
}

impl Position {
    pub(super) const FIRST: Self = Self { page: 1, start: 0 };

    /// Reads the token that `token` made: the position, and the generation of tokens it belongs to.
    pub(super) fn parse(token: &str) -> Option<(u64, Self)> {
        let mut numbers = token.split('.');
        let generation = numbers.next()?.parse().ok()?;
        let page = numbers.next()?.parse().ok()?;
        let start = numbers.next()?.parse().ok()?;
        numbers.next().is_none().then_some((generation, Self { page, start }))
    }

    fn token(self, generation: u64) -> String {
        format!("{generation}.{}.{}", self.page, self.start)
    }
}

/// Answers a list request. Continue tokens belong to `generation`.
pub(super) fn list(collection: Arc<Collection>, request: &PageRequest, generation: u64) -> Response {
    let selected = |item: &Value| {
        request.namespace.as_deref().is_none_or(|n| namespace_of(item) == n) && request.selector.matches(item)
    };
    let everything = request.namespace.is_none() && request.selector.is_empty();
    let count = collection.items.len();
    let limit = request.limit.unwrap_or(usize::MAX);

    let mut indexes = Vec::new();
    let mut next = request.position.start;
    while next < count && indexes.len() < limit {
        if everything || selected(&collection.items.get(next)) {
            indexes.push(next);
        }
        next += 1;
    }
    // A real server, too, learns that a page was the last one by looking for the object behind it.
    let more = if everything {
        next < count
    } else {
        (next..count).any(|i| selected(&collection.items.get(i)))
    };

    let mut metadata = collection.metadata.clone();
    if more {
        let position = Position {
            page: request.position.page + 1,
            start: next,
        };
        metadata.insert("continue".into(), json!(position.token(generation)));
        // Only known without counting when nothing was selected.
        if request.selector.is_empty() {
            let remaining = match (&collection.items, everything) {
                (_, true) => Some(count - next),
                (Items::Stored(items), false) => Some(items[next..].iter().filter(|i| selected(i)).count()),
                (Items::Generated { .. }, false) => None,
            };
            if let Some(remaining) = remaining {
                metadata.insert("remainingItemCount".into(), json!(remaining));
            }
        }
    }
    let (api_version, kind) = if request.metadata_only {
        ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned())
    } else {
        (collection.api_version.as_str(), format!("{}List", collection.kind))
    };
    let head = format!(
        r#"{{"kind":{},"apiVersion":{},"metadata":{},"items":["#,
        json!(kind),
        json!(api_version),
        Value::Object(metadata)
    );
    let body = write(collection, indexes, head, request.metadata_only);
    status::response(StatusCode::OK, "application/json", body)
}

/// The body of a list, made while it is sent: never more than a chunk of it in memory.
fn write(collection: Arc<Collection>, indexes: Vec<usize>, head: String, metadata_only: bool) -> Body {
    let mut written = 0;
    let mut chunk = head;
    let mut done = false;
    Body::from_stream(stream::iter(std::iter::from_fn(move || {
        if done {
            return None;
        }
        while written < indexes.len() && chunk.len() < CHUNK_BYTES {
            if written > 0 {
                chunk.push(',');
            }
            let index = indexes[written];
            let text = if metadata_only {
                partial_metadata(&collection.items.get(index)).to_string()
            } else {
                collection.items.text(index)
            };
            chunk.push_str(&text);
            written += 1;
        }
        if written == indexes.len() {
            chunk.push_str("]}\n");
            done = true;
        }
        Some(Ok::<_, std::convert::Infallible>(std::mem::take(&mut chunk)))
    })))
}

/// One object, complete with the kind that items of a list may lack.
pub(super) fn object(collection: &Collection, index: usize, metadata_only: bool) -> Response {
    let item = collection.items.get(index);
    if metadata_only {
        return status::json_response(StatusCode::OK, &partial_metadata(&item));
    }
    let mut item = item.into_owned();
    item["kind"] = json!(collection.kind);
    item["apiVersion"] = json!(collection.api_version);
    status::json_response(StatusCode::OK, &item)
}

fn partial_metadata(item: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"] })
}
