//! Natural order: runs of digits compare as numbers, so that 2.pt comes before 10.pt.

use std::cmp::Ordering;

/// Compares two keys in natural order. A total order: keys that differ only in leading zeros are told apart by them.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (take_number(&mut left), take_number(&mut right));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the run of digits at the start; returns it without its leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let mut keys = ["25MB/10.pt", "25MB/1.pt", "5MB/3.pt", "25MB/2.pt", "25MB/02.pt", "25MB/a.pt", "25MB/2b.pt"];
        keys.sort_by(|a, b| compare(a, b));
        assert_eq!(keys, ["5MB/3.pt", "25MB/1.pt", "25MB/02.pt", "25MB/2.pt", "25MB/2b.pt", "25MB/10.pt", "25MB/a.pt"]);
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in "[0a/.1-3]{0,6}", b in "[0a/.1-3]{0,6}", c in "[0a/.1-3]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn whole_numbers_keep_their_order(a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(compare(&format!("p/{a}.pt"), &format!("p/{b}.pt")), a.cmp(&b));
        }
    }
}
