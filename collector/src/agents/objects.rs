//! Objects as they are in a cluster: whose they are, applied, removed, waited for.

use futures::TryStreamExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, WatchEvent,
    WatchParams,
};
use serde_json::Value;

use super::manifest::{self, NOT_OF_A_RUN, PART_OF, RUN};
use super::trouble::Trouble;

/// Who we are to server-side apply.
pub(super) const FIELD_MANAGER: &str = "prejoin";

/// A kind that is installed, or once was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
}

impl Kind {
    /// Whether agents for one audit have such an object.
    fn is_of_runs(&self) -> bool {
        self.name == "Namespace" || self.namespaced && !matches!(self.name, "Deployment" | "Secret")
    }

    /// Whether only those have such an object that look at clusters which are joined already, or dial out.
    fn is_of_some(&self) -> bool {
        matches!(self.name, "Service" | "ServiceExport" | "Secret")
    }
}

const fn kind(group: &'static str, name: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind {
        group,
        version: "v1",
        name,
        plural,
        namespaced,
    }
}

/// Every kind of object that is ever installed, in the order of removal: what runs first, the namespace last.
pub(super) const KINDS: [Kind; 14] = [
    Kind {
        version: "v1alpha1",
        ..kind("multicluster.x-k8s.io", "ServiceExport", "serviceexports", true)
    },
    kind("", "Service", "services", true),
    kind("apps", "DaemonSet", "daemonsets", true),
    kind("apps", "Deployment", "deployments", true),
    kind("batch", "Job", "jobs", true),
    kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", true),
    kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", true),
    kind("rbac.authorization.k8s.io", "Role", "roles", true),
    kind("", "Secret", "secrets", true),
    kind("", "ServiceAccount", "serviceaccounts", true),
    kind(
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
    ),
    kind("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    kind("scheduling.k8s.io", "PriorityClass", "priorityclasses", false),
    kind("", "Namespace", "namespaces", false),
];

impl Kind {
    /// The kind of an object.
    fn of(object: &Value) -> Self {
        let kind = manifest::kind(object);
        let known = KINDS.into_iter().find(|known| known.name == kind);
        known.expect("every kind among the manifests is in the table")
    }

    /// The API of this kind, in a namespace if it has any.
    pub(super) fn api(&self, client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
        let group_version = if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        };
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: group_version,
            kind: self.name.to_owned(),
            plural: self.plural.to_owned(),
        };
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        }
    }
}

/// An object in words: `DaemonSet prejoin-system/prejoin-agent`.
pub(super) fn shown(object: &Value) -> String {
    let (kind, name) = (manifest::kind(object), manifest::name(object));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Whose an object is that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// It was applied by this tool: it has our label, and we are among its field managers.
    Us,
    /// It has our label, but others applied it: their names.
    OurManifests(String),
    /// It has nothing to do with us.
    Other,
}

/// Whose an object is.
pub(super) fn owner(object: &DynamicObject) -> Owner {
    let labels = object.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(PART_OF.0)).map(String::as_str) != Some(PART_OF.1) {
        return Owner::Other;
    }
    let entries = object.metadata.managed_fields.iter().flatten();
    let mut applied = entries.filter(|entry| entry.operation.as_deref() == Some("Apply"));
    if applied.any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER)) {
        return Owner::Us;
    }
    let entries = object.metadata.managed_fields.iter().flatten();
    let of_spec = entries.filter(|entry| entry.subresource.is_none());
    let mut managers: Vec<&str> = of_spec.filter_map(|entry| entry.manager.as_deref()).collect();
    managers.dedup();
    Owner::OurManifests(managers.join(", "))
}

/// The object that is there under this one's kind and name.
pub(super) async fn existing(client: &kube::Client, object: &Value) -> Result<Option<DynamicObject>, Trouble> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let api = Kind::of(object).api(client, namespace);
    let found = api.get_opt(manifest::name(object)).await;
    found.map_err(|error| Trouble::of(&format!("get {}", shown(object)), &error))
}

/// Applies an object under our field manager.
pub(super) async fn apply(
    client: &kube::Client,
    object: &Value,
    dry_run: bool,
    force: bool,
) -> Result<DynamicObject, Trouble> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let api = Kind::of(object).api(client, namespace);
    let mut params = PatchParams::apply(FIELD_MANAGER).validation_strict();
    params.dry_run = dry_run;
    params.force = force;
    let applied = api.patch(manifest::name(object), &params, &Patch::Apply(object)).await;
    applied.map_err(|error| Trouble::of(&format!("apply {}", shown(object)), &error))
}

/// Deletes an object if it is ours.
pub(super) async fn remove(client: &kube::Client, object: &Value) -> Result<(), Trouble> {
    let Some(found) = existing(client, object).await? else {
        return Ok(());
    };
    let found = Found::of(Kind::of(object), found);
    if found.owner == Owner::Us {
        found.delete(client, false).await
    } else {
        Ok(())
    }
}

