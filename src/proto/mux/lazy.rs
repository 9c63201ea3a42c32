// SPDX-License-Identifier: Apache-2.0
//! A queue that takes one word while nobody uses it: what most links need seldom must not cost those that idle.

use std::collections::{VecDeque, vec_deque};

#[expect(clippy::box_collection, reason = "the four words of a queue in place are what this saves")]
pub(crate) struct LazyQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for LazyQueue<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> LazyQueue<T> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.is_empty())
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    #[inline]
    pub(crate) fn push_back(&mut self, item: T) {
        self.0.get_or_insert_default().push_back(item);
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.front_mut()
    }

    #[inline]
    pub(crate) fn iter(&self) -> vec_deque::Iter<'_, T> {
        self.0.as_deref().map_or_else(vec_deque::Iter::default, VecDeque::iter)
    }

    /// Forgets what is in it; the room stays.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.clear();
        }
    }

    /// Gives the room back, if nothing is in it.
    pub(crate) fn shrink(&mut self) {
        self.0.take_if(|queue| queue.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_no_room_until_it_is_used_and_after_it_was_shrunk() {
        let mut queue: LazyQueue<u8> = LazyQueue::default();
        assert!(queue.is_empty() && queue.0.is_none() && queue.pop_front().is_none());
        [1, 2, 3].into_iter().for_each(|item| queue.push_back(item));
        queue.shrink();
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((queue.pop_front(), queue.front_mut()), (Some(1), Some(&mut 2)));
        queue.clear();
        queue.shrink();
        assert!(queue.0.is_none());
    }
}
