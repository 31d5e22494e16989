//! The image itself: blobs by their digest, and an index that names them (OCI image layout 1.0).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build::Architecture;

/// Neither root nor anyone of the host.
const USER: &str = "65532:65532";

/// The image for one architecture: its files with their modes, in the root folder.
pub(crate) struct Image {
    pub(crate) architecture: Architecture,
    pub(crate) files: Vec<(String, u32, Vec<u8>)>,
}

/// An image layout in a tar.
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    /// The digest under which registries will know the image of all architectures.
    pub(crate) digest: String,
}

/// Packs images under one name.
pub(crate) fn archive(name: &str, images: &[Image]) -> Result<Archive> {
    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        manifests.push(manifest(image, &mut blobs)?);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let mut index = blob(
        "application/vnd.oci.image.index.v1+json",
        serde_json::to_vec(&index)?,
        &mut blobs,
    );
    let digest = index["digest"].as_str().unwrap_or_default().to_owned();
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    // containerd takes the whole name from the first, others the tag from the second.
    index["annotations"] = json!({ "io.containerd.image.name": full(name), "org.opencontainers.image.ref.name": tag });
    let top = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [index],
    });
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), 0o644, serde_json::to_vec(&top)?),
    ];
    files.extend(
        blobs
            .into_iter()
            .map(|(digest, content)| (format!("blobs/sha256/{digest}"), 0o644, content)),
    );
    Ok(Archive {
        bytes: tar(&files)?,
        digest,
    })
}

/// A name as containerd keeps it: with the registry that is meant where none is named.
fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

fn manifest(image: &Image, blobs: &mut BTreeMap<String, Vec<u8>>) -> Result<Value> {
    let layer = tar(&image.files)?;
    let content = format!("sha256:{}", sha256(&layer));
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    gzip.write_all(&layer)?;
    let layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish()?, blobs);
    let config = json!({
        "architecture": image.architecture.name(),
        "os": "linux",
        "config": {
            "User": USER,
            "Env": ["PATH=/"],
            "Entrypoint": ["/prejoin-agent"],
            "Cmd": ["wait"],
            "WorkingDir": "/",
            "Labels": labels(),
        },
        "rootfs": { "type": "layers", "diff_ids": [content] },
    });
    let config = blob(
        "application/vnd.oci.image.config.v1+json",
        serde_json::to_vec(&config)?,
        blobs,
    );
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
        "annotations": labels(),
    });
    let mut manifest = blob(
        "application/vnd.oci.image.manifest.v1+json",
        serde_json::to_vec(&manifest)?,
        blobs,
    );
    manifest["platform"] = json!({ "architecture": image.architecture.name(), "os": "linux" });
    Ok(manifest)
}

fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "prejoin-agent",
        "org.opencontainers.image.description": "Agents of prejoin: read a node or a cluster, and probe from it, for an audit.",
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
    })
}

/// Keeps a blob and gives its descriptor.
fn blob(media_type: &str, content: Vec<u8>, blobs: &mut BTreeMap<String, Vec<u8>>) -> Value {
    let digest = sha256(&content);
    let size = content.len();
    blobs.insert(digest.clone(), content);
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A tar of these files, owned by root and made at no time.
fn tar(files: &[(String, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn images() -> Vec<Image> {
        [Architecture::Amd64, Architecture::Arm64]
            .map(|architecture| Image {
                architecture,
                files: vec![
                    (
                        "prejoin-agent".to_owned(),
                        0o755,
                        architecture.name().as_bytes().to_vec(),
                    ),
                    ("LICENSES.txt".to_owned(), 0o644, b"licences".to_vec()),
                ],
            })
            .into_iter()
            .collect()
    }

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(bytes);
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        entries.collect()
    }

    fn document(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
        serde_json::from_slice(content(files, descriptor)).unwrap()
    }

    fn content<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(sha256(content), digest);
        assert_eq!(json!(content.len()), descriptor["size"]);
        content
    }

    #[test]
    fn two_archives_of_the_same_files_are_the_same_bytes() {
        let (first, second) = (
            archive("a/b:1", &images()).unwrap(),
            archive("a/b:1", &images()).unwrap(),
        );
        assert_eq!(first.digest, second.digest);
        assert!(first.bytes == second.bytes);
    }

    #[test]
    fn an_archive_leads_from_its_name_to_the_files_of_each_architecture() {
        let archive = archive("prejoin/agent:1.2", &images()).unwrap();
        let files = files(&archive.bytes);
        let top: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let named = &top["manifests"][0];
        assert_eq!(
            named["annotations"]["io.containerd.image.name"],
            "docker.io/prejoin/agent:1.2"
        );
        assert_eq!(named["digest"], json!(archive.digest));
        let index = document(&files, named);
        for (place, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let entry = &index["manifests"][place];
            assert_eq!(
                entry["platform"],
                json!({ "architecture": architecture, "os": "linux" })
            );
            let manifest = document(&files, entry);
            let config = document(&files, &manifest["config"]);
            assert_eq!(config["architecture"], architecture);
            assert_eq!(config["config"]["User"], USER);
            let mut layer = Vec::new();
            let zipped = content(&files, &manifest["layers"][0]);
            flate2::read::GzDecoder::new(zipped).read_to_end(&mut layer).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
            assert_eq!(self::files(&layer)["prejoin-agent"], architecture.as_bytes());
        }
    }

    #[test]
    fn a_name_without_a_registry_means_the_usual_one() {
        assert_eq!(full("prejoin/agent:1"), "docker.io/prejoin/agent:1");
        assert_eq!(full("agent:1"), "docker.io/library/agent:1");
        assert_eq!(full("registry.example:5000/agent:1"), "registry.example:5000/agent:1");
    }
}
