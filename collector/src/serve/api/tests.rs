use super::*;

#[test]
fn every_operation_is_described_once_with_all_that_it_takes() {
    let document = description();
    let mut ids = std::collections::BTreeSet::new();
    for operation in operations() {
        let path = &document["paths"][format!("{PREFIX}{}", operation.path)];
        let described = &path[operation.method.as_str().to_ascii_lowercase()];
        assert!(ids.insert(operation.id), "{} is there twice", operation.id);
        assert_eq!(described["operationId"], operation.id);
        assert_eq!(described["requestBody"].is_object(), operation.body.is_some());
        let parameters = described["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, operation.path.matches('{').count(), "{}", operation.path);
        assert_eq!(
            parameters.iter().any(|parameter| parameter["in"] == "query"),
            operation.query.is_some(),
            "{}",
            operation.path
        );
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|name| name.as_str()));
                fields.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = description();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let path = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(path).is_some(), "{reference}");
    }
}
