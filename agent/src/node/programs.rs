//! Which program holds a socket: `/proc/*/fd`, as far as the agent may look into it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::node::tree::Tree;

/// A machine may have a million open files; names of programs are worth this much time.
const TIME: Duration = Duration::from_secs(1);

/// Names of the programs that hold these sockets, by inode. Those of others' processes are seen with privilege only.
pub(super) fn of_sockets(tree: &Tree, inodes: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let end = Instant::now() + TIME;
    let mut programs = BTreeMap::new();
    // In a container `/proc` has its own processes, and those of the node are in `/host/proc`, if anywhere.
    for tree in [tree.clone(), tree.host()] {
        for process in tree.names("/proc").unwrap_or_default() {
            let Some(process) = process
                .to_str()
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            else {
                continue;
            };
            if programs.len() == inodes.len() || Instant::now() >= end {
                return programs;
            }
            let sockets = sockets_of(&tree, process, inodes);
            if !sockets.is_empty() {
                let name = tree
                    .text(&format!("/proc/{process}/comm"))
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned();
                programs.extend(sockets.into_iter().map(|inode| (inode, name.clone())));
            }
        }
    }
    programs
}

fn sockets_of(tree: &Tree, process: &str, inodes: &BTreeSet<u64>) -> Vec<u64> {
    let files = tree.names(&format!("/proc/{process}/fd")).unwrap_or_default();
    let targets = files
        .iter()
        .filter_map(|file| tree.link(&format!("/proc/{process}/fd/{}", file.to_str()?)).ok());
    targets
        .filter_map(|target| inode(&target))
        .filter(|inode| inodes.contains(inode))
        .collect()
}

/// The inode in `socket:[17021]`.
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_socket_has_the_program_that_has_it_open() {
        let root = tempfile::tempdir().expect("a directory");
        let process = root.path().join("proc/4711");
        fs::create_dir_all(process.join("fd")).expect("made");
        symlink("socket:[17021]", process.join("fd/3")).expect("linked");
        symlink("/dev/null", process.join("fd/0")).expect("linked");
        fs::write(process.join("comm"), "charon\n").expect("written");
        let tree = Tree::new(root.path(), Instant::now() + Duration::from_secs(60));
        let programs = of_sockets(&tree, &BTreeSet::from([17021, 17022]));
        assert_eq!(programs, BTreeMap::from([(17021, "charon".to_owned())]));
    }

    #[test]
    fn what_is_no_socket_has_no_inode() {
        assert_eq!(inode("socket:[17021]"), Some(17021));
        for other in ["socket:[]", "socket:[-1]", "pipe:[1]", "socket:[1", ""] {
            assert_eq!(inode(other), None, "{other}");
        }
    }
}
