//! The site builds without a warning, every link of it leads somewhere, and what is said in several
//! places is the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use qnnsim_site::{build, glossary, links, repository};

fn site() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let site = place.path().join("site");
    let warnings = build(&site).expect("the site builds");
    assert!(warnings.is_empty(), "{warnings:#?}");
    (place, site)
}

#[test]
fn the_site_builds_without_warnings_and_its_links_hold() {
    let (_place, site) = site();
    let broken = links::broken(&site).expect("pages can be read");
    assert!(broken.is_empty(), "{broken:#?}");

    // Each page is there with its contents.
    let page = |name: &str| fs::read_to_string(site.join(name)).expect(name);
    let readme = page("index.html");
    assert!(readme.contains("tcv_w1a1") && readme.contains("docs/sweep.svg"));
    assert!(page("isa/MANUAL.html").contains("mac.shape"));
    assert!(page("ARCHITECTURE.html").contains("prost"));
    assert!(page("compiler/SUPPORTED.html").contains("MaxPool"));
    let notebook = page("python/notebooks/from_brevitas_to_hardware.html");
    assert!(
        notebook.contains("from_brevitas_to_hardware_1.png")
            && notebook.contains("language-python")
    );
    assert!(site.join("python/notebooks/from_brevitas_to_hardware_1.png").exists());
    assert!(page("json.html").contains("docs/schemas/run.json"));
    assert!(site.join("docs/schemas/run.json").exists());
    for (section, words) in qnnsim::words::sections() {
        assert!(glossary().contains(section));
        for (word, _) in words {
            assert!(page("glossary.html").contains(&format!("<td>{word}</td>")), "{word}");
        }
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(place.path().join("a")).expect("a folder");
    let page = |text: &str| {
        fs::write(place.path().join("a/b.html"), "<p id=\"there\">").expect("a file");
        fs::write(place.path().join("index.html"), text).expect("a file");
        links::broken(place.path()).expect("pages can be read")
    };
    for good in ["a/b.html", "a/b.html#there", "https://nexte.st/docs", "./a/../index.html", "#x"] {
        assert_eq!(page(&format!("<a id=\"x\" href=\"{good}\">")), Vec::<String>::new());
    }
    for bad in ["b.html", "a/b.html#nowhere", "#nowhere", "http://nexte.st", "https://nexte", "a"] {
        assert_eq!(page(&format!("<a href=\"{bad}\">")).len(), 1, "{bad}");
    }
    assert_eq!(page("<img src=\"picture.png\">").len(), 1);
}

/// Every Markdown file of the repository, by its path there.
fn markdown() -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".md") {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn every_document_is_a_page_of_the_site() {
    let summary = fs::read_to_string(repository().join("docs/book/SUMMARY.md")).expect("the list");
    let listed: BTreeSet<&str> =
        summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    // A part of the manual, and the list itself.
    let parts = ["isa/src/manual.md", "docs/book/SUMMARY.md"];
    for file in markdown() {
        let name = file.to_str().expect("UTF-8");
        let is_page = listed.contains(name) || parts.contains(&name);
        assert!(is_page || !is_in_git(&file), "{name} is no page of docs/book/SUMMARY.md");
    }
}

/// Whether a file belongs to the repository: environments and results lie in it as well.
fn is_in_git(file: &Path) -> bool {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--error-unmatch"])
        .arg(file)
        .current_dir(repository())
        .output();
    listed.is_ok_and(|listed| listed.status.success())
}

/// Sentences of a page, each by itself: of paragraphs, items of lists and cells of tables.
fn sentences(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            blocks.push(String::new());
        } else if in_code {
            // Code is no sentence.
        } else if line.starts_with('|') {
            blocks.extend(line.split('|').map(str::to_owned));
        } else {
            let begins = line.trim().is_empty() || line.starts_with(['#', '-', '!']);
            if begins {
                blocks.push(String::new());
            }
            let block = blocks.last_mut().expect("there is one");
            *block += line;
            block.push(' ');
            if line.starts_with('#') {
                blocks.push(String::new());
            }
        }
    }
    let mut all = Vec::new();
    for block in blocks {
        let mut sentence: Vec<&str> = Vec::new();
        for word in block.split_whitespace() {
            sentence.push(word);
            if word.trim_end_matches([')', '*', '`', '"']).ends_with(['.', '?', '!']) {
                all.push(std::mem::take(&mut sentence).join(" "));
            }
        }
        all.push(sentence.join(" "));
    }
    all.retain(|sentence| !sentence.is_empty());
    all
}

#[test]
fn a_sentence_has_an_end() {
    let text = "# A b\nOne two. Three\nfour `x.y`?\n- five\n- six\n\n```\nseven. eight\n```\n| nine | ten |\n";
    assert_eq!(
        sentences(text),
        ["# A b", "One two.", "Three four `x.y`?", "- five", "- six", "nine", "ten"]
    );
}

const WORDS_MAX: usize = 24;
const COLUMNS_MAX: usize = 100;

#[test]
fn the_readme_is_read_in_a_minute() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("the README");
    for sentence in sentences(&readme) {
        let words = sentence.split_whitespace().count();
        assert!(words <= WORDS_MAX, "{words} words: {sentence}");
    }
    for line in readme.lines() {
        assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
    }
}
