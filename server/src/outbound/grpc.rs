//! gRPC on the way out: a unary method, called with JSON. What the message looks like is asked of the target itself, by
//! its reflection, or read from a descriptor set.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::reflection;
use super::targets::{grpc_code, split_grpc_method};
use super::{Answer, CallError, Trouble};

/// A target that takes a connection this slowly counts as away.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Descriptors are asked for again after this long: the target may have been upgraded.
const DESCRIPTORS_LIFE: Duration = Duration::from_secs(300);
/// Services whose descriptors are kept.
const SERVICES_MAX: usize = 1_000;
/// Bytes of an answer before it is written as JSON, above what is kept of it: JSON is rarely shorter.
const DECODE_SLACK: usize = 64 << 10;

/// A gRPC target.
#[derive(Debug)]
pub(super) struct GrpcTarget {
    endpoint: Endpoint,
    channel: OnceLock<Channel>,
    /// From the configuration; none: ask the target.
    given: Option<DescriptorPool>,
    asked: Mutex<HashMap<String, (Instant, DescriptorPool)>>,
}

/// A unary call.
pub(super) struct UnaryCall<'a> {
    pub(super) method: &'a str,
    /// The request as JSON; empty for an empty message.
    pub(super) json: &'a [u8],
    pub(super) metadata: MetadataMap,
    pub(super) time: Duration,
    pub(super) answer_bytes_max: usize,
}

