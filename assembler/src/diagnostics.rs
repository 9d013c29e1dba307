//! Mistakes in a source text: collected while reading, shown with the place and what is allowed
//! there.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

/// Mistakes that are kept and shown; the rest is only counted.
const SHOWN_MAX: usize = 20;

/// Most characters of a message or of the text beside a mark; what it quotes may be of any length.
const MESSAGE_CHARS_MAX: usize = 500;

/// Most bytes of a line that are shown on either side of where a mark begins.
const SHOWN_BYTES_MAX: usize = 120;

/// A part of the source, in bytes.
pub(crate) type Span = Range<usize>;

/// The result of reading something: it ends the line if it is a mistake.
pub(crate) type Parsed<T> = Result<T, Diagnostic>;

/// One mistake, boxed so that a `Result` stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic(Box<Mistake>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mistake {
    /// Where; `None` if it is something that is not there.
    span: Option<Span>,
    message: String,
    label: String,
    /// Another place that explains this one.
    related: Option<(Span, String)>,
    notes: Vec<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Diagnostic(Box::new(Mistake {
            span: Some(span),
            message: brief(message.into()),
            label: String::new(),
            related: None,
            notes: Vec::new(),
        }))
    }

    /// Something is missing.
    pub fn nowhere(message: impl Into<String>) -> Self {
        let mut it = Self::at(0..0, message);
        it.0.span = None;
        it
    }

    /// With words beside the mark.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.0.label = brief(label.into());
        self
    }

    /// With a line below the snippet.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(brief(note.into()));
        self
    }

    /// With a second place.
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.0.related = Some((span, brief(label.into())));
        self
    }

    /// With the nearest of the words that would have been right, if one is near.
    pub fn did_you_mean<'a>(self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(written, known) {
            Some(word) => self.label(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// Position for sorting: what is missing comes last.
    fn order(&self) -> usize {
        self.0.span.as_ref().map_or(usize::MAX, |s| s.start)
    }
}

/// Mistakes of one reading, at most [`SHOWN_MAX`] of them in full.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    list: Vec<Diagnostic>,
    count: usize,
}

impl Collector {
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.count += 1;
        if self.list.len() < SHOWN_MAX {
            self.list.push(diagnostic);
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn finish(mut self, file: &str, source: &str) -> Diagnostics {
        self.list.sort_by_key(Diagnostic::order);
        Diagnostics { file: file.into(), source: source.into(), list: self.list, count: self.count }
    }
}

/// Everything that is wrong with a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    source: String,
    list: Vec<Diagnostic>,
    count: usize,
}

impl Diagnostics {
    /// How many mistakes were found, shown or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first mistake in one line.
    pub fn summary(&self) -> String {
        let Some(first) = self.list.first() else { return String::new() };
        let line = first.0.span.as_ref().map(|span| {
            let before = &self.source.as_bytes()[..self.line(span).start];
            format!("line {}: ", 1 + before.iter().filter(|&&byte| byte == b'\n').count())
        });
        format!("{}{}", line.unwrap_or_default(), first.0.message)
    }

    /// The mistakes in the order of the text, each with its line and a mark under the place; with
    /// ANSI colours if asked.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut all: Vec<String> =
            self.list.iter().map(|d| self.render_one(&d.0, &renderer)).collect();
        let hidden = self.count - self.list.len();
        if hidden > 0 {
            all.push(format!("... and {hidden} more"));
        }
        all.join("\n\n") + "\n"
    }

    fn render_one(&self, diagnostic: &Mistake, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(diagnostic.message.as_str());
        let related = diagnostic
            .related
            .iter()
            .map(|(span, label)| (span, AnnotationKind::Context, label.as_str()));
        let mut group = match &diagnostic.span {
            Some(span) => {
                let primary = (span, AnnotationKind::Primary, diagnostic.label.as_str());
                let line = self.line(span);
                let (same, other): (Vec<_>, Vec<_>) =
                    related.partition(|(span, ..)| self.line(span) == line);
                let group =
                    title.element(self.snippet(std::iter::once(primary).chain(same).collect()));
                group.elements(other.into_iter().map(|mark| self.snippet(vec![mark])))
            }
            None => title.element(Origin::path(self.file.as_str())),
        };
        for note in &diagnostic.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        renderer.render(&[group])
    }

    /// The line in which a place begins, without its end.
    fn line(&self, span: &Span) -> Span {
        let source = self.source.as_str();
        let at = boundary(source, span.start);
        let start = source[..at].rfind('\n').map_or(0, |at| at + 1);
        let end = source[at..].find('\n').map_or(source.len(), |length| at + length);
        start..start + source[start..end].trim_end_matches('\r').len()
    }

    /// The part of a place's line that is shown: all of it, unless it is so long that nobody would
    /// read it; then what stands around the mark.
    fn shown(&self, span: &Span) -> Span {
        let line = self.line(span);
        if line.len() <= 2 * SHOWN_BYTES_MAX {
            return line;
        }
        let at = span.start.clamp(line.start, line.end);
        let start = at.saturating_sub(SHOWN_BYTES_MAX).max(line.start);
        let end = (at + SHOWN_BYTES_MAX).min(line.end);
        boundary(&self.source, start)..boundary(&self.source, end)
    }

    /// Marks in the line of the first one. The renderer gets this line alone, so that a mistake
    /// costs no walk over the whole text.
    fn snippet<'a>(
        &'a self,
        marks: Vec<(&Span, AnnotationKind, &'a str)>,
    ) -> Snippet<'a, Annotation<'a>> {
        let source = self.source.as_str();
        let line = self.shown(marks[0].0);
        let number = 1 + source[..line.start].bytes().filter(|&b| b == b'\n').count();
        let annotations = marks.into_iter().map(|(span, kind, label)| {
            let inside = |at| boundary(source, at).clamp(line.start, line.end) - line.start;
            let start = inside(span.start);
            kind.span(start..inside(span.end).max(start))
                .label((!label.is_empty()).then_some(label))
        });
        let annotations: Vec<_> = annotations.collect();
        Snippet::source(&source[line])
            .line_start(number)
            .path(self.file.as_str())
            .annotations(annotations)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

/// A text without what nobody would read on to.
fn brief(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MESSAGE_CHARS_MAX) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// The place of the next whole character.
fn boundary(source: &str, at: usize) -> usize {
    (at..source.len()).find(|&at| source.is_char_boundary(at)).unwrap_or(source.len())
}

/// The known word that was probably meant: at most a third of it is different.
fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 40;
    /// Candidates that are compared: a text with very many names and mistakes must not take long.
    const COMPARED: usize = 1000;
    if written.len() > LONGEST {
        return None;
    }
    let near = |word: &&str| distance(written, word) <= (word.len().max(written.len()) / 3).max(1);
    let fits = known
        .into_iter()
        .take(COMPARED)
        .filter(|word| !word.is_empty() && word.len() <= LONGEST && *word != written);
    fits.filter(near).min_by_key(|word| distance(written, word))
}

/// Edits from one word to the other: insertions, deletions, replacements.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
