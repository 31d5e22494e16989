//! A list of objects that is kept up to date by a watch.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Resource;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;

/// Before a server that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// The objects that a selector finds.
pub(super) struct Followed<K> {
    api: Api<K>,
    labels: String,
    fields: String,
    objects: BTreeMap<String, K>,
    events: Option<BoxStream<'static, kube::Result<WatchEvent<K>>>>,
}

impl<K> Followed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Nothing is asked before the first [`changed`](Self::changed).
    pub(super) fn new(api: Api<K>, labels: &str, fields: &str) -> Self {
        Self {
            api,
            labels: labels.to_owned(),
            fields: fields.to_owned(),
            objects: BTreeMap::new(),
            events: None,
        }
    }

    /// The objects as they are known.
    pub(super) fn objects(&self) -> Vec<K> {
        self.objects.values().cloned().collect()
    }

    /// Waits until something is different, or the list has been read anew. An error is the server's last word: asked again, it may have another.
    ///
    /// May be dropped and called again at any time.
    pub(super) async fn changed(&mut self) -> kube::Result<()> {
        loop {
            let Some(events) = &mut self.events else {
                return self.read().await;
            };
            match events.try_next().await {
                Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    self.objects.insert(key(&object), object);
                    return Ok(());
                }
                Ok(Some(WatchEvent::Deleted(object))) => {
                    self.objects.remove(&key(&object));
                    return Ok(());
                }
                Ok(Some(WatchEvent::Bookmark(_))) => {}
                // It ended, broke off or is too old.
                Ok(Some(WatchEvent::Error(_)) | None) | Err(_) => self.events = None,
            }
        }
    }

    async fn read(&mut self) -> kube::Result<()> {
        let list = self
            .api
            .list(&ListParams::default().labels(&self.labels).fields(&self.fields))
            .await?;
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        self.objects = list.items.into_iter().map(|object| (key(&object), object)).collect();
        let params = WatchParams::default().labels(&self.labels).fields(&self.fields);
        self.events = Some(self.api.watch(&params, &version).await?.boxed());
        Ok(())
    }

    /// As [`changed`](Self::changed), with a pause after an error; gives it when it is one that waiting does not heal.
    pub(super) async fn changed_or_refused(&mut self) -> kube::Result<()> {
        match self.changed().await {
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => Err(kube::Error::Api(status)),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn key(object: &impl Resource) -> String {
    object
        .meta()
        .uid
        .clone()
        .or_else(|| object.meta().name.clone())
        .unwrap_or_default()
}
