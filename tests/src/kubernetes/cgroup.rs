//! Control groups of a lab: each node's pods are below one group, of one name in every hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};

const ROOT: &str = "/sys/fs/cgroup";
/// All groups of all labs begin like this, followed by the number of the process that keeps the lab.
const PREFIX: &str = "prejoin-kubelab-";

/// The name of a lab's groups, and of all that is the lab's: its keeper's number, and one of its own.
pub(super) fn lab_name(number: u32) -> String {
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Mounts the hierarchies anew, in a namespace of mounts where `/sys` was: what is mounted by type is the same everywhere.
pub(super) fn mount_anew() -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let hierarchies: Vec<(&str, &str, &str)> = mounts.lines().filter_map(hierarchy).collect();
    if hierarchies.iter().any(|(path, ..)| *path != ROOT) {
        let small = Some("mode=755,size=1m");
        mount(Some("cgroup"), ROOT, Some("tmpfs"), MsFlags::empty(), small).context("cannot mount control groups")?;
    }
    for (path, kind, options) in hierarchies {
        fs::create_dir_all(path)?;
        let data = (kind == "cgroup").then_some(options);
        mount(Some("cgroup"), path, Some(kind), MsFlags::empty(), data)
            .with_context(|| format!("cannot mount control groups at {path}"))?;
    }
    Ok(())
}

/// A line of `/proc/self/mounts`: where, of which version, which controllers.
fn hierarchy(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split(' ');
    let (_, path, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let controllers = options.trim_start_matches("rw,").trim_start_matches("relatime,");
    (path.starts_with(ROOT) && (kind == "cgroup" || kind == "cgroup2")).then_some((path, kind, controllers))
}

/// Makes a group in every hierarchy, with all that its parents may use.
pub(super) fn make(group: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let mut path = hierarchy;
        for part in Path::new(group) {
            // In the second version a group hands its controllers on only if it is told to.
            if let Ok(controllers) = fs::read_to_string(path.join("cgroup.controllers")) {
                for controller in controllers.split_whitespace() {
                    let on = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
                    on.with_context(|| format!("cannot hand {controller} on from {}", path.display()))?;
                }
            }
            let parent = path.clone();
            path.push(part);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
                _ => {}
            }
            // In the first, a new group may use no processor and no memory at all.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read_to_string(parent.join(file)) {
                    fs::write(path.join(file), value.trim())?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a group with all groups below it; no process is in them any more.
pub(super) fn remove(group: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.join(group);
        if path.exists() {
            remove_folder(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The folders of a group and of all groups below it, in one hierarchy.
pub(super) fn folders(group: &str) -> anyhow::Result<Vec<PathBuf>> {
    // Every process is in a group of every hierarchy.
    let hierarchies = hierarchies()?;
    let of_it = hierarchies.iter().map(|hierarchy| hierarchy.join(group));
    let mut found: Vec<PathBuf> = of_it.filter(|path| path.exists()).take(1).collect();
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let below = folder.read_dir()?.filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        });
        let below: Vec<PathBuf> = below.collect();
        found.extend(below);
        next += 1;
    }
    Ok(found)
}

/// Groups have only groups below them that can be removed: their files go with them.
fn remove_folder(path: &Path) -> io::Result<()> {
    for entry in path.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_folder(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Removes the groups of labs whose keeper was killed.
pub(super) fn sweep() -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        for entry in hierarchy.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_orphan) {
                // Another lab may sweep at the same time; what still has processes in it is not ours to remove.
                let _ = remove_folder(&entry.path());
            }
        }
    }
    Ok(())
}

/// Whether this is the name of something that belongs to a lab whose keeper is gone.
pub(super) fn is_orphan(name: &str) -> bool {
    let keeper = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    keeper.is_some_and(|keeper| !Path::new("/proc").join(keeper).exists())
}

/// Where each hierarchy is mounted.
fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut paths: Vec<PathBuf> = mounts
        .lines()
        .filter_map(hierarchy)
        .map(|(path, ..)| PathBuf::from(path))
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_told_from_other_mounts() {
        let first = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0";
        assert_eq!(
            hierarchy(first),
            Some(("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"))
        );
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0";
        assert_eq!(hierarchy(second).map(|found| found.0), Some("/sys/fs/cgroup"));
        assert_eq!(hierarchy("tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0"), None);
    }

    #[test]
    fn only_what_belongs_to_a_dead_keeper_is_an_orphan() {
        assert!(!is_orphan(&lab_name(1)));
        assert!(is_orphan("prejoin-kubelab-4194999-1"));
        assert!(!is_orphan("system.slice"));
    }
}
