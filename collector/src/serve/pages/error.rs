//! Pages that say why there is no page.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::layout::Layout;
use super::show;
use crate::serve::view::ReadError;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// What was asked for is not there, or could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The address makes no sense.
    #[error("{0}")]
    BadAddress(String),
    /// Nobody knows who asks.
    #[error("you are not logged in, or not any more")]
    Unknown,
    /// The visitor may not do that.
    #[error("you are not allowed to do that: it takes an operator who is logged in")]
    NotAllowed,
    /// The form was not one of these pages, or of a session that is over.
    #[error("this form is not of your session: open the page again, and send it once more")]
    ForeignForm,
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Read(ReadError::NotFound(_)) => StatusCode::NOT_FOUND,
            Self::Read(ReadError::Failed(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadAddress(_) => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::NotAllowed | Self::ForeignForm => StatusCode::FORBIDDEN,
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = match &self {
            Self::Read(ReadError::NotFound(_)) => "Not found",
            Self::Read(ReadError::Failed(_)) => "Not readable now",
            Self::BadAddress(_) => "That cannot be",
            Self::Unknown => "Not logged in",
            Self::NotAllowed | Self::ForeignForm => "Not allowed",
        };
        let page = Layout::new(title).page(&html! {
            h1 { (title) }
            p { (show(&self.to_string())) }
            p { a href="/" { "All groups" } }
        });
        (status, page).into_response()
    }
}

/// The answer to an address that is no page's.
pub(super) async fn no_such_page() -> PageError {
    ReadError::NotFound("page at this address".to_owned()).into()
}
