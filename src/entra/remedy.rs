//! What helps after Microsoft has said no.
//!
//! Microsoft says never to branch on AADSTS numbers, so `error` and `suberror` decide; a number
//! that is listed here refines (which page, stop or retry) and an unknown one changes nothing.

use super::refusal::Refusal;

/// Who can do what about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The user signs in again, with the claims challenge if there is one.
    SignInAgain,
    /// One more round, then a page: a used code, a broken flow, a device that may comply now.
    RestartOnce,
    /// Nothing that a further round could change: a policy, an assignment, a refusal of the user's.
    Blocked,
    /// The user must consent: sign in again with the same scopes.
    ConsentNeeded,
    /// An administrator must consent.
    AdminConsent,
    /// An administrator must mend credential, scopes, app or tenant.
    Misconfigured,
    /// Microsoft cannot answer now.
    Later,
    /// What came is not to be trusted.
    Refuse,
}

/// Where the refusal happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Fetching metadata or keys: no user is involved.
    Discovery,
    /// The authorization response: the user has just been at Microsoft's page.
    Authorize,
    /// Redeeming the code.
    Code,
    /// Redeeming the refresh token.
    Refresh,
}

/// A session that gets AADSTS50196 calls too often.
pub(super) const LOOP_DETECTED: u32 = 50_196;

impl Remedy {
    /// The remedy for a refusal.
    pub fn of(refusal: &Refusal, stage: Stage) -> Self {
        let known = refusal.codes().iter().find_map(|code| by_number(*code));
        let by_words =
            || refusal.suberror().and_then(by_suberror).unwrap_or_else(|| by_error(refusal, stage));
        match known.unwrap_or_else(by_words) {
            // Nobody has been asked yet, so the first round is still to come.
            Self::RestartOnce if stage == Stage::Refresh => Self::SignInAgain,
            remedy => remedy,
        }
    }
}

fn by_error(refusal: &Refusal, stage: Stage) -> Remedy {
    match refusal.word() {
        "invalid_grant" if stage == Stage::Code => Remedy::RestartOnce,
        "invalid_grant"
        | "interaction_required"
        | "login_required"
        | "account_selection_required" => Remedy::SignInAgain,
        "consent_required" => Remedy::ConsentNeeded,
        "access_denied" => Remedy::Blocked,
        "server_error" | "temporarily_unavailable" => Remedy::Later,
        _ => Remedy::Misconfigured,
    }
}

fn by_suberror(suberror: &str) -> Option<Remedy> {
    match suberror {
        "basic_action"
        | "bad_token"
        | "token_expired"
        | "user_password_expired"
        | "ui_not_allowed"
        | "interrupted_user" => Some(Remedy::SignInAgain),
        "additional_action" | "device_authentication_failed" => Some(Remedy::RestartOnce),
        "consent_required" => Some(Remedy::ConsentNeeded),
        "message_only" | "protection_policy_required" | "cancel" => Some(Remedy::Blocked),
        "client_mismatch" => Some(Remedy::Misconfigured),
        _ => None,
    }
}

