//! `Resize` and `Upsample`, where they repeat each value; `DepthToSpace` and `SpaceToDepth`.

use super::attributes::Attributes;
use super::{Operands, layout};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::ops::join;
use crate::sizes::MAX_SIZE;
use crate::tensor::{Array, MAX_VALUES, Tensor, checked_len};

/// How coordinates of the result become those of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// As the file says; `None` for what old operator sets do, which divide and round down.
    coordinates: Option<(String, String)>,
    /// Factors, where an old operator set has them as an attribute.
    scales: Option<Vec<f64>>,
    /// Dimensions that factors and sizes are for.
    axes: Option<Vec<i64>>,
}

/// Reads the attributes of a `Resize`, or of the older `Upsample`.
pub fn parse(at: &mut Attributes, upsample: bool) -> Result<Resize, Diagnostic> {
    at.ignore(&["antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
    let mode = at.string("mode", "nearest")?;
    let ratio = at.string("keep_aspect_ratio_policy", "stretch")?;
    for (name, value, expected) in
        [("mode", mode, "nearest"), ("keep_aspect_ratio_policy", ratio, "stretch")]
    {
        if value != expected {
            let refusal = limits::RESIZE_NEAREST.refuse(format!("{name} `{value}`"));
            return Err(refusal.at(at.place()).attribute(name));
        }
    }
    let coordinates = at.string("coordinate_transformation_mode", "half_pixel")?;
    let nearest = at.string("nearest_mode", "round_prefer_floor")?;
    let coordinates = (!upsample).then_some((coordinates, nearest));
    Ok(Resize { coordinates, scales: at.floats("scales")?, axes: at.ints("axes")? })
}

impl Resize {
    /// The factor of each dimension.
    pub fn factors(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = inputs[0].expect("required").dims;
        // Until opset 10 the factors are the second input, later the third.
        let old = self.coordinates.is_none() || inputs.len() == 2;
        let list = |i: usize, name: &str| -> Result<Option<Vec<f64>>, Diagnostic> {
            match inputs.get(i).copied().flatten() {
                None => Ok(None),
                Some(input) => match input.constant {
                    Some(constant) => {
                        Ok(Some(constant.to_real().data.clone()).filter(|list| !list.is_empty()))
                    }
                    None => Err(limits::INTEGER_INPUT.refuse(format!("`{name}` that is computed"))),
                },
            }
        };
        let scales = match &self.scales {
            Some(scales) => Some(scales.clone()),
            None => list(if old { 1 } else { 2 }, "scales")?,
        };
        let sizes = if old { None } else { list(3, "sizes")? };
        let axes = match &self.axes {
            Some(axes) => axes
                .iter()
                .map(|&axis| join::axis(axis, dims.len()))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        let given = scales.as_ref().or(sizes.as_ref());
        let Some(given) = given.filter(|given| given.len() == axes.len()) else {
            return Err(limits::RESIZE_NEAREST
                .refuse("a `Resize` without a factor or a size for each dimension"));
        };
        let mut factors = vec![1; dims.len()];
        for (&value, &axis) in given.iter().zip(&axes) {
            let factor = if scales.is_some() { value } else { value / dims[axis] as f64 };
            let whole = factor.fract() == 0.0
                && factor >= 1.0
                && dims[axis] as f64 * factor <= MAX_VALUES as f64;
            if !whole || axis < 2 && factor != 1.0 {
                return Err(
                    limits::RESIZE_NEAREST.refuse(format!("dimension {axis} times {factor}"))
                );
            }
            factors[axis] = factor as usize;
            if !self.repeats(factor, dims[axis], old) {
                let (coordinates, nearest) = self.coordinates.as_ref().expect("others repeat");
                let found = format!("`{coordinates}` with `{nearest}` times {factor}");
                return Err(limits::RESIZE_NEAREST.refuse(found));
            }
        }
        Ok(factors)
    }

    /// Whether each value comes `factor` times, one beside the other.
    fn repeats(&self, factor: f64, size: usize, old: bool) -> bool {
        let Some((coordinates, nearest)) = self.coordinates.as_ref().filter(|_| !old) else {
            return true;
        };
        let length = size as f64 * factor;
        let source = |x: f64| -> Option<f64> {
            Some(match coordinates.as_str() {
                "half_pixel" => (x + 0.5) / factor - 0.5,
                "pytorch_half_pixel" if length > 1.0 => (x + 0.5) / factor - 0.5,
                "pytorch_half_pixel" => 0.0,
                "asymmetric" => x / factor,
                "align_corners" if length > 1.0 => x * (size as f64 - 1.0) / (length - 1.0),
                "align_corners" => 0.0,
                _ => return None,
            })
        };
        let round = |x: f64| -> Option<f64> {
            Some(match nearest.as_str() {
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                _ => return None,
            })
        };
        (0..length as usize).all(|x| {
            let place =
                source(x as f64).and_then(round).map(|place| place.clamp(0.0, size as f64 - 1.0));
            place == Some((x as f64 / factor).floor())
        })
    }
}

/// Shape with each dimension so many times as large.
pub fn infer(dims: &[usize], factors: &[usize]) -> Result<Vec<usize>, Diagnostic> {
    let out: Vec<usize> =
        dims.iter().zip(factors).map(|(&size, &factor)| size.saturating_mul(factor)).collect();
    match checked_len(&out) {
        Some(_) => Ok(out),
        None => Err(limits::MAP_SIZE.refuse(format!("a value of shape {out:?}"))),
    }
}

/// Each value several times; scales vary along the channels at most.
pub fn repeat(tensor: &Tensor, factors: &[usize], dims: &[usize]) -> Tensor {
    let rank = dims.len();
    let tensor = &*tensor.about_zero();
    let separate = tensor.grid.as_ref().is_none_or(|grid| grid.scale.along(1, rank).is_some());
    let array = if separate { std::borrow::Cow::Borrowed(&tensor.array) } else { tensor.to_real() };
    let mut data = Vec::with_capacity(dims.iter().product());
    join::for_each(dims, |index| {
        let places = index.iter().zip(factors).map(|(at, factor)| at / factor);
        data.push(
            array.data[places.zip(&array.dims).fold(0, |at, (place, size)| at * size + place)],
        );
    });
    Tensor {
        array: Array { dims: dims.to_vec(), data },
        grid: tensor.grid.clone().filter(|_| separate),
    }
}

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

/// Reads the attributes of a `DepthToSpace` or a `SpaceToDepth`.
pub fn parse_blocks(at: &mut Attributes, to_depth: bool) -> Result<Blocks, Diagnostic> {
    let size = at.required_int("blocksize")?;
    let order = match to_depth {
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

impl Blocks {
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

    /// The whole output.
    pub fn eval(self, tensor: &Tensor, dims: &[usize]) -> Tensor {
        let BlockSteps { split, perm, .. } =
            self.steps(&tensor.array.dims).expect("checked when the shape was inferred");
        let perm = perm.map(|axis| axis as i64);
        layout::relabel(&layout::transpose(&layout::relabel(tensor, &split), Some(&perm)), dims)
    }
}
