//! Versions of Cilium: as image tags say, or as far as the configuration itself gives them away.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::facts::cilium::Cilium;
use crate::facts::provenance::{Reason, Unknown};

/// One release: major, minor, patch. Pre-releases count as the release they lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        match *patch {
            u32::MAX => write!(f, "{major}.{minor}"),
            patch => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// The versions that the running agents may have: one, or a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest possible one.
    pub oldest: Version,
    /// The newest possible one.
    pub newest: Version,
    /// Concluded from the keys of the configuration, no image tag says so.
    pub inferred: bool,
}

/// A text that is no image tag of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no release number")]
pub struct NoVersion(String);

/// `1.20.0`, `v1.20.0-pre.3`, `1.17.1-distribution.2`; `1.18` is any patch of it.
impl FromStr for Versions {
    type Err = NoVersion;

    fn from_str(tag: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let release = tag.trim().trim_start_matches('v').split(['-', '+', '@']).next()?;
            let mut numbers = release.split('.').map(str::parse::<u32>);
            let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            match numbers.next() {
                None => Some((Version(major, minor, 0), Version(major, minor, u32::MAX))),
                Some(patch) => {
                    let version = Version(major, minor, patch.ok()?);
                    numbers.next().is_none().then_some((version, version))
                }
            }
        };
        let (oldest, newest) = parse().ok_or_else(|| NoVersion(tag.to_owned()))?;
        Ok(Self {
            oldest,
            newest,
            inferred: false,
        })
    }
}

/// Keys that every chart from this version on writes and no older one does, whatever its values.
/// Taken from the ConfigMaps that the charts 1.14 to 1.20 render.
const FIRST_WRITTEN: [(Version, &str); 7] = [
    (Version(1, 14, 0), "routing-mode"),
    (Version(1, 15, 0), "max-connected-clusters"),
    (Version(1, 16, 0), "direct-routing-skip-unreachable"),
    (Version(1, 17, 0), "tunnel-source-port-range"),
    (Version(1, 18, 0), "enable-drift-checker"),
    (Version(1, 19, 0), "clustermesh-cache-ttl"),
    (Version(1, 20, 0), "clustermesh-default-global-namespace"),
];
/// A key that all those charts write and nobody has a reason to set by hand: without it no chart wrote the configuration.
const CHART_MARK: &str = "tofqdns-endpoint-max-ip-per-hostname";

impl Versions {
    /// Nothing is known.
    pub const ANY: Self = Self {
        oldest: Version(0, 0, 0),
        newest: Version(u32::MAX, u32::MAX, u32::MAX),
        inferred: true,
    };

    /// The versions of all running agents, during a rollout too; failing that, what the configuration's keys show.
    pub fn of(cilium: &Cilium) -> Self {
        let template = cilium.versions.ok().and_then(|versions| versions.get("agent"));
        let pods = cilium.agent_pods.ok().into_iter().flat_map(BTreeMap::keys);
        let known = template
            .into_iter()
            .chain(pods)
            .filter_map(|tag| tag.parse::<Self>().ok());
        known
            .reduce(|one, other| Self {
                oldest: one.oldest.min(other.oldest),
                newest: one.newest.max(other.newest),
                inferred: false,
            })
            .or_else(|| cilium.config.ok().map(Self::inferred_from))
            .unwrap_or(Self::ANY)
    }

    /// A chart's ConfigMap has the marks of its own and all older versions, and none of newer ones.
    fn inferred_from(config: &BTreeMap<String, String>) -> Self {
        let present = FIRST_WRITTEN.map(|(_, key)| config.contains_key(key));
        let count = present.iter().take_while(|present| **present).count();
        if !config.contains_key(CHART_MARK) || count == 0 || present[count..].contains(&true) {
            return Self::ANY;
        }
        let newest = FIRST_WRITTEN
            .get(count)
            .map_or(Self::ANY.newest, |(Version(major, minor, _), _)| {
                Version(*major, minor - 1, u32::MAX)
            });
        Self {
            oldest: FIRST_WRITTEN[count - 1].0,
            newest,
            inferred: true,
        }
    }

