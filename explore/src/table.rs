//! The result of a sweep: one row a point.

use serde::Serialize;

/// A column: what its values mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Name, in CSV and JSON alike; units last. A hardware parameter's column has the parameter's key.
    pub name: String,
    /// Unit of the values; empty for names, flags and bare counts.
    pub unit: String,
    /// One sentence.
    pub doc: String,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Not there: the point does not fit, or was skipped.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A count.
    Integer(u64),
    /// A measure.
    Number(f64),
    /// A name or a sentence.
    Text(String),
}

/// All points, in the order of the space.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<Value>>,
}
