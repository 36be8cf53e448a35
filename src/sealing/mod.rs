//! What only we may read: authenticated encryption under the session keys.
//!
//! The construction is XAES-256-GCM's idea with HKDF in place of CMAC. A sealed message is
//!
//! ```text
//! version (1) ‖ key id (4) ‖ N (24) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! - each [`Purpose`] has a sub-key, HKDF-SHA256(key, "vestibule" ‖ version ‖ purpose), derived once;
//! - each message has a key of its own, HKDF-Expand(sub-key, N\[0..12\]), and is encrypted with
//!   AES-256-GCM under the nonce N\[12..24\]. N is 24 bytes of the operating system, so that 2^80
//!   messages are safe where plain GCM with a random nonce ends at 2^32: anybody can make a
//!   sign-in proxy seal messages;
//! - the associated data binds product, version, purpose, public origin, client, tenant and key
//!   id, each with its length in front, so that nothing sealed for one place opens in another.
//!
//! Keys are chosen by their id and never tried one after the other, since GCM does not commit to
//! its key. Every failure is the same `None`.

mod hold;
mod key;
pub mod key_file;

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use self::hold::Hold;
pub use self::key::{KEY_BYTES, Key, KeyError};

const PRODUCT: &[u8] = b"vestibule";
const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const RANDOM: usize = 24;
const TAG: usize = 16;
const HEAD: usize = 1 + KEY_ID + RANDOM;

/// What a sealed message is for. Messages of one purpose never open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A session in cookies.
    Session,
    /// Sign-ins in progress.
    Flow,
    /// A session in an external store, and its ticket.
    Store,
    /// A form that is kept while its user signs in.
    Form,
}

impl Purpose {
    /// The purpose as it is named in key derivation and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Flow => "flow",
            Self::Store => "store",
            Self::Form => "form",
        }
    }
}

/// The one installation that a message is sealed for. Another app that shares the keys by mistake
/// cannot open it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The public origin, as `https://app.contoso.com`.
    pub origin: String,
    /// The app registration.
    pub client_id: String,
    /// The tenant as configured.
    pub tenant: String,
}

/// Why a message was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system has no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// More than AES-GCM may encrypt under one nonce (64 GiB).
    #[error("the message is too long to be sealed")]
    TooLong,
}

/// The session keys: the first seals, all open.
pub struct Keyring {
    current: KeySet,
    former: Vec<KeySet>,
    /// A brand-new first key does not seal yet.
    hold: Option<Hold>,
}

/// What is derived from one session key.
struct KeySet {
    id: [u8; KEY_ID],
    session: Line,
    flow: Line,
    store: Line,
    form: Line,
}

/// Sub-key and associated data of one purpose under one session key.
struct Line {
    sub_key: Zeroizing<[u8; KEY_BYTES]>,
    bound_to: Vec<u8>,
}

impl Keyring {
    /// Octets that a sealed message is longer than its plaintext.
    pub const OVERHEAD: usize = HEAD + TAG;

