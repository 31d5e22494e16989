//! The REST API under `/api/v1`: the views as JSON, and what a person may ask for. `GET /api/v1/openapi.json` describes it, made from the very table
//! that serves it.
//!
//! Every error is a problem document (RFC 9457). Every answer to a GET has a weak ETag that does not depend on the moment of asking.

mod answer;
mod ask;
pub mod client;
mod look;
mod openapi;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::access::{Role, Visitor};
use super::reader::StoreReader;
pub use answer::Problem;

/// Where it is.
pub const PREFIX: &str = "/api/v1";

/// What is asked for, how, and by whom it may be.
pub(crate) struct Operation {
    method: Method,
    /// Below [`PREFIX`], with `{parameters}`.
    path: &'static str,
    /// Its name in descriptions.
    id: &'static str,
    about: &'static str,
    /// Who may.
    role: Role,
    /// The fields of the query.
    query: Option<SchemaOf>,
    /// The body that is sent.
    body: Option<SchemaOf>,
    /// The answer, and its status.
    answer: (u16, SchemaOf),
    serve: MethodRouter<StoreReader>,
}

/// Makes the schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Everything that can be asked for.
fn operations() -> Vec<Operation> {
    let mut all = look::operations();
    all.extend(ask::operations());
    all
}

/// The API. Who asks is among the request's extensions.
pub fn router(reader: StoreReader) -> Router {
    let document = Arc::new(openapi::document(&operations()));
    let mut router = Router::new();
    for operation in operations() {
        let role = operation.role;
        let serve = operation.serve.layer(middleware::from_fn(
            move |request: axum::extract::Request, next: Next| only(role, request, next),
        ));
        router = router.route(&format!("{PREFIX}{}", operation.path), serve);
    }
    let description = axum::routing::get(|State(document): State<Arc<serde_json::Value>>| async move {
        axum::Json(document.as_ref().clone())
    });
    router
        .with_state(reader)
        .merge(
            Router::new()
                .route(&format!("{PREFIX}/openapi.json"), description)
                .with_state(document),
        )
        .route(&format!("{PREFIX}/{{*rest}}"), axum::routing::any(nothing_there))
}

/// The description of the API, as `docs/schema/openapi.json` has it.
pub fn description() -> serde_json::Value {
    openapi::document(&operations())
}

/// Lets in who may.
async fn only(role: Role, request: axum::extract::Request, next: Next) -> Response {
    match request.extensions().get::<Visitor>() {
        None => answer::unknown_visitor(),
        Some(visitor) if visitor.may(role) => next.run(request).await,
        Some(visitor) => answer::not_allowed(visitor, role),
    }
}

async fn nothing_there(visitor: Option<Extension<Visitor>>) -> Response {
    match visitor {
        None => answer::unknown_visitor(),
        Some(_) => answer::nothing_there(),
    }
}

#[cfg(test)]
mod tests;
