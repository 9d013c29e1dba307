//! The part of the ONNX file format that the importer reads, as protobuf messages.
//!
//! Field numbers are those of `onnx.proto`. What is not listed here is skipped when reading: doc
//! strings, type annotations of intermediate values, functions and subgraphs (an operator that
//! needs one of these is refused by name).

use prost::Message;

use crate::diagnostic::{Diagnostic, Kind};
use crate::limits;
use crate::limits::MESSAGES_MAX;
use crate::tensor::{Array, checked_len};

/// A model file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Program that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// The network.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Versions of the operator sets in use.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
}

/// An operator set and its version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Name of the set; empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A graph of nodes.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// Nodes, each after those it reads from.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name of the graph.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Inputs (older files list the initializers here too).
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// What quantizing tools say of tensors.
    #[prost(message, repeated, tag = "14")]
    pub quantization_annotation: Vec<TensorAnnotation>,
}

/// Notes on one tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorAnnotation {
    /// Its name.
    #[prost(string, tag = "1")]
    pub tensor_name: String,
    /// The notes; qonnx and FINN write a data type under `finn_datatype`.
    #[prost(message, repeated, tag = "2")]
    pub quant_parameter_tensor_names: Vec<StringStringEntryProto>,
}

/// A text under a key.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One operation.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the values it reads; empty for an optional one left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values it makes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node, may be empty.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its attributes.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// The operator's set.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A named parameter of a node; `type` tells which field holds it.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A float.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// An integer.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// A string.
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// Floats.
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// One of the constants in [`attribute_type`].
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

/// Values of [`AttributeProto::type`].
pub mod attribute_type {
    /// `f` holds the value.
    pub const FLOAT: i32 = 1;
    /// `i` holds the value.
    pub const INT: i32 = 2;
    /// `s` holds the value.
    pub const STRING: i32 = 3;
    /// `t` holds the value.
    pub const TENSOR: i32 = 4;
    /// `floats` holds the value.
    pub const FLOATS: i32 = 6;
    /// `ints` holds the value.
    pub const INTS: i32 = 7;
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Shape.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// One of the constants in [`data_type`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Values of type float.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Values of the integer types up to 32 bits.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Values of type int64.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Values of any type, little-endian, in place of the typed fields.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    /// Values of type double.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// 1 if the values are in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Values of [`TensorProto::data_type`].
pub mod data_type {
    /// 32-bit float.
    pub const FLOAT: i32 = 1;
    /// 8-bit unsigned integer.
    pub const UINT8: i32 = 2;
    /// 8-bit integer.
    pub const INT8: i32 = 3;
    /// 16-bit unsigned integer.
    pub const UINT16: i32 = 4;
    /// 16-bit integer.
    pub const INT16: i32 = 5;
    /// 32-bit integer.
    pub const INT32: i32 = 6;
    /// 64-bit integer.
    pub const INT64: i32 = 7;
    /// Boolean, one byte.
    pub const BOOL: i32 = 9;
    /// 16-bit float.
    pub const FLOAT16: i32 = 10;
    /// 64-bit float.
    pub const DOUBLE: i32 = 11;
    /// The upper half of a 32-bit float.
    pub const BFLOAT16: i32 = 16;
    /// 4-bit unsigned integer, two in a byte.
    pub const UINT4: i32 = 21;
    /// 4-bit integer, two in a byte.
    pub const INT4: i32 = 22;

    /// The types whose values are integers.
    pub const INTEGERS: [i32; 8] = [UINT8, INT8, UINT16, INT16, INT32, INT64, UINT4, INT4];

