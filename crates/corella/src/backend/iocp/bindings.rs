//! What is known of each descriptor: whether its packets come to this port.

use crate::backend::RawDescriptor;

/// How requests on a descriptor are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// By overlapped calls whose packets come here; with `skips` none comes for what ends inside its call.
    Port { skips: bool },
    /// By threads: it is not overlapped, another port's, or the system would do it inside the call.
    Pool,
}

/// Handles are numbers in steps of four on Windows, and small.
const SHIFT: u32 = if cfg!(windows) { 2 } else { 0 };
/// Descriptors of one page of the table.
const PAGE: usize = 512;

/// Bindings by descriptor, in pages, as the numbers may be large but are mostly near each other.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pages: Vec<Option<Box<[Option<Binding>; PAGE]>>>,
}

impl Bindings {
    fn place(descriptor: RawDescriptor) -> (usize, usize) {
        let number = descriptor as usize >> SHIFT;
        (number / PAGE, number % PAGE)
    }

    pub(super) fn get(&self, descriptor: RawDescriptor) -> Option<Binding> {
        let (page, place) = Bindings::place(descriptor);
        self.pages.get(page)?.as_ref()?[place]
    }

    pub(super) fn set(&mut self, descriptor: RawDescriptor, binding: Option<Binding>) {
        let (page, place) = Bindings::place(descriptor);
        if self.pages.len() <= page {
            if binding.is_none() {
                return;
            }
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([None; PAGE]))[place] = binding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_its_descriptors_alone() {
        let mut bindings = Bindings::default();
        let step = 1 << SHIFT;
        let numbers = [step, 2 * step, 511 * step, 512 * step, 100_000 * step];
        for number in numbers {
            bindings.set(number, Some(Binding::Pool));
            assert_eq!(numbers.iter().filter(|other| bindings.get(**other).is_some()).count(), 1);
            bindings.set(number, None);
            assert_eq!(bindings.get(number), None);
        }
        assert_eq!(bindings.get(700_000 * step), None);
    }
}
