//! JSON of the commands: every document has a name, a version and a schema, derived from the very
//! types that are written. The schemas are kept in `docs/schemas/`.

use qnnsim_explore::columns;
use schemars::consts::meta_schemas::DRAFT2020_12 as META_SCHEMA;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Format;
use crate::commands::{compile, cosim, debug, eval, explain, hw, inspect, run, sweep, verify};
use crate::failure::{Failure, print};
use crate::points::Answer;
use crate::render::{Column, table};

/// Something that a command writes as JSON.
pub trait Document: Serialize + JsonSchema {
    /// Name of its schema.
    const NAME: &'static str;
    /// Counts the changes after which a reader of the version before may not find what it reads.
    const VERSION: u32;
}

/// The value of the key `schema` of every document.
fn tag(name: &str, version: u32) -> String {
    format!("qnnsim/{name}/{version}")
}

/// A document as it is written: its schema's name and version, then its own fields.
#[derive(Serialize)]
struct Tagged<'a, D> {
    schema: String,
    #[serde(flatten)]
    document: &'a D,
}

/// A schema, by name.
pub struct Entry {
    /// What `qnnsim schema` calls it.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// Which command writes such documents.
    pub written_by: &'static str,
    schema: fn() -> Schema,
}

macro_rules! documents {
    ($($name:literal $version:literal $document:ty, $written_by:literal;)*) => {
        $(
            impl Document for $document {
                const NAME: &'static str = $name;
                const VERSION: u32 = $version;
            }
        )*

        /// All schemas.
        pub static SCHEMAS: &[Entry] = &[
            $( Entry {
                name: $name,
                version: $version,
                written_by: $written_by,
                schema: schema::<$document>,
            }, )*
            // Its lines have the columns of the table and no others, so no key `schema`:
            // manifest.json has it.
            Entry {
                name: "sweep-row",
                version: 2,
                written_by: "points.jsonl of a sweep, a line",
                schema: row_schema,
            },
        ];
    };
}

documents! {
    "compile" 1 compile::Compiled, "qnnsim compile --format json";
    "compile-point" 1 Answer<compile::Compiled>, "qnnsim compile --points, a line";
    "exactness" 1 compile::Exactness<'_>, "qnnsim compile --explain --format json";
    "run" 2 run::Inference<'_>, "qnnsim run --format json";
    "run-point" 2 Answer<run::Inference<'_>>, "qnnsim run --points, a line";
    "eval" 2 eval::Evaluated, "qnnsim eval --format json";
    "eval-point" 2 Answer<eval::Evaluated>, "qnnsim eval --points, a line";
    "inspect" 1 inspect::Contents<'_>, "qnnsim inspect --format json";
    "hw" 2 hw::Hardware, "qnnsim hw --format json";
    "explain" 1 explain::Explained<'_>, "qnnsim explain --format json";
    "sweep" 1 sweep::Swept<'_>, "qnnsim sweep --format json";
    "sweep-point" 2 Answer<sweep::PointFigures>, "qnnsim sweep --points, a line";
    "sweep-manifest" 1 sweep::ManifestFile<'_>, "manifest.json of a sweep";
    "verify" 1 verify::Verified<'_>, "qnnsim verify --format json";
    "cosim" 1 cosim::Equal<'_>, "qnnsim cosim --format json";
    "debug-line" 1 debug::Answered<'_>, "qnnsim debug --format json, a line";
}

fn row_schema() -> Schema {
    let mut schema = columns::row_schema();
    schema.insert("title".into(), row_tag().into());
    schema.insert("$schema".into(), META_SCHEMA.into());
    schema
}

/// Name and version of the schema of a line of points.jsonl.
pub fn row_tag() -> String {
    let row = SCHEMAS.iter().find(|entry| entry.name == "sweep-row").expect("it is in the table");
    tag(row.name, row.version)
}

/// The schema of a document, its key `schema` included.
fn schema<D: Document>() -> Schema {
    // Sentences are not broken where the source breaks them.
    let sentences = RecursiveTransform(|schema: &mut Schema| {
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    });
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(sentences);
    let mut schema = settings.into_generator().into_root_schema_for::<D>();
    let tag = tag(D::NAME, D::VERSION);
    schema.insert("title".into(), tag.clone().into());
    // A document that is one of several has the key in each.
    let one_of = ["anyOf", "oneOf"].into_iter().find(|&key| schema.get(key).is_some());
    match one_of.and_then(|key| schema.get_mut(key)).and_then(Value::as_array_mut) {
        None => add_tag(schema.as_object_mut(), &tag),
        Some(all) => {
            for one in all.iter_mut().filter_map(Value::as_object_mut) {
                add_tag(Some(one), &tag);
            }
        }
    }
    schema
}

fn add_tag(schema: Option<&mut serde_json::Map<String, Value>>, tag: &str) {
    let Some(schema) = schema else { return };
    let doc = "Name and version of the document's schema.";
    schema.entry("properties").or_insert_with(|| json!({}))["schema"] =
        json!({ "description": doc, "const": tag });
    let required = schema.entry("required").or_insert_with(|| json!([]));
    required.as_array_mut().expect("a list of names").insert(0, "schema".into());
}

impl Entry {
    /// The schema as text, its keys in the order of the alphabet.
    pub fn text(&self) -> String {
        let mut schema = (self.schema)().to_value();
        schema.sort_all_objects();
        serde_json::to_string_pretty(&schema).expect("plain data serializes") + "\n"
    }
}

/// Prints the schema of this name, or lists all of them.
///
/// # Errors
/// Nobody reads, or the device is full.
pub fn print_schema(name: Option<&str>) -> Result<(), Failure> {
    if let Some(entry) = SCHEMAS.iter().find(|entry| Some(entry.name) == name) {
        return print(&entry.text());
    }
    let columns = [Column::Text("schema"), Column::Number("version"), Column::Text("written by")];
    let row = |e: &Entry| vec![e.name.to_owned(), e.version.to_string(), e.written_by.to_owned()];
    print(&table(&columns, SCHEMAS.iter().map(row).collect(), false))
}

/// Prints a report in the form that the user asks for; `text` is the one for people.
///
/// # Errors
/// Nobody reads, or the device is full.
pub fn present<D: Document>(
    format: Format,
    document: &D,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => print(&text()),
        Format::Json => print(&json(document)),
        Format::Jsonl => print(&line(document)),
    }
}

/// A document over several lines.
pub fn json<D: Document>(document: &D) -> String {
    let tagged = Tagged { schema: tag(D::NAME, D::VERSION), document };
    serde_json::to_string_pretty(&tagged).expect("plain data serializes") + "\n"
}

/// A document in one line.
pub fn line<D: Document>(document: &D) -> String {
    let tagged = Tagged { schema: tag(D::NAME, D::VERSION), document };
    serde_json::to_string(&tagged).expect("plain data serializes") + "\n"
}
