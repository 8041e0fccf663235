//! Keys: what seals what.
use crate::secret::Secret;

/// A master key: 32 bytes.
#[derive(Clone, Debug)]
pub struct MasterKey(Secret<[u8; 32]>);
