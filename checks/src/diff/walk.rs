//! Walks two JSON documents side by side.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Change, Difference, Reading};
use crate::facts::provenance::Source;

/// What differs between two values of one path.
pub(super) fn differences(path: &str, old: &Value, new: &Value) -> Vec<Difference> {
    let mut walk = Walk::default();
    walk.step(path, old, new);
    walk.found
}

/// What differs between two sets of named values; `path` is what the names belong to, if anything.
pub(super) fn named(path: &str, old: BTreeMap<String, Value>, new: BTreeMap<String, Value>) -> Vec<Difference> {
    let place = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}[{name}]")
        }
    };
    let mut walk = Walk::default();
    pairs(old, new, |name, old, new| match (old, new) {
        (Some(old), Some(new)) => walk.step(&place(name), &old, &new),
        (old, new) => walk.one_sided(place(name), old, new),
    });
    walk.found
}

/// A walk through two documents at once.
#[derive(Default)]
struct Walk {
    found: Vec<Difference>,
    /// Where the fact was read that the walk is in.
    source: Option<Source>,
}

impl Walk {
    fn step(&mut self, path: &str, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        match (old, new) {
            (Value::Object(old_fields), Value::Object(new_fields)) => {
                match (Fact::of(old_fields), Fact::of(new_fields)) {
                    (Some(old), Some(new)) => self.facts(path, &old, &new),
                    _ => self.fields(path, old_fields, new_fields),
                }
            }
            (Value::Array(old_items), Value::Array(new_items)) => self.items(path, old_items, new_items),
            _ => self.changed(path, old.clone(), new.clone()),
        }
    }

    fn facts(&mut self, path: &str, old: &Fact<'_>, new: &Fact<'_>) {
        let source = |of: &Value| serde_json::from_value(of.clone()).ok();
        let outer = self.source.clone();
        match (old, new) {
            (
                Fact::Known { value, source: before },
                Fact::Known {
                    value: new_value,
                    source: now,
                },
            ) => {
                self.source = source(now);
                self.step(path, value, new_value);
                self.step(&format!("{path} (source)"), before, now);
            }
            (Fact::Known { source: before, .. }, Fact::Unknown { .. }) => {
                self.source = source(before);
                self.changed(path, old.summary(), new.summary());
                self.mark(Reading::Lost);
            }
            (Fact::Unknown { .. }, Fact::Known { source: now, .. }) => {
                self.source = source(now);
                self.changed(path, old.summary(), new.summary());
                self.mark(Reading::Gained);
            }
            (Fact::Unknown { .. }, Fact::Unknown { .. }) => self.changed(path, old.summary(), new.summary()),
        }
        self.source = outer;
    }

