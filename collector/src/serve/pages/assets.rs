//! Style sheet, script and icon: part of the program, named after their content so that browsers keep them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::PageError;
use crate::serve::view::ReadError;

/// A file of the pages.
struct Asset {
    address: String,
    kind: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let mut hash = String::new();
        for byte in Sha256::digest(content).iter().take(6) {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        Self {
            address: format!("/assets/{name}-{hash}.{extension}"),
            kind,
            content,
        }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    )
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "live",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("assets/live.js"),
    )
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// The style sheet's address.
pub(super) fn style() -> &'static str {
    &STYLE.address
}

/// The script's address.
pub(super) fn script() -> &'static str {
    &SCRIPT.address
}

/// The icon's address.
pub(super) fn icon() -> &'static str {
    &ICON.address
}

/// Serves a file by the name that its content gives it.
pub(super) async fn asset(Path(file): Path<String>) -> Response {
    let known = [&*STYLE, &*SCRIPT, &*ICON]
        .into_iter()
        .find(|asset| asset.address.strip_prefix("/assets/") == Some(file.as_str()));
    let Some(asset) = known else {
        return PageError::from(ReadError::NotFound("such file".to_owned())).into_response();
    };
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.content).into_response()
}
