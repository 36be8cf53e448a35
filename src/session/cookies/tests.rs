//! What a browser keeps, what is put together from it, and everything that is not.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::{COOKIE_OCTETS, MOST_COOKIES, SessionCookies, TooLarge};

const NAME: &str = "__Host-vestibule";

/// As much of a browser as matters here.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn take(&mut self, lines: &[HeaderValue]) {
        for line in lines {
            let line = line.to_str().unwrap();
            let mut parts = line.split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let attributes: Vec<_> = parts.collect();
            for needed in ["Path=/", "Secure", "HttpOnly"] {
                assert!(attributes.contains(&needed), "{line}");
            }
            assert!(!line.contains("Domain"), "{line}");
            assert!(name.len() + value.len() <= COOKIE_OCTETS, "{} octets", line.len());
            if attributes.contains(&"Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn parts(&self) -> Vec<(usize, Bytes)> {
        let part = |(name, value): (&String, &String)| {
            let rest = name.strip_prefix(NAME).unwrap();
            let index = rest.strip_prefix('-').map_or(0, |index| index.parse().unwrap());
            (index, Bytes::from(value.clone()))
        };
        self.0.iter().map(part).collect()
    }

    fn octets(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

fn cookies(budget: usize) -> SessionCookies {
    SessionCookies::new(NAME, budget)
}

fn sealed(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 7919 + seed * 104_729) >> 3).to_le_bytes()[0]).collect()
}

fn stored(length: usize, seed: usize) -> Vec<(usize, Bytes)> {
    let mut browser = Browser::default();
    browser.take(&cookies(8).write(&sealed(length, seed), 0).unwrap());
    browser.parts()
}

#[test]
fn a_session_comes_back_from_as_many_cookies_as_it_needs() {
    let cookies = cookies(8);
    for length in [45, 46, 47, 1_000, 3_056, 3_057, 6_000, 9_000, cookies.capacity(8)] {
        let mut browser = Browser::default();
        let lines = cookies.write(&sealed(length, 1), 0).unwrap();
        browser.take(&lines);
        assert_eq!(browser.0.len(), cookies.needed(length), "{length}");
        assert_eq!(SessionCookies::total_bytes(&lines), browser.octets(), "{length}");
        assert_eq!(cookies.join(&browser.parts()).unwrap(), sealed(length, 1), "{length}");
    }
}

#[test]
fn a_session_ends_with_the_browser_and_its_cookies_are_lax() {
    let lines = cookies(1).write(&[0xff; 9], 0).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0].to_str().unwrap(),
        "__Host-vestibule=1________________; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn a_cookie_is_filled_to_the_last_octet_and_never_beyond() {
    let cookies = cookies(8);
    for count in 1..=8 {
        let most = cookies.capacity(count);
        assert_eq!((cookies.needed(most), cookies.needed(most + 1)), (count, count + 1));
        let lines = cookies.write(&sealed(most, 2), 0).unwrap();
        let total = SessionCookies::total_bytes(lines.get(..count).unwrap());
        assert!(total > count * COOKIE_OCTETS - 4, "{count}: {total}");
    }
}

#[test]
fn more_cookies_than_the_budget_are_refused_with_both_numbers() {
    let cookies = cookies(2);
    let error = cookies.write(&sealed(cookies.capacity(2) + 1, 1), 0).unwrap_err();
    assert_eq!(error, TooLarge { needed: 3, budget: 2 });
    assert_eq!(cookies.needed(100_000), 33);
}

#[test]
fn a_shrinking_session_leaves_no_cookie_behind() {
    let mut browser = Browser::default();
    for (length, count) in [(2_000, 1), (12_000, 4), (5_000, 2), (100, 1)] {
        let lines = cookies(4).write(&sealed(length, length), browser.0.len()).unwrap();
        browser.take(&lines);
        assert_eq!(browser.0.len(), count);
        assert_eq!(cookies(4).join(&browser.parts()).unwrap(), sealed(length, length));
    }
    // The budget was lowered while a browser still holds a longer session.
    browser.take(&cookies(4).write(&sealed(12_000, 3), 1).unwrap());
    browser.take(&cookies(1).write(&sealed(100, 3), 4).unwrap());
    assert_eq!(cookies(1).join(&browser.parts()).unwrap(), sealed(100, 3));
}