    /// Smallest and largest integer of a type; `None` if it has other values too.
    pub fn range(data_type: i32) -> Option<(i64, i64)> {
        match data_type {
            UINT4 => Some((0, 15)),
            INT4 => Some((-8, 7)),
            UINT8 => Some((0, 255)),
            INT8 => Some((-128, 127)),
            UINT16 => Some((0, 65535)),
            INT16 => Some((-32768, 32767)),
            INT32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            INT64 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }
}

/// Name and type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type; only tensors are read.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// A tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// Element type and shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    /// One of the constants in [`data_type`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Shape, if known.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<ShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct ShapeProto {
    /// Dimensions.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// One dimension: a number or a symbol; neither if unknown.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    /// A number, 0 if not given.
    #[prost(int64, tag = "1")]
    pub dim_value: i64,
    /// A symbol such as `batch`.
    #[prost(string, tag = "2")]
    pub dim_param: String,
}

/// Reads a model file.
pub fn read(bytes: &[u8]) -> Result<ModelProto, Diagnostic> {
    let foreign = |why: String| {
        Diagnostic::new(Kind::Malformed, "the file is not an ONNX model")
            .cause(why)
            .help("export the model as QONNX, e.g. with brevitas.export.export_qonnx")
    };
    let mut messages_left = MESSAGES_MAX;
    charge(bytes, MODEL, &mut messages_left)
        .ok_or_else(|| foreign(format!("it has more than {MESSAGES_MAX} strings and messages")))?;
    let model = ModelProto::decode(bytes).map_err(|error| foreign(error.to_string()))?;
    if model.graph.is_none() {
        return Err(foreign("it has no graph".to_owned()));
    }
    Ok(model)
}

/// Which fields of a message are messages themselves, by tag.
struct Nested(u64, &'static [Nested]);

const MODEL: &[Nested] = &[Nested(7, GRAPH)];
const GRAPH: &[Nested] = &[
    Nested(1, NODE),
    Nested(5, &[]),
    Nested(11, VALUE_INFO),
    Nested(12, VALUE_INFO),
    Nested(14, &[Nested(2, &[])]),
];
const NODE: &[Nested] = &[Nested(5, &[Nested(5, &[])])];
const VALUE_INFO: &[Nested] = &[Nested(2, &[Nested(1, &[Nested(2, &[])])])];

/// Counts the strings and messages in `bytes` down from `left`; `None` when there are too many.
/// Malformed bytes end the count early; decoding will report them.
fn charge(mut bytes: &[u8], nested: &[Nested], left: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        let Ok(key) = prost::encoding::decode_varint(&mut bytes) else { return Some(()) };
        let length = match key & 7 {
            0 => match prost::encoding::decode_varint(&mut bytes) {
                Ok(_) => 0,
                Err(_) => return Some(()),
            },
            1 => 8,
            2 => {
                *left = left.checked_sub(1)?;
                match prost::encoding::decode_varint(&mut bytes) {
                    Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                    Err(_) => return Some(()),
                }
            }
            5 => 4,
            _ => return Some(()),
        };
        let Some((field, rest)) = bytes.split_at_checked(length) else { return Some(()) };
        if let Some(Nested(_, inner)) = nested.iter().find(|n| key == n.0 << 3 | 2) {
            charge(field, inner, left)?;
        }
        bytes = rest;
    }
    Some(())
}

impl TensorProto {
    /// The values widened to doubles, which hold every supported type exactly.
    pub fn array(&self) -> Result<Array, Diagnostic> {
        let name = &self.name;
        if self.data_location != 0 {
            return Err(limits::CONSTANT_INSIDE.refuse(format!("constant `{name}` elsewhere")));
        }
        let dims = self
            .dims
            .iter()
            .map(|&d| usize::try_from(d).ok())
            .collect::<Option<Vec<_>>>()
            .filter(|dims| checked_len(dims).is_some())
            .ok_or_else(|| {
                limits::CONSTANT_SIZE.refuse(format!("shape {:?} of constant `{name}`", self.dims))
            })?;
        let expected = dims.iter().product::<usize>();
        let data = self.data(expected)?;
        if data.len() != expected {
            return Err(Diagnostic::new(
                Kind::Malformed,
                format!(
                    "constant `{name}` of shape {dims:?} has {} values in place of {expected}",
                    data.len()
                ),
            )
            .help("the file is damaged: export the model again"));
        }
        match data.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(limits::CONSTANT_FINITE.refuse(format!("{x} in constant `{name}`"))),
            None => Ok(Array { dims, data }),
        }
    }

