//! What an administrator can do about the commonest refusals of the app itself, for the log.
//!
//! Nothing branches on these numbers: an unknown one is told without advice.

/// The advice for an AADSTS number.
pub(super) fn of(code: u32) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "the client secret is wrong: it is the secret's value, not its id",
        7_000_222 => "the client secret has expired: make a new one in the app registration",
        7_000_218 => "the app registration is not a web app, or no credential was sent",
        7_000_112 => "the app registration is disabled",
        700_025 => "the redirect URI is registered for a public client: use the platform Web",
        700_027 => "the app registration does not have this certificate: upload it there",
        700_030 => "the certificate is not the one that the app registration expects",
        7_000_214 => "the certificate has been revoked",
        700_021 => "the credential belongs to another app than entra.client_id",
        700_023 => "the credential is for another authority or tenant",
        700_024 => {
            "the credential is not valid at this time: this machine's clock is wrong, or nobody has \
             renewed the federated token"
        }
        70_021 | 700_211 | 700_212 | 700_213 => {
            "the app registration has no federated credential with this token's issuer, subject and \
             audience, letter by letter; vestibule check --online prints them"
        }
        700_229 => "a managed identity's token cannot sign users in: use a certificate",
        50_012 | 50_027 => "the credential's signature or form was not accepted",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::super::{EntraError, Refusal, Remedy, Stage};

    #[test]
    fn advice_is_for_the_administrator_and_signs_nobody_out() {
        for code in [
            7_000_215, 7_000_222, 7_000_218, 7_000_112, 700_025, 700_027, 700_030, 7_000_214,
            700_021, 700_023, 700_024, 70_021, 700_211, 700_212, 700_213, 700_229, 50_012, 50_027,
        ] {
            // Even with a word that blames the user's grant.
            let body = json!({ "error": "invalid_grant", "error_codes": [code] });
            let refusal = Box::new(Refusal::from_body(body.as_object().unwrap()).unwrap());
            let (status, stage) = (StatusCode::BAD_REQUEST, Stage::Refresh);
            let error = EntraError::Refused { refusal, status, stage };
            assert_eq!(error.remedy(), Remedy::Misconfigured, "{code}");
            let start = format!("microsoft refused: invalid_grant (AADSTS{code}); ");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
        assert_eq!(super::of(50_076), None);
    }
}
