//! What stands at some paths of the node's file system.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use prejoin_checks::facts::kernel::FileKind;
use prejoin_checks::facts::provenance::Unknown;

use crate::node::tree::Tree;

/// Without links in the way: those of the node would lead into the container.
const PATHS: [&str; 8] = [
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/run/NetworkManager",
    "/run/cilium/cgroupv2",
    "/run/systemd/netif",
    "/run/xtables.lock",
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
];
/// The first process namespace of a machine has this number in every kernel.
const FIRST_PROCESS_NAMESPACE: &str = "pid:[4026531836]";

/// What stands at each path that can be seen; a path of which the container shows nothing is left out.
pub(super) fn read(tree: &Tree) -> Result<BTreeMap<String, FileKind>, Unknown> {
    let mounts = mount_points(&tree.text("/proc/self/mountinfo")?);
    let own = !tree.is_whole() || is_nodes_own(tree, &mounts);
    let host = tree.host();
    let mut kinds = BTreeMap::new();
    for path in PATHS {
        // Whether a path is absent can be told from its parent only.
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let shown = [(host.path(parent).is_dir(), &host), (own, tree)]
            .into_iter()
            .find(|(shown, _)| *shown);
        if let Some((_, tree)) = shown
            && let Some(kind) = kind(tree, path, &mounts)
        {
            kinds.insert(path.to_owned(), kind);
        }
    }
    if kinds.is_empty() {
        return Err(Unknown::not_found(
            "the files of this process are not the node's, and nothing of the node is mounted under /host",
        ));
    }
    Ok(kinds)
}

/// A process outside of any container sees the node's files.
fn is_nodes_own(tree: &Tree, mounts: &Mounts) -> bool {
    tree.link("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace == FIRST_PROCESS_NAMESPACE)
        && !mounts.root_is_overlay
}

/// What is mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    points: BTreeSet<String>,
    /// As containers have it.
    root_is_overlay: bool,
}

/// From lines as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`, where the fields before the dash vary in number.
fn mount_points(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let Some((fields, file_system)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = fields.split(' ').nth(4) else {
            continue;
        };
        if point == "/" {
            mounts.root_is_overlay = file_system.starts_with("overlay ");
        }
        mounts.points.insert(point.to_owned());
    }
    mounts
}

/// `None` where it cannot be told.
fn kind(tree: &Tree, path: &str, mounts: &Mounts) -> Option<FileKind> {
    let full = tree.path(path);
    let kind = match full.metadata() {
        Ok(_) if full.to_str().is_some_and(|full| mounts.points.contains(full)) => FileKind::Mount,
        Ok(metadata) if metadata.is_file() => FileKind::File,
        Ok(metadata) if metadata.is_dir() => FileKind::Directory,
        Ok(_) => FileKind::Other,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileKind::Absent,
        Err(_) => return None,
    };
    Some(kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn read_in(root: &Path, mountinfo: &str) -> BTreeMap<String, FileKind> {
        fs::create_dir_all(root.join("proc/self")).expect("made");
        fs::write(root.join("proc/self/mountinfo"), mountinfo).expect("written");
        read(&Tree::new(root, Instant::now() + Duration::from_secs(60))).expect("read")
    }

    #[test]
    fn a_lock_that_is_a_directory_and_a_file_system_that_is_not_mounted() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("run/xtables.lock")).expect("made");
        fs::create_dir_all(root.path().join("sys/fs/bpf")).expect("made");
        fs::create_dir_all(root.path().join("sys/fs/cgroup")).expect("made");
        let cgroup = root.path().join("sys/fs/cgroup");
        let kinds = read_in(
            root.path(),
            &format!(
                "30 23 0:26 / {} rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw\n",
                cgroup.display()
            ),
        );
        assert_eq!(kinds["/run/xtables.lock"], FileKind::Directory);
        assert_eq!(kinds["/sys/fs/bpf"], FileKind::Directory);
        assert_eq!(kinds["/sys/fs/cgroup"], FileKind::Mount);
        assert_eq!(kinds["/opt/cni/bin"], FileKind::Absent);
    }

    #[test]
    fn what_the_node_has_under_host_goes_before_the_containers_own() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("host/run")).expect("made");
        fs::create_dir_all(root.path().join("run/xtables.lock")).expect("made");
        fs::write(root.path().join("host/run/xtables.lock"), "").expect("written");
        assert_eq!(read_in(root.path(), "")["/run/xtables.lock"], FileKind::File);
    }

    #[test]
    fn a_root_that_is_an_overlay_is_a_containers() {
        assert!(mount_points("523 404 0:47 / / rw,relatime - overlay overlay rw,lowerdir=/a\n").root_is_overlay);
        assert_eq!(mount_points("\n1 2\n - \nx - y"), Mounts::default());
    }
}
