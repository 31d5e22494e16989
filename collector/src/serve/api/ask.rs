//! What can be asked for: by operators and admins, noted in the log.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Problem};
use super::{Operation, of};
use crate::serve::access::{Role, Visitor};
use crate::serve::reader::StoreReader;
use crate::serve::store::audit_log::Deed;
use crate::serve::store::tokens::{NewToken, Token};
use crate::serve::view::Actions;
use crate::serve::view::reader::Waiving;

type Answer = Result<Response, Problem>;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            method: Method::POST,
            path: "/groups/{group}/audits",
            id: "run_audit",
            about: "Audits a group as soon as none of it is running",
            role: Role::Operator,
            query: None,
            body: None,
            answer: (202, of::<Wanted>),
            serve: post(run_audit),
        },
        Operation {
            method: Method::POST,
            path: "/groups/{group}/baseline",
            id: "accept_baseline",
            about: "Accepts what an audit found as what is right",
            role: Role::Operator,
            query: None,
            body: Some(of::<Accepting>),
            answer: (200, of::<Accepting>),
            serve: post(accept_baseline),
        },
        Operation {
            method: Method::POST,
            path: "/groups/{group}/waivers",
            id: "waive",
            about: "Answers for a finding until a day",
            role: Role::Operator,
            query: None,
            body: Some(of::<Waiving>),
            answer: (200, of::<Waiving>),
            serve: post(waive),
        },
        Operation {
            method: Method::GET,
            path: "/tokens",
            id: "tokens",
            about: "All tokens, without what is secret about them",
            role: Role::Admin,
            query: None,
            body: None,
            answer: (200, of::<Vec<Token>>),
            serve: get(tokens),
        },
        Operation {
            method: Method::POST,
            path: "/tokens",
            id: "create_token",
            about: "Makes a token; it is shown this once",
            role: Role::Admin,
            query: None,
            body: Some(of::<NewToken>),
            answer: (201, of::<MadeToken>),
            serve: post(create_token),
        },
        Operation {
            method: Method::DELETE,
            path: "/tokens/{name}",
            id: "revoke_token",
            about: "Revokes a token at once",
            role: Role::Admin,
            query: None,
            body: None,
            answer: (200, of::<Token>),
            serve: delete(revoke_token),
        },
    ]
}

/// The audit that will be run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Its name: it is at `/api/v1/audits/{audit}`.
    pub(super) audit: String,
}

/// What is accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Accepting {
    /// The audit.
    audit: String,
    /// Why.
    #[serde(default)]
    note: String,
}

/// A token that was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct MadeToken {
    /// What to send as `Authorization: Bearer …`. It cannot be shown again.
    token: String,
}

/// Who asks, and from where.
struct From<'a> {
    reader: &'a StoreReader,
    visitor: &'a Visitor,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
}

impl From<'_> {
    /// Does what was asked for, and notes it whatever comes of it.
    async fn noted<T>(&self, action: &str, object: &str, done: Result<T, Problem>) -> Result<T, Problem> {
        let origin = self.origin.as_ref();
        let deed = Deed {
            at: Timestamp::now(),
            actor: self.visitor.name.clone(),
            action: action.to_owned(),
            object: crate::text::short(object, 200),
            origin: origin.map_or_else(String::new, |Extension(ConnectInfo(peer))| peer.ip().to_string()),
            outcome: match &done {
                Ok(_) => "done".to_owned(),
                Err(problem) => problem.detail.clone(),
            },
        };
        self.reader.store().note(&deed).await?;
        done
    }
}

async fn run_audit(
    State(reader): State<StoreReader>,
    Extension(visitor): Extension<Visitor>,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
    Path(group): Path<String>,
) -> Answer {
    let done = reader.run_audit(&group, &visitor.name).await.map_err(Problem::from);
    let from = From {
        reader: &reader,
        visitor: &visitor,
        origin,
    };
    let audit = from.noted("audit.run", &group, done).await?;
    Ok((StatusCode::ACCEPTED, Json(Wanted { audit })).into_response())
}

async fn accept_baseline(
    State(reader): State<StoreReader>,
    Extension(visitor): Extension<Visitor>,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
    Path(group): Path<String>,
    accepting: Result<Json<Accepting>, JsonRejection>,
) -> Answer {
    let accepting = body(accepting)?;
    let accepted = reader.accept_baseline(&group, &accepting.audit, &visitor.name, &accepting.note);
    let done = accepted.await.map_err(Problem::from);
    let from = From {
        reader: &reader,
        visitor: &visitor,
        origin,
    };
    from.noted("baseline.accept", &format!("{group} {}", accepting.audit), done)
        .await?;
    Ok(Json(accepting).into_response())
}

async fn waive(
    State(reader): State<StoreReader>,
    Extension(visitor): Extension<Visitor>,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
    Path(group): Path<String>,
    waiving: Result<Json<Waiving>, JsonRejection>,
) -> Answer {
    let waiving = body(waiving)?;
    let done = reader
        .waive(&group, &waiving, &visitor.name)
        .await
        .map_err(Problem::from);
    let from = From {
        reader: &reader,
        visitor: &visitor,
        origin,
    };
    from.noted(
        "finding.waive",
        &format!("{group} {} until {}", waiving.key, waiving.until),
        done,
    )
    .await?;
    Ok(Json(waiving).into_response())
}

async fn tokens(State(reader): State<StoreReader>, headers: HeaderMap) -> Answer {
    answer::view(&headers, &reader.store().tokens().await?)
}

async fn create_token(
    State(reader): State<StoreReader>,
    Extension(visitor): Extension<Visitor>,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
    new: Result<Json<NewToken>, JsonRejection>,
) -> Answer {
    let new = body(new)?;
    let done = reader
        .store()
        .create_token(&new, &visitor.name, Timestamp::now())
        .await
        .map_err(Problem::from);
    let from = From {
        reader: &reader,
        visitor: &visitor,
        origin,
    };
    let token = from
        .noted("token.create", &format!("{} ({})", new.name, new.role.name()), done)
        .await?;
    let Some(token) = token else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("there is a token {} already", new.name),
        ));
    };
    Ok((StatusCode::CREATED, Json(MadeToken { token })).into_response())
}

async fn revoke_token(
    State(reader): State<StoreReader>,
    Extension(visitor): Extension<Visitor>,
    origin: Option<Extension<ConnectInfo<SocketAddr>>>,
    Path(name): Path<String>,
) -> Answer {
    let done = reader
        .store()
        .revoke_token(&name, Timestamp::now())
        .await
        .map_err(Problem::from);
    let from = From {
        reader: &reader,
        visitor: &visitor,
        origin,
    };
    let revoked = from.noted("token.revoke", &name, done).await?;
    let name = crate::text::short(&name, 60);
    let revoked = revoked.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no token {name}")))?;
    Ok(Json(revoked).into_response())
}

/// The body, or what is wrong with it.
fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body)
        .map_err(|error| Problem::new(error.status(), error.body_text()))
}
