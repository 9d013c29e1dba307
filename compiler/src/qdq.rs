//! The operators on integers that bring scales and zero points along, in their QDQ form: each is an
//! operator on real values between a `DequantizeLinear` of every operand and, where it has an
//! output scale, a `QuantizeLinear`. The file is rewritten before it is read, so that all else
//! knows the QDQ form alone.

use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, attribute_type, data_type,
};

/// Names of the operators that are rewritten, unless their channels come last or the type of their
/// integers is not known.
pub const NAMES: &[&str] = &[
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "QLinearAdd",
    "QLinearMul",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearAveragePool",
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "ConvInteger",
    "MatMulInteger",
];

/// A scale of 1, which integers without one have.
const ONE: &str = "qdq/one";

/// Bits of the integers of such a result.
const EIGHT: &str = "qdq/eight";

const QONNX: &str = "qonnx.custom_op.general";

/// Rewrites a model.
pub fn expand(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    let known = |node: &NodeProto| {
        NAMES.contains(&node.op_type.as_str())
            && matches!(node.domain.as_str(), "" | "ai.onnx" | "com.microsoft")
    };
    if !graph.node.iter().any(known) {
        return;
    }
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        match known(&node) {
            true => expand_one(graph, node),
            false => graph.node.push(node),
        }
    }
    for (name, value) in [(ONE, 1.0), (EIGHT, 8.0)] {
        graph.initializer.push(TensorProto {
            name: name.to_owned(),
            data_type: data_type::FLOAT,
            float_data: vec![value],
            ..TensorProto::default()
        });
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: attribute_type::INT,
        ..AttributeProto::default()
    }
}

/// The type of a constant: an initializer's, or that of a `Constant` node.
fn constant_type(graph: &GraphProto, name: &str) -> Option<i32> {
    let initializer = graph.initializer.iter().find(|tensor| tensor.name == name);
    let node = || {
        let makes = |node: &&NodeProto| {
            node.op_type == "Constant" && node.output.first().is_some_and(|output| output == name)
        };
        let node = graph.node.iter().find(makes)?;
        node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()
    };
    initializer.or_else(node).map(|tensor| tensor.data_type)
}

