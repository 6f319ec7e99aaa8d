//! The standard services beside ours: health and reflection; and what the contract names that is not built.

use hyperspace_core::error::ErrorKind::Unsupported;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::contract::rpcs;
use crate::support::frames::{call, framed};
use crate::support::refusal::refused;
use crate::support::server::Running;

const SERVICES: [&str; 4] =
    ["hyperspace.v1.Admin", "hyperspace.v1.Collections", "hyperspace.v1.Points", "hyperspace.v1.Sync"];

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_of_the_server_and_of_each_service_until_it_stops() {
    let server = Running::new().await;
    let mut health = HealthClient::new(server.client().await.channel);
    for service in [""].into_iter().chain(SERVICES) {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "hyperspace.v1.Nothing".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let request = HealthCheckRequest { service: SERVICES[0].into() };
    let mut watched = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stopping = tokio::spawn(server.stop());
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_and_has_the_file_of_every_symbol() {
    let server = Running::new().await;
    let mut client = ServerReflectionClient::new(server.client().await.channel);
    let mut ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        answers.next().await.unwrap().map(|answer| answer.message_response.unwrap())
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("no list: {listed:?}") };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let standard = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    assert_eq!(names, standard.into_iter().chain(SERVICES).collect::<Vec<_>>());

    let symbol = |name: &str| MessageRequest::FileContainingSymbol(name.into());
    let rpcs = rpcs().into_iter().map(|path| path[1..].replace('/', "."));
    let symbols = rpcs.chain(SERVICES.map(String::from)).chain(["hyperspace.v1.PointId".into()]);
    for name in symbols {
        let answer = ask(symbol(&name)).await.unwrap();
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("no file for {name}: {answer:?}") };
        let file = FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]).unwrap();
        assert_eq!(file.package(), "hyperspace.v1", "{name}");
    }
    assert_eq!(ask(symbol("hyperspace.v1.Nothing")).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_the_contract_that_is_not_built_says_so() {
    let server = Running::new().await;
    let channel = server.client().await.channel;
    for rpc in ["Rebuild", "Usage"] {
        let path = format!("/hyperspace.v1.Admin/{rpc}");
        let outcome = call(&channel, &path, &[], framed(&[])).await;
        refused(&path, outcome, Unsupported, &format!("{rpc} is not built yet"));
    }
    server.stop().await;
}
