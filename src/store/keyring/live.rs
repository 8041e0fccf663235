//! The keyring in use, exchanged as a whole while it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::Keyring;

/// A [`Keyring`] that can be exchanged. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LiveKeyring(Arc<Live>);

#[derive(Debug)]
struct Live {
    ring: ArcSwap<Keyring>,
    exchanges: AtomicU64,
}

impl LiveKeyring {
    /// The keyring of this moment, for everything that is written together: a row with terms under one key and blobs under another
    /// would look sealed anew, and not be found once the older key is gone. Not to be held across an `.await`.
    pub(crate) fn now(&self) -> Guard<Arc<Keyring>> {
        self.0.ring.load()
    }

    /// Puts another keyring in place. The old one is wiped when its last reader is done.
    pub(crate) fn exchange(&self, keyring: Keyring) {
        self.0.ring.store(Arc::new(keyring));
        self.0.exchanges.fetch_add(1, Ordering::Release);
    }

    /// Counts the exchanges: what was opened before one may not open any more.
    pub(crate) fn generation(&self) -> u64 {
        self.0.exchanges.load(Ordering::Acquire)
    }
}

impl From<Arc<Keyring>> for LiveKeyring {
    fn from(keyring: Arc<Keyring>) -> Self {
        Self(Arc::new(Live { ring: ArcSwap::new(keyring), exchanges: AtomicU64::new(0) }))
    }
}

impl From<Keyring> for LiveKeyring {
    fn from(keyring: Keyring) -> Self {
        Arc::new(keyring).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MasterKey;

    fn ring(byte: u8) -> Keyring {
        Keyring::new(vec![MasterKey::from_bytes([byte; 32])]).unwrap()
    }

    #[test]
    fn all_clones_see_the_exchange() {
        let live = LiveKeyring::from(ring(1));
        let clone = live.clone();
        live.exchange(ring(2));
        assert_eq!(clone.now().key_ids(), ring(2).key_ids());
    }

    #[test]
    fn an_old_ring_is_dropped_when_its_last_reader_is_done() {
        let live = LiveKeyring::from(ring(1));
        let reader = live.now();
        let old = Arc::downgrade(&reader);
        live.exchange(ring(2));
        assert_eq!(reader.key_ids(), ring(1).key_ids(), "a reader goes on with what it has");
        assert!(old.upgrade().is_some());
        drop(reader);
        assert!(old.upgrade().is_none());
    }
}
