//! What a server has to show: collections of objects, recorded, built or generated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::path::{ApiPath, group_version_path};
use crate::fixtures;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One set for the whole cluster.
    Cluster,
    /// One set per namespace.
    Namespaced,
}

/// Kinds that every cluster serves, even when it has no object of them.
const BUILT_IN: [(&str, &str, Scope); 13] = [
    ("v1", "ConfigMap", Scope::Namespaced),
    ("v1", "Endpoints", Scope::Namespaced),
    ("v1", "Namespace", Scope::Cluster),
    ("v1", "Node", Scope::Cluster),
    ("v1", "Pod", Scope::Namespaced),
    ("v1", "Secret", Scope::Namespaced),
    ("v1", "Service", Scope::Namespaced),
    ("apps/v1", "DaemonSet", Scope::Namespaced),
    ("apps/v1", "Deployment", Scope::Namespaced),
    ("discovery.k8s.io/v1", "EndpointSlice", Scope::Namespaced),
    ("networking.k8s.io/v1", "IPAddress", Scope::Cluster),
    ("networking.k8s.io/v1", "NetworkPolicy", Scope::Namespaced),
    ("networking.k8s.io/v1", "ServiceCIDR", Scope::Cluster),
];

/// Everything one API server serves: collections by list path, and discovery documents where they were recorded.
///
/// ```
/// # use prejoin_tests::api_server::Objects;
/// # use serde_json::json;
/// let objects = Objects::new()
///     .version("v1.34.1")
///     .with(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }))
///     .with(json!({ "apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": { "name": "n1" } }));
/// ```
#[derive(Clone, Default)]
pub struct Objects {
    pub(super) documents: BTreeMap<String, Value>,
    pub(super) collections: BTreeMap<String, Arc<Collection>>,
}

/// The objects of one list path.
#[derive(Clone)]
pub(super) struct Collection {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) scope: Scope,
    /// Metadata of the list, as recorded; `resourceVersion` at least.
    pub(super) metadata: Map<String, Value>,
    pub(super) items: Items,
}

#[derive(Clone)]
pub(super) enum Items {
    Stored(Vec<Value>),
    /// The n-th object is made when it is asked for, and not kept.
    Generated {
        count: usize,
        make: Arc<dyn Fn(usize) -> String + Send + Sync>,
    },
}

impl Items {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Stored(items) => items.len(),
            Self::Generated { count, .. } => *count,
        }
    }

    pub(super) fn get(&self, index: usize) -> Cow<'_, Value> {
        match self {
            Self::Stored(items) => Cow::Borrowed(&items[index]),
            Self::Generated { make, .. } => {
                Cow::Owned(serde_json::from_str(&make(index)).expect("generated objects are JSON"))
            }
        }
    }

    /// The object as JSON text.
    pub(super) fn text(&self, index: usize) -> String {
        match self {
            Self::Stored(items) => items[index].to_string(),
            Self::Generated { make, .. } => make(index),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Cow<'_, Value>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl Collection {
    fn new(api_version: &str, kind: &str, scope: Scope) -> Self {
        let metadata = Map::from_iter([("resourceVersion".to_owned(), json!("1000"))]);
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            scope,
            metadata,
            items: Items::Stored(Vec::new()),
        }
    }

    #[expect(clippy::panic, reason = "a test that mixes the two is wrong")]
    /// # Panics
    /// When the items are generated: storing them would defeat their purpose.
    fn stored(&mut self) -> &mut Vec<Value> {
        let Items::Stored(items) = &mut self.items else {
            panic!("{} objects are generated", self.kind)
        };
        items
    }
}

impl Objects {
    /// A Kubernetes 1.33 that serves the built-in kinds and has no object at all.
    pub fn new() -> Self {
        BUILT_IN
            .iter()
            .fold(Self::default(), |objects, (api_version, kind, scope)| {
                objects.kind(api_version, kind, *scope)
            })
            .version("v1.33.0")
    }

