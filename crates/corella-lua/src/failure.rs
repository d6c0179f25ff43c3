//! What a script gets when an operation fails: an object that names operation, target and reason.

use corella::{Error, ErrorKind, Failed};
use mlua::{IntoLua, Lua, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::request::Place;

/// EPIPE, on every Unix.
const BROKEN_PIPE: i32 = 32;

/// An operation that failed. In Lua an object with the fields `kind`, `code`, `operation`, `target`, `reason` and
/// `moved`, which reads as a text where it is printed or joined to one.
#[derive(Clone, Debug)]
pub(crate) struct OperationError {
    kind: ErrorKind,
    /// The OS's code, where it gave one.
    code: Option<i32>,
    operation: String,
    target: String,
    reason: String,
    /// Bytes that are known to have moved before it failed.
    moved: u64,
    /// Where it met bytes that are no text.
    not_text: Option<Box<NotText>>,
    /// Where the script was when it was raised.
    place: Option<Box<Place>>,
}

/// Bytes that are no text in the handle's encoding.
#[derive(Clone, Debug)]
struct NotText {
    /// Of the first of them, counted from the start of the file or stream; of what was to be written, in the text.
    offset: u64,
    /// The characters before them that the read had taken.
    partial: Vec<u8>,
}

impl OperationError {
    pub(crate) fn new(
        kind: ErrorKind,
        operation: impl Into<String>,
        target: impl Into<String>,
        reason: impl Into<String>,
    ) -> OperationError {
        let (operation, target, reason) = (operation.into(), target.into(), reason.into());
        OperationError { kind, code: None, operation, target, reason, moved: 0, not_text: None, place: None }
    }

    /// Bytes that are no text, at `offset`; `partial` is the text before them.
    pub(crate) fn not_text(
        operation: impl Into<String>,
        target: impl Into<String>,
        reason: impl Into<String>,
        offset: u64,
        partial: Vec<u8>,
    ) -> OperationError {
        let error = OperationError::new(ErrorKind::InvalidInput, operation, target, reason);
        OperationError { not_text: Some(Box::new(NotText { offset, partial })), ..error }
    }

    /// Says where the script was when it was raised, unless that is known.
    pub(crate) fn locate(&mut self, place: impl FnOnce() -> Option<Place>) {
        self.place = self.place.take().or_else(|| place().map(Box::new));
    }

    /// The kind as scripts see it.
    fn kind_name(&self) -> String {
        match self.not_text {
            Some(_) => "InvalidEncoding".into(),
            None => format!("{:?}", self.kind),
        }
    }

    /// A request that was stopped: cancelled, or out of time.
    pub(crate) fn stopped(kind: ErrorKind, operation: impl Into<String>, target: impl Into<String>) -> OperationError {
        let reason = match kind {
            ErrorKind::TimedOut => "deadline passed",
            ErrorKind::Killed => "the task was killed",
            _ => "cancelled",
        };
        OperationError::new(kind, operation, target, reason)
    }

    pub(crate) fn closed(operation: impl Into<String>, target: impl Into<String>) -> OperationError {
        OperationError::new(ErrorKind::Closed, operation, target, "the handle is closed")
    }

    pub(crate) fn invalid(
        operation: impl Into<String>,
        target: impl Into<String>,
        reason: impl Into<String>,
    ) -> OperationError {
        OperationError::new(ErrorKind::InvalidInput, operation, target, reason)
    }

    /// The same failure, told of another operation and target: those that the script named.
    pub(crate) fn told_of(error: Error, operation: &str, target: impl Into<String>) -> OperationError {
        OperationError { operation: operation.into(), target: target.into(), ..error.into() }
    }

    /// The failure of the rest of an operation, told of the whole, of which so many bytes had moved.
    pub(crate) fn of_the_rest(error: Error, moved: u64, operation: String) -> OperationError {
        OperationError { moved, operation, ..error.into() }
    }

    /// Whether it is a task that was killed.
    pub(crate) fn is_of_task(&self) -> bool {
        self.kind == ErrorKind::Killed
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl std::fmt::Display for OperationError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.operation)?;
        match self.operation.as_str() {
            _ if self.target.is_empty() => {}
            "connect" | "bind" => write!(formatter, " to {}", self.target)?,
            _ => write!(formatter, " of {}", self.target)?,
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl UserData for OperationError {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "OperationError");
        fields.add_field_method_get("kind", |_, this| Ok(this.kind_name()));
        fields.add_field_method_get("code", |_, this| Ok(this.code));
        fields.add_field_method_get("operation", |_, this| Ok(this.operation.clone()));
        fields.add_field_method_get("target", |_, this| Ok(this.target.clone()));
        fields.add_field_method_get("reason", |_, this| Ok(this.reason.clone()));
        fields.add_field_method_get("moved", |_, this| Ok(this.moved));
        fields.add_field_method_get("place", |_, this| {
            Ok(this.place.as_ref().map(|place| format!("{}:{}", place.script, place.line)))
        });
        fields.add_field_method_get("offset", |_, this| Ok(this.not_text.as_ref().map(|found| found.offset)));
        fields.add_field_method_get("partial", |lua, this| {
            this.not_text.as_ref().map(|found| lua.create_string(&found.partial)).transpose()
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // A field that there is not, as in a table.
        methods.add_meta_method(MetaMethod::Index, |_, _, _: Value| Ok(Value::Nil));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.to_string()));
        methods.add_meta_function(MetaMethod::Concat, |lua, (left, right): (Value, Value)| {
            let mut text = text_of(&left)?;
            text.extend(text_of(&right)?);
            lua.create_string(text)
        });
    }
}

/// A value as it reads.
fn text_of(value: &Value) -> mlua::Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        other => Ok(other.to_string()?.into_bytes()),
    }
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Boxed, as every request has room for one.
    Operation(Box<OperationError>),
    /// A task raised an error.
    Raised { value: Value, traceback: String },
}

impl Failure {
    /// Whether it was stopped because nobody wanted it any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        matches!(self, Failure::Operation(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Killed))
    }

    /// How a report shows it.
    pub(crate) fn report(&self) -> String {
        match self {
            Failure::Operation(error) => error.to_string(),
            Failure::Raised { traceback, .. } => traceback.clone(),
        }
    }

    /// Whether nobody reads any more what was written.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Operation(error) if error.code == Some(BROKEN_PIPE))
    }

    /// The value that a script catches.
    pub(crate) fn into_value(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Failure::Operation(error) => (*error).into_lua(lua),
            Failure::Raised { value, .. } => Ok(value),
        }
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Failure {
        Failure::Operation(Box::new(error))
    }
}

impl From<Error> for OperationError {
    fn from(error: Error) -> OperationError {
        OperationError {
            kind: error.kind(),
            code: error.os_code(),
            operation: error.operation().into(),
            target: error.target().into(),
            reason: error.reason(),
            moved: 0,
            not_text: None,
            place: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Operation(Box::new(error.into()))
    }
}

impl<B> From<Failed<B>> for Failure {
    fn from(failed: Failed<B>) -> Failure {
        let moved = failed.moved.bytes();
        Failure::Operation(Box::new(OperationError { moved, ..failed.error.into() }))
    }
}
