//! The store that replicas share.

use std::time::Duration;

use tempfile::TempDir;

/// What kinds there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
}

/// One store, with whatever serves it.
pub(crate) struct Store {
    /// What replicas are given.
    pub(crate) url: String,
    neighbour: Neighbour,
}

enum Neighbour {
    /// A file. There is no wire to it, and nobody to stop.
    File(#[expect(dead_code, reason = "the folder lives as long as the store")] TempDir),
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }
}

impl Store {
    #[expect(clippy::unused_async, reason = "servers take their time to start")]
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().expect("a folder can be made");
                let url = format!("sqlite:{}", folder.path().join("sessions.db").display());
                Self { url, neighbour: Neighbour::File(folder) }
            }
        }
    }

    /// From now on whatever replicas say to it arrives this much later.
    pub(crate) fn slow(&self, _delay: Duration) {
        match &self.neighbour {
            Neighbour::File(_) => panic!("a file has no wire"),
        }
    }

    /// Stops its process: it answers nobody, and connections stay.
    pub(crate) fn pause(&self) {
        match &self.neighbour {
            Neighbour::File(_) => panic!("a file has no process"),
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.pause();
    }
}
