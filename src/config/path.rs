//! Where a value stands in the configuration: `frontends.shop.routes[0].path`.

use std::fmt;

/// The way from the root to a value. Indexes count from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<Step>);

/// One step of the way. Indexes order as numbers, so that `[10]` comes after `[9]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Index(usize),
    Key(String),
}

impl KeyPath {
    /// Reads `server.listen`: keys and dots only.
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// This path and one key more.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// This path and one index more.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// This path and one step more.
    pub(super) fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// All steps, from the root.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The path without its last step, and that step; nothing at the root.
    pub(super) fn split_last(&self) -> Option<(Self, &Step)> {
        self.0.split_last().map(|(last, rest)| (Self(rest.to_vec()), last))
    }

    /// Whether `ancestor` is on the way to here, or is here.
    pub(super) fn is_within(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// The path itself, then its parent, and so on, without the root.
    pub(super) fn upwards(&self) -> impl Iterator<Item = Self> + '_ {
        (1..=self.0.len()).rev().map(|length| Self(self.0[..length].to_vec()))
    }

    /// The path as a pattern: chosen names are `NAME`, indexes `[]`. This is how the documentation writes keys.
    pub(super) fn pattern(&self) -> String {
        let named = self.is_named();
        self.0.iter().enumerate().fold(String::new(), |text, (depth, step)| match step {
            Step::Key(key) if depth == 0 => key.clone(),
            Step::Key(_) if depth == 1 && named => text + ".NAME",
            Step::Key(key) => text + "." + key,
            Step::Index(_) => text + "[]",
        })
    }

    fn is_named(&self) -> bool {
        matches!(self.0.first(), Some(Step::Key(section)) if section == "providers" || section == "frontends")
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let steps = path.iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Self(steps.collect())
    }
}

impl From<&serde_ignored::Path<'_>> for KeyPath {
    fn from(path: &serde_ignored::Path<'_>) -> Self {
        use serde_ignored::Path;
        match path {
            Path::Root => Self::default(),
            Path::Seq { parent, index } => Self::from(*parent).index(*index),
            Path::Map { parent, key } => Self::from(*parent).key(key),
            Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                Self::from(*parent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_would_be_written() {
        let path = KeyPath::of("frontends.shop.routes").index(0).key("path");
        assert_eq!(path.to_string(), "frontends.shop.routes[0].path");
        assert_eq!(path.pattern(), "frontends.NAME.routes[].path");
    }

    #[test]
    fn indexes_order_as_numbers() {
        let routes = KeyPath::of("frontends.shop.routes");
        assert!(routes.index(9) < routes.index(10));
    }
}
