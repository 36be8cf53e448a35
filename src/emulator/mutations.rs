//! ID tokens spoilt on purpose, to attack relying parties.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::emulator::{
    claims,
    client_auth::unpadded,
    faults::{Fault, IdTokenFault},
    ids,
    realm::Realm,
    signing::Signer,
};

/// Signs an ID token as the fault wants it; `None`: there is none in the answer.
pub(crate) fn id_token(
    realm: &Realm,
    mut claims: Map<String, Value>,
    fault: Option<&Fault>,
) -> Option<String> {
    let kind = fault.and_then(|fault| fault.id_token);
    if let Some(fault) = fault {
        claims.extend(fault.id_token_claims.clone());
    }
    if let Some(kind) = kind {
        spoil(&mut claims, kind, realm);
    }
    let signer =
        if kind == Some(IdTokenFault::ConsumerKey) { Signer::Personal } else { Signer::Work };
    let token = realm.keys.sign(signer, &Value::Object(claims), |header| {
        if let (Some(kind), Some(header)) = (kind, header.as_object_mut()) {
            spoil_header(header, kind);
        }
        None
    });
    match kind {
        Some(IdTokenFault::Absent) => None,
        Some(IdTokenFault::Garbage) => Some("this.is-not.a-token".to_owned()),
        Some(IdTokenFault::Encrypted) => {
            Some(format!("{token}.{}.{}", ids::random_text(16), ids::random_text(22)))
        }
        Some(kind) => Some(spoil_signature(token, kind, realm)),
        None => Some(token),
    }
}

fn spoil(claims: &mut Map<String, Value>, kind: IdTokenFault, realm: &Realm) {
    let now = realm.now();
    let append = |claims: &mut Map<String, Value>, name: &str| {
        if let Some(text) = claims.get(name).and_then(Value::as_str) {
            let changed = format!("{text}1");
            claims.insert(name.to_owned(), changed.into());
        }
    };
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    match kind {
        IdTokenFault::InvalidIss => append(claims, "iss"),
        IdTokenFault::InvalidAud => append(claims, "aud"),
        IdTokenFault::InvalidSub => append(claims, "sub"),
        IdTokenFault::NonceInvalid => append(claims, "nonce"),
        IdTokenFault::SeveralAud => {
            let ours = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
            let audiences = json!([ours, format!("{ours}1")]);
            claims.insert("aud".to_owned(), audiences);
        }
        IdTokenFault::OtherUser => {
            set("oid", ids::guid_of("somebody else").into());
            set("sub", ids::text_of("somebody else").into());
        }
        IdTokenFault::OtherTenant => {
            let other = ids::guid_of("another tenant");
            let ours = claims.get("tid").and_then(Value::as_str).unwrap_or_default().to_owned();
            let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            let issuer = issuer.replace(&ours, &other);
            claims.insert("iss".to_owned(), issuer.into());
            claims.insert("tid".to_owned(), other.into());
        }
        IdTokenFault::Expired => {
            set("exp", (now - 360).into());
            set("iat", (now - 360 - claims::ID_TOKEN_LIFE).into());
            set("nbf", (now - 360 - claims::ID_TOKEN_LIFE).into());
        }
        IdTokenFault::NotYet => set("nbf", (now + 600).into()),
        IdTokenFault::ExpHuge => set("exp", json!(1e300)),
        IdTokenFault::ExpFractional => set("exp", fractional(now + claims::ID_TOKEN_LIFE)),
        IdTokenFault::ExpNegative => set("exp", (-1).into()),
        IdTokenFault::VersionOne => set("ver", "1.0".into()),
        IdTokenFault::MissingIss => drop(claims.remove("iss")),
        IdTokenFault::MissingAud => drop(claims.remove("aud")),
        IdTokenFault::MissingSub => drop(claims.remove("sub")),
        IdTokenFault::MissingIat => drop(claims.remove("iat")),
        IdTokenFault::MissingExp => drop(claims.remove("exp")),
        IdTokenFault::MissingNonce => drop(claims.remove("nonce")),
        IdTokenFault::MissingTid => drop(claims.remove("tid")),
        IdTokenFault::MissingOid => drop(claims.remove("oid")),
        IdTokenFault::InvalidSig
        | IdTokenFault::AlgNone
        | IdTokenFault::AlgHs256
        | IdTokenFault::KidAbsent
        | IdTokenFault::KidUnknown
        | IdTokenFault::ConsumerKey
        | IdTokenFault::Encrypted
        | IdTokenFault::Garbage
        | IdTokenFault::Absent => {}
    }
}

/// `seconds` and a half, as a JSON number.
fn fractional(seconds: i64) -> Value {
    serde_json::from_str(&format!("{seconds}.5")).unwrap_or_default()
}

fn spoil_header(header: &mut Map<String, Value>, kind: IdTokenFault) {
    match kind {
        IdTokenFault::AlgNone => {
            header.insert("alg".to_owned(), "none".into());
        }
        IdTokenFault::AlgHs256 => {
            header.insert("alg".to_owned(), "HS256".into());
        }
        IdTokenFault::KidAbsent => {
            header.remove("kid");
        }
        IdTokenFault::KidUnknown => {
            header.insert("kid".to_owned(), ids::random_text(27).into());
        }
        _ => {}
    }
}

fn spoil_signature(token: String, kind: IdTokenFault, realm: &Realm) -> String {
    let Some((signed, signature)) = token.rsplit_once('.') else { return token };
    let signature = match kind {
        IdTokenFault::InvalidSig => {
            let bytes = unpadded(signature).unwrap_or_default();
            bytes.into_iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>()
        }
        IdTokenFault::AlgNone => Vec::new(),
        IdTokenFault::AlgHs256 => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &realm.keys.public_text());
            hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
        }
        _ => return token,
    };
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
