//! What sources ask: lists in pages, single objects, and what is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use prejoin_checks::facts::Read;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::config_map::ConfigMaps;
use super::failure::{Failure, JsonFlaw, one_line};
use super::page::{Page, Tally, escaped, page_query};
use super::permissions::{CONFIG_MAPS, Resource, Verb};
use super::transport::Transport;
use super::{Progress, ReadOptions};

/// A list with more objects is taken for endless: Kubernetes itself is built for 150,000 pods.
const MAX_OBJECTS: u64 = 2_000_000;

/// Something that is asked for once, by whoever needs it first.
type Once<T> = OnceCell<Result<T, Unknown>>;

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// Reads one API server and keeps the list of what was asked.
pub(crate) struct Reader<'a> {
    pub(crate) options: &'a ReadOptions,
    transport: Arc<Transport>,
    reads: Mutex<Vec<Read>>,
    groups: Once<Vec<String>>,
    /// What each group and version serves, by `cilium.io/v2`; the plural names, or why they are not known.
    resources: Mutex<BTreeMap<String, Arc<Once<Vec<String>>>>>,
    config_maps: Mutex<BTreeMap<String, Arc<Once<Arc<ConfigMaps>>>>>,
}

/// Which objects of a resource.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    namespace: Option<&'a str>,
    label_selector: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// All of them, in all namespaces.
    pub(crate) const ALL: Scope<'static> = Scope {
        namespace: None,
        label_selector: None,
    };

    /// Those in one namespace.
    pub(crate) fn namespace(namespace: &'a str) -> Self {
        Self {
            namespace: Some(namespace),
            label_selector: None,
        }
    }

    /// Those of them that a label selector picks, as `app=submariner-gateway`.
    pub(crate) fn labelled(self, label_selector: &'a str) -> Self {
        Self {
            label_selector: Some(label_selector),
            ..self
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(client: kube::Client, options: &'a ReadOptions) -> Self {
        Self {
            options,
            transport: Arc::new(Transport::new(client, options.timeout, options.silence())),
            reads: Mutex::default(),
            groups: OnceCell::new(),
            resources: Mutex::default(),
            config_maps: Mutex::default(),
        }
    }

    /// Every request made so far, in the order of their names.
    pub(crate) fn reads(&self) -> Vec<Read> {
        let mut reads = self.reads.lock().expect(UNPOISONED).clone();
        reads.sort_by(|a, b| a.request.cmp(&b.request));
        reads
    }

    /// The server's version, `v1.36.3`.
    pub(crate) async fn version(&self) -> Result<String, Unknown> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }
        let version: Version = self.read("get /version", "/version").await?;
        Ok(one_line(&version.git_version))
    }

    /// API groups with the versions served, as `cilium.io/v2`.
    pub(crate) async fn served_apis(&self) -> Result<Vec<String>, Unknown> {
        #[derive(Deserialize)]
        struct Groups {
            groups: Vec<Group>,
        }
        #[derive(Deserialize)]
        struct Group {
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "groupVersion")]
            group_version: String,
        }
        self.groups
            .get_or_init(|| async {
                let groups: Groups = self.read("get /apis", "/apis").await?;
                let mut served: Vec<String> = groups
                    .groups
                    .into_iter()
                    .flat_map(|group| group.versions)
                    .map(|version| version.group_version)
                    .collect();
                served.sort_unstable();
                Ok(served)
            })
            .await
            .clone()
    }

    /// Which of a resource's versions is served, the most wanted first; `not installed` if none is.
    pub(crate) async fn version_of(&self, resource: &Resource) -> Result<&'static str, Unknown> {
        self.served_version(resource)
            .await
            .map_err(|failure| failure.into_unknown(&resource.full_name()))
    }

    #[expect(dead_code, reason = "for sources of several products")]
    /// Whether a resource is served, or why that is not known.
    pub(crate) async fn serves(&self, resource: &Resource) -> Result<bool, Unknown> {
        match self.version_of(resource).await {
            Ok(_) => Ok(true),
            Err(unknown) if unknown.reason == Reason::NotInstalled => Ok(false),
            Err(unknown) => Err(unknown),
        }
    }

    async fn served_version(&self, resource: &Resource) -> Result<&'static str, Failure> {
        let wanted = resource.versions.first().copied().unwrap_or("v1");
        if resource.is_always_served() {
            return Ok(wanted);
        }
        // Where discovery is refused, asking for the thing itself is all that is left.
        let Ok(groups) = self.served_apis().await else {
            return Ok(wanted);
        };
        let mut group_is_served = false;
        for version in resource.versions {
            let group_version = format!("{}/{version}", resource.group);
            if !groups.contains(&group_version) {
                continue;
            }
            group_is_served = true;
            match self.resources_of(&group_version).await {
                Ok(plurals) if !plurals.iter().any(|plural| plural == resource.plural) => {}
                // As above: a list of resources that cannot be read forbids nothing.
                Ok(_) | Err(_) => return Ok(version),
            }
        }
        Err(Failure::NotServed(if group_is_served {
            format!("{} does not serve it", resource.group)
        } else {
            format!("{} is not served", resource.group)
        }))
    }

    async fn resources_of(&self, group_version: &str) -> Result<Vec<String>, Unknown> {
        #[derive(Deserialize)]
        struct Resources {
            resources: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let cell = Arc::clone(
            self.resources
                .lock()
                .expect(UNPOISONED)
                .entry(group_version.to_owned())
                .or_default(),
        );
        cell.get_or_init(|| async {
            let path = format!("/apis/{group_version}");
            let resources: Resources = self.read(&format!("get {path}"), &path).await?;
            Ok(resources.resources.into_iter().map(|resource| resource.name).collect())
        })
        .await
        .clone()
    }

    /// Reads one object; an absent one is `not found`.
    pub(crate) async fn get<T>(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<T, Unknown>
    where
        T: DeserializeOwned,
    {
        debug_assert!(
            resource.verbs.contains(&Verb::Get),
            "{} may not be got",
            resource.full_name()
        );
        let mut request = format!("get {}/{name}", resource.full_name());
        if let Some(namespace) = namespace {
            request.push_str(" in ");
            request.push_str(namespace);
        }
        match self.served_version(resource).await {
            Ok(version) => {
                let path = format!("{}/{}", collection_path(resource, version, namespace), escaped(name));
                self.read(&request, &path).await
            }
            Err(failure) => Err(failure.into_unknown(&request)),
        }
    }

    /// Reads all objects of a kind, page by page, into an accumulator.
    ///
    /// `reduce` keeps of each object what matters and may say, without quoting values, what is wrong with it. One
    /// object that cannot be understood makes the whole `unparsable`, since facts with a hole in them would let checks
    /// pass; the rest is read all the same, so that the list of requests says how many there were.
    pub(crate) async fn list<T, A>(
        &self,
        resource: &Resource,
        scope: Scope<'_>,
        reduce: impl FnMut(&mut A, T) -> Result<(), String> + Send,
    ) -> Result<A, Unknown>
    where
        T: DeserializeOwned,
        A: Default + Send,
    {
        debug_assert!(
            resource.verbs.contains(&Verb::List),
            "{} may not be listed",
            resource.full_name()
        );
        let request = list_request(resource, scope);
        let result = match self.served_version(resource).await {
            // Nothing was asked, so nothing is entered in the list of requests.
            Err(failure) => return Err(failure.into_unknown(&request)),
            Ok(version) => {
                let path = collection_path(resource, version, scope.namespace);
                self.pages(&request, &path, scope.label_selector, reduce).await
            }
        };
        match result {
            Ok((kept, tally)) => {
                let flaw = tally.flaw(&request);
                self.enter(&request, Some(tally.objects), flaw.clone());
                flaw.map_or(Ok(kept), Err)
            }
            Err((failure, objects)) => {
                let mut unknown = failure.into_unknown(&request);
                if objects > 0 {
                    unknown.detail = format!("{} (after {objects} objects)", unknown.detail);
                }
                self.enter(&request, None, Some(unknown.clone()));
                self.report(&request, objects, true);
                Err(unknown)
            }
        }
    }

    /// All pages of a list; restarted once when a continue token has become too old.
    async fn pages<T, A>(
        &self,
        request: &str,
        path: &str,
        label_selector: Option<&str>,
        mut reduce: impl FnMut(&mut A, T) -> Result<(), String> + Send,
    ) -> Result<(A, Tally), (Failure, u64)>
    where
        T: DeserializeOwned,
        A: Default + Send,
    {
        let mut kept = A::default();
        let mut tally = Tally::default();
        let mut token = String::new();
        let mut restarted = false;
        // The next page is on its way while the last one is reduced. Dropping the set ends what is under way.
        let mut coming = JoinSet::new();
        let fetch = |token: &str| {
            let transport = Arc::clone(&self.transport);
            let query = page_query(self.options.page_size, label_selector, token);
            let path = format!("{path}?{query}");
            async move { transport.get(&path).await }
        };
        coming.spawn(fetch(""));
        while let Some(fetched) = coming.join_next().await {
            let fetched = fetched.unwrap_or_else(|_| Err(Failure::Broken("the request broke off".to_owned())));
            let body = match fetched {
                Ok(body) => body,
                Err(Failure::Refused(StatusCode::GONE, _)) if !token.is_empty() && !restarted => {
                    restarted = true;
                    kept = A::default();
                    tally = Tally::default();
                    token.clear();
                    coming.spawn(fetch(""));
                    continue;
                }
                Err(Failure::Refused(StatusCode::GONE, _)) if restarted => {
                    return Err((Failure::Expired, tally.objects));
                }
                Err(failure) => return Err((failure, tally.objects)),
            };
            let page = Page::parse(&body).map_err(|failure| (failure, tally.objects))?;
            let next = page.next.clone();
            if !next.is_empty() {
                if next == token || tally.objects > MAX_OBJECTS {
                    return Err((Failure::Garbled("the list has no end".to_owned()), tally.objects));
                }
                self.transport.extend();
                coming.spawn(fetch(&next));
            }
            page.reduce(&mut kept, &mut tally, &mut reduce);
            self.report(request, tally.objects, next.is_empty());
            token = next;
            // A list whose pages are all at hand must not keep the others from running.
            tokio::task::yield_now().await;
        }
        Ok((kept, tally))
    }

    /// The ConfigMaps of one namespace by name. They are listed once, however many sources look at them.
    ///
    /// Releases that Helm keeps in ConfigMaps are left out, since they hold the values of Secrets.
    pub(crate) async fn config_maps(&self, namespace: &str) -> Result<Arc<ConfigMaps>, Unknown> {
        let cell = Arc::clone(
            self.config_maps
                .lock()
                .expect(UNPOISONED)
                .entry(namespace.to_owned())
                .or_default(),
        );
        cell.get_or_init(|| async {
            let scope = Scope::namespace(namespace);
            self.list(&CONFIG_MAPS, scope, |maps: &mut ConfigMaps, map| maps.keep(map))
                .await
                .map(Arc::new)
        })
        .await
        .clone()
    }

    /// Reads one JSON document.
    async fn read<T: DeserializeOwned>(&self, request: &str, path: &str) -> Result<T, Unknown> {
        let result = match self.transport.get(path).await {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| Failure::Garbled(JsonFlaw(&error).to_string())),
            Err(failure) => Err(failure),
        };
        let result = result.map_err(|failure| failure.into_unknown(request));
        match &result {
            Ok(_) => self.enter(request, Some(1), None),
            Err(unknown) => self.enter(request, None, Some(unknown.clone())),
        }
        self.report(request, 1, true);
        result
    }

    fn enter(&self, request: &str, objects: Option<u64>, failure: Option<Unknown>) {
        self.reads.lock().expect(UNPOISONED).push(Read {
            request: request.to_owned(),
            objects,
            failure,
        });
    }

    fn report(&self, request: &str, objects: u64, done: bool) {
        if let Some(progress) = &self.options.progress {
            progress(Progress { request, objects, done });
        }
    }
}