    fn data(&self, expected: usize) -> Result<Vec<f64>, Diagnostic> {
        let raw = &self.raw_data;
        let widen = |x: &i32| f64::from(*x);
        Ok(match self.data_type {
            data_type::FLOAT if raw.is_empty() => {
                self.float_data.iter().map(|&x| f64::from(x)).collect()
            }
            data_type::DOUBLE if raw.is_empty() => self.double_data.clone(),
            data_type::INT64 if raw.is_empty() => {
                self.int64_data.iter().map(|&x| x as f64).collect()
            }
            data_type::INT32
            | data_type::INT16
            | data_type::UINT16
            | data_type::INT8
            | data_type::UINT8
            | data_type::BOOL
                if raw.is_empty() =>
            {
                self.int32_data.iter().map(widen).collect()
            }
            data_type::FLOAT16 if raw.is_empty() => {
                self.int32_data.iter().map(|&x| half(x as u16)).collect()
            }
            data_type::BFLOAT16 if raw.is_empty() => {
                self.int32_data.iter().map(|&x| brain(x as u16)).collect()
            }
            data_type::FLOAT16 => self.raw(|b| half(u16::from_le_bytes(b)))?,
            data_type::BFLOAT16 => self.raw(|b| brain(u16::from_le_bytes(b)))?,
            data_type::INT16 => self.raw(|b| f64::from(i16::from_le_bytes(b)))?,
            data_type::UINT16 => self.raw(|b| f64::from(u16::from_le_bytes(b)))?,
            data_type::INT4 | data_type::UINT4 => {
                let signed = self.data_type == data_type::INT4;
                let typed: Vec<u8> = self.int32_data.iter().map(|&x| x as u8).collect();
                let bytes = if raw.is_empty() { &typed } else { raw };
                let nibble =
                    |x: u8| if signed { f64::from((x << 4) as i8 >> 4) } else { f64::from(x & 15) };
                let mut values: Vec<f64> =
                    bytes.iter().flat_map(|&x| [nibble(x), nibble(x >> 4)]).collect();
                // An odd number of values leaves half a byte.
                if values.len() == expected + 1 {
                    values.pop();
                }
                values
            }
            data_type::FLOAT => self.raw(|b| f64::from(f32::from_le_bytes(b)))?,
            data_type::DOUBLE => self.raw(f64::from_le_bytes)?,
            data_type::INT64 => self.raw(|b| i64::from_le_bytes(b) as f64)?,
            data_type::INT32 => self.raw(|b| f64::from(i32::from_le_bytes(b)))?,
            data_type::INT8 => self.raw(|[b]| f64::from(b as i8))?,
            data_type::UINT8 | data_type::BOOL => self.raw(|[b]| f64::from(b))?,
            other => {
                let found = format!("element type {other} of constant `{}`", self.name);
                return Err(limits::CONSTANT_TYPE.refuse(found));
            }
        })
    }

    /// Reads `raw_data` in chunks of `N` bytes.
    fn raw<const N: usize>(&self, read: impl Fn([u8; N]) -> f64) -> Result<Vec<f64>, Diagnostic> {
        let (chunks, rest) = self.raw_data.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(Diagnostic::new(
                Kind::Malformed,
                format!(
                    "the {} bytes of constant `{}` are not a multiple of {N}",
                    self.raw_data.len(),
                    self.name
                ),
            )
            .help("the file is damaged: export the model again"));
        }
        Ok(chunks.iter().map(|&chunk| read(chunk)).collect())
    }
}

/// A 16-bit float of IEEE 754.
fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) =
        (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * f64::exp2(-24.0),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * f64::exp2(f64::from(exponent - 25)),
    };
    if sign == 1 { -size } else { size }
}

/// The nearest 16-bit float, ties to even.
pub fn to_half(x: f64) -> f64 {
    let x = f64::from(x as f32);
    // The distance of neighbours: 10 digits behind the first, down to 2^-24.
    let exponent = x.abs().log2().floor().max(-14.0);
    let step = f64::exp2(exponent - 10.0);
    let rounded = if x == 0.0 { x } else { (x / step).round_ties_even() * step };
    if rounded.abs() > 65504.0 { f64::INFINITY.copysign(x) } else { rounded }
}

/// The nearest float of which the upper 16 bits are not zero, ties to even.
pub fn to_brain(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    if x.is_finite() { f64::from(f32::from_bits(rounded)) } else { x }
}

/// The upper half of a 32-bit float.
fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_floats_are_widened() {
        // IEEE 754 binary16: 1, -2, 65504 (the greatest), 2^-24 (the least), 1/3 rounded to 1365 x
        // 2^-12.
        let halves = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x3555].map(half);
        assert_eq!(halves, [1.0, -2.0, 65504.0, f64::exp2(-24.0), 1365.0 / 4096.0]);
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert_eq!([0x3f80, 0xc000].map(brain), [1.0, -2.0]);
    }

    #[test]
    fn four_bit_integers_lie_two_in_a_byte() {
        let tensor = |data_type| TensorProto {
            dims: vec![3],
            data_type,
            raw_data: vec![0x8f, 0x07],
            ..TensorProto::default()
        };
        assert_eq!(tensor(data_type::INT4).array().unwrap().data, [-1.0, -8.0, 7.0]);
        assert_eq!(tensor(data_type::UINT4).array().unwrap().data, [15.0, 8.0, 7.0]);
    }

    #[test]
    fn many_tiny_messages_are_refused_before_they_take_memory() {
        let graph: Vec<u8> = [0x0a, 0x00].repeat(MESSAGES_MAX);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
        bytes.extend(graph);
        let text = read(&bytes).unwrap_err().to_string();
        assert!(text.contains("more than 1048576 strings and messages"), "{text}");
    }
}
