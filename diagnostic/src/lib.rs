//! What a user is told when something cannot be used as it is: what, where, why, what to do.
//!
//! Each [`Diagnostic`] has a [`Kind`], so that no code has to read its text. A refusal by a limit of
//! the importer carries the row of that limit ([`Rule`]). [`Diagnostics`] is the list that library
//! functions return as their error; where there is a source text, it shows the places in it.

mod limits;
mod source;

use std::fmt;
use std::ops::{Deref, Range};

use source::Source;

use crate::limits::{MESSAGE_CHARS_MAX, SHOWN_MAX};

/// A part of a source text, in bytes.
pub type Span = Range<usize>;

/// A rule for what is taken: a limit of the importer, or something that it warns of.
///
/// Rules are statics; two are the same if they have the same name.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Name, unique among the rules.
    pub name: &'static str,
    /// What holds, as a sentence without a full stop.
    pub sentence: &'static str,
    /// What the user can do.
    pub help: &'static str,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

impl Rule {
    /// The refusal of `found`, which is a noun phrase.
    pub fn refuse(&'static self, found: impl fmt::Display) -> Diagnostic {
        Diagnostic::new(Kind::Limit(self), format!("not supported: {found}"))
            .cause(self.sentence)
            .help(self.help)
    }

    /// The warning of `found`, which is a sentence without a full stop.
    pub fn warn(&'static self, found: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Warning(self), found).cause(self.sentence).help(self.help)
    }
}

/// What kind of mistake or doubt a diagnostic is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A source text that is not of its language.
    Syntax,
    /// A file that contradicts itself or its format.
    Malformed,
    /// An option or a value given beside the file that does not fit it.
    Option,
    /// Something beyond a limit of the importer.
    Limit(&'static Rule),
    /// A memory of the hardware point without room for what must lie in it.
    Capacity,
    /// A value that an operand of an instruction cannot hold.
    Operand {
        /// Mnemonic of the instruction.
        mnemonic: &'static str,
        /// Name of the operand.
        name: &'static str,
    },
    /// Something else that no table or region of a program can say.
    Encoding,
    /// More instructions than a program may have.
    ProgramLength,
    /// Something that may not be meant.
    Warning(&'static Rule),
    /// Something that must not happen, whatever the input: a fault of qnnsim.
    Fault,
}

/// A node of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The attribute or input in question.
    pub attribute: Option<String>,
}

/// What a diagnostic is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A node of the model.
    Node(NodePlace),
    /// A layer of the integer network, by its name.
    Layer(String),
    /// A part of the source text.
    Text {
        /// The part.
        span: Span,
        /// Words beside its mark, or an empty text.
        label: String,
        /// Another part that explains this one, and the words beside its mark.
        related: Option<(Span, String)>,
    },
}

impl From<NodePlace> for Place {
    fn from(node: NodePlace) -> Self {
        Place::Node(node)
    }
}