#[test]
fn removal_takes_everything_that_was_sent_and_at_least_the_budget() {
    let mut browser = Browser::default();
    browser.take(&cookies(8).write(&sealed(20_000, 1), 0).unwrap());
    browser.take(&cookies(2).clear(browser.0.len()));
    assert!(browser.0.is_empty());
    assert_eq!(cookies(2).clear(0).len(), 2);
    assert_eq!(cookies(2).clear(usize::MAX).len(), MOST_COOKIES);
    let line = cookies(2).clear(0).remove(1);
    assert_eq!(
        line.to_str().unwrap(),
        "__Host-vestibule-1=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; \
         Path=/; Secure; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn the_order_in_which_a_browser_sends_its_cookies_does_not_matter() {
    let mut parts = stored(9_000, 1);
    parts.reverse();
    assert_eq!(cookies(2).join(&parts).unwrap(), sealed(9_000, 1));
    parts.swap(0, 1);
    assert_eq!(cookies(2).join(&parts).unwrap(), sealed(9_000, 1));
}

#[test]
fn values_under_each_others_names_are_no_session() {
    let parts = stored(11_000, 1);
    assert_eq!(parts.len(), 4);
    for i in 0..4 {
        for j in 0..4 {
            let mut mixed = parts.clone();
            mixed[i].1 = parts[j].1.clone();
            assert_eq!(cookies(4).join(&mixed).is_some(), i == j, "{i} {j}");
            mixed[j].1 = parts[i].1.clone();
            assert_eq!(cookies(4).join(&mixed).is_some(), i == j, "{i} and {j} exchanged");
        }
    }
}

#[test]
fn a_missing_an_extra_or_a_doubled_cookie_is_no_session() {
    let parts = stored(9_000, 1);
    for index in 0..parts.len() {
        let mut cut = parts.clone();
        let taken = cut.remove(index);
        assert!(cookies(4).join(&cut).is_none(), "without {index}");
        cut.extend([taken.clone(), taken]);
        assert!(cookies(4).join(&cut).is_none(), "twice {index}");
    }
    for extra in [3, 4, 7, 8, usize::MAX] {
        let mut longer = parts.clone();
        longer.push((extra, parts[2].1.clone()));
        assert!(cookies(4).join(&longer).is_none(), "and {extra}");
    }
    assert!(cookies(4).join(&[]).is_none());
}

#[test]
fn pieces_of_two_sessions_are_no_session() {
    let (one, two) = (stored(9_000, 1), stored(9_000, 2));
    for index in 0..one.len() {
        let mut mixed = one.clone();
        mixed[index] = two[index].clone();
        assert!(cookies(4).join(&mixed).is_none(), "{index}");
    }
}

#[test]
fn an_impossible_count_is_no_session() {
    let parts = stored(9_000, 1);
    for mark in ["0", "1", "2", "4", "8", "9", "A", "-", "\u{7f}"] {
        let mut wrong = parts.clone();
        wrong[0].1 = [mark.as_bytes(), &parts[0].1[1..]].concat().into();
        assert!(cookies(8).join(&wrong).is_none(), "{mark}");
    }
    for number in ["-1", "2147483648", "1e9", "03"] {
        let mut wrong = parts.clone();
        wrong[0].1 = [number.as_bytes(), &parts[0].1[1..]].concat().into();
        assert!(cookies(8).join(&wrong).is_none(), "{number}");
    }
    let bomb: Vec<_> = (0..10_000).map(|index| (index, parts[0].1.clone())).collect();
    assert!(cookies(8).join(&bomb).is_none());
}

#[test]
fn a_second_spelling_of_the_same_bytes_is_no_session() {
    let parts = stored(100, 1);
    let value = parts[0].1.clone();
    let last = value.last().copied().unwrap();
    // 100 bytes are 134 characters: the low four bits of the last one must be zero.
    let next = if last == b'A' { b'B' } else { last + 1 };
    let stray = [&value[..value.len() - 1], &[next]].concat();
    let padded = [&value[..], b"=="].concat();
    let standard = value.iter().map(|c| if *c == b'-' { b'+' } else { *c }).collect::<Vec<_>>();
    for spelling in [stray, padded, standard, [&value[..], b" "].concat(), value[..5].to_vec()] {
        let same = spelling == value;
        assert_eq!(cookies(2).join(&[(0, spelling.into())]).is_some(), same);
    }
}

#[test]
fn the_jar_is_one_cookie_that_lives_as_long_as_its_flows() {
    let cookies = cookies(2);
    let line = cookies.jar(b"sealed flows", false, Duration::from_mins(11)).unwrap();
    assert_eq!(
        line.to_str().unwrap(),
        "__Host-vestibule-flow=c2VhbGVkIGZsb3dz; Max-Age=660; \
         Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    assert_eq!(SessionCookies::open_jar(b"c2VhbGVkIGZsb3dz").unwrap(), b"sealed flows");
    assert!(SessionCookies::open_jar(b"c2VhbGVkIGZsb3d=").is_none());
    let line = cookies.jar(b"sealed flows", true, Duration::from_mins(11)).unwrap();
    assert!(line.to_str().unwrap().ends_with("; Secure; HttpOnly; SameSite=None"));
    let most = cookies.jar_capacity();
    let line = cookies.jar(&sealed(most, 1), true, Duration::ZERO).unwrap();
    assert!((4093..=4096).contains(&SessionCookies::total_bytes(&[line])));
    assert!(cookies.jar(&sealed(most + 1, 1), true, Duration::ZERO).is_err());
    let mut browser = Browser::default();
    browser.take(&[cookies.jar(b"flows", true, Duration::from_mins(1)).unwrap()]);
    browser.take(&[cookies.clear_jar(true)]);
    assert!(browser.0.is_empty());
}

#[test]
fn set_cookie_lines_never_show_in_debug() {
    let lines = cookies(2).write(&sealed(100, 1), 0).unwrap();
    assert_eq!(format!("{lines:?}"), "[Sensitive, Sensitive]");
}

#[test]
fn a_name_that_a_sibling_domain_could_set_is_not_accepted() {
    for (name, good) in [
        (NAME, true),
        ("__Host-a.b_c~1", true),
        ("__Host-", false),
        ("vestibule", false),
        ("__host-vestibule", false),
        ("__Secure-vestibule", false),
        ("__Host-two words", false),
        ("__Host-a=b", false),
        ("__Host-a;b", false),
        ("__Host-ä", false),
        (&format!("__Host-{}", "a".repeat(60)), false),
    ] {
        assert_eq!(SessionCookies::accepts(name), good, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_session_within_the_budget_comes_back(
        length in 3..24_000_usize, seed: usize, previous in 0..12_usize,
    ) {
        let sealed = sealed(length, seed % 1_000);
        let mut browser = Browser::default();
        browser.take(&cookies(8).write(&sealed, previous).unwrap());
        prop_assert_eq!(cookies(8).join(&browser.parts()).unwrap(), sealed);
    }

    #[test]
    fn whatever_a_browser_sends_joining_never_panics(
        parts: Vec<(u8, Vec<u8>)>, few in 0..4_usize,
    ) {
        let parts: Vec<_> =
            parts.into_iter().map(|(index, value)| (usize::from(index), value.into())).collect();
        let joined = cookies(8).join(&parts);
        prop_assert!(joined.is_none_or(|sealed| !sealed.is_empty()));
        let narrow: Vec<_> = parts.into_iter().map(|(index, value)| (index % 3, value)).collect();
        prop_assert!(cookies(8).join(narrow.get(..few).unwrap_or_default()).is_none_or(|s| !s.is_empty()));
    }
}
