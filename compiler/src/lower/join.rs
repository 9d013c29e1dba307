//! Sums of two values, values one behind the other, and parts of them.

use std::rc::Rc;

use qnnsim_isa::descriptor::MapShape;

use super::Lowering;
use super::affine::{Affine, Window};
use super::part::Part;
use super::value::Value;
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::ops::join::Range;

impl Lowering<'_> {
    /// An operand of a sum or a join: what is quantized becomes a map.
    pub(super) fn operand(&mut self, id: ValueId) -> Result<Value, Diagnostic> {
        let mut value = self.read(id)?;
        if value.is_quantized() {
            value = self.close(value, id)?;
        }
        let value = self.rectified(value)?;
        self.with_channels_in_order(value)
    }

    /// The sum of two values, or their difference.
    pub(super) fn sum(
        &mut self,
        index: usize,
        minus: bool,
        ids: [ValueId; 2],
    ) -> Result<Value, Diagnostic> {
        let (mut a, mut b) = (self.operand(ids[0])?, self.operand(ids[1])?);
        if a.view != b.view || a.shape() != b.shape() {
            let refuse = || {
                limits::UPSAMPLE_MIXED.refuse("a sum of values of several resolutions or layouts")
            };
            let both = self
                .with_equal_phases(vec![a, b])?
                .and_then(|both| <[Value; 2]>::try_from(both).ok());
            [a, b] = both.filter(|[a, b]| a.view == b.view).ok_or_else(refuse)?;
        }
        if let (Some(of_a), Some(of_b)) = (a.exact(), b.exact())
            && let Some(mut sum) = Affine::sum(of_a, of_b, minus, &mut self.fuel)?
        {
            sum.node = index;
            return Ok(Value::of_sum(Rc::new(sum), a.view));
        }
        let view = a.view.clone();
        let (of_a, of_b) = (self.opened(a)?, self.opened(b)?);
        if !of_a.iter().map(Part::channels).eq(of_b.iter().map(Part::channels)) {
            return Err(limits::SUM_PARTS
                .refuse("a sum of values that were joined before they are quantized"));
        }
        let mut sums = Vec::with_capacity(of_a.len());
        for (a, b) in of_a.iter().zip(&of_b) {
            let sum = Part::sum(a, b, minus, index)?;
            self.fuel.take_integers(sum.size())?;
            sums.push(sum);
        }
        Ok(Value::of_parts(sums, view))
    }

    /// Values one behind the other along the channels.
    pub(super) fn concat(
        &mut self,
        index: usize,
        axis: usize,
        ids: &[ValueId],
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        if ids.len() != node.inputs.iter().flatten().count() {
            return Err(limits::CONCAT_CHANNELS.refuse("a map joined with a constant"));
        }
        if axis != 1 {
            return Err(limits::CONCAT_CHANNELS.refuse(format!("axis {axis}")));
        }
        let operands = ids.iter().map(|&id| self.operand(id)).collect::<Result<Vec<_>, _>>()?;
        let refuse = || {
            limits::UPSAMPLE_MIXED
                .refuse("values of several resolutions or layouts that are joined")
        };
        let operands = self.with_equal_phases(operands)?.ok_or_else(refuse)?;
        let pixels = operands[0].view.as_pixels(operands[0].shape());
        let phases = pixels.expect("all are pixels").phases;
        let exact: Option<Vec<Rc<Affine>>> =
            operands.iter().map(|value| value.exact().cloned()).collect();
        if let Some(sums) = exact
            && let Some(mut sum) = Affine::concat(&sums, &mut self.fuel)?
        {
            sum.node = index;
            return self.result(index, vec![Part::of_sum(Rc::new(sum))], phases);
        }
        let mut parts = Vec::new();
        for value in operands {
            if value.is_input() {
                return Err(limits::FIRST_QUANT.refuse("an operator before the first quantizer"));
            }
            parts.extend(self.owned(value)?);
        }
        let shape = parts[0].shape();
        if parts.iter().any(|part| MapShape { channels: shape.channels, ..part.shape() } != shape) {
            return Err(limits::CONCAT_SHAPES.refuse("maps of several sizes"));
        }
        self.result(index, parts, phases)
    }

    /// A part of each dimension.
    pub(super) fn part(
        &mut self,
        index: usize,
        ranges: &[Range],
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let node = &self.graph.nodes[index];
        let places = |range: &Range| -> Vec<usize> {
            (0..range.length).map(|i| range.start + i * range.step).collect()
        };
        let from = &self.graph.value(id).dims;
        let whole =
            |(range, &size): (&Range, &usize)| *range == Range { start: 0, step: 1, length: size };
        let channels_only = ranges.iter().zip(from).skip(2).all(whole);
        let channels_of = |phases: [usize; 2]| -> Vec<usize> {
            let each = phases[0] * phases[1];
            places(&ranges[1])
                .into_iter()
                .flat_map(|channel| channel * each..(channel + 1) * each)
                .collect()
        };
        // Real values can be chosen by channel.
        let real =
            |value: &Value| value.exact().is_none() && !value.is_quantized() && !value.is_input();
        if channels_only && self.known[id.0].as_ref().is_some_and(real) {
            let value = self.read(id)?;
            let value = self.with_channels_in_order(value)?;
            let pixels = value.view.as_pixels(value.shape());
            let phases = pixels.ok_or_else(|| self.relabel(id, from))?.phases;
            let mut parts = self.owned(value)?;
            let channels = channels_of(phases);
            let mut first = 0;
            for part in &mut parts {
                let end = first + part.channels();
                let own: Vec<usize> = channels
                    .iter()
                    .filter(|c| (first..end).contains(*c))
                    .map(|c| c - first)
                    .collect();
                part.select(&own, &mut self.fuel)?;
                first = end;
            }
            parts.retain(|part| part.channels() > 0);
            return self.result(index, parts, phases);
        }
        let (mut sums, phases) = self.exact_pixels(id, node)?;
        let (&channels, spatial) = match ranges {
            [_, channels, rows, columns] => (channels, [*rows, *columns]),
            [_, channels, columns] => {
                (channels, [Range { start: 0, step: 1, length: 1 }, *columns])
            }
            [_, channels] => (channels, [Range { start: 0, step: 1, length: 1 }; 2]),
            _ => return Err(self.relabel(id, from)),
        };
        if channels.length != from[1] {
            sums = Rc::new(sums.select(&channels_of(phases), &mut self.fuel)?);
        }
        if channels_only {
            return self.result(index, vec![Part::of_sum(sums)], phases);
        }
        let mut window = Window::POINT;
        for (axis, &Range { start, step, .. }) in spatial.iter().enumerate() {
            window.stride[axis] = step as i64;
            window.before[axis] = -(start as i64);
        }
        self.windows(index, (sums, phases), window)
    }
}
