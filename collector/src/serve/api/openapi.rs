//! The description of the API: OpenAPI 3.1, made from the table of operations and the types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::{Operation, PREFIX, of};

/// The description.
pub(super) fn document(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    let problem = of::<Problem>(&mut generator);
    for operation in operations {
        let mut parameters: Vec<Value> = names(operation.path)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        if let Some(query) = operation.query {
            parameters.extend(fields(&query(&mut generator).to_value(), generator.definitions()));
        }
        let (status, answer) = operation.answer;
        let mut described = json!({
            "operationId": operation.id,
            "summary": operation.about,
            "description": format!("Takes the role {}.", operation.role.name()),
            "parameters": parameters,
            "responses": {
                status.to_string(): {
                    "description": "What was asked for.",
                    "content": {"application/json": {"schema": answer(&mut generator)}}
                },
                "default": {
                    "description": "Why not.",
                    "content": {"application/problem+json": {"schema": problem}}
                }
            }
        });
        if let Some(body) = operation.body {
            described["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": body(&mut generator)}}
            });
        }
        let path = paths
            .entry(format!("{PREFIX}{}", operation.path))
            .or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "prejoin",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a prejoin collector knows, and what it can be asked to do. Answers to GET have weak ETags."
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": generator.take_definitions(true)
        }
    })
}

/// The parameters of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
}

/// The fields of a query, which are parameters each.
fn fields(schema: &Value, definitions: &Map<String, Value>) -> Vec<Value> {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let schema = name.and_then(|name| definitions.get(name)).unwrap_or(schema);
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema})
        })
        .collect()
}
