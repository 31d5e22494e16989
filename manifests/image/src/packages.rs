//! What the agents are made of: the bill of materials (CycloneDX) and the licences' texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::build;

/// A crate that is in the agents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    name: String,
    version: String,
    license: String,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The crates that are linked into the agents: those of the cluster agent, among which are those of the node agent.
pub(crate) fn of_the_agents() -> Result<Vec<Package>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(build::workspace());
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-musl",
    ]);
    let output = cargo.output().context("cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    linked(&serde_json::from_slice(&output.stdout)?, "prejoin-agent")
}

/// What a package is linked with, itself included: neither what builds it nor what tests it.
fn linked(metadata: &Metadata, root: &str) -> Result<Vec<Package>> {
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let root = metadata
        .packages
        .iter()
        .find(|package| package.name == root)
        .context("the agents are not in the workspace")?;
    let mut seen = BTreeSet::new();
    let mut todo = vec![root.id.as_str()];
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
        let linked = node
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        todo.extend(linked.map(|dependency| dependency.pkg.as_str()));
    }
    let packages = metadata
        .packages
        .iter()
        .filter(|package| seen.contains(package.id.as_str()));
    let mut packages: Vec<Package> = packages
        .map(|package| Package {
            name: package.name.clone(),
            version: package.version.clone(),
            license: package.license.clone().unwrap_or_default(),
            folder: package.manifest_path.parent().map(Path::to_owned).unwrap_or_default(),
        })
        .collect();
    packages.sort_unstable();
    Ok(packages)
}

/// All texts, each once, with the crates that they are those of.
pub(crate) fn licenses(packages: &[Package]) -> Result<String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in packages {
        let shown = format!("{} {} ({})", package.name, package.version, package.license);
        let mut found = texts_in(&package.folder)?;
        if found.is_empty() && package.folder.starts_with(build::workspace().canonicalize()?) {
            found = texts_in(&build::workspace())?;
        }
        if found.is_empty() {
            without.push(shown.clone());
        }
        for text in found {
            texts.entry(text).or_default().insert(shown.clone());
        }
    }
    let mut all = String::from("The agents of prejoin are made of the crates below, under these licences.\n");
    for (text, packages) in texts {
        let packages: Vec<String> = packages.into_iter().collect();
        write!(
            all,
            "\n{}\n\n{}\n\n{}\n",
            "=".repeat(79),
            packages.join("\n"),
            text.trim()
        )?;
    }
    if !without.is_empty() {
        write!(
            all,
            "\n{}\n\nWithout a text of their own:\n{}\n",
            "=".repeat(79),
            without.join("\n")
        )?;
    }
    Ok(all)
}

/// The licences' texts that a crate brings, in the order of their files' names.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_text = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_text && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    let text = |path: &PathBuf| Ok(String::from_utf8_lossy(&std::fs::read(path)?).replace("\r\n", "\n"));
    files.iter().map(text).collect()
}

/// The bill of materials (CycloneDX 1.5).
pub(crate) fn bill_of_materials(packages: &[Package]) -> Result<Vec<u8>> {
    let purl = |package: &Package| format!("pkg:cargo/{}@{}", package.name, package.version);
    let components: Vec<_> = packages
        .iter()
        .map(|package| {
            json!({
                "type": "library",
                "bom-ref": purl(package),
                "name": package.name,
                "version": package.version,
                "purl": purl(package),
                "licenses": [{ "expression": package.license.replace('/', " OR ") }],
            })
        })
        .collect();
    Ok(serde_json::to_vec_pretty(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "container",
            "name": "prejoin-agent",
            "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        } },
        "components": components,
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_and_what_tests_the_agents_is_not_in_them() {
        let packages = of_the_agents().unwrap();
        let has = |name: &str| packages.iter().any(|package| package.name == name);
        assert!(has("prejoin-agent") && has("prejoin-checks") && has("kube") && has("ring") && has("libc"));
        for absent in ["proptest", "cc", "clap", "prejoin-collector"] {
            assert!(!has(absent), "{absent}");
        }
    }

    #[test]
    fn every_crate_says_its_licence() {
        let packages = of_the_agents().unwrap();
        let silent: Vec<&str> = packages
            .iter()
            .filter(|package| package.license.is_empty())
            .map(|package| package.name.as_str())
            .collect();
        assert!(silent.is_empty(), "{silent:?}");
        let texts = licenses(&packages).unwrap();
        assert!(texts.contains("Apache License") && texts.contains("kube-client"));
    }

    #[test]
    fn the_bill_names_every_crate_by_its_address_and_nothing_of_this_machine() {
        let packages = of_the_agents().unwrap();
        let bill = String::from_utf8(bill_of_materials(&packages).unwrap()).unwrap();
        assert!(bill.contains("pkg:cargo/prejoin-agent@") && bill.contains("\"CycloneDX\""));
        let home = std::env::home_dir().unwrap();
        assert!(!bill.contains(home.to_str().unwrap()));
    }
}
