//! Logging in over HTTP, as a browser does it.

use axum::middleware;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::serve::access::Role;
use crate::serve::store::tests::fresh;
use crate::serve::store::tokens::NewToken;

/// A server that says who asks.
async fn serve(store: &Store) -> SocketAddr {
    let who = |visitor: Option<Extension<Visitor>>| async move {
        visitor.map_or_else(
            || "nobody".to_owned(),
            |Extension(visitor)| {
                format!(
                    "{} {} csrf={}",
                    visitor.name,
                    visitor.role.name(),
                    visitor.csrf.unwrap_or_default()
                )
            },
        )
    };
    let doors = Doors::new(store.clone());
    let router = Router::new()
        .route("/who", get(who))
        .route("/api/v1/who", post(who))
        .merge(router(doors.clone()))
        .layer(middleware::from_fn_with_state(doors, by_session));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    place
}

/// Sends a request and gives the whole answer.
async fn ask(place: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(place).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn token(store: &Store) -> String {
    let new = NewToken {
        name: "kim".to_owned(),
        role: Role::Operator,
        expires_at: None,
    };
    store
        .create_token(&new, "test", Timestamp::now())
        .await
        .unwrap()
        .unwrap()
}

/// The cookie that an answer sets, as it is sent back.
fn cookie_of(answer: &str) -> String {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    format!("cookie: {}\r\n", line.split(';').next().unwrap())
}

#[tokio::test]
async fn a_token_opens_a_session_that_forms_and_revocation_end() {
    let (_directory, store) = fresh().await;
    let (place, token) = (serve(&store).await, token(&store).await);
    let opened = ask(
        place,
        "POST",
        "/login",
        "",
        &format!("token={token}&next=%2Fgroups%2Fprod"),
    )
    .await;
    assert!(
        opened.starts_with("HTTP/1.1 303") && opened.contains("location: /groups/prod"),
        "{opened}"
    );
    for part in [
        "__Host-prejoin=",
        "HttpOnly",
        "Secure",
        "SameSite=Lax",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(opened.contains(part), "{part}: {opened}");
    }
    let cookie = cookie_of(&opened);
    let who = ask(place, "GET", "/who", &cookie, "").await;
    assert!(who.contains("kim operator csrf="), "{who}");
    assert!(
        ask(place, "POST", "/api/v1/who", &cookie, "").await.contains("nobody"),
        "by the API a session only reads"
    );
    assert!(
        ask(place, "POST", "/logout", &cookie, "csrf=guessed")
            .await
            .starts_with("HTTP/1.1 403")
    );
    let csrf = who.rsplit("csrf=").next().unwrap().trim().to_owned();
    let out = ask(place, "POST", "/logout", &cookie, &format!("csrf={csrf}")).await;
    assert!(out.starts_with("HTTP/1.1 303") && out.contains("Max-Age=0"), "{out}");
    assert!(ask(place, "GET", "/who", &cookie, "").await.contains("nobody"));
    let again = cookie_of(&ask(place, "POST", "/login", "", &format!("token={token}")).await);
    store.revoke_token("kim", Timestamp::now()).await.unwrap();
    assert!(ask(place, "GET", "/who", &again, "").await.contains("nobody"));
    assert_eq!(store.deeds(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn who_guesses_is_made_to_wait_and_forms_of_elsewhere_do_nothing() {
    let (_directory, store) = fresh().await;
    let (place, token) = (serve(&store).await, token(&store).await);
    let body = format!("token={token}&next=%2F%2Fevil.example");
    let foreign = ask(place, "POST", "/login", "sec-fetch-site: cross-site\r\n", &body).await;
    assert!(
        foreign.starts_with("HTTP/1.1 403") && !foreign.contains("set-cookie"),
        "{foreign}"
    );
    let own = ask(place, "POST", "/login", "sec-fetch-site: same-origin\r\n", &body).await;
    assert!(own.contains("location: /\r\n"), "{own}");
    let mut answers = Vec::new();
    for number in 0..12 {
        let answer = ask(place, "POST", "/login", "", &format!("token=pjn_{number}")).await;
        answers.push(answer[9..12].to_owned());
    }
    assert_eq!((answers[0].as_str(), answers[11].as_str()), ("401", "429"));
    assert!(ask(place, "POST", "/login", "", &body).await.contains("retry-after: "));
}
