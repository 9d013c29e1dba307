//! The documentation as a site, from the files of the repository: each page is a file that stands
//! where its readers look for it, and its links hold in the repository and in the site.
//!
//! `docs/book/SUMMARY.md` lists the pages. Notebooks become pages with what they printed; the
//! glossary and the list of JSON documents come from the command line's own tables. Files that a
//! page links to and that are no pages are copied.

pub mod links;
mod notebook;
mod warnings;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use mdbook_driver::MDBook;
use regex::{Captures, Regex};

/// A link of Markdown: what stands before its target, the target, and what stands behind it.
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\]\()([^)\s]+)(\))").expect("a legal pattern"));

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the site into a directory, whose contents it replaces, and gives the builder's warnings.
///
/// # Errors
/// A page cannot be read or made, or links to what is not there.
pub fn build(directory: &Path) -> Result<Vec<String>> {
    let place = tempfile::tempdir()?;
    let source = place.path().join("src");
    assemble(&repository(), &source)?;
    fs::copy(repository().join("docs/book/book.toml"), place.path().join("book.toml"))?;
    let (built, warnings) = warnings::during(|| MDBook::load(place.path())?.build());
    built?;
    if directory.exists() {
        ensure!(
            directory.join("index.html").exists() || fs::read_dir(directory)?.next().is_none(),
            "`{}` holds something else than a site",
            directory.display()
        );
        fs::remove_dir_all(directory)?;
    }
    copy_all(&place.path().join("book"), directory)?;
    Ok(warnings)
}

/// Puts all pages, and the files that they link to, into the source of the book.
fn assemble(repository: &Path, source: &Path) -> Result<()> {
    let summary = fs::read_to_string(repository.join("docs/book/SUMMARY.md"))?;
    let pages: BTreeSet<&str> = LINK
        .captures_iter(&summary)
        .map(|found| found.get(2).expect("a group of the pattern").as_str())
        .collect();
    write(source, "SUMMARY.md", &summary)?;
    for &page in &pages {
        let text = match page {
            "glossary.md" => glossary(),
            "json.md" => json(),
            page => {
                let notebook = repository.join(page).with_extension("ipynb");
                if notebook.exists() {
                    notebook::page(&notebook, &source.join(page))?
                } else {
                    fs::read_to_string(repository.join(page))
                        .with_context(|| format!("docs/book/SUMMARY.md: {page}"))?
                }
            }
        };
        let text = with_links(&text, page, &pages, repository, source)
            .with_context(|| format!("in {page}"))?;
        write(source, page, &text)?;
    }
    Ok(())
}

/// A page whose links hold in the site; what they lead to is copied where it is no page.
fn with_links(
    text: &str,
    page: &str,
    pages: &BTreeSet<&str>,
    repository: &Path,
    source: &Path,
) -> Result<String> {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let mut wrong = Vec::new();
    let link = |found: &Captures| {
        let target = &found[2];
        let replaced = if target.contains(':') || target.starts_with('#') {
            Ok(target.to_owned())
        } else {
            local(target, folder, pages, repository, source)
        };
        let replaced = replaced.unwrap_or_else(|error| {
            wrong.push(format!("{target}: {error:#}"));
            target.to_owned()
        });
        format!("{}{replaced}{}", &found[1], &found[3])
    };
    // Code shows what is typed, and holds no links.
    let mut in_code = false;
    let mut out = String::new();
    let mut link = link;
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        out += &if in_code { line.into() } else { LINK.replace_all(line, &mut link) };
        out.push('\n');
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(out)
}

/// Where a link to a file of the repository leads in the site.
fn local(
    target: &str,
    folder: &Path,
    pages: &BTreeSet<&str>,
    repository: &Path,
    source: &Path,
) -> Result<String> {
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let place = normal(&folder.join(path));
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    let is_page = |place: &Path| place.to_str().is_some_and(|place| pages.contains(place));
    if is_page(&place) {
        return Ok(index(path) + &fragment);
    }
    let page = place.with_extension("md");
    if place.extension().is_some_and(|ending| ending == "ipynb") && is_page(&page) {
        return Ok(path.replace(".ipynb", ".md") + &fragment);
    }
    if is_page(&place.join("README.md")) {
        return Ok(format!("{}/index.md{fragment}", path.trim_end_matches('/')));
    }
    let file = repository.join(&place);
    // Pictures of a notebook are there already.
    if source.join(&place).is_file() {
        return Ok(target.to_owned());
    }
    ensure!(file.exists(), "there is no such file");
    ensure!(file.is_file(), "it is a folder without a page");
    let to = source.join(&place);
    fs::create_dir_all(to.parent().expect("it lies in the source"))?;
    fs::copy(&file, &to)?;
    Ok(target.to_owned())
}

/// A page by the name that the builder gives it: a README is the index of its folder.
fn index(path: &str) -> String {
    match path.strip_suffix("README.md") {
        Some(folder) => format!("{folder}index.md"),
        None => path.to_owned(),
    }
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

fn write(source: &Path, page: &str, text: &str) -> Result<()> {
    let file = source.join(page);
    fs::create_dir_all(file.parent().expect("it lies in the source"))?;
    Ok(fs::write(file, text)?)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', r"\|").replace('<', "&lt;")
}

/// The words of reports, as `qnnsim words` has them.
pub fn glossary() -> String {
    let mut text =
        "# Glossary\n\nWhat the words of reports mean; `qnnsim words` prints the same.\n"
            .to_owned();
    for (section, words) in qnnsim::words::sections() {
        text += &format!("\n## {section}\n\n| word | means |\n|---|---|\n");
        for (word, meaning) in words {
            text += &format!("| {} | {} |\n", cell(word), cell(meaning));
        }
    }
    text
}

/// The JSON documents and their schemas.
fn json() -> String {
    let mut text = "# JSON\n\nEvery document says in its key `schema` which schema it has and of which version, \
         as `qnnsim/run/1`. A version changes when a reader of the one before may not find what it reads. \
         `qnnsim schema NAME` prints a schema.\n\n| schema | version | written by |\n|---|---|---|\n"
        .to_owned();
    for entry in qnnsim::document::SCHEMAS {
        let (name, version) = (entry.name, entry.version);
        let written_by = cell(entry.written_by);
        text += &format!("| [{name}](docs/schemas/{name}.json) | {version} | {written_by} |\n");
    }
    text
}
