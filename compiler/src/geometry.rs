//! The geometry of windows that move over a map: how many there are, where they begin, which of
//! their taps lie inside the map.
//!
//! Shape inference, evaluation of the graph, lowering and back end ask here, so that they cannot
//! disagree.

use std::ops::Range;

/// Windows along one axis of a map. Tap `t` of window `i` lies at the coordinate
/// `i * stride + t * dilation - before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Number of taps.
    pub kernel: u32,
    /// Distance of neighbouring windows.
    pub stride: u32,
    /// Distance of neighbouring taps.
    pub dilation: u32,
    /// Padding in front of the map.
    pub before: u32,
    /// Padding behind the map.
    pub after: u32,
    /// Whether a last window counts that reaches beyond the padding (`ceil_mode` of ONNX).
    pub partial: bool,
}

impl Windows {
    /// Each pixel is a window.
    pub const ONE: Windows =
        Windows { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, partial: false };

    /// Distance from the first coordinate of a window to the one behind its last.
    pub fn extent(&self) -> u32 {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Number of windows over a map of this size: those that fit the padded map, and one that
    /// reaches beyond it if partial windows count and it begins before the padding behind the map
    /// (ONNX `MaxPool` and `AveragePool`).
    pub fn count(&self, size: u32) -> u32 {
        let [size, before, after] = [size, self.before, self.after].map(i64::from);
        let stride = i64::from(self.stride);
        let room = size + before + after - i64::from(self.extent());
        let mut last = room.div_euclid(stride);
        if self.partial && room.rem_euclid(stride) != 0 && (last + 1) * stride < size + before {
            last += 1;
        }
        (last + 1).max(0) as u32
    }

    /// Coordinate of a tap of a window; negative in the padding in front. Windows of windows have
    /// windows before the first: their padding.
    pub fn coordinate(&self, window: i64, tap: u32) -> i64 {
        window * i64::from(self.stride) + i64::from(tap) * i64::from(self.dilation)
            - i64::from(self.before)
    }

    /// The windows out of so many of which a tap lies inside a map of this size.
    pub fn windows_inside(&self, tap: u32, size: u32, windows: u32) -> Range<u32> {
        inside(self.coordinate(0, tap), self.stride, size, windows)
    }

    /// The taps of a window that lie inside a map of this size.
    pub fn taps_inside(&self, window: u32, size: u32) -> Range<u32> {
        self.taps_below(window, 0)..self.taps_below(window, i64::from(size))
    }

    /// Number of taps of a window that lie inside a map of this size or in its padding.
    pub fn taps_padded(&self, window: u32, size: u32) -> u32 {
        self.taps_below(window, i64::from(size) + i64::from(self.after))
    }

    /// Number of taps of a window at coordinates below `end`.
    fn taps_below(&self, window: u32, end: i64) -> u32 {
        let room = end - self.coordinate(window.into(), 0);
        let taps = (room + i64::from(self.dilation) - 1).div_euclid(i64::from(self.dilation));
        taps.clamp(0, i64::from(self.kernel)) as u32
    }
}

/// Windows over a map along one axis, or windows of such windows: a pooling of the sums of a
/// convolution. The outputs may begin behind the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nested {
    /// Of the map.
    pub inner: Windows,
    /// Of the inner windows; its taps are the positions of an output.
    pub outer: Windows,
    /// The outer window that is output 0.
    pub first: u32,
}

impl Nested {
    /// Coordinate in the map of a tap of the inner window at a position of an output.
    pub fn coordinate(&self, output: u32, position: u32, tap: u32) -> i64 {
        let outer = i64::from(self.first) + i64::from(output);
        self.inner.coordinate(self.outer.coordinate(outer, position), tap)
    }

    /// Distance in the map from an output to the next.
    pub fn stride(&self) -> u32 {
        self.outer.stride * self.inner.stride
    }

    /// The outputs out of so many for which a tap of a position lies inside a map of this size.
    pub fn outputs_inside(&self, position: u32, tap: u32, size: u32, outputs: u32) -> Range<u32> {
        inside(self.coordinate(0, position, tap), self.stride(), size, outputs)
    }
}

