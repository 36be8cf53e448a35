//! Known answers, and what must never open.

use std::collections::HashSet;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Binding, Key, KeyError, Keyring, Purpose, RANDOM};

const PURPOSES: [Purpose; 4] = [Purpose::Session, Purpose::Flow, Purpose::Store, Purpose::Form];
const FIRST: &str = "pgHWczWSZeu+4WhpbjTIRV2CV9btDQNoe4uyvOqJ5ZU=";
const SECOND: &str = "TOkCP6wwJUEPtsP/RnDW9PgpBeCUAxrMtdsX0ZBwE10=";

fn binding() -> Binding {
    Binding {
        origin: "https://app.contoso.com".to_owned(),
        client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
        tenant: "contoso.onmicrosoft.com".to_owned(),
    }
}

fn bound(keys: &[&str], binding: Binding) -> Keyring {
    Keyring::new(keys.iter().map(|key| Key::parse(key).unwrap()).collect(), binding).unwrap()
}

fn keyring(keys: &[&str]) -> Keyring {
    bound(keys, binding())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Computed by an independent implementation (HKDF and AES-GCM of OpenSSL) from the construction
/// as the module describes it. They must never change: replicas of two releases share cookies.
#[test]
fn sealed_messages_are_the_known_answers() {
    let random: [u8; RANDOM] = std::array::from_fn(|i| 0xa0 + u8::try_from(i).unwrap());
    let forty: Vec<u8> = (0..40).collect();
    let head = "017814477ea0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7";
    let keyring = keyring(&[FIRST]);
    let answers: [(_, &[u8], &[u8], _); 4] = [
        (
            Purpose::Session,
            b"",
            b"hello, session",
            "e24542c3ce4d90dc92d2c3efd0459251b60dade83a20fd4e4714d6251d94",
        ),
        (
            Purpose::Flow,
            b"",
            b"hello, session",
            "4789420b299aaa73857953d726fdffbf490ccb0b58144dd290433d42e2f5",
        ),
        (Purpose::Store, b"session-id", b"", "24f735bb9c9c09013674ab784261121b"),
        (
            Purpose::Form,
            b"",
            &forty,
            "ddbbab40101dbc1389810c2390a7dbb4470568d581122859ac5b517003137b27\
             e3f8872b88b5205e0d3eb571a7ca7f843a68dd731a4bdbb9",
        ),
    ];
    for (purpose, extra, text, answer) in answers {
        let sealed = keyring.seal_with(random, purpose, extra, text).unwrap();
        assert_eq!(hex(&sealed), format!("{head}{answer}"), "{purpose:?}");
        assert_eq!(keyring.open_bound(purpose, extra, &sealed).unwrap().as_slice(), text);
    }
}

#[test]
fn the_first_key_seals_and_every_key_opens_until_it_is_removed() {
    let (old, new) = (keyring(&[FIRST]), keyring(&[SECOND]));
    let (rotating, staged) = (keyring(&[SECOND, FIRST]), keyring(&[FIRST, SECOND]));
    let before = old.seal(Purpose::Session, b"before").unwrap();
    let after = rotating.seal(Purpose::Session, b"after").unwrap();
    assert_eq!(rotating.open(Purpose::Session, &before).unwrap().as_slice(), b"before");
    assert_eq!(staged.open(Purpose::Session, &after).unwrap().as_slice(), b"after");
    assert_eq!(new.open(Purpose::Session, &after).unwrap().as_slice(), b"after");
    assert!(new.open(Purpose::Session, &before).is_none());
    assert!(old.open(Purpose::Session, &after).is_none());
}

#[test]
fn a_key_under_the_id_of_another_key_does_not_open() {
    let keyring = keyring(&[FIRST, SECOND]);
    let mut sealed = keyring.seal(Purpose::Session, b"text").unwrap();
    sealed[1..5].copy_from_slice(&keyring.former[0].id);
    assert!(keyring.open(Purpose::Session, &sealed).is_none());
}

#[test]
fn a_keyring_needs_one_key_and_no_key_twice() {
    let parse = |keys: &[&str]| keys.iter().map(|key| Key::parse(key).unwrap()).collect();
    assert!(matches!(Keyring::new(Vec::new(), binding()), Err(KeyError::Missing)));
    for keys in [&[FIRST, FIRST][..], &[FIRST, SECOND, FIRST]] {
        assert!(matches!(Keyring::new(parse(keys), binding()), Err(KeyError::Twice)));
    }
}

#[test]
fn a_message_of_one_purpose_never_opens_as_another() {
    let keyring = keyring(&[FIRST]);
    for purpose in PURPOSES {
        let sealed = keyring.seal(purpose, b"text").unwrap();
        for other in PURPOSES {
            assert_eq!(keyring.open(other, &sealed).is_some(), other == purpose, "{other:?}");
        }
    }
}

#[test]
fn a_message_of_one_installation_never_opens_in_another() {
    let sealed = keyring(&[FIRST]).seal(Purpose::Session, b"text").unwrap();
    let elsewhere = [
        Binding { origin: "https://app.contoso.co".to_owned(), ..binding() },
        Binding { client_id: "m".to_owned() + &binding().client_id, ..binding() },
        Binding { tenant: String::new(), ..binding() },
        // The same octets with the borders between the fields moved.
        Binding {
            origin: "https://app.contoso.com1".to_owned(),
            client_id: "1111111-2222-3333-4444-555555555555".to_owned(),
            ..binding()
        },
    ];
    for binding in elsewhere {
        assert!(bound(&[FIRST], binding.clone()).open(Purpose::Session, &sealed).is_none());
    }
    assert!(keyring(&[FIRST]).open(Purpose::Session, &sealed).is_some());
}

#[test]
fn a_bound_message_opens_with_its_own_companion_only() {
    let keyring = keyring(&[FIRST]);
    let sealed = keyring.seal_bound(Purpose::Store, b"session 1", b"text").unwrap();
    assert!(keyring.open_bound(Purpose::Store, b"session 1", &sealed).is_some());
    for extra in [&b"session 2"[..], b"session", b"", b"session 1\0"] {
        assert!(keyring.open_bound(Purpose::Store, extra, &sealed).is_none());
    }
    assert!(keyring.open(Purpose::Store, &sealed).is_none());
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let keyring = keyring(&[FIRST, SECOND]);
    let sealed = keyring.seal(Purpose::Session, b"a short text").unwrap();
    for position in 0..sealed.len() * 8 {
        let mut broken = sealed.clone();
        broken[position / 8] ^= 1 << (position % 8);
        assert!(keyring.open(Purpose::Session, &broken).is_none(), "bit {position}");
    }
    for length in 0..sealed.len() {
        assert!(keyring.open(Purpose::Session, &sealed[..length]).is_none(), "cut at {length}");
        assert!(keyring.open(Purpose::Session, &sealed[length + 1..]).is_none());
    }
    let longer = [sealed.as_slice(), &[0]].concat();
    assert!(keyring.open(Purpose::Session, &longer).is_none());
}

#[test]
fn nonces_never_come_twice_from_any_thread() {
    let keyring = keyring(&[FIRST]);
    let nonces = |count: usize| -> Vec<[u8; RANDOM]> {
        let nonce = |_| {
            let sealed = keyring.seal(Purpose::Flow, b"").unwrap();
            sealed[5..5 + RANDOM].try_into().unwrap()
        };
        (0..count).map(nonce).collect()
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| nonces(20_000))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let halves: HashSet<&[u8]> = all.iter().map(|nonce| &nonce[12..]).collect();
    let whole: HashSet<_> = all.iter().collect();
    assert_eq!((whole.len(), halves.len()), (all.len(), all.len()));
}

#[test]
fn a_keyring_and_its_errors_show_no_key() {
    assert_eq!(format!("{:?}", keyring(&[FIRST, SECOND])), "Keyring { keys: 2, .. }");
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_is_longer_by_the_overhead(
        text: Vec<u8>, extra: Vec<u8>, purpose in 0..4_usize,
    ) {
        let keyring = keyring(&[SECOND, FIRST]);
        let sealed = keyring.seal_bound(PURPOSES[purpose], &extra, &text).unwrap();
        prop_assert_eq!(sealed.len(), text.len() + Keyring::OVERHEAD);
        let opened = keyring.open_bound(PURPOSES[purpose], &extra, &sealed).unwrap();
        prop_assert_eq!(&*opened, &text);
    }

    #[test]
    fn any_change_anywhere_is_noticed(
        text: Vec<u8>, place: proptest::sample::Index, change in 1..=255_u8,
    ) {
        let keyring = keyring(&[FIRST]);
        let mut sealed = keyring.seal(Purpose::Session, &text).unwrap();
        let place = place.index(sealed.len());
        sealed[place] ^= change;
        prop_assert!(keyring.open(Purpose::Session, &sealed).is_none());
    }

    #[test]
    fn foreign_octets_never_open(octets: Vec<u8>, with_our_head in any::<bool>()) {
        let keyring = keyring(&[FIRST]);
        let mut octets = octets;
        if with_our_head {
            let head = [&[1][..], &keyring.current.id].concat();
            octets.splice(0..0, head);
        }
        prop_assert!(keyring.open(Purpose::Session, &octets).is_none());
    }
}
