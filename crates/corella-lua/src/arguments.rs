//! The arguments of a call from Lua: taken one by one, with errors that say which and why.

use std::path::PathBuf;
use std::time::Duration;

use mlua::{AnyUserData, Function, MultiValue, Table, Value};

use crate::os_text::os_string;

/// The longest time that can be asked for, in seconds: some thirty years.
const SECONDS_MAX: f64 = 1e9;

/// What every operation takes beside its own arguments: a table before the callback.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Time to settle, counted from the call.
    pub(crate) deadline: Option<Duration>,
    /// Return a Status at once, though there is no callback.
    pub(crate) is_async: bool,
    /// The most bytes that a record may have; of `readline` alone.
    pub(crate) limit: Option<u64>,
}

/// The arguments that are left.
pub(crate) struct Arguments {
    name: &'static str,
    values: std::vec::IntoIter<Value>,
    /// Those taken so far, the object itself aside.
    taken: usize,
    pub(crate) options: Options,
    /// The last of them was a table, and taken for options.
    has_options: bool,
    pub(crate) callback: Option<Function>,
}

impl Arguments {
    /// Takes the callback and the options off the end. The first `own` values are never taken for either.
    pub(crate) fn new(name: &'static str, values: MultiValue, own: usize) -> Result<Arguments, String> {
        let mut values = values.into_vec();
        // As everywhere in Lua, nothing at the end is as good as left out.
        while values.pop_if(|value| value.is_nil()).is_some() {}
        let mut arguments = Arguments::plain(name, MultiValue::new());
        if values.len() > own
            && let Some(Value::Function(callback)) = values.pop_if(|value| matches!(value, Value::Function(_)))
        {
            arguments.callback = Some(callback);
        }
        if values.len() > own
            && let Some(Value::Table(table)) = values.pop_if(|value| matches!(value, Value::Table(_)))
        {
            arguments.options = arguments.read_options(&table)?;
            arguments.has_options = true;
        }
        arguments.values = values.into_iter();
        Ok(arguments)
    }

    /// Arguments without options and callback.
    pub(crate) fn plain(name: &'static str, values: MultiValue) -> Arguments {
        let values = values.into_vec().into_iter();
        Arguments { name, values, taken: 0, options: Options::default(), has_options: false, callback: None }
    }

    /// Whether there are more.
    pub(crate) fn has_more(&self) -> bool {
        self.values.len() > 0
    }

    /// All that are left.
    pub(crate) fn rest(&mut self) -> MultiValue {
        self.values.by_ref().collect()
    }

