//! Sends spans to an OpenTelemetry collector, by OTLP over HTTP with protobuf.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::trace;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter::LevelFilter};

use crate::exit::CliError;

/// Longest time for sending a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends spans to a collector; when it is dropped, it sends the last ones.
pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // The process ends, so an error could not be acted on.
        drop(self.0.shutdown());
    }
}

impl Traces {
    /// A layer that sends spans to the collector at a URL; none where there is no URL.
    #[allow(clippy::type_complexity)]
    pub(crate) fn start<S>(
        collector: Option<String>,
        service: Option<String>,
        runtime: &Handle,
    ) -> Result<Option<(Box<dyn Layer<S> + Send + Sync>, Self)>, CliError>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let Some(endpoint) = collector else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| {
            // Not the value: a URL may hold a password.
            CliError::usage(format!("HYPERFARM_OTLP_ENDPOINT: no traces can be sent there: {error}"))
        };
        let endpoint = traces_url(&endpoint).map_err(|error| failed(&error))?;
        let client = reqwest::Client::builder().timeout(SEND_TIMEOUT).build().map_err(|error| failed(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client { client, runtime: runtime.clone() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .build()
            .map_err(|error| failed(&error))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_id_generator(Ids(RandomIdGenerator::default()))
            .with_resource(resource(service))
            .build();
        global::set_tracer_provider(provider.clone());
        trace::enable();
        let layer = tracing_opentelemetry::layer::<S>()
            .with_tracer(provider.tracer(trace::SCOPE))
            .with_location(false)
            .with_threads(false)
            // Only the farm's own spans: those of the library that sends spans would make more of them.
            .with_filter(Targets::new().with_target("hyperfarm", LevelFilter::INFO));
        Ok(Some((layer.boxed(), Self(provider))))
    }
}

/// The URL for traces. A base URL, as the specification has it, gets its path.
fn traces_url(endpoint: &str) -> Result<url::Url, String> {
    let mut url = url::Url::parse(endpoint).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("give an http or https URL".to_owned());
    }
    if !url.path().ends_with("/v1/traces") {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

fn resource(name: Option<String>) -> Resource {
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| "hyperfarm".to_owned()))
        .with_attribute(KeyValue::new("service.version", hyperfarm_proto::FARM_VERSION))
        .build()
}

/// Generates random ids, except for spans whose ids follow from their render.
#[derive(Debug)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        trace::next_trace().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        trace::next_span().unwrap_or_else(|| self.0.new_span_id())
    }
}

/// The HTTP client of the exporter. The exporter has a thread of its own, so the request is made on the process's
/// runtime.
#[derive(Debug, Clone)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let answer =
                client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        });
        let (status, headers, body) = sent.await??;
        let mut response = Response::builder().status(status).body(body)?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_bases_or_whole() {
        let of = |text: &str| traces_url(text).map(|url| url.to_string());
        assert_eq!(of("http://c:4318").unwrap(), "http://c:4318/v1/traces");
        assert_eq!(of("http://c:4318/").unwrap(), "http://c:4318/v1/traces");
        assert_eq!(of("https://c/otlp/v1/traces").unwrap(), "https://c/otlp/v1/traces");
        assert!(of("c:4317").is_err());
    }
}
