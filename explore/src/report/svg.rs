//! SVG from the plotting crate: a backend that writes classes instead of colours, so that one style
//! sheet serves light and dark, and keeps text as text.

use std::convert::Infallible;
use std::fmt::Write;

use plotters::element::{Drawable, PointCollection};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Color, IntoDrawingArea, TextStyle,
};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

use super::scale::Scale;

/// Text that may stand in markup, as content and as an attribute in double quotes. Characters that
/// XML has no place for are replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Estimated width of a text in pixels at the plots' font size; no font is at hand, and none is
/// needed.
pub fn text_width(text: &str) -> i32 {
    (text.chars().map(|c| if "il.,:' |1".contains(c) { 4.6 } else { 6.9 }).sum::<f64>()).ceil()
        as i32
}

/// What the plotting crate draws itself; the discriminant stands where a colour would.
#[derive(Debug, Clone, Copy)]
enum Role {
    Grid,
    Axis,
    Tick,
    Title,
}

impl Role {
    fn class(color: BackendColor) -> &'static str {
        match color.rgb.0 {
            0 => "grid",
            1 => "axis",
            2 => "tick",
            _ => "axis-title",
        }
    }
}

impl Color for Role {
    fn to_backend_color(&self) -> BackendColor {
        BackendColor { alpha: 1.0, rgb: (*self as u8, 0, 0) }
    }
}

/// The backend: elements are appended to a text.
pub struct Svg<'a> {
    out: &'a mut String,
    size: (u32, u32),
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl Svg<'_> {
    fn path<S: BackendStyle>(
        &mut self,
        points: impl IntoIterator<Item = BackendCoord>,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let (class, fill) = (Role::class(style.color()), if fill { " filled" } else { "" });
        let _ = write!(self.out, r#"<path class="{class}{fill}" d=""#);
        for (i, (x, y)) in points.into_iter().enumerate() {
            let _ = write!(self.out, "{}{x} {y}", if i == 0 { 'M' } else { 'L' });
        }
        self.out.push_str("\"/>");
        Ok(())
    }
}

impl DrawingBackend for Svg<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let _ = write!(self.out, r#"<path class="{}" d="M{x} {y}h1"/>"#, Role::class(color));
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.path([from, to], style, false)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        self.path([from, (to.0, from.1), to, (from.0, to.1), from], style, fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        self.path(path, style, false)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn {
        self.path(vert, style, true)
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        (x, y): BackendCoord,
    ) -> Drawn {
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        let dy = match style.anchor().v_pos {
            VPos::Top => "0.8em",
            VPos::Center => "0.35em",
            VPos::Bottom => "-0.4em",
        };
        let class = Role::class(style.color());
        let text = escape(text);
        let _ = write!(
            self.out,
            r#"<text class="{class}" x="{x}" y="{y}" dy="{dy}" text-anchor="{anchor}">{text}</text>"#
        );
        Ok(())
    }
}

/// An element of ours: points in the data's coordinates, and what to write at their pixels.
pub struct Element<F> {
    at: Vec<(f64, f64)>,
    write: F,
}

impl<'a, F> PointCollection<'a, (f64, f64)> for &'a Element<F> {
    type Point = &'a (f64, f64);
    type IntoIter = std::slice::Iter<'a, (f64, f64)>;

    fn point_iter(self) -> Self::IntoIter {
        self.at.iter()
    }
}

impl<F: Fn(&[BackendCoord], &mut String)> Drawable<Svg<'_>> for Element<F> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        pos: I,
        backend: &mut Svg<'_>,
        _: (u32, u32),
    ) -> Drawn {
        (self.write)(&pos.collect::<Vec<_>>(), backend.out);
        Ok(())
    }
}

/// A plot to draw on: axes are there, the rest is the caller's.
pub struct Plot<'a>(ChartContext<'a, Svg<'a>, Cartesian2d<Scale, Scale>>);

