//! Integer expressions: numbers, constants, labels, `( ) - * / % + << >>`, with the precedence of
//! C.

use std::collections::HashMap;

use crate::cursor::Cursor;
use crate::limits::{DEPTH_MAX, MAGNITUDE_MAX, SUGGESTED_MAX};
use qnnsim_diagnostic::{Diagnostic, Span};

use crate::Parsed;
use crate::text;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Symbol {
    /// A constant; `None` if its definition was a mistake.
    Constant(Option<i128>),
    /// A place whose address is not known yet.
    Label,
    /// A place in DRAM.
    Address(u32),
}

/// The names of a program.
#[derive(Debug)]
pub(crate) struct Scope {
    symbols: HashMap<String, (Symbol, Option<Span>)>,
    /// Whether all labels are known and have addresses.
    laid_out: bool,
}

/// A value with its place; the number is `None` as long as it depends on an address not known yet.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub number: Option<i128>,
    pub span: Span,
}

impl Scope {
    pub fn new() -> Self {
        let built_in = [text::INPUT, text::OUTPUT].map(|name| (name.into(), (Symbol::Label, None)));
        Scope { symbols: HashMap::from(built_in), laid_out: false }
    }

    /// Gives a name its meaning.
    pub fn define(&mut self, name: &str, symbol: Symbol, span: Span) -> Parsed<()> {
        match self.symbols.get(name) {
            None => {
                self.symbols.insert(name.into(), (symbol, Some(span)));
                Ok(())
            }
            Some((_, Some(first))) => {
                Err(Diagnostic::in_text(span, format!("`{name}` is defined twice"))
                    .related(first.clone(), "first here"))
            }
            Some((_, None)) => Err(Diagnostic::in_text(span, format!("`{name}` is defined twice"))
                .cause("INPUT and OUTPUT are the addresses of the input and of the output")),
        }
    }

    /// Gives a label its address.
    pub fn place(&mut self, name: &str, address: u32) {
        if let Some((symbol, _)) = self.symbols.get_mut(name) {
            *symbol = Symbol::Address(address);
        }
    }

    /// From now on an unknown name is a mistake.
    pub fn laid_out(&mut self) {
        self.laid_out = true;
    }

    /// Reads an expression.
    pub fn value(&self, cursor: &mut Cursor) -> Parsed<Value> {
        self.spanned(cursor, |reader| reader.binary(0))
    }

    /// Reads a number, a name or a parenthesised expression, with a sign or without.
    pub fn term(&self, cursor: &mut Cursor) -> Parsed<Value> {
        self.spanned(cursor, |reader| reader.unary())
    }

    /// Reads a decimal number or a parenthesised expression.
    pub fn plain_term(&self, cursor: &mut Cursor) -> Parsed<Value> {
        self.spanned(cursor, |reader| {
            if reader.cursor.peek() == Some(b'(') {
                return reader.unary();
            }
            let span = reader.cursor.digits();
            if span.is_empty() {
                let here = reader.cursor.here();
                return Err(Diagnostic::in_text(
                    here,
                    "expected a decimal number or an expression in parentheses",
                ));
            }
            Ok(Some(number(&span, reader.cursor.slice(&span))?))
        })
    }

    /// Reads an expression whose value is needed at once.
    pub fn value_now(&self, cursor: &mut Cursor) -> Parsed<Option<i128>> {
        let mut reader = Reader { scope: self, cursor, depth: 0, now: true };
        reader.binary(0)
    }

    fn spanned<'s>(
        &self,
        cursor: &mut Cursor<'s>,
        read: impl FnOnce(&mut Reader<'_, '_, 's>) -> Parsed<Option<i128>>,
    ) -> Parsed<Value> {
        let start = cursor.here().start;
        let number = read(&mut Reader { scope: self, cursor, depth: 0, now: false })?;
        Ok(Value { number, span: cursor.since(start) })
    }
}

/// Operators from the loosest to the tightest binding.
const LEVELS: [&[&str]; 3] = [&["<<", ">>"], &["+", "-"], &["*", "/", "%"]];

struct Reader<'a, 'c, 's> {
    scope: &'a Scope,
    cursor: &'c mut Cursor<'s>,
    depth: u32,
    now: bool,
}

