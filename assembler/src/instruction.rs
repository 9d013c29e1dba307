//! One instruction, read by the instruction table.

use qnnsim_isa::operand::Kind;
use qnnsim_isa::operand::{Parts, Unit};
use qnnsim_isa::table::{Field, Instruction, Row};

use crate::cursor::Cursor;
use qnnsim_diagnostic::{Collector, Diagnostic, Span};

use crate::Parsed;
use crate::expression::{Scope, Value};
use crate::text::{self, SEMAPHORES};

/// An encoded instruction.
pub(crate) struct Encoded {
    pub word: u128,
    /// Whether an operand depends on an address not known yet; the word is provisional then.
    pub late: bool,
}

/// Reads an instruction.
pub(crate) fn instruction(
    cursor: &mut Cursor,
    scope: &Scope,
    semaphores: &[String],
    problems: &mut Collector,
) -> Parsed<Encoded> {
    let row = mnemonic(cursor)?;
    let mut reader = OperandReader { row, scope, semaphores, problems, late: false };
    let mut operands: Vec<Option<(Parts, Span)>> = vec![None; row.fields.len()];
    while cursor.peek().is_some() {
        let (index, parts, span) = reader.operand(cursor)?;
        match &operands[index] {
            Some((_, first)) => reader.problems.report(
                Diagnostic::in_text(
                    span,
                    format!("`{}` is given twice", shown_name(&row.fields[index])),
                )
                .related(first.clone(), "first here"),
            ),
            None => operands[index] = Some((parts, span)),
        }
    }
    let mut values = Vec::new();
    for (field, operand) in row.fields.iter().zip(operands) {
        match operand {
            Some((parts, _)) => values.push(parts),
            None if field.kind == Kind::UnitName => {
                return Err(Diagnostic::in_text(
                    cursor.here(),
                    format!("`{}` needs a unit", row.mnemonic),
                )
                .cause(format!("units are {}", field.kind.range())));
            }
            None => values.push(field.kind.default_parts()),
        }
    }
    let late = reader.late;
    match row.instruction(&values).and_then(|instruction| instruction.encode()) {
        Ok(word) => Ok(Encoded { word, late }),
        // An operand out of range was reported where it stands.
        Err(_) => Ok(Encoded { word: 0, late }),
    }
}

/// Reads the one or two words that name a row.
fn mnemonic(cursor: &mut Cursor) -> Parsed<&'static Row> {
    let find = |text: &str| Instruction::TABLE.iter().copied().find(|row| row.mnemonic == text);
    let Some(first) = cursor.name() else {
        return Err(Diagnostic::in_text(
            cursor.here(),
            "expected an instruction, a directive or a label",
        ));
    };
    let word = cursor.slice(&first);
    if let Some(row) = find(word) {
        return Ok(row);
    }
    let seconds: Vec<&str> = Instruction::TABLE
        .iter()
        .filter_map(|row| row.mnemonic.strip_prefix(word)?.strip_prefix(' '))
        .collect();
    if seconds.is_empty() {
        let known =
            Instruction::TABLE.iter().map(|row| row.mnemonic.split(' ').next().unwrap_or_default());
        let it = Diagnostic::in_text(first, format!("unknown instruction `{word}`"));
        return Err(
            match Instruction::TABLE.iter().find(|row| row.mnemonic.split(' ').nth(1) == Some(word))
            {
                Some(row) => it.label(format!("did you mean `{}`?", row.mnemonic)),
                None => it.did_you_mean(word, known),
            },
        );
    }
    let Some(second) = cursor.name() else {
        return Err(Diagnostic::in_text(
            cursor.here(),
            format!("expected a register group behind `{word}`"),
        )
        .cause(format!("`{word}` is followed by {}", seconds.join(", "))));
    };
    let group = cursor.slice(&second);
    find(&format!("{word} {group}")).ok_or_else(|| {
        Diagnostic::in_text(second, format!("unknown register group `{group}`"))
            .did_you_mean(group, seconds.iter().copied())
            .cause(format!("`{word}` is followed by {}", seconds.join(", ")))
    })
}

