//! A real gRPC service in the test's own process, for jobs to call: tonic, with server reflection or without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::Empty;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::metadata::KeyAndValueRef;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::time::until;
use proto::order_service_server::{OrderService, OrderServiceServer};

#[expect(clippy::allow_attributes, reason = "tonic writes allow into what it generates")]
#[expect(unreachable_pub, reason = "generated")]
mod proto {
    tonic::include_proto!("shop.v1");
}

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shop_descriptor.bin"));

/// Which reflection a shop has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShopReflection {
    /// None.
    None,
    /// Only the older version.
    V1Alpha,
    /// Only the present version.
    V1,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct ShopCall {
    /// Whom to.
    pub customer: String,
    /// How many.
    pub amount: i64,
    /// Seconds of the timestamp that was sent.
    pub when: i64,
    /// Headers.
    pub metadata: HashMap<String, String>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<ShopCall>>,
    abandoned: Notify,
}

/// The service.
pub struct Shop {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Shop {
    /// Opens a shop.
    pub async fn open(reflection: ShopReflection) -> Shop {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let port = incoming.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::<Shared>::default();
        let mut routes = Routes::new(OrderServiceServer::new(Counter { shared: Arc::clone(&shared) }));
        let describe = || {
            tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
        };
        match reflection {
            ShopReflection::None => {}
            ShopReflection::V1Alpha => {
                routes = routes.add_service(describe().build_v1alpha().expect("descriptors of the build"));
            }
            ShopReflection::V1 => {
                routes = routes.add_service(describe().build_v1().expect("descriptors of the build"));
            }
        }
        let task = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_routes(routes);
            let _ = server.serve_with_incoming(incoming).await;
        });
        Shop { port, shared, task }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What came so far.
    pub fn calls(&self) -> Vec<ShopCall> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` calls have come; answers all.
    pub async fn wait_for(&self, count: usize) -> Vec<ShopCall> {
        until(&format!("{count} calls come"), || async {
            let calls = self.calls();
            (calls.len() >= count).then_some(calls)
        })
        .await
    }

    /// Waits until a caller goes away before it was answered.
    pub async fn abandoned(&self) {
        self.shared.abandoned.notified().await;
    }

    /// The descriptor set of the service, encoded.
    pub fn descriptor_set() -> &'static [u8] {
        DESCRIPTORS
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Counter {
    shared: Arc<Shared>,
}

/// Rings when it is dropped before it was disarmed.
struct Unanswered(Option<Arc<Shared>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.abandoned.notify_one();
        }
    }
}

#[tonic::async_trait]
impl OrderService for Counter {
    type FollowStream = Empty<Result<proto::SendResponse, Status>>;

    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        let mut metadata = HashMap::new();
        for entry in request.metadata().iter() {
            if let KeyAndValueRef::Ascii(key, value) = entry {
                metadata.insert(key.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned());
            }
        }
        let given = request.into_inner();
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).push(ShopCall {
            customer: given.customer.clone(),
            amount: given.amount,
            when: given.when.map_or(0, |when| when.seconds),
            metadata,
        });
        let mut unanswered = Unanswered(Some(Arc::clone(&self.shared)));
        tokio::time::sleep(Duration::from_millis(given.delay_ms.max(0).unsigned_abs())).await;
        unanswered.0 = None;
        if given.fail_with != 0 {
            return Err(Status::new(Code::from(given.fail_with), "the shop is closed"));
        }
        let padding = "x".repeat(usize::try_from(given.padding).unwrap_or_default());
        Ok(Response::new(proto::SendResponse { customer: given.customer, amount: given.amount, padding }))
    }

    async fn follow(&self, _: Request<proto::SendRequest>) -> Result<Response<Self::FollowStream>, Status> {
        Ok(Response::new(futures::stream::empty()))
    }
}
