//! Whole sessions: there and back, whatever is in them, and how many bytes they take.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{
    collection::{btree_map, vec},
    prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_assert, proptest},
    prop_oneof,
};
use serde_json::json;

use super::{
    samples::{Dice, Sample, Shape},
    *,
};
use crate::session::cookies::SessionCookies;

fn contents(sample: &Sample, with_id_token: bool) -> Contents {
    Contents {
        claims: sample.claims.clone(),
        access_token: Some(sample.access_token.clone().into()),
        refresh_token: Some(sample.refresh_token.clone().into()),
        id_token: with_id_token.then(|| sample.id_token.clone().into()),
        scope: sample.scope.clone(),
        expires_at: 1_790_004_684,
        signed_in_at: 1_790_000_000,
        obtained_at: 1_790_000_120,
        seen_at: 1_790_000_300,
        id: *b"0123456789abcdef",
        generation: 3,
    }
}

fn exposed(token: Option<&SecretString>) -> Option<&str> {
    token.map(ExposeSecret::expose_secret)
}

fn is_same(one: &Contents, other: &Contents) -> bool {
    let fields = |contents: &Contents| {
        let Contents { expires_at, obtained_at, signed_in_at, seen_at, id, generation, .. } =
            *contents;
        (expires_at, obtained_at, signed_in_at, seen_at, id, generation)
    };
    let tokens = |contents: &Contents| {
        [&contents.access_token, &contents.refresh_token, &contents.id_token]
            .map(|token| exposed(token.as_ref()).map(str::to_owned))
    };
    fields(one) == fields(other)
        && tokens(one) == tokens(other)
        && one.claims == other.claims
        && one.scope == other.scope
}

fn comes_back(contents: &Contents) -> bool {
    unpack(&pack(contents)).is_some_and(|unpacked| is_same(&unpacked, contents))
}

/// Bytes of cookie (names and values) and number of cookies, padded.
fn measured(contents: &Contents) -> (usize, usize) {
    let cookies = SessionCookies::new("__Host-vestibule", 8);
    let mut packed = pack(contents);
    pad(&mut packed, |sealed| cookies.edge(sealed));
    assert!(unpack(&packed).is_some_and(|unpacked| is_same(&unpacked, contents)));
    let sealed = vec![7; packed.len() + Keyring::OVERHEAD];
    let lines = cookies.write(&sealed, 0).unwrap();
    (SessionCookies::total_bytes(&lines), cookies.needed(sealed.len()))
}

#[test]
fn ten_groups_fit_in_one_small_cookie_and_two_hundred_in_two() {
    for shape in [Shape::Graph, Shape::OwnApi] {
        for seed in 0..40 {
            let (bytes, cookies) = measured(&contents(&Sample::new(shape, 10, seed), false));
            assert!(bytes <= 2_800 && cookies == 1, "{shape:?} {seed}: {bytes} in {cookies}");
            let (bytes, cookies) = measured(&contents(&Sample::new(shape, 200, seed), false));
            assert!(bytes <= 7_000 && cookies == 2, "{shape:?} {seed}: {bytes} in {cookies}");
        }
    }
}

#[test]
fn the_id_token_of_two_hundred_groups_costs_no_third_cookie() {
    for seed in 0..40 {
        let (bytes, cookies) = measured(&contents(&Sample::new(Shape::OwnApi, 200, seed), true));
        assert!(bytes <= 7_800 && cookies == 2, "{seed}: {bytes} in {cookies}");
    }
}

#[test]
fn a_session_without_tokens_or_claims_comes_back() {
    let empty = Contents {
        claims: Map::new(),
        access_token: None,
        refresh_token: None,
        id_token: None,
        scope: String::new(),
        expires_at: i64::MIN,
        signed_in_at: i64::MAX,
        obtained_at: 1_790_000_120,
        seen_at: 0,
        id: [0; 16],
        generation: u32::MAX,
    };
    assert!(comes_back(&empty));
    assert!(measured(&empty).0 < 300);
}

