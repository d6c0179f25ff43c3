//! Type-erased storage: one value of any type, inline when it is small.
//!
//! A request's slot owns the caller's buffer and callback without knowing their types. Values of up to
//! `WORDS` machine words live inside the slot, so that a request of ordinary size allocates nothing; larger
//! ones are boxed. Each value carries its type, so taking it out is checked and this module's interface is safe.
#![allow(unsafe_code)]

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};

/// What is known of the value inside.
struct Kind {
    type_id: fn() -> TypeId,
    /// The storage holds a box made by `Erased::new`, and the type is that of the box's content.
    is_boxed: bool,
    /// Drops the value in place (for a boxed value: the box).
    drop_in_place: unsafe fn(*mut u8),
}

struct Inline<T>(PhantomData<T>);
struct Boxed<T>(PhantomData<T>);

impl<T: 'static> Inline<T> {
    const KIND: Kind = Kind {
        type_id: TypeId::of::<T>,
        is_boxed: false,
        // SAFETY: `Erased` calls it once, with the address of the live `T` that `Erased::new` wrote there.
        drop_in_place: |data| unsafe { data.cast::<T>().drop_in_place() },
    };
}

impl<T: 'static> Boxed<T> {
    const KIND: Kind = Kind {
        type_id: TypeId::of::<T>,
        is_boxed: true,
        // SAFETY: as for `Inline`: the storage holds a live `Box<T>` and is dropped once.
        drop_in_place: |data| unsafe { data.cast::<Box<T>>().drop_in_place() },
    };
}

/// One owned value of a type forgotten, or nothing.
///
/// Moving it copies bytes that may be anything (`MaybeUninit`) and thus asserts nothing of the value: addresses that
/// were taken from the value inside stay good, also those of what a `Box` in it owns, until it is next looked at as what
/// it is.
pub(crate) struct Erased<const WORDS: usize> {
    data: MaybeUninit<[u64; WORDS]>,
    kind: Option<&'static Kind>,
    /// The value may be of a type that is not `Send`.
    not_send: PhantomData<*mut ()>,
}

impl<const WORDS: usize> Erased<WORDS> {
    /// Storage with nothing in it.
    pub(crate) const fn empty() -> Self {
        Erased { data: MaybeUninit::uninit(), kind: None, not_send: PhantomData }
    }

    const fn fits<T>() -> bool {
        size_of::<T>() <= WORDS * size_of::<u64>() && align_of::<T>() <= align_of::<u64>()
    }

    /// Stores `value`, inline if it fits.
    pub(crate) fn new<T: 'static>(value: T) -> Self {
        let mut erased = Self::empty();
        if Self::fits::<T>() {
            // SAFETY: `fits` has just said that size and alignment of the storage suffice for a `T`.
            unsafe { erased.data.as_mut_ptr().cast::<T>().write(value) };
            erased.kind = Some(&Inline::<T>::KIND);
        } else {
            const { assert!(WORDS > 0, "a box must fit") };
            // SAFETY: a box is one word wide and aligned like one, and `WORDS` is at least one.
            unsafe { erased.data.as_mut_ptr().cast::<Box<T>>().write(Box::new(value)) };
            erased.kind = Some(&Boxed::<T>::KIND);
        }
        erased
    }

    fn holds<T: 'static>(&self) -> bool {
        let Some(kind) = self.kind else { return false };
        // Two types may not have one `Kind`, but one type may have two, in two parts of a program.
        let own = if Self::fits::<T>() { &Inline::<T>::KIND } else { &Boxed::<T>::KIND };
        std::ptr::eq(kind, own) || ((kind.type_id)() == TypeId::of::<T>() && kind.is_boxed != Self::fits::<T>())
    }

    /// Takes the value out, if it is a `T`; otherwise leaves everything as it was.
    pub(crate) fn take<T: 'static>(&mut self) -> Option<T> {
        if Self::fits::<T>() {
            if !self.holds::<T>() {
                return None;
            }
            self.kind = None;
            // SAFETY: `holds` checked the type; with `kind` cleared nobody reads or drops the storage again.
            Some(unsafe { self.data.as_ptr().cast::<T>().read() })
        } else {
            if !self.holds::<T>() {
                return None;
            }
            self.kind = None;
            // SAFETY: as above, for the box that `new` stored because a `T` does not fit.
            Some(*unsafe { self.data.as_ptr().cast::<Box<T>>().read() })
        }
    }

    /// The value in place, if it is a `T`.
    pub(crate) fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        if Self::fits::<T>() {
            // SAFETY: `holds` checks the type; the reference borrows the storage exclusively.
            self.holds::<T>().then(|| unsafe { &mut *self.data.as_mut_ptr().cast::<T>() })
        } else {
            // SAFETY: as above, through the box.
            self.holds::<T>().then(|| unsafe { &mut **self.data.as_mut_ptr().cast::<Box<T>>() })
        }
    }

    /// Whether there is a value inside.
    pub(crate) fn is_some(&self) -> bool {
        self.kind.is_some()
    }

    /// Takes over what is in another; this one must have nothing in it, or that is leaked.
    #[inline]
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        debug_assert!(!self.is_some());
        // One copy, from there to here.
        self.data = other.data;
        self.kind = other.kind.take();
    }

    /// Takes whatever is inside, leaving nothing.
    pub(crate) fn replace_with_empty(&mut self) -> Self {
        std::mem::replace(self, Self::empty())
    }
}

