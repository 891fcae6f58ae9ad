//! Where a trace goes on: `traceparent` of W3C Trace Context.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Octets of a `traceparent` of version 00.
const LEN: usize = 55;

/// Reads a `traceparent` that somebody sent. The answer is the same in version 00, the one that is spoken here
/// (W3C Trace Context §3.2.4: of a later version what version 00 has is taken). None: it is not valid, and whoever
/// sent it has begun no trace.
pub fn read(text: &str) -> Option<String> {
    let context = parse(text)?;
    Some(write(&context))
}

/// The current span's place in its trace; none when nothing is traced.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// A span's place in its trace; none when nothing is traced.
pub fn of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| write(&context))
}

/// Makes a span that was just made a part of a trace that began elsewhere, or before a restart. Without one, or when
/// nothing is traced, it changes nothing.
pub fn continues(span: Span, trace: Option<&str>) -> Span {
    if let Some(parent) = trace.filter(|_| !span.is_disabled()).and_then(parse) {
        // Refused only for a span that has begun, which this one has not.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

fn write(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags.to_u8())
}

fn parse(text: &str) -> Option<SpanContext> {
    let (known, rest) = text.split_at_checked(LEN)?;
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = known.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    if parts.next().is_some() || sizes.iter().any(|(part, len)| part.len() != *len || !hex(part)) {
        return None;
    }
    // A later version may go on behind another hyphen, version 00 ends here.
    let ends_well = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    if version == "ff" || !ends_well {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags & TraceFlags::SAMPLED, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_valid_is_read_and_nothing_else() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let whole = format!("00-{trace}-{span}-01");
        assert_eq!(read(&whole).as_deref(), Some(whole.as_str()));
        // Flags that are not known are not passed on, and a later version is answered in ours.
        assert_eq!(read(&format!("00-{trace}-{span}-ff")), Some(whole.clone()));
        assert_eq!(read(&format!("01-{trace}-{span}-01-more")), Some(whole.clone()));
        assert_eq!(read(&format!("00-{trace}-{span}-00")), Some(format!("00-{trace}-{span}-00")));
        for bad in [
            "",
            "00",
            &format!("00-{trace}-{span}-01-more"),
            &format!("01-{trace}-{span}-01more"),
            &format!("ff-{trace}-{span}-01"),
            &format!("00-{}-{span}-01", trace.to_uppercase()),
            &format!("00-{}-{span}-01", "0".repeat(32)),
            &format!("00-{trace}-{}-01", "0".repeat(16)),
            &format!("00-{trace}-{span}-0g"),
            &format!("00-{trace}{span}-01-0"),
            &format!("00-+{}-{span}-01", &trace[1..]),
            &format!("{}é", &whole[..54]),
            &format!(" {whole}"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_traced_has_no_place_in_a_trace() {
        let span = continues(Span::none(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert_eq!((of(&span), current()), (None, None));
    }
}
