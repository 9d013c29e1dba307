//! `DepthToSpace` and `SpaceToDepth`: pixels of a block as channels, and back.

use std::fmt;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, layout, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::sizes::MAX_SIZE;
use crate::tensor::{Precision, Tensor};

/// Blocks of pixels that become channels, or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Height and width of a block.
    pub size: usize,
    /// Which way.
    pub order: BlockOrder,
}

/// How the pixels of a block stand among the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOrder {
    /// `DepthToSpace`, pixel by pixel.
    PixelsFirst,
    /// `DepthToSpace`, channel by channel.
    ChannelsFirst,
    /// `SpaceToDepth`, pixel by pixel.
    ToDepth,
}

/// What moves blocks: a reshape, a transposition and another reshape.
#[derive(Debug, Clone, Copy)]
pub struct BlockSteps {
    /// Shape with the blocks as dimensions of their own.
    pub split: [usize; 6],
    /// The order of these in the result.
    pub perm: [usize; 6],
    /// Shape of the result.
    pub result: [usize; 4],
}

impl Operator for Blocks {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Blocks::read(at)?])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(self.steps(required(inputs, 0).dims)?.result.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0);
        let BlockSteps { split, perm, .. } =
            self.steps(&data.array.dims).expect("checked when the shape was inferred");
        let perm = perm.map(|axis| axis as i64);
        layout::relabel(&layout::transpose(&layout::relabel(data, &split), Some(&perm)), dims)
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(Op::Relabel(Relabel::Blocks(*self)), &[into.optional(0)]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "blocks={} {:?} ", self.size, self.order)
    }
}

impl Blocks {
    /// Reads the attributes.
    pub fn read(at: &mut Attributes) -> Result<Blocks, Diagnostic> {
        let size = at.required_int("blocksize")?;
        let order = match at.op_type() == "SpaceToDepth" {
            true => BlockOrder::ToDepth,
            false => match at.string("mode", "DCR")?.as_str() {
                "DCR" => BlockOrder::PixelsFirst,
                "CRD" => BlockOrder::ChannelsFirst,
                mode => {
                    let refusal = limits::BLOCKS.refuse(format!("mode `{mode}`"));
                    return Err(refusal.at(at.place()).attribute("mode"));
                }
            },
        };
        match usize::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size)) {
            Some(size) => Ok(Blocks { size, order }),
            None => Err(limits::BLOCKS
                .refuse(format!("blocksize {size}"))
                .at(at.place())
                .attribute("blocksize")),
        }
    }

    /// The three steps for values of this shape.
    pub fn steps(self, dims: &[usize]) -> Result<BlockSteps, Diagnostic> {
        let refuse =
            || limits::BLOCKS.refuse(format!("blocks of {} for shape {dims:?}", self.size));
        let &[batch, channels, height, width] = dims else { return Err(refuse()) };
        let (block, pixels) = (self.size, self.size * self.size);
        let fits = match self.order {
            BlockOrder::ToDepth => height % block == 0 && width % block == 0,
            _ => channels % pixels == 0,
        };
        if !fits || dims.contains(&0) {
            return Err(refuse());
        }
        let inner = channels / pixels;
        let (split, perm) = match self.order {
            BlockOrder::PixelsFirst => {
                ([batch, block, block, inner, height, width], [0, 3, 4, 1, 5, 2])
            }
            BlockOrder::ChannelsFirst => {
                ([batch, inner, block, block, height, width], [0, 1, 4, 2, 5, 3])
            }
            BlockOrder::ToDepth => {
                ([batch, channels, height / block, block, width / block, block], [0, 3, 5, 1, 2, 4])
            }
        };
        let result = match self.order {
            BlockOrder::ToDepth => [batch, channels * pixels, height / block, width / block],
            _ => [batch, inner, height * block, width * block],
        };
        Ok(BlockSteps { split, perm, result })
    }
}