/// Microsoft's error reference, by what helps.
fn by_number(code: u32) -> Option<Remedy> {
    match code {
        // No usable single sign-on session.
        50058 | 160_021 | 16000 => Some(Remedy::SignInAgain),
        // A further factor is needed.
        50076 | 50074 | 50079 | 50072 | 50078 | 50158 | 53004 => Some(Remedy::SignInAgain),
        // Device or app compliance: one interactive try may register the device.
        53000 | 53001 | 53002 | 50097 | 50155 | 50131 => Some(Remedy::RestartOnce),
        // Conditional Access or a security policy blocks.
        53003 | 530_032 | 530_035 => Some(Remedy::Blocked),
        65001 => Some(Remedy::ConsentNeeded),
        // The user declined.
        65004 => Some(Remedy::Blocked),
        90094 | 90095 | 90099 => Some(Remedy::AdminConsent),
        // Not assigned to the app.
        50105 => Some(Remedy::Blocked),
        // The account is not in the tenant.
        50020 | 50034 | 50014 | 16003 | 51004 | 90072 => Some(Remedy::Blocked),
        // Cross-tenant access or tenant restrictions.
        500_212 | 500_213 | 500_021 | 500_022 => Some(Remedy::Blocked),
        // Password wrong or expired, account locked or disabled.
        50126 | 50053 | 50055 | 50057 | 50056 => Some(Remedy::SignInAgain),
        // The refresh token expired, was revoked, or met the sign-in frequency.
        700_082 | 70008 | 50173 | 50132 | 50133 | 50089 | 70043 => Some(Remedy::SignInAgain),
        // The redirect URI is registered for a single-page app.
        700_084 => Some(Remedy::Misconfigured),
        // Code used, of another tenant, or without its verifier.
        54005 | 70000 | 700_005 | 501_481 | 50147 | 501_491 => Some(Remedy::RestartOnce),
        // Redirect URI, app or tenant.
        50011 | 500_113 | 900_971 | 700_016 | 700_011 | 90002 | 50059 | 50128 | 50194 => {
            Some(Remedy::Misconfigured)
        }
        // Credential.
        7_000_215 | 7_000_222 | 7_000_218 | 7_000_214 | 700_025 | 700_027 | 700_030 | 7_000_112 => {
            Some(Remedy::Misconfigured)
        }
        // Client assertion: of another app, out of its time, of nobody whom the app trusts. Whatever
        // word comes with it, the user cannot help it.
        700_021 | 700_024 | 70_021 | 700_211 | 700_212 | 700_213 | 700_229 | 50_012 | 50_027 => {
            Some(Remedy::Misconfigured)
        }
        // Scope or resource.
        70011 | 28000 | 28002 | 28003 | 700_022 | 700_023 | 650_057 | 650_056 | 65005 | 500_011
        | 50001 => Some(Remedy::Misconfigured),
        // A request that we should not have made.
        9_002_313 | 900_144 | 90014 | 90023 | 90100 | 90102 => Some(Remedy::Misconfigured),
        LOOP_DETECTED => Some(Remedy::Later),
        // Passing faults of the service, and throttling.
        90033 | 90006 | 90012 | 90024 | 90090 | 50033 | 50087 | 80001 | 80002 | 90055 => {
            Some(Remedy::Later)
        }
        // Interrupts of Microsoft's own pages.
        50140 | 50199 | 50125 => Some(Remedy::SignInAgain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remedy(error: &str, suberror: Option<&str>, code: Option<u32>, stage: Stage) -> Remedy {
        let body = json!({
            "error": error, "suberror": suberror, "error_codes": code.into_iter().collect::<Vec<_>>(),
        });
        Remedy::of(&Refusal::from_body(body.as_object().unwrap()).unwrap(), stage)
    }

    #[test]
    fn words_decide_and_an_unknown_number_changes_nothing() {
        for (error, suberror, stage, expected) in [
            ("invalid_grant", None, Stage::Refresh, Remedy::SignInAgain),
            ("invalid_grant", None, Stage::Code, Remedy::RestartOnce),
            ("invalid_grant", Some("basic_action"), Stage::Code, Remedy::SignInAgain),
            ("invalid_grant", Some("bad_token"), Stage::Refresh, Remedy::SignInAgain),
            ("invalid_grant", Some("consent_required"), Stage::Refresh, Remedy::ConsentNeeded),
            ("invalid_grant", Some("protection_policy_required"), Stage::Code, Remedy::Blocked),
            ("invalid_grant", Some("client_mismatch"), Stage::Refresh, Remedy::Misconfigured),
            ("invalid_grant", Some("never_seen"), Stage::Refresh, Remedy::SignInAgain),
            ("interaction_required", None, Stage::Refresh, Remedy::SignInAgain),
            ("login_required", None, Stage::Authorize, Remedy::SignInAgain),
            ("access_denied", None, Stage::Authorize, Remedy::Blocked),
            ("access_denied", Some("cancel"), Stage::Authorize, Remedy::Blocked),
            ("invalid_client", None, Stage::Refresh, Remedy::Misconfigured),
            ("invalid_scope", None, Stage::Code, Remedy::Misconfigured),
            ("temporarily_unavailable", None, Stage::Authorize, Remedy::Later),
            ("server_error", None, Stage::Code, Remedy::Later),
            ("never_seen", None, Stage::Code, Remedy::Misconfigured),
        ] {
            for code in [None, Some(987_654)] {
                assert_eq!(remedy(error, suberror, code, stage), expected, "{error} {suberror:?}");
            }
        }
    }

    #[test]
    fn a_known_number_refines_what_the_words_say() {
        for (error, code, stage, expected) in [
            ("invalid_grant", 53003, Stage::Refresh, Remedy::Blocked),
            ("invalid_grant", 50196, Stage::Refresh, Remedy::Later),
            ("invalid_grant", 700_084, Stage::Refresh, Remedy::Misconfigured),
            ("invalid_grant", 54005, Stage::Code, Remedy::RestartOnce),
            ("invalid_grant", 70000, Stage::Refresh, Remedy::SignInAgain),
            ("invalid_grant", 53000, Stage::Code, Remedy::RestartOnce),
            ("invalid_grant", 53000, Stage::Refresh, Remedy::SignInAgain),
            ("invalid_grant", 65001, Stage::Refresh, Remedy::ConsentNeeded),
            ("access_denied", 90094, Stage::Authorize, Remedy::AdminConsent),
            ("invalid_client", 7_000_222, Stage::Refresh, Remedy::Misconfigured),
            ("invalid_grant", 700_024, Stage::Refresh, Remedy::Misconfigured),
            ("invalid_request", 70_021, Stage::Refresh, Remedy::Misconfigured),
            ("invalid_grant", 700_213, Stage::Code, Remedy::Misconfigured),
            ("invalid_request", 90002, Stage::Code, Remedy::Misconfigured),
            ("invalid_client", 500_011, Stage::Code, Remedy::Misconfigured),
        ] {
            assert_eq!(remedy(error, None, Some(code), stage), expected, "{code} {stage:?}");
        }
    }
}
