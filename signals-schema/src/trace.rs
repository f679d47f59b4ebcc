//! W3C trace context: which one a signal continues. A malformed one is ignored, as the recommendation asks, and never a refusal.

/// The most of a `tracestate` that is kept, in bytes: what every vendor must be able to propagate (W3C Trace Context, 3.3.1.5).
const MAX_STATE: usize = 512;

/// The trace a signal continues; the state is there only with the parent it belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) parent: Option<String>,
    pub(crate) state: Option<String>,
}

impl TraceContext {
    /// The first of the candidates (parent, state) whose parent is well formed.
    pub(crate) fn first(candidates: [(Option<&str>, Option<&str>); 2]) -> Self {
        let valid = |(parent, state): (Option<&str>, Option<&str>)| {
            let parent = parent.map(str::trim).filter(|text| is_parent(text))?;
            let state = state.map(str::trim).filter(|text| !text.is_empty() && text.len() <= MAX_STATE);
            Some(Self { parent: Some(parent.to_owned()), state: state.map(str::to_owned) })
        };
        candidates.into_iter().find_map(valid).unwrap_or_default()
    }
}

/// `version-traceid-parentid-flags` in lower-case hex; no id is all zeros and no version `ff`. A later version may add fields.
fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    let (version, trace, parent, flags) = (hex(2), hex(32), hex(16), hex(2));
    let set = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|byte| byte != b'0'));
    let more = parts.next().is_some();
    set(trace)
        && set(parent)
        && flags.is_some()
        && text.len() <= 128
        && match version {
            Some("ff") | None => false,
            Some("00") => !more,
            Some(_) => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn parents() {
        assert!(
            is_parent(GOOD) && is_parent(&GOOD.replacen("00", "01", 1)) && is_parent(&format!("cc{}-more", &GOOD[2..]))
        );
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &GOOD.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert!(!is_parent(bad), "{bad}");
        }
    }

    #[test]
    fn the_state_goes_with_its_parent() {
        let context = TraceContext::first([(Some("broken"), Some("a=1")), (Some(GOOD), Some("b=2"))]);
        assert_eq!((context.parent.as_deref(), context.state.as_deref()), (Some(GOOD), Some("b=2")));
        assert_eq!(TraceContext::first([(None, Some("a=1")), (None, None)]), TraceContext::default());
    }
}
