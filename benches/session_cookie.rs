//! What a session costs: packed bytes, cookies, and the time to open one, as a ratio to plain
//! AES-256-GCM over the same bytes in the same run. `cargo bench --bench session_cookie`.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use bytes::Bytes;
use http::HeaderValue;
use samples::{Sample, Shape};
use vestibule::{
    sealing::{Binding, Key, Keyring, Purpose},
    session::{
        cookies::SessionCookies,
        packing::{self, Contents},
    },
};

#[path = "../src/session/packing/samples.rs"]
mod samples;

const ROUNDS: usize = 60;
const REPEATS: u32 = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let binding = Binding {
        origin: "https://app.contoso.com".to_owned(),
        client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
        tenant: "contoso.onmicrosoft.com".to_owned(),
    };
    let keyring = Keyring::new(vec![Key::generate()?], binding)?;
    let cookies = SessionCookies::new("__Host-vestibule", 8);
    println!(
        "token   groups  id token  naive  cookie bytes  cookies  close us  open us  / aes-gcm"
    );
    for shape in [Shape::Graph, Shape::OwnApi] {
        for groups in [0, 10, 150, 200] {
            for with_id_token in [false, true] {
                let sample = Sample::new(shape, groups, 1);
                let contents = contents(&sample, with_id_token);
                let close = || close(&keyring, &cookies, &contents);
                let lines = close().ok_or("does not fit")?;
                let parts = parts(&lines);
                let closing = time(|| close().is_some());
                let opening = time(|| open(&keyring, &cookies, &parts).is_some());
                let sealed = cookies.join(&parts).ok_or("does not join")?;
                let plain = plain(&sealed);
                println!(
                    "{:<7} {groups:>6}  {with_id_token:>8}  {:>5}  {:>12}  {:>7}  {:>8.1}  {:>7.1}  {:>9.1}",
                    format!("{shape:?}"),
                    naive(&sample, with_id_token),
                    SessionCookies::total_bytes(&lines),
                    cookies.needed(sealed.len()),
                    micros(closing),
                    micros(opening),
                    opening.as_secs_f64() / plain.as_secs_f64(),
                );
            }
        }
    }
    Ok(())
}

fn contents(sample: &Sample, with_id_token: bool) -> Contents {
    Contents {
        claims: sample.claims.clone(),
        access_token: Some(sample.access_token.clone().into()),
        refresh_token: Some(sample.refresh_token.clone().into()),
        id_token: with_id_token.then(|| sample.id_token.clone().into()),
        scope: sample.scope.clone(),
        expires_at: 1_790_004_684,
        signed_in_at: 1_790_000_000,
        obtained_at: 1_790_000_000,
        seen_at: 1_790_000_300,
        id: [7; 16],
        generation: 1,
    }
}

/// The same tokens and claims as JSON, sealed and in base64.
fn naive(sample: &Sample, with_id_token: bool) -> usize {
    let claims = serde_json::to_string(&sample.claims).map_or(0, |claims| claims.len());
    let id_token = if with_id_token { sample.id_token.len() } else { 0 };
    let tokens = sample.access_token.len() + sample.refresh_token.len() + id_token;
    (tokens + claims + sample.scope.len() + 250).div_ceil(3) * 4
}

fn close(
    keyring: &Keyring,
    cookies: &SessionCookies,
    contents: &Contents,
) -> Option<Vec<HeaderValue>> {
    let mut packed = packing::pack(contents);
    packing::pad(&mut packed, |sealed| cookies.edge(sealed));
    cookies.write(&keyring.seal(Purpose::Session, &packed).ok()?, 0).ok()
}

fn open(keyring: &Keyring, cookies: &SessionCookies, parts: &[(usize, Bytes)]) -> Option<Contents> {
    packing::unpack(&keyring.open(Purpose::Session, &cookies.join(parts)?)?)
}

/// What a browser sends back.
fn parts(lines: &[HeaderValue]) -> Vec<(usize, Bytes)> {
    let value = |line: &HeaderValue| {
        let pair = line.as_bytes().split(|octet| *octet == b';').next()?;
        let value = pair.splitn(2, |octet| *octet == b'=').nth(1)?;
        (!value.is_empty()).then(|| Bytes::copy_from_slice(value))
    };
    lines.iter().filter_map(value).enumerate().collect()
}

/// AES-256-GCM alone over as many bytes, with its key schedule.
fn plain(sealed: &[u8]) -> Duration {
    let mut bytes = sealed.to_vec();
    time(|| {
        let cipher = Aes256Gcm::new(&[7; 32].into());
        cipher.encrypt_inout_detached(&[7; 12].into(), b"", bytes.as_mut_slice().into()).is_ok()
    })
}

/// The tenth percentile of many rounds, for one call.
fn time(mut call: impl FnMut() -> bool) -> Duration {
    let mut round = || {
        let start = Instant::now();
        for _ in 0..REPEATS {
            assert!(black_box(call()));
        }
        start.elapsed() / REPEATS
    };
    let mut rounds: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_unstable();
    rounds.get(ROUNDS / 10).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
