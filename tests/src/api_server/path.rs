//! Request paths of the Kubernetes API.

/// What a request path names: a collection, or one object in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPath {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group, e.g. `v1`.
    pub version: String,
    /// Namespace, where the path has one.
    pub namespace: Option<String>,
    /// Plural resource name, e.g. `nodes`.
    pub resource: String,
    /// Object name; absent for a list.
    pub name: Option<String>,
}

impl ApiPath {
    /// Reads `/api/v1/...` and `/apis/GROUP/VERSION/...`.
    ///
    /// `None` for everything else: discovery documents, `/version`, subresources.
    pub fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", version, rest),
            ["apis", group, version, rest @ ..] => (*group, version, rest),
            _ => return None,
        };
        let (namespace, resource, name) = match rest {
            [resource] => (None, resource, None),
            [resource, name] => (None, resource, Some(name)),
            ["namespaces", namespace, resource] => (Some(namespace), resource, None),
            ["namespaces", namespace, resource, name] => (Some(namespace), resource, Some(name)),
            _ => return None,
        };
        Some(Self {
            group: group.to_owned(),
            version: (*version).to_owned(),
            namespace: namespace.map(|&n| n.to_owned()),
            resource: (*resource).to_owned(),
            name: name.map(|&n| n.to_owned()),
        })
    }

    /// `v1` or `GROUP/VERSION`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path of the group and version, which is also that of their discovery document.
    pub fn group_version_path(&self) -> String {
        group_version_path(&self.api_version())
    }

    /// Path of the list over all namespaces.
    pub fn all_namespaces_path(&self) -> String {
        format!("{}/{}", self.group_version_path(), self.resource)
    }

    /// Path of the list that holds what this path names: within the namespace, if it has one.
    pub fn list_path(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.group_version_path(), self.resource),
            None => self.all_namespaces_path(),
        }
    }

    /// `nodes` or `ciliumnodes.cilium.io`, as error messages call a resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn group_version_path(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_list_an_object_and_a_namespace_itself() {
        let list = ApiPath::parse("/apis/cilium.io/v2/ciliumnodes").unwrap();
        assert_eq!(
            (list.group.as_str(), list.resource.as_str(), list.name),
            ("cilium.io", "ciliumnodes", None)
        );

        let object = ApiPath::parse("/api/v1/namespaces/kube-system/configmaps/cilium-config").unwrap();
        assert_eq!(object.namespace.as_deref(), Some("kube-system"));
        assert_eq!(object.name.as_deref(), Some("cilium-config"));
        assert_eq!(object.list_path(), "/api/v1/namespaces/kube-system/configmaps");
        assert_eq!(object.all_namespaces_path(), "/api/v1/configmaps");

        let namespace = ApiPath::parse("/api/v1/namespaces/kube-system").unwrap();
        assert_eq!(
            (namespace.resource.as_str(), namespace.name.as_deref()),
            ("namespaces", Some("kube-system"))
        );
    }

    #[test]
    fn leaves_everything_else_alone() {
        for path in [
            "/version",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/",
            "healthz",
        ] {
            assert_eq!(ApiPath::parse(path), None, "{path}");
        }
    }
}
