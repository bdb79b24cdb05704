//! Pages of listings: opaque tokens that say where the next page begins, for this question only and for a day.

use starmap_asl::Timestamp;

use crate::error::ApiError;

/// AWS: "Each pagination token is unique for each page … expires after 24 hours".
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>, read 2026-11.
const LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;

/// Results of a page unless told otherwise.
const PAGE_SIZE_DEFAULT: usize = 100;

/// How many results a page has; 0 means the default.
pub(super) fn page_size(given: Option<i64>) -> usize {
    given.and_then(|given| usize::try_from(given).ok()).filter(|&given| given > 0).unwrap_or(PAGE_SIZE_DEFAULT)
}

/// A token that leads to what comes after `key`. `question` is all that must be asked again with it.
pub(super) fn token(question: &str, key: &str, at: Timestamp) -> String {
    let mut bytes = at.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(key.as_bytes());
    let mut token = hex(&check(question, &bytes).to_be_bytes());
    token.push_str(&hex(&bytes));
    token
}

/// The key in a token of this question.
///
/// # Errors
/// AWS's `InvalidToken`: not a token of ours, one of another question, or an old one.
pub(super) fn key(question: &str, token: Option<&str>, now: Timestamp) -> Result<Option<String>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let invalid = || ApiError::new("InvalidToken", "Invalid Token: 'Invalid token'");
    let bytes = unhex(token).ok_or_else(invalid)?;
    let (sum, rest) = bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
    let (made_at, key) = rest.split_first_chunk::<8>().ok_or_else(invalid)?;
    let is_fresh = now.0.saturating_sub(i64::from_be_bytes(*made_at)) < LIFETIME_MS;
    if u64::from_be_bytes(*sum) != check(question, rest) || !is_fresh {
        return Err(invalid());
    }
    String::from_utf8(key.to_vec()).map(Some).map_err(|_| invalid())
}

/// One page of items that are in memory already, each with the key that sorts it, and the token of the next page.
pub(super) fn page<T>(
    items: Vec<(String, T)>,
    after: Option<&str>,
    size: usize,
    question: &str,
    now: Timestamp,
) -> (Vec<T>, Option<String>) {
    let begin = after.map_or(0, |after| items.partition_point(|(key, _)| key.as_str() <= after));
    let has_more = items.len() > begin + size;
    let mut last = None;
    let page: Vec<T> = items
        .into_iter()
        .skip(begin)
        .take(size)
        .map(|(key, item)| {
            last = Some(key);
            item
        })
        .collect();
    (page, last.filter(|_| has_more).map(|key| token(question, &key, now)))
}

/// Not a secret, but no accident makes it: FNV-1a over the question and the bytes.
fn check(question: &str, bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in b"starmap page".iter().chain(question.as_bytes()).chain(&[0]).chain(bytes) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|begin| u8::from_str_radix(&text[begin..begin + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_key_for_its_question_and_for_a_day() {
        let made = token("list", "42", Timestamp(1_000));
        assert_eq!(key("list", Some(&made), Timestamp(2_000)), Ok(Some("42".to_owned())));
        assert_eq!(key("list", None, Timestamp(0)), Ok(None));
        for (question, token, now) in [
            ("other", made.as_str(), Timestamp(2_000)),
            ("list", made.as_str(), Timestamp(1_000 + LIFETIME_MS)),
            ("list", "InvalidToken", Timestamp(0)),
            ("list", "00", Timestamp(0)),
            ("list", "üü", Timestamp(0)),
        ] {
            assert_eq!(key(question, Some(token), now).unwrap_err().name, "InvalidToken");
        }
        let mut changed = made.into_bytes();
        *changed.last_mut().unwrap() ^= 1;
        assert!(key("list", Some(&String::from_utf8(changed).unwrap()), Timestamp(2_000)).is_err());
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let items = || ["a", "b", "c", "d", "e"].map(|item| (item.to_owned(), item)).to_vec();
        let (first, next) = page(items(), None, 2, "q", Timestamp(0));
        assert_eq!(first, ["a", "b"]);
        let after = key("q", next.as_deref(), Timestamp(0)).unwrap();
        let (second, next) = page(items(), after.as_deref(), 3, "q", Timestamp(0));
        assert_eq!((second.as_slice(), next), (["c", "d", "e"].as_slice(), None));
    }
}
