//! Sums along dimensions of a tensor: products with a matrix of weights, and means.

use std::rc::Rc;

use super::Lowering;
use super::affine::{Affine, Kernel, Row, Window};
use super::linear::Filter;
use super::part::Part;
use super::value::Value;
use super::view::Contraction;
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::ir::WeightKind;
use crate::limits;
use crate::limits::CHANNELS_MAX;
use crate::ops::dense::Dense;

impl Lowering<'_> {
    /// A product of values and weights.
    pub(super) fn dense(
        &mut self,
        index: usize,
        dense: Dense,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let rank = self.constant(node, dense.weights).map_or(0, |weights| weights.array.dims.len());
        let axis = dense.outputs(rank);
        let filter =
            self.filter(node, dense.weights, axis, |integers| Some(dense.matrix(integers)))?;
        let (affine, view) = self.exact(id, node)?;
        let over = dense.over(graph.value(id).dims.len());
        let refuse = || {
            limits::RELABEL
                .refuse(format!("a sum along dimension {over} of {:?}", graph.value(id).dims))
        };
        let sums = view.contract(&[over], filter.outputs, affine.shape).ok_or_else(refuse)?;
        let part = self.contract(&affine, &sums, &filter, index)?;
        // Outputs are the last dimension of the result, or the last but one.
        let dims = &graph.value(node.output).dims;
        let mut view = sums.view;
        let rank = view.dims().len();
        if (over + 1 == rank) != dense.outputs_last() {
            let mut swapped: Vec<usize> = (0..rank).collect();
            swapped.swap(rank - 2, rank - 1);
            view = view.transpose(&swapped);
        }
        let view = view.reshape(dims).ok_or_else(|| self.relabel(id, dims))?;
        Ok(Value::of_parts(vec![part], view))
    }

    /// The sum along some dimensions, divided by the number of values if it is a mean.
    pub(super) fn total(
        &mut self,
        index: usize,
        (axes, is_mean): (&[usize], bool),
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let (affine, view) = self.exact(id, node)?;
        let refuse = || limits::MEAN_SPATIAL.refuse(format!("a mean along the axes {axes:?}"));
        let sums = view.contract(axes, 1, affine.shape).ok_or_else(refuse)?;
        let count = sums.places.len();
        self.fuel.take_integers(count)?;
        let differs = |first: &usize| {
            sums.places.iter().any(|place| affine.scale(first + place[0]) != affine.scale(*first))
        };
        if affine.one_scale().is_none() && sums.first_channels.iter().any(differs) {
            return Err(refuse());
        }
        let filter = Filter {
            kind: Some(WeightKind::Unsigned1),
            scale: &[1.0],
            outputs: 1,
            data: vec![1; count].into(),
        };
        let part = self.contract(&affine, &sums, &filter, index)?;
        let mut affine = part.exact().ok_or_else(refuse)?.clone();
        if is_mean {
            Rc::make_mut(&mut affine).divide(count as f64);
        }
        let dims = &graph.value(node.output).dims;
        let view = sums.view.reshape(dims).ok_or_else(|| self.relabel(id, dims))?;
        Ok(Value::of_sum(affine, view))
    }

    /// Sums of an affine expression, each weighted in as many ways as the filter has outputs.
    fn contract(
        &mut self,
        affine: &Rc<Affine>,
        sums: &Contraction,
        filter: &Filter,
        index: usize,
    ) -> Result<Part, Diagnostic> {
        let inputs = sums.places.len();
        let mut window = Window::POINT;
        let mut size = affine.size();
        for (axis, size) in size.iter_mut().enumerate().filter(|(axis, _)| sums.spatial[*axis]) {
            window.kernel[axis] = i64::from(std::mem::replace(size, 1));
        }
        let [height, width] = window.kernel.map(|size| size as usize);
        let count = 1 + sums.places.iter().map(|place| place[0]).max().unwrap_or(0);
        let length = count * height * width;
        let places: Vec<usize> =
            sums.places.iter().map(|[c, y, x]| (c * height + y) * width + x).collect();
        let mut data = filter.data.clone();
        if length != inputs || !places.iter().copied().eq(0..inputs) {
            self.fuel.take_integers(length.saturating_mul(filter.outputs))?;
            let mut spread = vec![0; length * filter.outputs];
            for (from, to) in data.chunks(inputs).zip(spread.chunks_mut(length)) {
                from.iter().zip(&places).for_each(|(&weight, &place)| to[place] = weight);
            }
            data = spread.into();
        }
        let channels = sums.first_channels.len().saturating_mul(filter.outputs);
        if channels > CHANNELS_MAX {
            return Err(limits::MAP_SIZE.refuse(format!("a layer of {channels} outputs")));
        }
        let row = |&first: &usize, o: usize| Row {
            first,
            count,
            factor: 1,
            at: o * length,
            data: data.clone(),
        };
        let rows = sums
            .first_channels
            .iter()
            .flat_map(|first| (0..filter.outputs).map(move |o| row(first, o)));
        // Zeros between the weights are no bipolar ones.
        let kind = filter.kind.filter(|&kind| length == inputs || kind != WeightKind::Bipolar);
        let kernel = Kernel { window, size, rows: rows.collect(), kind };
        let scale = match filter.scale {
            [one] => vec![*one],
            _ => filter.scale.repeat(sums.first_channels.len()),
        };
        self.apply(affine, &kernel, &scale, index)
    }
}
