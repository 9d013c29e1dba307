//! Pictures: PNG and JPEG, grey or in colour, of 8 bits.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::array::{Element, Header};
use crate::limits::PIXELS_MAX;

/// Takes a picture apart: `[height, width]`, or `[height, width, 3]` in colour, and its pixels.
pub fn parse(file: &[u8]) -> Result<(Header, Vec<u8>), String> {
    let damaged = |error: image::ImageError| format!("damaged picture: {error}");
    let mut reader = ImageReader::new(Cursor::new(file));
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * PIXELS_MAX);
    reader.limits(limits);
    let reader =
        reader.with_guessed_format().map_err(|error| format!("damaged picture: {error}"))?;
    let decoder = reader.into_decoder().map_err(damaged)?;
    let ((width, height), color) = (decoder.dimensions(), decoder.color_type());
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(format!(
            "a picture of {width} x {height}, more than the {PIXELS_MAX} pixels that are read"
        ));
    }
    if !matches!(color, ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8) {
        return Err(format!(
            "a picture of kind {color:?}, but only 8 bits a channel are read\n  help: convert it, with ImageMagick: \
             convert IN.png -depth 8 OUT.png"
        ));
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let channels = usize::from(color.channel_count());
    let [width, height] = [width, height].map(|size| size as usize);
    let mut bytes = picture.into_bytes();
    if color.has_alpha() {
        if bytes.chunks_exact(channels).any(|pixel| pixel[channels - 1] != u8::MAX) {
            return Err("a picture with transparent pixels, which stand for no input\n  help: convert it, with \
                        ImageMagick: convert IN.png -background black -alpha remove -alpha off OUT.png"
                .into());
        }
        let opaque = bytes.chunks_exact(channels).flat_map(|pixel| &pixel[..channels - 1]);
        bytes = opaque.copied().collect();
    }
    let dims = match color.has_color() {
        true => vec![height, width, 3],
        false => vec![height, width],
    };
    Ok((Header { element: Element::U8, big_endian: false, dims }, bytes))
}