    fn fields(&mut self, path: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let sorted = |fields: &Map<String, Value>| -> BTreeMap<String, Value> {
            fields
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        pairs(sorted(old), sorted(new), |name, old, new| {
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            match (old, new) {
                (Some(old), Some(new)) => self.step(&path, &old, &new),
                (old, new) => self.one_sided(path, old, new),
            }
        });
    }

    fn items(&mut self, path: &str, old: &[Value], new: &[Value]) {
        let before = self.found.len();
        pairs(keyed(old), keyed(new), |key, old, new| {
            let path = match key {
                Key::Name(name, _) => format!("{path}[{name}]"),
                Key::Content(..) => path.to_owned(),
            };
            match (old, new) {
                (Some(old), Some(new)) => self.step(&path, &old, &new),
                (old, new) => self.one_sided(path, old, new),
            }
        });
        // Of plain values, the first is often the one that counts.
        if self.found.len() == before && old.iter().all(is_scalar) {
            self.changed(path, old.into(), new.into());
        }
    }

    fn one_sided(&mut self, path: String, old: Option<Value>, new: Option<Value>) {
        self.found.push(Difference {
            change: if old.is_some() { Change::Removed } else { Change::Added },
            path,
            old,
            new,
            source: self.source.clone(),
            reading: None,
        });
    }

    fn changed(&mut self, path: &str, old: Value, new: Value) {
        self.found.push(Difference {
            change: Change::Changed,
            path: path.to_owned(),
            old: Some(old),
            new: Some(new),
            source: self.source.clone(),
            reading: None,
        });
    }

    /// Says of the last difference that it is about whether there was something to read.
    fn mark(&mut self, reading: Reading) {
        if let Some(last) = self.found.last_mut() {
            last.reading = Some(reading);
        }
    }
}

/// A [`Fact`](crate::facts::provenance::Fact) as JSON has it.
enum Fact<'a> {
    Known { value: &'a Value, source: &'a Value },
    Unknown { detail: &'a Value },
}

impl<'a> Fact<'a> {
    fn of(fields: &'a Map<String, Value>) -> Option<Self> {
        if fields.len() != 1 {
            return None;
        }
        if let Some(known) = fields.get("known") {
            return Some(Self::Known {
                value: known.get("value")?,
                source: known.get("source")?,
            });
        }
        let detail = fields.get("unknown")?.get("detail")?;
        Some(Self::Unknown { detail })
    }

    /// What there is to say in one line.
    fn summary(&self) -> Value {
        match self {
            Self::Known { value, .. } if is_scalar(value) => (*value).clone(),
            Self::Known { .. } => Value::String("known".to_owned()),
            Self::Unknown { detail } => Value::String(format!("unknown: {}", detail.as_str().unwrap_or_default())),
        }
    }
}

/// What an item of a list is recognised by; the number tells apart those that are alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// What it is called.
    Name(String, usize),
    /// All of it, where it has no name.
    Content(String, usize),
}

fn keyed(items: &[Value]) -> BTreeMap<Key, Value> {
    let mut keyed = BTreeMap::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for item in items {
        let name = name(item);
        let text = name.clone().unwrap_or_else(|| item.to_string());
        let nth = seen.entry(text.clone()).or_default();
        let key = if name.is_some() {
            Key::Name(text, *nth)
        } else {
            Key::Content(text, *nth)
        };
        *nth += 1;
        keyed.insert(key, item.clone());
    }
    keyed
}

/// What an object is called in its list: by its name, with its kind and namespace if it has them, or by what stands for a name: the request that
/// was made, the node that was read, the address a route is to, the cable to a gateway.
fn name(item: &Value) -> Option<String> {
    let field = |name: &str| item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(request) = field("request").or_else(|| field("to").filter(|_| item.get("route").is_some())) {
        return Some(request.to_owned());
    }
    // A host port has a node and is one of many there.
    if let Some(node) = field("node").filter(|_| item.get("port").is_none()) {
        return Some(node.to_owned());
    }
    if let Some(cable) = field("cable_name").or_else(|| item.get("endpoint")?.get("cable_name")?.as_str()) {
        return Some(cable.to_owned());
    }
    let name = field("name")?;
    let name = field("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    // The kind of a workload says which list of the API it is in; that of a Service may change.
    Some(match field("kind") {
        Some(kind @ ("DaemonSet" | "Deployment" | "StatefulSet")) => format!("{kind} {name}"),
        _ => name,
    })
}

/// Goes through two maps in the order of their keys.
fn pairs<K: Ord>(
    mut old: BTreeMap<K, Value>,
    new: BTreeMap<K, Value>,
    mut each: impl FnMut(&K, Option<Value>, Option<Value>),
) {
    let mut both: BTreeMap<K, (Option<Value>, Option<Value>)> = BTreeMap::new();
    for (key, new) in new {
        let old = old.remove(&key);
        both.insert(key, (old, Some(new)));
    }
    both.extend(old.into_iter().map(|(key, old)| (key, (Some(old), None))));
    for (key, (old, new)) in both {
        each(&key, old, new);
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}