/// How a message calls an operand.
fn shown_name(field: &Field) -> &'static str {
    match field.kind {
        Kind::Repeat => "x",
        Kind::UnitName => "unit",
        _ => field.name,
    }
}

struct OperandReader<'a> {
    row: &'static Row,
    scope: &'a Scope,
    semaphores: &'a [String],
    problems: &'a mut Collector,
    late: bool,
}

impl OperandReader<'_> {
    /// Reads one operand: its number in the row, its value, its place.
    fn operand(&mut self, cursor: &mut Cursor) -> Parsed<(usize, Parts, Span)> {
        let Some(word) = cursor.name() else {
            return Err(
                Diagnostic::in_text(cursor.here(), "expected an operand").cause(self.syntax())
            );
        };
        let name = cursor.slice(&word);
        let field = |wanted: &dyn Fn(&Field) -> bool| self.row.fields.iter().position(wanted);

        if cursor.take("=") {
            let Some(index) = field(&|f| f.name == name && !is_bare(f.kind)) else {
                return Err(self.unknown(word, name, true));
            };
            let parts = self.parts(cursor, &self.row.fields[index])?;
            return Ok((index, parts, cursor.since(word.start)));
        }
        if let Some(index) = field(&|f| f.kind == Kind::Flag && f.name == name) {
            return Ok((index, [1, 0, 0, 0], word));
        }
        if let (Some(unit), Some(index)) =
            (Unit::ALL.iter().position(|u| u.name() == name), field(&|f| f.kind == Kind::UnitName))
        {
            return Ok((index, [unit as i64, 0, 0, 0], word));
        }
        // `x64` or `x(2*N)`.
        let counted =
            name.strip_prefix('x').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        if let (true, Some(index)) =
            (counted || name == "x" && cursor.touches(b'('), field(&|f| f.kind == Kind::Repeat))
        {
            cursor.at = word.start + 1;
            let value = self.scope.term(cursor)?;
            let count = self.in_range(&self.row.fields[index], 0, &value);
            return Ok((index, [count, 0, 0, 0], cursor.since(word.start)));
        }
        Err(self.unknown(word, name, false))
    }

    /// How this instruction's operands are written.
    fn syntax(&self) -> String {
        let all: Vec<String> = self.row.fields.iter().map(|f| f.kind.syntax(f.name)).collect();
        let operands = if all.is_empty() {
            "takes no operands".into()
        } else {
            format!("takes {}", all.join(" "))
        };
        format!("`{}` {operands}", self.row.mnemonic)
    }

    fn unknown(&self, span: Span, name: &str, with_value: bool) -> Diagnostic {
        let field = self
            .row
            .fields
            .iter()
            .find(|f| f.name == name && !matches!(f.kind, Kind::Repeat | Kind::UnitName));
        let it = match (field, with_value) {
            (Some(_), true) => {
                Diagnostic::in_text(span, format!("`{name}` takes no value: write it alone"))
            }
            (Some(field), false) => {
                Diagnostic::in_text(span.clone(), format!("`{name}` needs a value"))
                    .label(format!("write `{}`", field.kind.syntax(name)))
            }
            (None, _) => {
                let names = self.row.fields.iter().map(|f| f.name);
                Diagnostic::in_text(
                    span,
                    format!("`{}` has no operand `{name}`", self.row.mnemonic),
                )
                .did_you_mean(name, names)
            }
        };
        it.cause(self.syntax())
    }

    /// Reads what stands behind `name=`.
    fn parts(&mut self, cursor: &mut Cursor, field: &Field) -> Parsed<Parts> {
        let form = format!("`{}`", field.kind.syntax(field.name));
        let mut parts = [0; 4];
        match field.kind {
            Kind::Uint { .. } | Kind::Sint { .. } => {
                let value = self.scope.value(cursor)?;
                parts[0] = self.in_range(field, 0, &value);
            }
            Kind::Pair { .. } => {
                let y = self.scope.plain_term(cursor)?;
                cursor.expect("x", &form)?;
                let x = self.scope.plain_term(cursor)?;
                parts[0] = self.in_range(field, 0, &y);
                parts[1] = self.in_range(field, 1, &x);
            }
            Kind::Interval => self.interval(cursor, field, &form, &mut parts, 0)?,
            Kind::Tap => {
                let offset = self.scope.term(cursor)?;
                parts[0] = self.in_range(field, 0, &offset);
                if cursor.take("+") {
                    let remainder = self.scope.term(cursor)?;
                    parts[1] = self.in_range(field, 1, &remainder);
                }
                cursor.expect(":", &form)?;
                self.interval(cursor, field, &form, &mut parts, 2)?;
            }
            Kind::Mask => parts[0] = self.mask(cursor)?,
            Kind::Choice(names) => {
                let word = cursor.run();
                let name = cursor.slice(&word);
                let Some(index) = names.iter().position(|&n| n == name) else {
                    let word = if word.is_empty() { cursor.here() } else { word };
                    return Err(Diagnostic::in_text(
                        word,
                        format!("unknown value of `{}`", field.name),
                    )
                    .did_you_mean(name, names.iter().copied())
                    .cause(format!(
                        "`{}` is one of {}",
                        field.name,
                        field.kind.range()
                    )));
                };
                parts[0] = index as i64;
            }
            Kind::Flag | Kind::Repeat | Kind::UnitName => {
                unreachable!("operands without a value are read as words")
            }
        }
        Ok(parts)
    }

    /// Reads `[first,last]` into two parts from `part` on.
    fn interval(
        &mut self,
        cursor: &mut Cursor,
        field: &Field,
        form: &str,
        parts: &mut Parts,
        part: usize,
    ) -> Parsed<()> {
        cursor.expect("[", form)?;
        let first = self.scope.value(cursor)?;
        cursor.expect(",", form)?;
        let last = self.scope.value(cursor)?;
        cursor.expect("]", form)?;
        parts[part] = self.in_range(field, part, &first);
        parts[part + 1] = self.in_range(field, part + 1, &last);
        Ok(())
    }

    /// Reads a list of semaphores.
    fn mask(&mut self, cursor: &mut Cursor) -> Parsed<i64> {
        let mut mask = 0i64;
        loop {
            let Some(word) = cursor.name() else {
                return Err(Diagnostic::in_text(cursor.here(), "expected a semaphore")
                    .cause(semaphore_note()));
            };
            let name = cursor.slice(&word);
            let declared = self.semaphores.iter().position(|s| s == name);
            let Some(number) = declared.or_else(|| text::semaphore_number(name)) else {
                return Err(Diagnostic::in_text(word, format!("unknown semaphore `{name}`"))
                    .did_you_mean(name, self.semaphores.iter().map(String::as_str))
                    .cause(semaphore_note()));
            };
            if mask >> number & 1 == 1 {
                self.problems.report(
                    Diagnostic::in_text(word, format!("semaphore `{name}` is given twice"))
                        .cause("a step takes or gives one at most"),
                );
            }
            mask |= 1 << number;
            if !cursor.take(",") {
                return Ok(mask);
            }
        }
    }

    /// The value as a part of an operand; a mistake is reported and replaced by a legal value, so
    /// that the rest of the line is still read.
    fn in_range(&mut self, field: &Field, part: usize, value: &Value) -> i64 {
        let (min, max) = field.kind.limits(part);
        let Some(number) = value.number else {
            self.late = true;
            return field.kind.default_parts()[part];
        };
        match i64::try_from(number) {
            Ok(fits) if (min..=max).contains(&fits) => fits,
            _ => {
                let name = shown_name(field);
                self.problems.report(
                    Diagnostic::in_text(
                        value.span.clone(),
                        format!("{number} is out of range for `{name}`"),
                    )
                    .label(format!("must be {min} to {max}"))
                    .cause(format!("`{name}`: {}", field.doc)),
                );
                min.max(0)
            }
        }
    }
}

/// Whether an operand is a word without `=`.
fn is_bare(kind: Kind) -> bool {
    matches!(kind, Kind::Flag | Kind::Repeat | Kind::UnitName)
}

fn semaphore_note() -> String {
    format!("a semaphore is s0 to s{} or a name declared above with .semaphore", SEMAPHORES - 1)
}
