//! The types as JSON Schema, for the OpenAPI document.
//!
//! What a request may leave out may also be `null` there; what an answer may leave out never is `null` where it is there.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where the document keeps schemas that have a name.
const COMPONENTS: &str = "/components/schemas";

/// The schemas of everything that was asked for.
#[derive(Debug)]
pub struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = COMPONENTS.into();
                settings.meta_schema = None;
            })
        };
        Self {
            requests: settings().with(|settings| settings.transforms = vec![Box::new(tidy_request)]).into_generator(),
            answers: settings()
                .for_serialize()
                .with(|settings| settings.transforms = vec![Box::new(tidy_answer)])
                .into_generator(),
        }
    }
}

impl Schemas {
    /// The schema of what is sent, with a reference where it has a name.
    pub fn request<T: JsonSchema + ?Sized>(&mut self) -> Schema {
        let mut schema = self.requests.subschema_for::<T>();
        tidy_request(&mut schema);
        schema
    }

    /// The schema of what is answered, with a reference where it has a name.
    pub fn answer<T: JsonSchema + ?Sized>(&mut self) -> Schema {
        let mut schema = self.answers.subschema_for::<T>();
        tidy_answer(&mut schema);
        schema
    }

    /// The schema of a query string. What it may leave out is never `null`: there is no such text.
    pub fn query<T: JsonSchema + ?Sized>(&mut self) -> Schema {
        let mut schema = self.request::<T>();
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (_, property) in properties.into_iter().flatten() {
            set_nullable(property, false);
        }
        schema
    }

    /// Every schema that has a name, by that name.
    pub fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        all.extend(self.answers.take_definitions(true));
        all
    }
}

fn tidy_request(schema: &mut Schema) {
    Tidy { is_request: true }.transform(schema);
}

fn tidy_answer(schema: &mut Schema) {
    Tidy { is_request: false }.transform(schema);
}

/// Brings schemas into the short forms that generators of clients know.
struct Tidy {
    is_request: bool,
}

impl Transform for Tidy {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        // What takes anything is `{}`: not every generator knows `true`.
        let fields = schema.ensure_object();
        flatten_choices(fields);
        flatten_null(fields);
        fields.remove("default");
        // The widths of Rust's numbers are nobody's business; bounds of their own have no format.
        if let Some(format) = fields.remove("format").as_ref().and_then(Value::as_str)
            && format.starts_with("uint")
            && fields.get("minimum").and_then(Value::as_u64) == Some(0)
        {
            fields.remove("minimum");
        }
        if fields.get("additionalProperties").and_then(Value::as_object).is_some_and(Map::is_empty) {
            fields.remove("additionalProperties");
        }
        let required: Vec<Value> = fields.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if !required.iter().any(|required| required == name) {
                set_nullable(property, self.is_request);
            }
        }
    }
}

/// Choices that are each a text of their own become one `enum`.
fn flatten_choices(fields: &mut Map<String, Value>) {
    let Some(choices) = fields.get("oneOf").and_then(Value::as_array) else { return };
    let texts: Option<Vec<Value>> =
        choices.iter().map(|choice| choice.get("const").filter(|text| text.is_string()).cloned()).collect();
    if let Some(texts) = texts {
        fields.remove("oneOf");
        fields.insert("type".to_owned(), "string".into());
        fields.insert("enum".to_owned(), texts.into());
    }
}

/// `anyOf` of a plain schema and `null` becomes the schema with `null` among its types.
fn flatten_null(fields: &mut Map<String, Value>) {
    let Some([inner, null]) = fields.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) else { return };
    let is_plain = inner.get("$ref").is_none();
    if null.get("type").and_then(Value::as_str) != Some("null") || !is_plain {
        return;
    }
    let mut inner = inner.clone();
    set_nullable(&mut inner, true);
    fields.remove("anyOf");
    if let Value::Object(inner) = inner {
        for (name, value) in inner {
            fields.entry(name).or_insert(value);
        }
    }
}

/// Adds `null` to what a schema takes, or takes it away.
fn set_nullable(schema: &mut Value, is_nullable: bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    let null = Value::from("null");
    if let Some(kinds) = fields.get_mut("type") {
        let mut all = match kinds.take() {
            Value::Array(kinds) => kinds,
            kind => vec![kind],
        };
        all.retain(|kind| *kind != null);
        if is_nullable {
            all.push(null);
        }
        *kinds = if all.len() == 1 { all.remove(0) } else { all.into() };
        if let Some(Value::Array(choices)) = fields.get_mut("enum") {
            choices.retain(|choice| !choice.is_null());
            if is_nullable {
                choices.push(Value::Null);
            }
        }
        return;
    }
    for name in ["oneOf", "anyOf"] {
        let Some(Value::Array(choices)) = fields.get_mut(name) else { continue };
        choices.retain(|choice| choice.get("type") != Some(&null));
        if is_nullable {
            choices.push(serde_json::Map::from_iter([("type".to_owned(), null)]).into());
        } else if let [only] = choices.as_mut_slice() {
            // What was one of a schema and `null` is that schema.
            if let Value::Object(only) = only.take() {
                fields.remove(name);
                for (name, value) in only {
                    fields.entry(name).or_insert(value);
                }
            }
        }
        return;
    }
}
