//! The configuration a kernel was built with, where the node has it.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Reason, Unknown};

use crate::node::tree::Tree;

/// How a feature was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Built {
    /// Into the image.
    In,
    /// As a module.
    AsModule,
}

/// What was built, by name without `CONFIG_`; what is not in it was not built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelConfig {
    /// Which file says so.
    pub(super) path: String,
    built: BTreeMap<String, Built>,
}

impl KernelConfig {
    pub(super) fn built(&self, name: &str) -> Option<Built> {
        self.built.get(name).copied()
    }
}

/// The largest configuration, unpacked.
const TEXT_BYTES: usize = 4 << 20;

/// The configuration of the running kernel, from the first place that has one.
pub(super) fn read(tree: &Tree, release: Option<&str>) -> Result<KernelConfig, Unknown> {
    let packed = "/proc/config.gz";
    match tree.bytes(packed) {
        Ok(bytes) => {
            let text =
                gunzip(&bytes).ok_or_else(|| Unknown::new(Reason::Unparsable, format!("{packed} does not unpack")))?;
            return Ok(parse(packed.to_owned(), &String::from_utf8_lossy(&text)));
        }
        Err(unknown) if unknown.reason != Reason::NotFound => return Err(unknown),
        Err(_) => {}
    }
    let release =
        release.ok_or_else(|| Unknown::not_found("no /proc/config.gz, and the kernel's release is not known"))?;
    let paths = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/modules/{release}/config"),
    ];
    for tree in [tree.clone(), tree.host()] {
        for path in &paths {
            if let Ok(text) = tree.text(path) {
                return Ok(parse(path.clone(), &text));
            }
        }
    }
    Err(Unknown::not_found(format!("no {packed}, {}", paths.join(", "))))
}

fn parse(path: String, text: &str) -> KernelConfig {
    let setting = |line: &str| match line.strip_prefix("CONFIG_")?.split_once('=')? {
        (name, "y") => Some((name.to_owned(), Built::In)),
        (name, "m") => Some((name.to_owned(), Built::AsModule)),
        _ => None,
    };
    KernelConfig {
        path,
        built: text.lines().filter_map(setting).collect(),
    }
}

/// Unpacks a file of gzip (RFC 1952) with one member.
fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[0x1f, 0x8b, 8, flags], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    rest = rest.get(6..)?;
    if flags & 4 != 0 {
        let length = u16::from_le_bytes(*rest.first_chunk()?);
        rest = rest.get(2 + usize::from(length)..)?;
    }
    for text in [8, 16] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..)?;
    }
    let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(rest, TEXT_BYTES).ok()?;
    let length = u32::from_le_bytes(*bytes.last_chunk()?);
    (u32::try_from(unpacked.len()) == Ok(length)).then_some(unpacked)
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = (gunzip(bytes), parse(String::new(), &String::from_utf8_lossy(bytes)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `printf 'CONFIG_VXLAN=y\nCONFIG_GENEVE=m\n' | gzip -9n`.
    const PACKED: &[u8] = include_bytes!("kernel_config/two.gz");

    #[test]
    fn what_is_built_in_as_a_module_or_not_at_all() {
        let config = parse(
            String::new(),
            "#\n# Kernel\nCONFIG_VXLAN=y\nCONFIG_GENEVE=m\n# CONFIG_WIREGUARD is not set\nCONFIG_HZ=250\nCONFIG_X=\"y\"\n",
        );
        assert_eq!(config.built("VXLAN"), Some(Built::In));
        assert_eq!(config.built("GENEVE"), Some(Built::AsModule));
        for name in ["WIREGUARD", "HZ", "X", ""] {
            assert_eq!(config.built(name), None, "{name}");
        }
    }

    #[test]
    fn a_packed_configuration_unpacks_and_half_of_it_does_not() {
        assert_eq!(
            gunzip(PACKED).as_deref(),
            Some(&b"CONFIG_VXLAN=y\nCONFIG_GENEVE=m\n"[..])
        );
        let mut named = PACKED.to_vec();
        named[3] = 8;
        named.splice(10..10, *b"config\0");
        assert_eq!(gunzip(&named), gunzip(PACKED));
        for cut in 0..PACKED.len() {
            assert_eq!(gunzip(&PACKED[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u8>()) {
            let _ = gunzip(&bytes);
            let _ = gunzip(&[&[0x1f, 0x8b, 8, flags][..], &bytes].concat());
        }
    }
}
