//! Tells pages that are open that something has changed: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::StreamExt;
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;

use crate::serve::view::{Changed, Reader};

/// What a page listens for; everything without either.
#[derive(Debug, Deserialize)]
pub(super) struct Interest {
    group: Option<String>,
    audit: Option<String>,
}

impl Interest {
    fn meets(&self, changed: &Changed) -> bool {
        self.group.as_ref().is_none_or(|group| *group == changed.group)
            && self
                .audit
                .as_ref()
                .is_none_or(|audit| changed.audit.as_ref() == Some(audit))
    }
}

/// An event called `changed` for each change; what it is about is in its data.
pub(super) async fn events<S: Reader>(
    State(server): State<Arc<S>>,
    Query(interest): Query<Interest>,
) -> impl IntoResponse {
    let changes = BroadcastStream::new(server.changes()).filter_map(move |change| {
        let event = match change {
            Ok(changed) => interest.meets(&changed).then(|| {
                Event::default()
                    .event("changed")
                    .json_data(&changed)
                    .unwrap_or_default()
            }),
            // Some were missed: any of them may have been of interest.
            Err(_) => Some(Event::default().event("changed").data("{}")),
        };
        std::future::ready(event.map(Ok::<_, Infallible>))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}