fn expand_one(graph: &mut GraphProto, node: NodeProto) {
    let input = |i: usize| node.input.get(i).cloned().unwrap_or_default();
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map_or(0, |a| a.i);
    let output = node.output.first().cloned().unwrap_or_default();
    let name = if node.name.is_empty() { output.clone() } else { node.name.clone() };
    // onnxruntime adds the zero point of some results before it rounds, so that ties go the other
    // way where it is odd. `Quant` does that.
    let zero_first = ["QLinearAdd", "QLinearMul", "QLinearAveragePool"];
    let zero_first = zero_first.contains(&node.op_type.as_str());
    let zero = input(if node.op_type == "QLinearAveragePool" { 4 } else { 7 });
    let signed = match constant_type(graph, &zero) {
        Some(data_type) => i64::from(data_type == data_type::INT8),
        None if zero_first && !zero.is_empty() => {
            // Of no known type, so its range is not known either: the operator is left as it is,
            // and refused by its name.
            graph.node.push(node);
            return;
        }
        None => 0,
    };
    if attribute("channels_last") != 0 {
        graph.node.push(node);
        return;
    }
    // Integers, scale and zero point of each operand, scale and zero point of the output, bias.
    let triples = |from: usize, to: usize| -> Vec<[usize; 3]> {
        (from..to).step_by(3).map(|i| [i, i + 1, i + 2]).collect()
    };
    const NONE: usize = usize::MAX;
    let (operands, result, bias) = match node.op_type.as_str() {
        "QLinearConv" => (triples(0, 6), 6, 8),
        "QLinearMatMul" | "QLinearAdd" | "QLinearMul" => (triples(0, 6), 6, NONE),
        "QGemm" => (triples(0, 6), 7, 6),
        "QLinearConcat" => (triples(2, node.input.len()), 0, NONE),
        "ConvInteger" | "MatMulInteger" => (vec![[0, NONE, 2], [1, NONE, 3]], NONE, NONE),
        _ => (triples(0, 3), 3, NONE),
    };
    let op_type = match node.op_type.as_str() {
        "QLinearConcat" => "Concat",
        "QGemm" => "Gemm",
        other => other.trim_start_matches("QLinear").trim_end_matches("Integer"),
    };
    // The axis of a scale for each output.
    let axis = match op_type {
        "Conv" => 0,
        "Gemm" => 1 - attribute("transB"),
        "MatMul" => -1,
        _ => 1,
    };
    let mut push = |op_type: &str,
                    what: &str,
                    inputs: Vec<String>,
                    output: String,
                    attribute: Vec<AttributeProto>| {
        let name = if what.is_empty() { name.clone() } else { format!("{name}/{what}") };
        let domain = String::new();
        let domain = if op_type == "Quant" { QONNX.to_owned() } else { domain };
        let (op_type, output) = (op_type.to_owned(), vec![output]);
        graph.node.push(NodeProto { input: inputs, output, name, op_type, attribute, domain });
    };
    let scale_of = |i: usize| if i == NONE { ONE.to_owned() } else { input(i) };
    let mut inputs = Vec::new();
    for (i, [value, scale, zero]) in operands.iter().enumerate() {
        let real = format!("{output}/operand{i}");
        // Data have one scale; weights are the second operand.
        let axis = int("axis", if i == 1 { axis } else { 1 });
        let mut from = vec![input(*value), scale_of(*scale)];
        if !input(*zero).is_empty() {
            from.push(input(*zero));
        }
        push("DequantizeLinear", &format!("operand{i}"), from, real.clone(), vec![axis]);
        inputs.push(real);
    }
    if bias != NONE && !input(bias).is_empty() {
        let (scale, real) = (format!("{output}/bias_scale"), format!("{output}/bias"));
        let scales = vec![scale_of(operands[0][1]), scale_of(operands[1][1])];
        push("Mul", "bias_scale", scales, scale.clone(), vec![]);
        let axis = vec![int("axis", if op_type == "Gemm" { -1 } else { 0 })];
        push("DequantizeLinear", "bias", vec![input(bias), scale], real.clone(), axis);
        inputs.push(real);
    }
    let kept = |a: &&AttributeProto| a.name != "channels_last";
    let attributes: Vec<_> = node.attribute.iter().filter(kept).cloned().collect();
    let quantized = result != NONE && !input(result).is_empty();
    let real = if quantized { format!("{output}/real") } else { output.clone() };
    push(op_type, "", inputs, real.clone(), attributes);
    if quantized {
        let mut real = real;
        if zero_first && !input(result + 1).is_empty() {
            let (zero, rounded) = (format!("{output}/zero"), format!("{output}/rounded"));
            let float = vec![int("to", i64::from(data_type::FLOAT))];
            push("Cast", "zero", vec![input(result + 1)], zero.clone(), float);
            let from = vec![real, input(result), zero, EIGHT.to_owned()];
            let attributes = vec![int("signed", signed), int("narrow", 0)];
            push("Quant", "rounded", from, rounded.clone(), attributes);
            real = rounded;
        }
        let mut from = vec![real, input(result)];
        if !input(result + 1).is_empty() {
            from.push(input(result + 1));
        }
        push("QuantizeLinear", "quantized", from, output.clone(), vec![]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum of int8 or uint8 values whose last zero point is made in one of three ways, expanded.
    fn expanded(zero: &str, zero_type: i32) -> GraphProto {
        let tensor = |name: &str| TensorProto {
            name: name.to_owned(),
            data_type: zero_type,
            int32_data: vec![3],
            ..TensorProto::default()
        };
        let mut graph = GraphProto::default();
        match zero {
            "initializer" => graph.initializer.push(tensor("zero")),
            "Constant" => graph.node.push(NodeProto {
                op_type: "Constant".to_owned(),
                output: vec!["zero".to_owned()],
                attribute: vec![AttributeProto {
                    name: "value".to_owned(),
                    t: Some(tensor("")),
                    ..AttributeProto::default()
                }],
                ..NodeProto::default()
            }),
            // An operator whose type is not looked at.
            _ => graph.node.push(NodeProto {
                op_type: "Identity".to_owned(),
                input: vec!["other".to_owned()],
                output: vec!["zero".to_owned()],
                ..NodeProto::default()
            }),
        }
        let inputs = ["a", "s", "z", "b", "s", "z", "s", "zero"];
        graph.node.push(NodeProto {
            op_type: "QLinearAdd".to_owned(),
            domain: "com.microsoft".to_owned(),
            input: inputs.map(str::to_owned).to_vec(),
            output: vec!["sum".to_owned()],
            ..NodeProto::default()
        });
        let mut model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        expand(&mut model);
        model.graph.expect("still there")
    }

    #[test]
    fn the_range_of_a_result_is_that_of_its_zero_points_type() {
        for way in ["initializer", "Constant"] {
            for (zero_type, signed) in [(data_type::INT8, 1), (data_type::UINT8, 0)] {
                let graph = expanded(way, zero_type);
                let rounded = graph.node.iter().find(|node| node.op_type == "Quant");
                let attributes = &rounded.expect("the rounding of onnxruntime").attribute;
                let said = attributes.iter().find(|attribute| attribute.name == "signed");
                assert_eq!(said.map(|attribute| attribute.i), Some(signed), "{way}");
            }
        }
        let unknown = expanded("Identity", data_type::INT8);
        assert!(unknown.node.iter().any(|node| node.op_type == "QLinearAdd"), "left as it is");
    }
}
