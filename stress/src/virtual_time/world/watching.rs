//! What panics on the thread of a run.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps what panics on this thread say, instead of printing it, while a run goes.
pub(super) struct Watching;

impl Watching {
    pub(super) fn begin() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let kept = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|kept| kept.push(panic.to_string())));
                if kept.is_none() {
                    before(panic);
                }
            }));
        });
        PANICS.set(Some(Vec::new()));
        Self
    }

    pub(super) fn told(&self) -> Vec<String> {
        PANICS.with_borrow(|panics| panics.clone().unwrap_or_default())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        PANICS.set(None);
    }
}
