//! From the graph to the integer network.
//!
//! The graph is a chain. Each convolution or dense layer opens a stage; what follows, up to the next
//! one, is the stage's chain from accumulators to codes. A stage that is followed by another becomes a
//! layer with thresholds, the last one the layer whose accumulators are the output.

use std::collections::{HashMap, HashSet};

use qnnsim_isa::descriptor::{Code, HostOp, InputDescriptor, MapShape, OutputDescriptor, Quantizer, Rounding};

use crate::build::MAX_CHANNELS;
use crate::diagnostic::Diagnostic;
use crate::epilogue::{Epilogue, Step};
use crate::graph::{Graph, Node, ValueId};
use crate::import::ImportOptions;
use crate::ir::{Activation, Conv, Layer, MapId, Network, Pool, Steps, Term, Weights};
use crate::limits;
use crate::ops::Op;
use crate::ops::linear::weight_kind;
use crate::ops::pointwise::{Pointwise, clipped};
use crate::sign::{codes, first_arguments};
use crate::steps::{self, Shape};
use crate::tensor::{Array, Codes, Tensor};

/// The integer network of a graph, and how the two hang together.
pub struct Lowered {
    /// The network.
    pub network: Network,
    /// The graph's value that each map of the network stands for.
    pub maps: Vec<ValueId>,
    /// What each layer's activation was made from.
    pub epilogues: Vec<Epilogue>,
}

/// Makes the integer network of a graph, or says all that stands against it.
pub fn lower(graph: &Graph, options: &ImportOptions) -> Result<Lowered, Vec<Diagnostic>> {
    let mut budget = Budget::default();
    let chain = Chain::of(graph, &mut budget).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let input = chain.input(options).map_err(|error| errors.push(error));
    let names = layer_names(&chain.stages);
    let (last, inner) = chain.stages.split_last().expect("a chain has a stage");
    let mut layers = Vec::new();
    for (index, (stage, name)) in inner.iter().zip(&names).enumerate() {
        match stage.layer(name, index, &mut budget) {
            Ok(layer) => layers.push(layer),
            Err(error) => errors.push(error),
        }
    }
    let name = names.last().expect("as many as stages");
    let output = last.output_layer(name, inner.len()).and_then(|(layer, code, ops)| {
        layers.push(layer);
        let map = chain.map;
        let name = graph.value(graph.output).name.clone();
        let shape = graph.value(graph.output).dims.as_slice();
        if !matches!(shape, [_, c] | [_, c, _, _] if *c == map.channels as usize) {
            return Err(limits::OUTPUT_SHAPE.refuse(format!("an output of shape {shape:?}")));
        }
        let classes = options.classes.clone();
        if !classes.is_empty() && classes.len() != map.channels as usize {
            let (given, outputs) = (classes.len(), map.channels);
            return Err(Diagnostic::new(format!("{given} class names for {outputs} outputs"))
                .help("give one name for each output, or none"));
        }
        Ok(OutputDescriptor { name, shape: map, code, ops, classes, dram: 0 })
    });
    match (input, output) {
        (Ok(input), Ok(output)) if errors.is_empty() => {
            let read = chain.stages.iter().map(|stage| stage.node.inputs[0].expect("a layer reads a map"));
            let maps = read.chain([graph.output]).collect();
            let epilogues = chain.stages.into_iter().map(|stage| stage.epilogue).collect();
            let network = Network { name: graph.name.clone(), input, layers, output };
            Ok(Lowered { network, maps, epilogues })
        }
        (_, output) => {
            errors.extend(output.err());
            Err(errors)
        }
    }
}

/// What quantized values are: their integers, the real size of one step, and the integer of real zero.
#[derive(Debug, Clone, Copy)]
struct Quantized {
    codes: Codes,
    scale: f64,
    zero: f64,
}

/// The graph as a chain of stages.
struct Chain<'g> {
    graph: &'g Graph,
    input_shape: MapShape,
    /// The input quantizer.
    quantizer: &'g Node,
    quantized_input: Quantized,
    stages: Vec<Stage<'g>>,
    /// Shape of the last map.
    map: MapShape,
}