/// One mistake or doubt, with its place. Several are reported at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of mistake or doubt it is.
    pub kind: Kind,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where, if it is about one place. (Boxed to keep results small.)
    pub place: Option<Box<Place>>,
    /// Why it matters, or what is allowed there.
    pub cause: Option<String>,
    /// What the user can do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place. What it quotes from a file may be of any length; it is cut
    /// where nobody would read on.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Diagnostic { kind, message: brief(message), place: None, cause: None, help: None }
    }

    /// A mistake in a part of a source text.
    pub fn in_text(span: Span, message: impl Into<String>) -> Self {
        let place = Place::Text { span, label: String::new(), related: None };
        Diagnostic::new(Kind::Syntax, message).at(place)
    }

    /// Whether it is a refusal or a warning by this rule.
    pub fn is(&self, rule: &Rule) -> bool {
        matches!(self.kind, Kind::Limit(own) | Kind::Warning(own) if own == rule)
    }

    /// Adds the place, unless a more exact one is there already.
    pub fn at(mut self, place: impl Into<Place>) -> Self {
        self.place.get_or_insert_with(|| Box::new(place.into()));
        self
    }

    /// Adds the attribute or input to the node that is its place.
    pub fn attribute(mut self, attribute: &str) -> Self {
        if let Some(Place::Node(node)) = self.place.as_deref_mut() {
            node.attribute = Some(attribute.to_owned());
        }
        self
    }

    /// Adds words beside the mark in the source text.
    pub fn label(mut self, words: impl Into<String>) -> Self {
        if let Some(Place::Text { label, .. }) = self.place.as_deref_mut() {
            *label = brief(words);
        }
        self
    }

    /// Adds a second part of the source text that explains the first.
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        if let Some(Place::Text { related, .. }) = self.place.as_deref_mut() {
            *related = Some((span, brief(label)));
        }
        self
    }

    /// Adds the nearest of the words that would have been right, if one is near.
    pub fn did_you_mean<'a>(self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(written, known) {
            Some(word) => self.label(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// Adds the reason.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(brief(cause));
        self
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(brief(help));
        self
    }

    fn span(&self) -> Option<&Span> {
        match self.place.as_deref() {
            Some(Place::Text { span, .. }) => Some(span),
            _ => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.place.as_deref() {
            None | Some(Place::Text { .. }) => {}
            Some(Place::Node(node)) => write!(f, "\n  at:   {node}")?,
            Some(Place::Layer(layer)) => write!(f, "\n  at:   layer `{layer}`")?,
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  why:  {cause}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` ({})", self.node, self.op)?;
        match &self.attribute {
            Some(attribute) => write!(f, ", `{attribute}`"),
            None => Ok(()),
        }
    }
}

/// Everything that stands against something: one diagnostic at least.
///
/// As an error it displays all of them; as a slice it gives them one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// Those that were found, kept or not.
    count: usize,
    source: Option<Source>,
}

impl Diagnostics {
    /// How many mistakes were found, shown or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first mistake in one line, with the number of its line where there is a source text.
    pub fn summary(&self) -> String {
        let Some(first) = self.list.first() else { return String::new() };
        let line = self.source.as_ref().zip(first.span());
        let line = line.map(|(source, span)| format!("line {}: ", source.line_number(span)));
        format!("{}{}", line.unwrap_or_default(), first.message)
    }

    /// The mistakes in their order, where there is a source text each with its line and a mark
    /// under the place; with ANSI colours if asked.
    pub fn render(&self, color: bool) -> String {
        let mut all: Vec<String> = match &self.source {
            Some(source) => source.render(&self.list, color),
            None => self.list.iter().map(Diagnostic::to_string).collect(),
        };
        let hidden = self.count - self.list.len();
        if hidden > 0 {
            all.push(format!("... and {hidden} more"));
        }
        let between = if self.source.is_some() { "\n\n" } else { "\n" };
        all.join(between) + "\n"
    }
}

impl Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        vec![one].into()
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Self {
        Diagnostics { count: list.len(), list, source: None }
    }
}

impl From<Diagnostics> for Vec<Diagnostic> {
    fn from(all: Diagnostics) -> Self {
        all.list
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects the mistakes of one reading of a source text, of which it keeps the first few.
#[derive(Debug, Default)]
pub struct Collector {
    list: Vec<Diagnostic>,
    count: usize,
}

impl Collector {
    /// Adds a mistake.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.count += 1;
        if self.list.len() < SHOWN_MAX {
            self.list.push(diagnostic);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All in the order of the text; what is missing comes last.
    pub fn finish(mut self, file: &str, source: &str) -> Diagnostics {
        self.list.sort_by_key(|one| one.span().map_or(usize::MAX, |span| span.start));
        let source = Some(Source::new(file, source));
        Diagnostics { list: self.list, count: self.count, source }
    }
}

/// A text without what nobody would read on to.
fn brief(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((end, _)) = text.char_indices().nth(MESSAGE_CHARS_MAX) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// The known word that was probably meant: at most a third of it is different.
fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 40;
    /// Candidates that are compared: a text with very many names and mistakes must not take long.
    const COMPARED: usize = 1000;
    if written.len() > LONGEST {
        return None;
    }
    let lower = written.to_ascii_lowercase();
    let distance = |word: &str| strsim::levenshtein(&lower, &word.to_ascii_lowercase());
    let near = |word: &&str| distance(word) <= (word.len().max(written.len()) / 3).max(1);
    let fits = known
        .into_iter()
        .take(COMPARED)
        .filter(|word| !word.is_empty() && word.len() <= LONGEST && *word != written);
    fits.filter(near).min_by_key(|word| distance(word))
}
