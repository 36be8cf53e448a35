//! Header names as gateway interfaces see them.
//!
//! CGI, WSGI and PHP turn `X-Forwarded-User` and `X_Forwarded_User` into one variable. The
//! canonical form of a name is lower case with `-` for every byte that is no letter or digit.

/// Whether `name` has the canonical form `canonical`, in whatever spelling.
pub fn is_spelling_of(name: &str, canonical: &str) -> bool {
    name.len() == canonical.len() && starts_with_spelling_of(name, canonical)
}

/// Whether the canonical form of `name` begins with `prefix`.
pub fn starts_with_spelling_of(name: &str, prefix: &str) -> bool {
    let mut bytes = name.bytes().map(canonical_byte);
    prefix.bytes().all(|expected| bytes.next() == Some(expected))
}

/// The canonical form of `name`.
pub fn canonical(name: &str) -> String {
    name.bytes().map(|byte| char::from(canonical_byte(byte))).collect()
}

fn canonical_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_and_case_do_not_make_another_name() {
        for name in ["X-Forwarded-User", "x_forwarded_user", "X.Forwarded~User"] {
            assert!(is_spelling_of(name, "x-forwarded-user"), "{name}");
            assert!(starts_with_spelling_of(name, "x-forwarded-"), "{name}");
            assert_eq!(canonical(name), "x-forwarded-user");
        }
        for name in ["X-Forwarded-Users", "XForwarded-User", "X-Forwarded"] {
            assert!(!is_spelling_of(name, "x-forwarded-user"), "{name}");
        }
        assert!(!starts_with_spelling_of("X-Forwarded", "x-forwarded-"));
    }
}
