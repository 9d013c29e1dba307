//! An input without a quantizer: which integers it holds.
//!
//! The quantizer that the file does not have is put in front of all that reads the input, so that
//! the rest of the importer and the evaluator of graphs need not know.

use qnnsim_isa::descriptor::{InputDescriptor, Rounding};

use crate::graph::{Graph, Node, Value, ValueId};
use crate::onnx::{AttributeProto, ModelProto};
use crate::ops::Op;
use crate::ops::bipolar_quant::BipolarQuant;
use crate::ops::quant::Quant;
use crate::tensor::{Array, Codes, Tensor};

/// Integers of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// Of so many bits, 1 to 8; `narrow` leaves out one end of the range.
    Int {
        /// Width.
        bits: u32,
        /// Two's complement.
        signed: bool,
        /// Whether the most negative (signed) or the largest (unsigned) is left out.
        narrow: bool,
    },
    /// -1 and +1, by sign.
    Bipolar,
}

/// What an input without a quantizer holds: real values `scale * (integer - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputFormat {
    /// The integers.
    pub integers: InputType,
    /// Real size of one step.
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: f64,
}

impl InputType {
    /// Reads `uint8`, `int4`, `bipolar`, `ternary` and the like, in any case of letters.
    pub fn parse(text: &str) -> Option<InputType> {
        let text = text.to_ascii_lowercase();
        let int = |bits: &str, signed| {
            let bits = bits.parse().ok().filter(|bits| (1 + u32::from(signed)..=8).contains(bits));
            bits.map(|bits| InputType::Int { bits, signed, narrow: false })
        };
        match text.as_str() {
            "bipolar" => Some(InputType::Bipolar),
            "binary" => int("1", false),
            "ternary" => Some(InputType::Int { bits: 2, signed: true, narrow: true }),
            _ => match text.strip_prefix("uint") {
                Some(bits) => int(bits, false),
                None => int(text.strip_prefix("int")?, true),
            },
        }
    }

    /// The integers from `min` to `max`, if they are those of a type of 8 bits at most.
    fn of_range(min: i64, max: i64) -> Option<InputType> {
        (1..=8).flat_map(|bits| [false, true].map(|signed| (bits, signed))).find_map(
            |(bits, signed)| {
                let codes = Codes::of_type(qnnsim_isa::descriptor::Code { bits, signed }, false);
                (codes.min() == min && codes.max() == max).then_some(InputType::Int {
                    bits,
                    signed,
                    narrow: false,
                })
            },
        )
    }
}

impl InputFormat {
    /// Integers that are their own real values.
    fn plain(integers: InputType) -> InputFormat {
        InputFormat { integers, scale: 1.0, zero_point: 0.0 }
    }

    /// What a program's input quantizer makes.
    pub fn of_program(input: &InputDescriptor) -> InputFormat {
        let (quantizer, code) = (&input.quantizer, input.code);
        let integers = match quantizer.rounding {
            Rounding::Sign => InputType::Bipolar,
            _ => {
                let narrow = quantizer.max - quantizer.min < code.max() - code.min();
                InputType::Int { bits: code.bits, signed: code.signed, narrow }
            }
        };
        InputFormat { integers, scale: quantizer.scale, zero_point: quantizer.zero_point }
    }
}

/// Whether something takes the input as it is that needs integers.
fn is_bare(graph: &Graph) -> bool {
    let mut real = vec![false; graph.values.len()];
    real[graph.input.0] = true;
    graph.nodes.iter().any(|node| {
        if !graph.data_inputs(node).any(|(_, id)| real[id.0]) {
            return false;
        }
        let stays_real = match (&node.op, node.op.pointwise()) {
            (Op::DequantizeLinear(_), _) => return true,
            (Op::Arithmetic(op), _) if op.is_sum() => return true,
            (_, Some(op)) => !op.quantizes(),
            (op, None) if op.relabels() => true,
            _ => return true,
        };
        real[node.output.0] |= stays_real;
        false
    })
}

