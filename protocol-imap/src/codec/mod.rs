//! Commands and responses, read and written, for both roles.
//!
//! Everything here borrows. A list inside a command ([`List`]) is either a checked piece of the wire, read
//! again element by element while it is iterated, or a slice that the caller built: so a server parses
//! without allocating, and a client writes with the same types.
//!
//! | module | what is in it |
//! |---|---|
//! | [`frame`] | lines and literals: where a command or response ends |
//! | [`table`] | command names and their properties |
//! | [`command`] | [`Command`] and what it is made of |
//! | [`response`] | [`Response`], [`Untagged`], [`Code`] and FETCH data |

pub mod command;
pub mod date;
pub mod flag;
pub mod frame;
pub mod list;
mod read;
pub mod response;
pub mod table;
pub mod text;
mod write;

pub use command::append::{Append, AppendMessage};
pub use command::fetch::{Fetch, FetchItem, PartPath, Partial, Section, SectionText};
pub use command::mailbox::{
    ListCommand, ListPattern, ListReturn, ListSelection, Qresync, SelectParams, StatusItem,
};
pub use command::search::{Date, Search, SearchKey, SearchOp, SearchReturn};
pub use command::store::{Store, StoreOp};
pub use command::{BadCommand, Command, CommandBody, IdField, Initial, Tag};
pub use date::DateTime;
pub use flag::{Attribute, Flag, SpecialUse};
pub use list::{Atom, Element, List};
pub use read::{Cursor, Fault};
pub use response::{
    Address, Body, BodyFields, Code, Disposition, Envelope, Esearch, EsearchItem, Extension, FetchAttr,
    FetchWriter, ListInfo, Namespace, NamespaceItem, Param, Response, Single, Status, StatusKind,
    StatusValue, Untagged,
};
pub use table::{Name, Properties, States};
pub use text::{MailboxName, Secret, Str, Text};
pub use write::{Emit, LiteralMode};
