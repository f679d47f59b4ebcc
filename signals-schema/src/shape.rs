//! What must hold before a body is read at all: its size, its encoding, its depth. One look over the bytes, no allocation.
//!
//! The depth is counted here because a JSON reader skips the fields it does not know without counting.

use crate::refusal::{Refusal, RefusalReason};

/// The longest body that is read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// How deep objects and arrays may be nested: what `serde_json` itself accepts at most in the fields that are read.
pub const MAX_DEPTH: usize = 127;

const ENVELOPE: &[u8] = b"\"specversion\"";

/// A body that may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// The body as text.
    pub(crate) text: &'a str,
    /// Whether `specversion` is said at the top level: a CloudEvent in the structured form.
    pub(crate) enveloped: bool,
}

impl<'a> Shape<'a> {
    /// Refused as `TooLarge`, `InvalidUtf8` or `TooDeep`.
    pub(crate) fn of(body: &'a [u8]) -> Result<Self, Refusal> {
        if body.len() > MAX_BYTES {
            let detail = format!("the body is {} bytes long, the most is {MAX_BYTES}", body.len());
            return Err(Refusal::whole(RefusalReason::TooLarge, detail));
        }
        let text = std::str::from_utf8(body).map_err(|error| {
            let detail = format!("the body is not UTF-8 from byte {} on", error.valid_up_to());
            Refusal::whole(RefusalReason::InvalidUtf8, detail)
        })?;
        if is_plain(text) {
            return Ok(Self { text, enveloped: false });
        }
        let enveloped = scan(body).ok_or_else(|| {
            Refusal::whole(RefusalReason::TooDeep, format!("the body is nested deeper than {MAX_DEPTH} levels"))
        })?;
        Ok(Self { text, enveloped })
    }
}

/// Whether a quick look tells all: too few brackets to be too deep, and no word of an envelope anywhere. Nearly every signal is so.
fn is_plain(text: &str) -> bool {
    let opening = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opening <= MAX_DEPTH && !text.contains("\"specversion\"")
}

/// Whether the top level says `specversion`; `None` for a body that is too deep. Anything that is not JSON is left to the reader.
fn scan(body: &[u8]) -> Option<bool> {
    let (mut depth, mut enveloped, mut at) = (0_usize, false, 0);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => {
                enveloped |= depth == 1 && body[at..].starts_with(ENVELOPE) && is_key(&body[at + ENVELOPE.len()..]);
                at = end_of_string(body, at + 1);
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return None;
        }
        at += 1;
    }
    Some(enveloped)
}

fn is_key(after: &[u8]) -> bool {
    after.trim_ascii_start().starts_with(b":")
}

/// The position of the quote that ends the string whose text begins at `at`, or the end of the body.
fn end_of_string(body: &[u8], mut at: usize) -> usize {
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        ["[".repeat(levels), "]".repeat(levels)].concat().into_bytes()
    }

    #[test]
    fn the_deepest_body_is_the_deepest_the_reader_takes() {
        assert!(Shape::of(&nested(MAX_DEPTH)).is_ok());
        assert!(serde_json::from_slice::<serde_json::Value>(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(Shape::of(&nested(MAX_DEPTH + 1)).unwrap_err().reason, RefusalReason::TooDeep);
        assert!(serde_json::from_slice::<serde_json::Value>(&nested(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn brackets_within_strings_do_not_count() {
        let body = format!(r#"{{"a": "{} \" {}", "b": "\\"}}"#, "[".repeat(500), "{".repeat(500));
        assert!(Shape::of(body.as_bytes()).is_ok());
    }

    #[test]
    fn an_envelope_is_told_by_a_key_of_the_top_level() {
        let check =
            |body: &str, expected| assert_eq!(Shape::of(body.as_bytes()).unwrap().enveloped, expected, "{body}");
        check(r#"{"specversion": "1.0"}"#, true);
        check(r#"{"a": {}, "specversion" : 1}"#, true);
        check(r#"{"metadata": {"specversion": "1.0"}}"#, false);
        check(r#"{"service": "specversion"}"#, false);
        check(r#"{"service": "\"specversion\": "}"#, false);
        check("\"specversion", false);
        check("{\"\\", false);
    }
}
