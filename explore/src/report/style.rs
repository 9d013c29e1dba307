//! Colours: one table, light and dark, for the page and for plots that stand alone.

/// Name, value in light, value in dark. Parts of a bar (`s1` to `s7`) are told apart by people with
/// any colour vision by their lightness, their order and their labels; text on them has the colour
/// of the paper, at a contrast of at least 4.5.
const COLOURS: &[(&str, &str, &str)] = &[
    ("paper", "#ffffff", "#14171a"),
    ("raised", "#f5f6f8", "#1d2125"),
    ("ink", "#1b1f24", "#e7eaed"),
    ("soft", "#59636e", "#a3adb7"),
    ("line", "#e4e7eb", "#2c3238"),
    ("faint", "#aab3bc", "#5b6670"),
    ("box", "#c6ced6", "#49535d"),
    ("dot", "#a9b4be", "#66717c"),
    ("front", "#1d5fa8", "#74b3f2"),
    ("pick", "#b4400a", "#f5a15e"),
    ("s1", "#2f66a8", "#7fb2ee"),
    ("s2", "#b35900", "#eda65a"),
    ("s3", "#1a7f64", "#5cc4a2"),
    ("s4", "#94457f", "#d996c9"),
    ("s5", "#0c7896", "#67c6e3"),
    ("s6", "#b03a3a", "#ef8f87"),
    ("s7", "#75680f", "#cdbf5f"),
    ("rest", "#66707b", "#9aa4ae"),
];

/// Custom properties of a page.
pub fn variables() -> String {
    let block = |value: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().map(|c| format!(" --{}: {};", c.0, value(c))).collect::<String>()
    };
    format!(
        ":root {{{} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{} }} }}\n",
        block(|c| c.1),
        block(|c| c.2)
    )
}

/// The style of a plot that stands alone. Its light colours are plain ones, for renderers that know
/// no custom properties or media.
pub fn standalone() -> String {
    let plot = include_str!("plot.css");
    let resolved = |value: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        COLOURS
            .iter()
            .fold(plot.to_owned(), |css, c| css.replace(&format!("var(--{})", c.0), value(c)))
    };
    format!(
        "{}@media screen and (prefers-color-scheme: dark) {{\n{}}}\n",
        resolved(|c| c.1),
        resolved(|c| c.2)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of a colour (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let v = f64::from(
                u8::from_str_radix(&colour[at..at + 2], 16).expect("two hexadecimal digits"),
            ) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_marks_stand_out_in_light_and_dark() {
        for dark in [false, true] {
            let colour = |name| {
                let (_, light, night) = COLOURS.iter().find(|c| c.0 == name).expect("a colour");
                if dark { night } else { light }
            };
            // 4.5 is what WCAG asks of text, 3 of graphics.
            for text in
                ["ink", "soft", "front", "pick", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "rest"]
            {
                assert!(
                    contrast(colour(text), colour("paper")) >= 4.5,
                    "{text}: {}",
                    contrast(colour(text), colour("paper"))
                );
            }
            assert!(contrast(colour("soft"), colour("raised")) >= 4.5);
        }
    }

    #[test]
    fn a_plot_alone_needs_no_page() {
        assert!(!standalone().contains("var("));
    }
}
