//! A token of an issuer that the app registration trusts, in a file that somebody renews: the
//! kubelet, for a pod with workload identity.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{super::json, CredentialError, read_file};
use crate::base::secret::{ExposeSecret, SecretString};

/// Above any service account token.
const LONGEST: usize = 64 << 10;

/// The file. Its token is read for each request and kept by nobody.
#[derive(Clone, Debug)]
pub struct FederatedToken {
    file: PathBuf,
}

/// What a token says about itself, unverified: what the app registration's federated credential
/// has to say, letter by letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// The first `aud`.
    pub audience: Option<String>,
    /// `exp`, in seconds since 1970.
    pub expires_at: Option<i64>,
}

impl FederatedToken {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// The token as it is now.
    ///
    /// # Errors
    /// The file is gone, or holds something that is not a token: what else is in a file of ours is
    /// none of Microsoft's business.
    pub(super) fn read(&self) -> Result<SecretString, CredentialError> {
        let unreadable =
            |source| CredentialError::TokenUnreadable { file: self.file.clone(), source };
        let bytes = Zeroizing::new(read_file(&self.file).map_err(unreadable)?);
        let text = str::from_utf8(bytes.trim_ascii()).ok().filter(|text| is_jwt(text));
        let text = text.ok_or_else(|| CredentialError::NoToken(self.file.clone()))?;
        Ok(text.to_owned().into())
    }

    /// What the token says about itself now; `None` where there is none.
    pub(super) fn named(&self) -> Option<Named> {
        let token = self.read().ok()?;
        let claims = token.expose_secret().split('.').nth(1)?;
        let claims = json::object(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audience = claims.get("aud").and_then(|aud| match aud {
            Value::Array(list) => list.first().and_then(text),
            one => text(one),
        });
        Some(Named {
            issuer: claims.get("iss").and_then(text),
            subject: claims.get("sub").and_then(text),
            audience,
            expires_at: claims.get("exp").and_then(Value::as_i64),
        })
    }
}

/// Three parts of base64url (RFC 7515 §7.1), none of them empty.
fn is_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= LONGEST && text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vestibule-federated-{}-{name}", std::process::id()))
    }

    fn jwt(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({"alg":"RS256"})), part(claims))
    }

    #[test]
    fn the_token_is_read_anew_and_only_a_token_is_ever_given_away() {
        let file = file("renewed");
        let token = FederatedToken::new(file.clone());
        for text in ["aaa.bbb.ccc", "ddd.e-e.f_f"] {
            fs::write(&file, format!("{text}\n")).unwrap();
            assert_eq!(token.read().unwrap().expose_secret(), text);
        }
        let long = format!("a.b.{}", "c".repeat(LONGEST));
        for other in ["", "\n", "password", "a.b", "a.b.", "a.b.c.d", "a b.c.d", "a.b.=", &long] {
            fs::write(&file, other).unwrap();
            assert!(matches!(token.read(), Err(CredentialError::NoToken(_))), "{other}");
        }
        fs::write(&file, [0xff, b'.', b'b', b'.', b'c']).unwrap();
        assert!(matches!(token.read(), Err(CredentialError::NoToken(_))));
        fs::remove_file(&file).unwrap();
        let gone = token.read().unwrap_err();
        assert!(gone.to_string().contains(file.to_str().unwrap()), "{gone}");
        assert!(matches!(gone, CredentialError::TokenUnreadable { .. }));
    }

    #[test]
    fn what_the_registration_must_say_is_read_off_the_token() {
        let file = file("named");
        let token = FederatedToken::new(file.clone());
        let claims = json!({
            "iss": "https://cluster.test", "sub": "system:serviceaccount:ns:sa",
            "aud": ["api://AzureADTokenExchange"], "exp": 1_800_000_000,
        });
        fs::write(&file, jwt(&claims)).unwrap();
        let expected = Named {
            issuer: Some("https://cluster.test".to_owned()),
            subject: Some("system:serviceaccount:ns:sa".to_owned()),
            audience: Some("api://AzureADTokenExchange".to_owned()),
            expires_at: Some(1_800_000_000),
        };
        assert_eq!(token.named(), Some(expected));
        fs::write(&file, jwt(&json!({"aud": "one", "exp": "soon", "iss": 1}))).unwrap();
        let little = Named { audience: Some("one".to_owned()), ..Named::default() };
        assert_eq!(token.named(), Some(little));
        fs::write(&file, "a.b.c").unwrap();
        assert_eq!(token.named(), None);
        fs::remove_file(&file).unwrap();
        assert_eq!(token.named(), None);
    }
}
