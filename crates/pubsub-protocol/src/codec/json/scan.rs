//! How far a string or a value reaches, eight bytes at a time, if it is written as nearly all are.
//!
//! Whatever is not (an escape, white space other than blanks, deep nesting, no JSON at all) is nothing that is known here, and
//! left to serde. What is taken here, serde takes just so.

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// Levels of arrays and objects, one bit each.
const DEPTH_MAX: u32 = 60;

/// Where the first byte is that cannot stand in a string as it is: a quote, a backslash or a control character.
pub(super) fn special(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A borrow may mark a byte too many, but only behind one that is marked rightly.
        let below = |bytes: u64, limit: u64| bytes.wrapping_sub(limit * ONES) & !bytes & HIGH;
        let is = |byte: u8| below(word ^ (u64::from(byte) * ONES), 1);
        let marked = below(word, 0x20) | is(b'"') | is(b'\\');
        if marked != 0 {
            return Some(n * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(words.len() * 8 + found)
}

/// The bytes in front of the quote that ends a string; the text begins behind the first one.
pub(super) fn string(text: &[u8]) -> Option<usize> {
    special(text).filter(|&end| text[end] == b'"')
}

/// The length of the value that the text, which is UTF-8, begins with.
pub(super) fn value(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Below the first bit one for each level: set for an object.
    let mut levels = 1_u64;
    loop {
        match text.get(at)? {
            b'"' => at += 2 + string(&text[at + 1..])?,
            open @ (b'{' | b'[') => {
                let is_object = *open == b'{';
                if levels.ilog2() == DEPTH_MAX {
                    return None;
                }
                levels = levels << 1 | u64::from(is_object);
                at = blanks(text, at + 1);
                if *text.get(at)? != open + 2 {
                    at = if is_object { key(text, at)? } else { at };
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => at += number(&text[at..])?,
            b't' => at += literal(&text[at..], b"true")?,
            b'f' => at += literal(&text[at..], b"false")?,
            b'n' => at += literal(&text[at..], b"null")?,
            _ => return None,
        }
        // A value has ended, or an object or array with nothing in it is about to.
        loop {
            if levels == 1 {
                return Some(at);
            }
            let is_object = levels & 1 == 1;
            at = blanks(text, at);
            match (text.get(at)?, is_object) {
                (b',', true) => at = key(text, blanks(text, at + 1))?,
                (b',', false) => at = blanks(text, at + 1),
                (b'}', true) | (b']', false) => {
                    at += 1;
                    levels >>= 1;
                    continue;
                }
                _ => return None,
            }
            break;
        }
    }
}

fn blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// Where the value behind the key that begins here begins.
fn key(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let colon = blanks(text, at + 2 + string(&text[at + 1..])?);
    (*text.get(colon)? == b':').then(|| blanks(text, colon + 1))
}

fn literal(text: &[u8], expected: &[u8]) -> Option<usize> {
    text.starts_with(expected).then_some(expected.len())
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(text[0] == b'-');
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += 1 + fraction;
        if fraction == 0 {
            return None;
        }
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        at += exponent;
        if exponent == 0 {
            return None;
        }
    }
    Some(at)
}