impl Plot<'_> {
    /// Writes something at points given in the data's coordinates.
    pub fn draw(&mut self, at: Vec<(f64, f64)>, write: impl Fn(&[BackendCoord], &mut String)) {
        self.0.draw_series([Element { at, write }]).expect(INFALLIBLE);
    }

    /// Pixels of a point.
    pub fn pixels(&self, x: f64, y: f64) -> BackendCoord {
        self.0.backend_coord(&(x, y))
    }

    /// The rightmost pixel of the area within the axes.
    pub fn right(&self) -> i32 {
        self.0.plotting_area().get_pixel_range().0.end
    }
}

const INFALLIBLE: &str = "a String takes any text";

/// An entry of a plot's legend: markup of a symbol around (0, 0), 10 pixels wide, and its text.
pub type Legend = Vec<(String, String)>;

/// What is around a plot.
pub struct Frame {
    /// Pixels of the area within the axes.
    pub inner: (u32, u32),
    /// Horizontal axis.
    pub x: Scale,
    /// Vertical axis.
    pub y: Scale,
    /// Pixels right of the area.
    pub right: u32,
    /// Whether lines run across at the marks of x and of y.
    pub grid: (bool, bool),
    /// Below the marks.
    pub legend: Legend,
}

/// A drawn plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Pixels.
    pub size: (u32, u32),
    /// Elements, without the `svg` around them.
    pub markup: String,
}

impl Frame {
    /// Draws axes and legend, and what the caller adds.
    pub fn draw(self, body: impl FnOnce(&mut Plot<'_>)) -> Drawing {
        let y_labels = self.y.labels().map(text_width).max().unwrap_or(0);
        let left = (y_labels + 14).max(24) as u32;
        let width = left + self.inner.0 + self.right;
        let mut markup = String::new();
        // The legend flows in lines above the area, then comes the vertical axis' title.
        let (mut x, mut y) = (left as i32, 12);
        for (symbol, text) in &self.legend {
            let wide = 16 + text_width(text);
            if x > left as i32 && x + wide > width as i32 {
                (x, y) = (left as i32, y + 19);
            }
            let text = escape(text);
            let _ = write!(
                markup,
                r#"<g transform="translate({} {y})">{symbol}<text class="tick" x="10" dy="0.35em">{text}</text></g>"#,
                x + 5
            );
            x += wide + 14;
        }
        let title_y = if self.legend.is_empty() { 12 } else { y + 24 };
        let top = if self.y.title.is_empty() { title_y - 6 } else { title_y + 14 };
        if !self.y.title.is_empty() {
            let title = escape(&self.y.title);
            let _ = write!(
                markup,
                r#"<text class="axis-title" x="{left}" y="{title_y}">{title}</text>"#
            );
        }
        let below = if self.x.title.is_empty() { 24 } else { 44 };
        let size = (width, top as u32 + self.inner.1 + below);
        {
            let area = Svg { out: &mut markup, size }.into_drawing_area();
            let area = area.margin(top, 0, 0, self.right);
            let tick = TextStyle::from(("sans-serif", 12)).color(&Role::Tick);
            let title = TextStyle::from(("sans-serif", 12)).color(&Role::Title);
            let mut chart = ChartBuilder::on(&area)
                .x_label_area_size(below)
                .y_label_area_size(left)
                .build_cartesian_2d(self.x.clone(), self.y.clone())
                .expect(INFALLIBLE);
            let mut mesh = chart.configure_mesh();
            mesh.axis_style(Role::Axis)
                .bold_line_style(Role::Grid)
                .label_style(tick)
                .axis_desc_style(title);
            mesh.set_all_tick_mark_size(4).x_desc(self.x.title.clone());
            if !self.grid.0 {
                mesh.disable_x_mesh();
            }
            if !self.grid.1 {
                mesh.disable_y_mesh();
            }
            mesh.draw().expect(INFALLIBLE);
            body(&mut Plot(chart));
        }
        Drawing { size, markup }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_text() {
        assert_eq!(escape(r#"<b a="1" c='2'>&"#), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        assert_eq!(escape("a\u{0}b\u{1b}c\u{ffff}d\ne"), "a\u{fffd}b\u{fffd}c\u{fffd}d\ne");
    }
}
