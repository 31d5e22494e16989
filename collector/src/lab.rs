//! `prejoin lab`: clusters to try prejoin on, and faults between them that can be taken away again.

mod fault;
mod kind;
mod namespaces;
mod program;

use std::io;

use crate::cli::{LabCommand, LabPlace, LabUp, On};
use crate::error::{Error, exit_code};
use crate::output;

pub use fault::Fault;
use kind::Kind;
use namespaces::Namespaces;

/// The clusters of a lab, in the order in which they are made.
const CLUSTERS: [&str; 3] = ["east", "west", "north"];

/// Why a lab cannot be made, or not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Neither kind nor namespaces can be had.
    #[error("no lab can be made here:\n  kind: {kind}\n  namespaces: {namespaces}")]
    Nowhere {
        /// What kind lacks.
        kind: String,
        /// What the lab of namespaces lacks.
        namespaces: String,
    },
    /// What was asked for by `--on` cannot be had.
    #[error("{0}")]
    Lacking(String),
    /// There is no such lab.
    #[error("no lab {0} is up: `prejoin lab up` makes one")]
    NotUp(String),
    /// A cluster of the lab is there before it was made.
    #[error("{0} is there already: `prejoin lab down` takes it away")]
    IsUp(String),
    /// The fault is there already.
    #[error("{0} is broken already")]
    Broken(&'static str),
    /// The lab does not do what it is asked for.
    #[error("{0}")]
    Cannot(String),
    /// A program cannot be started.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
}

/// Does what was asked for.
///
/// # Errors
/// When there is no lab, or it does not do it.
pub fn run(command: &LabCommand) -> Result<u8, Error> {
    match command {
        LabCommand::Up(args) => {
            let up = Provider::to_make(&args.place)?.up(args)?;
            output::stdout(|out| writeln!(out, "{}", up.shown()))?;
        }
        LabCommand::Break(args) => {
            Provider::of(&args.place)?.make(args.fault)?;
            output::say(&format!("{} is broken; `prejoin lab heal` mends it", args.fault.name()));
        }
        LabCommand::Heal(args) => {
            let healed = Provider::of(&args.place)?.heal(args.fault)?;
            let names: Vec<&str> = healed.into_iter().map(Fault::name).collect();
            output::say(&match names.as_slice() {
                [] => "nothing was broken".to_owned(),
                names => format!("mended: {}", names.join(", ")),
            });
        }
        LabCommand::Down(place) => Provider::of(place)?.down()?,
    }
    Ok(exit_code::PASS)
}

/// A lab that was made: what to type next.
#[derive(Debug)]
struct Up {
    /// The file to export as `KUBECONFIG`, where it is not the user's own.
    kubeconfig: Option<String>,
    contexts: Vec<String>,
}

impl Up {
    fn shown(&self) -> String {
        let export = match &self.kubeconfig {
            Some(path) => format!("export KUBECONFIG={path}\n"),
            None => String::new(),
        };
        let contexts = self.contexts.join(" --context ");
        format!("{export}prejoin audit --context {contexts} --agents ephemeral")
    }
}

/// What clusters are made with.
#[derive(Debug)]
enum Provider {
    Kind(Kind),
    Namespaces(Namespaces),
}

impl Provider {
    /// For a lab that is to be made: kind if that works here.
    fn to_make(place: &LabPlace) -> Result<Self, LabError> {
        let kind = || Kind::find(&place.name).map(Self::Kind);
        let namespaces = || Namespaces::find(&place.name).map(Self::Namespaces);
        match place.on {
            Some(On::Kind) => kind().map_err(|lacking| LabError::Lacking(format!("kind: {lacking}"))),
            Some(On::Namespaces) => namespaces().map_err(LabError::Lacking),
            None => kind().or_else(|kind| namespaces().map_err(|namespaces| LabError::Nowhere { kind, namespaces })),
        }
    }

    /// For a lab that is up.
    fn of(place: &LabPlace) -> Result<Self, LabError> {
        if place.on != Some(On::Namespaces)
            && let Ok(kind) = Kind::find(&place.name)
            && !kind.clusters()?.is_empty()
        {
            return Ok(Self::Kind(kind));
        }
        if place.on != Some(On::Kind)
            && let Ok(namespaces) = Namespaces::find(&place.name)
            && namespaces.is_up()
        {
            return Ok(Self::Namespaces(namespaces));
        }
        Err(LabError::NotUp(place.name.clone()))
    }

    fn up(&self, wanted: &LabUp) -> Result<Up, LabError> {
        match self {
            Self::Kind(kind) => kind.up(wanted),
            Self::Namespaces(namespaces) => namespaces.up(wanted),
        }
    }

    fn make(&self, fault: Fault) -> Result<(), LabError> {
        match self {
            Self::Kind(kind) => kind.make(fault),
            Self::Namespaces(namespaces) => namespaces.make(fault),
        }
    }

    /// Gives the faults that were there.
    fn heal(&self, fault: Option<Fault>) -> Result<Vec<Fault>, LabError> {
        match self {
            Self::Kind(kind) => kind.heal(fault),
            Self::Namespaces(namespaces) => namespaces.heal(fault),
        }
    }

    fn down(&self) -> Result<(), LabError> {
        match self {
            Self::Kind(kind) => kind.down(),
            Self::Namespaces(namespaces) => namespaces.down(),
        }
    }
}
