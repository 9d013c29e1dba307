//! What the user is told when a model cannot be used as it is: what, where, why, and what to do.

use std::fmt;

const MESSAGE_CHARS_MAX: usize = 500;

/// One mistake or doubt, with its place. Several are reported at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostic {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where, if it is about one node. (Boxed to keep results small.)
    pub place: Option<Box<Place>>,
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
    /// A diagnostic about the model as a whole. What it quotes from a file may be of any length; it
    /// is cut where nobody would read on.
    pub fn new(message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.truncate(end);
            message.push_str(" ...");
        }
        Diagnostic { message, place: None, note: None, help: None }
    }

    /// Adds the place, unless a more exact one is there already.
    pub fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert_with(|| Box::new(place));
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
