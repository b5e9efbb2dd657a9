//! Tags: what applications write on a key for themselves.

use std::collections::BTreeMap;

use super::Problem;
use crate::model::version::check_tags;

/// Names and values.
pub type Tags = BTreeMap<String, String>;

/// Judges the tags of a request.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn judge(tags: Tags) -> Result<Tags, Problem> {
    match check_tags(&tags) {
        Ok(()) => Ok(tags),
        Err(refused) => Err(Problem::bad(format!("tags: {refused}"))),
    }
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
