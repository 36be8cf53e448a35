//! A form that can be sent again as it was: read, sealed, opened.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    NotKept,
    encoding::Encoding,
    parts::{self, Part},
};
use crate::{
    entra::Principal,
    sealing::{Keyring, Purpose, SealError},
    sign_in::return_to::ReturnTo,
};

/// Changes whenever the encoding does; an older form does not open then.
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;

/// What is sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptForm {
    id: [u8; ID_BYTES],
    /// Seconds since 1970.
    kept_at: i64,
    author: Option<Author>,
    target: String,
    multipart: bool,
    encoding: Encoding,
    fields: Vec<KeptField>,
}

/// Whose session it was.
#[derive(Debug, Serialize, Deserialize)]
struct Author {
    tenant_id: String,
    object_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptField {
    pub(super) name: String,
    pub(super) value: String,
    /// A file field in which no file was chosen.
    pub(super) empty_file: bool,
}

/// Who wants to send a kept form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Whoever filled it in.
    Author,
    /// Another user.
    Other,
    /// It is not known who filled it in.
    Unknown,
}

impl KeptForm {
    /// Reads `body`. `author` is the user whose session has ended.
    pub(super) fn read(
        body: &[u8],
        content_type: &str,
        target: &ReturnTo,
        author: Option<&Principal>,
        now: i64,
    ) -> Result<Self, NotKept> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let multipart = kind.eq_ignore_ascii_case("multipart/form-data");
        let parts = if multipart {
            parts::multipart(body, content_type)?
        } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            parts::urlencoded(body)?
        } else {
            // In text/plain a line that looks like a field may be part of another one's value.
            return Err(NotKept::Unfaithful);
        };
        let encoding = Encoding::of(&parts);
        let fields = parts.iter().map(|part| KeptField::of(part, encoding));
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).map_err(|_| NotKept::Broken)?;
        Ok(Self {
            id,
            kept_at: now,
            author: author.map(Author::of),
            target: target.as_str().to_owned(),
            multipart,
            encoding,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// The sealed form as text that needs no escaping anywhere.
    pub(super) fn seal(&self, keyring: &Keyring) -> Result<String, SealError> {
        let mut plain = vec![VERSION];
        // Nothing in it can fail to be written to memory; an empty message would not open.
        plain.extend(postcard::to_allocvec(self).unwrap_or_default());
        Ok(URL_SAFE_NO_PAD.encode(keyring.seal(Purpose::Form, &plain)?))
    }

    /// Opens what [`KeptForm::seal`] made here or at a replica.
    pub(super) fn open(text: &str, keyring: &Keyring) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = keyring.open(Purpose::Form, &sealed)?;
        let (version, rest) = plain.split_first()?;
        if *version != VERSION {
            return None;
        }
        postcard::from_bytes(rest).ok()
    }

    /// Its name in the browser's storage.
    pub(super) fn name(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.id)
    }

    /// Whether `text` can be such a name.
    pub(super) fn is_name(text: &str) -> bool {
        text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    }

    /// Seconds since it was sent first.
    pub(super) fn age(&self, now: i64) -> i64 {
        now.saturating_sub(self.kept_at)
    }

    /// What `user` is to it.
    pub(super) fn sender(&self, user: &Principal) -> Sender {
        match &self.author {
            None => Sender::Unknown,
            Some(author) if author.is(user) => Sender::Author,
            Some(_) => Sender::Other,
        }
    }

    /// Path and query that it was sent to.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.multipart
    }

    /// As `accept-charset`.
    pub(super) fn charset(&self) -> &'static str {
        self.encoding.label()
    }

    pub(super) fn fields(&self) -> &[KeptField] {
        &self.fields
    }
}

impl KeptField {
    fn of(part: &Part<'_>, encoding: Encoding) -> Result<Self, NotKept> {
        let name = encoding.characters(&part.name)?;
        let value = encoding.characters(&part.value)?;
        encoding.check(&name, &value)?;
        Ok(Self { name, value, empty_file: part.empty_file })
    }
}

impl Author {
    fn of(user: &Principal) -> Self {
        Self { tenant_id: user.tenant_id().to_owned(), object_id: user.object_id().to_owned() }
    }

    fn is(&self, user: &Principal) -> bool {
        self.tenant_id == user.tenant_id() && self.object_id == user.object_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::PublicUrl,
        sealing::{Binding, Key},
    };

    const URLENCODED: &str = "application/x-www-form-urlencoded";

    fn read(body: &[u8], content_type: &str) -> Result<KeptForm, NotKept> {
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        let target = ReturnTo::parse("/x?y=1", &public_url).unwrap();
        KeptForm::read(body, content_type, &target, None, 100)
    }

    fn keyring() -> Keyring {
        let binding = Binding {
            origin: "https://app.contoso.com".to_owned(),
            client_id: "client".to_owned(),
            tenant: "tenant".to_owned(),
        };
        Keyring::new(vec![Key::generate().unwrap()], binding).unwrap()
    }

    fn user(object_id: &str) -> Principal {
        let claims = serde_json::json!({ "tid": "t", "oid": object_id, "sub": "s" });
        let serde_json::Value::Object(claims) = claims else { panic!("an object") };
        Principal::restore(claims).unwrap()
    }

    #[test]
    fn a_sealed_form_opens_with_its_keyring_alone_and_hides_what_it_holds() {
        let form = read(b"secret=hunter2&a=%C3%A4", URLENCODED).unwrap();
        let keyring = keyring();
        let sealed = form.seal(&keyring).unwrap();
        assert!(sealed.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        let opened = KeptForm::open(&sealed, &keyring).unwrap();
        assert_eq!((opened.name(), opened.target()), (form.name(), "/x?y=1"));
        assert!(KeptForm::is_name(&opened.name()));
        let [secret, letter] = opened.fields() else { panic!("two fields") };
        assert_eq!((secret.value.as_str(), letter.value.as_str()), ("hunter2", "ä"));
        assert!(KeptForm::open(&sealed, &self::keyring()).is_none());
        let jar = keyring.seal(Purpose::Flow, b"\x01").unwrap();
        assert!(KeptForm::open(&URL_SAFE_NO_PAD.encode(jar), &keyring).is_none());
    }

    #[test]
    fn a_form_of_another_encoding_keeps_its_bytes() {
        let form = read(b"name=M%FCller&price=5+%80", URLENCODED).unwrap();
        assert_eq!(form.charset(), "windows-1252");
        let values: Vec<_> = form.fields().iter().map(|field| field.value.as_str()).collect();
        assert_eq!(values, ["Müller", "5 €"]);
    }

    #[test]
    fn a_form_knows_its_author() {
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        let target = ReturnTo::parse("/x", &public_url).unwrap();
        let (alice, bob) = (user("alice"), user("bob"));
        let form = KeptForm::read(b"a=1", URLENCODED, &target, Some(&alice), 0).unwrap();
        assert_eq!((form.sender(&alice), form.sender(&bob)), (Sender::Author, Sender::Other));
        let form = KeptForm::read(b"a=1", URLENCODED, &target, None, 0).unwrap();
        assert_eq!(form.sender(&alice), Sender::Unknown);
    }

    #[test]
    fn only_two_kinds_of_forms_are_kept() {
        for kind in ["text/plain", "application/json", ""] {
            assert_eq!(read(b"a=1", kind).unwrap_err(), NotKept::Unfaithful, "{kind}");
        }
    }
}
