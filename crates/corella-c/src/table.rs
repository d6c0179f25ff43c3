//! A table of things that ids name: index and generation, so that a stale id finds nothing.

use std::ffi::c_int;

use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_REJECTED, CORELLA_ERROR_STALE_ID};
use crate::ids::{GENERATION_MASK, INDEX_MAX, Key};

const NONE: u32 = u32::MAX;

/// One place. Its generation grows with each reuse and is never zero.
struct Place<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

pub(crate) struct Table<T> {
    scheduler: u32,
    /// Of places not used before, so that ids of an earlier owner of this number are stale.
    first_generation: u32,
    places: Vec<Place<T>>,
    first_free: u32,
}

/// The generation after this one.
pub(crate) fn next_generation(generation: u32) -> u32 {
    ((generation + 1) & GENERATION_MASK).max(1)
}

/// Why a place that this table does not have is not to be had: an earlier owner of the table's number had it, or nobody.
#[cold]
pub(crate) fn never_or_earlier(key: Key, first_generation: u32) -> c_int {
    match key.generation != 0 && key.generation < first_generation {
        true => CORELLA_ERROR_STALE_ID,
        false => CORELLA_ERROR_INVALID_ID,
    }
}

impl<T> Table<T> {
    pub(crate) const fn new(scheduler: u32, first_generation: u32) -> Table<T> {
        Table { scheduler, first_generation, places: Vec::new(), first_free: NONE }
    }

    /// `CORELLA_ERROR_REJECTED` when no more ids can be told apart.
    pub(crate) fn insert(&mut self, value: T) -> Result<Key, c_int> {
        let index = match self.first_free {
            NONE => {
                let index = self.places.len() as u32;
                if index > INDEX_MAX {
                    return Err(CORELLA_ERROR_REJECTED);
                }
                self.places.push(Place { generation: self.first_generation, next_free: NONE, value: None });
                index
            }
            index => {
                self.first_free = self.places[index as usize].next_free;
                index
            }
        };
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Ok(Key { scheduler: self.scheduler, index, generation: place.generation })
    }

    fn place(&mut self, key: Key) -> Result<&mut Place<T>, c_int> {
        match self.places.get_mut(key.index as usize) {
            None => Err(never_or_earlier(key, self.first_generation)),
            Some(place) if place.generation == key.generation && place.value.is_some() => Ok(place),
            Some(_) => Err(CORELLA_ERROR_STALE_ID),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Result<&T, c_int> {
        match self.places.get(key.index as usize) {
            None => Err(never_or_earlier(key, self.first_generation)),
            Some(Place { generation, value: Some(value), .. }) if *generation == key.generation => Ok(value),
            Some(_) => Err(CORELLA_ERROR_STALE_ID),
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Result<&mut T, c_int> {
        match self.place(key)? {
            Place { value: Some(value), .. } => Ok(value),
            _ => Err(CORELLA_ERROR_STALE_ID),
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Result<T, c_int> {
        let first_free = self.first_free;
        let place = self.place(key)?;
        let Some(value) = place.value.take() else { return Err(CORELLA_ERROR_STALE_ID) };
        place.generation = next_generation(place.generation);
        place.next_free = first_free;
        self.first_free = key.index;
        Ok(value)
    }

    /// Undoes the removal that was last.
    pub(crate) fn put_back(&mut self, key: Key, value: T) {
        let place = &mut self.places[key.index as usize];
        debug_assert_eq!(self.first_free, key.index);
        self.first_free = place.next_free;
        place.generation = key.generation;
        place.value = Some(value);
    }

    /// A generation that no place of this table has had.
    pub(crate) fn unused_generation(&self) -> u32 {
        let last = self.places.iter().map(|place| place.generation).max();
        next_generation(last.unwrap_or(self.first_generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_though_its_place_is_used_again() {
        let mut table = Table::new(1, 1);
        let first = table.insert("first").unwrap();
        assert_eq!(table.remove(first), Ok("first"));
        let second = table.insert("second").unwrap();
        assert_eq!(first.index, second.index);
        assert_eq!(table.get(first), Err(CORELLA_ERROR_STALE_ID));
        assert_eq!(table.remove(first), Err(CORELLA_ERROR_STALE_ID));
        assert_eq!(table.get(second), Ok(&"second"));
        assert_eq!(table.get(Key { index: 7, ..second }), Err(CORELLA_ERROR_INVALID_ID));
    }

    #[test]
    fn a_table_that_follows_another_shares_no_generation_with_it() {
        let mut table = Table::new(1, 1);
        let key = table.insert(()).unwrap();
        let _ = table.remove(key);
        let mut next = Table::new(1, table.unused_generation());
        let fresh = next.insert(()).unwrap();
        assert_eq!(next.get(key), Err(CORELLA_ERROR_STALE_ID));
        assert_ne!(fresh.generation, key.generation);
    }
}
