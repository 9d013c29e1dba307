//! Every link of the site leads somewhere: files and anchors are looked up, addresses of other
//! sites are looked at but not visited.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

/// `href`, `src` and `id` of elements, as the builder writes them.
static ATTRIBUTE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"\s(href|src|id)="([^"]*)""#).expect("a legal pattern"));

/// An address of another site.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^https://[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[A-Za-z0-9._~%/#?=&+-]*)?$";
    Regex::new(pattern).expect("a legal pattern")
});

/// The links of a site that lead nowhere, each with its page.
///
/// # Errors
/// A page cannot be read.
pub fn broken(site: &Path) -> Result<Vec<String>> {
    let mut files = BTreeSet::new();
    list(site, &mut files)?;
    let pages: Vec<&PathBuf> =
        files.iter().filter(|file| file.extension().is_some_and(|e| e == "html")).collect();
    let mut texts = BTreeMap::new();
    let mut ids: BTreeMap<&Path, BTreeSet<String>> = BTreeMap::new();
    for page in pages {
        let text = fs::read_to_string(site.join(page))?;
        let all = ATTRIBUTE.captures_iter(&text).filter(|found| &found[1] == "id");
        ids.insert(page, all.map(|found| unescaped(&found[2])).collect());
        texts.insert(page.as_path(), text);
    }
    let mut wrong = Vec::new();
    for (page, text) in &texts {
        for found in ATTRIBUTE.captures_iter(text).filter(|found| &found[1] != "id") {
            let target = unescaped(&found[2]);
            if let Some(why) = leads_nowhere(&target, page, &files, &ids) {
                wrong.push(format!("{}: {target}: {why}", page.display()));
            }
        }
    }
    Ok(wrong)
}

fn leads_nowhere(
    target: &str,
    page: &Path,
    files: &BTreeSet<PathBuf>,
    ids: &BTreeMap<&Path, BTreeSet<String>>,
) -> Option<&'static str> {
    if target.contains("://") {
        return (!ADDRESS.is_match(target)).then_some("this is no address");
    }
    if target.starts_with("data:") || target.starts_with("javascript:") || target.is_empty() {
        return None;
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    // The page of what is not found is served from every folder.
    let folder = page.parent().unwrap_or(Path::new(""));
    let file = match path {
        "" => page.to_path_buf(),
        "/" => PathBuf::from("index.html"),
        path => super::normal(&folder.join(path.trim_start_matches('/'))),
    };
    if !files.contains(&file) {
        return Some("there is no such file");
    }
    let known = ids.get(file.as_path());
    let found = fragment.is_empty() || known.is_none_or(|ids| ids.contains(fragment));
    (!found).then_some("there is no such place in that page")
}

/// All files of a folder, by their paths in it.
fn list(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(place) = folders.pop() {
        for entry in fs::read_dir(folder.join(&place))? {
            let entry = entry?;
            let path = place.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path);
            }
        }
    }
    Ok(())
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&#39;", "'").replace("&#x27;", "'");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
