//! Diagnostics in a source text: each with its line and a mark under the place.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

use crate::limits::SHOWN_BYTES_MAX;
use crate::{Diagnostic, Place, Span};

/// A source text with the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    file: String,
    text: String,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        Source { file: file.into(), text: text.into() }
    }

    /// Number of the line in which a place begins, from 1.
    pub fn line_number(&self, span: &Span) -> usize {
        let before = &self.text.as_bytes()[..self.line(span).start];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    pub fn render(&self, list: &[Diagnostic], color: bool) -> Vec<String> {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        list.iter().map(|diagnostic| self.render_one(diagnostic, &renderer)).collect()
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(diagnostic.message.as_str());
        let mut group = match diagnostic.place.as_deref() {
            Some(Place::Text { span, label, related }) => {
                let related = related
                    .iter()
                    .map(|(span, label)| (span, AnnotationKind::Context, label.as_str()));
                let primary = (span, AnnotationKind::Primary, label.as_str());
                let line = self.line(span);
                let (same, other): (Vec<_>, Vec<_>) =
                    related.partition(|(span, ..)| self.line(span) == line);
                let group =
                    title.element(self.snippet(std::iter::once(primary).chain(same).collect()));
                group.elements(other.into_iter().map(|mark| self.snippet(vec![mark])))
            }
            _ => title.element(Origin::path(self.file.as_str())),
        };
        if let Some(cause) = &diagnostic.cause {
            group = group.element(Level::NOTE.message(cause.as_str()));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// The line in which a place begins, without its end.
    fn line(&self, span: &Span) -> Span {
        let text = self.text.as_str();
        let at = boundary(text, span.start);
        let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
        start..start + text[start..end].trim_end_matches('\r').len()
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
        boundary(&self.text, start)..boundary(&self.text, end)
    }

    /// Marks in the line of the first one. The renderer gets this line alone, so that a mistake
    /// costs no walk over the whole text.
    fn snippet<'a>(
        &'a self,
        marks: Vec<(&Span, AnnotationKind, &'a str)>,
    ) -> Snippet<'a, Annotation<'a>> {
        let text = self.text.as_str();
        let (line, number) = (self.shown(marks[0].0), self.line_number(marks[0].0));
        let annotations = marks.into_iter().map(|(span, kind, label)| {
            let inside = |at| boundary(text, at).clamp(line.start, line.end) - line.start;
            let start = inside(span.start);
            kind.span(start..inside(span.end).max(start))
                .label((!label.is_empty()).then_some(label))
        });
        let annotations: Vec<_> = annotations.collect();
        Snippet::source(&text[line])
            .line_start(number)
            .path(self.file.as_str())
            .annotations(annotations)
    }
}

/// The place of the next whole character.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}
