//! The integer network as text. `{}` shortens long lists of thresholds, `{:#}` writes all of them.

use std::fmt::{Display, Formatter, Result};

use qnnsim_isa::descriptor::{Code, MapShape};

use crate::ir::{Activation, Conv, Layer, MapId, Network, Pool, Region, StepFunction, WeightKind};

/// Channels of a layer, and thresholds of a channel, that the short form shows.
const SHOWN: usize = 4;

impl Display for Network {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let input = &self.input;
        writeln!(f, "network {}", self.name)?;
        writeln!(
            f,
            "input {}: {}, {} = real{} / {}, pixel p is {} x p + {}, bytes XOR {:#04x}",
            input.name,
            Shape(input.shape),
            Type(input.code),
            if input.model.is_some() { " behind the model's own operators" } else { "" },
            input.quantizer.scale,
            Numbers(&input.pixel_scale),
            Numbers(&input.pixel_offset),
            input.xor,
        )?;
        for (index, layer) in self.layers.iter().enumerate() {
            let sources: Vec<String> =
                layer.terms.iter().map(|term| term.source.0.to_string()).collect();
            writeln!(f, "layer {}: map {} -> map {}", layer.name, sources.join(" + "), index + 1)?;
            write_layer(f, self, layer)?;
            let (shape, code) = self.map(MapId(index + 1));
            writeln!(f, "  makes   {} of {}", Shape(shape), Type(code))?;
        }
        let output = &self.output;
        writeln!(f, "output: {}, {}", Shape(output.shape), Type(output.code))?;
        for value in &output.values {
            let (first, channels) = (value.first_channel, value.channels);
            write!(f, "  value {}: {channels} channels from {first}", value.name)?;
            value.ops.iter().try_for_each(|op| write!(f, " {op}"))?;
            writeln!(f)?;
        }
        for tensor in &output.outputs {
            writeln!(f, "  output {} {:?}", tensor.name, tensor.dims)?;
        }
        Ok(())
    }
}

/// One number, or a list.
struct Numbers<'a>(&'a [f64]);

impl Display for Numbers<'_> {
    fn fmt(&self, f: &mut Formatter) -> Result {
        match self.0 {
            [one] => write!(f, "{one}"),
            list => write!(f, "{list:?}"),
        }
    }
}

fn write_layer(f: &mut Formatter, network: &Network, layer: &Layer) -> Result {
    let sums = network.sums(layer);
    let bounds = network.accumulator_bounds(layer);
    let low = bounds.iter().map(|b| b.0).min().unwrap_or(0);
    let high = bounds.iter().map(|b| b.1).max().unwrap_or(0);
    for term in &layer.terms {
        let (input, _) = network.map(term.source);
        write!(f, "  conv    {} -> {}, {}", Shape(input), Shape(sums), term.conv)?;
        if let Some(Region { rows, columns }) = term.region {
            write!(f, ", rows {}..{}, columns {}..{}", rows[0], rows[1], columns[0], columns[1])?;
        }
        writeln!(f)?;
        writeln!(f, "  weights {} of {}", term.weights.data.len(), Kind(term.weights.kind))?;
    }
    writeln!(f, "  sums    {} MACs, {low}..={high}", network.macs(layer))?;
    match &layer.activation {
        Activation::Raw => writeln!(f, "  raw")?,
        Activation::Steps { code, channels } => {
            writeln!(f, "  steps   to {}", Type(*code))?;
            let shown = if f.alternate() { channels.len() } else { SHOWN };
            for (channel, steps) in channels.iter().enumerate().take(shown) {
                write!(f, "    [{channel}] ")?;
                write_steps(f, steps)?;
            }
            if channels.len() > shown {
                writeln!(f, "    ... {} more channels", channels.len() - shown)?;
            }
        }
    }
    match &layer.pool {
        Some(pool) => writeln!(f, "  pool    {pool}"),
        None => Ok(()),
    }
}

fn write_steps(f: &mut Formatter, steps: &StepFunction) -> Result {
    let count = steps.thresholds.len();
    let shown = if f.alternate() { count } else { SHOWN };
    write!(f, "{}", steps.lowest)?;
    if count > 0 {
        write!(f, ", one more at each of {}", if steps.rising { ">=" } else { "<=" })?;
    }
    for threshold in steps.thresholds.iter().take(shown) {
        write!(f, " {threshold}")?;
    }
    if count > shown {
        write!(f, " ... {} ({count} in all)", steps.thresholds[count - 1])?;
    }
    writeln!(f)
}

impl Display for Conv {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "kernel={} stride={}", Pair(self.kernel), Pair(self.stride))?;
        if self.dilation != [1, 1] {
            write!(f, " dilation={}", Pair(self.dilation))?;
        }
        if self.groups != 1 {
            write!(f, " groups={}", self.groups)?;
        }
        write!(f, " pads={:?}", self.pads)
    }
}

impl Display for Pool {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "kernel={} stride={}", Pair(self.kernel), Pair(self.stride))?;
        write!(f, " pads={:?}{}", self.pads, if self.ceil_mode { " ceil" } else { "" })
    }
}

struct Pair([u32; 2]);

impl Display for Pair {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "{}x{}", self.0[0], self.0[1])
    }
}

/// Channels x height x width.
struct Shape(MapShape);

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "{}x{}x{}", self.0.channels, self.0.height, self.0.width)
    }
}

/// A type as in `u8` and `s32`.
struct Type(Code);

impl Display for Type {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "{}{}", if self.0.signed { 's' } else { 'u' }, self.0.bits)
    }
}

struct Kind(WeightKind);

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter) -> Result {
        match self.0 {
            WeightKind::Unsigned1 => write!(f, "u1"),
            WeightKind::Bipolar => write!(f, "-1 and +1"),
            WeightKind::Signed(bits) => write!(f, "s{bits}"),
        }
    }
}