/// A layer in the making.
struct Stage<'g> {
    node: &'g Node,
    conv: Conv,
    weights: Weights,
    /// What the layer reads.
    source: Quantized,
    /// From real accumulators on, and the node of each of its steps.
    epilogue: Epilogue,
    nodes: Vec<&'g Node>,
    pool: Option<PoolAt<'g>>,
    /// What the values after the steps are, if they are quantized.
    quantized: Option<Quantized>,
}

/// A pooling, and how many steps of the stage stand before it.
struct PoolAt<'g> {
    node: &'g Node,
    pool: Pool,
    after: usize,
}

/// What lowering may still spend: small files can ask for much, by sharing constants.
struct Budget {
    evaluations: u64,
    integers: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { evaluations: 1 << 29, integers: 1 << 26 }
    }
}

impl Budget {
    fn take_evaluations(&mut self, count: u64) -> Result<(), Diagnostic> {
        let left = self.evaluations.checked_sub(count);
        self.evaluations = left.ok_or_else(|| limits::SEARCH.refuse("a model of this size"))?;
        Ok(())
    }

    fn take_integers(&mut self, count: usize) -> Result<(), Diagnostic> {
        let left = self.integers.checked_sub(count);
        self.integers = left.ok_or_else(|| limits::INTEGERS.refuse("a model of this size"))?;
        Ok(())
    }
}

impl<'g> Chain<'g> {
    fn of(graph: &'g Graph, budget: &mut Budget) -> Result<Self, Diagnostic> {
        let dims = &graph.value(graph.input).dims;
        let input_shape = match dims[..] {
            [_, channels, height, width] => {
                MapShape { channels: channels as u32, height: height as u32, width: width as u32 }
            }
            _ => MapShape { channels: dims[1..].iter().product::<usize>() as u32, height: 1, width: 1 },
        };
        if input_shape.channels as usize > MAX_CHANNELS {
            return Err(limits::MAP_SIZE.refuse(format!("an input of shape {dims:?}")));
        }
        let mut current = graph.input;
        let mut map = input_shape;
        let mut first: Option<(&Node, Quantized)> = None;
        let mut stages: Vec<Stage> = Vec::new();
        for node in &graph.nodes {
            let at = |error: Diagnostic| error.at(node.place());
            let inputs: Vec<_> = graph.data_inputs(node).collect();
            let [(data, id)] = inputs[..] else {
                let found = format!("a node that reads {} maps", inputs.len());
                return Err(at(limits::CHAIN.refuse(found)));
            };
            if id != current {
                let found = format!("a branch at `{}`", graph.value(id).name);
                return Err(at(limits::CHAIN.refuse(found)));
            }
            let operator = format!("`{}` in this place", node.op_type);
            match (&node.op, stages.last_mut()) {
                (Op::Fold(_) | Op::Identity, _) => {}
                (Op::Reshape { .. } | Op::Flatten { .. } | Op::Transpose { .. }, _) => {
                    let (from, to) = (&graph.value(id).dims, &graph.value(node.output).dims);
                    if !relabels(to, map) {
                        let found = format!("shape {to:?} for {from:?}");
                        return Err(at(limits::RELABEL.refuse(found)));
                    }
                }
                (Op::Pointwise(op), None) => {
                    let before = first.map(|(_, quantized)| quantized);
                    let quantized = quantized(graph, node, *op, before).map_err(at)?;
                    first = Some(match (first, quantized) {
                        // More of the same quantizer, which keeps its integers.
                        (Some((quantizer, before)), Some(quantized)) if !op.rounds() && before.scale == 1.0 => {
                            (quantizer, quantized)
                        }
                        (Some(_), _) => return Err(at(limits::FIRST_LAYER.refuse(operator))),
                        (None, Some(quantized)) if quantized.codes == Codes::Bipolar => {
                            return Err(at(limits::QUANT_INPUT.refuse("a bipolar input")));
                        }
                        (None, Some(quantized)) => (node, quantized),
                        (None, None) => return Err(at(limits::FIRST_QUANT.refuse(operator))),
                    });
                }
                (Op::MaxPool(_), None) => return Err(at(limits::FIRST_LAYER.refuse(operator))),
                (Op::Pointwise(op), Some(stage)) => {
                    let step = step(graph, node, *op, data, map).map_err(at)?;
                    budget.take_integers(step.size()).map_err(at)?;
                    stage.push(graph, node, step).map_err(at)?;
                }
                (Op::MaxPool(pool), Some(stage)) => {
                    if stage.pool.is_some() {
                        return Err(at(limits::POOL_PLACE.refuse("a second `MaxPool`")));
                    }
                    stage.pool = Some(PoolAt { node, pool: pool.0, after: stage.nodes.len() });
                    [map.height, map.width] = pool.0.output_size([map.height, map.width]);
                }
                (Op::Conv(_) | Op::MatMul | Op::Gemm(_), stage) => {
                    let quantized = match stage {
                        Some(stage) => stage.quantized,
                        None => first.map(|(_, quantized)| quantized),
                    };
                    let Some(source) = quantized else {
                        let found = format!("`{}` of values that are not quantized", node.op_type);
                        return Err(at(limits::LAYER_INPUT.refuse(found)));
                    };
                    source.check().map_err(at)?;
                    let stage = Stage::new(graph, node, source, map, budget).map_err(at)?;
                    let [height, width] = stage.conv.output_size(map);
                    map = MapShape { channels: stage.weights.out_channels, height, width };
                    stages.push(stage);
                }
            }
            current = node.output;
        }
        if current != graph.output {
            let found = format!("a branch at the output `{}`", graph.value(graph.output).name);
            return Err(limits::CHAIN.refuse(found));
        }
        match first {
            Some((quantizer, quantized_input)) if !stages.is_empty() => {
                Ok(Chain { graph, input_shape, quantizer, quantized_input, stages, map })
            }
            Some(_) => Err(limits::FIRST_LAYER.refuse("a model without layers")),
            None => Err(limits::FIRST_QUANT.refuse("a model without layers")),
        }
    }

