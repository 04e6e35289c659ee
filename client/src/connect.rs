//! Connections: the address, the key, and the settings with which a dead connection is noticed.

use std::fmt;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::errors::{Error, Result};

/// Address of the server when none is given.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:4285";

/// Largest message that is read or written.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that carries the API key: what the clients generated from the contract run on.
pub type Transport = InterceptedService<Channel, Credentials>;

/// Puts the API key into every call.
#[derive(Clone, Default)]
pub struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    fn bearer(key: &str) -> Result<Self> {
        let value = format!("Bearer {}", key.trim());
        let mut value: MetadataValue<Ascii> =
            value.parse().map_err(|_| Error::config("the API key", "it holds characters that no key has"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.authorization.is_some() { "Credentials(..)" } else { "Credentials(none)" })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// What TLS needs beyond the roots that everybody trusts.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) ca_certificate: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
}

/// Makes connections to one address. Each belongs to the runtime it is made on.
#[derive(Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    credentials: Credentials,
    address: String,
}

impl Connector {
    pub(crate) fn new(address: &str, key: Option<&str>, tls: &TlsSettings) -> Result<Self> {
        let address = with_scheme(address);
        let credentials = key.map(Credentials::bearer).transpose()?.unwrap_or_default();
        let refused = |error: tonic::transport::Error| {
            Error::config(format!("the address {address}"), describe(&error))
        };
        let mut endpoint = Endpoint::from_shared(address.clone())
            .and_then(|endpoint| endpoint.user_agent(crate::SDK))
            .map_err(refused)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        if address.starts_with("https://") {
            endpoint = endpoint.tls_config(tls_config(tls)).map_err(refused)?;
        }
        Ok(Self { endpoint, credentials, address })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A connection that is made when it is first used. It mends itself.
    pub(crate) fn lazy(&self) -> Transport {
        self.carry(self.endpoint.connect_lazy())
    }

    /// A connection that stands. It mends itself later.
    pub(crate) async fn connect(&self) -> Result<Transport, tonic::transport::Error> {
        Ok(self.carry(self.endpoint.connect().await?))
    }

    fn carry(&self, channel: Channel) -> Transport {
        InterceptedService::new(channel, self.credentials.clone())
    }
}

fn with_scheme(address: &str) -> String {
    let address = address.trim().trim_end_matches('/');
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

fn tls_config(settings: &TlsSettings) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().with_enabled_roots();
    if let Some(pem) = &settings.ca_certificate {
        config = config.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some((certificate, key)) = &settings.identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &settings.server_name {
        config = config.domain_name(name);
    }
    config
}

/// The error with its causes; the transport's own text says nothing of them.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_its_scheme() {
        assert_eq!(with_scheme("127.0.0.1:4285"), "http://127.0.0.1:4285");
        assert_eq!(with_scheme(" https://jobs.example.org/ "), "https://jobs.example.org");
    }

    #[test]
    fn a_key_is_never_shown() {
        let credentials = Credentials::bearer("hk_secret").unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
        assert!(!format!("{:?}", credentials.authorization).contains("secret"));
    }

    #[test]
    fn an_address_that_cannot_be_used_is_named_in_the_error() {
        let error = Connector::new("http://not an address", None, &TlsSettings::default()).err().unwrap();
        assert!(error.to_string().contains("not an address"), "{error}");
    }

    #[tokio::test]
    async fn https_needs_nothing_more_than_the_address() {
        Connector::new("https://jobs.example.org", Some("k"), &TlsSettings::default()).unwrap().lazy();
    }
}