    fn read_options(&self, table: &Table) -> Result<Options, String> {
        let mut options = Options::default();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            let name = key.as_string().map(|name| name.to_string_lossy());
            match (name.as_deref(), &value) {
                (Some("deadline"), value) => {
                    let what = "option deadline";
                    options.deadline = Some(seconds(value).map_err(|why| format!("{}: {what}: {why}", self.name))?);
                }
                (Some("async"), Value::Boolean(yes)) => options.is_async = *yes,
                (Some("async"), _) => return Err(format!("{}: option async: true or false is expected", self.name)),
                (Some("limit"), Value::Integer(limit @ 1..)) if self.name == "readline" => {
                    options.limit = Some(*limit as u64);
                }
                (Some("limit"), _) if self.name == "readline" => {
                    return Err(format!("{}: option limit: a positive integer is expected", self.name));
                }
                _ => {
                    let shown = name.unwrap_or_else(|| key.type_name().into());
                    return Err(format!("{}: there is no option '{shown}'; there are deadline and async", self.name));
                }
            }
        }
        Ok(options)
    }

    /// Whether a Status is to be returned at once.
    pub(crate) fn is_async(&self) -> bool {
        self.callback.is_some() || self.options.is_async
    }

    fn next(&mut self) -> Value {
        self.taken += 1;
        self.values.next().unwrap_or(Value::Nil)
    }

    fn bad(&self, what: &str, why: &str) -> String {
        format!("bad argument #{} to '{}' ({what}: {why})", self.taken, self.name)
    }

    /// What was given where something else is expected.
    fn got(&self, value: &Value) -> &'static str {
        match value {
            // The table where this argument should have been was taken for the options.
            Value::Nil if self.has_options && !self.has_more() => "a table",
            other => type_name(other),
        }
    }

    /// The object that a method was called on, if it is one of this type.
    pub(crate) fn object_of<T: 'static>(&mut self) -> Option<AnyUserData> {
        let is_one = matches!(self.values.as_slice().first(), Some(Value::UserData(object)) if object.is::<T>());
        match is_one.then(|| self.values.next()).flatten() {
            Some(Value::UserData(object)) => Some(object),
            _ => None,
        }
    }

    /// The object that a method was called on.
    pub(crate) fn object<T: 'static>(&mut self, class: &str) -> Result<AnyUserData, String> {
        let name = self.name;
        self.object_of::<T>().ok_or_else(|| {
            format!("bad argument #1 to '{name}' (a {class} is expected: call it as a method, with a colon)")
        })
    }

    /// The next two, which stay.
    pub(crate) fn peek_two(&self) -> (Value, Value) {
        let at = |place: usize| self.values.as_slice().get(place).cloned().unwrap_or(Value::Nil);
        (at(0), at(1))
    }

    /// Whatever it is.
    pub(crate) fn any(&mut self) -> Value {
        self.next()
    }

    /// Bytes: a string, or a number as it reads.
    pub(crate) fn bytes(&mut self, what: &str) -> Result<Vec<u8>, String> {
        match self.next() {
            Value::String(text) => Ok(text.as_bytes().to_vec()),
            Value::Integer(number) => Ok(number.to_string().into_bytes()),
            Value::Number(number) => match Value::Number(number).to_string() {
                Ok(text) => Ok(text.into_bytes()),
                Err(error) => Err(self.bad(what, &error.to_string())),
            },
            other => Err(self.bad(what, &format!("a string is expected, got {}", self.got(&other)))),
        }
    }

    /// Bytes, or nothing where they are left out.
    pub(crate) fn optional_bytes(&mut self, what: &str) -> Result<Option<Vec<u8>>, String> {
        match self.values.as_slice().first() {
            None | Some(Value::Nil) => {
                self.next();
                Ok(None)
            }
            _ => self.bytes(what).map(Some),
        }
    }

    /// The argument that was taken last is wrong.
    pub(crate) fn wrong(&self, what: &str, why: &str) -> String {
        self.bad(what, why)
    }

    /// A string of characters, or nothing where it is left out.
    pub(crate) fn optional_word(&mut self, what: &str) -> Result<Option<String>, String> {
        match self.next() {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_string_lossy())),
            other => Err(self.bad(what, &format!("a string is expected, got {}", self.got(&other)))),
        }
    }

    /// A string of characters.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, String> {
        match self.optional_word(what)? {
            Some(word) => Ok(word),
            None => Err(self.bad(what, &format!("a string is expected, got {}", self.got(&Value::Nil)))),
        }
    }

    /// A path. The engine refuses those that the OS cannot take.
    pub(crate) fn path(&mut self, what: &str) -> Result<PathBuf, String> {
        match self.next() {
            Value::String(text) => Ok(PathBuf::from(os_string(&text.as_bytes()))),
            other => Err(self.bad(what, &format!("a path is expected, got {}", self.got(&other)))),
        }
    }

    /// An integer, or nothing where it is left out.
    pub(crate) fn optional_integer(&mut self, what: &str) -> Result<Option<i64>, String> {
        let value = self.next();
        match integer(&value) {
            Some(number) => Ok(Some(number)),
            None if value.is_nil() => Ok(None),
            None => Err(self.bad(what, &format!("an integer is expected, got {}", shown(&value)))),
        }
    }

    /// A number of bytes, or nothing where it is left out.
    pub(crate) fn optional_count(&mut self, what: &str) -> Result<Option<u64>, String> {
        let number = self.optional_integer(what)?;
        number
            .map(|number| {
                u64::try_from(number).map_err(|_| self.bad(what, &format!("must not be negative, got {number}")))
            })
            .transpose()
    }

    /// A number of bytes: an integer that is not negative.
    pub(crate) fn count(&mut self, what: &str) -> Result<u64, String> {
        match self.optional_count(what)? {
            Some(number) => Ok(number),
            None => Err(self.bad(what, &format!("an integer is expected, got {}", self.got(&Value::Nil)))),
        }
    }

    /// A host: a name, or an address, which may be in brackets.
    pub(crate) fn host(&mut self) -> Result<String, String> {
        let host = self.word("host")?;
        let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        Ok(inner.map(str::to_string).unwrap_or(host))
    }

    /// A port, which may be written as a string.
    pub(crate) fn port(&mut self) -> Result<u16, String> {
        let written = match self.values.as_slice().first() {
            Some(Value::String(text)) => text.to_string_lossy().parse().ok(),
            _ => None,
        };
        let number = match written {
            Some(number) => {
                self.next();
                number
            }
            None => self.count("port")?,
        };
        u16::try_from(number).map_err(|_| self.bad("port", &format!("0 to 65535 is expected, got {number}")))
    }

    /// A time in seconds.
    pub(crate) fn seconds(&mut self) -> Result<Duration, String> {
        let value = self.next();
        seconds(&value).map_err(|why| self.bad("seconds", &why))
    }

    pub(crate) fn function(&mut self, what: &str) -> Result<Function, String> {
        match self.next() {
            Value::Function(function) => Ok(function),
            other => Err(self.bad(what, &format!("a function is expected, got {}", self.got(&other)))),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        _ => None,
    }
}

/// A time in seconds.
pub(crate) fn seconds(value: &Value) -> Result<Duration, String> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        other => return Err(format!("a number of seconds is expected, got {}", type_name(other))),
    };
    if number.is_nan() || number < 0.0 {
        return Err(format!("a number of seconds from 0 is expected, got {number}"));
    }
    Ok(Duration::from_secs_f64(number.min(SECONDS_MAX)))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::Integer(_) | Value::Number(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::String(_) => "a string",
        Value::Table(_) => "a table",
        Value::Function(_) => "a function",
        Value::Thread(_) => "a coroutine",
        _ => "an object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => type_name(other).into(),
    }
}
