//! Tool schemas from the argument and output types, in as few bytes as they can be said.
//!
//! The derived form names a dialect, a Rust integer format and a null beside every optional; a model reads all of
//! `tools/list` at every start, and some clients warn about formats they do not know.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

/// Returns the schema of a tool's arguments.
pub(crate) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    Arc::new(object::<T>())
}

/// Returns the schema of a tool's structured answers: an answer has `required`, an error has `code`.
///
/// Clients check errors against it too, so it has to admit them.
pub(crate) fn output<T: JsonSchema>(required: &str) -> Arc<JsonObject> {
    let mut schema = object::<T>();
    schema.remove("required");
    schema.insert(
        "anyOf".into(),
        json!([{ "required": [required] }, { "required": ["code"] }]),
    );
    Arc::new(schema)
}

fn object<T: JsonSchema>() -> JsonObject {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings)
        .into_root_schema_for::<T>()
        .to_value();
    slim(&mut schema);
    let Value::Object(mut schema) = schema else {
        unreachable!("tool types are structs, whose schemas are objects");
    };
    // The struct's own doc comment is for us.
    schema.remove("description");
    schema
}

fn slim(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for key in ["$schema", "format", "title"] {
                // Under `properties` these would be names of ours; there they hold objects.
                if object.get(key).is_some_and(Value::is_string) {
                    object.remove(key);
                }
            }
            // What every unsigned number has.
            if object.get("minimum").and_then(Value::as_u64) == Some(0) {
                object.remove("minimum");
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            object.values_mut().for_each(slim);
        }
        Value::Array(items) => items.iter_mut().for_each(slim),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not for the model.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Sample {
        /// How many.
        limit: Option<u32>,
        title: String,
    }

    #[test]
    fn a_schema_says_nothing_twice() {
        assert_eq!(
            Value::Object(object::<Sample>()),
            json!({
                "type": "object",
                "properties": {
                    "limit": { "type": "integer", "description": "How many." },
                    "title": { "type": "string" },
                },
                "required": ["title"],
            })
        );
    }

    #[test]
    fn an_output_schema_admits_errors() {
        let schema = output::<Sample>("title");
        assert_eq!(schema["anyOf"][1], json!({ "required": ["code"] }));
        assert!(!schema.contains_key("required"));
    }
}
