//! [`Alike`]: what is said of many nodes in the same words, said once.

use std::collections::{BTreeMap, BTreeSet};

/// Stands for a node's name in a text from which it was taken out. No text that is shown has it.
const NAME: char = '\u{0}';
/// So many names are written out.
const NAMED: usize = 3;

/// Texts that differ in the name of a node alone, brought together, with what belongs to each. Only what has the same key comes together.
#[derive(Debug)]
pub struct Alike<K, T> {
    groups: BTreeMap<(K, String), Group<T>>,
}

/// What is said in the same words.
#[derive(Debug)]
pub struct Group<T> {
    /// The nodes of which it is said.
    pub nodes: BTreeSet<String>,
    /// What belongs to it, in the order in which it was added.
    pub items: Vec<T>,
}

impl<K, T> Default for Alike<K, T> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
        }
    }
}

impl<K: Ord, T> Alike<K, T> {
    /// Adds what a text says of the first of these nodes that it names.
    pub fn add(&mut self, key: K, text: &str, nodes: &[&str], item: T) {
        let named = nodes.iter().find_map(|node| Some((*node, without(text, node)?)));
        let (node, text) = match named {
            Some((node, text)) => (Some(node.to_owned()), text),
            None => (None, text.to_owned()),
        };
        let group = self.groups.entry((key, text)).or_insert_with(|| Group {
            nodes: BTreeSet::new(),
            items: Vec::new(),
        });
        group.nodes.extend(node);
        group.items.push(item);
    }

    /// Each text once, with all nodes of which it is said: `agent on west/n1, n2, n3 and 5 more died`.
    pub fn groups(self) -> impl Iterator<Item = (K, String, Group<T>)> {
        self.groups
            .into_iter()
            .map(|((key, text), group)| (key, with(&text, &group.nodes), group))
    }
}

/// A list of names that stays readable: `n1, n2, n3 and 7 more`.
pub fn some_of<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.split_at_checked(NAMED) {
        Some((named, more)) if !more.is_empty() => format!("{} and {} more", named.join(", "), more.len()),
        _ => names.join(", "),
    }
}

/// The text without a node's name, so that what is said of others in the same words is the same text.
pub fn without_name(text: &str, name: &str) -> String {
    without(text, name).unwrap_or_else(|| text.to_owned())
}

/// The text with this name where [`without_name`] took one out.
pub fn with_name(text: &str, name: &str) -> String {
    text.replace(NAME, name)
}

/// The text without this name, wherever it stands as a whole; `None` where it does not.
fn without(text: &str, name: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut kept = String::with_capacity(text.len());
    let mut end_of_last = 0;
    for (at, _) in text.match_indices(name).filter(|_| !name.is_empty()) {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        // A full stop ends a sentence unless a name goes on behind it.
        let mut next = after.chars();
        let goes_on = match next.next() {
            Some('.') => next.next().is_some_and(is_part),
            next => next.is_some_and(is_part),
        };
        if before.chars().next_back().is_some_and(is_part) || goes_on {
            continue;
        }
        kept.push_str(&text[end_of_last..at]);
        kept.push(NAME);
        end_of_last = at + name.len();
    }
    (end_of_last > 0).then(|| kept + &text[end_of_last..])
}

/// The text with these names where one was taken out. Several are listed once.
fn with(text: &str, names: &BTreeSet<String>) -> String {
    match names.first() {
        None => text.to_owned(),
        Some(only) if names.len() == 1 => with_name(text, only),
        Some(_) => text.replacen(NAME, &some_of(names), 1).replace(NAME, "…"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Alike, some_of};

    fn texts(said: &[(&str, &[&str])]) -> Vec<(String, usize)> {
        let mut alike = Alike::default();
        for (text, nodes) in said {
            alike.add((), text, nodes, ());
        }
        alike
            .groups()
            .map(|((), text, group)| (text, group.items.len()))
            .collect()
    }

    fn one(text: &str, count: usize) -> Vec<(String, usize)> {
        vec![(text.to_owned(), count)]
    }

    #[test]
    fn what_is_said_of_many_is_said_once_with_their_names() {
        let names: Vec<String> = (1..=5).map(|number| format!("n{number}")).collect();
        let said: Vec<(String, [&str; 1])> = names
            .iter()
            .map(|name| {
                (
                    format!("agent on west/{name} died: node {name} is gone."),
                    [name.as_str()],
                )
            })
            .collect();
        let said: Vec<(&str, &[&str])> = said.iter().map(|(text, names)| (text.as_str(), &names[..])).collect();
        assert_eq!(
            texts(&said),
            one("agent on west/n1, n2, n3 and 2 more died: node … is gone.", 5)
        );
    }

    #[test]
    fn what_is_said_of_one_is_said_as_it_was() {
        let text = "agent on west/n1 died: node n1 is gone";
        assert_eq!(texts(&[(text, &["n1"]), (text, &["n1", "n7"])]), one(text, 2));
        assert_eq!(
            texts(&[("the probe never ran", &["n1"])]),
            one("the probe never ran", 1)
        );
    }

    #[test]
    fn a_name_in_another_is_not_that_name() {
        let said = texts(&[("no agent on n1", &["n1"]), ("no agent on n10", &["n1", "n10"])]);
        assert_eq!(said, one("no agent on n1, n10", 2));
        assert_eq!(
            texts(&[("no agent on n1.example", &["n1"])]),
            one("no agent on n1.example", 1)
        );
        assert_eq!(
            texts(&[("pod agent-n1 is gone", &["n1"]), ("pod agent-n2 is gone", &["n2"])]).len(),
            2
        );
    }

    #[test]
    fn different_words_and_different_keys_stay_apart() {
        assert_eq!(texts(&[("n1 died", &["n1"]), ("n2 hung", &["n2"])]).len(), 2);
        let mut alike = Alike::default();
        alike.add(1, "n1 died", &["n1"], ());
        alike.add(2, "n2 died", &["n2"], ());
        assert_eq!(alike.groups().count(), 2);
    }

    #[test]
    fn a_long_list_of_names_stays_readable() {
        let names: Vec<String> = (1..=998).map(|number| format!("n{number}")).collect();
        assert_eq!(some_of(&names), "n1, n2, n3 and 995 more");
        assert_eq!(some_of(&names[..2]), "n1, n2");
        assert_eq!(some_of(&names[..0]), "");
    }
}