    fn input(&self, options: &ImportOptions) -> Result<InputDescriptor, Diagnostic> {
        for (flag, value) in [("--pixel-scale", options.pixel_scale), ("--pixel-offset", options.pixel_offset)] {
            if !value.is_finite() {
                return Err(Diagnostic::new(format!("{flag} is {value}")).help("give a finite number"));
            }
        }
        let Quantized { codes, scale, zero } = self.quantized_input;
        let rounding = match self.quantizer.op {
            Op::Pointwise(Pointwise::Quant { rounding, .. }) => rounding,
            Op::Pointwise(Pointwise::QuantizeLinear { .. }) => Rounding::HalfEvenFirst,
            _ => {
                let found = format!("an input quantizer `{}`", self.quantizer.op_type);
                return Err(limits::QUANT_INPUT.refuse(found).at(self.quantizer.place()));
            }
        };
        let quantizer = first_arguments(self.graph, self.quantizer, self.quantizer.op.pointwise().expect("one"));
        if [scale, zero] != quantizer[1..3] {
            let found = "an input whose quantizer and dequantizer differ in scale or zero point";
            return Err(limits::QUANT_INPUT.refuse(found).at(self.quantizer.place()));
        }
        let (min, max) = (codes.min(), codes.max());
        let mut input = InputDescriptor {
            name: self.graph.value(self.graph.input).name.clone(),
            shape: self.input_shape,
            code: self.quantized_input.code(),
            quantizer: Quantizer { scale, zero_point: zero, min, max, rounding },
            pixel_scale: options.pixel_scale,
            pixel_offset: options.pixel_offset,
            xor: 0x80,
            dram: 0,
        };
        if !input.pixels_unchanged() {
            input.xor = 0;
        }
        Ok(input)
    }
}

/// Whether a map seen as this shape is the same map, or the vector of its values.
fn relabels(dims: &[usize], map: MapShape) -> bool {
    match *dims {
        [1, values] => values == map.values(),
        [1, channels, height, width] => {
            [channels, height, width] == [map.channels, map.height, map.width].map(|d| d as usize)
        }
        _ => false,
    }
}

