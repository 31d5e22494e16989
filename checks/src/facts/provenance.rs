//! Where a value came from, and why there is none.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a value was read: an object and a field of it, or a rule that stands in for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The object, as a person would name it: `ConfigMap kube-system/cilium-config`.
    pub object: String,
    /// The field or key inside it, empty for the object as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// How the value follows from the object.
    #[serde(default, skip_serializing_if = "Basis::is_read")]
    pub basis: Basis,
}

/// How a value follows from its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The field says so.
    #[default]
    Read,
    /// The field is absent, and this is what the named version does then.
    DefaultOf(String),
    /// The user said so in the configuration file.
    Declared,
    /// Concluded from what was observed: a bound, not the truth.
    Estimate,
}

impl Basis {
    /// Whether the field itself says so.
    pub fn is_read(&self) -> bool {
        *self == Self::Read
    }
}

impl Source {
    /// A value that stands in a field of an object.
    pub fn read(object: impl Into<String>, field: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            field: field.into(),
            basis: Basis::Read,
        }
    }

    /// A value that follows from a field's absence in the named version.
    pub fn default_of(object: impl Into<String>, field: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            field: field.into(),
            basis: Basis::DefaultOf(version.into()),
        }
    }

    /// A value that the user declared.
    pub fn declared(field: impl Into<String>) -> Self {
        Self {
            object: "declared".to_owned(),
            field: field.into(),
            basis: Basis::Declared,
        }
    }

    /// A value concluded from observations.
    pub fn estimate(object: impl Into<String>, field: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            field: field.into(),
            basis: Basis::Estimate,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.basis {
            Basis::Declared => return write!(f, "{} (declared)", self.field),
            _ if self.field.is_empty() => f.write_str(&self.object)?,
            _ => write!(f, "{}  {}", self.object, self.field)?,
        }
        match &self.basis {
            Basis::DefaultOf(version) => write!(f, " (default of {version})"),
            Basis::Estimate => f.write_str(" (estimate)"),
            Basis::Read | Basis::Declared => Ok(()),
        }
    }
}

/// Why a value is not known. The set is closed: what a check does about it depends on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The API server refused to show it; the detail names verb and resource.
    Forbidden,
    /// The server could not be reached, did not answer in time, or did not accept who asks.
    Unreachable,
    /// The server answered with an error of its own.
    ServerError,
    /// What was found could not be understood.
    Unparsable,
    /// An object or field that should be there is not.
    NotFound,
    /// The product or its resource type is not there, so that there is nothing to know.
    NotInstalled,
    /// The user chose not to ask.
    NotAsked,
    /// A planned cluster for which the user declared no such value.
    NotDeclared,
    /// It was read, but is too old to be relied on.
    Stale,
    /// It was read, but the running program cannot be using it: a change that has not been loaded.
    NotInForce,
    /// No agent is there to find out.
    NoAgent,
    /// The agent's owner does not allow it to find out: a target, port or protocol outside what its own arguments name.
    RefusedByAgent,
    /// The user ended the audit before it was found out.
    Interrupted,
    /// The check itself broke: a defect of prejoin.
    CheckFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::ServerError => "server error",
            Self::Unparsable => "unparsable",
            Self::NotFound => "not found",
            Self::NotInstalled => "not installed",
            Self::NotAsked => "not asked",
            Self::NotDeclared => "not declared",
            Self::Stale => "stale",
            Self::NotInForce => "not in force",
            Self::NoAgent => "no agent",
            Self::RefusedByAgent => "refused by the agent",
            Self::Interrupted => "interrupted",
            Self::CheckFailed => "check failed",
        })
    }
}

/// A value that is not known, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Unknown {
    /// The kind of reason.
    pub reason: Reason,
    /// The particulars in one line: `list services: forbidden for user x`.
    pub detail: String,
}

impl Unknown {
    /// A value not known for this reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// A value that should stand in a source but does not.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Reason::NotFound, detail)
    }

    /// A value whose text makes no sense.
    pub fn unparsable(source: &Source, text: &str) -> Self {
        Self::new(Reason::Unparsable, format!("{source}: `{text}` makes no sense"))
    }
}

/// One value with where it was read, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// The value is known.
    Known(Known<T>),
    /// The value is not known.
    Unknown(Unknown),
}

/// A value and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Known<T> {
    /// The value.
    pub value: T,
    /// Where it was read.
    pub source: Source,
}

impl<T> Known<T> {
    /// A value read from a source.
    pub fn new(value: T, source: Source) -> Self {
        Self { value, source }
    }

    /// The same source with another reading of its value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Known<U> {
        Known {
            value: f(self.value),
            source: self.source,
        }
    }
}

impl<T> Fact<T> {
    /// A value read from a source.
    pub fn known(value: T, source: Source) -> Self {
        Self::Known(Known { value, source })
    }

    /// A value that is not known.
    pub fn unknown(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Unknown(Unknown::new(reason, detail))
    }

    /// The value, or why there is none; made for `?` in checks.
    pub fn get(&self) -> Result<&T, Unknown> {
        self.known_value().map(|known| &known.value)
    }

    /// The value with its source, or why there is none.
    pub fn known_value(&self) -> Result<&Known<T>, Unknown> {
        match self {
            Self::Known(known) => Ok(known),
            Self::Unknown(unknown) => Err(unknown.clone()),
        }
    }

    /// The value, if it is known.
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(&known.value),
            Self::Unknown(_) => None,
        }
    }

    /// Why the value is not known, if it is not.
    pub fn why(&self) -> Option<&Unknown> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(unknown) => Some(unknown),
        }
    }

    /// Whether it is known that there is nothing to know.
    pub fn is_not_installed(&self) -> bool {
        self.why().is_some_and(|unknown| unknown.reason == Reason::NotInstalled)
    }
}

impl<T> From<Result<Known<T>, Unknown>> for Fact<T> {
    fn from(result: Result<Known<T>, Unknown>) -> Self {
        match result {
            Ok(known) => Self::Known(known),
            Err(unknown) => Self::Unknown(unknown),
        }
    }
}

/// A fact that a facts file of another version does not hold: unknown, never silently absent.
impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::unknown(Reason::NotFound, "not in these facts")
    }
}
