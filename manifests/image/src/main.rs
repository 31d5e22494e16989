//! Packs the agents into a container image: an OCI layout in a tar, made without Docker, a registry or a base image.
//!
//! The same sources give the same bytes: nothing of the machine, the moment or the user gets into it.

mod build;
mod layout;
mod packages;

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use build::Architecture;
use layout::Image;

const HELP: &str = "\
prejoin-image -o FILE [OPTIONS]

  -o, --output FILE        the archive to write: an OCI layout, as `ctr images import`, `docker load` and `skopeo copy` take it
  --name NAME:TAG          the image's name; default: prejoin/agent and the version
  --folder FOLDER          write the files of the image there as well, where it is for one architecture
  --arch ARCH              amd64 or arm64; may be repeated; default: this machine's
  --binaries ARCH=FOLDER   take the agents of an architecture from there instead of building them
";

struct Arguments {
    output: PathBuf,
    folder: Option<PathBuf>,
    name: String,
    architectures: Vec<Architecture>,
    binaries: BTreeMap<Architecture, PathBuf>,
}

fn main() -> Result<()> {
    let Some(arguments) = parse()? else {
        print!("{HELP}");
        return Ok(());
    };
    let packages = packages::of_the_agents()?;
    let documents = [
        ("LICENSES.txt", packages::licenses(&packages)?.into_bytes()),
        ("sbom.cdx.json", packages::bill_of_materials(&packages)?),
    ];
    let mut images = Vec::new();
    for architecture in &arguments.architectures {
        let folder = match arguments.binaries.get(architecture) {
            Some(folder) => folder.clone(),
            None => build::agents(*architecture)?,
        };
        let mut files = Vec::new();
        for program in build::PROGRAMS {
            let path = folder.join(program);
            let content = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            build::must_be_static(&content, *architecture).with_context(|| path.display().to_string())?;
            files.push((program.to_owned(), 0o755, content));
        }
        files.extend(
            documents
                .iter()
                .map(|(name, content)| ((*name).to_owned(), 0o644, content.clone())),
        );
        images.push(Image {
            architecture: *architecture,
            files,
        });
    }
    if let Some(folder) = &arguments.folder {
        let [image] = images.as_slice() else {
            bail!("--folder is for an image of one architecture");
        };
        write_files(folder, image).with_context(|| folder.display().to_string())?;
    }
    let archive = layout::archive(&arguments.name, &images)?;
    let mut out =
        BufWriter::new(File::create(&arguments.output).with_context(|| arguments.output.display().to_string())?);
    out.write_all(&archive.bytes)?;
    out.flush()?;
    println!("{} {} {} bytes", archive.digest, arguments.name, archive.bytes.len());
    Ok(())
}

fn write_files(folder: &Path, image: &Image) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, mode, content) in &image.files {
        let path = folder.join(name);
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, Permissions::from_mode(*mode))?;
    }
    Ok(())
}

fn parse() -> Result<Option<Arguments>> {
    let mut output = None;
    let mut folder = None;
    let mut name = format!("prejoin/agent:{}", env!("CARGO_PKG_VERSION"));
    let mut architectures = Vec::new();
    let mut binaries = BTreeMap::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('o') | Long("output") => output = Some(PathBuf::from(parser.value()?)),
            Long("folder") => folder = Some(PathBuf::from(parser.value()?)),
            Long("name") => name = parser.value()?.string()?,
            Long("arch") => architectures.push(parser.value()?.parse()?),
            Long("binaries") => {
                let value = parser.value()?.string()?;
                let (architecture, folder) = value.split_once('=').context("--binaries is written ARCH=FOLDER")?;
                binaries.insert(architecture.parse()?, PathBuf::from(folder));
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    architectures.extend(binaries.keys().copied());
    if architectures.is_empty() {
        architectures.push(Architecture::here()?);
    }
    architectures.sort_unstable();
    architectures.dedup();
    let Some(output) = output else {
        bail!("say with -o where the archive is to be written");
    };
    Ok(Some(Arguments {
        output,
        folder,
        name,
        architectures,
        binaries,
    }))
}
