//! What is hidden in the rows, and how it is found again in a reply: texts and numbers that name their owner.

use crate::rng::Rng;

/// Every text canary is `cnry`, four digits of its owner, `x`, eight digits at random.
const MARK: &str = "cnry";
const MARK_IN_HEX: &str = "636e7279";
const OWNER_DIGITS: usize = 4;
const TOKEN_LENGTH: usize = MARK.len() + OWNER_DIGITS + 1 + 8;

/// Number canaries lie in a range of their owner's; all have thirteen digits.
const FIRST_NUMBER: i64 = 7_000_000_000_000;
const NUMBERS_PER_USER: i64 = 1_000_000;
const NUMBER_DIGITS: usize = 13;

pub fn token(user: usize, rng: &mut Rng) -> String {
    format!("{MARK}{user:04}x{:08}", rng.below(100_000_000))
}

/// `nth` is far from both ends of the range, so that a little arithmetic does not leave it.
pub fn number(user: usize, nth: i64) -> i64 {
    FIRST_NUMBER + user as i64 * NUMBERS_PER_USER + 1_000 + nth
}

/// The first thing in `reply` that is neither the owner's nor a part of what they `asked`.
pub fn foreign(reply: &str, own: usize, asked: &str) -> Option<String> {
    foreign_token(reply, own, asked).or_else(|| foreign_number(reply, own, asked))
}

/// The same of bytes as they would be sent, where texts lie as they are.
pub fn foreign_bytes(bytes: &[u8], own: usize, asked: &str) -> Option<String> {
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window.eq_ignore_ascii_case(MARK.as_bytes())) {
        rest = &rest[at..];
        let token = String::from_utf8_lossy(&rest[..rest.len().min(TOKEN_LENGTH)]).to_lowercase();
        if owner(&token).is_some_and(|owner| owner != own) && !asked.contains(&token) {
            return Some(token);
        }
        rest = &rest[MARK.len()..];
    }
    None
}

fn foreign_token(reply: &str, own: usize, asked: &str) -> Option<String> {
    let lower = reply.to_lowercase();
    let plain = lower.match_indices(MARK).filter_map(|(at, _)| {
        let token = lower.get(at..).map(|rest| rest.chars().take(TOKEN_LENGTH).collect::<String>())?;
        let is_foreign = owner(&token).is_some_and(|owner| owner != own);
        (is_foreign && !asked.to_lowercase().contains(&token)).then_some(token)
    });
    let in_hex = lower.match_indices(MARK_IN_HEX).filter_map(|(at, _)| {
        let digits = lower.get(at + MARK_IN_HEX.len()..at + MARK_IN_HEX.len() + 2 * OWNER_DIGITS)?;
        // The code of a digit is 3 and the digit; a text that was cut off has something else behind the mark.
        let digit = |pair: &[u8]| (pair[0] == b'3').then_some(pair[1] as char);
        let owner: String = digits.as_bytes().chunks(2).map(digit).collect::<Option<_>>()?;
        let is_foreign = owner.parse::<usize>().is_ok_and(|owner| owner != own);
        is_foreign.then(|| format!("in hexadecimal, a token of {owner}"))
    });
    plain.chain(in_hex).next()
}

fn owner(token: &str) -> Option<usize> {
    token.get(MARK.len()..MARK.len() + OWNER_DIGITS)?.parse().ok()
}

/// Numbers that stand alone: no fraction of another number, no part of a word.
fn foreign_number(reply: &str, own: usize, asked: &str) -> Option<String> {
    let bytes = reply.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = bytes[at..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |n| at + n);
        let alone = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'.');
        let digits = &reply[at..end];
        at = end;
        if !alone || digits.len() != NUMBER_DIGITS || bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
            continue;
        }
        let number = digits.parse::<i64>().unwrap_or(0);
        let owner = (number - FIRST_NUMBER).div_euclid(NUMBERS_PER_USER);
        // Plans turn `< n` into `<= n - 1`.
        let was_asked = || (number - 1..=number + 1).any(|near| asked.contains(&near.to_string()));
        if (0..10_000).contains(&owner) && owner as usize != own && !was_asked() {
            return Some(digits.to_owned());
        }
    }
    None
}

#[test]
fn canaries_are_found_however_they_are_shown() {
    let mut rng = Rng::new(1);
    let (own, other) = (token(3, &mut rng), token(4, &mut rng));
    let hex: String = other.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(foreign(&format!("a|{own}|7"), 3, ""), None);
    for shown in [other.clone(), other.to_uppercase(), format!("[{own}, {other}]"), hex, number(4, 0).to_string()] {
        assert!(foreign(&shown, 3, "").is_some(), "{shown}");
        assert!(foreign_bytes(other.as_bytes(), 3, "").is_some());
    }
    assert_eq!(foreign(&format!("no row {other}"), 3, &format!("SELECT '{other}'")), None);
    assert_eq!(foreign(&format!("{}|{}.5", number(3, 9), number(3, 10)), 3, ""), None);
    assert_eq!(foreign(&format!("0.{0} a{0} 1{0}", number(4, 9)), 3, ""), None);
    assert_eq!(foreign("636e7279|636e7279", 3, ""), None, "the mark alone names nobody");
    assert_eq!(foreign_bytes(own.as_bytes(), 3, ""), None);
}
