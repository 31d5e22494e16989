//! Answers: JSON with an ETag, or a problem document.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::serve::access::{Role, Visitor};
use crate::serve::store::StoreError;
use crate::serve::store::documents::digest;
use crate::serve::view::ReadError;

/// Why a request was not served (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The status in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// The request itself is wrong.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let kind = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        )];
        (status, kind, body).into_response()
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let status = match error {
            ReadError::NotFound(_) => StatusCode::NOT_FOUND,
            ReadError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        ReadError::from(error).into()
    }
}

/// A view as JSON; 304 if the one who asks has it already.
pub(super) fn view<T: Serialize>(headers: &HeaderMap, view: &T) -> Result<Response, Problem> {
    let failed = |error: serde_json::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let mut value = serde_json::to_value(view).map_err(failed)?;
    let body = serde_json::to_vec(&value).map_err(failed)?;
    without_moment(&mut value);
    let tag = format!("W/\"{}\"", &digest(value.to_string().as_bytes())[..32]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag || known.trim() == "*"));
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("W/\"\""));
    // Nobody but who asked may keep it, and not without asking again.
    let caching = (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag), caching]).into_response());
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([(header::ETAG, tag), caching, kind], body).into_response())
}

/// Takes out when the question was answered: nothing else about the answer is new then.
fn without_moment(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("shown_at");
            fields.values_mut().for_each(without_moment);
        }
        Value::Array(items) => items.iter_mut().for_each(without_moment),
        _ => {}
    }
}

pub(super) fn unknown_visitor() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "send a token as `Authorization: Bearer …` (`prejoin serve token create` makes one)",
    );
    (challenge, problem).into_response()
}

pub(super) fn not_allowed(visitor: &Visitor, role: Role) -> Response {
    let detail = format!(
        "{} is {}, and this takes {}",
        visitor.name,
        visitor.role.name(),
        role.name()
    );
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

pub(super) fn nothing_there() -> Response {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path: see /api/v1/openapi.json",
    )
    .into_response()
}
