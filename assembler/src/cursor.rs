//! A place in the source text, and the few shapes that are read there: words, numbers, quoted text,
//! RON.

use qnnsim_diagnostic::{Diagnostic, Span};

use crate::Parsed;
use crate::text;

/// A place in the source text. Every reading method but [`Cursor::block`] stays within the line.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'s> {
    source: &'s str,
    /// Offset in bytes, always between two characters.
    pub at: usize,
}

/// What a name or a number may consist of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
}

impl<'s> Cursor<'s> {
    pub fn new(source: &'s str, at: usize) -> Self {
        Cursor { source, at }
    }

    pub fn slice(&self, span: &Span) -> &'s str {
        &self.source[span.clone()]
    }

    /// What was read since a place, without blanks at its end.
    pub fn since(&self, start: usize) -> Span {
        start..start + self.source[start..self.at].trim_end().len()
    }

    /// Whether the whole text is read.
    pub fn at_end_of_source(&self) -> bool {
        self.at >= self.source.len()
    }

    /// Goes to the start of the next line.
    pub fn next_line(&mut self) {
        self.at = match self.source[self.at..].find('\n') {
            Some(length) => self.at + length + 1,
            None => self.source.len(),
        };
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    /// The next byte that is no blank; `None` at the end of the line or before a comment.
    pub fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(0), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        self.byte(0).filter(|&b| b != b'\n' && b != b';')
    }

    /// Whether this very byte, without a blank before it, comes next.
    pub fn touches(&self, byte: u8) -> bool {
        self.byte(0) == Some(byte)
    }

    /// Reads a sign if it comes next.
    pub fn take(&mut self, sign: &str) -> bool {
        self.peek();
        let found = self.source[self.at..].starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    /// Reads a sign that must come next.
    pub fn expect(&mut self, sign: &str, form: &str) -> Parsed<()> {
        if self.take(sign) {
            return Ok(());
        }
        Err(Diagnostic::in_text(self.here(), format!("expected `{sign}`"))
            .cause(format!("the form is {form}")))
    }

    /// The next character's place, empty at the end of the line.
    pub fn here(&mut self) -> Span {
        let length = match self.peek() {
            Some(_) => self.source[self.at..].chars().next().map_or(0, char::len_utf8),
            None => 0,
        };
        self.at..self.at + length
    }

    /// Reads letters, digits, `_` and `.`, whatever they begin with; empty if there are none.
    pub fn run(&mut self) -> Span {
        self.peek();
        let start = self.at;
        while self.byte(0).is_some_and(is_word) {
            self.at += 1;
        }
        start..self.at
    }

    /// Reads a name: it begins with a letter or `_`.
    pub fn name(&mut self) -> Option<Span> {
        self.peek().filter(|b| b.is_ascii_alphabetic() || *b == b'_')?;
        Some(self.run())
    }

    /// Reads decimal digits only, so that `3x1` is 3, then `x`, then 1.
    pub fn digits(&mut self) -> Span {
        self.peek();
        let start = self.at;
        while self.byte(0).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        start..self.at
    }

    /// Reads quoted text with RON's escapes.
    pub fn quoted(&mut self) -> Parsed<(String, Span)> {
        let start = self.here();
        if !self.take("\"") {
            return Err(Diagnostic::in_text(start, "expected text in double quotes"));
        }
        match quoted_length(&self.source.as_bytes()[start.start..]) {
            Some(length) => {
                self.at = start.start + length;
                let span = start.start..self.at;
                let value = text::from_ron(self.slice(&span));
                value.map(|v| (v, span.clone())).map_err(|e| Diagnostic::in_text(span, e.message))
            }
            None => Err(Diagnostic::in_text(start, "this text is not closed")
                .cause("quoted text ends on its line; write a line break as \\n")),
        }
    }

    /// Reads a RON value in parentheses, which may span lines, and gives its text with comments
    /// blanked out. It ends before a line that begins with a directive, so that a missing
    /// parenthesis costs one block.
    pub fn block(&mut self, what: &str) -> Parsed<(String, Span)> {
        let start = self.here();
        if self.peek() != Some(b'(') {
            return Err(Diagnostic::in_text(start, format!("expected `(`: {what} in RON")));
        }
        let bytes = self.source.as_bytes();
        let mut out = Vec::new();
        let mut depth = 0usize;
        let mut at = self.at;
        while let Some(&byte) = bytes.get(at) {
            let length = match byte {
                b'"' => match quoted_length(&bytes[at..]) {
                    Some(length) => length,
                    None => {
                        self.at = at;
                        return Err(Diagnostic::in_text(at..at + 1, "this text is not closed")
                            .cause("quoted text ends on its line; write a line break as \\n"));
                    }
                },
                b'\n' if begins_directive(&bytes[at + 1..]) => break,
                _ => 1,
            };
            let comment = byte == b';' || bytes[at..].starts_with(b"//");
            if comment {
                let end =
                    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n);
                // Blanks of the same number of characters keep the columns of RON's errors right.
                out.extend(self.source[at..end].chars().map(|_| b' '));
                at = end;
                continue;
            }
            out.extend(&bytes[at..at + length]);
            at += length;
            depth = match byte {
                b'(' | b'[' | b'{' => depth + 1,
                b')' | b']' | b'}' => depth - 1,
                _ => depth,
            };
            if depth == 0 {
                self.at = at;
                // Whole characters were copied, or replaced by blanks.
                let text = String::from_utf8(out).unwrap_or_default();
                return Ok((text, start.start..at));
            }
        }
        self.at = at;
        Err(Diagnostic::in_text(start, "this parenthesis is not closed"))
    }
}

/// Length of the quoted text that the bytes begin with, if it is closed on the line.
fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\n' => return None,
            b'\\' if bytes.get(at + 1) != Some(&b'\n') => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether a line begins with a directive.
fn begins_directive(line: &[u8]) -> bool {
    let blanks = line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    matches!(&line[blanks..], [b'.', letter, ..] if letter.is_ascii_alphabetic())
}
