//! Integers that one map cannot hold, as a map with several channels for each: step functions that
//! turn, and sums of more than 8 bits.

use std::rc::Rc;

use qnnsim_isa::descriptor::{Code, MapShape};

use super::chain::Closed;
use super::form::{Grid, Kernel, MAX_LAYER_WEIGHT, MapInfo};
use super::view::View;
use super::{Data, Known, Lowering, MapValue, is_quantized};
use crate::build::MAX_CHANNELS;
use crate::diagnostic::Diagnostic;
use crate::epilogue::Epilogue;
use crate::graph::ValueId;
use crate::ir::{Activation, Pool, Steps};
use crate::limits;
use crate::steps::Shape;

/// Most channels that stand for one value: enough for means of 3 x 3 bytes, those at the borders
/// among them.
const MAX_PARTS: i64 = 72;

/// Sums that become a map, without what lies below zero and pooled if that is asked for.
pub(super) struct MapOf {
    form: Rc<Grid>,
    relu: bool,
    pool: Option<Pool>,
}

impl PartialEq for MapOf {
    fn eq(&self, other: &MapOf) -> bool {
        Rc::ptr_eq(&self.form, &other.form) && (self.relu, self.pool) == (other.relu, other.pool)
    }
}

impl Lowering<'_> {
    /// Step functions that turn, as a layer with two channels for each: one rises and one falls.
    /// What remains is to add them up.
    pub(super) fn merge_parts(
        &mut self,
        closed: Closed,
        node: usize,
    ) -> Result<Closed, Diagnostic> {
        let Closed { form, epilogue, channels } = closed;
        let count = channels.len();
        if 2 * count > MAX_CHANNELS {
            return Err(
                limits::MAP_SIZE.refuse(format!("{count} channels whose codes fall and rise"))
            );
        }
        let twice: Vec<usize> = (0..count).flat_map(|channel| [channel; 2]).collect();
        let (mut parts, mut merged, mut lowest) = (Vec::new(), Vec::new(), Vec::new());
        for shape in channels {
            let (low, high) = shape.codes();
            let none = Steps { lowest: 0, rising: true, thresholds: Vec::new() };
            let (first, second) = match shape {
                Shape::Monotone(steps) => (steps, none),
                Shape::Turning { first, second } => (first, second),
            };
            // Each part counts from 0; the sum counts on from the lowest of both, which it need not
            // reach.
            let base = first.lowest + second.lowest;
            lowest.push(base);
            parts.extend([first, second].map(|steps| Steps { lowest: 0, ..steps }));
            let thresholds = (low - base + 1..=high - base).collect();
            merged.push(Shape::Monotone(Steps { lowest: low, rising: true, thresholds }));
        }
        let most = parts.iter().map(|steps| steps.thresholds.len()).max().unwrap_or(0) as i64;
        let code = (1..=8).map(|bits| Code { bits, signed: false }).find(|code| most <= code.max());
        let code = code
            .ok_or_else(|| limits::MONOTONE.refuse(format!("{most} codes that fall and rise")))?;
        let twofold = form.select(&twice, &mut self.budget)?;
        let layer = self.bare(&twofold, Activation::Steps { code, channels: parts })?;
        let info = MapInfo { shape: twofold.shape, code, zero_point: 0 };
        let map = self.push_layer(
            layer,
            epilogue.select(&twice),
            info,
            MapValue::none(info.shape),
            node,
        )?;
        let form = Rc::new(map.folded(2, &mut self.budget)?);
        Ok(Closed { form, epilogue: Epilogue::of_codes(lowest, 2), channels: merged })
    }

    /// A layer's weights, with their scale for each output or for all, over a form. Where its sums
    /// cannot go on as they are, they become a map.
    pub(super) fn apply(
        &mut self,
        form: &Rc<Grid>,
        kernel: &Kernel,
        scale: &[f64],
        node: usize,
    ) -> Result<Data, Diagnostic> {
        let refused = match self.apply_directly(form, kernel, scale, node) {
            Err(error)
                if error.is(&limits::COMPOSED_PADDING) || error.is(&limits::COMPOSED_WEIGHTS) =>
            {
                error
            }
            Ok(Data::Form(out)) if form.composed && out.greatest_weight() > MAX_LAYER_WEIGHT => {
                limits::COMPOSED_WEIGHTS.refuse(format!("a weight of {}", out.greatest_weight()))
            }
            other => return other,
        };
        match self.as_map(MapOf { form: form.clone(), relu: false, pool: None })? {
            Some(map) => self.apply_directly(&map, kernel, scale, node),
            None => Err(refused),
        }
    }

    /// A value that can be pooled: sums that count differently in regions become a map first.
    pub(super) fn without_regions(
        &mut self,
        data: Data,
        view: &View,
        id: ValueId,
    ) -> Result<Data, Diagnostic> {
        let in_regions = match &data {
            Data::Form(form) => form.has_regions(),
            Data::Chains(chains) => {
                chains.iter().any(|chain| chain.leaves().iter().any(|form| form.has_regions()))
            }
            _ => false,
        };
        match data {
            data if !in_regions => Ok(data),
            data if is_quantized(&data) => Ok(Data::Form(self.close(data, view, id)?)),
            data => {
                let map = match data {
                    Data::Form(form) => self.as_map(MapOf { form, relu: false, pool: None })?,
                    _ => None,
                };
                map.map(Data::Form).ok_or_else(|| {
                    limits::POOL_PLACE.refuse("a maximum of means that vary at the borders")
                })
            }
        }
    }

    /// What `Relu` or `MaxPool` makes of exact sums, as a map if it has few bits; other values as
    /// they are.
    pub(super) fn rectified(&mut self, known: Known) -> Result<Known, Diagnostic> {
        let Data::Chains(chains) = &known.data else { return Ok(known) };
        let [chain] = &chains[..] else { return Ok(known) };
        let (None, Some((form, relu, pool))) = (chain.quantized, chain.rectified()) else {
            return Ok(known);
        };
        let map = self.as_map(MapOf { form: form.clone(), relu, pool })?;
        Ok(map
            .map(|map| Known { data: Data::Form(map), view: known.view.clone() })
            .unwrap_or(known))
    }

    /// Sums as a map; `None` if they have too many bits. What has more than 8 is stacked: of
    /// unsigned values the first part is what lies below 255, the next what exceeds that, and
    /// so on; real zero is zero in all parts, as padding wants it. The maximum of the parts is
    /// that of the values.
    fn as_map(&mut self, of: MapOf) -> Result<Option<Rc<Grid>>, Diagnostic> {
        if let Some((_, map)) = self.mapped.iter().find(|(made, _)| *made == of) {
            return Ok(Some(map.clone()));
        }
        let MapOf { form, relu, pool } = &of;
        let (relu, pool) = (*relu, *pool);
        let bounds = form.bounds(|id| self.map(id)).into_iter().enumerate();
        let bounds: Vec<(i64, i64)> = bounds
            .map(|(channel, (low, high))| {
                let offset = form.offset(channel);
                (low.saturating_add(offset), high.saturating_add(offset))
            })
            .collect();
        let min = if relu { 0 } else { bounds.iter().fold(0, |min, bounds| min.min(bounds.0)) };
        let max = bounds.iter().fold(0, |max, bounds| max.max(bounds.1));
        let [above, below] = if min < 0 { [127, 128] } else { [255, 0] };
        // The least code of each part, and what its integers are counted from.
        let rising =
            (0..).map(|i| i * above).take_while(|&from| from < max).map(|from| (0, from, above));
        let falling = (1..)
            .map(|i| -i * below)
            .take_while(|&from| from + below > min)
            .map(|from| (-below, from, below));
        let most = MAX_PARTS as usize + 1;
        let mut parts: Vec<(i64, i64, i64)> = rising.take(most).chain(falling.take(most)).collect();
        if (-128..0).contains(&min) && max <= 127 {
            parts = vec![(min, min, max - min)];
        }
        if parts.is_empty() {
            parts.push((0, 0, above));
        }
        let (count, channels) = (parts.len(), form.channels());
        if count > MAX_PARTS as usize || count * channels > MAX_CHANNELS {
            return Ok(None);
        }
        let mut steps = Vec::with_capacity(count * channels);
        for (channel, &(low, high)) in bounds.iter().enumerate() {
            for &(least, from, span) in &parts {
                // Only what some sum reaches and another does not is a threshold.
                let first = (from + 1).max(low + 1);
                let thresholds: Vec<i64> =
                    (first..=(from + span).min(high)).map(|t| t - form.offset(channel)).collect();
                let always = (low.min(from + span) - from).max(0);
                self.budget.take_integers(thresholds.len())?;
                steps.push(Steps { lowest: least + always, rising: true, thresholds });
            }
        }
        let ends = |steps: &Steps| [steps.lowest, steps.lowest + steps.thresholds.len() as i64];
        let (lowest, highest) =
            steps.iter().flat_map(ends).fold((0, 0), |(low, high), c| (c.min(low), c.max(high)));
        let code = crate::tensor::Codes::Int { min: lowest, max: highest }.code();
        let repeated: Vec<usize> = (0..channels).flat_map(|channel| vec![channel; count]).collect();
        let many = form.select(&repeated, &mut self.budget)?;
        let mut layer = self.bare(&many, Activation::Steps { code, channels: steps })?;
        layer.pool = pool;
        let offsets = repeated.iter().map(|&channel| form.offset(channel)).collect();
        let [height, width] = pool.map_or(many.size(), |pool| pool.output_size(many.size()));
        let info = MapInfo { shape: MapShape { height, width, ..many.shape }, code, zero_point: 0 };
        let epilogue = Epilogue::of_codes(offsets, form.products);
        let mut out =
            self.push_layer(layer, epilogue, info, MapValue::none(info.shape), form.node)?;
        if count > 1 {
            out = out.folded(count, &mut self.budget)?;
        }
        // The graph's own sums are what they were.
        out.take_scales(form);
        let out = Rc::new(out);
        self.mapped.push((of, out.clone()));
        Ok(Some(out))
    }
}