/// What the output of a pointwise operator is, if it is quantized; `before` is what its data are.
fn quantized(
    graph: &Graph,
    node: &Node,
    op: Pointwise,
    before: Option<Quantized>,
) -> Result<Option<Quantized>, Diagnostic> {
    let arguments = first_arguments(graph, node, op);
    Ok(match op {
        // Integers on a grid stay there.
        Pointwise::Relu => before,
        Pointwise::Clip { .. } => before.and_then(|before| {
            let codes = clipped(before.codes, &[before.scale], &[before.zero], [arguments[1], arguments[2]]);
            codes.map(|codes| Quantized { codes, ..before })
        }),
        _ if op.quantizes() => {
            let codes = match (op, before) {
                (Pointwise::DequantizeLinear { .. }, Some(Quantized { codes, scale: 1.0, zero: 0.0 })) => codes,
                (Pointwise::DequantizeLinear { .. }, _) => {
                    return Err(limits::LINEAR_INTEGERS.refuse("a `DequantizeLinear` of values that are no integers"));
                }
                _ => codes(graph, node, op),
            };
            let (scale, zero) = op.grid_at(&arguments);
            // A parameter for each channel is no scale of the map.
            let parameters = node.inputs[1..].iter().flatten().map(|id| &graph.value(*id).constant);
            let single =
                |t: &Option<Tensor>| t.as_ref().is_some_and(|t| t.array.data.iter().all(|x| *x == t.array.data[0]));
            let single = matches!(op, Pointwise::MultiThreshold { .. }) || parameters.into_iter().all(single);
            Some(Quantized { codes, scale: if single { scale } else { f64::NAN }, zero })
        }
        _ => None,
    })
}

impl Quantized {
    /// Whether a layer can read it.
    fn check(&self) -> Result<(), Diagnostic> {
        if self.scale.is_nan() {
            return Err(limits::QUANT_PER_TENSOR.refuse("a scale or a zero point for each channel"));
        }
        let (code, zero) = (self.code(), self.zero);
        if code.bits > 8 {
            let found = format!("activations from {} to {}, zero at {zero}", self.codes.min(), self.codes.max());
            return Err(limits::QUANT_BITS.refuse(found));
        }
        Ok(())
    }

    /// The type of the map: it holds the codes, and zero for the padding.
    fn code(&self) -> Code {
        let zero = self.zero as i64;
        Codes::Int { min: self.codes.min().min(zero), max: self.codes.max().max(zero) }.code()
    }
}

/// A pointwise node as a step behind a layer.
fn step(graph: &Graph, node: &Node, op: Pointwise, data: usize, map: MapShape) -> Result<Step, Diagnostic> {
    let rank = graph.value(node.output).dims.len();
    let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let mut constants = Vec::new();
    for argument in op.arguments(&inputs, data, rank) {
        constants.push(match argument {
            None => Vec::new(),
            Some(array) => per_channel(&array, rank, map)?.to_vec(),
        });
    }
    Ok(Step { op, data, constants })
}

/// The values of a constant that varies along the channels at most.
fn per_channel(array: &Array, rank: usize, map: MapShape) -> Result<&[f64], Diagnostic> {
    let along = array.along(1, rank);
    along.filter(|c| c.len() == 1 || c.len() == map.channels as usize).ok_or_else(|| {
        let found = format!("a constant of shape {:?} for {} channels", array.dims, map.channels);
        limits::PER_CHANNEL.refuse(found)
    })
}

