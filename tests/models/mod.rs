//! Small ONNX models, built message by message.

pub mod chains;
pub mod graphs;
pub mod imagenet;

use prost::Message;
use qnnsim_compiler::diagnostic::Diagnostics;
use qnnsim_compiler::import::{Import, ImportOptions, MapValue, import};
use qnnsim_compiler::onnx::*;
use qnnsim_compiler::tensor::Tensor;
use qnnsim_isa::descriptor::MapShape;

/// A model under construction. Methods that add something give the name of its value.
#[derive(Debug)]
pub struct Model {
    /// The nodes and constants so far.
    pub graph: GraphProto,
    /// Version of the operator set of the default domain.
    pub opset: i64,
}

/// A sequence of numbers without order that a seed decides: a linear congruential generator, of
/// which the upper 24 bits are used.
#[derive(Debug)]
pub struct Noise(pub u32);

impl Noise {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1664525).wrapping_add(1013904223);
        self.0 >> 8
    }

    /// A number from -1 to 1.
    pub fn real(&mut self) -> f32 {
        self.bits() as f32 / (1 << 23) as f32 - 1.0
    }

    /// `count` numbers from `-size` to `size`.
    pub fn list(&mut self, count: i64, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.real() * size).collect()
    }

    /// A number from 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// One of a list.
    pub fn of(&mut self, list: &[i64]) -> i64 {
        list[self.below(list.len())]
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The integers of a map of this shape, from the tensor of the graph that it stands for: exactly
/// where the tensor has integers, the nearest ones where it has real values.
pub fn graph_integers(at: &MapValue, shape: MapShape, tensor: &Tensor) -> Vec<i64> {
    let size = (shape.height * shape.width) as usize;
    let places = at.places(shape).into_iter();
    match &tensor.grid {
        Some(_) => {
            let centered = tensor.centered();
            let sign = if at.mirrored { -1 } else { 1 };
            places.map(|place| sign * centered.data[place] as i64 + at.zero_point).collect()
        }
        None => {
            let places = places.enumerate();
            places.map(|(i, place)| at.nearest(tensor.array.data[place], i / size) as i64).collect()
        }
    }
}

impl Model {
    /// A model whose input `x` has this shape.
    pub fn new(input: &[i64]) -> Self {
        let graph = GraphProto {
            name: "test".to_owned(),
            input: vec![value_info("x", input)],
            ..GraphProto::default()
        };
        Model { graph, opset: 18 }
    }

    /// A constant of type float.
    pub fn constant(&mut self, dims: &[i64], data: &[f32]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            dims: dims.to_vec(),
            data_type: data_type::FLOAT,
            name: name.clone(),
            raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name
    }

    /// A constant number.
    pub fn scalar(&mut self, value: f32) -> String {
        self.constant(&[], &[value])
    }

    /// A constant shape.
    pub fn shape(&mut self, dims: &[i64]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            dims: vec![dims.len() as i64],
            data_type: data_type::INT64,
            name: name.clone(),
            int64_data: dims.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// A constant of an integer type.
    pub fn integers(&mut self, data_type: i32, dims: &[i64], data: &[i32]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            dims: dims.to_vec(),
            data_type,
            name: name.clone(),
            int32_data: data.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// A node named `/op<number>/Op`.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        let number = self.graph.node.len();
        let output = format!("v{number}");
        let qonnx = ["Quant", "BipolarQuant", "Trunc", "MultiThreshold"].contains(&op);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            name: format!("/{}{number}/{op}", op.to_lowercase()),
            op_type: op.to_owned(),
            attribute: attributes.to_vec(),
            domain: if qonnx { "qonnx.custom_op.general" } else { "" }.to_owned(),
        });
        output
    }

    /// A `Quant` with zero point 0, not narrow, rounding to even.
    pub fn quant(&mut self, x: &str, scale: f32, bits: u32, signed: bool) -> String {
        self.quant_with(x, scale, bits, signed, "ROUND")
    }

    /// A `Quant` with a rounding mode.
    pub fn quant_with(
        &mut self,
        x: &str,
        scale: f32,
        bits: u32,
        signed: bool,
        mode: &str,
    ) -> String {
        let (scale, zero) = (self.scalar(scale), self.scalar(0.0));
        let bits = self.scalar(bits as f32);
        let attributes =
            [int("signed", i64::from(signed)), int("narrow", 0), string("rounding_mode", mode)];
        self.node("Quant", &[x, &scale, &zero, &bits], &attributes)
    }

    /// A `BipolarQuant`.
    pub fn bipolar(&mut self, x: &str, scale: f32) -> String {
        let scale = self.scalar(scale);
        self.node("BipolarQuant", &[x, &scale], &[])
    }

    /// Weights with scale 1 in signed 8 bits: the integers themselves.
    pub fn weights(&mut self, dims: &[i64], data: &[f32]) -> String {
        let weights = self.constant(dims, data);
        self.quant(&weights, 1.0, 8, true)
    }

    /// The input in signed 8 bits with scale 1.
    pub fn input(&mut self) -> String {
        self.quant("x", 1.0, 8, true)
    }

    /// A dense layer of weights 1 with one output, for a model must end in a layer.
    pub fn last(&mut self, x: &str, inputs: usize) -> String {
        let weights = self.weights(&[inputs as i64, 1], &vec![1.0; inputs]);
        self.node("MatMul", &[x, &weights], &[])
    }

    /// The message, with this output.
    pub fn message(self, output: &str) -> ModelProto {
        self.message_of(&[output])
    }

    /// The message, with these outputs.
    pub fn message_of(mut self, outputs: &[&str]) -> ModelProto {
        self.graph.output = outputs.iter().map(|output| value_info(output, &[])).collect();
        let version = self.opset;
        ModelProto {
            ir_version: 8,
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version }],
            ..ModelProto::default()
        }
    }

    /// The bytes of the file, with this output.
    pub fn bytes(self, output: &str) -> Vec<u8> {
        self.message(output).encode_to_vec()
    }

    /// What the importer makes of it with its usual options.
    ///
    /// # Errors
    /// What the importer refuses.
    pub fn import(self, output: &str) -> Result<Import, Diagnostics> {
        import(&self.bytes(output), &ImportOptions::default())
    }
}

fn value_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&dim_value| DimensionProto { dim_value, ..Default::default() });
    let shape = Some(ShapeProto { dim: dim.collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

fn attribute(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type, ..AttributeProto::default() }
}

/// An integer attribute.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, attribute_type::INT) }
}

/// A float attribute.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, attribute_type::FLOAT) }
}

/// A number as an attribute of type tensor.
pub fn number(name: &str, value: f32) -> AttributeProto {
    let tensor = TensorProto {
        data_type: data_type::FLOAT,
        float_data: vec![value],
        dims: vec![1],
        ..TensorProto::default()
    };
    AttributeProto {
        name: name.to_owned(),
        t: Some(tensor),
        r#type: attribute_type::TENSOR,
        ..AttributeProto::default()
    }
}

/// An attribute that is a list of floats.
pub fn floats(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { floats: floats.to_vec(), ..attribute(name, attribute_type::FLOATS) }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, attribute_type::INTS) }
}

/// A string attribute.
pub fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.as_bytes().to_vec(), ..attribute(name, attribute_type::STRING) }
}