    /// Whether every agent has at least this version; unknown if that depends on what is not known.
    pub fn at_least(&self, version: Version) -> Result<bool, Unknown> {
        if self.oldest >= version {
            Ok(true)
        } else if self.newest < version {
            Ok(false)
        } else {
            Err(Unknown::new(
                Reason::NotFound,
                format!("whether Cilium is at least {version} is not known: {self}"),
            ))
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version(major, minor, patch) = self.oldest;
        if *self == Self::ANY {
            return f.write_str("any Cilium version");
        } else if self.oldest == self.newest {
            write!(f, "Cilium {}", self.oldest)?;
        } else if self.newest == Self::ANY.newest {
            write!(f, "Cilium {major}.{minor} or newer")?;
        } else if (major, minor, u32::MAX) == (self.newest.0, self.newest.1, self.newest.2) && patch == 0 {
            write!(f, "Cilium {major}.{minor}")?;
        } else {
            write!(f, "Cilium {} to {}", self.oldest, self.newest)?;
        }
        f.write_str(if self.inferred { ", as its keys show" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::provenance::{Fact, Source};

    fn tagged(tag: &str, pods: &[&str]) -> Cilium {
        let source = || Source::read("DaemonSet kube-system/cilium", "image");
        Cilium {
            versions: Fact::known(BTreeMap::from([("agent".to_owned(), tag.to_owned())]), source()),
            agent_pods: Fact::known(pods.iter().map(|tag| ((*tag).to_owned(), 1)).collect(), source()),
            ..Cilium::default()
        }
    }

    fn written(keys: &[&str]) -> Cilium {
        let config = keys.iter().map(|key| ((*key).to_owned(), String::new())).collect();
        Cilium {
            config: Fact::known(config, Source::read("ConfigMap kube-system/cilium-config", "")),
            ..Cilium::default()
        }
    }

    #[test]
    fn tags_are_read_with_all_their_decorations() {
        for (tag, expected) in [
            ("1.20.0", "Cilium 1.20.0"),
            ("v1.20.0-pre.3", "Cilium 1.20.0"),
            ("1.17.1-gke.2", "Cilium 1.17.1"),
            ("1.18", "Cilium 1.18"),
        ] {
            assert_eq!(Versions::of(&tagged(tag, &[])).to_string(), expected);
        }
        for tag in ["latest", "1", "1.x.2", "1.2.3.4", "-1.2.3", ""] {
            assert!(tag.parse::<Versions>().is_err(), "{tag}");
        }
    }

    #[test]
    fn a_rollout_spans_the_versions_of_its_pods() {
        let versions = Versions::of(&tagged("1.19.1", &["1.18.4", "1.19.1"]));
        assert_eq!(versions.to_string(), "Cilium 1.18.4 to 1.19.1");
        assert_eq!(versions.at_least(Version(1, 18, 2)), Ok(true));
        assert_eq!(versions.at_least(Version(1, 20, 0)), Ok(false));
        assert!(versions.at_least(Version(1, 19, 0)).is_err());
    }

    #[test]
    fn a_charts_keys_give_its_version_away() {
        let marks: Vec<&str> = FIRST_WRITTEN.iter().map(|(_, key)| *key).collect();
        let of_chart = |count: usize| written(&[&[CHART_MARK], &marks[..count]].concat());
        assert_eq!(Versions::of(&of_chart(1)).to_string(), "Cilium 1.14, as its keys show");
        assert_eq!(Versions::of(&of_chart(5)).at_least(Version(1, 19, 0)), Ok(false));
        assert_eq!(
            Versions::of(&of_chart(7)).to_string(),
            "Cilium 1.20 or newer, as its keys show"
        );
    }

    #[test]
    fn keys_set_by_hand_give_nothing_away() {
        for keys in [
            &["routing-mode", "max-connected-clusters"][..],
            &[CHART_MARK, "routing-mode", "clustermesh-cache-ttl"],
            &[CHART_MARK],
        ] {
            assert_eq!(Versions::of(&written(keys)), Versions::ANY);
        }
        assert!(Versions::ANY.at_least(Version(1, 16, 0)).is_err());
    }
}