impl GrpcTarget {
    /// A target at a URL; nothing is connected yet.
    pub(super) fn new(
        url: &str,
        ca: Option<&[u8]>,
        descriptor_set: Option<&[u8]>,
    ) -> Result<GrpcTarget, String> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .and_then(|endpoint| endpoint.user_agent(concat!("haulier/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new().with_webpki_roots();
            if let Some(pem) = ca {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| super::http::causes(&error))?;
        }
        let read = |bytes: &[u8]| {
            DescriptorPool::decode(bytes).map_err(|error| {
                format!("is no descriptor set ({error}): write one by `protoc --include_imports --descriptor_set_out`")
            })
        };
        let given = descriptor_set.map(read).transpose()?;
        Ok(GrpcTarget { endpoint, channel: OnceLock::new(), given, asked: Mutex::default() })
    }

    /// Is there such a unary method? Known only with a descriptor set.
    pub(super) fn check(&self, method: &str) -> Result<(), String> {
        match &self.given {
            Some(pool) => find_unary(pool, method).map(drop),
            None => Ok(()),
        }
    }

    /// Calls a method.
    pub(super) async fn call(&self, call: UnaryCall<'_>) -> Result<Answer, CallError> {
        let begun = tokio::time::Instant::now();
        let (method, message) = self.message(&call).await?;
        let left = call.time.saturating_sub(begun.elapsed());
        let mut request = Request::new(message);
        *request.metadata_mut() = call.metadata;
        request.set_timeout(left);
        let decode_max = call.answer_bytes_max + DECODE_SLACK;
        let mut client = Grpc::new(self.channel()).max_decoding_message_size(decode_max);
        client.ready().await.map_err(|error| away(&super::http::causes(&error)))?;
        let path =
            PathAndQuery::try_from(format!("/{}", call.method)).map_err(|_| unknown_method(call.method))?;
        let answer = client.unary(request, path, JsonCodec { output: method.output() }).await;
        let answer = answer.map_err(|status| self.failure(&status, call.method))?;
        let json = serde_json::to_vec(answer.get_ref()).map_err(|error| {
            trouble(
                Trouble::Api,
                "UNREADABLE_ANSWER",
                format!("the answer cannot be written as JSON: {error}"),
            )
        })?;
        if json.len() > call.answer_bytes_max {
            Err(CallError::too_large(call.answer_bytes_max))
        } else {
            Ok(Answer::Json(json.into()))
        }
    }

    /// The method with the request as its message. If that fails by what is remembered of the target, it is asked again.
    async fn message(&self, call: &UnaryCall<'_>) -> Result<(MethodDescriptor, DynamicMessage), CallError> {
        let (pool, is_fresh) = self.descriptors(call, Freshness::Remembered).await?;
        match read_request(&pool, call) {
            Err(_) if !is_fresh => {
                let (pool, _) = self.descriptors(call, Freshness::Asked).await?;
                read_request(&pool, call)
            }
            read => read,
        }
    }

    /// The descriptors of the method's service, and whether the target told them just now.
    async fn descriptors(
        &self,
        call: &UnaryCall<'_>,
        freshness: Freshness,
    ) -> Result<(DescriptorPool, bool), CallError> {
        if let Some(pool) = &self.given {
            return Ok((pool.clone(), true));
        }
        let (service, _) = split_grpc_method(call.method).ok_or_else(|| unknown_method(call.method))?;
        let remembered =
            self.lock().get(service).filter(|(asked, _)| asked.elapsed() < DESCRIPTORS_LIFE).cloned();
        if let (Some((_, pool)), Freshness::Remembered) = (remembered, freshness) {
            return Ok((pool, false));
        }
        let pool = reflection::ask(self.channel(), service, &call.metadata).await.map_err(|status| match status.code() {
            Code::NotFound => unknown_method(call.method),
            Code::Unimplemented => {
                let message = "the target has no reflection: switch it on there, or name a `descriptor_set` in its configuration";
                trouble(Trouble::Api, "UNIMPLEMENTED", message.into())
            }
            _ => {
                let CallError { message, .. } = self.failure(&status, call.method);
                CallError { message: format!("asking the target's reflection: {message}"), ..self.failure(&status, call.method) }
            }
        })?;
        let mut asked = self.lock();
        if asked.len() >= SERVICES_MAX {
            asked.clear();
        }
        asked.insert(service.to_owned(), (tokio::time::Instant::now(), pool.clone()));
        Ok((pool, true))
    }

    fn failure(&self, status: &Status, method: &str) -> CallError {
        let code = grpc_code(status.code().into());
        // The library's own words for an answer above its limit.
        if status.code() == Code::OutOfRange && status.message().contains("message length too large") {
            return CallError::too_large(0);
        }
        if status.code() == Code::Unimplemented
            && let Some((service, _)) = split_grpc_method(method)
        {
            self.lock().remove(service);
        }
        let message = match (status.message(), std::error::Error::source(status)) {
            ("", _) => format!("{method} answered {code}"),
            (text, Some(source)) => {
                let cause = super::http::causes(source);
                if text.contains(&cause) { text.to_owned() } else { format!("{text}: {cause}") }
            }
            (text, None) => text.to_owned(),
        };
        trouble(Trouble::Api, code, message)
    }

    fn channel(&self) -> Channel {
        self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, DescriptorPool)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which descriptors will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Remembered,
    Asked,
}

fn trouble(kind: Trouble, code: &str, message: String) -> CallError {
    CallError { kind, code: code.to_owned(), message, retry_after: None }
}

fn away(why: &str) -> CallError {
    trouble(Trouble::Api, "UNAVAILABLE", format!("the target cannot be reached: {why}"))
}

fn unknown_method(method: &str) -> CallError {
    trouble(Trouble::Api, "UNIMPLEMENTED", format!("the target has no method {method}"))
}

fn find_unary(pool: &DescriptorPool, method: &str) -> Result<MethodDescriptor, String> {
    let (service, name) = split_grpc_method(method).ok_or("is not the full name of a method")?;
    let service = pool.get_service_by_name(service).ok_or("is of a service that the target does not have")?;
    let found = service
        .methods()
        .find(|one| one.name() == name)
        .ok_or("is a method that its service does not have")?;
    if found.is_client_streaming() || found.is_server_streaming() {
        return Err("streams: only unary methods can be called".into());
    }
    Ok(found)
}

fn read_request(
    pool: &DescriptorPool,
    call: &UnaryCall<'_>,
) -> Result<(MethodDescriptor, DynamicMessage), CallError> {
    let method = find_unary(pool, call.method)
        .map_err(|why| trouble(Trouble::Api, "UNIMPLEMENTED", format!("{} {why}", call.method)))?;
    let json: &[u8] = if call.json.is_empty() { b"{}" } else { call.json };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(method.input(), &mut reader)
        .and_then(|message| reader.end().map(|()| message));
    let message = message.map_err(|error| {
        let why = format!("the request is not a {} as JSON: {error}", method.input().full_name());
        trouble(Trouble::Unreadable, "UNREADABLE_REQUEST", why)
    })?;
    Ok((method, message))
}

/// Adds a header to a call.
pub(super) fn add_metadata(
    metadata: &mut MetadataMap,
    name: &str,
    value: &[u8],
    is_sensitive: bool,
) -> Result<(), String> {
    let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes())
        .map_err(|_| format!("{name} is no header name"))?;
    let mut value = AsciiMetadataValue::try_from(value)
        .map_err(|_| format!("{name} has a value that a header cannot carry"))?;
    value.set_sensitive(is_sensitive);
    metadata.insert(key, value);
    Ok(())
}

/// Writes and reads messages that are known by their descriptors only.
struct JsonCodec {
    output: MessageDescriptor,
}

impl Codec for JsonCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder(self.output.clone())
    }
}

struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

struct DynamicDecoder(MessageDescriptor);

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        DynamicMessage::decode(self.0.clone(), buffer)
            .map(Some)
            .map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}
