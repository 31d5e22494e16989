//! The page to log in on.

use axum::response::Html;
use maud::html;

use super::layout::Layout;
use super::{link, show};

/// The form, with why the last attempt failed. What it is for (`next`) is shown after.
pub(crate) fn form(next: &str, failure: Option<&str>) -> Html<String> {
    Layout::new("Log in").page(&html! {
        h1 { "Log in" }
        @if let Some(why) = failure { p.notice.fail role="alert" { span aria-hidden="true" { "✗ " } (show(why)) } }
        form.login method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label for="token" { "Token" }
            input #token type="password" name="token" required autocomplete="current-password" size="40" maxlength="256";
            button type="submit" { "Log in" }
        }
        p.note { "An admin makes tokens by " code { "POST /api/v1/tokens" } "." }
    })
}

/// The address of the form that leads on to `next`.
pub(crate) fn address(next: &str) -> String {
    link::query("/login", &[("next", (next != "/").then_some(next))])
}
