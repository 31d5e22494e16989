//! Cookies of web sessions, and where forms may come from.

use axum::http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use crate::serve::store::documents::hex;

/// The cookie of a session. Browsers take one called so only over TLS or from this machine, for this host alone and for all of it.
pub(super) const SESSION: &str = "__Host-prejoin";

/// The value of a cookie, as the browser sends it.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(known, value)| (known == name).then_some(value))
}

/// Sets a cookie for so many seconds; 0 makes the browser forget it. Scripts do not see it, and forms of other places do not send it.
pub(super) fn set(name: &str, value: &str, seconds: u32) -> Option<HeaderValue> {
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax");
    HeaderValue::from_str(&cookie).ok()
}

/// What forms of a session send back: it follows from the session's secret, and the secret does not follow from it.
pub(super) fn csrf(secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex(hmac::sign(&key, b"forms of pages").as_ref())
}

/// Whether a form comes from a page of this very host, as far as the browser says. Older ones name the origin only; who is no browser neither.
pub(super) fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == text("host")
}

/// A place to go on to, if it is one of this host: `/groups/x`, not `//elsewhere` or `https://elsewhere`.
pub(super) fn local(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if local { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(named: &[(&'static str, &str)]) -> HeaderMap {
        named
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_cookie_is_found_among_others_by_its_whole_name() {
        let headers = headers(&[("cookie", "a=1; x__Host-prejoin=no; __Host-prejoin=yes; b=2")]);
        assert_eq!(value(&headers, SESSION), Some("yes"));
        assert_eq!(value(&headers, "c"), None);
        let set = set(SESSION, "v", 60).unwrap();
        for part in ["__Host-prejoin=v;", "Path=/;", "HttpOnly", "Secure", "SameSite=Lax"] {
            assert!(set.to_str().unwrap().contains(part), "{part}");
        }
    }

    #[test]
    fn a_form_of_another_place_is_known_as_such() {
        assert!(is_from_here(&headers(&[
            ("sec-fetch-site", "same-origin"),
            ("host", "a")
        ])));
        assert!(!is_from_here(&headers(&[
            ("sec-fetch-site", "cross-site"),
            ("host", "a"),
            ("origin", "https://a")
        ])));
        assert!(!is_from_here(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(is_from_here(&headers(&[
            ("origin", "https://a:8443"),
            ("host", "a:8443")
        ])));
        assert!(!is_from_here(&headers(&[("origin", "https://b"), ("host", "a")])));
        assert!(!is_from_here(&headers(&[("origin", "null"), ("host", "null")])));
        assert!(is_from_here(&headers(&[("host", "a")])));
    }

    #[test]
    fn nobody_is_sent_elsewhere_after_login() {
        assert_eq!(local("/groups/prod?rows=all"), "/groups/prod?rows=all");
        for elsewhere in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "groups",
            "",
            "/a\\b",
            "/a\nb",
            "/\t/b",
        ] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }

    #[test]
    fn what_forms_send_back_is_the_sessions_own() {
        assert_ne!(csrf("one"), csrf("two"));
        assert_eq!((csrf("one"), csrf("one").len()), (csrf("one"), 64));
    }
}
