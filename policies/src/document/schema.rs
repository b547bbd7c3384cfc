//! The JSON Schema of the language: for editors, and for the compiler's own check of shapes.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{
    API_VERSION, AccessRule, DatasetSpec, Envelope, ProtectionRule, Purpose, ReleaseSpec, TestSpec,
    TokenDomain, TransferRule, Vocabulary,
};

/// One schema per kind; each carries the definitions that it refers to.
pub(crate) struct Schemas {
    kinds: BTreeMap<&'static str, Value>,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let mut generator = SchemaGenerator::default();
        let g = &mut generator;
        let mut kinds = BTreeMap::from([
            ("Vocabulary", document::<Vocabulary>(g, "Vocabulary", false)),
            ("Purpose", document::<Purpose>(g, "Purpose", false)),
            ("Dataset", document::<DatasetSpec>(g, "Dataset", false)),
            ("TokenDomain", document::<TokenDomain>(g, "TokenDomain", false)),
            ("AccessRule", document::<AccessRule>(g, "AccessRule", true)),
            ("ProtectionRule", document::<ProtectionRule>(g, "ProtectionRule", true)),
            ("TransferRule", document::<TransferRule>(g, "TransferRule", true)),
            ("Release", document::<ReleaseSpec>(g, "Release", true)),
            ("Test", document::<TestSpec>(g, "Test", false)),
        ]);
        let definitions = Value::Object(generator.take_definitions(true));
        for schema in kinds.values_mut() {
            insert(schema, "$defs", definitions.clone());
        }
        Self { kinds }
    }

    pub(crate) fn of(&self, kind: &str) -> Option<&Value> {
        self.kinds.get(kind)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }
}

/// The JSON Schema of a policy document, for completion and hover text in editors: one schema
/// over all kinds.
pub fn schema() -> Value {
    let mut definitions = Value::Null;
    let mut kinds = Vec::new();
    for (_, mut schema) in Schemas::new().kinds {
        if let Some(d) = schema.as_object_mut().and_then(|o| o.remove("$defs")) {
            definitions = d;
        }
        kinds.push(schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluicegate policy document",
        "oneOf": kinds,
        "$defs": definitions,
    })
}

/// Envelope and contents as one object. Only rules have `effective` and `mode`, and they must
/// say `because`.
fn document<T: JsonSchema>(g: &mut SchemaGenerator, kind: &str, is_rule: bool) -> Value {
    let mut whole = T::json_schema(g).to_value();
    let envelope = Envelope::json_schema(g).to_value();
    let mut properties: Map<String, Value> = Map::new();
    for part in [&envelope, &whole] {
        let more = part.get("properties").and_then(Value::as_object);
        properties.extend(more.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    }
    let mut required = vec![json!("apiVersion"), json!("kind"), json!("metadata")];
    if is_rule {
        required.push(json!("because"));
    } else {
        properties.remove("effective");
        properties.remove("mode");
    }
    required.extend(whole.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    for (key, word) in [("apiVersion", API_VERSION), ("kind", kind)] {
        let about = properties.get(key).and_then(|p| p.get("description")).cloned();
        properties.insert(key.into(), json!({ "const": word, "description": about }));
    }
    if let Some(because) = properties.get_mut("because").filter(|_| is_rule) {
        insert(because, "type", json!("string"));
    }
    insert(&mut whole, "title", json!(kind));
    insert(&mut whole, "properties", Value::Object(properties));
    insert(&mut whole, "required", Value::Array(required));
    whole
}

fn insert(schema: &mut Value, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
