//! Keys: what seals what. `docs/architecture.md` has the table.
//!
//! From each 32-byte master key HKDF-SHA256 (RFC 5869) derives a key per session, per kept value, per card and per cookie, and the
//! key of the index terms. Blobs are AES-256-GCM: `format ‖ key id ‖ [salt] ‖ nonce ‖ ciphertext ‖ tag`. The header and what the
//! caller names are authenticated too, so a blob that was moved to another place does not open there.

mod live;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

pub(crate) use live::LiveKeyring;

use super::names::hex;
use super::{Error, IndexKey};
use crate::secret::{self, Secret};

/// A master key: 32 bytes. `Debug` does not show it, and comparing takes the same time whatever differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey(Secret<[u8; 32]>);

impl MasterKey {
    /// A fresh random key.
    pub fn generate() -> Self {
        Self(Secret::new(secret::random()))
    }

    /// Takes 32 bytes, which must be as good as random: nothing stretches them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Reads 43 characters of base64url without padding. White space around them is ignored, as a file usually ends in a line
    /// break. Nothing for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).ok()?);
        Some(Self(Secret::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The key in the form that [`parse`](Self::parse) reads.
    pub fn to_base64url(&self) -> Secret<String> {
        Secret::new(URL_SAFE_NO_PAD.encode(self.0.expose()))
    }
}

/// Master keys in use: the first seals, all open.
///
/// To rotate, a new key joins as second everywhere, then becomes first; the old one goes when no row is left that it sealed.
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

impl Keyring {
    /// From master keys, first the one that seals. A key that is there twice counts once. Nothing if there is none.
    pub fn new(masters: Vec<MasterKey>) -> Option<Self> {
        let mut keys: Vec<Key> = Vec::with_capacity(masters.len());
        for master in masters {
            if keys.iter().all(|key| key.master.0 != master.0) {
                keys.push(Key::new(master));
            }
        }
        let mut keys = keys.into_iter();
        Some(Self { first: keys.next()?, others: keys.collect() })
    }

    /// The ids of the keys, the first key's first: 8 hex digits each, as every sealed value names its key. An id tells nothing about
    /// its key.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys().map(|key| hex(&key.id)).collect()
    }

    /// Seals `plain` under the first key, for this purpose and place. `place` is compared when the blob is opened.
    pub(crate) fn seal(&self, purpose: Purpose<'_>, place: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        let mut blob = Vec::with_capacity(purpose.header_len() + NONCE_LEN + plain.len() + TAG_LEN);
        blob.push(FORMAT);
        blob.extend_from_slice(&self.first.id);
        if purpose.is_salted() {
            blob.extend_from_slice(&secret::random::<SALT_LEN>());
        }
        let (aad, key) = (associated(&blob, place), self.first.derive(purpose, &blob[SALT_AT..]));
        let nonce: [u8; NONCE_LEN] = secret::random();
        blob.extend_from_slice(&nonce);
        let text_at = blob.len();
        blob.extend_from_slice(plain);
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut blob[text_at..])
            .expect("AES-GCM seals anything shorter than 64 GiB");
        blob.extend_from_slice(tag.as_ref());
        blob
    }

