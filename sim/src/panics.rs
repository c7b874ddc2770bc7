//! A panic of a broker or of its store is a bug that an assertion has found: it ends a run as a checker's violation
//! does, with the same story.
//!
//! What it says and where becomes the violation, so it is not printed as well, unless `RUST_BACKTRACE` asks for the
//! way that led there.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// On a thread that watches: where it has panicked, once it has.
    static WATCHED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does this, and returns what it panics with where it does: the message, and the place in the source.
///
/// What it was changing is left as it stood: nobody may build on it any more.
///
/// # Errors
/// The panic, in words.
pub fn caught<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !note(panic) || backtrace_is_wanted() {
                before(panic);
            }
        }));
    });
    let outer = WATCHED.replace(Some(String::new()));
    let done = catch_unwind(AssertUnwindSafe(what));
    let place = WATCHED.replace(outer);
    done.map_err(|panic| {
        let text = panic_text(&*panic);
        match place {
            Some(place) if !place.is_empty() => format!("{text} ({place})"),
            Some(_) | None => text,
        }
    })
}

/// Notes where a thread that is watched panics; false on every other.
fn note(panic: &PanicHookInfo<'_>) -> bool {
    WATCHED.with_borrow_mut(|watched| match watched {
        Some(place) => {
            *place = panic
                .location()
                .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
            true
        }
        None => false,
    })
}

fn backtrace_is_wanted() -> bool {
    std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        assert_eq!(caught(|| 3), Ok(3));
        let line = line!() + 1;
        let told = caught(|| panic!("the log has {} ends", 2)).unwrap_err();
        assert!(told.starts_with("the log has 2 ends ("), "{told}");
        assert!(told.ends_with(&format!("panics.rs:{line})")), "{told}");
    }
}