impl<'g> Stage<'g> {
    fn new(
        graph: &'g Graph,
        node: &'g Node,
        source: Quantized,
        map: MapShape,
        budget: &mut Budget,
    ) -> Result<Self, Diagnostic> {
        let constant = |i: usize| -> Option<&'g Tensor> {
            node.inputs.get(i).copied().flatten().and_then(|id| graph.value(id).constant.as_ref())
        };
        let weights = constant(1).expect("checked when the shape was inferred");
        budget.take_integers(weights.array.data.len())?;
        let whole_map =
            Conv { kernel: [map.height, map.width], stride: [1, 1], dilation: [1, 1], pads: [0; 4], groups: 1 };
        let (conv, axis) = match &node.op {
            Op::Conv(conv) => (conv.geometry, 0),
            Op::Gemm(gemm) if gemm.transpose_b => (whole_map, 0),
            _ => (whole_map, 1),
        };
        let kind = weight_kind(weights, axis)?;
        let grid = weights.grid.as_ref().expect("weights have a kind");
        let scale = grid.scale.along(axis, weights.array.dims.len()).expect("weights have a kind");
        let integers = weights.centered();
        let outputs_first = if axis == 1 { &integers.transpose(&[1, 0]) } else { &*integers };
        let out_channels = weights.array.dims[axis];
        if out_channels > MAX_CHANNELS {
            return Err(limits::MAP_SIZE.refuse(format!("a layer of {out_channels} outputs")));
        }
        let mut steps = Vec::new();
        let outputs = MapShape { channels: out_channels as u32, height: 1, width: 1 };
        match &node.op {
            Op::Conv(_) => {
                let bias = constant(2).map(|bias| bias.to_real().data.clone());
                steps.extend(bias.map(|bias| Step::of_layer(Pointwise::Add, bias)));
            }
            Op::Gemm(gemm) => {
                if gemm.alpha != 1.0 {
                    steps.push(Step::of_layer(Pointwise::Mul, vec![gemm.alpha]));
                }
                if let Some(bias) = constant(2) {
                    let bias = gemm.scaled_bias(bias);
                    let bias = per_channel(&bias, 2, outputs)?.to_vec();
                    steps.push(Step::of_layer(Pointwise::Add, bias));
                }
            }
            _ => {}
        }
        budget.take_integers(steps.iter().map(Step::size).sum())?;
        let per_output = weights.array.data.len() / out_channels;
        let zero = match source.zero {
            0.0 => vec![0.0],
            zero => outputs_first.data.chunks(per_output).map(|weights| weights.iter().sum::<f64>() * zero).collect(),
        };
        Ok(Stage {
            node,
            conv,
            weights: Weights {
                kind,
                out_channels: out_channels as u32,
                data: outputs_first.data.iter().map(|&w| w as i8).collect(),
            },
            source,
            nodes: vec![node; steps.len()],
            epilogue: Epilogue {
                data_scale: source.scale,
                data_zero: source.zero,
                zero,
                weight_scale: scale.to_vec(),
                products: per_output,
                steps,
            },
            pool: None,
            quantized: None,
        })
    }

    fn push(&mut self, graph: &Graph, node: &'g Node, step: Step) -> Result<(), Diagnostic> {
        self.quantized = quantized(graph, node, step.op, self.quantized)?;
        self.epilogue.steps.push(step);
        self.nodes.push(node);
        Ok(())
    }

    /// The layer without its activation, and the accumulators that each channel can reach.
    fn bare(&self, name: &str, index: usize) -> Result<(Layer, Vec<(i64, i64)>), Diagnostic> {
        let term = Term {
            source: MapId(index),
            conv: self.conv,
            weights: self.weights.clone(),
            pad_value: self.source.zero as i64,
        };
        let bounds = term.bounds(self.source.code());
        let pool = self.pool.as_ref().map(|at| at.pool);
        let layer = Layer { name: name.to_owned(), terms: vec![term], activation: Activation::Raw, pool };
        let fits = |&acc: &i64| i32::try_from(acc).is_ok();
        match bounds.iter().find(|(low, high)| !fits(low) || !fits(high)) {
            Some((low, high)) => {
                let found = format!("an accumulator from {low} to {high}");
                Err(limits::ACCUMULATOR.refuse(found).at(self.node.place()))
            }
            None => Ok((layer, bounds)),
        }
    }

    /// A layer with thresholds.
    fn layer(&self, name: &str, index: usize, budget: &mut Budget) -> Result<Layer, Diagnostic> {
        let (mut layer, bounds) = self.bare(name, index)?;
        let quantized = self.quantized.expect("only the last stage is not quantized");
        let mut channels = Vec::with_capacity(bounds.len());
        for (channel, &bounds) in bounds.iter().enumerate() {
            let at = |error: Diagnostic| error.at(self.node.place());
            let steps = self.thresholds(channel, bounds, budget).map_err(at)?;
            budget.take_integers(steps.thresholds.len()).map_err(at)?;
            channels.push(steps);
        }
        layer.activation = Activation::Steps { code: quantized.code(), channels };
        Ok(layer)
    }

    /// The step function of one channel.
    fn thresholds(&self, channel: usize, bounds: (i64, i64), budget: &mut Budget) -> Result<Steps, Diagnostic> {
        let mut chain = self.epilogue.channel(channel);
        // The chain is monotone in its parts, so if nothing overflows at the ends then nothing does between them.
        for end in [bounds.0, bounds.1] {
            if chain.code(end).is_none() {
                let found = format!("channel {channel} at the accumulator {end}");
                return Err(limits::FINITE.refuse(found));
            }
        }
        let turns = || limits::MONOTONE.refuse(format!("channel {channel}, whose codes fall and rise"));
        let parts = chain.parts(bounds).ok_or_else(turns)?;
        let mut evaluations = 0;
        let shape = steps::search(&parts, |acc| {
            evaluations += 1;
            chain.code(acc).expect("finite between finite ends") as i64
        });
        budget.take_evaluations(evaluations * (1 + self.nodes.len() as u64))?;
        let Some(Shape::Monotone(steps)) = shape else { return Err(turns()) };
        // The maximum moves behind the steps that follow it, which keep order only if they rise: if all steps go in
        // the direction of those before.
        if let Some(pool) = &self.pool {
            let falls = match chain.turning(pool.after) {
                Some(_) => !steps.thresholds.is_empty() && steps.rising != (chain.direction(..pool.after) >= 0),
                None => chain.direction(pool.after..) < 0,
            };
            if falls {
                let found = format!("channel {channel}, which falls after the pooling");
                return Err(limits::POOL_PLACE.refuse(found).at(pool.node.place()));
            }
        }
        let codes = self.quantized.expect("only the last stage is not quantized").codes;
        let ends = [steps.lowest, steps.lowest + steps.thresholds.len() as i64];
        if !ends.iter().all(|end| (codes.min()..=codes.max()).contains(end)) {
            return Err(limits::TRUNC_RANGE.refuse(format!("integers from {} to {}", ends[0], ends[1])));
        }
        Ok(steps)
    }

    /// The last layer, with the type of its accumulators and what the host does with them.
    fn output_layer(&self, name: &str, index: usize) -> Result<(Layer, Code, Vec<HostOp>), Diagnostic> {
        let (layer, bounds) = self.bare(name, index)?;
        if let Some(pool) = &self.pool {
            return Err(limits::OUTPUT.refuse("`MaxPool` in this place").at(pool.node.place()));
        }
        let mut ops = Vec::new();
        if self.epilogue.zero.iter().any(|&zero| zero != 0.0) {
            ops.push(HostOp::Add(self.epilogue.zero.iter().map(|zero| -zero).collect()));
        }
        ops.push(HostOp::Mul(self.epilogue.scale()));
        for (step, node) in self.epilogue.steps.iter().zip(&self.nodes) {
            ops.extend(host_ops(step, node)?);
        }
        let low = bounds.iter().map(|b| b.0).min().unwrap_or(0);
        let high = bounds.iter().map(|b| b.1).max().unwrap_or(0);
        let code = (1..=32)
            .map(|bits| Code { bits, signed: true })
            .find(|code| code.min() <= low && high <= code.max())
            .expect("accumulators fit 32 bits");
        Ok((layer, code, ops))
    }
}

