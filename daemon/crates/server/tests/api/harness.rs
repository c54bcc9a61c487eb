//! A server on a temporary socket and a free port.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use autodidact_client::{Client, ClientError, Target, v1};
use autodidact_domain::ports::SystemInfo;
use autodidact_domain::{EventBody, WorkflowName, WorkflowState, ports::Events, ports::Workflows};
use autodidact_flow::Supervisor;
use autodidact_server::{Auth, Limits, Listener, Server, ServerError, Token};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fakes::World;

pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses-0123";

pub(crate) struct Daemon {
    pub(crate) world: Arc<World>,
    pub(crate) socket: PathBuf,
    pub(crate) address: String,
    pub(crate) client: Client,
    pub(crate) supervisor: Arc<Supervisor>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServerError>>,
    _folder: Option<tempfile::TempDir>,
}

/// Short times, so that tests of slowness are quick.
pub(crate) fn quick() -> Limits {
    Limits {
        heartbeat: Duration::from_millis(200),
        slow_peer: Duration::from_millis(700),
        drain: Duration::from_secs(2),
        ..Limits::default()
    }
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let socket = folder.path().join("socket");
        let mut daemon = Self::serve(World::new(), &socket, limits).await;
        daemon._folder = Some(folder);
        daemon
    }

    pub(crate) async fn serve(world: Arc<World>, socket: &Path, limits: Limits) -> Self {
        let auth = Auth {
            token: Some(Token::new(TOKEN).unwrap()),
            tls: None,
        };
        let unix = Listener::unix(socket).unwrap();
        let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap(), &auth)
            .await
            .unwrap();
        let address = tcp.tcp_address().unwrap().to_string();
        let info = SystemInfo {
            version: "1.2.3".into(),
            data_dir: "/data".into(),
            compute: "exact".into(),
            threads: 2,
            schema_version: 1,
            listening: vec![unix.address(), tcp.address()],
        };
        let supervisor = Supervisor::new(world.ports());
        let server = Server::with_limits(world.ports(), supervisor.clone(), info, auth, limits);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(vec![unix, tcp], async {
            let _ = stopped.await;
        }));
        let client = Client::connect(&Target::Unix(socket.to_path_buf()))
            .await
            .unwrap();
        Self {
            world,
            socket: socket.to_path_buf(),
            address,
            client,
            supervisor,
            stop,
            serving,
            _folder: None,
        }
    }

    /// Stops the server; gives back its folder, so that another one can serve there.
    pub(crate) async fn stop(self) -> (Result<(), ServerError>, Option<tempfile::TempDir>) {
        self.stop.send(()).unwrap();
        let supervisor = self.supervisor.clone();
        let outcome = tokio::time::timeout(Duration::from_secs(10), self.serving)
            .await
            .unwrap()
            .unwrap();
        tokio::task::spawn_blocking(move || supervisor.shutdown())
            .await
            .unwrap();
        (outcome, self._folder)
    }

    pub(crate) async fn submit(
        &self,
        yaml: &str,
        request_id: &str,
    ) -> Result<v1::Workflow, ClientError> {
        let request = v1::SubmitWorkflowRequest {
            request_id: request_id.into(),
            workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml.into())),
        };
        Ok(self
            .client
            .workflows()
            .submit(request)
            .await?
            .into_inner()
            .workflow
            .unwrap())
    }

    /// Submits a workflow that waits for a dataset, so that nothing but the test moves it.
    pub(crate) async fn submit_waiting(&self, name: &str) -> WorkflowName {
        self.submit(&waiting(name), "").await.unwrap();
        WorkflowName::new(name).unwrap()
    }

    /// Moves a workflow as the supervisor does.
    pub(crate) fn set_state(&self, name: &WorkflowName, state: WorkflowState) {
        Workflows::set_state(&*self.world, name, state, "").unwrap();
        self.world
            .publish(
                Some(name),
                EventBody::State {
                    state,
                    message: String::new(),
                },
            )
            .unwrap();
    }
}

pub(crate) fn waiting(name: &str) -> String {
    format!("name: {name}\nmodel: tiny\nseeds: drops\non_drop: drops\nstages:\n  train: {{}}\n")
}

/// Polls until it holds, for ten seconds at most.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds: {what}");
}
