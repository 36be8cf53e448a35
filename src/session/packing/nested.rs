//! Octets with the text of GUIDs in them, as a `login_hint` is: base64 of a message that spells out
//! who the user is and in which tenant.

use super::{guid, opaque, varint, varint::Octets};

/// Whether there is a GUID in `content`.
pub(super) fn is_nested(content: &[u8]) -> bool {
    next_guid(content).is_some()
}

/// Appends `content`: how many GUIDs, then what stands before, between and after them.
pub(super) fn push(into: &mut Vec<u8>, guids: &mut guid::Collector, content: &[u8]) {
    let mut rest = content;
    let mut pieces = Vec::new();
    while let Some((before, guid, after)) = next_guid(rest) {
        pieces.push((before, guid));
        rest = after;
    }
    varint::push_length(into, pieces.len());
    for (before, guid) in pieces {
        opaque::push(into, before);
        guids.add(guid);
    }
    opaque::push(into, rest);
}

/// Reads what [`push`] appended, as long as it is at most `most` octets.
pub(super) fn read(
    octets: &mut Octets<'_>,
    guids: &mut guid::Dealer<'_>,
    most: usize,
) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    for _ in 0..octets.length()? {
        content.extend_from_slice(&opaque::read(octets)?);
        guid::push_text(guids.deal()?, &mut content);
        if content.len() > most {
            return None;
        }
    }
    content.extend_from_slice(&opaque::read(octets)?);
    (content.len() <= most).then_some(content)
}

fn next_guid(content: &[u8]) -> Option<(&[u8], guid::Guid, &[u8])> {
    (0..=content.len().checked_sub(guid::TEXT)?).find_map(|place| {
        let (before, rest) = content.split_at_checked(place)?;
        Some((before, guid::at_start(rest)?, rest.get(guid::TEXT..)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_round_the_guids_comes_back() {
        let guid = "d8653ebd-be7c-4140-8b53-556c2c79e7ba";
        for (content, octets) in [
            (format!("\n${guid}\u{12}${guid}\u{1a}\u{3}bob"), 16),
            (format!("{guid}{guid}{guid}"), 9),
            (guid.to_owned(), 5),
            (String::new(), 2),
        ] {
            let (mut list, mut guids) = (Vec::new(), guid::Collector::new());
            push(&mut list, &mut guids, content.as_bytes());
            assert!(list.len() <= octets, "{content} {}", list.len());
            let mut table = Vec::new();
            guids.finish(&mut table);
            let mut dealer = guid::Dealer::read(&mut Octets(&table)).unwrap();
            let mut octets = Octets(&list);
            let length = content.len();
            assert_eq!(read(&mut octets, &mut dealer, length).unwrap(), content.as_bytes());
            assert!(octets.is_empty() && dealer.is_done());
            let mut dealer = guid::Dealer::read(&mut Octets(&table)).unwrap();
            let shorter = length.checked_sub(1);
            let read = |most| read(&mut Octets(&list), &mut dealer, most);
            assert!(shorter.and_then(read).is_none());
        }
    }
}
