//! Who may call, and how serving ends.

use std::time::Duration;

use autodidact_client::{Client, Target, v1};
use autodidact_domain::ports::SystemInfo;
use autodidact_flow::Supervisor;
use autodidact_server::{Auth, Listener, Server, ServerError, Tls, Token};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fakes::World;
use crate::harness::{Daemon, TOKEN};

async fn reason(target: &Target) -> Result<(), String> {
    let client = Client::connect(target)
        .await
        .map_err(|error| error.reason())?;
    let answer = client.system().get_info(v1::GetInfoRequest {}).await;
    answer
        .map(|_| ())
        .map_err(|status| autodidact_client::ClientError::from(status).reason())
}

#[tokio::test]
async fn tcp_takes_the_token_and_nothing_else() {
    let daemon = Daemon::start().await;
    let target = |token: &str| Target::Tcp {
        address: daemon.address.clone(),
        token: token.into(),
    };
    assert_eq!(reason(&target(TOKEN)).await, Ok(()));
    for wrong in ["", "wrong", &TOKEN[1..]] {
        assert_eq!(
            reason(&target(wrong)).await,
            Err("UNAUTHENTICATED".into()),
            "{wrong:?}"
        );
    }
    // No service is left out, health neither.
    let open =
        tonic::transport::Endpoint::from_shared(format!("http://{}", daemon.address)).unwrap();
    let channel = open.connect().await.unwrap();
    let refused = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_encrypts_every_tcp_address() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let tls = Tls {
        certificate_pem: certified.cert.pem().into_bytes(),
        key_pem: certified.signing_key.serialize_pem().into_bytes(),
    };
    let auth = Auth {
        token: Some(Token::new(TOKEN).unwrap()),
        tls: Some(tls),
    };
    // An address that others could reach.
    let listener = Listener::tcp("0.0.0.0:0".parse().unwrap(), &auth)
        .await
        .unwrap();
    let port = listener.tcp_address().unwrap().port();
    let server = server(auth);
    let serving = tokio::spawn(server.serve(vec![listener], std::future::pending()));

    let address = format!("localhost:{port}");
    let token = TOKEN.to_string();
    let authority_pem = certified.cert.pem().into_bytes();
    let target = Target::Tls {
        address: address.clone(),
        token: token.clone(),
        authority_pem,
    };
    assert_eq!(reason(&target).await, Ok(()));
    let wrong = Target::Tls {
        address: address.clone(),
        token: token.clone(),
        authority_pem: rcgen::generate_simple_self_signed(["localhost".to_string()])
            .unwrap()
            .cert
            .pem()
            .into_bytes(),
    };
    assert_eq!(reason(&wrong).await, Err("UNAVAILABLE".into()));
    assert!(reason(&Target::Tcp { address, token }).await.is_err());
    serving.abort();
}

#[tokio::test]
async fn an_unusable_certificate_ends_the_server_with_a_reason() {
    let tls = Tls {
        certificate_pem: b"certificate".to_vec(),
        key_pem: b"key".to_vec(),
    };
    let auth = Auth {
        token: Some(Token::new(TOKEN).unwrap()),
        tls: Some(tls),
    };
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &auth)
        .await
        .unwrap();
    let ended = server(auth)
        .serve(vec![listener], std::future::pending())
        .await;
    assert!(
        matches!(ended, Err(ServerError::Transport { .. })),
        "{ended:?}"
    );
}

fn server(auth: Auth) -> Server {
    let world = World::new();
    let info = SystemInfo {
        version: String::new(),
        data_dir: String::new(),
        compute: String::new(),
        threads: 1,
        schema_version: 1,
        listening: Vec::new(),
    };
    Server::new(world.ports(), Supervisor::new(world.ports()), info, auth)
}

#[tokio::test]
async fn health_tells_that_it_serves() {
    let daemon = Daemon::start().await;
    let mut health = HealthClient::new(daemon.client.connection());
    let answer = health
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_stop_ends_watches_with_a_reason_and_removes_the_socket() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("waits").await;
    let request = v1::WatchWorkflowRequest {
        name: name.to_string(),
        resume_after: None,
    };
    let mut watch = daemon
        .client
        .workflows()
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let socket = daemon.socket.clone();
    let stopping = tokio::spawn(daemon.stop());
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        autodidact_client::ClientError::from(ended).reason(),
        "SHUTTING_DOWN"
    );
    let (outcome, _folder) = stopping.await.unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(!socket.exists());
}

#[tokio::test]
async fn reflection_names_every_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let daemon = Daemon::start().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(daemon.client.connection());
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for service in [
        "Workflow",
        "Dataset",
        "Model",
        "Checkpoint",
        "Plugin",
        "Event",
        "System",
    ] {
        assert!(
            names.contains(&format!("autodidact.v1.{service}Service").as_str()),
            "{names:?}"
        );
    }
}
