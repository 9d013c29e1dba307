//! Other names for the same values.

use super::Lowering;
use super::value::Value;
use super::view::View;
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::ops::resize::{BlockOrder, BlockSteps, Blocks};

impl Lowering<'_> {
    /// A value of other dimensions under another view. Quantized values become a map before their
    /// places change, so that the map is in the order of a tensor.
    pub(super) fn renamed(
        &mut self,
        id: ValueId,
        dims: &[usize],
        rename: impl Fn(&View) -> Option<View>,
    ) -> Result<Value, Diagnostic> {
        let mut value = self.read(id)?;
        if rename(&value.view).is_none() {
            // It may cut across channels in another order, but not once they are sorted.
            value = self.with_channels_in_order(value)?;
        }
        let view = rename(&value.view).ok_or_else(|| self.relabel(id, dims))?;
        if value.is_quantized() && !view.is_row_major(value.shape()) {
            value = self.close(value, id)?;
        }
        Ok(value.viewed(view))
    }

    /// Blocks of pixels as channels, or the other way round.
    pub(super) fn blocks(&mut self, blocks: Blocks, id: ValueId) -> Result<Value, Diagnostic> {
        let dims = &self.graph.value(id).dims;
        let BlockSteps { split, perm, result } = blocks.steps(dims)?;
        let mut value = self.operand(id)?;
        if blocks.order == BlockOrder::ToDepth {
            let refuse =
                || limits::UPSAMPLE_MIXED.refuse("blocks of values that are not quantized");
            value = self.with_phases_of(value, [blocks.size; 2])?.ok_or_else(refuse)?;
        }
        let view = value
            .view
            .reshape(&split)
            .map(|view| view.transpose(&perm))
            .and_then(|view| view.reshape(&result));
        Ok(value.viewed(view.ok_or_else(|| self.relabel(id, &result))?))
    }

    /// The refusal of these dimensions for a value.
    pub(super) fn relabel(&self, id: ValueId, dims: &[usize]) -> Diagnostic {
        let own = &self.graph.value(id).dims;
        limits::RELABEL.refuse(match dims == own {
            true => format!(
                "values of shape {own:?} that are no channels, rows and columns in this order"
            ),
            false => format!("shape {dims:?} for {own:?}"),
        })
    }

    /// A value with its channels in the order of the tensor, so that constants for each channel
    /// fit.
    pub(super) fn with_channels_in_order(&mut self, value: Value) -> Result<Value, Diagnostic> {
        let shape = value.shape();
        let Some(pixels) = value.view.as_pixels(shape).filter(|pixels| !pixels.in_order()) else {
            return Ok(value);
        };
        let view =
            View::of_pixels(shape, pixels.phases, &value.view.dims()).expect("the same pixels");
        Ok(self.select(value, &pixels.order)?.viewed(view))
    }

    /// The channels of a value in this order, which its view does not follow.
    pub(super) fn select(&mut self, value: Value, order: &[usize]) -> Result<Value, Diagnostic> {
        if value.part().is_none() {
            return Err(limits::SUM_PARTS.refuse("channels in another order"));
        }
        let view = value.view.clone();
        let mut parts = self.owned(value)?;
        parts[0].select(order, &mut self.fuel)?;
        Ok(Value::of_parts(parts, view))
    }
}