/// The numbers `n` out of so many for which `origin + n * stride` lies inside a map of this size.
fn inside(origin: i64, stride: u32, size: u32, numbers: u32) -> Range<u32> {
    // How many of them lie before a coordinate.
    let before = |end: i64| {
        let stride = i64::from(stride);
        (end - origin + stride - 1).div_euclid(stride).clamp(0, numbers.into()) as u32
    };
    before(0)..before(size.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(kernel: u32, stride: u32, dilation: u32, pads: [u32; 2], partial: bool) -> Windows {
        Windows { kernel, stride, dilation, before: pads[0], after: pads[1], partial }
    }

    #[test]
    fn windows_fit_the_padded_map() {
        // 0 1 2 | 2 3 4 | of 6 places; the third would need place 6.
        assert_eq!(windows(3, 2, 1, [0, 0], false).count(6), 2);
        assert_eq!(windows(3, 2, 1, [0, 1], false).count(6), 3);
        // A dilation of 2 covers 5 places.
        assert_eq!(windows(3, 1, 2, [0, 0], false).count(6), 2);
        assert_eq!(windows(7, 1, 1, [0, 0], false).count(6), 0);
    }

    #[test]
    fn a_partial_window_begins_inside() {
        assert_eq!(windows(3, 2, 1, [0, 0], true).count(6), 3);
        // The third begins at place 6, behind a map of 6 places, in its padding.
        assert_eq!(windows(2, 3, 1, [0, 1], true).count(6), 2);
        // A map smaller than the window has one that is partial, if the window begins inside.
        assert_eq!(windows(3, 3, 1, [0, 0], true).count(2), 1);
        assert_eq!(windows(3, 1, 1, [0, 0], true).count(2), 0);
    }

    #[test]
    fn taps_inside_and_in_the_padding() {
        // Places -1 1 3, then 1 3 5, then 3 5 7, of a map of 5 with a padding of 1.
        let windows = windows(3, 2, 2, [1, 1], false);
        let inside: Vec<_> = (0..3).map(|window| windows.taps_inside(window, 5)).collect();
        assert_eq!(inside, [1..3, 0..2, 0..1]);
        let padded: Vec<_> = (0..3).map(|window| windows.taps_padded(window, 5)).collect();
        assert_eq!(padded, [3, 3, 2]);
        assert_eq!(windows.coordinate(2, 1), 5);
    }

    #[test]
    fn windows_of_which_a_tap_is_inside() {
        // Taps 0, 1, 2 of windows 0, 1, 2 lie at -1 1 3, then 1 3 5, then 3 5 7.
        let windows = windows(3, 2, 2, [1, 1], false);
        let inside: Vec<_> = (0..3).map(|tap| windows.windows_inside(tap, 5, 3)).collect();
        assert_eq!(inside, [1..3, 0..2, 0..1]);
        // A map that ends before the first of them has none.
        assert!(windows.windows_inside(2, 3, 3).is_empty());
    }

    #[test]
    fn windows_of_windows() {
        // Inner windows of two taps begin at -1, 1, 3; outer ones of two positions are inner
        // windows -1 and 0, then 1 and 2.
        let (inner, outer) = (windows(2, 2, 1, [1, 0], false), windows(2, 2, 1, [1, 0], false));
        let nested = Nested { inner, outer, first: 0 };
        let of = |output, position| [0, 1].map(|tap| nested.coordinate(output, position, tap));
        assert_eq!([of(0, 0), of(0, 1), of(1, 0), of(1, 1)], [[-3, -2], [-1, 0], [1, 2], [3, 4]]);
        assert_eq!(nested.stride(), 4);
        // Tap 1 of position 1 is at 0, 4, 8; of a map of 5 pixels that is inside twice.
        assert_eq!(nested.outputs_inside(1, 1, 5, 3), 0..2);
        let behind = Nested { first: 1, ..nested };
        assert_eq!(behind.coordinate(0, 1, 1), 4);
        assert_eq!(behind.outputs_inside(1, 1, 5, 2), 0..1);
    }
}