/// A step as the host evaluates it.
fn host_ops(step: &Step, node: &Node) -> Result<Vec<HostOp>, Diagnostic> {
    let map = |i: usize, f: &dyn Fn(f64) -> f64| -> Vec<f64> { step.constants[i].iter().map(|&c| f(c)).collect() };
    let constant = 1 - step.data.min(1);
    Ok(match step.op {
        Pointwise::Add => vec![HostOp::Add(map(constant, &|c| c))],
        Pointwise::Sub if step.data == 0 => vec![HostOp::Add(map(1, &|c| -c))],
        Pointwise::Sub => vec![HostOp::Mul(vec![-1.0]), HostOp::Add(map(0, &|c| c))],
        Pointwise::Mul => vec![HostOp::Mul(map(constant, &|c| c))],
        Pointwise::Div => vec![HostOp::Div(map(1, &|c| c))],
        Pointwise::Normalize { epsilon } => vec![
            HostOp::Add(map(3, &|mean| -mean)),
            HostOp::Div(map(4, &|variance| (variance + epsilon).sqrt())),
            HostOp::Mul(map(1, &|gain| gain)),
            HostOp::Add(map(2, &|bias| bias)),
        ],
        Pointwise::Relu => vec![HostOp::Clip(Some(0.0), None)],
        Pointwise::Clip { .. } => {
            let [min, max] = [1, 2].map(|i| Some(step.constants[i][0]).filter(|end| end.is_finite()));
            vec![HostOp::Clip(min, max)]
        }
        Pointwise::BipolarQuant => vec![HostOp::Sign, HostOp::Mul(map(1, &|scale| scale))],
        Pointwise::DequantizeLinear { .. } => {
            vec![HostOp::Add(map(2, &|zero| -zero)), HostOp::Mul(map(1, &|scale| scale))]
        }
        Pointwise::QuantizeLinear { min, max, .. } => {
            let (scale, zero_point) = (map(1, &|scale| scale), map(2, &|zero| zero));
            vec![HostOp::Quantize { scale, zero_point, min, max, rounding: Rounding::HalfEvenFirst }]
        }
        Pointwise::Quant { signed, rounding, .. } if !signed || step.constants[3][0] != 1.0 => {
            let codes = step.op.codes(&[0.0, 1.0, 0.0, step.constants[3][0]]);
            let (min, max) = (codes.min(), codes.max());
            let (scale, zero_point) = (map(1, &|scale| scale), map(2, &|zero| zero));
            vec![
                HostOp::Quantize { scale, zero_point, min, max, rounding },
                HostOp::Add(map(2, &|zero| -zero)),
                HostOp::Mul(map(1, &|scale| scale)),
            ]
        }
        _ => {
            let found = format!("`{}` in this place", node.op_type);
            return Err(limits::OUTPUT.refuse(found).at(node.place()));
        }
    })
}