    /// Opens what [`seal`](Self::seal) sealed for the same purpose and place, under any key of the ring.
    pub(crate) fn open(
        &self,
        purpose: Purpose<'_>,
        place: &[&[u8]],
        blob: &[u8],
    ) -> Result<Secret<Vec<u8>>, OpenError> {
        let &[format, ..] = blob else { return Err(OpenError::Corrupt) };
        match format {
            FORMAT => {}
            newer if newer > FORMAT => return Err(OpenError::NewerFormat),
            _ => return Err(OpenError::Corrupt),
        }
        let (header, sealed) = blob.split_at_checked(purpose.header_len()).ok_or(OpenError::Corrupt)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Corrupt)?;
        let aad = associated(header, place);
        // Ids are short, so two keys may share one: a blob is corrupt only if none of them opens it.
        let mut is_known = false;
        for key in self.keys().filter(|key| key.id == header[KEY_ID_AT..SALT_AT]) {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let mut text = Zeroizing::new(sealed.to_vec());
            let opened = key.derive(purpose, &header[SALT_AT..]).open_in_place(nonce, Aad::from(&aad), &mut text);
            if let Some(length) = opened.ok().map(|plain| plain.len()) {
                text.truncate(length);
                return Ok(Secret::new(std::mem::take(&mut *text)));
            }
            is_known = true;
        }
        match key_id_of(blob) {
            Some(id) if !is_known => Err(OpenError::UnknownKey(id)),
            _ => Err(OpenError::Corrupt),
        }
    }

    /// Whether the first key sealed this blob.
    pub(crate) fn is_current(&self, blob: &[u8]) -> bool {
        blob.get(..SALT_AT).is_some_and(|header| header[0] == FORMAT && header[KEY_ID_AT..] == self.first.id)
    }

    /// The term for `parts` under the first key, which rows are written with.
    pub(crate) fn index_key(&self, parts: &[&[u8]]) -> IndexKey {
        self.first.index_key(parts)
    }

    /// The terms for `parts` under every key, the first key's last: searches find what any of them wrote.
    pub(crate) fn index_keys(&self, parts: &[&[u8]]) -> Vec<IndexKey> {
        self.others.iter().rev().chain([&self.first]).map(|key| key.index_key(parts)).collect()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

/// The id of the key that sealed this blob, as [`Keyring::key_ids`] has it: 8 hex digits. Nothing for what is no blob of a format
/// known here.
pub(crate) fn key_id_of(blob: &[u8]) -> Option<String> {
    let header = blob.get(..SALT_AT).filter(|header| header[0] == FORMAT)?;
    Some(hex(&header[KEY_ID_AT..]))
}

/// What a blob is sealed for; decides the key.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// A session half; opens only together with the session id.
    Session(&'a [u8; 16]),
    /// A tokens half; opens only together with the session id.
    Tokens(&'a [u8; 16]),
    /// A value for one reader; opens only together with its handle.
    Once(&'a [u8]),
    /// What must be readable without the cookie.
    Card,
    /// A cookie that carries its content.
    Cookie,
}

impl<'a> Purpose<'a> {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Session(_) => b"cloakroom/1/session",
            Self::Tokens(_) => b"cloakroom/1/tokens",
            Self::Once(_) => b"cloakroom/1/once",
            Self::Card => b"cloakroom/1/card",
            Self::Cookie => b"cloakroom/1/cookie",
        }
    }

    /// The secret beside the master key that the browser holds.
    fn secret(self) -> Option<&'a [u8]> {
        match self {
            Self::Session(id) | Self::Tokens(id) => Some(id),
            Self::Once(handle) => Some(handle),
            Self::Card | Self::Cookie => None,
        }
    }

    /// A session's key seals some thousand blobs, far from the 2^32 random nonces that one AES-GCM key bears (NIST SP 800-38D §8.3).
    /// Cards and cookies are sealed for years under one master key, so each gets a key of its own from a random salt.
    fn is_salted(self) -> bool {
        self.secret().is_none()
    }

    fn header_len(self) -> usize {
        if self.is_salted() { SALT_AT + SALT_LEN } else { SALT_AT }
    }
}

/// Why a blob does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It names a key that is not in the ring; the key's id.
    #[error("sealed under the key {0}, which is not in the ring")]
    UnknownKey(String),
    /// A newer version of this program wrote it.
    #[error("sealed in a newer format")]
    NewerFormat,
    /// It fails under its own key, or is no blob at all.
    #[error("does not open under its own key")]
    Corrupt,
}

/// A missing key or an old program is ours to mend and ends nobody's session; a forged or moved blob is not believed.
impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownKey(_) | OpenError::NewerFormat => {
                Self::Unavailable(format!("a stored value is {error}"))
            }
            OpenError::Corrupt => Self::Corrupt("it does not open under its own key"),
        }
    }
}

struct Key {
    id: [u8; KEY_ID_LEN],
    master: MasterKey,
    /// The master key as the salt that per-session keys are extracted with; kept, because making it copies the key.
    salt: hkdf::Salt,
    index: hmac::Key,
}

