//! Every bound on what a peer can make grow, by name. Sizes are octets, and the limit itself is allowed.

/// Local part of a mailbox (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_MAX: usize = 64;
/// Domain of a mailbox or of EHLO (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// One label of a domain in ASCII (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;
/// Reverse-path or forward-path with its angle brackets, a source route not counted (RFC 5321 §4.5.3.1.3).
pub const PATH_MAX: usize = 256;
/// Command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, extensions add to it.
pub const COMMAND_LINE_MAX: usize = 4_096;
/// Line of a SASL exchange, the AUTH command's own included, with its CRLF (RFC 4954 §4).
pub const AUTH_LINE_MAX: usize = 12_288;
/// The least limit of a server's receive buffer: the longest line fits.
pub const RECV_BUF_MIN: usize = 16_384;
/// One reply with all its lines, as the client accepts it.
pub const REPLY_MAX: usize = 65_536;
/// ENVID before decoding (RFC 3461 §4.4).
pub const ENVID_MAX: usize = 100;
/// ORCPT before decoding (RFC 3461 §4.2).
pub const ORCPT_MAX: usize = 500;
/// Name of a SASL mechanism (RFC 4422 §3.1).
pub const MECHANISM_MAX: usize = 20;
/// Text that the driver adds to a reply, after cleaning.
pub const DETAIL_MAX: usize = 320;
/// Account name kept by a session after AUTH.
pub const ACCOUNT_MAX: usize = 320;
/// Header fields of one message.
pub const HEADER_FIELDS_MAX: u32 = 2_000;
/// Octets of a message's header.
pub const HEADER_OCTETS_MAX: u64 = 512 * 1024;
/// `Received` fields at which a message is taken to loop (RFC 5321 §6.3).
pub const RECEIVED_LOOP: u32 = 100;
/// `Received` fields written by this host at which a message is taken to loop.
pub const OWN_RECEIVED_LOOP: u32 = 5;
