//! Values by path, found by the longest prefix of whole segments.

use std::collections::HashMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Prefixes<T> {
    /// Without trailing slash: the prefix `/` is empty.
    values: HashMap<String, T>,
    longest: usize,
}

impl<T> Prefixes<T> {
    /// Puts a value at a path; trailing slashes do not count. Answers what was there.
    pub(crate) fn insert(&mut self, path: &str, value: T) -> Option<T> {
        let prefix = path.trim_end_matches('/');
        self.longest = self.longest.max(prefix.len());
        self.values.insert(prefix.to_owned(), value)
    }

    /// The value at the longest prefix of a path. Segments are cut off the end until what is left is one; what is too long to be one is
    /// not looked up, so a path of many segments costs no more than its length.
    pub(crate) fn get(&self, path: &str) -> Option<&T> {
        if self.values.is_empty() {
            return None;
        }
        let mut prefix = path.trim_end_matches('/');
        loop {
            if prefix.len() <= self.longest
                && let Some(value) = self.values.get(prefix)
            {
                return Some(value);
            }
            prefix = &prefix[..prefix.rfind('/')?];
        }
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), longest: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let mut prefixes = Prefixes::default();
        for path in ["/", "/a", "/a/b/", "/c/d"] {
            assert_eq!(prefixes.insert(path, path), None);
        }
        for (path, found) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/x", "/a"),
            ("/ab", "/"),
            ("/a/b", "/a/b/"),
            ("/a/b//", "/a/b/"),
            ("/a/b/c/d", "/a/b/"),
            ("/c", "/"),
            ("", "/"),
        ] {
            assert_eq!(prefixes.get(path), Some(&found), "{path}");
        }
        assert_eq!(prefixes.get("*"), None);
        assert_eq!(prefixes.insert("/a/", "again"), Some("/a"));
    }

    #[test]
    fn without_a_prefix_at_the_root_nothing_is_found_beside() {
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.get("/"), None);
        prefixes.insert("/a", ());
        assert_eq!((prefixes.get("/"), prefixes.get("/b/a"), prefixes.get("/a/b")), (None, None, Some(&())));
    }
}
