//! Bytes that were read ahead of what was asked for.

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Those before it are taken.
    start: usize,
    /// From `start`, so many hold no end of a record of this shape.
    searched: usize,
    /// What was put back and stands first: where each piece once stood, and its length.
    put_back: Vec<(u64, usize)>,
    /// Of all bytes that came, how many came before the first that was never taken.
    fresh: u64,
    /// Where the bytes that were taken last stood among them.
    taken_at: u64,
}

/// What ends a record: a string of bytes that begins at a multiple of `unit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Separator<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) unit: usize,
}

impl<'a> Separator<'a> {
    /// Where it is in these bytes, one after the other.
    pub(crate) fn places(self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let one = match self.bytes {
            [byte] => Some(memchr::memchr_iter(*byte, bytes)),
            _ => None,
        };
        let several = one.is_none().then(|| memchr::memmem::find_iter(bytes, self.bytes));
        one.into_iter().flatten().chain(several.into_iter().flatten())
    }
}

impl Input {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts bytes back that had been taken from the front, where they stood at `place`. What is put back keeps its order.
    pub(crate) fn put_back(&mut self, place: u64, bytes: &[u8]) {
        self.searched = 0;
        self.bytes.drain(..self.start);
        self.start = 0;
        let index = self.put_back.partition_point(|(other, _)| *other < place);
        let before: usize = self.put_back[..index].iter().map(|(_, length)| length).sum();
        self.put_back.insert(index, (place, bytes.len()));
        self.bytes.splice(before..before, bytes.iter().copied());
    }

    /// Where the bytes that were taken last stood among all that came.
    pub(crate) fn taken_at(&self) -> u64 {
        self.taken_at
    }

    /// So many bytes came, and were taken without having been here, where nothing was. Gives where they stand.
    #[inline]
    pub(crate) fn pass(&mut self, count: usize) -> u64 {
        debug_assert!(self.is_empty());
        self.leave(count);
        self.taken_at
    }

    /// So many bytes are taken from the front.
    #[inline]
    fn leave(&mut self, count: usize) {
        self.taken_at = self.fresh;
        if self.put_back.is_empty() {
            self.fresh += count as u64;
        } else {
            self.leave_what_was_put_back(count);
        }
    }

    #[cold]
    fn leave_what_was_put_back(&mut self, mut count: usize) {
        self.taken_at = self.put_back.first().map_or(self.fresh, |(place, _)| *place);
        let mut whole = 0;
        for (place, length) in &mut self.put_back {
            let taken = count.min(*length);
            (*place, *length, count) = (*place + taken as u64, *length - taken, count - taken);
            if *length > 0 {
                break;
            }
            whole += 1;
        }
        self.put_back.drain(..whole);
        self.fresh += count as u64;
    }

    /// Takes at most `count` bytes from the front.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.len());
        if count == self.bytes.len() {
            self.leave(count);
            self.searched = 0;
            self.start = 0;
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.bytes[self.start..self.start + count].to_vec();
        self.skip(count);
        taken
    }

    /// Passes over bytes at the front.
    pub(crate) fn skip(&mut self, count: usize) {
        let count = count.min(self.len());
        self.leave(count);
        self.searched = 0;
        self.start += count;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// How many bytes the first record has with its end, if there is a whole one.
    pub(crate) fn record_length(&mut self, separator: Separator<'_>) -> Option<usize> {
        let Separator { bytes: wanted, unit } = separator;
        let unread = &self.bytes[self.start..];
        if let ([byte], 1) = (wanted, unit) {
            let found = memchr::memchr(*byte, &unread[self.searched..]);
            return match found {
                Some(place) => Some(self.searched + place + 1),
                None => {
                    self.searched = unread.len();
                    None
                }
            };
        }
        let finder = memchr::memmem::Finder::new(wanted);
        let mut from = self.searched;
        while let Some(place) = finder.find(&unread[from..]) {
            if (from + place).is_multiple_of(unit) {
                return Some(from + place + wanted.len());
            }
            from += place + 1;
        }
        // An end that has only begun is found with what comes next.
        self.searched = unread.len().saturating_sub(wanted.len() - 1).max(self.searched);
        None
    }

    pub(crate) fn clear(&mut self) {
        self.skip(self.len());
    }

    /// Whoever looks for the end of a record from now on looks for another one.
    pub(crate) fn forget_search(&mut self) {
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, Separator};

    fn record(input: &mut Input, bytes: &[u8], unit: usize) -> Option<Vec<u8>> {
        let length = input.record_length(Separator { bytes, unit })?;
        Some(input.take(length))
    }

    #[test]
    fn lines_are_found_over_several_pushes() {
        let mut input = Input::default();
        input.push(b"one\ntw");
        assert_eq!(record(&mut input, b"\n", 1).as_deref(), Some(&b"one\n"[..]));
        assert_eq!(record(&mut input, b"\n", 1), None);
        input.push(b"o\n");
        assert_eq!(record(&mut input, b"\n", 1).as_deref(), Some(&b"two\n"[..]));
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut input = Input::default();
        input.push(b"one two");
        assert_eq!(input.take(4), b"one ");
        input.put_back(0, b"one ");
        assert_eq!(input.take(9), b"one two");
        input.put_back(4, b"two");
        input.put_back(0, b"one ");
        assert_eq!(input.bytes(), b"one two");
    }

    #[test]
    fn what_is_put_back_keeps_its_order_though_some_of_it_is_taken_again() {
        let mut input = Input::default();
        input.push(b"aaaabbbbcccc");
        let mut taken = |count| (input.take(count), input.taken_at());
        let (first, second) = (taken(4), taken(4));
        input.put_back(first.1, &first.0);
        assert_eq!((input.take(2), input.taken_at()), (b"aa".to_vec(), 0));
        input.put_back(second.1, &second.0);
        assert_eq!(input.bytes(), b"aabbbbcccc");
        assert_eq!(input.take(10).len(), 10);
        assert_eq!((input.pass(3), input.pass(1)), (12, 15));
        input.put_back(15, b"z");
        input.put_back(12, b"xyy");
        assert_eq!(input.bytes(), b"xyyz");
    }

    #[test]
    fn an_end_of_several_bytes_is_found_wherever_it_is_split() {
        for split in 0..=8 {
            let whole = b"a=-=b=-=";
            let mut input = Input::default();
            input.push(&whole[..split]);
            let early = record(&mut input, b"=-=", 1);
            input.push(&whole[split..]);
            let first = early.or_else(|| record(&mut input, b"=-=", 1));
            assert_eq!(first.as_deref(), Some(&b"a=-="[..]), "{split}");
            assert_eq!(record(&mut input, b"=-=", 1).as_deref(), Some(&b"b=-="[..]), "{split}");
        }
    }

    #[test]
    fn an_end_within_a_unit_is_none() {
        let mut input = Input::default();
        // U+0A00 and U+000A, big endian.
        input.push(b"\x0a\x00\x0a\x00\x00\x0a");
        assert_eq!(record(&mut input, b"\x00\x0a", 2).as_deref(), Some(&b"\x0a\x00\x0a\x00\x00\x0a"[..]));
    }

    #[test]
    fn a_take_gives_no_more_than_there_is() {
        let mut input = Input::default();
        input.push(b"abcdef");
        assert_eq!(input.take(4), b"abcd");
        input.push(b"gh");
        assert_eq!(input.take(10), b"efgh");
        assert_eq!(input.take(1), b"");
    }
}
