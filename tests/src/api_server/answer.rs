//! One request: noted, failed if a fault is due, else answered.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::connection::Breaker;
use super::fault::Failure;
use super::page::{self, PageRequest, Position};
use super::path::ApiPath;
use super::selector::Selector;
use super::{Request, Shared, exec, status};

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    parts: Parts,
) -> Response {
    let request = note(&parts);
    let page = match request.query("continue").filter(|token| !token.is_empty()) {
        None => Some(1),
        Some(token) => Position::parse(token).map(|(_, position)| position.page),
    };
    let failure = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        state
            .faults
            .iter_mut()
            .rev()
            .find_map(|fault| fault.strike(&request.path, page))
    };
    let executing = shared.state().executing;
    match (failure, executing.zip(exec::pod_of(&request.path))) {
        (None, Some((executing, pod))) => exec::answer(executing, pod, &request, &parts, &shared, breaker),
        (None, None) => proper(&shared, &request, &parts),
        (Some(failure), _) => fail(failure, &shared, &request, &parts, breaker).await,
    }
}

fn note(parts: &Parts) -> Request {
    let header = |name| {
        parts
            .headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
            .map(str::to_owned)
    };
    Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: query(&parts.uri),
        authorization: header(header::AUTHORIZATION),
    }
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// The answer of a server that is well.
fn proper(shared: &Shared, request: &Request, parts: &Parts) -> Response {
    if parts.method != Method::GET {
        return status::method_not_allowed();
    }
    let objects = &shared.objects;
    let Some(path) = ApiPath::parse(&request.path) else {
        return match objects.document(&request.path) {
            Some(document) => status::json_response(StatusCode::OK, &document),
            None => status::page_not_found(),
        };
    };
    if !objects.serves(&path) {
        return status::page_not_found();
    }
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let metadata_only = accept.contains("as=PartialObjectMetadata");
    if path.name.is_some() {
        return match objects.locate(&path) {
            Some((key, index)) => page::object(&objects.collections[&key], index, metadata_only),
            None => status::object_not_found(&path),
        };
    }
    let Some(collection) = objects.collection(&path) else {
        return status::resource_not_found();
    };
    let generation = shared.state().generation;
    match page_request(&path, request, metadata_only, generation) {
        Ok(page_request) => page::list(collection, &page_request, generation),
        Err(refusal) => *refusal,
    }
}

fn page_request(
    path: &ApiPath,
    request: &Request,
    metadata_only: bool,
    generation: u64,
) -> Result<PageRequest, Box<Response>> {
    let bad = |message: &str| Box::new(status::bad_request(message));
    let given = |key| request.query(key).filter(|value| !value.is_empty());
    if given("watch").is_some_and(|watch| watch != "false" && watch != "0") {
        return Err(bad("this server does not support watches"));
    }
    let limit = match given("limit").map(str::parse::<usize>) {
        None | Some(Ok(0)) => None,
        Some(Ok(limit)) => Some(limit),
        Some(Err(_)) => return Err(bad("limit is not a number")),
    };
    let position = match given("continue").map(Position::parse) {
        None => Position::FIRST,
        Some(Some((token_generation, position))) if token_generation == generation => position,
        Some(Some(_)) => return Err(Box::new(status::expired())),
        Some(None) => return Err(bad("continue key is not valid")),
    };
    let labels = given("labelSelector").unwrap_or_default();
    let fields = given("fieldSelector").unwrap_or_default();
    let selector = Selector::parse(&path.resource, labels, fields).map_err(|message| bad(&message))?;
    Ok(PageRequest {
        namespace: path.namespace.clone(),
        selector,
        limit,
        position,
        metadata_only,
    })
}

async fn fail(failure: Failure, shared: &Arc<Shared>, request: &Request, parts: &Parts, breaker: Breaker) -> Response {
    match failure {
        Failure::Unauthorized => status::status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized", &Value::Null),
        Failure::Forbidden => status::forbidden(&request.path),
        Failure::PlainNotFound => status::page_not_found(),
        Failure::Gone => status::expired(),
        Failure::TooManyRequests { retry_after_seconds } => {
            let details = json!({ "retryAfterSeconds": retry_after_seconds });
            let message = "too many requests, please try again later";
            let mut response = status::status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message, &details);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
            response
        }
        Failure::InternalError => {
            let message = "an error on the server has prevented the request from succeeding";
            status::status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message, &json!({}))
        }
        Failure::Unavailable => status::response(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            "no server is available\n",
        ),
        Failure::Html { code } => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
            let html = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in</body></html>\n";
            status::response(code, "text/html; charset=utf-8", html)
        }
        Failure::Hang => {
            let _hanging = Hanging::begin(shared);
            std::future::pending().await
        }
        Failure::HangMidBody => {
            let half = first_half(proper(shared, request, parts)).await;
            let hanging = Hanging::begin(shared);
            let silence = stream::once(async move {
                let _hanging = hanging;
                std::future::pending().await
            });
            broken_body(stream::iter([Ok(half)]).chain(silence))
        }
        Failure::Reset => {
            breaker.reset();
            status::response(StatusCode::OK, "application/json", "")
        }
        Failure::ResetMidBody => {
            let half = first_half(proper(shared, request, parts)).await;
            let reset = stream::once(async move {
                // Lets the half be sent before the connection breaks.
                tokio::task::yield_now().await;
                breaker.reset();
                Err(std::io::ErrorKind::ConnectionReset.into())
            });
            broken_body(stream::iter([Ok(half)]).chain(reset))
        }
        Failure::TruncatedJson => {
            let half = first_half(proper(shared, request, parts)).await;
            status::response(StatusCode::OK, "application/json", half)
        }
        Failure::WrongShape => status::json_response(
            StatusCode::OK,
            &json!({ "kind": 7, "metadata": [], "items": { "0": null } }),
        ),
        Failure::EndlessBody => {
            let head = Bytes::from_static(br#"{"kind":"List","apiVersion":"v1","metadata":{},"items":[{}"#);
            let more = Bytes::from(r#",{"metadata":{"name":"again"}}"#.repeat(1024));
            broken_body(stream::iter([Ok(head)]).chain(stream::repeat_with(move || Ok(more.clone()))))
        }
        Failure::Slow(delay) => {
            tokio::time::sleep(delay).await;
            proper(shared, request, parts)
        }
    }
}

/// Counts a request as hanging until it is dropped.
struct Hanging(Arc<Shared>);

impl Hanging {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.hanging.send_modify(|now| *now += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.hanging.send_modify(|now| *now -= 1);
    }
}

async fn first_half(response: Response) -> Bytes {
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    body.slice(..body.len() / 2)
}

fn broken_body(stream: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Response {
    status::response(StatusCode::OK, "application/json", Body::from_stream(stream))
}
