//! Operators on the values at one place, and what is pooled behind them.

use super::Lowering;
use super::part::{Part, PoolAt, quantized};
use super::value::Value;
use super::view::View;
use crate::canonical::{Graph, Node};
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::ops::pointwise::Pointwise;
use crate::ops::pool::MaxPool;
use crate::tensor::Array;

impl Lowering<'_> {
    /// An operator of one value, argument `data`, and constants.
    pub(super) fn pointwise(
        &mut self,
        index: usize,
        op: Pointwise,
        data: usize,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let mut value = self.read_open(id)?;
        if value.is_input() {
            match value.parts()[0].quantized {
                None => return self.in_front(index, op, data, value),
                Some(before) => {
                    let after = quantized(graph, node, op, Some(before))?;
                    // More of the same quantizer, which keeps its integers.
                    if after.is_some() && before.scale == Some(1.0) && !op.rounds() {
                        return self.in_front(index, op, data, value);
                    }
                    value = self.close(value, id)?;
                }
            }
        }
        let value = self.with_channels_in_order(value)?;
        let view = value.view.clone();
        let channels = value.shape().channels as usize;
        let constants = constants(graph, node, op, data, &view, channels)?;
        let mut parts = self.opened(value)?;
        self.fuel.take_integers(constants.iter().map(Vec::len).sum())?;
        let mut first = 0;
        for part in &mut parts {
            let range = first..first + part.channels();
            first = range.end;
            part.push(graph, index, (op, data, of_range(&constants, range)))?;
        }
        Ok(Value::of_parts(parts, view))
    }

    /// An operator in front of the first map, which the host evaluates.
    fn in_front(
        &mut self,
        index: usize,
        op: Pointwise,
        data: usize,
        value: Value,
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let view = value.view.clone();
        let channels = value.shape().channels as usize;
        let constants = constants(graph, &graph.nodes[index], op, data, &view, channels)?;
        let mut parts = self.owned(value)?;
        self.fuel.take_integers(constants.iter().map(Vec::len).sum())?;
        parts[0].push(graph, index, (op, data, constants))?;
        Ok(Value::of_parts(parts, view))
    }

    /// An operator of two values, which are functions of the same sums, or a product.
    pub(super) fn pointwise_of_two(
        &mut self,
        index: usize,
        op: Pointwise,
        [(at, a), (other, b)]: [(usize, ValueId); 2],
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let ids = [a, b];
        let (a, b) = (self.read(a)?, self.read(b)?);
        let (a, b) = (self.with_channels_in_order(a)?, self.with_channels_in_order(b)?);
        let refuse = || limits::ONE_CONSTANT.refuse("an operation on two maps");
        let shape = a.shape();
        let alike = a.view == b.view && shape == b.shape();
        let makes_product = op == Pointwise::Mul && !self.host.is_behind(index);
        if makes_product && (!alike || reads_other_maps(&a, &b)) {
            return self.product(index, (a, ids[0]), (b, ids[1]));
        }
        if !alike {
            return Err(refuse());
        }
        let view = a.view.clone();
        let constants = constants(graph, node, op, at, &view, shape.channels as usize)?;
        let (of_a, of_b) = (self.opened(a)?, self.opened(b)?);
        if !of_a.iter().map(Part::channels).eq(of_b.iter().map(Part::channels)) {
            return Err(refuse());
        }
        let (mut first, mut both) = (0, Vec::with_capacity(of_a.len()));
        for (a, b) in of_a.iter().zip(&of_b) {
            let constants = of_range(&constants, first..first + a.channels());
            first += a.channels();
            let part = Part::of_both(a, b, (op, [at, other]), constants, index);
            let part = part.ok_or_else(refuse)?;
            // Of several sums it is no function that could be tried at all values.
            match (a.sums(), b.sums(), part.sums()) {
                (_, _, [_]) => {}
                ([_], [_], _) => return Err(refuse()),
                _ => {
                    return Err(limits::SUM_AFFINE
                        .refuse("a function of a sum of values with different scales"));
                }
            }
            self.fuel.take_integers(part.size())?;
            both.push(part);
        }
        Ok(Value::of_parts(both, view))
    }

    /// The maximum over windows.
    pub(super) fn max_pool(
        &mut self,
        index: usize,
        pool: &MaxPool,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let value = self.read(id)?;
        let mut value = self.with_channels_in_order(value)?;
        match value.view.as_pixels(value.shape()) {
            None => return Err(self.relabel(id, &self.graph.value(id).dims)),
            Some(pixels) if !pixels.is_map() => {
                return Err(limits::UPSAMPLE_POOL.refuse("a `MaxPool` in this place"));
            }
            Some(_) => {}
        }
        // A second pooling begins a new layer.
        if value.parts().iter().any(|part| part.pool.is_some()) {
            if !value.is_quantized() {
                return Err(limits::POOL_PLACE.refuse("a second `MaxPool`"));
            }
            value = self.close(value, id)?;
        }
        let value = self.without_regions(value, id)?;
        let mut parts = self.opened(value)?;
        for part in &mut parts {
            let (after, quantized) = (part.ops.len(), part.quantized);
            part.pool = Some(PoolAt { node: index, pool: pool.0, after, quantized });
        }
        self.result(index, parts, [1, 1])
    }
}

/// Whether two values do not come from one sum.
fn reads_other_maps(a: &Value, b: &Value) -> bool {
    let sums = |value: &Value| match value.part()?.sums() {
        [sum] => Some(sum.clone()),
        _ => None,
    };
    matches!((sums(a), sums(b)), (Some(a), Some(b)) if !a.is_same(&b))
}

/// The constants of a pointwise node that reads argument `data`, for values of so many channels.
fn constants(
    graph: &Graph,
    node: &Node,
    op: Pointwise,
    data: usize,
    view: &View,
    channels: usize,
) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let rank = graph.value(node.output).dims.len();
    let inputs: Vec<_> =
        node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let of_argument = |argument: Option<Array>| match argument {
        None => Ok(Vec::new()),
        Some(array) => per_channel(&array, view, channels),
    };
    op.arguments(&inputs, data, rank).into_iter().map(of_argument).collect()
}

/// Constants of some channels, where there is one for each.
fn of_range(constants: &[Vec<f64>], range: std::ops::Range<usize>) -> Vec<Vec<f64>> {
    let part = |c: &Vec<f64>| if c.len() > 1 { c[range.clone()].to_vec() } else { c.clone() };
    constants.iter().map(part).collect()
}

/// The values of a constant that varies along the channels at most.
fn per_channel(array: &Array, view: &View, channels: usize) -> Result<Vec<f64>, Diagnostic> {
    view.by_channel(array, channels).ok_or_else(|| {
        let found = format!("a constant of shape {:?} for {channels} channels", array.dims);
        limits::PER_CHANNEL.refuse(found)
    })
}
