//! What the scanner takes for a value is one, and ends where serde says that it ends.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::super::scan::{special, value};
use super::familiar::{edited, edits};
use crate::codec::made_up::payloads;

/// Where serde says that the first value of a text ends.
fn ends(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_serde_takes(payload in payloads(), behind in "[]},\" x]{0,2}", edits in edits()) {
        let text = String::from_utf8(payload.as_bytes().to_vec()).unwrap() + &behind;
        let text = edited(text, &edits);
        // Whoever asks has made sure of that.
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        if let Some(end) = value(text.as_bytes()) {
            // A number that something stands behind is told by whoever looks at that.
            let (found, behind) = text.split_at(end);
            prop_assert_eq!(ends(found), Some(end), "{} before {}", found, behind);
        }
    }

    #[test]
    fn the_first_special_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        prop_assert_eq!(special(&bytes), expected);
    }
}

#[test]
fn what_is_usual_is_taken() {
    for text in [
        "0",
        "-0",
        "17",
        "-1.5e3",
        "1E+9",
        "true",
        "false",
        "null",
        r#""""#,
        r#""text""#,
        "\"ä\u{2028}\"",
        "[]",
        "{}",
        "[[],{}]",
        r#"{"a":1,"b":[true,"}]",{"c":null}],"d":"e"}"#,
        r#"{"a": 1, "b": [1, 2], "c": { }, "d": [ ]}"#,
    ] {
        assert_eq!(value(text.as_bytes()), Some(text.len()), "{text}");
        assert_eq!(value(format!("{text},1").as_bytes()), Some(text.len()), "{text}");
        assert_eq!(ends(text), Some(text.len()), "{text}");
    }
}

#[test]
fn what_is_no_value_or_may_be_one_is_left_to_serde() {
    for text in [
        "",
        " 1",
        "-",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "tru",
        "nul",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        "{1:2}",
        "[1}",
        r#"{"a":1]"#,
        r#""open"#,
        r#""es\"caped""#,
        "\"tab\t\"",
        "[\n1]",
    ] {
        assert_eq!(value(text.as_bytes()), None, "{text}");
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(value(nested(60).as_bytes()), Some(120));
    assert_eq!(value(nested(61).as_bytes()), None);
}
