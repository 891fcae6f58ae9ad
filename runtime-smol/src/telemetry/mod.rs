//! Traces: the way of a message as spans, exported by OTLP over HTTP.
//!
//! Spans are those of `tracing` with the target [`TARGET`], and nothing but them is exported: no event of the log, and
//! no field beyond those a span names, which are IDs, sizes, counts and outcomes (TI9). Without a collector no
//! subscriber wants them, and they cost one look at a static.
//!
//! A trace goes on where its context is: from the caller by `traceparent`, within the process by the current span, and
//! through the queue by the job's row, so that a restart or another node goes on with it.

mod client;
mod parent;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits, Tracer,
};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::Registry;

use crate::config::Otel;
use crate::tls::ClientTls;

use client::Collector;
pub use parent::{continues, current, of, read};

/// The target of all spans that are exported.
pub const TARGET: &str = "telemetry";

/// Spans that wait for the collector; what comes when it is full is lost.
const WAITING_MAX: usize = 2_048;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long spans wait for others to go with.
const BATCH_DELAY: Duration = Duration::from_secs(2);
/// How long the last spans may take at the end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Attributes of one span.
const ATTRIBUTES_MAX: u32 = 32;

/// A layer for the subscriber of this process.
pub type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What exports traces. It has a thread of its own, and nobody waits for it.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    tracer: Tracer,
}

impl Telemetry {
    /// As configured; `hostname` names this node.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn open(otel: &Otel, tls: ClientTls, hostname: &str) -> Result<Telemetry, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(tls, otel.timeout))
            .with_endpoint(&otel.endpoint)
            .with_headers(otel.headers.iter().cloned().collect())
            .with_protocol(if otel.json { Protocol::HttpJson } else { Protocol::HttpBinary })
            .with_timeout(otel.timeout)
            .build()
            .map_err(|e| format!("{}: {e}", otel.endpoint))?;
        let batch = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let limits = SpanLimits { max_attributes_per_span: ATTRIBUTES_MAX, ..SpanLimits::default() };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
            .with_sampler(sampler(otel))
            .with_resource(resource(otel, hostname))
            .with_span_limits(limits)
            .build();
        let tracer = provider.tracer("inbox");
        Ok(Telemetry { provider, tracer })
    }

    /// What takes the spans of this process.
    pub fn layer(&self) -> BoxedLayer {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layer.with_filter(Targets::new().with_target(TARGET, Level::INFO)).boxed()
    }

    /// Sends what waits, and ends; a collector that does not answer is not waited for.
    pub async fn end(self) {
        let ended = blocking::unblock(move || self.provider.shutdown_with_timeout(END_LIMIT)).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "the last traces could not be exported");
        }
    }
}

fn sampler(otel: &Otel) -> Sampler {
    let share = match otel.sample_ratio {
        all if all >= 1.0 => Sampler::AlwaysOn,
        none if none <= 0.0 => Sampler::AlwaysOff,
        share => Sampler::TraceIdRatioBased(share),
    };
    if otel.parent_based { Sampler::ParentBased(Box::new(share)) } else { share }
}

/// What all spans say of this process. A `service.name` among the attributes counts while the variable of its own has
/// its default.
fn resource(otel: &Otel, hostname: &str) -> Resource {
    let named = otel.attributes.iter().any(|(name, _)| name == "service.name");
    let own = (!named || otel.service_name != "inbox").then(|| ("service.name", otel.service_name.clone()));
    let fixed = [
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", hostname.to_owned()),
        ("telemetry.sdk.name", "opentelemetry".to_owned()),
        ("telemetry.sdk.language", "rust".to_owned()),
    ];
    let given = otel.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let known = fixed.into_iter().filter(|(name, _)| !otel.attributes.iter().any(|(n, _)| n == name));
    let known = known.chain(own).map(|(name, value)| KeyValue::new(name, value));
    Resource::builder_empty().with_attributes(given.chain(known)).build()
}
