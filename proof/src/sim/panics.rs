//! Panics of this thread: in a simulation every one of them is a finding.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// While it lives, panics of its thread are kept instead of printed.
pub(super) struct Watch(());

impl Watch {
    pub(super) fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let kept = SEEN.with_borrow_mut(|seen| seen.as_mut().map(|it| it.push(info.to_string())));
                if kept.is_none() {
                    before(info);
                }
            }));
        });
        SEEN.with_borrow_mut(|seen| *seen = Some(Vec::new()));
        Self(())
    }

    /// What was said so far.
    pub(super) fn seen() -> Vec<String> {
        SEEN.with_borrow(|seen| seen.clone().unwrap_or_default())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.with_borrow_mut(|seen| *seen = None);
    }
}
