//! What is known of a value of the graph on the way between layers: one type, whatever it is.

use std::rc::Rc;

use qnnsim_isa::descriptor::MapShape;

use super::affine::Affine;
use super::part::Part;
use super::view::View;

/// A value of the graph: parts, whose channels stand one behind the other, and how the tensor names
/// their places.
#[derive(Debug, Clone)]
pub struct Value {
    parts: Rc<Vec<Part>>,
    pub view: View,
}

impl Value {
    /// These parts, all of one height and width.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_parts(parts: Vec<Part>, view: View) -> Value {
        assert!(!parts.is_empty(), "a value has a part");
        Value { parts: Rc::new(parts), view }
    }

    /// The model's input, as a map of this shape.
    pub fn of_input(shape: MapShape, view: View) -> Value {
        Value::of_parts(vec![Part::of_input(shape)], view)
    }

    /// Exact sums.
    pub fn of_sum(sum: Rc<Affine>, view: View) -> Value {
        Value::of_parts(vec![Part::of_sum(sum)], view)
    }

    /// The same values under another view.
    pub fn viewed(self, view: View) -> Value {
        Value { view, ..self }
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts as one's own, and whether that took a copy.
    pub fn into_parts(self) -> (Vec<Part>, bool) {
        match Rc::try_unwrap(self.parts) {
            Ok(parts) => (parts, false),
            Err(shared) => ((*shared).clone(), true),
        }
    }

    /// The part, if it is one.
    pub fn part(&self) -> Option<&Part> {
        match &self.parts[..] {
            [part] => Some(part),
            _ => None,
        }
    }

    /// The exact sums that it is, with nothing behind them.
    pub fn exact(&self) -> Option<&Rc<Affine>> {
        self.part().and_then(Part::exact)
    }

    /// Whether it is the model's input, quantized or not.
    pub fn is_input(&self) -> bool {
        self.parts[0].is_input()
    }

    /// Whether all of it is quantized and no map yet.
    pub fn is_quantized(&self) -> bool {
        self.parts.iter().all(|part| part.quantized.is_some())
    }

    /// The shape of all parts together.
    pub fn shape(&self) -> MapShape {
        shape_of(&self.parts)
    }

    /// Integers that a copy counts for.
    pub fn size(&self) -> usize {
        self.parts.iter().map(Part::size).sum()
    }
}

/// The shape of parts together, whose channels stand one behind the other.
pub fn shape_of(parts: &[Part]) -> MapShape {
    let channels = parts.iter().map(|part| part.channels() as u32).sum();
    MapShape { channels, ..parts[0].shape() }
}
