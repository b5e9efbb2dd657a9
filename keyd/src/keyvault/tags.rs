//! Tags: what applications write on a key for themselves.

use std::collections::BTreeMap;

use super::Problem;
use crate::limits::{TAG_LEN_MAX, TAGS_MAX};

/// Names and values.
pub type Tags = BTreeMap<String, String>;

/// Judges the tags of a request.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn judge(tags: Tags) -> Result<Tags, Problem> {
    if tags.len() > TAGS_MAX {
        return Err(Problem::bad(format!("a key has at most {TAGS_MAX} tags, not {}", tags.len())));
    }
    let fits = |text: &String| text.chars().count() <= TAG_LEN_MAX;
    if tags.iter().all(|(name, value)| !name.is_empty() && fits(name) && fits(value)) {
        return Ok(tags);
    }
    Err(Problem::bad(format!(
        "names of tags have 1 to {TAG_LEN_MAX} characters, values at most as many"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize, len: usize) -> Tags {
        (0..count).map(|n| (format!("{n}"), "é".repeat(len))).collect()
    }

    #[test]
    fn fifteen_tags_of_256_characters_fit() {
        assert!(judge(tags(15, 256)).is_ok());
        assert!(judge(tags(16, 1)).is_err());
        assert!(judge(tags(1, 257)).is_err());
        assert!(judge(Tags::from([(String::new(), String::new())])).is_err());
    }
}
