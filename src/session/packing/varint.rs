//! Numbers in as few octets as they need (LEB128), and a cursor that never reads past its end.

/// Octets of the longest number.
pub(super) const MOST: usize = 10;

/// Appends `number`, seven bits an octet, lowest first.
pub(super) fn push(list: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        list.push(low_seven(number) | 0x80);
        number >>= 7;
    }
    list.push(low_seven(number));
}

/// Appends a length or a count.
pub(super) fn push_length(list: &mut Vec<u8>, length: usize) {
    push(list, length as u64);
}

/// Appends a number that may be negative; small ones of either sign stay short (zigzag).
pub(super) fn push_signed(list: &mut Vec<u8>, number: i64) {
    push(list, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is nothing but zeros, if anything.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|octet| *octet == 0)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*octet)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if octet < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    /// A length, and as many octets.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

fn low_seven(number: u64) -> u8 {
    let [lowest, ..] = number.to_le_bytes();
    lowest & 0x7f
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn small_numbers_take_one_octet_and_the_largest_ten() {
        for (number, length) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (u64::MAX, 10)] {
            let mut list = Vec::new();
            push(&mut list, number);
            assert_eq!((list.len(), Octets(&list).number()), (length, Some(number)));
        }
    }

    #[test]
    fn a_number_that_never_ends_or_does_not_fit_is_none() {
        for octets in [&[0x80][..], &[0xff; 9], &[0xff; 11], &[0x80; 40]] {
            assert_eq!(Octets(octets).number(), None, "{octets:?}");
        }
        let too_large = [&[0xff; 9][..], &[0x02]].concat();
        assert_eq!(Octets(&too_large).number(), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed in any::<i64>(), tail: Vec<u8>) {
            let mut list = Vec::new();
            push(&mut list, unsigned);
            push_signed(&mut list, signed);
            list.extend_from_slice(&tail);
            let mut octets = Octets(&list);
            prop_assert_eq!(octets.number(), Some(unsigned));
            prop_assert_eq!(octets.signed(), Some(signed));
            prop_assert!(octets.0 == tail);
        }
    }
}
