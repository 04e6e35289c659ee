//! The contract of Haulier, package `haulier.v1`, as Rust types: messages, gRPC clients and gRPC servers.
//!
//! Everything in [`v1`] is generated at build time from the `.proto` files beside this crate, which are the contract and carry
//! its documentation: meaning, default, limit and unit of every field. Applications use the crate `haulier` instead; it
//! speaks this contract for them.
//!
//! - Applications call [`v1::job_service_client`] and [`v1::recurring_task_service_client`].
//! - Worker processes call [`v1::worker_service_client`].
//! - Operators call [`v1::queue_service_client`], [`v1::lock_service_client`] and [`v1::admin_service_client`].
//!
//! Fields of type `bytes` are [`bytes::Bytes`]: a decoded payload shares the memory of the message it came in.

/// The package `haulier.v1`.
#[expect(clippy::allow_attributes, reason = "tonic writes allow into what it generates")]
#[expect(clippy::large_enum_variant, reason = "one shape for all messages is worth more than a smaller enum")]
pub mod v1 {
    tonic::include_proto!("haulier.v1");
}

/// Descriptors of `haulier.v1` and what it imports, as an encoded `google.protobuf.FileDescriptorSet`: for server reflection and
/// for tools that convert messages by name.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/haulier_descriptor.bin"));
