// SPDX-License-Identifier: Apache-2.0
//! `awake`: a core that runs this at a priority below all others never goes idle, so that waking a process on it costs what
//! it costs on a busy one. `docs/performance.md` says why that is wanted.

use std::hint::spin_loop;
use std::io::{Read, stdin};
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns between two looks at whether it is over: microseconds.
const TURNS: usize = 1000;

/// Spins until the standard input ends, so that it ends with whoever started it.
pub(crate) fn until_input_ends() {
    static OVER: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        while matches!(stdin().read(&mut [0; 64]), Ok(1..)) {}
        OVER.store(true, Ordering::Relaxed);
    });
    while !OVER.load(Ordering::Relaxed) {
        (0..TURNS).for_each(|_| spin_loop());
    }
}
