//! The compiler as a list: the stages between the bytes of a model and a program, in their order.
//! Each can be printed, which is what `compile --emit` does.

use std::collections::HashSet;

use qnnsim_isa::HardwarePoint;

use crate::backend::{self, Plan};
use crate::build::{self, Built};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Graph, Node, ValueId};
use crate::import::{self, ImportOptions};
use crate::input::{self, Declared};
use crate::onnx::{self, ModelProto};
use crate::ops::function::Function;
use crate::ops::pointwise::Pointwise;
use crate::{canonical, fuse, limits, padding, qdq, sign, written};

/// Writes the stages once: as an enumeration, as the list in their order, and as their names.
macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $stage:ident $name:literal;)*) => {
        /// A stage of the compiler, named for what it makes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Stage {
            $($(#[doc = $doc])+ $stage,)*
        }

        impl Stage {
            /// All stages, in their order.
            pub const ALL: &[Stage] = &[$(Stage::$stage),*];

            /// The name, in small letters.
            pub fn name(self) -> &'static str {
                match self {
                    $(Stage::$stage => $name,)*
                }
            }

            /// What it makes, as a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Stage::$stage => concat!($($doc),+).trim_ascii(),)*
                }
            }
        }
    };
}

stages! {
    /// The file's graph: names resolved, shapes inferred, constants computed.
    Graph "graph";
    /// The same with quantizers in place of divisions, roundings and products that spell them out.
    Quantizers "quantizers";
    /// The same with padding of other values than zero as zeros around shifted values.
    Padding "padding";
    /// The same with functions in place of operators that spell them out.
    Functions "functions";
    /// The same with 1-bit quantizers as they were meant, where an option says so.
    Signs "signs";
    /// The same with a quantizer behind an input whose type is known.
    Input "input";
    /// The graph in canonical operators: all that is lowered.
    Canonical "canonical";
    /// The integer network: weights, thresholds, pooling.
    Network "network";
    /// How maps lie in the activation memory.
    Layout "layout";
    /// How each layer's work is cut for the array.
    Tiling "tiling";
    /// What lies where, and what stays in a memory.
    Placement "placement";
    /// What is done in which order, and what waits for what.
    Schedule "schedule";
    /// The program as text.
    Code "code";
}

/// A model on its way to the integer network.
pub(crate) struct FrontEnd<'a> {
    pub options: &'a ImportOptions,
    /// The file, with the operators on integers in their QDQ form.
    pub model: ModelProto,
    pub graph: Graph,
    pub warnings: Vec<Diagnostic>,
    /// How many 1-bit quantizers are read as they were meant.
    pub repaired: usize,
    /// The name that the file gives the input.
    pub input_name: String,
    pub declared: Declared,
}

/// What a stage does to a graph.
type Pass = fn(&mut FrontEnd) -> Result<(), Diagnostics>;

/// The stages that work on the graph of the file, in order.
const PASSES: &[(Stage, Pass)] = &[
    (Stage::Graph, |front| check_half_precision(&front.graph).map_err(Diagnostics::from)),
    (Stage::Quantizers, |front| {
        written::recognize(&mut front.graph);
        Ok(())
    }),
    (Stage::Padding, |front| padding::replace(&mut front.graph).map_err(Diagnostics::from)),
    (Stage::Functions, |front| {
        fuse::fuse(&mut front.graph);
        Ok(())
    }),
    (Stage::Signs, |front| {
        front.repaired = sign::repair(&mut front.graph, front.options.unsigned_1bit_relu)?;
        Ok(())
    }),
    (Stage::Input, |front| {
        front.input_name = front.graph.value(front.graph.input).name.clone();
        front.graph.free_constants();
        front.declared = input::declare(&front.model, &mut front.graph, front.options.input);
        Ok(())
    }),
];

impl<'a> FrontEnd<'a> {
    /// Reads a model and does all up to a stage to its graph.
    ///
    /// # Errors
    /// All that is wrong with the file, or the first stage that refuses it.
    pub fn up_to(
        last: Stage,
        bytes: &[u8],
        options: &'a ImportOptions,
    ) -> Result<Self, Diagnostics> {
        let mut model = onnx::read(bytes)?;
        qdq::expand(&mut model);
        let Built { graph, warnings } = build::build(&model)?;
        let mut front = FrontEnd {
            options,
            model,
            graph,
            warnings,
            repaired: 0,
            input_name: String::new(),
            declared: Declared::Unknown,
        };
        for (_, pass) in PASSES.iter().filter(|(stage, _)| *stage <= last) {
            pass(&mut front)?;
        }
        Ok(front)
    }
}

/// What a stage makes of a model, as text; `None` for the code, which the assembler writes. Layout
/// and tiling do not depend on the sizes of memories, so they can be seen where these have no room.
///
/// # Errors
/// What that stage, or one before it, has against the model or the hardware point.
pub fn print(
    stage: Stage,
    bytes: &[u8],
    hw: &HardwarePoint,
    options: &ImportOptions,
) -> Result<Option<String>, Diagnostics> {
    if stage <= Stage::Canonical {
        let graph = FrontEnd::up_to(stage, bytes, options)?.graph;
        return Ok(Some(match stage {
            Stage::Canonical => canonical::desugar(&graph).to_string(),
            _ => graph.to_string(),
        }));
    }
    let network = import::import(bytes, options)?.network;
    let plan = || Plan::of(&network, hw);
    Ok(Some(match stage {
        Stage::Layout => backend::print::layouts(&network, hw)?,
        Stage::Tiling => backend::print::tilings(&network, hw)?,
        Stage::Placement => plan()?.print_placement(),
        Stage::Schedule => plan()?.print_schedule()?,
        Stage::Code => return Ok(None),
        _ => network.to_string(),
    }))
}

/// Refuses operators that compute in half precision: only a cast there and back is a function of
/// its own.
fn check_half_precision(graph: &Graph) -> Result<(), Diagnostic> {
    let half = |node: &Node| node.op.pointwise() == Some(Pointwise::Function(Function::Half));
    let casts: HashSet<ValueId> =
        graph.nodes.iter().filter(|node| half(node)).map(|node| node.output).collect();
    let computes = |node: &&Node| {
        node.op_type != "Cast" && graph.data_inputs(node).any(|(_, id)| casts.contains(&id))
    };
    match graph.nodes.iter().find(computes) {
        Some(node) => Err(limits::CAST
            .refuse(format!("`{}` in half precision", node.op_type))
            .at(node.place())),
        None => Ok(()),
    }
}
