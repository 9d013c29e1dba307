//! Reading a node: its attributes, each at most once, none left over, and behind them its inputs.

use std::ops::RangeInclusive;

use super::{Operands, Parsed, Stop};
use crate::diagnostic::{Diagnostic, Kind, NodePlace};
use crate::limits;
use crate::onnx::{AttributeProto, NodeProto, TensorProto, attribute_type};

/// What a node says that has not been read yet.
pub struct Attributes<'a> {
    node: &'a NodeProto,
    left: Vec<&'a AttributeProto>,
    place: &'a NodePlace,
    opset: i64,
    inputs: Option<&'a Operands<'a>>,
    /// How many inputs there must be and may be.
    arity: RangeInclusive<usize>,
}

impl<'a> Attributes<'a> {
    /// All attributes of a node; nothing is known of its inputs.
    pub fn new(node: &'a NodeProto, place: &'a NodePlace, opset: i64) -> Self {
        let left = node.attribute.iter().collect();
        Attributes { node, left, place, opset, inputs: None, arity: 0..=usize::MAX }
    }

    /// All attributes of a node and its inputs, where something is known of them.
    pub(super) fn of_node(
        node: &'a NodeProto,
        place: &'a NodePlace,
        opset: i64,
        inputs: Option<&'a Operands<'a>>,
    ) -> Self {
        Attributes { inputs, ..Attributes::new(node, place, opset) }
    }

    /// Says how many inputs there must be and may be.
    pub(super) fn expect(&mut self, arity: RangeInclusive<usize>) {
        self.arity = arity;
    }

    /// Where the node is.
    pub fn place(&self) -> NodePlace {
        self.place.clone()
    }

    /// Which operator of its file it is.
    pub fn op_type(&self) -> &'a str {
        &self.node.op_type
    }

    /// Version of ONNX's own operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Number of inputs, with those that are left out.
    pub fn input_count(&self) -> usize {
        self.node.input.len()
    }

    /// Number of outputs, with those that are left out.
    pub fn output_count(&self) -> usize {
        self.node.output.len()
    }

    /// The inputs, when all attributes have been read.
    ///
    /// # Errors
    /// An attribute is left over, there are more or fewer inputs than the operator has, or nothing
    /// is known of them.
    pub fn inputs(&self) -> Parsed<&'a Operands<'a>> {
        self.finish()?;
        self.inputs.ok_or(Stop::Unknown)
    }

    fn take(&mut self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>, Diagnostic> {
        let Some(index) = self.left.iter().position(|a| a.name == name) else { return Ok(None) };
        let attribute = self.left.swap_remove(index);
        if attribute.r#type == kind {
            return Ok(Some(attribute));
        }
        let found = format!("type {} of attribute `{name}`", attribute.r#type);
        Err(limits::ATTRIBUTE.refuse(found).at(self.place()).attribute(name))
    }

    /// An integer.
    pub fn int(&mut self, name: &str, default: i64) -> Result<i64, Diagnostic> {
        Ok(self.take(name, attribute_type::INT)?.map_or(default, |a| a.i))
    }

    /// An integer, if it is there.
    pub fn take_int(&mut self, name: &str) -> Result<Option<i64>, Diagnostic> {
        Ok(self.take(name, attribute_type::INT)?.map(|a| a.i))
    }

    /// An integer that must be there.
    pub fn required_int(&mut self, name: &str) -> Result<i64, Diagnostic> {
        match self.take(name, attribute_type::INT)? {
            Some(attribute) => Ok(attribute.i),
            None => Err(limits::ATTRIBUTE_GIVEN
                .refuse(format!("a node without `{name}`"))
                .at(self.place())
                .attribute(name)),
        }
    }

    /// A float.
    pub fn float(&mut self, name: &str, default: f32) -> Result<f64, Diagnostic> {
        Ok(f64::from(self.take(name, attribute_type::FLOAT)?.map_or(default, |a| a.f)))
    }

    /// A tensor.
    pub fn tensor(&mut self, name: &str) -> Result<Option<&'a TensorProto>, Diagnostic> {
        Ok(self.take(name, attribute_type::TENSOR)?.and_then(|a| a.t.as_ref()))
    }

    /// A list of integers.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, Diagnostic> {
        Ok(self.take(name, attribute_type::INTS)?.map(|a| a.ints.clone()))
    }

    /// A list of floats.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f64>>, Diagnostic> {
        let list = |a: &AttributeProto| a.floats.iter().map(|&x| f64::from(x)).collect();
        Ok(self.take(name, attribute_type::FLOATS)?.map(list))
    }

    /// A string.
    pub fn string(&mut self, name: &str, default: &str) -> Result<String, Diagnostic> {
        let attribute = self.take(name, attribute_type::STRING)?;
        Ok(attribute.map_or(default.to_owned(), |a| String::from_utf8_lossy(&a.s).into_owned()))
    }

    /// The node as it is, all its attributes taken: for what reads them later.
    pub(super) fn whole_node(&mut self) -> NodeProto {
        self.left.clear();
        self.node.clone()
    }

    /// Drops attributes that have no meaning here.
    pub fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|a| !names.contains(&a.name.as_str()));
    }

    /// Refuses what nobody has read, and another number of inputs than the operator has.
    pub fn finish(&self) -> Result<(), Diagnostic> {
        if let Some(a) = self.left.first() {
            return Err(limits::ATTRIBUTE
                .refuse(format!("attribute `{}`", a.name))
                .at(self.place())
                .attribute(&a.name));
        }
        let Some(inputs) = self.inputs else { return Ok(()) };
        let (least, most) = (*self.arity.start(), *self.arity.end());
        let given = inputs.iter().flatten().count();
        if inputs.len() > most || inputs.iter().take(least).flatten().count() < least {
            let found = format!("the node has {given} inputs in place of {:?}", self.arity);
            return Err(Diagnostic::new(Kind::Malformed, found)
                .help("the file contradicts itself: export the model again"));
        }
        Ok(())
    }
}
