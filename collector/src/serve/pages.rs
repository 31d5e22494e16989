//! The pages: views as HTML, made here, complete without script. [`router`] serves them.
//!
//! Nothing on a page comes from elsewhere and nothing is inline, so that the policy of [`layout::POLICY`] can forbid both. Whatever a
//! cluster, a node or an object is called is text: maud escapes it, and what would hide or reorder is made visible by [`show`].

mod age;
mod assets;
mod audits;
mod cluster;
mod drift;
mod error;
mod events;
mod finding;
mod findings;
mod fleet;
mod forms;
mod layout;
mod link;
pub(crate) mod login;
mod matrix;
mod nodes;
mod pair;
mod paths;
mod space;
mod verdict;

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::access::{Role, Visitor};
use super::view::{Actions, Reader};
use crate::text;

use error::PageError;
pub(crate) use layout::harden;

/// What a handler gives: a page, or one that says why there is none.
type Answer = Result<Html<String>, PageError>;

/// All pages with what they need, for whom was let in: a [`Visitor`] is among the request's extensions, put there by whoever found out who asks.
/// Others see none of them.
pub fn router<S: Reader + Actions>(server: Arc<S>) -> Router {
    Router::new()
        .route("/", get(fleet::fleet::<S>))
        .route("/groups/{group}", get(fleet::group::<S>))
        .route("/groups/{group}/clusters/{cluster}", get(cluster::page::<S>))
        .route("/groups/{group}/pairs/{a}/{b}", get(pair::page::<S>))
        .route("/groups/{group}/findings", get(findings::page::<S>))
        .route("/groups/{group}/findings/{key}", get(finding::page::<S>))
        .route("/groups/{group}/findings/{key}/waive", post(forms::waive::<S>))
        .route("/groups/{group}/addresses", get(space::page::<S>))
        .route("/groups/{group}/paths", get(paths::page::<S>))
        .route("/groups/{group}/drift", get(drift::page::<S>))
        .route(
            "/groups/{group}/audits",
            get(audits::of_group::<S>).post(forms::run_audit::<S>),
        )
        .route("/groups/{group}/baseline", post(forms::accept_baseline::<S>))
        .route("/audits", get(audits::all::<S>))
        .route("/audits/{id}", get(audits::one::<S>))
        .route("/events", get(events::events::<S>))
        .route_layer(middleware::from_fn(visitors_only))
        .route("/assets/{file}", get(assets::asset))
        .fallback(error::no_such_page)
        .with_state(server)
        .layer(middleware::map_response(harden))
}

/// Lets in whom is known; others are led to where they can log in.
async fn visitors_only(request: Request, next: Next) -> Response {
    if request.extensions().get::<Visitor>().is_some() {
        return next.run(request).await;
    }
    if !request.method().is_safe() {
        return PageError::Unknown.into_response();
    }
    let onward = request.uri().path_and_query().map_or("/", |onward| onward.as_str());
    Redirect::to(&login::address(onward)).into_response()
}

/// Who looks at a page: the visitor that was let in, or nobody in particular.
type Who = Option<Extension<Visitor>>;

/// The visitor, if they may do what this role may.
fn allowed(who: &Who, role: Role) -> Option<&Visitor> {
    who.as_ref()
        .map(|Extension(visitor)| visitor)
        .filter(|visitor| visitor.may(role))
}

/// Text from elsewhere, fit to show.
fn show(text: &str) -> Cow<'_, str> {
    text::sanitise(text)
}

/// `1 pair`, `3 pairs`.
fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
