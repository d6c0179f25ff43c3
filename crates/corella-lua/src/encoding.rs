//! Encodings of text: how the characters of a script, which holds them as UTF-8, stand in a file.
//!
//! Every encoding here is without a state: a place in a file is a place between characters, wherever one comes from.

/// How the bytes of a handle are text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// They are no text: a character is a byte, and a script gets it as it is.
    #[default]
    Binary,
    Ascii,
    Utf8,
    Latin1,
    Utf16LittleEndian,
    Utf16BigEndian,
}

/// Every encoding with its name, and what else it is called.
const NAMES: [(&str, Encoding); 12] = [
    ("binary", Encoding::Binary),
    ("ascii", Encoding::Ascii),
    ("utf8", Encoding::Utf8),
    ("latin1", Encoding::Latin1),
    ("utf16le", Encoding::Utf16LittleEndian),
    ("utf16be", Encoding::Utf16BigEndian),
    ("us-ascii", Encoding::Ascii),
    ("utf-8", Encoding::Utf8),
    ("iso-8859-1", Encoding::Latin1),
    ("utf-16le", Encoding::Utf16LittleEndian),
    ("utf-16be", Encoding::Utf16BigEndian),
    ("bytes", Encoding::Binary),
];

/// What the bytes at one place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A character, of so many bytes.
    Character(char, usize),
    /// The beginning of one.
    Incomplete,
    /// No character: so many bytes are to be passed over.
    Invalid(usize),
}

/// How far so many characters reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// They are all there, in so many bytes.
    Whole(usize),
    /// There are fewer, with these bytes; what follows is nothing, or the beginning of a character.
    Short { length: usize, characters: u64 },
    /// After so many bytes of characters come some that are none.
    Invalid { length: usize, skip: usize },
}

/// Text that cannot be written: the place in the script's string, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable {
    pub(crate) offset: usize,
    pub(crate) why: String,
}

impl Encoding {
    pub(crate) fn named(name: &str) -> Option<Encoding> {
        let name = name.to_ascii_lowercase();
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, encoding)| *encoding == self).map_or("binary", |(name, _)| name)
    }

    /// The names that are offered, for errors.
    pub(crate) fn offered() -> String {
        let names: Vec<String> = NAMES[..6].iter().map(|(name, _)| format!("\"{name}\"")).collect();
        names.join(", ")
    }

    /// Every character begins at a multiple of so many bytes.
    pub(crate) fn unit(self) -> usize {
        match self {
            Encoding::Utf16LittleEndian | Encoding::Utf16BigEndian => 2,
            _ => 1,
        }
    }

    fn next(self, bytes: &[u8]) -> Next {
        match (self, bytes) {
            (_, []) => Next::Incomplete,
            (Encoding::Binary | Encoding::Latin1, [byte, ..]) => Next::Character(char::from(*byte), 1),
            (Encoding::Ascii, [byte, ..]) if byte.is_ascii() => Next::Character(char::from(*byte), 1),
            (Encoding::Ascii, _) => Next::Invalid(1),
            (Encoding::Utf8, _) => next_utf8(bytes),
            (Encoding::Utf16LittleEndian, _) => next_utf16(bytes, u16::from_le_bytes),
            (Encoding::Utf16BigEndian, _) => next_utf16(bytes, u16::from_be_bytes),
        }
    }

    /// How far `count` characters reach.
    pub(crate) fn measure(self, bytes: &[u8], count: u64) -> Measure {
        if matches!(self, Encoding::Binary | Encoding::Latin1) {
            let length = usize::try_from(count).unwrap_or(usize::MAX);
            return match length <= bytes.len() {
                true => Measure::Whole(length),
                false => Measure::Short { length: bytes.len(), characters: bytes.len() as u64 },
            };
        }
        let (mut length, mut characters) = (0, 0);
        while characters < count {
            match self.next(&bytes[length..]) {
                Next::Character(_, width) => length += width,
                Next::Incomplete => return Measure::Short { length, characters },
                Next::Invalid(skip) => return Measure::Invalid { length, skip },
            }
            characters += 1;
        }
        Measure::Whole(length)
    }

    /// Bytes that hold characters only, as a script has them.
    pub(crate) fn decode(self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Encoding::Binary | Encoding::Ascii | Encoding::Utf8 => return bytes,
            _ => {}
        }
        let mut text = String::with_capacity(bytes.len());
        let mut place = 0;
        while let Next::Character(character, width) = self.next(&bytes[place..]) {
            text.push(character);
            place += width;
        }
        text.into_bytes()
    }

    /// A script's text as it is to be written.
    pub(crate) fn encode(self, text: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
        if self == Encoding::Binary {
            return Ok(text);
        }
        let text = String::from_utf8(text).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Unwritable { offset, why: format!("byte {} of the text is not UTF-8", offset + 1) }
        })?;
        if self == Encoding::Utf8 {
            return Ok(text.into_bytes());
        }
        let mut bytes = Vec::with_capacity(text.len());
        for (offset, character) in text.char_indices() {
            if !self.write(character, &mut bytes) {
                let why = format!("{} has no character U+{:04X}", self.name(), u32::from(character));
                return Err(Unwritable { offset, why });
            }
        }
        Ok(bytes)
    }

    /// Writes one character, if the encoding has it.
    fn write(self, character: char, bytes: &mut Vec<u8>) -> bool {
        let number = u32::from(character);
        match self {
            Encoding::Binary | Encoding::Utf8 => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Encoding::Ascii | Encoding::Latin1 => {
                let last = if self == Encoding::Ascii { 0x7f } else { 0xff };
                match u8::try_from(number) {
                    Ok(byte) if byte <= last => bytes.push(byte),
                    _ => return false,
                }
            }
            Encoding::Utf16LittleEndian => {
                character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| bytes.extend(unit.to_le_bytes()));
            }
            Encoding::Utf16BigEndian => {
                character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| bytes.extend(unit.to_be_bytes()));
            }
        }
        true
    }
}

