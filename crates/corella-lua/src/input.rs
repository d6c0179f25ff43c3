//! Bytes that were read ahead of what was asked for.

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Those before it are taken.
    start: usize,
    /// Those before it, from `start`, hold no line end.
    searched: usize,
}

impl Input {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes at most `count` bytes from the front.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.len());
        self.searched = 0;
        if count == self.bytes.len() {
            self.start = 0;
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.bytes[self.start..self.start + count].to_vec();
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
        taken
    }

    /// Takes a line with its end, if there is a whole one.
    pub(crate) fn take_line(&mut self) -> Option<Vec<u8>> {
        let unsearched = &self.bytes[self.start + self.searched..];
        match unsearched.iter().position(|byte| *byte == b'\n') {
            Some(place) => {
                let length = self.searched + place + 1;
                Some(self.take(length))
            }
            None => {
                self.searched = self.len();
                None
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn lines_are_found_over_several_pushes() {
        let mut input = Input::default();
        input.push(b"one\ntw");
        assert_eq!(input.take_line().as_deref(), Some(&b"one\n"[..]));
        assert_eq!(input.take_line(), None);
        input.push(b"o\n");
        assert_eq!(input.take_line().as_deref(), Some(&b"two\n"[..]));
        assert!(input.is_empty());
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
