//! How maps lie in the activation memory of a machine, each as if it began at address 0.
//!
//! A map has one layout for all its readers. The input is packed for each of its readers anew.

use std::ops::Range;

use qnnsim_isa::{HardwarePoint, MapLayout};

use super::facts::{Facts, is_packed};
use crate::geometry::Windows;
use crate::ir::MapId;

/// The layouts of all maps.
#[derive(Debug, Clone)]
pub struct Layouts {
    /// The packed inputs, one for each term that reads the input, in the order of their readers.
    pub inputs: Vec<PackedInput>,
    /// By layer, the map that it writes.
    pub maps: Vec<MapLayout>,
}

/// What a term reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The input, packed: its number in [`Layouts::inputs`].
    Input(usize),
    /// The map of the layer with this index.
    Map(usize),
}

/// How the input is packed for one reader.
#[derive(Debug, Clone)]
pub struct PackedInput {
    /// Index of the layer that reads it.
    pub layer: usize,
    /// Which of that layer's terms reads it.
    pub term: usize,
    /// The windows of an image row whose pixels are gathered, each in a packed pixel.
    pub gather: Windows,
    /// Packed pixels of a row.
    pub windows: u32,
    /// Code that stands for a pixel outside the row.
    pub pad: u8,
    /// Lanes that the last word of a packed pixel uses.
    pub tail: u32,
    /// The packed map: windows are its columns, and a packed pixel is one plane.
    pub layout: MapLayout,
}

impl PackedInput {
    /// The pixels of an image row that some windows take, and how many pixels the first of these
    /// begins before them.
    pub fn pixels(&self, windows: &Range<u32>, width: u32) -> (Range<u32>, u32) {
        if *windows == (0..self.windows) {
            return (0..width, self.gather.before);
        }
        let start = self.gather.coordinate(windows.start.into(), 0);
        let end = self.gather.coordinate(i64::from(windows.end) - 1, self.gather.kernel - 1) + 1;
        let first = start.clamp(0, i64::from(width) - 1);
        let end = end.clamp(first + 1, width.into());
        (first as u32..end as u32, (first - start) as u32)
    }
}

impl Layouts {
    /// The layouts that a network's maps have on a machine.
    pub fn new(facts: &Facts, hw: &HardwarePoint) -> Self {
        let network = &facts.network;
        let mut inputs = Vec::new();
        let mut readers = vec![None; facts.layers.len()];
        for (layer, (given, reader)) in network.layers.iter().zip(&facts.layers[..]).enumerate() {
            for (number, (term, &phases)) in given.terms.iter().zip(&reader.phases).enumerate() {
                if let Some(writer) = term.source.0.checked_sub(1) {
                    readers[writer] = Some((phases, reader.pitch));
                    continue;
                }
                let shape = reader.inputs[number].0;
                let packed = is_packed(term);
                let windows = if packed { term.output_shape(shape).width } else { shape.width };
                let mut gather = if packed { term.conv.windows(1) } else { Windows::ONE };
                if windows == 1 {
                    // No window follows, and the operand need not hold how far it would be.
                    gather.stride = 1;
                }
                let lanes = 8 * shape.channels * gather.kernel;
                let words = lanes.div_ceil(hw.mac_lanes);
                inputs.push(PackedInput {
                    layer,
                    term: number,
                    gather,
                    windows,
                    pad: term.pad_value as u8,
                    tail: lanes - (words - 1) * hw.mac_lanes,
                    layout: MapLayout::dense(
                        [shape.height, windows],
                        [1, words],
                        phases,
                        reader.pitch,
                        hw.mac_rows,
                    ),
                });
            }
        }
        let map = |(writer, reader): (usize, Option<([u32; 2], u32)>)| {
            let (shape, code) = network.map(MapId(writer + 1));
            // What nothing but STORE reads lies pixel after pixel.
            let (phases, pitch) = reader.unwrap_or(([1, 1], shape.width));
            let words = shape.channels.div_ceil(hw.mac_lanes);
            let size = [shape.height, shape.width];
            MapLayout::dense(size, [code.bits, words], phases, pitch, hw.mac_rows)
        };
        Layouts { inputs, maps: readers.into_iter().enumerate().map(map).collect() }
    }

    /// The layout of what a term reads.
    pub fn of(&self, source: Source) -> MapLayout {
        match source {
            Source::Input(number) => self.inputs[number].layout,
            Source::Map(layer) => self.maps[layer],
        }
    }
}
