//! The result of a sweep: one row a point, as CSV and as JSON lines.

use std::fmt;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// A column: what its values mean.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Column {
    /// Name, in CSV and JSON alike; units last. A hardware parameter's column has the parameter's
    /// key.
    pub name: String,
    /// Unit of the values; empty for names, flags and bare counts.
    pub unit: String,
    /// One sentence.
    pub doc: String,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
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

/// A row as a JSON object.
struct Object<'a>(&'a [Column], &'a [Value]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (column, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(&column.name, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Null => f.write_str("empty"),
            Value::Flag(flag) => flag.fmt(f),
            Value::Integer(n) => n.fmt(f),
            Value::Number(x) => x.fmt(f),
            Value::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl Value {
    /// A number, whatever its kind.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Integer(n) => Some(n as f64),
            Value::Number(x) => Some(x),
            Value::Null | Value::Flag(_) | Value::Text(_) => None,
        }
    }
}

impl Table {
    /// One JSON object a line, its keys in the order of the columns.
    pub fn to_json_lines(&self) -> String {
        let mut out = Vec::new();
        for row in &self.rows {
            serde_json::to_writer(&mut out, &Object(&self.columns, row))
                .expect("plain data serializes");
            out.push(b'\n');
        }
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    /// A line of names, then one a row; what is not there is empty.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = (|| {
            writer.write_record(self.columns.iter().map(|column| &column.name))?;
            for row in &self.rows {
                let text = |value: &Value| match value {
                    Value::Null => String::new(),
                    Value::Text(text) => text.clone(),
                    // Numbers as in JSON, shortest and exact.
                    other => serde_json::to_string(other).expect("plain data serializes"),
                };
                writer.write_record(row.iter().map(text))?;
            }
            writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
        })();
        written.expect("a vector takes all rows, which have equal lengths")
    }

    /// Reads what [`Table::to_json_lines`] wrote.
    ///
    /// # Errors
    /// The first line that is not an object with a value for every column.
    pub fn from_json_lines(columns: &[Column], text: &str) -> Result<Self, String> {
        let row = |(i, line): (usize, &str)| {
            let mut object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1))?;
            let value = |column: &Column| {
                let value = object.remove(&column.name);
                let value = value.and_then(|value| serde_json::from_value(value).ok());
                value.ok_or_else(|| format!("line {}: no value of `{}`", i + 1, column.name))
            };
            columns.iter().map(value).collect::<Result<Vec<Value>, String>>()
        };
        let rows = text.lines().enumerate().map(row).collect::<Result<_, _>>()?;
        Ok(Table { columns: columns.to_vec(), rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let column =
            |name: &str| Column { name: name.into(), unit: String::new(), doc: String::new() };
        let columns = ["n", "x", "text", "flag"].map(column).to_vec();
        let text = |text: &str| Value::Text(text.into());
        let rows = vec![
            vec![
                Value::Integer(u64::MAX),
                Value::Number(100.0),
                text("a, \"b\""),
                Value::Flag(true),
            ],
            vec![Value::Integer(0), Value::Number(0.1 + 0.2), text(""), Value::Null],
        ];
        let table = Table { columns: columns.clone(), rows };
        let lines = table.to_json_lines();
        assert_eq!(
            lines.lines().next(),
            Some(r#"{"n":18446744073709551615,"x":100.0,"text":"a, \"b\"","flag":true}"#)
        );
        assert_eq!(Table::from_json_lines(&columns, &lines), Ok(table.clone()));
        let csv = String::from_utf8(table.to_csv()).unwrap();
        assert_eq!(
            csv,
            "n,x,text,flag\n18446744073709551615,100.0,\"a, \"\"b\"\"\",true\n0,0.30000000000000004,,\n"
        );
        assert!(
            Table::from_json_lines(&columns, "{\"n\":1}")
                .unwrap_err()
                .starts_with("line 1: no value of `x`")
        );
    }
}
