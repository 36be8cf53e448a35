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

/// The first letters of some names. Most names begin with none of them, and need no closer look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Initials(u32);

impl Initials {
    /// Those of `names`, which are in canonical form.
    pub const fn of(mut names: &[&str]) -> Self {
        let mut all = Self(0);
        while let [name, rest @ ..] = names {
            all = all.and(name);
            names = rest;
        }
        all
    }

    /// The same with that of one more name.
    #[must_use]
    pub const fn and(self, name: &str) -> Self {
        match name.as_bytes() {
            [initial, ..] => Self(self.0 | bit(*initial)),
            [] => self,
        }
    }

    /// Whether one of the names may be spelled `name`.
    pub fn may_begin(self, name: &str) -> bool {
        name.bytes().next().is_some_and(|initial| self.0 & bit(canonical_byte(initial)) != 0)
    }
}

/// One bit for each letter, and one for everything else.
const fn bit(initial: u8) -> u32 {
    if initial.is_ascii_lowercase() { 1 << (initial - b'a') } else { 1 << 31 }
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

    #[test]
    fn initials_pass_every_spelling_of_their_names() {
        let initials = Initials::of(&["forwarded", "x-real-ip"]).and("te").and("_1");
        for name in ["forwarded", "Forwarded", "X_Real_IP", "TE", "-1", "_1", "to"] {
            assert!(initials.may_begin(name), "{name}");
        }
        for name in ["accept", "cookie", "user-agent", ""] {
            assert!(!initials.may_begin(name), "{name}");
        }
    }
}
