//! iCalendar (RFC 5545) as CalDAV needs it: what may be stored, what an index must know of it, which instances it
//! has, whether it passes a filter, and how it is answered.

mod alarm;
mod check;
mod filter;
mod freebusy;
mod moment;
mod render;
mod series;
mod split;
mod zone;

#[cfg(test)]
mod tests;

pub use check::{Index, Stored, check};
pub(crate) use filter::parameter_passes;
pub use filter::{Context, matches};
pub use freebusy::{BusyKind, BusyPeriods, free_busy_object};
pub use moment::{Length, Moment};
pub use render::render;
pub(crate) use render::{PRODUCT, select_properties};
pub use series::{Instance, Series};
pub use split::{join, split};
pub use zone::{Zone, Zones};

use crate::object::{Component, ObjectFault};

/// Reads a calendar object. Whether it may be stored is another question: [`check`].
pub fn parse(text: &str) -> Result<Component<'_>, ObjectFault> {
    let object = Component::parse(text)?;
    if object.is("VCALENDAR") { Ok(object) } else { Err(ObjectFault::Malformed) }
}
