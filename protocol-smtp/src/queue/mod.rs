//! The outbound queue: what to claim, when to try, what becomes of it.
//!
//! **It is** the working set of one node. The truth is in storage: every job here is held under a lease,
//! known by a [`Fence`], and every result is one atomic [`Effect::Save`] under that fence. After a crash a
//! new [`Queue`] starts empty and claims again.
//!
//! **It is not** a store and it dials nothing. It holds at most [`Policy::held_max`] jobs, and knows of each
//! only what decisions need; the driver keeps addresses and message IDs by [`JobKey`].
//!
//! **To drive it**: give it an [`Event`] by [`Queue::handle`], then take effects from [`Queue::poll`] until
//! there is none, and poll again no later than [`Queue::deadline`]. Each effect is carried out on its own
//! and answered by its event. `now` must not run backwards: derive it from a monotonic clock that was
//! anchored to the wall clock once.
//!
//! [`decide`] is the pure heart: one recipient, one attempt, one decision.

mod classify;
mod decide;
mod destination;
mod events;
mod home;
mod line;
mod policy;
mod settle;
mod settlement;
mod types;
mod working_set;

pub use classify::{CLASSIFIED_MAX, Class, Rule, class_of, classify, rule};
pub use decide::{Attempt, Decision, IN_DOUBT_WAIT, decide};
pub use destination::DESTINATIONS_MAX;
pub use events::{Effect, Event, StoreError};
pub use policy::{Horizon, Policy};
pub use settle::{settle, settle_expired};
pub use settlement::*;
pub use types::*;
pub use working_set::Queue;