impl Key {
    fn new(master: MasterKey) -> Self {
        let prk = hkdf::Salt::none(hkdf::HKDF_SHA256).extract(master.0.expose());
        let mut id = [0; KEY_ID_LEN];
        expand(&prk, b"cloakroom/1/key-id", &mut id);
        let mut index = Zeroizing::new([0; 32]);
        expand(&prk, b"cloakroom/1/index", index.as_mut_slice());
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, master.0.expose());
        Self { id, salt, index: hmac::Key::new(hmac::HMAC_SHA256, index.as_slice()), master }
    }

    fn derive(&self, purpose: Purpose<'_>, salt: &[u8]) -> LessSafeKey {
        let prk = match purpose.secret() {
            Some(secret) => self.salt.extract(secret),
            None => hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.master.0.expose()),
        };
        let info = [purpose.info()];
        let key = prk.expand(&info, &AES_256_GCM).expect("an AES key is shorter than HKDF's longest output");
        LessSafeKey::new(UnboundKey::from(key))
    }

    fn index_key(&self, parts: &[&[u8]]) -> IndexKey {
        let tag = hmac::sign(&self.index, &framed(parts));
        IndexKey::from_bytes(tag.as_ref().try_into().expect("HMAC-SHA256 gives 32 bytes"))
    }
}