/// The type that the file says in other ways, and where.
fn evident(model: &ModelProto, graph: &Graph) -> Option<(InputFormat, &'static str)> {
    let file = model.graph.as_ref()?;
    let name = &graph.value(graph.input).name;
    let annotated = file.quantization_annotation.iter().filter(|a| a.tensor_name == *name);
    let mut entries = annotated.flat_map(|annotation| &annotation.quant_parameter_tensor_names);
    if let Some(entry) = entries.find(|entry| entry.key == "finn_datatype") {
        return Some((InputFormat::plain(InputType::parse(&entry.value)?), "its annotation"));
    }
    // What takes integers says of which type they are.
    for node in &graph.nodes {
        if let Op::DequantizeLinear(_) = node.op
            && node.inputs[0] == Some(graph.input)
        {
            let zero = node.inputs.get(2).copied().flatten()?;
            let grid = graph.value(zero).constant.as_ref()?.grid.as_ref()?;
            let integers = InputType::of_range(grid.codes.min(), grid.codes.max())?;
            return Some((InputFormat::plain(integers), "the zero point of what reads it"));
        }
    }
    // A network of integers: its input is of the type of its activations.
    let shift = file.node.iter().find(|node| node.op_type == "RequantShift")?;
    let number = |name: &str| {
        let attribute = shift.attribute.iter().find(|a| a.name == name)?;
        let AttributeProto { i, f, t, .. } = attribute;
        let tensor = t.as_ref().and_then(|t| t.array().ok()).and_then(|a| a.data.first().copied());
        Some(tensor.unwrap_or(if *i != 0 { *i as f64 } else { f64::from(*f) }))
    };
    let (levels, signed) =
        (number("n_levels_out").or(number("n_levels"))?, number("signed")? != 0.0);
    let integers = match signed {
        true => InputType::of_range(-(levels / 2.0) as i64, (levels / 2.0) as i64 - 1)?,
        false => InputType::of_range(0, levels as i64 - 1)?,
    };
    Some((InputFormat::plain(integers), "its activations, which are integers of that type"))
}

/// What became of an input's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Declared {
    /// The model quantizes its input.
    Quantized,
    /// It was said.
    Given,
    /// The file says it in this place.
    Found(InputFormat, &'static str),
    /// Nothing says it.
    Unknown,
}

/// Puts the quantizer of an input in its place that has none, if its type is known.
pub(crate) fn declare(
    model: &ModelProto,
    graph: &mut Graph,
    given: Option<InputFormat>,
) -> Declared {
    if !is_bare(graph) {
        return Declared::Quantized;
    }
    let (format, declared) = match (given, evident(model, graph)) {
        (Some(format), _) => (format, Declared::Given),
        (None, Some((format, place))) => (format, Declared::Found(format, place)),
        (None, None) => return Declared::Unknown,
    };
    quantize(graph, format);
    declared
}

/// Puts a quantizer behind the input. The name of the input goes to what it makes, which is what
/// the file's nodes read.
pub(crate) fn quantize(graph: &mut Graph, format: InputFormat) {
    let input = graph.input;
    let Value { name, dims, .. } = graph.value(input).clone();
    graph.values[input.0].name = format!("{name}/real");
    let mut value = |name: String, dims: Vec<usize>, constant: Option<f64>| {
        let constant = constant.map(|x| Tensor::real(Array::scalar(x)));
        graph.values.push(Value { name, dims, constant });
        ValueId(graph.values.len() - 1)
    };
    let mut constant = |what: &str, x: f64| value(format!("{name}/{what}"), Vec::new(), Some(x));
    let scale = constant("scale", format.scale);
    let (op_type, op, inputs) = match format.integers {
        InputType::Bipolar => ("BipolarQuant", Op::BipolarQuant(BipolarQuant), vec![input, scale]),
        InputType::Int { bits, signed, narrow } => {
            let parameters = [("zero_point", format.zero_point), ("bits", f64::from(bits))];
            let [zero_point, bits] = parameters.map(|(what, x)| constant(what, x));
            let op = Op::Quant(Quant { signed, narrow, rounding: Rounding::HalfEven });
            ("Quant", op, vec![input, scale, zero_point, bits])
        }
    };
    let output = value(name, dims, None);
    for id in graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten()) {
        if *id == input {
            *id = output;
        }
    }
    let node = Node {
        name: "input type".to_owned(),
        op_type: op_type.to_owned(),
        op,
        inputs: inputs.into_iter().map(Some).collect(),
        output,
    };
    graph.nodes.insert(0, node);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_their_names() {
        let int = |bits, signed, narrow| Some(InputType::Int { bits, signed, narrow });
        assert_eq!(InputType::parse("uint8"), int(8, false, false));
        assert_eq!(InputType::parse("INT4"), int(4, true, false));
        assert_eq!(InputType::parse("BIPOLAR"), Some(InputType::Bipolar));
        assert_eq!(InputType::parse("TERNARY"), int(2, true, true));
        assert_eq!(InputType::parse("BINARY"), int(1, false, false));
        for wrong in ["uint9", "int1", "int", "float32", "uint-1", "FIXED<8,4>", ""] {
            assert_eq!(InputType::parse(wrong), None, "{wrong}");
        }
        assert_eq!(InputType::of_range(0, 255), int(8, false, false));
        assert_eq!(InputType::of_range(-8, 7), int(4, true, false));
        assert_eq!(InputType::of_range(0, 256), None);
    }
}
