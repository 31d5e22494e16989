//! Label and field selectors.

use serde_json::Value;

/// Fields that API servers select by: for every kind, and for some kinds only.
const COMMON_FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];
const FIELDS: [(&str, &[&str]); 4] = [
    ("nodes", &["spec.unschedulable"]),
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "status.phase",
            "status.podIP",
        ],
    ),
    ("secrets", &["type"]),
    ("services", &["spec.clusterIP", "spec.type"]),
];

/// The requirements of a request, all of which have to hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    place: Place,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Label(String),
    /// JSON pointer.
    Field(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// An absent label or field is not in either.
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector` as given in a query.
    ///
    /// # Errors
    /// The message a server refuses the selector with.
    pub(super) fn parse(resource: &str, labels: &str, fields: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_terms(labels) {
            let (key, test) = parse_term(term).ok_or_else(|| format!("unable to parse requirement: {term}"))?;
            requirements.push(Requirement {
                place: Place::Label(key.to_owned()),
                test,
            });
        }
        for term in split_terms(fields) {
            let (key, test) = parse_term(term)
                .filter(|(_, test)| matches!(test, Test::In(_) | Test::NotIn(_)))
                .ok_or_else(|| format!("invalid selector: {term}"))?;
            let supported = COMMON_FIELDS.contains(&key)
                || FIELDS
                    .iter()
                    .any(|(kinds, fields)| *kinds == resource && fields.contains(&key));
            if !supported {
                return Err(format!("field label not supported: {key}"));
            }
            let pointer = format!("/{}", key.replace('.', "/"));
            requirements.push(Requirement {
                place: Place::Field(pointer),
                test,
            });
        }
        Ok(Self { requirements })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = match &requirement.place {
                Place::Label(key) => object["metadata"]["labels"].get(key),
                Place::Field(pointer) => object.pointer(pointer),
            };
            let text = match value {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            };
            match (&requirement.test, text) {
                (Test::Exists, text) => text.is_some(),
                (Test::Absent, text) => text.is_none(),
                (Test::In(values), Some(text)) => values.contains(&text),
                // An absent field counts as the empty string, an absent label as nothing at all.
                (Test::In(values), None) => {
                    matches!(requirement.place, Place::Field(_)) && values.iter().any(String::is_empty)
                }
                (Test::NotIn(values), Some(text)) => !values.contains(&text),
                (Test::NotIn(_), None) => true,
            }
        })
    }
}

/// Splits at the commas that are not within parentheses.
fn split_terms(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
}

fn parse_term(term: &str) -> Option<(&str, Test)> {
    let set = |text: &str| -> Option<Vec<String>> {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    let (key, test) = if let Some((key, values)) = term.split_once(" notin ") {
        (key, Test::NotIn(set(values)?))
    } else if let Some((key, values)) = term.split_once(" in ") {
        (key, Test::In(set(values)?))
    } else if let Some((key, value)) = term.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (key, Test::In(one(value)))
    } else if let Some(key) = term.strip_prefix('!') {
        (key, Test::Absent)
    } else {
        (term, Test::Exists)
    };
    let key = key.trim();
    (!key.is_empty() && !key.contains([' ', '(', ')'])).then_some((key, test))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn labels_select(selector: &str, expected: bool) {
        let object = json!({ "metadata": { "name": "web", "labels": { "app": "web", "tier": "front" } } });
        let parsed = Selector::parse("pods", selector, "").unwrap();
        assert_eq!(parsed.matches(&object), expected, "{selector}");
    }

    #[test]
    fn label_selectors_mean_what_they_mean_to_kubectl() {
        labels_select("", true);
        labels_select("app=web", true);
        labels_select("app==web,tier=front", true);
        labels_select("app=web,tier=back", false);
        labels_select("app!=db", true);
        labels_select("missing!=db", true);
        labels_select("tier", true);
        labels_select("!tier", false);
        labels_select("app in (db, web),tier notin (back)", true);
        labels_select("app in (db)", false);
    }

    #[test]
    fn only_fields_that_servers_index_can_be_selected_by() {
        let object = json!({ "metadata": { "name": "web" }, "status": { "phase": "Running" } });
        let selects = |fields| Selector::parse("pods", "", fields).map(|s| s.matches(&object));
        assert_eq!(selects("metadata.name=web"), Ok(true));
        assert_eq!(selects("metadata.name=web,status.phase!=Running"), Ok(false));
        assert_eq!(selects("spec.nodeName="), Ok(true));
        assert_eq!(
            selects("status.hostIP=10.0.0.1"),
            Err("field label not supported: status.hostIP".into())
        );
        assert!(Selector::parse("nodes", "", "status.phase=Running").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Selector::parse("pods", "app in web", "").is_err());
        assert!(Selector::parse("pods", "", "metadata.name").is_err());
    }
}