fn expand(prk: &hkdf::Prk, info: &[u8], out: &mut [u8]) {
    prk.expand(&[info], Length(out.len()))
        .and_then(|output| output.fill(out))
        .expect("the output is shorter than HKDF's longest");
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// What is authenticated beside the text: the blob's header, and where the blob belongs.
fn associated(header: &[u8], place: &[&[u8]]) -> Vec<u8> {
    let mut aad = framed(&[header]);
    aad.extend(framed(place));
    aad
}

/// Parts with their lengths before them, so that no two lists of parts read alike.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

const FORMAT: u8 = 1;
const KEY_ID_AT: usize = 1;
const KEY_ID_LEN: usize = 4;
const SALT_AT: usize = KEY_ID_AT + KEY_ID_LEN;
const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 16] = [7; 16];

    fn ring(masters: &[u8]) -> Keyring {
        Keyring::new(masters.iter().map(|&byte| MasterKey::from_bytes([byte; 32])).collect()).unwrap()
    }

    fn purposes() -> [Purpose<'static>; 5] {
        [Purpose::Session(&ID), Purpose::Tokens(&ID), Purpose::Once(b"handle"), Purpose::Card, Purpose::Cookie]
    }

    #[test]
    fn a_key_reads_what_it_writes() {
        let key = MasterKey::generate();
        let text = key.to_base64url();
        assert_eq!(text.expose().len(), 43);
        assert_eq!(MasterKey::parse(&format!("\n {} \r\n", text.expose())).unwrap().0, key.0);
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        let good = MasterKey::from_bytes([255; 32]).to_base64url();
        let good = good.expose();
        let padded = format!("{good}=");
        let (short, standard) = (&good[1..], good.replace('_', "/"));
        for text in
            ["", "x", padded.as_str(), short, standard.as_str(), &format!("{good}{good}"), &good.replace('8', "9")]
        {
            assert!(MasterKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = MasterKey::from_bytes([65; 32]);
        assert_eq!(format!("{key:?}"), "MasterKey(Secret(..))");
        assert!(!format!("{:?}", ring(&[65])).contains("AAAA"));
    }

    #[test]
    fn a_ring_needs_a_key_and_counts_it_once() {
        assert!(Keyring::new(Vec::new()).is_none());
        assert_eq!(ring(&[1, 2, 1]).keys().count(), 2);
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_purpose_and_place() {
        let ring = ring(&[1]);
        for purpose in purposes() {
            let blob = ring.seal(purpose, &[b"here"], b"text");
            assert_eq!(ring.open(purpose, &[b"here"], &blob).unwrap().expose(), b"text");
        }
    }

    #[test]
    fn no_two_blobs_are_alike() {
        let ring = ring(&[1]);
        for purpose in purposes() {
            assert_ne!(ring.seal(purpose, &[], b"text"), ring.seal(purpose, &[], b"text"));
        }
    }

    #[test]
    fn nothing_opens_for_another_purpose_secret_or_place() {
        let ring = ring(&[1]);
        let blob = ring.seal(Purpose::Session(&ID), &[b"ab", b"c"], b"text");
        for purpose in [Purpose::Tokens(&ID), Purpose::Session(&[8; 16]), Purpose::Once(&ID), Purpose::Card] {
            assert_eq!(ring.open(purpose, &[b"ab", b"c"], &blob), Err(OpenError::Corrupt));
        }
        for place in [&[b"a".as_slice(), b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[]] {
            assert_eq!(ring.open(Purpose::Session(&ID), place, &blob), Err(OpenError::Corrupt));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_behind_the_key_id_is_corrupt() {
        let ring = ring(&[1]);
        for purpose in purposes() {
            let blob = ring.seal(purpose, &[], b"text");
            for bit in SALT_AT * 8..blob.len() * 8 {
                let mut flipped = blob.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(ring.open(purpose, &[], &flipped), Err(OpenError::Corrupt), "bit {bit}");
            }
        }
    }

    #[test]
    fn an_unknown_key_or_a_newer_format_is_unavailable_not_corrupt() {
        let mut blob = ring(&[1]).seal(Purpose::Card, &[], b"text");
        let unknown = OpenError::UnknownKey(ring(&[1]).key_ids().remove(0));
        assert_eq!(ring(&[2]).open(Purpose::Card, &[], &blob), Err(unknown.clone()));
        assert!(matches!(Error::from(unknown), Error::Unavailable(_)));
        blob[0] = FORMAT + 1;
        assert_eq!(ring(&[1]).open(Purpose::Card, &[], &blob), Err(OpenError::NewerFormat));
        assert!(matches!(Error::from(OpenError::NewerFormat), Error::Unavailable(_)));
        assert!(matches!(Error::from(OpenError::Corrupt), Error::Corrupt(_)));
    }

    #[test]
    fn after_a_rotation_old_blobs_open_and_new_ones_are_current() {
        let blob = ring(&[1]).seal(Purpose::Card, &[], b"text");
        let rotated = ring(&[2, 1]);
        assert_eq!(rotated.open(Purpose::Card, &[], &blob).unwrap().expose(), b"text");
        assert!(!rotated.is_current(&blob));
        assert!(rotated.is_current(&rotated.seal(Purpose::Card, &[], b"text")));
        assert!(!rotated.is_current(b""));
    }

    #[test]
    fn a_blob_names_the_key_that_sealed_it() {
        let rotated = ring(&[2, 1]);
        let ids = rotated.key_ids();
        assert_eq!(ids, [ring(&[2]).key_ids(), ring(&[1]).key_ids()].concat());
        for purpose in purposes() {
            assert_eq!(key_id_of(&rotated.seal(purpose, &[], b"text")).as_ref(), Some(&ids[0]));
        }
        assert_eq!(key_id_of(&[FORMAT, 0xc0, 0xa7, 0, 1]).as_deref(), Some("c0a70001"));
        for no_blob in [&[][..], &[FORMAT, 1, 2, 3], &[FORMAT + 1, 1, 2, 3, 4], &[0; 5]] {
            assert_eq!(key_id_of(no_blob), None);
        }
    }

    #[test]
    fn terms_are_found_under_every_key_oldest_first() {
        let parts: &[&[u8]] = &[b"sub", b"alice"];
        let old = ring(&[1]).index_key(parts);
        let rotated = ring(&[2, 1]);
        assert_eq!(rotated.index_keys(parts), [old, rotated.index_key(parts)]);
        assert_ne!(old, rotated.index_key(parts));
    }

    #[test]
    fn terms_of_different_parts_differ() {
        let ring = ring(&[1]);
        let lists: [&[&[u8]]; 5] = [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""], &[]];
        let terms: std::collections::BTreeSet<_> = lists.iter().map(|parts| ring.index_key(parts)).collect();
        assert_eq!(terms.len(), lists.len());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_open(mut blob: Vec<u8>, known: bool) {
            let ring = ring(&[1]);
            if known && blob.len() > SALT_AT {
                blob[0] = FORMAT;
                blob[KEY_ID_AT..SALT_AT].copy_from_slice(&ring.first.id);
            }
            for purpose in purposes() {
                prop_assert!(ring.open(purpose, &[], &blob).is_err());
            }
            let _ = ring.is_current(&blob);
        }

        #[test]
        fn every_text_comes_back(text: Vec<u8>, place: Vec<u8>) {
            let ring = ring(&[1]);
            for purpose in purposes() {
                let blob = ring.seal(purpose, &[&place], &text);
                let opened = ring.open(purpose, &[&place], &blob).unwrap();
                prop_assert_eq!(opened.expose(), &text);
            }
        }

        #[test]
        fn no_text_panics_the_key_reader(text: String) {
            let _ = MasterKey::parse(&text);
        }
    }
}
