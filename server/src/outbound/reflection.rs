//! A target's own word on its messages: gRPC server reflection, `v1` or, where that is missing, `v1alpha`.

use std::collections::{HashMap, HashSet, VecDeque};

use prost_reflect::DescriptorPool;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Files of one service with all that they import.
const FILES_MAX: usize = 1_000;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What is asked for.
enum Question {
    Symbol(String),
    File(String),
}

/// Which version the target speaks.
#[derive(Clone, Copy)]
enum Version {
    V1,
    V1Alpha,
}

/// The descriptors of a service, whole. NOT_FOUND when the target does not have it, UNIMPLEMENTED when it has no reflection.
pub(super) async fn ask(
    channel: Channel,
    service: &str,
    metadata: &MetadataMap,
) -> Result<DescriptorPool, Status> {
    let mut version = Version::V1;
    let mut first = one(&channel, version, Question::Symbol(service.to_owned()), metadata).await;
    if first.as_ref().is_err_and(|status| status.code() == Code::Unimplemented) {
        version = Version::V1Alpha;
        first = one(&channel, version, Question::Symbol(service.to_owned()), metadata).await;
    }
    let mut files: HashMap<String, FileDescriptorProto> = HashMap::new();
    let mut coming = VecDeque::from(first?);
    let mut asked = HashSet::new();
    while let Some(file) = coming.pop_front() {
        let name = file.name().to_owned();
        let needed: Vec<String> = file.dependency.clone();
        files.insert(name, file);
        for needed in needed {
            let is_there = files.contains_key(&needed) || coming.iter().any(|file| file.name() == needed);
            if !is_there && asked.insert(needed.clone()) {
                if asked.len() > FILES_MAX {
                    return Err(Status::failed_precondition(format!(
                        "{service} imports more than {FILES_MAX} files"
                    )));
                }
                coming.extend(one(&channel, version, Question::File(needed), metadata).await?);
            }
        }
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values()).map_err(|error| {
        Status::failed_precondition(format!("the target's descriptors do not fit together: {error}"))
    })?;
    Ok(pool)
}

/// Asks one question in the words of one version.
macro_rules! asked_by {
    ($version:ident, $channel:expr, $question:expr, $metadata:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let message_request = Some(match $question {
            Question::Symbol(name) => MessageRequest::FileContainingSymbol(name),
            Question::File(name) => MessageRequest::FileByFilename(name),
        });
        let question = ServerReflectionRequest { host: String::new(), message_request };
        let mut request = Request::new(futures::stream::iter([question]));
        *request.metadata_mut() = $metadata.clone();
        let mut client =
            ServerReflectionClient::new($channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut answers = client.server_reflection_info(request).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.message_response) {
            Some(MessageResponse::FileDescriptorResponse(files)) => Ok(files.file_descriptor_proto),
            Some(MessageResponse::ErrorResponse(error)) => {
                Err(Status::new(Code::from(error.error_code), error.error_message))
            }
            _ => Err(Status::failed_precondition("the target's reflection answered something else")),
        }
    }};
}

async fn one(
    channel: &Channel,
    version: Version,
    question: Question,
    metadata: &MetadataMap,
) -> Result<Vec<FileDescriptorProto>, Status> {
    let files: Vec<Vec<u8>> = match version {
        Version::V1 => asked_by!(v1, channel, question, metadata)?,
        Version::V1Alpha => asked_by!(v1alpha, channel, question, metadata)?,
    };
    let read = |bytes: Vec<u8>| FileDescriptorProto::decode(bytes.as_slice());
    files.into_iter().map(read).collect::<Result<_, _>>().map_err(|error| {
        Status::failed_precondition(format!("a descriptor of the target cannot be read: {error}"))
    })
}
