//! Claims under the names that App Service authentication ("Easy Auth") gives them, for apps that
//! were written against it.
//!
//! Learn: "Work with user identities in Azure App Service authentication".

use serde_json::{Map, Value};

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
    let unix = unix.clamp(YEAR_0, YEAR_9999);
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.0000000Z")
}

/// Days since 1970 as a date of the Gregorian calendar. Years are counted from March, so that the
/// day which leap years add comes last (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
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
