//! The image as its archive has it: the same for the same programs, and the one that the Dockerfile makes.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A folder with programs that are static, for this machine (`e_machine` of ELF), and do nothing.
fn programs(folder: &Path, machine: u16) -> PathBuf {
    let mut program = vec![0; 64];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[18..20].copy_from_slice(&machine.to_le_bytes());
    let folder = folder.join(machine.to_string());
    fs::create_dir_all(&folder).unwrap();
    for name in ["prejoin-agent", "prejoin-cluster-agent"] {
        fs::write(folder.join(name), &program).unwrap();
    }
    folder
}

/// Packs both architectures from a folder; gives the archive and what is said of it.
fn pack(folder: &Path) -> (Vec<u8>, String) {
    let archive = folder.join("agent.tar");
    let output = Command::new(env!("CARGO_BIN_EXE_prejoin-image"))
        .arg("-o")
        .arg(&archive)
        .arg(format!("--binaries=amd64={}", programs(folder, 62).display()))
        .arg(format!("--binaries=arm64={}", programs(folder, 183).display()))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (fs::read(archive).unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn two_packings_in_two_places_have_one_digest() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ((first, said), (second, said_again)) = (pack(one.path()), pack(other.path()));
    assert_eq!(said, said_again);
    assert!(said.starts_with("sha256:"), "{said}");
    assert!(first == second, "the archives differ");
}

/// The configurations of the images in an archive, by architecture.
fn configurations(archive: &[u8]) -> BTreeMap<String, Value> {
    let mut blobs = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        let name = entry.path().unwrap().display().to_string();
        entry.read_to_end(&mut content).unwrap();
        blobs.insert(name.trim_start_matches("blobs/sha256/").to_owned(), content);
    }
    let read = |descriptor: &Value| -> Value {
        let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
        serde_json::from_slice(&blobs[digest]).unwrap()
    };
    let top: Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
    let images = read(&top["manifests"][0]);
    let images = images["manifests"].as_array().unwrap().iter();
    let all = images.map(|image| {
        let architecture = image["platform"]["architecture"].as_str().unwrap().to_owned();
        (architecture, read(&read(image)["config"])["config"].clone())
    });
    all.collect()
}

/// The instructions of a Dockerfile's last stage: their words by their names.
fn last_stage(dockerfile: &str) -> BTreeMap<String, String> {
    let whole = dockerfile.replace("\\\n", " ");
    let lines: Vec<&str> = whole
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let start = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let instructions = lines[start..].iter().map(|line| line.split_once(' ').unwrap());
    instructions
        .map(|(name, words)| (name.to_owned(), words.to_owned()))
        .collect()
}

#[test]
fn the_dockerfile_makes_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let configurations = configurations(&pack(folder.path()).0);
    let dockerfile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).unwrap();
    let stage = last_stage(&dockerfile);
    assert_eq!(stage["FROM"], "scratch");
    assert_eq!(stage["COPY"], "--from=build /image/ /");
    assert_eq!(configurations.keys().collect::<Vec<_>>(), ["amd64", "arm64"]);
    for (architecture, configuration) in configurations {
        let json = |name: &str| serde_json::from_str::<Value>(&stage[name]).unwrap();
        assert_eq!(configuration["Entrypoint"], json("ENTRYPOINT"), "{architecture}");
        assert_eq!(configuration["Cmd"], json("CMD"), "{architecture}");
        assert_eq!(configuration["User"], stage["USER"].as_str(), "{architecture}");
        assert_eq!(configuration["Env"][0], stage["ENV"].as_str(), "{architecture}");
        for (label, value) in configuration["Labels"].as_object().unwrap() {
            assert!(stage["LABEL"].contains(&format!("{label}={value}")), "{label}={value}");
        }
    }
    // What is copied there is what `prejoin-image --folder` writes, for the architecture that is built for.
    assert!(dockerfile.contains("--package prejoin-image -- --arch \"$TARGETARCH\" --folder /image"));
}
