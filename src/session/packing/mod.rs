//! A session as few bytes: tokens taken apart, and put together again bit for bit.
//!
//! What is random (GUIDs, signatures, token ids, refresh tokens) is stored as the octets it stands
//! for; what is text (header and claims of the tokens, the kept claims, the scopes) is collected,
//! stripped of everything random and deflated with a dictionary. A token that would not come back
//! exactly is kept as it is.
//!
//! ```text
//! version ‖ GUIDs ‖ octets ‖ deflated text ‖ padding
//! ```
//!
//! Compressing before encrypting is safe here, since the refresh token is never compressed, no text
//! of a request is in the session, lengths show in steps of 64 bytes only ([`pad`]), and claims
//! that a user can set share the stream with tokens that change at each renewal.
//!
//! The packed bytes are read only after they were authenticated. Even so [`unpack`] takes nothing
//! on trust: text is bounded before it is inflated, and what is not read to its last octet is no
//! session.

mod blob;
mod deflate;
mod dictionary;
mod guid;
mod jwt;
mod nested;
mod opaque;
mod text;
mod varint;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

use crate::sealing::Keyring;

use self::{
    jwt::Jwt,
    text::{Assembler, Dismantler, Form},
    varint::Octets,
};

/// Format, dictionary and known GUIDs. Older ones stay readable for one session's lifetime across
/// updates and rollbacks.
const VERSION: u8 = 1;
/// Lengths of sealed sessions show in steps of so many bytes.
const BUCKET: usize = 64;
/// Where a step ends. Any place is as good; here the session of a user in ten groups, with a long
/// refresh token, ends below 2,800 bytes of cookie.
const STEP: usize = 36;

