//! The name that was probably meant, for messages.

use crate::limits::SUGGESTED_BYTES_MAX;

/// The known name nearest to what was written, if its Jaro-Winkler similarity is above `least`.
pub fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    least: f64,
) -> Option<&'a str> {
    if written.len() > SUGGESTED_BYTES_MAX {
        return None;
    }
    let similarity = |name: &'a str| (strsim::jaro_winkler(name, written), name);
    let best = known.into_iter().map(similarity).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > least).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_is_suggested_if_it_is_near() {
        let known = ["rows", "cols"];
        assert_eq!(nearest("row", known, 0.8), Some("rows"));
        assert_eq!(nearest("bytes", known, 0.8), None);
        assert_eq!(nearest(&"rows".repeat(1 << 20), known, 0.0), None);
    }
}