    /// Takes the keys in their order: the first seals.
    ///
    /// # Errors
    /// There is no key, or one is there twice.
    #[expect(clippy::needless_pass_by_value, reason = "a binding is made for one keyring")]
    pub fn new(keys: Vec<Key>, binding: Binding) -> Result<Self, KeyError> {
        let mut sets = keys.into_iter().map(|key| KeySet::derive(&key, &binding));
        let current = sets.next().ok_or(KeyError::Missing)??;
        let former = sets.collect::<Result<Vec<_>, _>>()?;
        let mut ids: Vec<_> = former.iter().map(|set| set.id).collect();
        ids.push(current.id);
        ids.sort_unstable();
        // Two keys that share an id would hide one another, so they count as one.
        if ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(KeyError::Twice);
        }
        Ok(Self { current, former, hold: None })
    }

    /// Seals `plaintext` under the first key.
    pub fn seal(&self, purpose: Purpose, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_bound(purpose, b"", plaintext)
    }

    /// Opens what [`Keyring::seal`] made here or at a replica. `None` says no more than "not ours".
    pub fn open(&self, purpose: Purpose, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.open_bound(purpose, b"", sealed)
    }

    /// Seals so that it opens only together with the same `extra`, such as the session's id in a
    /// store.
    pub fn seal_bound(
        &self,
        purpose: Purpose,
        extra: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(SealError::Random)?;
        self.seal_with(random, purpose, extra, plaintext)
    }

    /// Opens what [`Keyring::seal_bound`] made with the same `extra`.
    pub fn open_bound(
        &self,
        purpose: Purpose,
        extra: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (version, rest) = sealed.split_first()?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID>()?;
        let (random, rest) = rest.split_first_chunk::<RANDOM>()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
        if *version != VERSION {
            return None;
        }
        let line = self.with_id(*id)?.line(purpose);
        let (cipher, nonce) = line.message(random)?;
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let bound_to = line.bound_to_also(extra);
        let tag = Tag::<Aes256Gcm>::from(*tag);
        let in_place = text.as_mut_slice().into();
        cipher.decrypt_inout_detached(&nonce, &bound_to, in_place, &tag).ok()?;
        Some(text)
    }

    /// The ids of the keys, in their order. They stand in every sealed message.
    pub fn ids(&self) -> impl Iterator<Item = [u8; KEY_ID]> {
        std::iter::once(&self.current).chain(&self.former).map(|set| set.id)
    }

    /// Whether a message that opened was sealed under the key that seals now.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID) == Some(&self.sealing().id[..])
    }

    fn seal_with(
        &self,
        random: [u8; RANDOM],
        purpose: Purpose,
        extra: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let keys = self.sealing();
        let line = keys.line(purpose);
        let (cipher, nonce) = line.message(&random).ok_or(SealError::TooLong)?;
        let mut sealed = Vec::with_capacity(plaintext.len() + Self::OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&keys.id);
        sealed.extend_from_slice(&random);
        sealed.extend_from_slice(plaintext);
        let text = sealed.get_mut(HEAD..).unwrap_or_default();
        let tag = cipher
            .encrypt_inout_detached(&nonce, &line.bound_to_also(extra), text.into())
            .map_err(|_| SealError::TooLong)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    fn with_id(&self, id: [u8; KEY_ID]) -> Option<&KeySet> {
        std::iter::once(&self.current).chain(&self.former).find(|set| set.id == id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &(1 + self.former.len())).finish_non_exhaustive()
    }
}

impl KeySet {
    fn derive(key: &Key, binding: &Binding) -> Result<Self, KeyError> {
        let extracted = Hkdf::<Sha256>::new(None, key.bytes());
        let mut id = [0; KEY_ID];
        extracted.expand(b"kid", &mut id).map_err(KeyError::Derivation)?;
        let line = |purpose| Line::derive(&extracted, purpose, id, binding);
        Ok(Self {
            id,
            session: line(Purpose::Session)?,
            flow: line(Purpose::Flow)?,
            store: line(Purpose::Store)?,
            form: line(Purpose::Form)?,
        })
    }

    fn line(&self, purpose: Purpose) -> &Line {
        match purpose {
            Purpose::Session => &self.session,
            Purpose::Flow => &self.flow,
            Purpose::Store => &self.store,
            Purpose::Form => &self.form,
        }
    }
}

impl Line {
    fn derive(
        extracted: &Hkdf<Sha256>,
        purpose: Purpose,
        id: [u8; KEY_ID],
        binding: &Binding,
    ) -> Result<Self, KeyError> {
        let word = purpose.word().as_bytes();
        let mut sub_key = Zeroizing::new([0; KEY_BYTES]);
        extracted
            .expand_multi_info(&[PRODUCT, &[VERSION], word], &mut *sub_key)
            .map_err(KeyError::Derivation)?;
        let mut bound_to = Vec::new();
        for field in [
            PRODUCT,
            &[VERSION],
            word,
            binding.origin.as_bytes(),
            binding.client_id.as_bytes(),
            binding.tenant.as_bytes(),
            &id,
        ] {
            push_counted(&mut bound_to, field);
        }
        Ok(Self { sub_key, bound_to })
    }

    /// The cipher and the nonce of the one message that has this random part.
    fn message(&self, random: &[u8; RANDOM]) -> Option<(Aes256Gcm, Nonce<Aes256Gcm>)> {
        let (for_key, nonce) = random.split_first_chunk::<12>()?;
        let nonce: [u8; 12] = nonce.try_into().ok()?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let sub_key = Hkdf::<Sha256>::from_prk(&*self.sub_key).ok()?;
        sub_key.expand(for_key, &mut *key).ok()?;
        Some((Aes256Gcm::new((&*key).into()), nonce.into()))
    }

    fn bound_to_also(&self, extra: &[u8]) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bound_to.len() + size_of::<u64>() + extra.len());
        all.extend_from_slice(&self.bound_to);
        push_counted(&mut all, extra);
        all
    }
}

fn push_counted(list: &mut Vec<u8>, field: &[u8]) {
    list.extend_from_slice(&(field.len() as u64).to_be_bytes());
    list.extend_from_slice(field);
}

#[cfg(test)]
mod tests;