/// What a session consists of.
#[derive(Clone)]
pub struct Contents {
    /// The claims of the ID token that are kept.
    pub claims: Map<String, Value>,
    /// The token for the app; none when it did not fit and is kept in memory.
    pub access_token: Option<SecretString>,
    /// The token for renewal.
    pub refresh_token: Option<SecretString>,
    /// The ID token as received, where somebody is handed it.
    pub id_token: Option<SecretString>,
    /// The scopes that were granted, as the token answer lists them.
    pub scope: String,
    /// When the access token ends, in seconds since 1970.
    pub expires_at: i64,
    /// When Microsoft gave the tokens, in seconds since 1970.
    pub obtained_at: i64,
    /// When the user signed in, in seconds since 1970.
    pub signed_in_at: i64,
    /// When the user was last seen, in seconds since 1970.
    pub seen_at: i64,
    /// The session's id.
    pub id: [u8; 16],
    /// How often the session was renewed.
    pub generation: u32,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Claims are personal data and the id is a handle: neither belongs in a log.
        f.debug_struct("Contents")
            .field("expires_at", &self.expires_at)
            .field("obtained_at", &self.obtained_at)
            .field("signed_in_at", &self.signed_in_at)
            .field("seen_at", &self.seen_at)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Packs a session. The result has room for [`pad`], so that nothing is left behind by growing.
pub fn pack(contents: &Contents) -> Zeroizing<Vec<u8>> {
    // Claims are made of strings, numbers and lists, which JSON never refuses.
    let claims = Zeroizing::new(serde_json::to_vec(&contents.claims).unwrap_or_default());
    let tokens = [&contents.access_token, &contents.refresh_token, &contents.id_token];
    let secrets = tokens.iter().filter_map(|token| token.as_ref());
    let size = secrets.map(|token| token.expose_secret().len()).sum::<usize>()
        + claims.len()
        + contents.scope.len();
    let mut into = Dismantler::new(size + size / 8 + 256, contents.signed_in_at);

    let octets = &mut into.octets;
    varint::push_signed(octets, contents.signed_in_at);
    varint::push_signed(octets, contents.seen_at.wrapping_sub(contents.signed_in_at));
    varint::push_signed(octets, contents.expires_at.wrapping_sub(contents.seen_at));
    varint::push_signed(octets, contents.obtained_at.wrapping_sub(contents.signed_in_at));
    octets.extend_from_slice(&contents.id);
    varint::push(octets, u64::from(contents.generation));

    push_token(&mut into, contents.access_token.as_ref());
    push_token(&mut into, contents.id_token.as_ref());
    push_text(&mut into, &claims);
    push_fractions(&mut into, &contents.claims);
    push_text(&mut into, contents.scope.as_bytes());
    // Refresh tokens are opaque, whatever they look like: they must never be compressed.
    push_whole(&mut into, contents.refresh_token.as_ref());
    into.finish(VERSION, BUCKET)
}

/// Unpacks what [`pack`] made, with or without padding. `None` for anything else.
pub fn unpack(packed: &[u8]) -> Option<Contents> {
    let mut packed = Octets(packed);
    if packed.octet()? != VERSION {
        return None;
    }
    let mut from = Assembler::read(packed)?;
    let signed_in_at = from.octets.signed()?;
    let seen_at = signed_in_at.wrapping_add(from.octets.signed()?);
    let expires_at = seen_at.wrapping_add(from.octets.signed()?);
    let obtained_at = signed_in_at.wrapping_add(from.octets.signed()?);
    from.count_from(signed_in_at);
    let id = from.octets.array()?;
    let generation = from.octets.number()?.try_into().ok()?;

    let access_token = read_token(&mut from)?;
    let id_token = read_token(&mut from)?;
    let claims = read_text(&mut from)?;
    let mut claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    restore_fractions(&mut claims, &read_fractions(&mut from)?);
    let scope = std::str::from_utf8(&read_text(&mut from)?).ok()?.to_owned();
    let refresh_token = read_token(&mut from)?;
    from.is_done().then_some(Contents {
        claims,
        access_token,
        refresh_token,
        id_token,
        scope,
        expires_at,
        obtained_at,
        signed_in_at,
        seen_at,
        id,
        generation,
    })
}

/// Fills `packed` with zeros up to the next step of 64 bytes. Padding must not cost a cookie, so
/// `edge` says how long something of a sealed length may become (`SessionCookies::edge`).
pub fn pad(packed: &mut Zeroizing<Vec<u8>>, edge: impl FnOnce(usize) -> usize) {
    let sealed = packed.len() + Keyring::OVERHEAD;
    let step = (sealed + BUCKET - STEP).next_multiple_of(BUCKET) - BUCKET + STEP;
    packed.resize(step.min(edge(sealed)).max(sealed) - Keyring::OVERHEAD, 0);
}

fn push_token(into: &mut Dismantler, token: Option<&SecretString>) {
    let jwt = token.and_then(|token| Jwt::parse(token.expose_secret()));
    match jwt.filter(|jwt| into.takes(&jwt.texts())) {
        Some(jwt) => {
            into.form(Form::Apart);
            jwt.dismantle(into);
        }
        None => push_whole(into, token),
    }
}

fn push_whole(into: &mut Dismantler, token: Option<&SecretString>) {
    match token {
        None => into.form(Form::Absent),
        Some(token) => {
            into.form(Form::Whole);
            opaque::push(&mut into.octets, token.expose_secret().as_bytes());
        }
    }
}

#[expect(clippy::option_option, reason = "broken, absent and present are three things")]
fn read_token(from: &mut Assembler<'_>) -> Option<Option<SecretString>> {
    Some(match from.form()? {
        Form::Absent => None,
        Form::Apart => Some(Jwt::assemble(from)?),
        Form::Whole => {
            let token = opaque::read(&mut from.octets)?;
            Some(SecretString::from(std::str::from_utf8(&token).ok()?))
        }
    })
}

fn push_text(into: &mut Dismantler, text: &[u8]) {
    if into.takes(&[text]) {
        into.form(Form::Apart);
        into.text(text);
    } else {
        into.form(Form::Whole);
        opaque::push(&mut into.octets, text);
    }
}

fn read_text(from: &mut Assembler<'_>) -> Option<Zeroizing<Vec<u8>>> {
    match from.form()? {
        Form::Absent => None,
        Form::Apart => from.text(),
        Form::Whole => opaque::read(&mut from.octets),
    }
}

// Reading decimal fractions as JSON may be off by the last bit, so they travel as octets too.

fn push_fractions(into: &mut Dismantler, claims: &Map<String, Value>) {
    let mut fractions = Vec::new();
    claims.values().for_each(|value| collect_fractions(value, &mut fractions));
    if fractions.is_empty() {
        into.form(Form::Absent);
        return;
    }
    into.form(Form::Whole);
    varint::push_length(&mut into.octets, fractions.len());
    for fraction in fractions {
        into.octets.extend_from_slice(&fraction.to_le_bytes());
    }
}

fn collect_fractions(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Number(number) if number.is_f64() => into.extend(number.as_f64()),
        Value::Array(values) => values.iter().for_each(|value| collect_fractions(value, into)),
        Value::Object(map) => map.values().for_each(|value| collect_fractions(value, into)),
        _ => {}
    }
}

fn read_fractions(from: &mut Assembler<'_>) -> Option<Vec<f64>> {
    match from.form()? {
        Form::Absent => Some(Vec::new()),
        Form::Apart => None,
        Form::Whole => {
            let count = from.octets.length()?;
            let octets = from.octets.take(count.checked_mul(size_of::<f64>())?)?;
            let (fractions, _) = octets.as_chunks();
            Some(fractions.iter().map(|fraction| f64::from_le_bytes(*fraction)).collect())
        }
    }
}

fn restore_fractions(claims: &mut Map<String, Value>, fractions: &[f64]) {
    let mut fractions = fractions.iter();
    if !fractions.as_slice().is_empty() {
        claims.values_mut().for_each(|value| restore(value, &mut fractions));
    }
}

fn restore(value: &mut Value, fractions: &mut std::slice::Iter<'_, f64>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let exact = fractions.next().and_then(|fraction| Number::from_f64(*fraction));
            if let Some(exact) = exact {
                *number = exact;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| restore(value, fractions)),
        Value::Object(map) => map.values_mut().for_each(|value| restore(value, fractions)),
        _ => {}
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
