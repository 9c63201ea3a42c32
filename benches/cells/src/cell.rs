// SPDX-License-Identifier: Apache-2.0
//! The cells of the table: the same for every peer.

use bytes::Bytes;

use crate::{Ask, Pace};

/// What one request of a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// An echo of that many bytes.
    Unary {
        /// Bytes there, and bytes back.
        size: usize,
    },
    /// One request, and a stream back.
    Stream(Ask),
    /// One request whose answer calls home; only the way of that is timed.
    CallHome,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// How it is called on command lines: `unary-128x64`.
    pub name: &'static str,
    /// What is asked for.
    pub work: Work,
    /// Requests that are under way at every moment.
    pub in_flight: usize,
    /// Requests before anything is measured. Enough for the connections to have grown to their size.
    pub warm_up: u64,
}

impl Cell {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CELLS.iter().find(|cell| cell.name == name)
    }

    /// What a unary request carries: an object of JSON, for those who speak nothing else.
    pub(crate) fn body(&self) -> Bytes {
        const AROUND: &str = r#"{"x":""}"#;
        let Work::Unary { size } = self.work else { return Bytes::new() };
        format!("{{\"x\":\"{}\"}}", "x".repeat(size.saturating_sub(AROUND.len()))).into()
    }

    /// Whether it is an echo.
    pub fn is_unary(&self) -> bool {
        matches!(self.work, Work::Unary { .. })
    }

    /// Whether only the answer's way is timed.
    pub fn is_call_home(&self) -> bool {
        self.work == Work::CallHome
    }
}

const fn unary(name: &'static str, size: usize, in_flight: usize) -> Cell {
    Cell { name, work: Work::Unary { size }, in_flight, warm_up: 20 * in_flight as u64 + 500 }
}

const fn stream(name: &'static str, pace: Pace) -> Cell {
    Cell { name, work: Work::Stream(Ask { items: 100, size: 64, pace }), in_flight: 64, warm_up: 640 }
}

const fn call_home(name: &'static str, in_flight: usize) -> Cell {
    Cell { name, work: Work::CallHome, in_flight, warm_up: 20 * in_flight as u64 + 100 }
}

/// All of them, in the order of the tables.
pub const CELLS: &[Cell] = &[
    unary("unary-128x1", 128, 1),
    unary("unary-128x64", 128, 64),
    unary("unary-128x1024", 128, 1024),
    unary("unary-16Kx64", 16 * 1024, 64),
    stream("stream-ready", Pace::Ready),
    stream("stream-paced", Pace::Paced),
    call_home("call-home-x1", 1),
    call_home("call-home-x64", 64),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_and_a_name_one_cell() {
        for cell in CELLS {
            let Work::Unary { size } = cell.work else { continue };
            assert_eq!(cell.body().len(), size, "{}", cell.name);
        }
        assert!(CELLS.iter().all(|cell| Cell::named(cell.name) == Some(cell)));
    }
}
