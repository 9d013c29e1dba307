//! What poolings have in common: windows of a map, each with a value inside.

use super::attributes::Attributes;
pub use super::average_pool::AveragePool;
use super::linear::{Same, for_two, map_size, parse_auto_pad, sizes};
pub use super::max_pool::MaxPool;
use crate::diagnostic::Diagnostic;
use crate::geometry::Windows;
use crate::ir;
use crate::limits;

fn refuse(found: String, attribute: &str, at: &Attributes) -> Diagnostic {
    limits::POOL_SIZES.refuse(found).at(at.place()).attribute(attribute)
}

/// Reads the attributes of a pooling: the windows along rows and columns, and what `auto_pad` asks
/// for.
pub(super) fn parse_windows(
    at: &mut Attributes,
) -> Result<([Windows; 2], Option<Same>), Diagnostic> {
    let same = parse_auto_pad(at)?;
    let partial = at.int("ceil_mode", 0)? != 0;
    let kernel = at.ints("kernel_shape")?.unwrap_or_default();
    if !matches!(kernel.len(), 1 | 2) {
        let refusal = limits::POOL_2D.refuse(format!("kernel_shape {kernel:?}"));
        return Err(refusal.at(at.place()).attribute("kernel_shape"));
    }
    let spatial = kernel.len();
    let mut two = |name: &str, list: Option<Vec<i64>>| -> Result<[u32; 2], Diagnostic> {
        let list = match list {
            Some(list) => list,
            None => at.ints(name)?.unwrap_or(vec![1; spatial]),
        };
        let both = if list.len() == spatial { for_two::<2>(list.clone(), 1) } else { Vec::new() };
        sizes(&both, 1).ok_or_else(|| refuse(format!("{name} {list:?}"), name, at))
    };
    let kernels = two("kernel_shape", Some(kernel.clone()))?;
    let (strides, dilations) = (two("strides", None)?, two("dilations", None)?);
    let given = at.ints("pads")?.unwrap_or(vec![0; 2 * spatial]);
    let four = if given.len() == 2 * spatial { for_two::<4>(given.clone(), 0) } else { Vec::new() };
    let pads: [u32; 4] =
        sizes(&four, 0).ok_or_else(|| refuse(format!("pads {given:?}"), "pads", at))?;
    let windows = [0, 1].map(|axis| Windows {
        kernel: kernels[axis],
        stride: strides[axis],
        dilation: dilations[axis],
        before: pads[axis],
        after: pads[axis + 2],
        partial,
    });
    if windows.iter().any(padding_only) {
        return Err(refuse(format!("pads {given:?} for kernel {kernel:?}"), "pads", at));
    }
    Ok((windows, same))
}

/// Whether a window can lie in the padding as a whole, so that it has no maximum.
fn padding_only(windows: &Windows) -> bool {
    windows.before >= windows.extent() || windows.after >= windows.extent()
}

/// The windows of an undilated pooling.
pub(super) fn pool_of([rows, columns]: [Windows; 2]) -> ir::Pool {
    ir::Pool {
        kernel: [rows.kernel, columns.kernel],
        stride: [rows.stride, columns.stride],
        pads: [rows.before, columns.before, rows.after, columns.after],
        ceil_mode: rows.partial,
    }
}

/// Shape after pooling. Every window has a value inside the map.
pub(super) fn infer(windows: [Windows; 2], dims: &[usize]) -> Result<Vec<usize>, Diagnostic> {
    let Some(size) = map_size(dims) else {
        return Err(limits::POOL_2D.refuse(format!("pooling of shape {dims:?}")));
    };
    let count = [0, 1].map(|axis| windows[axis].count(size[axis] as u32));
    let empty = |axis: usize| {
        let inside = |window| windows[axis].taps_inside(window, size[axis] as u32);
        count[axis] == 0 || (0..count[axis]).any(|window| inside(window).is_empty())
    };
    if empty(0) || empty(1) || dims.len() == 3 && windows[0].kernel != 1 {
        return Err(limits::POOL_SIZES.refuse(format!("a window for shape {dims:?}")));
    }
    let [height, width] = count.map(|count| count as usize);
    Ok(if dims.len() == 3 { vec![1, dims[1], width] } else { vec![1, dims[1], height, width] })
}

/// With the paddings that `auto_pad` asks for.
pub(super) fn padded(
    mut windows: [Windows; 2],
    same: Option<Same>,
    dims: &[usize],
) -> Result<[Windows; 2], Diagnostic> {
    if let (Some(same), Some(size)) = (same, map_size(dims)) {
        let (extents, strides) = (windows.map(|w| w.extent()), windows.map(|w| w.stride));
        let pads = same.pads(size, extents, strides);
        for (axis, windows) in windows.iter_mut().enumerate() {
            (windows.before, windows.after) = (pads[axis], pads[axis + 2]);
        }
        if windows.iter().any(padding_only) {
            let kernels = windows.map(|windows| windows.kernel);
            return Err(limits::POOL_SIZES.refuse(format!("pads {pads:?} for kernel {kernels:?}")));
        }
    }
    Ok(windows)
}

/// The values of a channel that a window covers, row by row.
pub(super) fn covered<'a>(
    windows: &'a [Windows; 2],
    channel: &'a [f64],
    [height, width]: [usize; 2],
    [y, x]: [usize; 2],
) -> impl Iterator<Item = f64> + 'a {
    let places = move |axis: usize, window: usize, size: usize| {
        let windows = windows[axis];
        let place = move |tap| windows.coordinate(window as i64, tap) as usize;
        windows.taps_inside(window as u32, size as u32).map(place)
    };
    places(0, y, height)
        .flat_map(move |row| places(1, x, width).map(move |column| channel[row * width + column]))
}
