//! The answers that are not objects: `Status` bodies with the wording clients know from real servers.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::path::ApiPath;

/// The user whom refusals name.
pub const USER: &str = "auditor";

/// A response with this JSON as its body.
pub(super) fn json_response(code: StatusCode, body: &Value) -> Response {
    response(code, "application/json", body.to_string())
}

/// A response with any body.
pub(super) fn response(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// A failure `Status`. `details` is an object or null.
pub(super) fn status(code: StatusCode, reason: &str, message: &str, details: &Value) -> Response {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "reason": reason, "code": code.as_u16(),
    });
    if !details.is_null() {
        body["details"] = details.clone();
    }
    json_response(code, &body)
}

fn details(path: &ApiPath) -> Value {
    let mut details = json!({ "kind": path.resource });
    if !path.group.is_empty() {
        details["group"] = json!(path.group);
    }
    if let Some(name) = &path.name {
        details["name"] = json!(name);
    }
    details
}

/// 403, as RBAC words it.
pub(super) fn forbidden(raw_path: &str) -> Response {
    let Some(path) = ApiPath::parse(raw_path) else {
        let message = format!(r#"forbidden: User "{USER}" cannot get path "{raw_path}""#);
        return status(StatusCode::FORBIDDEN, "Forbidden", &message, &json!({}));
    };
    let (verb, what) = match &path.name {
        Some(name) => ("get", format!(r#"{} "{name}""#, path.qualified_resource())),
        None => ("list", path.qualified_resource()),
    };
    let scope = match &path.namespace {
        Some(namespace) => format!(r#"in the namespace "{namespace}""#),
        None => "at the cluster scope".to_owned(),
    };
    let message = format!(
        r#"{what} is forbidden: User "{USER}" cannot {verb} resource "{}" in API group "{}" {scope}"#,
        path.resource, path.group
    );
    status(StatusCode::FORBIDDEN, "Forbidden", &message, &details(&path))
}

/// 403 for what is done to a part of an object, given as namespace and name.
pub(super) fn forbidden_subresource(
    verb: &str,
    resource: &str,
    part: &str,
    (namespace, name): (&str, &str),
) -> Response {
    let message = format!(
        r#"{resource} "{name}" is forbidden: User "{USER}" cannot {verb} resource "{resource}/{part}" in API group "" in the namespace "{namespace}""#
    );
    let details = json!({ "kind": resource, "name": name });
    status(StatusCode::FORBIDDEN, "Forbidden", &message, &details)
}

/// 404 for an object that is not in its collection.
pub(super) fn object_not_found(path: &ApiPath) -> Response {
    let message = format!(
        r#"{} "{}" not found"#,
        path.qualified_resource(),
        path.name.as_deref().unwrap_or_default()
    );
    status(StatusCode::NOT_FOUND, "NotFound", &message, &details(path))
}

/// 404 for a resource that discovery does not know, or that was not recorded, in a group that is served.
pub(super) fn resource_not_found() -> Response {
    let message = "the server could not find the requested resource";
    status(StatusCode::NOT_FOUND, "NotFound", message, &json!({}))
}

/// 404 outside everything that is served. Servers up to 1.36 answer this in plain text.
pub(super) fn page_not_found() -> Response {
    response(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "404 page not found\n",
    )
}

/// 400.
pub(super) fn bad_request(message: &str) -> Response {
    status(StatusCode::BAD_REQUEST, "BadRequest", message, &Value::Null)
}

/// 405: this server is only ever read.
pub(super) fn method_not_allowed() -> Response {
    let message = "the server does not allow this method on the requested resource";
    status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message, &json!({}))
}

/// 410: the continue token is older than what the server still knows.
pub(super) fn expired() -> Response {
    let message = "The provided continue parameter is too old to display a consistent list result.";
    status(StatusCode::GONE, "Expired", message, &Value::Null)
}
