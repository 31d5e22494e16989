//! What sources ask: lists in pages, single objects, and what is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use prejoin_checks::facts::Read;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::config_map::ConfigMaps;
use super::failure::{Failure, JsonFlaw, one_line};
use super::object::or_default;
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

    #[expect(dead_code, reason = "for sources that look for pods by label")]
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
                let path = format!("{}/{name}", collection_path(resource, version, namespace));
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

/// What came of a list so far.
#[derive(Debug, Default)]
struct Tally {
    objects: u64,
    unreadable: u64,
    /// The first object that could not be understood, and why.
    example: String,
}

impl Tally {
    fn flaw(&self, request: &str) -> Option<Unknown> {
        (self.unreadable > 0).then(|| {
            Unknown::new(
                Reason::Unparsable,
                format!(
                    "{request}: {} of {} objects cannot be understood: {}",
                    self.unreadable, self.objects, self.example
                ),
            )
        })
    }
}

/// One page of a list. Items stay text until each is parsed on its own, so that one of a wrong shape does not take the
/// others with it.
struct Page<'a> {
    items: Vec<&'a RawValue>,
    /// The token of the next page; empty on the last.
    next: String,
}

impl<'a> Page<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Text<'a> {
            #[serde(default)]
            metadata: PageMeta,
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
            kind: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct PageMeta {
            #[serde(rename = "continue", default, deserialize_with = "or_default")]
            token: String,
        }
        let text: Text<'_> =
            serde_json::from_slice(body).map_err(|error| Failure::Garbled(JsonFlaw(&error).to_string()))?;
        // Go writes an empty list without its items.
        if text.items.is_none() && !text.kind.is_some_and(|kind| kind.ends_with("List")) {
            return Err(Failure::Garbled("the answer is not a list".to_owned()));
        }
        Ok(Self {
            items: text.items.unwrap_or_default(),
            next: text.metadata.token,
        })
    }

    fn reduce<T, A>(self, kept: &mut A, tally: &mut Tally, reduce: &mut impl FnMut(&mut A, T) -> Result<(), String>)
    where
        T: DeserializeOwned,
    {
        for item in self.items {
            tally.objects += 1;
            let result = serde_json::from_str(item.get())
                .map_err(|error| JsonFlaw(&error).to_string())
                .and_then(|object| reduce(kept, object));
            if let Err(flaw) = result {
                if tally.unreadable == 0 {
                    tally.example = format!("{}: {}", name_of(item), one_line(&flaw));
                }
                tally.unreadable += 1;
            }
        }
    }
}

/// The name of an object that could otherwise not be understood.
fn name_of(item: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    serde_json::from_str::<Named>(item.get()).map_or_else(
        |_| "an object without a name".to_owned(),
        |named| one_line(&named.metadata.name),
    )
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
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}", resource.plural),
        None => format!("{root}/{}", resource.plural),
    }
}

fn page_query(limit: u32, label_selector: Option<&str>, token: &str) -> String {
    let mut query = format!("limit={limit}");
    for (key, value) in [
        ("labelSelector", label_selector.unwrap_or_default()),
        ("continue", token),
    ] {
        if !value.is_empty() {
            query.push('&');
            query.push_str(key);
            query.push('=');
            query.extend(value.bytes().map(percent_encoded));
        }
    }
    query
}

/// One byte of a query value; everything but unreserved characters is escaped.
fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sized {
        size: u8,
    }

    fn sizes(body: &str) -> (Vec<u8>, Tally, Result<String, Failure>) {
        let mut kept = Vec::new();
        let mut tally = Tally::default();
        let mut reduce = |kept: &mut Vec<u8>, object: Sized| {
            kept.push(object.size);
            Ok(())
        };
        let next = Page::parse(body.as_bytes()).map(|page| {
            let next = page.next.clone();
            page.reduce(&mut kept, &mut tally, &mut reduce);
            next
        });
        (kept, tally, next)
    }

    #[test]
    fn a_page_gives_its_objects_and_the_token_of_the_next() {
        let (kept, tally, next) = sizes(r#"{"metadata":{"continue":"abc"},"items":[{"size":1},{"size":2}]}"#);
        assert_eq!((kept, tally.objects, next), (vec![1, 2], 2, Ok("abc".to_owned())));
    }

    #[test]
    fn the_last_page_may_leave_out_what_go_leaves_out() {
        for body in [
            r#"{"kind":"NodeList"}"#,
            r#"{"kind":"NodeList","items":null}"#,
            r#"{"items":[]}"#,
        ] {
            let (kept, _, next) = sizes(body);
            assert_eq!((kept, next), (vec![], Ok(String::new())), "{body}");
        }
    }

    #[test]
    fn one_object_of_a_wrong_shape_is_counted_and_named_and_the_others_are_read() {
        let (kept, tally, next) = sizes(
            r#"{"items":[{"size":1},{"metadata":{"name":"odd"},"size":99999999999999999999},{"size":{}},{"size":3}]}"#,
        );
        assert_eq!((kept, next), (vec![1, 3], Ok(String::new())));
        let flaw = tally.flaw("list things").unwrap();
        assert_eq!(flaw.reason, Reason::Unparsable);
        assert!(
            flaw.detail
                .starts_with("list things: 2 of 4 objects cannot be understood: odd:"),
            "{flaw}"
        );
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for body in [
            "{}",
            "[]",
            "null",
            r#"{"kind":"Status"}"#,
            r#"{"items":[{"size":1}"#,
            "",
            "<html>",
        ] {
            let (_, _, next) = sizes(body);
            assert!(matches!(next, Err(Failure::Garbled(_))), "{body}: {next:?}");
        }
    }

    #[test]
    fn deep_nesting_is_survived() {
        let body = format!(r#"{{"items":[{}]}}"#, "[".repeat(1_000_000));
        let (_, _, next) = sizes(&body);
        assert!(next.is_err());
        let body = format!(r#"{{"items":[{}1{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let (kept, tally, _) = sizes(&body);
        assert_eq!((kept.len(), tally.unreadable), (0, 1));
    }

    #[test]
    fn tokens_and_selectors_are_escaped() {
        assert_eq!(page_query(500, None, ""), "limit=500");
        assert_eq!(
            page_query(5, Some("a in (b,c)"), "x+/=&limit=0"),
            "limit=5&labelSelector=a%20in%20%28b%2Cc%29&continue=x%2B%2F%3D%26limit%3D0"
        );
    }
}
