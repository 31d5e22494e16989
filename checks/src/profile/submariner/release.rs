//! Versions, as far as rules compare them.

use std::fmt;

/// A version: major, minor and patch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

/// The first Submariner release whose operator finds Service ranges on clusters with the newer Service allocator.
pub const FINDS_NEW_SERVICE_RANGES: Release = Release(0, 21, 1);

impl Release {
    /// Reads `v1.33.1+k3s1`, `0.21.0-rc1`, `1.27+`: numbers only, and a missing patch number is 0.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches('v').splitn(3, '.');
        let mut number = || {
            let part = parts.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        Some(Self(number()?, number()?, number().unwrap_or(0)))
    }

    /// Major and minor number, which decide whether releases belong together: `0.21`.
    pub fn minor(self) -> String {
        format!("{}.{}", self.0, self.1)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_trimmings() {
        for (text, release) in [
            ("v1.33.1+k3s1", Some(Release(1, 33, 1))),
            ("0.21.0-rc1", Some(Release(0, 21, 0))),
            ("1.27+", Some(Release(1, 27, 0))),
            ("v1.9", Some(Release(1, 9, 0))),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(Release::parse(text), release, "{text}");
        }
        assert!(Release(1, 9, 0) < Release(1, 19, 0));
    }
}
