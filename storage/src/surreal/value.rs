//! Building the values that are bound to queries, and reading those that come back.

use std::collections::BTreeMap;
use std::ops::Bound;

use surrealdb_types::{Array, Bytes, Number, Object, Range, RecordId, RecordIdKey, RecordIdKeyRange, Value};

use crate::error::{Error, Result};
use crate::types::Id;

pub fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

pub fn id(id: Id) -> Value {
    Value::String(id.to_string())
}

/// Counters and sizes are stored as the database's signed integers; none of ours comes near their end.
pub fn int(n: u64) -> Value {
    signed(i64::try_from(n).unwrap_or(i64::MAX))
}

pub fn signed(n: i64) -> Value {
    Value::Number(Number::Int(n))
}

pub fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::from(bytes.to_vec()))
}

pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect::<Vec<Value>>().into())
}

/// NONE when absent: an optional field is left out, not null.
pub fn optional<T>(value: Option<T>, some: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::None, some)
}

pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut object = Object::new();
    for (name, value) in fields {
        if value != Value::None {
            object.insert(name, value);
        }
    }
    Value::Object(object)
}

pub fn record(table: &str, key: impl Into<RecordIdKey>) -> Value {
    Value::RecordId(RecordId::new(table, key))
}

pub fn key2(first: Value, second: Value) -> RecordIdKey {
    RecordIdKey::Array(Array::from(vec![first, second]))
}

pub fn key3(first: Value, second: Value, third: Value) -> RecordIdKey {
    RecordIdKey::Array(Array::from(vec![first, second, third]))
}

/// Sorts behind everything that we use as a part of a key.
pub fn highest() -> Value {
    Value::Range(Box::new(Range::from(..)))
}

/// All records of a table whose two-part key begins with `first` and ends within the bounds.
pub fn range2(table: &str, first: &Value, from: Bound<Value>, to: Bound<Value>) -> Value {
    let whole = |second: Value| key2(first.clone(), second);
    // NONE sorts before and the open range after whatever we use as a second part.
    let start = match from {
        Bound::Unbounded => Bound::Included(whole(Value::None)),
        bound => bound.map(whole),
    };
    let end = match to {
        Bound::Unbounded => Bound::Included(whole(highest())),
        bound => bound.map(whole),
    };
    range(table, start, end)
}

pub fn range(table: &str, start: Bound<RecordIdKey>, end: Bound<RecordIdKey>) -> Value {
    record(table, RecordIdKeyRange { start, end })
}

/// A row that came back, taken apart by name.
pub struct Fields {
    what: &'static str,
    fields: BTreeMap<String, Value>,
}

impl Fields {
    pub fn of(what: &'static str, value: Value) -> Result<Fields> {
        match value {
            Value::Object(object) => Ok(Fields { what, fields: object.into_inner() }),
            _ => Err(corrupt(what, "the row")),
        }
    }

    pub fn take(&mut self, name: &str) -> Value {
        self.fields.remove(name).unwrap_or(Value::None)
    }

    /// The fields that were not taken.
    pub fn rest(self) -> BTreeMap<String, Value> {
        self.fields
    }

    fn bad(&self, name: &str) -> Error {
        corrupt(self.what, name)
    }

