//! Paths as Windows takes them: wide characters, and a prefix that lifts the limit of their length.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

/// Longer paths need the prefix. A directory's name may be this long at most without it.
const SHORT_MAX: usize = 247;

/// A path as operations carry it, ending with a zero.
pub(in crate::backend) fn wide(path: &CStr) -> io::Result<Vec<u16>> {
    of_os_str(super::path_of(path))
}

fn of_os_str(path: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = path.encode_wide().collect();
    if wide.len() > SHORT_MAX && !is_verbatim(&wide) {
        // With the prefix the system takes a path as it is: absolute, and with its own separators only.
        let absolute: Vec<u16> = std::path::absolute(Path::new(path))?.as_os_str().encode_wide().collect();
        wide = if is_verbatim(&absolute) { absolute } else { verbatim(&absolute) };
    }
    wide.push(0);
    Ok(wide)
}

/// Whether it begins with `\\?\`, `\\.\` or `\??\`.
fn is_verbatim(path: &[u16]) -> bool {
    let [a, b, c, d, ..] = path else { return false };
    let slash = |unit: &u16| *unit == u16::from(b'\\') || *unit == u16::from(b'/');
    let is = |unit: &u16, byte: u8| *unit == u16::from(byte);
    slash(a) && slash(d) && ((slash(b) && (is(c, b'?') || is(c, b'.'))) || (is(b, b'?') && is(c, b'?')))
}

fn verbatim(absolute: &[u16]) -> Vec<u16> {
    let (prefix, rest) = match absolute.strip_prefix(&[u16::from(b'\\'); 2]) {
        Some(share) => (r"\\?\UNC\", share),
        None => (r"\\?\", absolute),
    };
    prefix.encode_utf16().chain(rest.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        let mut wide = of_os_str(OsStr::new(path)).unwrap();
        assert_eq!(wide.pop(), Some(0));
        String::from_utf16(&wide).unwrap()
    }

    #[test]
    fn a_short_path_goes_as_it_is() {
        assert_eq!(text(r"some\where"), r"some\where");
        assert_eq!(text("C:/ü/日本"), "C:/ü/日本");
    }

    #[test]
    fn a_long_path_gets_the_prefix_that_lifts_the_limit() {
        let name = "n".repeat(200);
        assert_eq!(text(&format!(r"C:\{name}/{name}")), format!(r"\\?\C:\{name}\{name}"));
        assert_eq!(text(&format!(r"\\server\share\{name}\{name}")), format!(r"\\?\UNC\server\share\{name}\{name}"));
        let already = format!(r"\\?\C:\{name}\{name}");
        assert_eq!(text(&already), already);
        let device = format!(r"\\.\pipe\{name}{name}");
        assert_eq!(text(&device), device);
    }
}
