//! WebDAV, CalDAV and CardDAV as pure decisions.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod headers;
pub mod limits;
pub mod lock;
pub mod name;
pub mod path;
pub mod precondition;
pub mod refusal;
pub mod request;
pub mod resource;
pub mod time;
pub mod xml;
