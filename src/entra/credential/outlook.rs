//! What can be told about a credential without asking Microsoft, and what of it worries.

use super::federated_token::Named;
use crate::base::clock::rfc3339;

/// A certificate that ends sooner is worth a warning: renewals take people.
const NEAR: i64 = 30 * 86_400;

/// What a credential says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A secret: Microsoft alone knows when it ends.
    Secret,
    /// A certificate.
    Certificate {
        /// SHA-1 in capital hexadecimal digits, as the portal shows it.
        thumbprint: String,
        /// First second of its life, since 1970.
        not_before: i64,
        /// Last second of its life, since 1970.
        not_after: i64,
    },
    /// A federated token, `None` where the file holds none at this moment.
    FederatedToken(Option<Named>),
}

/// A credential that does not work, or soon will not. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Concern {
    /// The certificate is over.
    #[error(
        "entra.certificate_file: the certificate has expired on {}; microsoft takes it no more, so nobody can sign in and no session is renewed until there is a new one", rfc3339(*.0)
    )]
    Expired(i64),
    /// The certificate is over soon.
    #[error(
        "entra.certificate_file: the certificate expires on {}; add its successor to the app registration, then replace the files", rfc3339(*.0)
    )]
    ExpiresSoon(i64),
    /// The certificate begins later, or this machine's clock is wrong.
    #[error(
        "entra.certificate_file: the certificate is valid from {} only; is this machine's clock right?", rfc3339(*.0)
    )]
    NotYet(i64),
    /// Nobody has put a token there, or something else.
    #[error(
        "entra.federated_token_file: the file holds no token now, so nobody can sign in until it does"
    )]
    NoToken,
    /// Nobody renews the token.
    #[error(
        "entra.federated_token_file: the token has expired on {}, and nobody has renewed it in its file", rfc3339(*.0)
    )]
    TokenExpired(i64),
}

impl Concern {
    /// Whether it does not work now.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::ExpiresSoon(_))
    }
}

impl Outlook {
    /// What worries at this time, in seconds since 1970.
    pub fn concern(&self, now: i64) -> Option<Concern> {
        match self {
            Self::Secret => None,
            Self::Certificate { not_after, .. } if *not_after < now => {
                Some(Concern::Expired(*not_after))
            }
            Self::Certificate { not_before, .. } if *not_before > now => {
                Some(Concern::NotYet(*not_before))
            }
            Self::Certificate { not_after, .. } => {
                (*not_after < now.saturating_add(NEAR)).then_some(Concern::ExpiresSoon(*not_after))
            }
            Self::FederatedToken(None) => Some(Concern::NoToken),
            Self::FederatedToken(Some(named)) => {
                named.expires_at.filter(|end| *end < now).map(Concern::TokenExpired)
            }
        }
    }

    /// When it ends, where that is known for longer than hours.
    pub fn ends_at(&self) -> Option<i64> {
        match self {
            Self::Certificate { not_after, .. } => Some(*not_after),
            Self::Secret | Self::FederatedToken(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_worries_before_it_begins_thirty_days_before_its_end_and_after_it() {
        let (day, thumbprint) = (86_400, String::new());
        let certificate =
            Outlook::Certificate { thumbprint, not_before: 100 * day, not_after: 200 * day };
        for (now, expected) in [
            (99 * day, Some(Concern::NotYet(100 * day))),
            (100 * day, None),
            (170 * day, None),
            (170 * day + 1, Some(Concern::ExpiresSoon(200 * day))),
            (200 * day, Some(Concern::ExpiresSoon(200 * day))),
            (200 * day + 1, Some(Concern::Expired(200 * day))),
        ] {
            assert_eq!(certificate.concern(now), expected, "{now}");
        }
        assert!(Concern::Expired(0).to_string().contains("expired on 1970-01-01T00:00:00Z"));
        assert!(Concern::Expired(0).is_trouble() && !Concern::ExpiresSoon(0).is_trouble());
        assert_eq!(certificate.ends_at(), Some(200 * day));
    }

    #[test]
    fn a_token_worries_when_it_is_missing_or_nobody_renews_it() {
        let token =
            |expires_at| Outlook::FederatedToken(Some(Named { expires_at, ..Named::default() }));
        assert_eq!(Outlook::FederatedToken(None).concern(0), Some(Concern::NoToken));
        assert_eq!(token(Some(10)).concern(11), Some(Concern::TokenExpired(10)));
        assert_eq!(token(Some(10)).concern(9), None);
        assert_eq!(token(None).concern(9), None);
        assert_eq!(Outlook::Secret.concern(0), None);
    }
}
