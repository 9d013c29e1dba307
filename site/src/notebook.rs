//! A notebook as a page: its text, its code, and what it printed when it was run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// The page of a notebook; its pictures become files beside the page.
///
/// # Errors
/// It is no notebook, or a picture cannot be written.
pub fn page(notebook: &Path, page: &Path) -> Result<String> {
    let notebook: Value = serde_json::from_str(&fs::read_to_string(notebook)?)?;
    let name = page.file_stem().context("a page has a name")?.to_string_lossy().into_owned();
    let folder = page.parent().context("a page has a folder")?;
    fs::create_dir_all(folder)?;
    let mut out = String::new();
    let mut pictures = 0;
    for cell in notebook["cells"].as_array().context("no notebook")? {
        let source = text(&cell["source"]);
        if cell["cell_type"] == "markdown" {
            out += &format!("{source}\n\n");
            continue;
        }
        out += &format!("```python\n{source}\n```\n\n");
        for output in cell["outputs"].as_array().into_iter().flatten() {
            let data = &output["data"];
            if let Some(picture) = data["image/png"].as_str() {
                let bytes =
                    BASE64_STANDARD.decode(picture.split_whitespace().collect::<String>())?;
                pictures += 1;
                let file = format!("{name}_{pictures}.png");
                fs::write(folder.join(&file), bytes)?;
                out += &format!("![output]({file})\n\n");
            } else if data["text/html"].is_null() {
                let printed = text(&output["text"]) + &text(&data["text/plain"]);
                out += &format!("```text\n{}\n```\n\n", printed.trim_end());
            } else {
                out += &format!("{}\n\n", html(&text(&data["text/html"])));
            }
        }
    }
    Ok(out)
}

/// A text, or the list of its lines.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Tables as they stand in a page: without the style of their own, and without empty lines, which
/// would end them in Markdown.
fn html(text: &str) -> String {
    let mut out = String::new();
    let mut in_style = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        in_style |= line.starts_with("<style");
        if !in_style {
            out += line;
            out.push('\n');
        }
        in_style &= !line.ends_with("</style>");
    }
    out
}