    /// The recording in `directory`: one file per request path, named after it with `/` written as `_`.
    ///
    /// # Errors
    /// When the directory cannot be read, holds no recording, or holds something that is not a recorded answer.
    pub fn recorded(directory: &Path) -> anyhow::Result<Self> {
        let mut objects = Self::default();
        let entries = directory
            .read_dir()
            .with_context(|| format!("recording {}", directory.display()))?;
        for entry in entries {
            let file = entry?.path();
            let Some(name) = file
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_suffix(".json"))
            else {
                continue;
            };
            let path = format!("/{}", name.replace('_', "/"));
            let body = std::fs::read(&file)?;
            let body = serde_json::from_slice(&body).with_context(|| format!("recording {}", file.display()))?;
            objects
                .record(path, body)
                .with_context(|| format!("recording {}", file.display()))?;
        }
        ensure!(
            !objects.collections.is_empty(),
            "no recording in {}",
            directory.display()
        );
        Ok(objects)
    }

    /// One of the recorded clusters in `fixtures/clusters`, e.g. `good/east`.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn cluster(name: &str) -> Self {
        let directory = fixtures::path("clusters").join(name);
        Self::recorded(&directory).expect("the repository holds the recording")
    }

    /// Takes one recorded answer: a list becomes a collection, anything else is served as it is.
    fn record(&mut self, path: String, mut body: Value) -> anyhow::Result<()> {
        let Some(api_path) = ApiPath::parse(&path).filter(|p| p.name.is_none()) else {
            self.documents.insert(path, body);
            return Ok(());
        };
        let kind = body["kind"]
            .as_str()
            .and_then(|k| k.strip_suffix("List"))
            .context("not a list")?
            .to_owned();
        let items = match body["items"].take() {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            _ => anyhow::bail!("items is not an array"),
        };
        let namespaced = api_path.namespace.is_some() || items.iter().any(|i| !namespace_of(i).is_empty());
        let collection = Collection {
            api_version: api_path.api_version(),
            kind,
            scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
            metadata: body["metadata"].as_object().cloned().unwrap_or_default(),
            items: Items::Stored(items),
        };
        self.collections.insert(path, Arc::new(collection));
        Ok(())
    }

    /// Says which version `/version` tells, e.g. `v1.31.4`.
    #[must_use]
    pub fn version(mut self, git_version: &str) -> Self {
        let mut numbers = git_version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let version = json!({
            "major": major, "minor": minor, "gitVersion": git_version, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "gc", "platform": "linux/amd64",
        });
        self.documents.insert("/version".into(), version);
        self
    }

    /// Serves a kind without giving it an object: a CRD that is installed and not used.
    #[must_use]
    pub fn kind(mut self, api_version: &str, kind: &str, scope: Scope) -> Self {
        let path = format!("{}/{}", group_version_path(api_version), plural(kind));
        self.collections
            .entry(path)
            .or_insert_with(|| Arc::new(Collection::new(api_version, kind, scope)));
        self
    }

    /// Adds an object, or each object of a `List`, to the collection of its kind and namespace.
    ///
    /// # Panics
    /// When it lacks `apiVersion`, `kind` or `metadata.name`, or its collection is generated or has one of that name
    /// already.
    #[must_use]
    pub fn with(mut self, object: impl Serialize) -> Self {
        let mut object = serde_json::to_value(object).expect("an API object serializes");
        let kind = object["kind"].as_str().expect("an API object has a kind").to_owned();
        if kind == "List"
            && let Value::Array(items) = object["items"].take()
        {
            return items.into_iter().fold(self, Objects::with);
        }
        let api_version = object["apiVersion"]
            .as_str()
            .expect("an API object has an apiVersion")
            .to_owned();
        let name = object["metadata"]["name"]
            .as_str()
            .expect("an API object has a name")
            .to_owned();
        let namespace = namespace_of(&object).to_owned();

        let path = self.list_path_for(&group_version_path(&api_version), &plural(&kind), &namespace);
        let scope = if namespace.is_empty() {
            Scope::Cluster
        } else {
            Scope::Namespaced
        };
        let collection = self
            .collections
            .entry(path)
            .or_insert_with(|| Arc::new(Collection::new(&api_version, &kind, scope)));
        let items = Arc::make_mut(collection).stored();
        assert!(
            !items
                .iter()
                .any(|other| other["metadata"]["name"] == *name && namespace_of(other) == namespace),
            "{kind} {namespace}/{name} is there already"
        );
        items.push(object);
        self
    }

    /// Where an object of this namespace belongs. Where only single namespaces were recorded, a list over all of
    /// them would be incomplete, so none is begun.
    fn list_path_for(&self, group_version_path: &str, resource: &str, namespace: &str) -> String {
        let all = format!("{group_version_path}/{resource}");
        let prefix = format!("{group_version_path}/namespaces/");
        let suffix = format!("/{resource}");
        let recorded_by_namespace = self
            .collections
            .keys()
            .any(|p| p.starts_with(&prefix) && p.ends_with(&suffix));
        if recorded_by_namespace && !namespace.is_empty() && !self.collections.contains_key(&all) {
            format!("{prefix}{namespace}{suffix}")
        } else {
            all
        }
    }

    /// Serves `count` objects of which the n-th is the JSON text `make(n)`, made anew whenever it is asked for.
    ///
    /// `make` gives the same object for the same number every time, and names that differ.
    #[must_use]
    pub fn generate(
        mut self,
        api_version: &str,
        kind: &str,
        scope: Scope,
        count: usize,
        make: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let path = format!("{}/{}", group_version_path(api_version), plural(kind));
        let items = Items::Generated {
            count,
            make: Arc::new(make),
        };
        self.collections.insert(
            path,
            Arc::new(Collection {
                items,
                ..Collection::new(api_version, kind, scope)
            }),
        );
        self
    }

    /// Changes the object at a path such as `/api/v1/nodes/n1`.
    ///
    /// # Panics
    /// When there is none, or when it is generated.
    #[must_use]
    pub fn edit(mut self, path: &str, change: impl FnOnce(&mut Value)) -> Self {
        let api_path = ApiPath::parse(path).expect("a path of the API");
        let (key, index) = self.locate(&api_path).expect("an object at this path");
        let collection = self.collections.get_mut(&key).expect("the object was found in it");
        change(&mut Arc::make_mut(collection).stored()[index]);
        self
    }

    /// Takes away an object (`/api/v1/nodes/n1`), a resource (`/apis/cilium.io/v2/ciliumnodes`), a version of a
    /// group (`/apis/cilium.io/v2`) or a whole group (`/apis/cilium.io`), from discovery too.
    ///
    /// # Panics
    /// When there was nothing at that path.
    #[must_use]
    pub fn remove(mut self, path: &str) -> Self {
        if let Some((key, index)) = ApiPath::parse(path)
            .filter(|p| p.name.is_some())
            .and_then(|api_path| self.locate(&api_path))
        {
            let collection = self.collections.get_mut(&key).expect("the object was found in it");
            Arc::make_mut(collection).stored().remove(index);
            return self;
        }
        let below = format!("{path}/");
        let is_in = |candidate: &str| candidate == path || candidate.starts_with(&below);
        let before = self.collections.len() + self.documents.len();
        self.collections.retain(|key, _| {
            let resource = ApiPath::parse(key)
                .expect("collections are kept by list path")
                .all_namespaces_path();
            key != path && !is_in(&resource)
        });
        self.documents.retain(|key, _| !is_in(key));
        let forgotten = self.forget_in_documents(path);
        assert!(
            forgotten || self.collections.len() + self.documents.len() < before,
            "nothing at {path}"
        );
        self
    }

    /// The objects that a list path such as `/api/v1/nodes` names, one after the other; `None` if it is not served.
    pub fn list(&self, path: &str) -> Option<impl Iterator<Item = Value>> {
        let path = ApiPath::parse(path).filter(|p| p.name.is_none())?;
        let collection = self.collection(&path)?;
        let selected = move |item: &Value| path.namespace.as_deref().is_none_or(|n| namespace_of(item) == n);
        let items = (0..collection.items.len()).map(move |index| collection.items.get(index).into_owned());
        Some(items.filter(selected))
    }

    /// The collection that a list request names, if it is served.
    ///
    /// Where single namespaces were recorded, the others are not known, except those that do not exist: they are empty.
    pub(super) fn collection(&self, path: &ApiPath) -> Option<Arc<Collection>> {
        let known = [path.list_path(), path.all_namespaces_path()]
            .into_iter()
            .find_map(|key| self.collections.get(&key));
        if known.is_some() {
            return known.cloned();
        }
        let namespace = path.namespace.as_deref()?;
        let namespaces = &self.collections.get("/api/v1/namespaces")?.items;
        if namespaces.iter().any(|n| n["metadata"]["name"] == *namespace) {
            return None;
        }
        let document = self.document(&path.group_version_path())?;
        let resource = document["resources"]
            .as_array()?
            .iter()
            .find(|r| r["name"] == *path.resource)?;
        let kind = resource["kind"].as_str()?;
        Some(Arc::new(Collection::new(&path.api_version(), kind, Scope::Namespaced)))
    }

    /// The collection and index of one object.
    pub(super) fn locate(&self, path: &ApiPath) -> Option<(String, usize)> {
        let name = path.name.as_deref()?;
        [path.list_path(), path.all_namespaces_path()]
            .into_iter()
            .find_map(|key| {
                let collection = self.collections.get(&key)?;
                let index = collection.items.iter().position(|item| {
                    item["metadata"]["name"] == *name && namespace_of(&item) == path.namespace.as_deref().unwrap_or("")
                })?;
                Some((key, index))
            })
    }
}

/// `metadata.namespace`, empty for an object that lives in none.
pub(super) fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// The resource name of a kind, by the rule Kubernetes itself guesses with.
pub(super) fn plural(kind: &str) -> String {
    let singular = kind.to_lowercase();
    if singular == "endpoints" {
        return singular;
    }
    match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if singular.ends_with('s') => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}
