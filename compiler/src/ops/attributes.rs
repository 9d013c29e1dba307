//! Reading the attributes of a node, each at most once, none left over.

use crate::diagnostic::{Diagnostic, NodePlace};
use crate::limits;
use crate::onnx::{AttributeProto, NodeProto, TensorProto, attribute_type};

/// The attributes of a node that have not been read yet.
pub struct Attributes<'a> {
    left: Vec<&'a AttributeProto>,
    place: &'a NodePlace,
}

impl<'a> Attributes<'a> {
    /// All attributes of a node.
    pub fn new(node: &'a NodeProto, place: &'a NodePlace) -> Self {
        Attributes { left: node.attribute.iter().collect(), place }
    }

    /// Where the node is.
    pub fn place(&self) -> NodePlace {
        self.place.clone()
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

    /// Drops attributes that have no meaning here.
    pub fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|a| !names.contains(&a.name.as_str()));
    }

    /// Refuses what nobody has read.
    pub fn finish(self) -> Result<(), Diagnostic> {
        match self.left.first() {
            Some(a) => Err(limits::ATTRIBUTE
                .refuse(format!("attribute `{}`", a.name))
                .at(self.place())
                .attribute(&a.name)),
            None => Ok(()),
        }
    }
}