/// Short names for layers: the shortest tails of the nodes' paths that are unique, without the operator:
/// `/conv1/Conv` is `conv1`.
fn layer_names(stages: &[Stage]) -> Vec<String> {
    const LENGTH_MAX: usize = 40;
    const PARTS_MAX: usize = 6;
    let clean = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let paths: Vec<Vec<String>> = stages
        .iter()
        .map(|stage| {
            let op_type = &stage.node.op_type;
            let name = stage.node.name.chars().take(LENGTH_MAX * 4).collect::<String>();
            let mut path: Vec<String> = name
                .split('/')
                .filter(|part| !part.is_empty())
                .map(|part| part.replace('#', &op_type.to_lowercase()).chars().map(clean).collect())
                .collect();
            if path.len() > 1 && path.last().is_some_and(|last| last.starts_with(op_type)) {
                path.pop();
            }
            if path.is_empty() {
                path.push(op_type.to_lowercase());
            }
            path
        })
        .collect();
    let tail = |path: &[String], parts: usize| -> String {
        path[path.len().saturating_sub(parts)..].join(".").chars().take(LENGTH_MAX).collect()
    };
    let mut counts: HashMap<(usize, String), usize> = HashMap::new();
    for (path, parts) in paths.iter().flat_map(|path| (1..=PARTS_MAX).map(move |n| (path, n))) {
        *counts.entry((parts, tail(path, parts))).or_default() += 1;
    }
    let mut used = HashSet::new();
    let mut names = Vec::new();
    for path in &paths {
        let mut tails = (1..=PARTS_MAX).map(|parts| (parts, tail(path, parts)));
        let unique = tails.find(|tail| counts[tail] == 1 && !used.contains(&tail.1));
        let name = unique.map(|(_, tail)| tail).unwrap_or_else(|| {
            let mut numbered = (2..).map(|ordinal| format!("{}_{ordinal}", tail(path, 1)));
            let plain = Some(tail(path, 1)).filter(|plain| !used.contains(plain));
            plain.or_else(|| numbered.find(|name| !used.contains(name))).expect("endless")
        });
        used.insert(name.clone());
        names.push(name);
    }
    names
}
