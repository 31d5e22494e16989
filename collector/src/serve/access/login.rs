//! Logging in to the pages with a token, and out again; who comes with a session's cookie.
//!
//! A session lasts as long as the token it came by: a revoked token ends it at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Form, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Visitor, cookie};
use crate::serve::dial::throttle::Throttle;
use crate::serve::pages::{harden, login as page};
use crate::serve::store::audit_log::Deed;
use crate::serve::store::{Store, StoreError};

/// The browser keeps the cookie for so long; the store decides how long the session goes on.
const KEPT_SECONDS: u32 = 7 * 24 * 3600;

/// What logging in needs.
#[derive(Debug)]
pub struct Doors {
    store: Store,
    failures: Mutex<Throttle>,
}

impl Doors {
    /// Over this store.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            failures: Mutex::default(),
        })
    }
}

/// The page to log in on, and what its forms do.
pub fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/login", get(form).post(log_in))
        .route("/logout", post(log_out))
        .layer(axum::middleware::map_response(harden))
        .with_state(doors)
}

/// Where to go on to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Onward {
    next: String,
}

/// A token that someone typed.
#[derive(Deserialize)]
struct Typed {
    token: String,
    #[serde(default)]
    next: String,
}

/// A form that says nothing but that it is one of ours.
#[derive(Debug, Deserialize)]
struct Plain {
    csrf: String,
}

async fn form(Query(onward): Query<Onward>) -> Response {
    page::form(cookie::local(&onward.next), None).into_response()
}

async fn log_in(
    State(doors): State<Arc<Doors>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Response {
    let next = cookie::local(&typed.next);
    if !cookie::is_from_here(&headers) {
        return refused(StatusCode::FORBIDDEN, next, "This form was sent from elsewhere.");
    }
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ConnectInfo(peer))| {
        peer.ip()
    });
    if let Err(wait) = doors.failures().may_try(address, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let mut answer = refused(
            StatusCode::TOO_MANY_REQUESTS,
            next,
            &format!("Too many tokens were wrong: try again in {seconds} s."),
        );
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return answer;
    }
    match doors.open(typed.token.trim(), &address.to_string()).await {
        Ok(Some(secret)) => with_cookie(Redirect::to(next).into_response(), &secret, KEPT_SECONDS),
        Ok(None) => {
            doors.failures().failed(address, Instant::now());
            refused(
                StatusCode::UNAUTHORIZED,
                next,
                "There is no such token, or it is no longer valid.",
            )
        }
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, next, &error.to_string()),
    }
}

async fn log_out(
    State(doors): State<Arc<Doors>>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    Form(form): Form<Plain>,
) -> Response {
    let own = visitor.is_some_and(|Extension(visitor)| visitor.sent(&form.csrf));
    let Some(secret) = cookie::value(&headers, cookie::SESSION).filter(|_| own) else {
        return refused(StatusCode::FORBIDDEN, "/", "This form is not of your session.");
    };
    match doors.store.end_session(secret).await {
        Ok(()) => with_cookie(Redirect::to("/login").into_response(), "", 0),
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, "/", &error.to_string()),
    }
}

fn refused(status: StatusCode, next: &str, why: &str) -> Response {
    (status, page::form(next, Some(why))).into_response()
}

fn with_cookie(mut answer: Response, secret: &str, seconds: u32) -> Response {
    if let Some(cookie) = cookie::set(cookie::SESSION, secret, seconds) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

impl Doors {
    fn failures(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for who has this token.
    async fn open(&self, token: &str, origin: &str) -> Result<Option<String>, StoreError> {
        let now = Timestamp::now();
        let Some(known) = self.store.token(token).await?.filter(|known| known.is_valid(now)) else {
            return Ok(None);
        };
        let secret = self
            .store
            .begin_session(&known.name, known.role, Some(token), now)
            .await?;
        let deed = Deed {
            at: now,
            actor: known.name,
            action: "session.begin".to_owned(),
            object: "pages".to_owned(),
            origin: origin.to_owned(),
            outcome: "done".to_owned(),
        };
        self.store.note(&deed).await?;
        Ok(Some(secret))
    }

    /// Who comes with this session.
    async fn visitor(&self, secret: &str) -> Option<Visitor> {
        // A store that cannot be read lets nobody in.
        let session = self.store.session(secret, Timestamp::now()).await.ok().flatten()?;
        Some(Visitor {
            name: session.name,
            role: session.role,
            csrf: Some(cookie::csrf(secret)),
        })
    }
}

/// Puts who comes with a session's cookie among the request's extensions. A token that is sent along goes before.
///
/// By the API a session only reads: a form of another place can send a cookie along, and nothing there proves that it did not.
pub async fn by_session(State(doors): State<Arc<Doors>>, mut request: Request, next: Next) -> Response {
    let writes_by_api = request.uri().path().starts_with("/api/") && !request.method().is_safe();
    if !writes_by_api
        && !request.headers().contains_key(header::AUTHORIZATION)
        && let Some(secret) = cookie::value(request.headers(), cookie::SESSION)
        && let Some(visitor) = doors.visitor(secret).await
    {
        request.extensions_mut().insert(visitor);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests;
