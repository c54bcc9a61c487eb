//! Keeps a panic inside the database from spreading: sled asserts on damaged pages instead of returning an error.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use autodidact_domain::{PortError, PortResult};

use crate::StoreError;

/// Runs a read or write of the store, turning a panic into [`StoreError::Corrupt`].
///
/// Unwinding through the store is safe: its locks guard no state that is half changed (what changes, changes in one
/// batch), and a lock that a panic poisoned is taken all the same.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Corrupt(panic_text(&*panic))))
}

/// Runs a port's method, turning a panic into [`PortError::Corrupt`].
pub(crate) fn contain_port<T>(work: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(PortError::from(StoreError::Corrupt(panic_text(&*panic)))))
}

/// Shows what a panic said, cut to a readable length.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("an assertion in the database failed");
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        let result: PortResult<()> = contain_port(|| panic!("page {} is torn", 7));
        assert!(matches!(result, Err(PortError::Corrupt(text)) if text.contains("page 7 is torn")));
    }
}
