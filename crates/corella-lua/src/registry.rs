//! Finds objects by numbers that stand in the script's values, which outlive them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use slab::Slab;

/// Bits of a number that say in which place an object is; the others say which of those that were there.
const PLACE_BITS: u32 = 24;

/// Objects by their numbers; no two ever have the same.
pub(crate) struct Registry<T> {
    places: RefCell<Slab<(u64, Weak<T>)>>,
    made: Cell<u64>,
}

impl<T> Default for Registry<T> {
    fn default() -> Registry<T> {
        Registry { places: RefCell::default(), made: Cell::new(0) }
    }
}

impl<T> Registry<T> {
    /// Takes an object in, and gives its number. Zero is none: there are sixteen million already.
    pub(crate) fn add(&self, object: &Rc<T>) -> u64 {
        let mut places = self.places.borrow_mut();
        let vacant = places.vacant_entry();
        if vacant.key() >> PLACE_BITS > 0 {
            return 0;
        }
        let made = self.made.get() + 1;
        self.made.set(made);
        let number = made << PLACE_BITS | vacant.key() as u64;
        vacant.insert((number, Rc::downgrade(object)));
        number
    }

    /// The object with this number, if it is there.
    #[inline]
    pub(crate) fn find(&self, number: u64) -> Option<Rc<T>> {
        let places = self.places.borrow();
        let (of, object) = places.get(place(number))?;
        if *of == number { object.upgrade() } else { None }
    }

    /// The object with this number is no more.
    pub(crate) fn remove(&self, number: u64) {
        let mut places = self.places.borrow_mut();
        if places.get(place(number)).is_some_and(|(of, _)| *of == number) {
            places.remove(place(number));
        }
    }
}

#[inline]
fn place(number: u64) -> usize {
    (number & ((1 << PLACE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_finds_its_object_and_never_another_that_came_into_its_place() {
        let registry = Registry::default();
        let first = Rc::new("first");
        let number = registry.add(&first);
        assert_eq!(registry.find(number).as_deref(), Some(&"first"));
        registry.remove(number);
        let second = Rc::new("second");
        let other = registry.add(&second);
        assert_eq!(place(number), place(other));
        assert!(registry.find(number).is_none());
        // What is no more is removed once.
        registry.remove(number);
        assert_eq!(registry.find(other).as_deref(), Some(&"second"));
        assert!(registry.find(0).is_none());
        drop(second);
        assert!(registry.find(other).is_none());
    }
}