    pub fn text(&mut self, name: &str) -> Result<String> {
        self.optional_text(name)?.ok_or_else(|| self.bad(name))
    }

    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            Value::String(text) => Ok(Some(text)),
            Value::None | Value::Null => Ok(None),
            _ => Err(self.bad(name)),
        }
    }

    pub fn id(&mut self, name: &str) -> Result<Id> {
        Id::parse(&self.text(name)?).ok_or_else(|| self.bad(name))
    }

    pub fn signed(&mut self, name: &str) -> Result<i64> {
        self.optional_signed(name)?.ok_or_else(|| self.bad(name))
    }

    pub fn optional_signed(&mut self, name: &str) -> Result<Option<i64>> {
        match self.take(name) {
            Value::Number(Number::Int(n)) => Ok(Some(n)),
            Value::None | Value::Null => Ok(None),
            _ => Err(self.bad(name)),
        }
    }

    /// An unsigned number of whatever width.
    pub fn int<T: TryFrom<i64>>(&mut self, name: &str) -> Result<T> {
        let n = self.signed(name)?;
        T::try_from(n).map_err(|_| self.bad(name))
    }

    pub fn optional_int<T: TryFrom<i64>>(&mut self, name: &str) -> Result<Option<T>> {
        match self.optional_signed(name)? {
            Some(n) => T::try_from(n).map(Some).map_err(|_| self.bad(name)),
            None => Ok(None),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            Value::Bool(flag) => Ok(flag),
            _ => Err(self.bad(name)),
        }
    }

    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        match self.take(name) {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(self.bad(name)),
        }
    }

    pub fn list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            Value::Array(values) => Ok(values.into_vec()),
            _ => Err(self.bad(name)),
        }
    }

    pub fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let values = self.list(name)?;
        values.into_iter().map(text).collect::<Option<_>>().ok_or_else(|| self.bad(name))
    }

    pub fn ints<T: TryFrom<i64>>(&mut self, name: &str) -> Result<Vec<T>> {
        let int = |value| match value {
            Value::Number(Number::Int(n)) => T::try_from(n).ok(),
            _ => None,
        };
        let values = self.list(name)?;
        values.into_iter().map(int).collect::<Option<_>>().ok_or_else(|| self.bad(name))
    }

    /// The parts of the row's own key: one, or those of an array.
    pub fn key(&mut self) -> Result<Vec<Value>> {
        match self.take("id") {
            Value::RecordId(RecordId { key: RecordIdKey::Array(parts), .. }) => Ok(parts.into_vec()),
            Value::RecordId(RecordId { key: RecordIdKey::String(text), .. }) => Ok(vec![Value::String(text)]),
            _ => Err(self.bad("id")),
        }
    }

    pub fn key_text(&mut self) -> Result<String> {
        match self.key()?.into_iter().next() {
            Some(Value::String(text)) => Ok(text),
            _ => Err(self.bad("id")),
        }
    }

    pub fn key_id(&mut self) -> Result<Id> {
        let text = self.key_text()?;
        Id::parse(&text).ok_or_else(|| self.bad("id"))
    }

    pub fn key_three(&mut self) -> Result<[Value; 3]> {
        <[Value; 3]>::try_from(self.key()?).map_err(|_| self.bad("id"))
    }

    pub fn key_pair(&mut self) -> Result<(Value, Value)> {
        let mut parts = self.key()?.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(a), Some(b), None) => Ok((a, b)),
            _ => Err(self.bad("id")),
        }
    }
}

pub fn corrupt(what: &str, field: &str) -> Error {
    Error::Corrupt(format!("{what}: {field} is not what was written"))
}

/// The rows of an answer.
pub fn rows(what: &'static str, value: Value) -> Result<Vec<Fields>> {
    match value {
        Value::Array(values) => values.into_vec().into_iter().map(|row| Fields::of(what, row)).collect(),
        Value::None | Value::Null => Ok(Vec::new()),
        _ => Err(corrupt(what, "the list")),
    }
}

pub fn as_id(what: &str, value: &Value) -> Result<Id> {
    match value {
        Value::String(text) => Id::parse(text).ok_or_else(|| corrupt(what, "an ID")),
        _ => Err(corrupt(what, "an ID")),
    }
}

pub fn as_int<T: TryFrom<i64>>(what: &str, value: &Value) -> Result<T> {
    match value {
        Value::Number(Number::Int(n)) => T::try_from(*n).map_err(|_| corrupt(what, "a number")),
        _ => Err(corrupt(what, "a number")),
    }
}