impl<const WORDS: usize> Drop for Erased<WORDS> {
    fn drop(&mut self) {
        if let Some(kind) = self.kind.take() {
            // SAFETY: `kind` describes the live value in `data`; it was cleared, so this happens once.
            unsafe { (kind.drop_in_place)(self.data.as_mut_ptr().cast()) };
        }
    }
}

/// Moves a value to a place where there is nothing worth dropping (what is there is leaked), and leaves `empty` where it was.
/// That is one copy, where a replacement of the one by the replacement of the other would be two.
#[inline(always)]
pub(crate) fn move_over<T>(to: &mut T, from: &mut T, empty: T) {
    // SAFETY: two exclusive references do not overlap; for the moment that both places hold the value nobody can look, and
    // then it is overwritten in one of them without being dropped.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, 1);
        std::ptr::write(from, empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn a_value_comes_back_as_the_type_it_went_in_as() {
        let mut small = Erased::<2>::new(7u64);
        assert_eq!(small.take::<u32>(), None);
        assert_eq!(small.get_mut::<u64>(), Some(&mut 7));
        assert_eq!(small.take::<u64>(), Some(7));
        assert_eq!(small.take::<u64>(), None);
        let mut large = Erased::<2>::new([3u64; 9]);
        assert_eq!(large.get_mut::<[u64; 9]>(), Some(&mut [3; 9]));
        assert_eq!(large.take::<[u64; 9]>(), Some([3; 9]));
        assert!(large.take::<[u64; 9]>().is_none());
    }

    #[test]
    fn a_stored_box_is_not_mistaken_for_its_content() {
        let mut stored = Erased::<2>::new(Box::new([1u64; 9]));
        assert!(stored.take::<[u64; 9]>().is_none());
        assert!(stored.take::<Box<[u64; 9]>>().is_some());
    }

    #[test]
    fn a_value_that_is_moved_over_is_dropped_once() {
        let count = Rc::new(());
        let (mut from, mut to) = (Some(Rc::clone(&count)), None);
        move_over(&mut to, &mut from, None);
        assert!(from.is_none() && to.is_some());
        drop((from, to));
        assert_eq!(Rc::strong_count(&count), 1);
    }

    #[test]
    fn every_value_is_dropped_once() {
        let count = Rc::new(());
        let mut inline = Erased::<2>::new(Rc::clone(&count));
        let boxed = Erased::<2>::new((Rc::clone(&count), [0u64; 8]));
        assert_eq!(Rc::strong_count(&count), 3);
        drop(inline.take::<Rc<()>>());
        drop(inline);
        drop(boxed);
        assert_eq!(Rc::strong_count(&count), 1);
    }
}
