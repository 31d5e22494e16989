//! What a person asks for by a form: run an audit, accept a baseline, answer for a finding.
//!
//! Only operators may, only by a web session, and only from a form of one of these pages: it sends back what the session alone knows. A program
//! with a token uses the API.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use jiff::civil::Date;
use serde::Deserialize;

use super::error::PageError;
use super::{Who, allowed, link};
use crate::serve::access::{Role, Visitor};
use crate::serve::view::reader::Waiving;
use crate::serve::view::{Actions, Reader};

/// A text of a form has so many characters at most.
const MOST: usize = 500;

/// A form that says nothing but that it is one of ours.
#[derive(Debug, Deserialize)]
pub(super) struct Plain {
    csrf: String,
}

/// The state of an audit as what is right.
#[derive(Debug, Deserialize)]
pub(super) struct Accept {
    csrf: String,
    audit: String,
    #[serde(default)]
    note: String,
}

/// A finding that someone answers for.
#[derive(Debug, Deserialize)]
pub(super) struct Waive {
    csrf: String,
    reason: String,
    until: Date,
}

/// The operator who sent this form.
fn operator<'a>(who: &'a Who, csrf: &str) -> Result<&'a Visitor, PageError> {
    let visitor = allowed(who, Role::Operator).ok_or(PageError::NotAllowed)?;
    if visitor.sent(csrf) {
        Ok(visitor)
    } else {
        Err(PageError::ForeignForm)
    }
}

/// A text that a person wrote.
fn text(text: &str) -> Result<&str, PageError> {
    let text = text.trim();
    if text.chars().count() > MOST {
        return Err(PageError::BadAddress(format!("a text has at most {MOST} characters")));
    }
    Ok(text)
}

/// Runs an audit, and shows it.
pub(super) async fn run_audit<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Form(form): Form<Plain>,
) -> Result<Redirect, PageError> {
    let visitor = operator(&who, &form.csrf)?;
    let audit = server.run_audit(&group, &visitor.name).await?;
    Ok(Redirect::to(&link::audit(&audit)))
}

/// Accepts a baseline, and shows what has drifted from it.
pub(super) async fn accept_baseline<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Form(form): Form<Accept>,
) -> Result<Redirect, PageError> {
    let visitor = operator(&who, &form.csrf)?;
    server
        .accept_baseline(&group, &form.audit, &visitor.name, text(&form.note)?)
        .await?;
    Ok(Redirect::to(&link::in_group(&group, "drift")))
}

/// Waives a finding, and shows it.
pub(super) async fn waive<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path((group, key)): Path<(String, String)>,
    Form(form): Form<Waive>,
) -> Result<Redirect, PageError> {
    let visitor = operator(&who, &form.csrf)?;
    let reason = text(&form.reason)?;
    if reason.is_empty() {
        return Err(PageError::BadAddress("a waiver needs a reason".to_owned()));
    }
    let waiving = Waiving {
        key: key.clone(),
        reason: reason.to_owned(),
        until: form.until,
    };
    server.waive(&group, &waiving, &visitor.name).await?;
    Ok(Redirect::to(&link::finding(&group, &key)))
}
