//! Short names for layers.

use std::collections::{HashMap, HashSet};

use crate::canonical::Node;

/// Short names for layers: the shortest tails of the nodes' paths that are unique, without the
/// operator: `/conv1/Conv` is `conv1`.
pub fn layer_names(nodes: &[&Node]) -> Vec<String> {
    const LENGTH_MAX: usize = 40;
    const PARTS_MAX: usize = 6;
    let clean = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let paths: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            let op_type = &node.op_type;
            let name = node.name.chars().take(LENGTH_MAX * 4).collect::<String>();
            let mut path: Vec<String> = name
                .split('/')
                .filter(|part| !part.is_empty())
                .map(|part| part.replace('#', &op_type.to_lowercase()).chars().map(clean).collect())
                .collect();
            if path.len() > 1 && path.last().is_some_and(|last| last.starts_with(op_type)) {
                path.pop();
            }
            if path.is_empty() {
                path.push(op_type.to_lowercase());
            }
            path
        })
        .collect();
    let tail = |path: &[String], parts: usize| -> String {
        path[path.len().saturating_sub(parts)..].join(".").chars().take(LENGTH_MAX).collect()
    };
    let mut counts: HashMap<(usize, String), usize> = HashMap::new();
    for (path, parts) in paths.iter().flat_map(|path| (1..=PARTS_MAX).map(move |n| (path, n))) {
        *counts.entry((parts, tail(path, parts))).or_default() += 1;
    }
    let mut used = HashSet::new();
    let mut names = Vec::new();
    for path in &paths {
        let mut tails = (1..=PARTS_MAX).map(|parts| (parts, tail(path, parts)));
        let unique = tails.find(|tail| counts[tail] == 1 && !used.contains(&tail.1));
        let name = unique.map(|(_, tail)| tail).unwrap_or_else(|| {
            let mut numbered = (2..).map(|ordinal| format!("{}_{ordinal}", tail(path, 1)));
            let plain = Some(tail(path, 1)).filter(|plain| !used.contains(plain));
            plain.or_else(|| numbered.find(|name| !used.contains(name))).expect("endless")
        });
        used.insert(name.clone());
        names.push(name);
    }
    names
}
