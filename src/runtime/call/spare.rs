// SPDX-License-Identifier: Apache-2.0
//! Room for calls: kept when a call is over, so that the next one allocates nothing.

use std::cell::RefCell;

use super::Call;

/// A caller ends one call before it begins the next, so that few serve many.
const MAX_SPARE: usize = 64;

/// In their boxes: what is kept is the boxes.
type Boxes = Vec<Box<Call>>;

thread_local! {
    /// Empty boxes of this thread, with nothing in them of the calls that they were: any runtime's next call may have one.
    /// A service's own would take a lock at both ends of every call.
    static SPARE: RefCell<Boxes> = const { RefCell::new(Vec::new()) };
}

pub(super) fn take() -> Box<Call> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    spare.ok().flatten().unwrap_or_default()
}

/// Keeps `call`, which is empty.
pub(super) fn keep(call: Box<Call>) {
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            spare.push(call);
        }
    });
}
