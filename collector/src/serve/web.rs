//! Everything that is served on the one listener: pages, API, metrics, and whether the collector is well.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::access::login::{self, Doors};
use super::access::{Visitor, gate};
use super::reader::StoreReader;
use super::view::Reader as _;
use super::{api, metrics, pages};

/// All routes.
pub fn router(reader: &StoreReader) -> Router {
    let store = reader.store().clone();
    let doors = Doors::new(store.clone());
    let guarded = Router::new()
        .route("/metrics", get(metrics_text))
        .with_state(reader.clone())
        .merge(api::router(reader.clone()))
        .merge(pages::router(Arc::new(reader.clone())))
        .merge(login::router(doors.clone()))
        .layer(middleware::from_fn_with_state(doors, login::by_session))
        .layer(middleware::from_fn_with_state(store, gate::recognise));
    // For who looks after the process, who has no token.
    let open = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(reader.clone());
    open.merge(guarded)
}

/// Whether requests can be served: the store answers.
async fn ready(State(reader): State<StoreReader>) -> Response {
    match reader.store().ping().await {
        Ok(()) => "ok\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response(),
    }
}

async fn metrics_text(State(reader): State<StoreReader>, visitor: Option<Extension<Visitor>>) -> Response {
    if visitor.is_none() {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    let text = async {
        let fleet = reader.fleet().await?;
        let mut counted = BTreeMap::new();
        for group in &fleet.groups {
            counted.insert(group.name.clone(), reader.counted(&group.name).await?);
        }
        let queues = reader.queues().await?;
        Ok::<_, super::view::ReadError>(metrics::text(&fleet, &counted, &queues))
    };
    match text.await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