fn next_utf8(bytes: &[u8]) -> Next {
    // The longest character has four bytes.
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => return error.error_len().map_or(Next::Incomplete, Next::Invalid),
    };
    valid.chars().next().map_or(Next::Incomplete, |character| Next::Character(character, character.len_utf8()))
}

fn next_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Next {
    let units: Vec<u16> = bytes.chunks_exact(2).take(2).map(|pair| unit([pair[0], pair[1]])).collect();
    let is_pair_begun = |first: u16| (0xd800..0xdc00).contains(&first);
    match units[..] {
        [] => Next::Incomplete,
        [first] if is_pair_begun(first) => Next::Incomplete,
        [first, ..] => match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(character)) => Next::Character(character, if is_pair_begun(first) { 4 } else { 2 }),
            _ => Next::Invalid(2),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Measure};

    #[test]
    fn what_is_written_is_read_back() {
        for (encoding, text) in [
            (Encoding::Utf8, "aß€𝄞"),
            (Encoding::Utf16LittleEndian, "aß€𝄞"),
            (Encoding::Utf16BigEndian, "aß€𝄞"),
            (Encoding::Latin1, "aß\u{ff}"),
            (Encoding::Ascii, "a\0\x7f"),
        ] {
            let bytes = encoding.encode(text.as_bytes().to_vec()).unwrap();
            let count = text.chars().count() as u64;
            assert_eq!(encoding.measure(&bytes, count), Measure::Whole(bytes.len()), "{encoding:?}");
            let more = Measure::Short { length: bytes.len(), characters: count };
            assert_eq!(encoding.measure(&bytes, count + 1), more, "{encoding:?}");
            assert_eq!(encoding.decode(bytes), text.as_bytes(), "{encoding:?}");
        }
    }

    #[test]
    fn what_is_no_character_is_found_where_it_is() {
        assert_eq!(Encoding::Utf8.measure(b"ab\xffc", 9), Measure::Invalid { length: 2, skip: 1 });
        assert_eq!(Encoding::Utf8.measure(b"ab\xe2\x82", 9), Measure::Short { length: 2, characters: 2 });
        assert_eq!(Encoding::Utf8.measure(b"a\xe2\x82b", 9), Measure::Invalid { length: 1, skip: 2 });
        assert_eq!(Encoding::Ascii.measure(b"ab\x80", 9), Measure::Invalid { length: 2, skip: 1 });
        assert_eq!(Encoding::Utf16LittleEndian.measure(b"a\0\0\xdc", 9), Measure::Invalid { length: 2, skip: 2 });
        assert_eq!(Encoding::Utf16LittleEndian.measure(b"a\0\0\xd8x\0", 9), Measure::Invalid { length: 2, skip: 2 });
    }

    #[test]
    fn what_an_encoding_does_not_have_is_not_written() {
        assert_eq!(Encoding::Latin1.encode("a€".into()).unwrap_err().offset, 1);
        assert_eq!(Encoding::Ascii.encode("ß".into()).unwrap_err().offset, 0);
        assert_eq!(Encoding::Utf8.encode(vec![b'a', 0xff]).unwrap_err().offset, 1);
    }
}
