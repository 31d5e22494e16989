//! What all pages have: head, navigation, foot, and the headers they are sent with.

use axum::extract::Extension;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::{Html, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::{Who, assets, link, show};

/// Nothing from elsewhere, nothing inline.
pub(super) const POLICY: &str = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page around its content.
pub(super) struct Layout<'a> {
    title: String,
    /// The group the page is about, and which of its pages this is.
    group: Option<(&'a str, Tab)>,
    /// What to listen to for changes.
    events: Option<String>,
    shown_at: Option<Timestamp>,
    visitor: Option<&'a str>,
    csrf: Option<&'a str>,
}

/// The pages of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Findings,
    Addresses,
    Paths,
    Drift,
    Audits,
}

impl Tab {
    const ALL: [Self; 6] = [
        Self::Overview,
        Self::Findings,
        Self::Addresses,
        Self::Paths,
        Self::Drift,
        Self::Audits,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Findings => "Findings",
            Self::Addresses => "Address space",
            Self::Paths => "Paths",
            Self::Drift => "Drift",
            Self::Audits => "Audits",
        }
    }

    fn link(self, group: &str) -> String {
        match self {
            Self::Overview => link::group(group),
            Self::Findings => link::in_group(group, "findings"),
            Self::Addresses => link::in_group(group, "addresses"),
            Self::Paths => link::in_group(group, "paths"),
            Self::Drift => link::in_group(group, "drift"),
            Self::Audits => link::in_group(group, "audits"),
        }
    }
}

impl<'a> Layout<'a> {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            group: None,
            events: None,
            shown_at: None,
            visitor: None,
            csrf: None,
        }
    }

    /// The page is one of this group's.
    pub(super) fn of_group(mut self, group: &'a str, tab: Tab) -> Self {
        self.group = Some((group, tab));
        self
    }

    /// The page shows what is at this moment, to this visitor.
    pub(super) fn shown(mut self, at: Timestamp, who: &'a Who) -> Self {
        self.shown_at = Some(at);
        if let Some(Extension(visitor)) = who {
            self.visitor = Some(&visitor.name);
            self.csrf = visitor.csrf.as_deref();
        }
        self
    }

    /// The page is read again when something changes in this group, or this audit.
    pub(super) fn live(mut self, group: Option<&str>, audit: Option<&str>) -> Self {
        self.events = Some(link::query("/events", &[("group", group), ("audit", audit)]));
        self
    }

    /// The whole page. What `content` marks with `data-live` and an id is replaced when something changes.
    pub(super) fn page(self, content: &Markup) -> Html<String> {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (show(&self.title)) " · prejoin" }
                    link rel="icon" href=(assets::icon()) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::style());
                    script src=(assets::script()) defer {}
                }
                body data-events=[self.events.as_deref()] data-shown-at=[self.shown_at.map(|at| at.to_string())] {
                    a.skip-link href="#content" { "Skip to content" }
                    header {
                        div.bar {
                            a.brand href="/" { "prejoin" }
                            nav aria-label="All groups" {
                                a href="/" aria-current=[self.is_at("Fleet")] { "Fleet" }
                                a href="/audits" aria-current=[self.is_at("Audits")] { "Audits" }
                            }
                            @if self.events.is_some() { span #live-state.live-state role="status" {} }
                            @if let Some(visitor) = self.visitor {
                                span.visitor { (show(visitor)) }
                                @if let Some(csrf) = self.csrf {
                                    form method="post" action="/logout" {
                                        input type="hidden" name="csrf" value=(csrf);
                                        button.quiet type="submit" { "Log out" }
                                    }
                                }
                            }
                        }
                        @if let Some((group, tab)) = self.group { (tabs(group, tab)) }
                    }
                    main #content tabindex="-1" { (content) }
                    footer {
                        @if let Some(at) = self.shown_at {
                            p { "Shown at " time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
                        }
                        p { "prejoin " (env!("CARGO_PKG_VERSION")) " · " a href="/api/v1/openapi.json" { "API" } }
                    }
                }
            }
        };
        Html(page.into_string())
    }

    fn is_at(&self, page: &str) -> Option<&'static str> {
        (self.group.is_none() && self.title == page).then_some("page")
    }
}

fn tabs(group: &str, current: Tab) -> Markup {
    html! {
        div.bar.tabs {
            span.group-name { (show(group)) }
            nav aria-label="This group" {
                @for tab in Tab::ALL {
                    a href=(tab.link(group)) aria-current=[(tab == current).then_some("page")] { (tab.name()) }
                }
            }
        }
    }
}

/// Adds to every answer what keeps a browser from doing more with it than is meant.
pub(crate) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert(
        "permissions-policy",
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    );
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