/// `list nodes`, `list configmaps in kube-system`, `list pods in submariner-operator with app=submariner-gateway`.
fn list_request(resource: &Resource, scope: Scope<'_>) -> String {
    let mut request = format!("list {}", resource.full_name());
    if let Some(namespace) = scope.namespace {
        request.push_str(" in ");
        request.push_str(namespace);
    }
    if let Some(selector) = scope.label_selector {
        request.push_str(" with ");
        request.push_str(selector);
    }
    request
}

fn collection_path(resource: &Resource, version: &str, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{}/{version}", resource.group)
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{}/{}", escaped(namespace), resource.plural),
        None => format!("{root}/{}", resource.plural),
    }
}

#[cfg(test)]
mod tests {
    use super::super::permissions::{CILIUM_NODES, CONFIG_MAPS};
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(
            collection_path(&CILIUM_NODES, "v2", None),
            "/apis/cilium.io/v2/ciliumnodes"
        );
        assert_eq!(
            collection_path(&CONFIG_MAPS, "v1", Some("kube-system")),
            "/api/v1/namespaces/kube-system/configmaps"
        );
    }

    #[test]
    fn no_name_turns_a_request_into_another() {
        assert_eq!(
            collection_path(&CONFIG_MAPS, "v1", Some("x/secrets?a=")),
            "/api/v1/namespaces/x%2Fsecrets%3Fa%3D/configmaps"
        );
    }

    #[test]
    fn a_request_says_what_was_asked_for() {
        assert_eq!(list_request(&CILIUM_NODES, Scope::ALL), "list ciliumnodes.cilium.io");
        let scope = Scope::namespace("kube-system").labelled("k8s-app=x");
        assert_eq!(
            list_request(&CONFIG_MAPS, scope),
            "list configmaps in kube-system with k8s-app=x"
        );
    }
}
