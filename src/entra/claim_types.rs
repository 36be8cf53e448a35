//! Claims under the names that App Service authentication ("Easy Auth") gives them, for apps that
//! were written against it.
//!
//! Learn: "Work with user identities in Azure App Service authentication".

use serde_json::{Map, Value};

use crate::base::clock::rfc3339;

/// `auth_typ` and `X-MS-CLIENT-PRINCIPAL-IDP`.
pub const PROVIDER: &str = "aad";

/// The claim that a principal's name is in. App Service names a type that its own claims need not
/// contain; this one is there, so that `Identity.Name` has a value.
pub const NAME_TYPE: &str = "preferred_username";

/// The claim that a principal's roles are in: App Service leaves `roles` short, and so do we.
pub const ROLE_TYPE: &str = "roles";

/// The claims that .NET's `JwtSecurityTokenHandler` renames, as App Service passes them on.
const LONG_NAMES: [(&str, &str); 13] = [
    ("sub", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"),
    ("email", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
    ("given_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname"),
    ("family_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname"),
    ("upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"),
    ("unique_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"),
    ("oid", "http://schemas.microsoft.com/identity/claims/objectidentifier"),
    ("tid", "http://schemas.microsoft.com/identity/claims/tenantid"),
    ("idp", "http://schemas.microsoft.com/identity/claims/identityprovider"),
    ("scp", "http://schemas.microsoft.com/identity/claims/scope"),
    ("acr", "http://schemas.microsoft.com/claims/authnclassreference"),
    ("amr", "http://schemas.microsoft.com/claims/authnmethodsreferences"),
    ("auth_time", "http://schemas.microsoft.com/ws/2008/06/identity/claims/authenticationinstant"),
];

/// A token's claims as App Service's list of `typ` and `val`: long names, one entry for each
/// element of a list, numbers and objects as JSON text.
pub fn app_service_claims(claims: &Map<String, Value>) -> Vec<(String, String)> {
    let mut list = Vec::with_capacity(claims.len());
    for (name, value) in claims {
        let long = LONG_NAMES.iter().find(|(short, _)| short == name);
        let name = long.map_or(name.as_str(), |(_, long)| long);
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            match value {
                Value::Null => {}
                Value::String(text) => list.push((name.to_owned(), text.clone())),
                other => list.push((name.to_owned(), other.to_string())),
            }
        }
    }
    list
}

/// A time as App Service writes it: `2025-10-28T00:45:13.0000000Z`. `unix` is in seconds since
/// 1970; a time beyond the years 0 to 9999, which the format cannot say, is moved to their edge.
pub fn app_service_time(unix: i64) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999: i64 = 253_402_300_799;
    rfc3339(unix.clamp(YEAR_0, YEAR_9999)).replace('Z', ".0000000Z")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_get_long_names_and_lists_are_repeated() {
        let claims = json!({
            "oid": "1-2", "tid": "t", "roles": ["A", "B"], "exp": 1_700_000_000, "nothing": null,
            "name": "Kim", "_claim_names": { "groups": "src1" }, "groups": [],
        });
        let list = app_service_claims(claims.as_object().unwrap());
        let mut list: Vec<(&str, &str)> =
            list.iter().map(|(typ, val)| (typ.as_str(), val.as_str())).collect();
        list.sort_unstable();
        assert_eq!(
            list,
            [
                ("_claim_names", "{\"groups\":\"src1\"}"),
                ("exp", "1700000000"),
                ("http://schemas.microsoft.com/identity/claims/objectidentifier", "1-2"),
                ("http://schemas.microsoft.com/identity/claims/tenantid", "t"),
                ("name", "Kim"),
                ("roles", "A"),
                ("roles", "B"),
            ]
        );
    }

    #[test]
    fn times_are_written_as_app_service_writes_them() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00.0000000Z"),
            (1_761_612_313, "2025-10-28T00:45:13.0000000Z"),
            (951_782_400, "2000-02-29T00:00:00.0000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.0000000Z"),
            (-1, "1969-12-31T23:59:59.0000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.0000000Z"),
            (i64::MIN, "0000-01-01T00:00:00.0000000Z"),
        ] {
            assert_eq!(app_service_time(unix), text);
        }
    }
}