#[test]
fn tokens_that_are_no_canonical_jwt_come_back_as_they_were() {
    let sample = Sample::new(Shape::Graph, 3, 1);
    let cut = |token: &str| token.get(..token.len() - 1).unwrap().to_owned();
    let mut tokens = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "EwB4A8l6BAAUs5+Hg/opaque==".to_owned(),
        "ein Schlüssel, mit Umlauten".to_owned(),
        // Header or payload with a control character, which would pass for a marker.
        format!("{}.e30.AAAA", base64_of(b"\x01\x02")),
        format!("e30.{}.AAAA", base64_of(b"{\"a\":\"\x05\"}")),
        // Stray low bits at the end of each part.
        "e31.e30.AAAA".to_owned(),
        "e30.e31.AAAA".to_owned(),
        "e30.e30.AAB".to_owned(),
        // An encrypted token has five parts.
        format!("{0}.{0}.{0}.{0}.{0}", base64_of(&[0x5a; 40])),
        format!("{}=", sample.access_token),
        format!("{}\n", sample.access_token),
        format!(" {}", sample.access_token),
        format!("{}.", sample.access_token),
    ];
    tokens.extend((0..4).scan(sample.access_token.clone(), |token, _| {
        *token = cut(token);
        Some(token.clone())
    }));
    for token in tokens {
        let mut contents = contents(&sample, false);
        contents.id_token = Some(token.clone().into());
        contents.refresh_token = Some(token.clone().into());
        contents.access_token = Some(token.clone().into());
        assert!(comes_back(&contents), "{token:?}");
    }
}

