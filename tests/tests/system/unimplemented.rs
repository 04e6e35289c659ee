//! What is not in the contract is told so by its name.

use haulier_proto::v1 as pb;
use haulier_tests::{Server, on_both, refusal};
use tonic::Code;

on_both!(a_method_that_no_contract_has_is_unimplemented,);

async fn a_method_that_no_contract_has_is_unimplemented(server: &Server) {
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/haulier.v1.JobService/Nonsense");
    let codec = tonic_prost::ProstCodec::<pb::GetJobRequest, pb::GetJobResponse>::default();
    let refused = refusal(grpc.unary(tonic::Request::new(pb::GetJobRequest::default()), path, codec).await);
    assert_eq!(refused.code, Code::Unimplemented);
}