/// Something of ours that is in a cluster.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) owner: Owner,
    pub(super) object: DynamicObject,
}

impl Found {
    pub(super) fn of(kind: Kind, object: DynamicObject) -> Self {
        let metadata = &object.metadata;
        Self {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: owner(&object),
            object,
        }
    }

    /// In words: `DaemonSet prejoin-system/prejoin-agent`.
    pub(super) fn shown(&self) -> String {
        if self.kind.namespaced {
            format!("{} {}/{}", self.kind.name, self.namespace, self.name)
        } else {
            format!("{} {}", self.kind.name, self.name)
        }
    }

    /// Whether it is the same as one that is wanted.
    pub(super) fn is(&self, object: &Value) -> bool {
        self.kind.name == manifest::kind(object) && self.name == manifest::name(object)
    }

    /// Deletes it, if it is still the one that was found; one that is gone is no error.
    pub(super) async fn delete(&self, client: &kube::Client, dry_run: bool) -> Result<(), Trouble> {
        let params = DeleteParams {
            dry_run,
            ..DeleteParams::foreground()
        };
        let params = params.preconditions(Preconditions {
            uid: Some(self.uid.clone()),
            resource_version: None,
        });
        match self.kind.api(client, &self.namespace).delete(&self.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Trouble::of(&format!("delete {}", self.shown()), &error)),
        }
    }

    /// Waits until it is gone, or another has its name.
    pub(super) async fn until_gone(&self, client: &kube::Client) -> Result<(), Trouble> {
        let api = self.kind.api(client, &self.namespace);
        let named = format!("metadata.name={}", self.name);
        let failed = |error: &kube::Error| Trouble::of(&format!("watch {}", self.shown()), error);
        let is_this = |object: &DynamicObject| object.metadata.uid.as_deref() == Some(self.uid.as_str());
        loop {
            let list = api
                .list(&ListParams::default().fields(&named))
                .await
                .map_err(|error| failed(&error))?;
            if !list.items.iter().any(is_this) {
                return Ok(());
            }
            let version = list.metadata.resource_version.unwrap_or_default();
            let events = api.watch(&WatchParams::default().fields(&named), &version).await;
            let events = events.map_err(|error| failed(&error))?;
            futures::pin_mut!(events);
            // A watch that ends or breaks off says nothing: the list is asked again.
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    WatchEvent::Deleted(object) if is_this(&object) => return Ok(()),
                    WatchEvent::Error(_) => break,
                    _ => {}
                }
            }
        }
    }
}

/// Where objects are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// In one namespace, and among what has none.
    Namespace(&'a str),
    /// Everywhere.
    All,
}

/// What of ours is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// What stays.
    Installed,
    /// What is there for this audit.
    OfRun(&'a str),
    /// What is there for any audit.
    OfRuns,
    /// Both.
    Any,
}

impl Which<'_> {
    /// What its labels are selected by.
    pub(super) fn selector(self) -> String {
        match self {
            Self::Installed => NOT_OF_A_RUN.to_owned(),
            Self::OfRun(id) => format!("{RUN}={id}"),
            Self::OfRuns => RUN.to_owned(),
            Self::Any => String::new(),
        }
    }

    /// Whether it has such objects. Who may start agents for one audit need not be allowed to list the others.
    fn has(self, kind: Kind) -> bool {
        match self {
            Self::OfRun(_) | Self::OfRuns => kind.is_of_runs(),
            Self::Installed | Self::Any => true,
        }
    }
}

/// Everything of ours in a cluster.
pub(super) async fn labelled(client: &kube::Client, scope: Scope<'_>, which: Which<'_>) -> Result<Vec<Found>, Trouble> {
    let label = format!("{}={},{}", PART_OF.0, PART_OF.1, which.selector());
    let params = ListParams::default().labels(label.trim_end_matches(','));
    let kinds = KINDS.into_iter().filter(|kind| which.has(*kind));
    let lists = kinds.map(|kind| {
        let params = &params;
        async move {
            let api = match scope {
                Scope::Namespace(namespace) => kind.api(client, namespace),
                Scope::All => Kind {
                    namespaced: false,
                    ..kind
                }
                .api(client, ""),
            };
            match api.list(params).await {
                Ok(list) => Ok(list.items.into_iter().map(|object| Found::of(kind, object)).collect()),
                // A namespace that is not there, or a kind that is not served.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
                // Who may not even list them has made none: that is asked before anything is made.
                Err(kube::Error::Api(status)) if status.code == 403 && kind.is_of_some() => Ok(Vec::new()),
                Err(error) => Err(Trouble::of(&format!("list {}", kind.plural), &error)),
            }
        }
    });
    let found: Vec<Vec<Found>> = futures::future::try_join_all(lists).await?;
    Ok(found.into_iter().flatten().collect())
}
