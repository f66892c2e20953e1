//! What waits, and whose turn it is.

use std::collections::{BTreeMap, VecDeque};

/// Items of several owners, who take turns, an item each, so that one who asks for much
/// holds up nobody who asks for little. The items of an owner go in the order of their
/// numbers.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Each owner with its items, of which there is at least one.
    owners: VecDeque<(u64, BTreeMap<u64, T>)>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            owners: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether somebody else than `owner` waits.
    pub(crate) fn has_others(&self, owner: u64) -> bool {
        self.owners.iter().any(|(other, _)| *other != owner)
    }

    /// Adds an item of `owner`, whose last turn may have been just now.
    pub(crate) fn push(&mut self, owner: u64, number: u64, item: T) {
        match self.owners.iter_mut().find(|(other, _)| *other == owner) {
            Some((_, items)) => drop(items.insert(number, item)),
            None => self
                .owners
                .push_back((owner, BTreeMap::from([(number, item)]))),
        }
    }

    /// The item whose turn it is, with its owner and what `admit` makes of it. If that is
    /// nothing the item stays, and nobody passes it.
    pub(crate) fn next<R>(&mut self, admit: impl FnOnce(&T) -> Option<R>) -> Option<(u64, T, R)> {
        let (owner, mut items) = self.owners.pop_front()?;
        let (number, item) = items.pop_first()?;
        let Some(admitted) = admit(&item) else {
            items.insert(number, item);
            self.owners.push_front((owner, items));
            return None;
        };
        if !items.is_empty() {
            self.owners.push_back((owner, items));
        }
        Some((owner, item, admitted))
    }

    /// Leaves the items of which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.owners.retain_mut(|(_, items)| {
            items.retain(|_, item| keep(item));
            !items.is_empty()
        });
    }

    pub(crate) fn clear(&mut self) {
        self.owners.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &mut Queue<char>) -> String {
        let next = std::iter::from_fn(|| queue.next(|_| Some(())));
        next.map(|(_, item, ())| item).collect()
    }

    #[test]
    fn owners_take_turns_and_each_goes_by_its_numbers() {
        let mut queue = Queue::new();
        for (owner, number, item) in [
            (1, 1, 'a'),
            (1, 2, 'b'),
            (1, 3, 'c'),
            (2, 4, 'x'),
            (3, 6, 'q'),
            (3, 5, 'p'),
        ] {
            queue.push(owner, number, item);
        }
        assert!(queue.has_others(2));
        assert_eq!(all(&mut queue), "axpbqc");
        assert!(queue.is_empty());
    }

    #[test]
    fn who_is_not_admitted_is_not_passed() {
        let mut queue = Queue::new();
        queue.push(1, 1, 'a');
        queue.push(2, 2, 'b');
        assert!(queue.next(|_| None::<()>).is_none());
        // What an owner has left of its turn goes before what came later.
        queue.push(1, 0, 'z');
        assert_eq!(all(&mut queue), "zba");
    }

    #[test]
    fn what_is_forgotten_has_no_turn() {
        let mut queue = Queue::new();
        queue.push(1, 1, 'a');
        queue.push(2, 2, 'b');
        queue.push(2, 3, 'c');
        queue.retain(|item| *item == 'c');
        assert!(!queue.has_others(2));
        assert_eq!(all(&mut queue), "c");
    }
}
