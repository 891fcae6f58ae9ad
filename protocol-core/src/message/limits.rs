//! Every limit on what a message can make grow.

/// Octets of one header, the blank line not counted. Beyond: 552 5.3.4 for the message's own header.
pub const HEADER_OCTETS_MAX: usize = 512 * 1024;
/// Fields of one header.
pub const HEADER_FIELDS_MAX: usize = 2_000;
/// Containers (multiparts and messages) within one another. A deeper one is an opaque leaf.
pub const DEPTH_MAX: usize = 100;
/// Parts of one message, containers among them. The last one takes the rest of the message.
pub const PARTS_MAX: usize = 1_000;
/// Octets of one field that an [`Envelope`](super::Envelope) keeps.
pub const ENVELOPE_FIELD_MAX: usize = 64 * 1024;
/// Octets of References that are kept; the last ones, which name the nearest ancestors.
pub const REFERENCES_MAX: usize = 16 * 1024;
/// Octets of one Content field's value, parameters included, that are read.
pub const CONTENT_FIELD_MAX: usize = 64 * 1024;
/// Parameters kept of one field (RFC 2231 pieces count as one when joined).
pub const PARAMS_MAX: usize = 64;
/// Pieces of continued parameters that are read in one field.
pub const PARAM_PIECES_MAX: usize = 1_000;
/// Octets of one parameter's value.
pub const PARAM_VALUE_MAX: usize = 8 * 1024;
/// Octets of a boundary. RFC 2046 §5.1.1 says 70; some senders write longer ones.
pub const BOUNDARY_MAX: usize = 200;
/// Language tags kept of Content-Language.
pub const LANGUAGES_MAX: usize = 16;
/// Content-Transfer-Encoding fields of one part whose place is kept.
pub const ENCODING_FIELDS_MAX: usize = 4;
/// Octets of text kept for all parts and envelopes of one message together; beyond, text is left out.
pub const TEXT_MAX: usize = 1024 * 1024;
/// Octets of one line, its line end not counted (RFC 5322 §2.1.1).
pub const LINE_OCTETS_MAX: usize = 998;
/// Decoded octets of one leaf part that is not text shown inline, on submission. Beyond: 552 5.3.4.
pub const LEAF_DECODED_MAX: u64 = 18_874_368;
/// Octets of an encoded [`Structure`](super::Structure): every part at its largest, and the text.
pub const ENCODED_MAX: usize = TEXT_MAX + PARTS_MAX * 1024 + 64 * 1024;