fn base64_of(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

#[test]
fn two_thousand_groups_come_back_although_no_cookie_holds_them() {
    let sample = Sample::new(Shape::OwnApi, 2_000, 1);
    assert!(sample.access_token.len() > 100_000);
    assert!(comes_back(&contents(&sample, true)));
    // Twenty thousand are beyond the cap of inflated text: stored whole, not lost.
    let sample = Sample::new(Shape::OwnApi, 20_000, 1);
    assert!(comes_back(&contents(&sample, false)));
}

#[test]
fn claims_that_look_like_endless_base64_are_no_trap() {
    let mut contents = contents(&Sample::new(Shape::Graph, 0, 1), false);
    for text in ["aaaa/".repeat(40_000), "aaaaaaaaaaaaaaa ".repeat(12_000), "Ab1".repeat(60_000)] {
        contents.claims.insert("name".to_owned(), text.into());
        assert!(comes_back(&contents));
    }
    let ids: Vec<Value> = (0..4_000).map(|seed| Dice(seed).text(16).into()).collect();
    contents.claims.insert("name".to_owned(), ids.into());
    assert!(comes_back(&contents));
}

#[test]
fn a_refresh_token_is_never_compressed() {
    let sample = Sample::new(Shape::Graph, 0, 1);
    let length = |refresh_token: String| {
        let mut contents = contents(&sample, false);
        contents.refresh_token = Some(refresh_token.into());
        pack(&contents).len()
    };
    let random = length(format!("1.{}", Dice(1).text(900)));
    assert_eq!(length(format!("1.{}", "A".repeat(1_200))), random);
    // Nor when it is a JWT of text that the other tokens share.
    let access = sample.access_token.len();
    assert!(length(sample.access_token.clone()) > length(String::new()) + access * 2 / 3);
}

#[test]
fn lengths_show_in_steps_and_padding_never_costs_a_cookie() {
    let cookies = SessionCookies::new("__Host-vestibule", 8);
    let lengths: std::collections::BTreeSet<_> = (1..20_000)
        .map(|length| {
            let mut packed = Zeroizing::new(vec![1; length]);
            let sealed = length + Keyring::OVERHEAD;
            pad(&mut packed, |sealed| cookies.edge(sealed));
            let padded = packed.len() + Keyring::OVERHEAD;
            assert!((sealed..sealed + BUCKET).contains(&padded), "{length} {padded}");
            assert_eq!(cookies.needed(padded), cookies.needed(sealed), "{length}");
            padded
        })
        .collect();
    let (odd, even): (Vec<_>, Vec<_>) =
        lengths.into_iter().partition(|length| length % BUCKET != STEP);
    assert_eq!(odd, (1..=6).map(|count| cookies.capacity(count)).collect::<Vec<_>>());
    assert!(even.len() > 300);
}

#[test]
fn the_time_of_sign_in_or_a_claim_changes_no_length_beyond_its_step() {
    let sample = Sample::new(Shape::OwnApi, 10, 5);
    let lengths: std::collections::BTreeSet<_> = (0..200_u8)
        .map(|number| {
            let mut contents = contents(&sample, false);
            contents.seen_at += i64::from(number) * 17;
            let name = "x".repeat(usize::from(number % 50));
            contents.claims.insert("name".to_owned(), name.into());
            measured(&contents).0
        })
        .collect();
    assert!(lengths.len() <= 2, "{lengths:?}");
}

#[test]
fn another_version_cut_or_longer_bytes_are_no_session() {
    let packed = pack(&contents(&Sample::new(Shape::Graph, 10, 1), true));
    for version in (0..=255).filter(|version| *version != VERSION) {
        let other = [&[version], packed.get(1..).unwrap()].concat();
        assert!(unpack(&other).is_none(), "{version}");
    }
    for length in 0..packed.len() {
        assert!(unpack(&packed[..length]).is_none(), "{length}");
    }
    assert!(unpack(&[packed.as_slice(), &[0; 200]].concat()).is_some());
    assert!(unpack(&[packed.as_slice(), &[0; 200], &[1]].concat()).is_none());
}

#[test]
fn a_bomb_is_no_session_and_takes_no_memory() {
    let bomb = deflate::deflate(&vec![b'a'; 64 << 20]).unwrap();
    for claimed in [64 << 20, text::TEXT_CAP + 1, text::TEXT_CAP, 1 << 60] {
        let mut packed = vec![VERSION, 0, 0, 0];
        varint::push_length(&mut packed, claimed << 1 | 1);
        packed.extend_from_slice(&bomb);
        assert!(unpack(&packed).is_none(), "{claimed}");
    }
}

#[test]
fn debug_shows_neither_claims_nor_tokens_nor_the_id() {
    let sample = Sample::new(Shape::Graph, 1, 1);
    let shown = format!("{:?}", contents(&sample, true));
    for secret in ["Adele", "contoso", "eyJ", "1.", "0123456789abcdef", "48, 49"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Version 1 as it was first written: a release that cannot read it signs everybody out.
#[test]
fn the_first_session_of_this_version_is_still_read() {
    let packed = URL_SAFE_NO_PAD.decode(GOLDEN).unwrap();
    assert!(unpack(&packed).is_some_and(|unpacked| is_same(&unpacked, &golden())));
}

const GOLDEN: &str = "AZETAdhlPr2-fEFAi1NVbCx557oHAwIAAgQCBNsCIz1hwdIJxJGOKalAu8ISQRFYW40RDHiDAFmvjl\
                      JhaX5JIjCQ9QxrcWV0AIDuiasN2ATARPABMDEyMzQ1Njc4OWFiY2RlZgM_KIupRpNxWc8UXFG9gt5x\
                      EO7MhyZWVAAQ9fX19fX19fX19fX19fX19cABAQIICiQAAZqZmZmZmbk_GBkIMS4mAXEAL3rpQx0ALG\
                      JjLlEwbnZRMG52";

fn golden() -> Contents {
    let header = base64_of(br#"{"typ":"JWT","alg":"RS256","kid":"i6lGk3FZzxRcUb2C3nEQ7syHJlY"}"#);
    let payload = base64_of(
        br#"{"aud":"d8653ebd-be7c-4140-8b53-556c2c79e7ba","iat":1790000000,"name":"Adele Vance"}"#,
    );
    let claims = json!({
        "groups": ["00000003-0000-0000-c000-000000000000", "d8653ebd-be7c-4140-8b53-556c2c79e7ba"],
        "login_hint": "O.CiRkODY1M2ViZC1iZTdjLTQxNDAtOGI1My01NTZjMmM3OWU3YmE",
        "name": "Adele Vance", "quota": 0.1,
    });
    Contents {
        claims: claims.as_object().unwrap().clone(),
        access_token: Some(format!("{header}.{payload}.{}", base64_of(&[0xf5; 16])).into()),
        refresh_token: Some("1.AXEAL3rpQx0Abc.Q0nvQ0nv".to_owned().into()),
        id_token: None,
        scope: "openid profile User.Read".to_owned(),
        expires_at: 1_790_004_684,
        signed_in_at: 1_790_000_000,
        obtained_at: 1_790_000_120,
        seen_at: 1_790_000_300,
        id: *b"0123456789abcdef",
        generation: 3,
    }
}

fn values() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..1_000_000_i32).prop_map(|number| Value::from(f64::from(number) / 1000.0)),
        "\\PC{0,12}|[A-Za-z0-9_-]{20,30}|[\\x00-\\x1f\"\\\\]{0,4}".prop_map(Value::from),
        any::<u64>().prop_map(|seed| Value::from(Dice(seed).guid())),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

fn tokens() -> BoxedStrategy<Option<SecretString>> {
    let sample = |(groups, seed, shape): (usize, u64, bool)| {
        let shape = if shape { Shape::Graph } else { Shape::OwnApi };
        Sample::new(shape, groups, seed)
    };
    let seeds = (0..30_usize, any::<u64>(), any::<bool>());
    let part = "[A-Za-z0-9_-]{0,40}|\\PC{0,8}";
    prop_oneof![
        Just(None),
        seeds.clone().prop_map(move |seed| Some(sample(seed).access_token)),
        seeds.clone().prop_map(move |seed| Some(sample(seed).id_token)),
        seeds.prop_map(move |seed| Some(sample(seed).refresh_token)),
        "\\PC{0,60}".prop_map(Some),
        "[A-Za-z0-9+/_.=-]{0,200}".prop_map(Some),
        (part, part, part).prop_map(|(a, b, c)| Some(format!("{a}.{b}.{c}"))),
        (vec(any::<u8>(), 0..60), vec(any::<u8>(), 0..60), vec(any::<u8>(), 0..60))
            .prop_map(|(a, b, c)| Some([a, b, c].map(|part| base64_of(&part)).join("."))),
    ]
    .prop_map(|token| token.map(SecretString::from))
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_session_comes_back_bit_for_bit(
        claims in btree_map("[a-z_]{1,12}|\\PC{0,6}", values(), 0..8),
        access_token in tokens(),
        refresh_token in tokens(),
        id_token in tokens(),
        scope in "\\PC{0,40}|[\\x00-\\x08]{1,4}",
        times: (i64, i64, i64),
        id: [u8; 16],
        generation: u32,
    ) {
        let contents = Contents {
            claims: claims.into_iter().collect(),
            access_token,
            refresh_token,
            id_token,
            scope,
            expires_at: times.0,
            signed_in_at: times.1,
            obtained_at: 1_790_000_120,
            seen_at: times.2,
            id,
            generation,
        };
        prop_assert!(comes_back(&contents));
    }

    #[test]
    fn arbitrary_bytes_never_panic(octets: Vec<u8>) {
        let packed = [&[VERSION], octets.as_slice()].concat();
        if let Some(contents) = unpack(&packed) {
            prop_assert!(comes_back(&contents));
        }
    }

    #[test]
    fn broken_sessions_never_panic(
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6), seed in 0..8_u64,
    ) {
        let mut packed = pack(&contents(&Sample::new(Shape::OwnApi, 5, seed), true));
        for (place, octet) in changes {
            let place = place.index(packed.len());
            packed[place] = octet;
        }
        if let Some(contents) = unpack(&packed) {
            prop_assert!(exposed(contents.access_token.as_ref()).is_none_or(|t| t.len() < 600_000));
        }
    }
}
