//! Every bound on what a client can make grow. Each has a test at it and one past it.

/// Octets of an XML request body (`413` beyond).
pub const XML_BODY_MAX: usize = 1024 * 1024;
/// Elements within elements of an XML body.
pub const XML_DEPTH_MAX: usize = 64;
/// Attributes of one element, namespace declarations included.
pub const XML_ATTRIBUTES_MAX: usize = 256;
/// Namespace declarations in scope at one place of an XML body.
pub const XML_BINDINGS_MAX: usize = 256;
/// Elements of an XML body.
pub const XML_ELEMENTS_MAX: usize = 32_768;
/// Octets of an element's or attribute's name, or of a namespace's.
pub const XML_NAME_MAX: usize = 1_024;

/// Octets of one name in a path, after percent-decoding.
pub const SEGMENT_MAX: usize = 255;
/// Names in a path below its owner.
pub const SEGMENTS_MAX: usize = 32;
/// Octets of a request target or of an href, as it is written.
pub const HREF_MAX: usize = 4_096;

/// State lists and entity tags in one `If` header, together.
pub const IF_CONDITIONS_MAX: usize = 256;
/// Octets of an `If` header.
pub const IF_HEADER_MAX: usize = 16 * 1024;
/// Entity tags in one `If-Match` or `If-None-Match`.
pub const ENTITY_TAGS_MAX: usize = 100;
/// Octets of an entity tag or a lock token.
pub const TAG_MAX: usize = 256;
/// Ranges in one `Range` header; a request with more gets the whole entity.
pub const RANGES_MAX: usize = 16;

/// Properties asked for in one request.
pub const PROPERTIES_MAX: usize = 256;
/// Octets of one dead property, as it is kept.
pub const PROPERTY_MAX: usize = 64 * 1024;
/// Dead properties of one resource.
pub const DEAD_PROPERTIES_MAX: usize = 100;
/// Octets of all dead properties of one resource: rows are read by the page, and each carries all of them along.
pub const DEAD_OCTETS_MAX: usize = 128 * 1024;
/// Hrefs of one multiget.
pub const MULTIGET_MAX: usize = 10_000;
/// Rows of one answer to a query or to sync-collection; more are cut off with `507` (RFC 6578 §3.6).
pub const ROWS_MAX: usize = 10_000;
/// Filters within one query, of all kinds together.
pub const FILTERS_MAX: usize = 128;
/// Levels of `expand-property`.
pub const EXPAND_DEPTH_MAX: usize = 4;

/// Seconds a lock lasts at most; `Infinite` is answered with this.
pub const LOCK_SECS_MAX: u64 = 3_600;
/// Seconds a lock lasts when the client does not say.
pub const LOCK_SECS_DEFAULT: u64 = 600;
/// Locks that one principal holds at a time.
pub const LOCKS_PER_PRINCIPAL_MAX: usize = 1_000;
/// Shared locks on one resource.
pub const LOCKS_PER_RESOURCE_MAX: usize = 32;
/// Octets of a lock's `owner` element, as it is kept.
pub const LOCK_OWNER_MAX: usize = 4_096;

/// Octets of a calendar object (`CALDAV:max-resource-size`).
pub const CALENDAR_OBJECT_MAX: usize = 1024 * 1024;
/// Octets of a vCard (`CARDDAV:max-resource-size`): photographs lie within.
pub const CARD_MAX: usize = 4 * 1024 * 1024;
/// Content lines of an object.
pub const LINES_MAX: usize = 50_000;
/// Content lines of a file that is imported.
pub const FILE_LINES_MAX: usize = 5_000_000;
/// Components of a file that is imported.
pub const FILE_COMPONENTS_MAX: usize = 500_000;
/// Parameters of one content line.
pub const PARAMETERS_MAX: usize = 128;
/// Components within components.
pub const COMPONENT_DEPTH_MAX: usize = 8;
/// Components of a calendar object, overridden instances and alarms included.
pub const COMPONENTS_MAX: usize = 4_096;
/// Recurrence rules of one component, of which RFC 5545 §3.8.5.3 wants one at most.
pub const RULES_MAX: usize = 8;
/// Attendees of one component (`CALDAV:max-attendees-per-instance`).
pub const ATTENDEES_MAX: usize = 1_000;
/// Instances that one object yields in an expansion (`CALDAV:max-instances`).
pub const INSTANCES_MAX: usize = 1_000;
/// Octets of the instances that one object is expanded to: each carries all its text along.
pub const EXPANDED_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Steps of work that the expansion of one object may take: candidates looked at, of any rule.
pub const EXPANSION_STEPS_MAX: u64 = 400_000;
/// People that a collection is shared with.
pub const SHAREES_MAX: usize = 100;
/// Collections of others that are shared with somebody.
pub const SHARED_WITH_MAX: usize = 100;
/// Octets of a UID of a calendar object or a vCard.
pub const UID_MAX: usize = 1_024;
/// Busy periods that one answer lists, those that touch made one.
pub const BUSY_PERIODS_MAX: usize = 10_000;
/// Steps of work that the onsets of one VTIMEZONE may take, for all times of its object together.
pub const ZONE_STEPS_MAX: u64 = 2_000_000;
