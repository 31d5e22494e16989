//! The doors that agents come in by.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use prejoin_agent::dial::collector::{CONNECT_PATH, ENROLL_PATH, ROTATE_PATH};
use prejoin_agent::dial::keep::sha256;
use prejoin_agent::dial::wire::{KeepAlive, Wire};
use prejoin_agent::dial::{CLUSTER_HEADER, Enroll, Enrolled, Rotate, VERSION_HEADER};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::throttle::Throttle;
use super::{ConnectedCluster, Hub};
use crate::output;
use crate::serve::store::credentials::NotEnrolled;
use crate::serve::store::{Store, StoreError};
use crate::text;

/// What agents post holds no more.
const BODY_BYTES: usize = 4 << 10;
/// So much of what an agent says of itself is shown.
const SHOWN_CHARS: usize = 40;

/// What the doors need.
struct Doors {
    hub: Hub,
    store: Store,
    throttle: Mutex<Throttle>,
}

type Door = State<Arc<Doors>>;
type From = ConnectInfo<SocketAddr>;

/// The doors of agents; needs [`ConnectInfo`] of the peer's address.
pub fn router(hub: Hub, store: Store) -> Router {
    let doors = Doors {
        hub,
        store,
        throttle: Mutex::default(),
    };
    Router::new()
        .route(ENROLL_PATH, post(enroll))
        .route(ROTATE_PATH, post(rotate))
        .route(CONNECT_PATH, get(connect))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Arc::new(doors))
}

/// Why somebody stays outside.
struct Refused {
    status: StatusCode,
    why: String,
    /// Seconds.
    wait: Option<u64>,
}

impl Refused {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
            wait: None,
        }
    }
}

impl std::convert::From<StoreError> for Refused {
    /// What is wrong with the store is the log's business.
    fn from(error: StoreError) -> Self {
        output::say(&format!("prejoin: an agent could not be let in: {error}"));
        Self {
            wait: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "the collector's store does not answer")
        }
    }
}

impl IntoResponse for Refused {
    /// Problem details, RFC 9457.
    fn into_response(self) -> Response {
        let problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.why,
        });
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}

impl Doors {
    /// Turns away who guessed too often, before anything is looked up.
    fn may_try(&self, from: SocketAddr) -> Result<(), Refused> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.may_try(from.ip(), Instant::now()).map_err(|wait| Refused {
            wait: Some(wait.as_secs() + 1),
            ..Refused::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong tokens or credentials came from this address",
            )
        })
    }

    fn failed(&self, from: SocketAddr) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.failed(from.ip(), Instant::now());
    }

    /// A credential that does not serve: not logged one by one, for anyone can send them.
    fn wrong_credential(&self, from: SocketAddr) -> Refused {
        self.failed(from);
        Refused::new(
            StatusCode::UNAUTHORIZED,
            "this credential does not serve, or not any more: enrol the cluster again",
        )
    }
}

async fn enroll(State(doors): Door, ConnectInfo(from): From, request: Request) -> Result<Json<Enrolled>, Refused> {
    doors.may_try(from)?;
    let asked: Enroll = body(request).await?;
    is_hash(&asked.credential_sha256)?;
    match doors
        .store
        .enroll(&asked.token, &asked.credential_sha256, Timestamp::now())
        .await?
    {
        Ok(cluster) => {
            output::say(&format!("prejoin: cluster {cluster} was enrolled from {from}"));
            Ok(Json(Enrolled { cluster }))
        }
        Err(why) => {
            doors.failed(from);
            let cluster = match &why {
                NotEnrolled::Replayed { cluster } | NotEnrolled::Expired { cluster } => Some(cluster.as_str()),
                NotEnrolled::Unknown => None,
            };
            doors.hub.refuse(cluster, Some(from), why.to_string());
            Err(Refused::new(StatusCode::UNAUTHORIZED, why.to_string()))
        }
    }
}

async fn rotate(State(doors): Door, ConnectInfo(from): From, request: Request) -> Result<Json<Enrolled>, Refused> {
    doors.may_try(from)?;
    let credential = bearer(request.headers()).map(str::to_owned);
    let asked: Rotate = body(request).await?;
    is_hash(&asked.credential_sha256)?;
    let cluster = match &credential {
        Some(credential) => doors.store.rotate(credential, &asked.credential_sha256).await?,
        None => None,
    };
    match cluster {
        Some(cluster) => {
            output::say(&format!("prejoin: cluster {cluster} replaces its credential"));
            Ok(Json(Enrolled { cluster }))
        }
        None => Err(doors.wrong_credential(from)),
    }
}

async fn connect(State(doors): Door, ConnectInfo(from): From, mut request: Request) -> Result<Response, Refused> {
    doors.may_try(from)?;
    let credential = bearer(request.headers()).unwrap_or_default().to_owned();
    let Some(name) = doors.store.whose(&credential, Timestamp::now()).await? else {
        return Err(doors.wrong_credential(from));
    };
    let headers = request.headers();
    let has = |header: &HeaderName, word: &str| {
        let value = headers
            .get(header)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let is_upgrade = has(&UPGRADE, "websocket") && has(&CONNECTION, "upgrade") && has(&SEC_WEBSOCKET_VERSION, "13");
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()));
    let accept = key
        .filter(|_| is_upgrade)
        .and_then(|key| HeaderValue::from_str(&key).ok());
    let (Some(accept), Some(upgrade)) = (accept, request.extensions_mut().remove::<OnUpgrade>()) else {
        let why = "no WebSocket was asked for: does a proxy in between not pass it on?";
        return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, why));
    };
    let version = request
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok());
    let shown = ConnectedCluster {
        name: name.clone(),
        since: Timestamp::now(),
        agent_version: text::short(version.unwrap_or("unknown"), SHOWN_CHARS),
        from,
    };
    let hub = doors.hub.clone();
    tokio::spawn(async move {
        // One that went away before the switch wants nothing any more.
        if let Ok(stream) = upgrade.await {
            let wire = Wire::answering(TokioIo::new(stream), KeepAlive::ANSWERS).await;
            hub.attach(shown, sha256(&credential), wire);
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CLUSTER_HEADER, name);
    }
    Ok(response)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let wrong = |why: String| Refused::new(StatusCode::BAD_REQUEST, why);
    let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES).await;
    let bytes = bytes.map_err(|_| wrong(format!("no body of at most {BODY_BYTES} bytes")))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("not what is spoken here: {error}")))
}

fn is_hash(text: &str) -> Result<(), Refused> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash
        .then_some(())
        .ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, "`credential_sha256` is 64 hex digits"))
}
