//! What the user is told when a model cannot be used as it is: what, where, why, and what to do.

use std::fmt;

/// One mistake or doubt, with its place. Several are reported at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostic {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where, if it is about one node.
    pub place: Option<Place>,
    /// Why it matters.
    pub note: Option<String>,
    /// What the user can do.
    pub help: Option<String>,
}

/// A node of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The attribute or input in question.
    pub attribute: Option<String>,
}

impl Diagnostic {
    /// A diagnostic about the model as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Diagnostic { message: message.into(), place: None, note: None, help: None }
    }

    /// Adds the place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Adds the attribute or input to the place.
    pub fn attribute(mut self, attribute: &str) -> Self {
        if let Some(place) = &mut self.place {
            place.attribute = Some(attribute.to_owned());
        }
        self
    }

    /// Adds the reason.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at:   {place}")?;
        }
        if let Some(note) = &self.note {
            write!(f, "\n  why:  {note}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "node `{}` ({})", self.node, self.op)?;
        match &self.attribute {
            Some(attribute) => write!(f, ", `{attribute}`"),
            None => Ok(()),
        }
    }
}
