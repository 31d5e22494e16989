//! [`Gate`]: who asks, by the token that is sent along.
//!
//! Without a token only who asks from this very machine may look, and no one else may anything: a request that a proxy on this machine passes on
//! is not from this machine, and neither is one of a browser that was told that some other name means this machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;

use super::{Role, Visitor};
use crate::serve::store::Store;

/// Headers by which proxies say whom they pass on.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Finds out who asks, and puts a [`Visitor`] among the request's extensions. Who that may let in is decided by what is asked for.
pub async fn recognise(State(store): State<Store>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().remove::<Visitor>();
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    let visitor = match bearer(request.headers()) {
        // A wrong token is not worth less than none.
        Some(secret) => by_token(&store, secret).await,
        None => peer.and_then(|peer| from_here(peer, request.headers())),
    };
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    next.run(request).await
}

/// The token that is sent along.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn by_token(store: &Store, secret: &str) -> Option<Visitor> {
    // A store that cannot be read lets nobody in.
    let token = store.token(secret).await.ok().flatten()?;
    token.is_valid(Timestamp::now()).then_some(Visitor {
        name: token.name,
        role: token.role,
        csrf: None,
    })
}

/// Who asks from this machine without a token may look.
fn from_here(peer: SocketAddr, headers: &HeaderMap) -> Option<Visitor> {
    let passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    (peer.ip().to_canonical().is_loopback() && !passed_on && names_this_machine(headers)).then(|| Visitor {
        name: "this machine".to_owned(),
        role: Role::Viewer,
        csrf: None,
    })
}

/// Whether the host that is asked for is this machine, by a name that nobody else can give another meaning.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, host.parse().unwrap())])
    }

    #[test]
    fn who_asks_from_this_machine_may_look_and_who_is_passed_on_may_not() {
        let here = "127.0.0.1:5".parse().unwrap();
        assert_eq!(from_here(here, &asked("localhost:8443")).unwrap().role, Role::Viewer);
        assert!(from_here("[::ffff:127.0.0.1]:5".parse().unwrap(), &asked("127.0.0.1")).is_some());
        assert!(from_here("[::1]:5".parse().unwrap(), &asked("[::1]:8443")).is_some());
        assert_eq!(from_here("192.0.2.1:5".parse().unwrap(), &asked("localhost")), None);
        assert_eq!(from_here(here, &asked("rebound.example:8443")), None);
        assert_eq!(from_here(here, &HeaderMap::new()), None);
        let mut headers = asked("localhost");
        headers.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        assert_eq!(from_here(here, &headers), None);
    }

    #[test]
    fn a_token_is_what_comes_after_bearer() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "bearer  abc ".parse().unwrap());
        assert_eq!(bearer(&headers), Some("abc"));
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
