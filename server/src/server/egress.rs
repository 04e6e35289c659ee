//! The way out, composed: settings become [`Outbound`], requests are judged by it before they are stored.

use std::sync::Arc;

use crate::config::{Config, ConfigError, Protocol, SecretSource};
use crate::model::{Payload, ReplyMode};
use crate::outbound::{self, Body, Method, Mistake, Outbound, ReplyTo, Source, TargetSettings};
use crate::rpc::{Egress, Endpoint, NoWay, ReplyAddress};

/// The way out that the configuration describes. Secrets that cannot be read now are told now, not at the first call.
pub(super) fn open(config: &Config) -> Result<Outbound, ConfigError> {
    let wrong = |Mistake { key, message }| ConfigError::wrong(key, message);
    let outbound = Outbound::new(settings(config)).map_err(wrong)?;
    outbound.check_secrets().map_err(wrong)?;
    Ok(outbound)
}

fn settings(config: &Config) -> outbound::Settings {
    let of = &config.outbound;
    let secret = |secret: &crate::config::Secret| outbound::Secret {
        source: source(&secret.source),
        hosts: secret.hosts.clone(),
    };
    outbound::Settings {
        allow: of.allow.clone(),
        allow_http: of.allow_http,
        deadline: of.deadline,
        signing_keys: of.signing_keys.iter().map(source).collect(),
        ca_file: of.ca_file.clone(),
        secrets: config.secrets.iter().map(|(name, of)| (name.clone(), secret(of))).collect(),
        targets: config.targets.iter().map(|(name, of)| (name.clone(), target(of))).collect(),
    }
}

fn source(source: &SecretSource) -> Source {
    match source {
        SecretSource::Value(value) => Source::Value(value.clone()),
        SecretSource::File(path) => Source::File(path.clone()),
    }
}

fn target(target: &crate::config::Target) -> TargetSettings {
    TargetSettings {
        url: target.url.clone(),
        protocol: match target.protocol {
            Protocol::Grpc => outbound::Protocol::Grpc,
            Protocol::Http => outbound::Protocol::Http,
        },
        allowed: target.allowed.clone(),
        auth: target.auth.clone(),
        retry: target.retry.clone(),
        ca_file: target.ca_file.clone(),
        descriptor_set: target.descriptor_set.clone(),
    }
}

/// Judges requests by what the configuration lets out.
#[derive(Debug)]
pub(super) struct Gate(pub(super) Arc<Outbound>);

impl Egress for Gate {
    fn check_call(&self, target: &str, endpoint: &Endpoint, request: &Payload) -> Result<String, NoWay> {
        let endpoint = match endpoint {
            Endpoint::Grpc(method) => outbound::Endpoint::Grpc(method.clone()),
            Endpoint::Http(method, path) => {
                let unknown = "has a method that is not GET, POST, PUT, PATCH or DELETE";
                let method = Method::read(method).ok_or_else(|| NoWay::Endpoint(unknown.into()))?;
                outbound::Endpoint::Http(method, path.clone())
            }
        };
        let body = match request {
            Payload::None => None,
            Payload::Json(bytes) => {
                Some(Body { content_type: "application/json".into(), bytes: bytes.clone() })
            }
            Payload::Data { bytes, content_type } => {
                Some(Body { content_type: content_type.clone(), bytes: bytes.clone() })
            }
        };
        self.0.check_call(target, &endpoint, body.as_ref()).map_err(|no_way| match no_way {
            outbound::NoWay::Target(why) => NoWay::Target(why),
            outbound::NoWay::Endpoint(why) => NoWay::Endpoint(why),
            outbound::NoWay::Request(why) => NoWay::Request(why),
        })?;
        Ok(endpoint.text())
    }

    fn check_reply_to(&self, reply_to: &str, mode: ReplyMode) -> Result<ReplyAddress, String> {
        let read = match mode {
            ReplyMode::Deliver => self.0.check_reply_to(reply_to)?,
            ReplyMode::Carry => ReplyTo::read(reply_to)?,
        };
        Ok(ReplyAddress {
            shown: read.shown().to_owned(),
            credentials: read.written_credentials().to_owned(),
        })
    }
}