impl Reader<'_, '_, '_> {
    fn binary(&mut self, level: usize) -> Parsed<Option<i128>> {
        let Some(&operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.cursor.here().start;
            let Some(operator) = operators.iter().find(|o| self.cursor.take(o)) else {
                return Ok(left);
            };
            let span = self.cursor.since(at);
            let right = self.binary(level + 1)?;
            left = match (left, right) {
                (Some(a), Some(b)) => {
                    Some(apply(operator, a, b).map_err(|why| Diagnostic::in_text(span, why))?)
                }
                _ => None,
            };
        }
    }

    fn unary(&mut self) -> Parsed<Option<i128>> {
        let here = self.cursor.here();
        if self.depth == DEPTH_MAX {
            return Err(Diagnostic::in_text(
                here,
                format!("an expression nests at most {DEPTH_MAX} deep"),
            ));
        }
        self.depth += 1;
        let value = match self.cursor.peek() {
            Some(b'-') => {
                self.cursor.take("-");
                // No overflow: every value lies within the limits of `bounded`.
                self.unary()?.map(|x| -x)
            }
            Some(b'(') => {
                self.cursor.take("(");
                let value = self.binary(0)?;
                if !self.cursor.take(")") {
                    let end = self.cursor.here();
                    return Err(
                        Diagnostic::in_text(end, "expected `)`").related(here, "opened here")
                    );
                }
                value
            }
            Some(b) if b.is_ascii_digit() => {
                let span = self.cursor.run();
                Some(number(&span, self.cursor.slice(&span))?)
            }
            _ => match self.cursor.name() {
                Some(span) => self.name(span)?,
                None => return Err(Diagnostic::in_text(here, "expected a number, a name or `(`")),
            },
        };
        self.depth -= 1;
        Ok(value)
    }

    fn name(&self, span: Span) -> Parsed<Option<i128>> {
        let name = self.cursor.slice(&span);
        let symbol = self.scope.symbols.get(name).map(|(symbol, _)| *symbol);
        match symbol {
            Some(Symbol::Constant(value)) => Ok(value),
            Some(Symbol::Address(address)) => Ok(Some(address.into())),
            Some(Symbol::Label) | None if self.now => {
                Err(Diagnostic::in_text(span, format!("the value of `{name}` is not known here"))
                    .cause("sizes, addresses in brackets and constants need constants defined above them, no labels"))
            }
            Some(Symbol::Label) => Ok(None),
            None if !self.scope.laid_out => Ok(None),
            None => {
                // A map has no order, but the suggestion must always be the same: of all names or of none.
                let mut known: Vec<&str> = Vec::new();
                if self.scope.symbols.len() <= SUGGESTED_MAX {
                    known.extend(self.scope.symbols.keys().map(String::as_str));
                    known.sort_unstable();
                }
                Err(Diagnostic::in_text(span, format!("unknown name `{name}`"))
                    .did_you_mean(name, known)
                    .cause("a name is a constant defined above (.const), a label, INPUT or OUTPUT"))
            }
        }
    }
}

fn bounded(value: Option<i128>) -> Result<i128, &'static str> {
    value.filter(|v| (-MAGNITUDE_MAX..=MAGNITUDE_MAX).contains(v)).ok_or("this number is too large")
}

fn apply(operator: &str, a: i128, b: i128) -> Result<i128, &'static str> {
    match operator {
        "+" => bounded(a.checked_add(b)),
        "-" => bounded(a.checked_sub(b)),
        "*" => bounded(a.checked_mul(b)),
        "/" => bounded(a.checked_div(b)).map_err(|_| "division by zero"),
        "%" => bounded(a.checked_rem(b)).map_err(|_| "division by zero"),
        _ => {
            let places = u32::try_from(b)
                .ok()
                .filter(|&b| b <= 120)
                .ok_or("a shift is by 0 to 120 places")?;
            if operator == "<<" { bounded(a.checked_mul(1 << places)) } else { Ok(a >> places) }
        }
    }
}

/// The digits of a literal without their prefix, and their base.
pub(crate) fn digits(literal: &str) -> (&str, u32) {
    let prefixed =
        |lower, upper| literal.strip_prefix(lower).or_else(|| literal.strip_prefix(upper));
    if let Some(digits) = prefixed("0x", "0X") {
        (digits, 16)
    } else if let Some(digits) = prefixed("0b", "0B") {
        (digits, 2)
    } else {
        (literal, 10)
    }
}

/// The value of a literal.
fn number(span: &Span, literal: &str) -> Parsed<i128> {
    let (digits, base) = digits(literal);
    let mut value = Some(0i128);
    let mut any = false;
    for character in digits.chars().filter(|&c| c != '_') {
        let Some(digit) = character.to_digit(base) else {
            return Err(malformed(span, literal));
        };
        any = true;
        value = value.and_then(|v| v.checked_mul(base.into())?.checked_add(digit.into()));
    }
    if !any {
        return Err(malformed(span, literal));
    }
    bounded(value).map_err(|why| Diagnostic::in_text(span.clone(), why))
}

/// The mistake of a literal with wrong digits.
pub(crate) fn malformed(span: &Span, literal: &str) -> Diagnostic {
    let shown: String = literal.chars().take(40).collect();
    Diagnostic::in_text(span.clone(), format!("`{shown}` is not a number"))
        .cause("numbers are decimal, 0x and hexadecimal, or 0b and binary digits; _ may stand between digits")
}
