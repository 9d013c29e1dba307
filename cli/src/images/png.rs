//! PNG: 8-bit grey, anything else is refused.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits};

use super::array::{Array, Element};

/// Pixels of the largest image that is read.
const PIXELS_MAX: u64 = 1 << 26;

/// Takes a PNG file apart.
pub fn parse(file: &[u8]) -> Result<Array, String> {
    let damaged = |error: png::DecodingError| format!("damaged PNG file: {error}");
    let limits = Limits { bytes: 2 * PIXELS_MAX as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), limits);
    let info = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = info.size();
    let kind = (info.color_type, info.bit_depth);
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(format!(
            "a PNG image of {width} x {height}, more than the {PIXELS_MAX} pixels that are read"
        ));
    }
    if kind != (ColorType::Grayscale, BitDepth::Eight) {
        return Err(format!(
            "a PNG image of kind {}, but only 8-bit grey without alpha is read\n  help: convert it, with ImageMagick: \
             convert IN.png -alpha off -colorspace Gray -depth 8 -define png:color-type=0 -define png:bit-depth=8 OUT.png",
            name(kind)
        ));
    }
    let mut reader = decoder.read_info().map_err(damaged)?;
    // Nothing above changes the image while it is read, so a pixel is a byte.
    let mut pixels = vec![0; width as usize * height as usize];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    Array::new(Element::U8, false, vec![height as usize, width as usize], pixels, 0)
}

fn name((color, depth): (ColorType, BitDepth)) -> String {
    let color = match color {
        ColorType::Grayscale => "grey",
        ColorType::Rgb => "RGB",
        ColorType::Indexed => "palette",
        ColorType::GrayscaleAlpha => "grey with alpha",
        ColorType::Rgba => "RGB with alpha",
    };
    format!("{}-bit {color}", depth as u8)
}
