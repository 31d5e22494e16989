//! [`Head`]: what kind of document this is, found in one pass that keeps nothing and looks at every text.

use std::fmt;

use prejoin_checks::facts::FACTS_SCHEMA;
use prejoin_checks::report::REPORT_SCHEMA;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{BASELINE_SCHEMA, BUNDLE_SCHEMA, is_harmless};

/// The first look at a document.
pub(super) struct Head {
    pub(super) kind: Kind,
}

/// What a document says it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Facts,
    Bundle,
    /// A bare list, which can only be of facts.
    List,
    Report,
    Baseline,
}

impl Kind {
    fn of<E: Error>(schema: &str) -> Result<Self, E> {
        match schema {
            FACTS_SCHEMA => Ok(Self::Facts),
            BUNDLE_SCHEMA => Ok(Self::Bundle),
            REPORT_SCHEMA => Ok(Self::Report),
            BASELINE_SCHEMA => Ok(Self::Baseline),
            other => Err(E::custom(format!(
                "schema is `{other}`, and this prejoin reads {FACTS_SCHEMA}, {BUNDLE_SCHEMA}, {BASELINE_SCHEMA} and {REPORT_SCHEMA}"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadVisitor)
    }
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a facts file: an object with `schema: {FACTS_SCHEMA}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
        let mut kind = None;
        while let Some(key) = map.next_key::<String>()? {
            check(&key)?;
            if key == "schema" {
                let schema = map.next_value::<String>()?;
                check(&schema)?;
                kind = Some(Kind::of(&schema)?);
            } else {
                map.next_value::<Harmless>()?;
            }
        }
        let kind = kind.ok_or_else(|| {
            A::Error::custom(format!(
                "there is no `schema` in it, so it is no facts file (those say `{FACTS_SCHEMA}`)"
            ))
        })?;
        Ok(Head { kind })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Head, A::Error> {
        while seq.next_element::<Harmless>()?.is_some() {}
        Ok(Head { kind: Kind::List })
    }
}

/// Whether every text of a JSON document is harmless.
pub(crate) fn is_harmless_json(document: &[u8]) -> bool {
    serde_json::from_slice::<Harmless>(document).is_ok()
}

/// Any value, all of whose texts are harmless.
struct Harmless;

fn check<E: Error>(text: &str) -> Result<(), E> {
    match text.chars().find(|c| !is_harmless(*c)) {
        None => Ok(()),
        Some(c) => Err(E::custom(format!(
            "a text holds the character U+{:04X}, which could act on a terminal",
            u32::from(c)
        ))),
    }
}

impl<'de> Deserialize<'de> for Harmless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HarmlessVisitor)
    }
}

struct HarmlessVisitor;

impl<'de> Visitor<'de> for HarmlessVisitor {
    type Value = Harmless;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Harmless, E> {
        check(text).map(|()| Harmless)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Harmless, A::Error> {
        while map.next_entry::<Harmless, Harmless>()?.is_some() {}
        Ok(Harmless)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Harmless, A::Error> {
        while seq.next_element::<Harmless>()?.is_some() {}
        Ok(Harmless)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_unit<E: Error>(self) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_none<E: Error>(self) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Harmless, D::Error> {
        Harmless::deserialize(deserializer)
    }
}
