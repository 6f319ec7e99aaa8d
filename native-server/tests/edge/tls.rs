//! TLS from outside: what is spoken, what is refused, and that every client of ours speaks it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{ListCollectionsRequest, Metric};
use hyperspace_server::service::Server;
use hyperspace_server::settings::{Role, Secret, Settings};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::support::client::{Client, admin_key, batch, numbers};
use crate::support::program::{CLI, Program, SERVER, command, run, text};
use crate::support::server::{Running, settings};
use crate::support::{http1, skip, until};

/// A folder with `ca.pem` and the pair `cert.pem`, `key.pem` of this machine.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "an authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let its_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&its_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, its_key)).unwrap();
        let files = [("ca.pem", root.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())];
        files.iter().for_each(|(name, pem)| std::fs::write(folder.path().join(name), pem).unwrap());
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, settings: &mut Settings) {
        settings.tls_cert = Some(self.file("cert.pem"));
        settings.tls_key = Some(self.file("key.pem"));
    }

    async fn server(&self) -> Running {
        Running::with(|settings| self.serve(settings)).await
    }

    async fn client(&self, server: SocketAddr) -> Client {
        let root = Certificate::from_pem(std::fs::read(self.file("ca.pem")).unwrap());
        let endpoint: Endpoint = Channel::from_shared(format!("https://{server}")).unwrap();
        let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(root)).unwrap();
        Client::over(endpoint.connect().await.unwrap())
    }
}

/// Runs `openssl s_client` against a server, with some bytes to send; nothing where there is no openssl.
fn s_client(server: SocketAddr, authority: &Authority, more: &[&str], bytes: &[u8]) -> Option<Output> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.to_string(), "-verify_return_error", "-CAfile"]);
    command.arg(authority.file("ca.pem")).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skip("there is no openssl");
        return None;
    };
    // One that was refused reads no more.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    Some(child.wait_with_output().unwrap())
}

/// Asks a server by the command line.
fn cli(server: &str, more: &[&str]) -> Output {
    run(CLI, Path::new("."), &[&["--server", server, "--timeout", "20"], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_1_2_and_1_3_are_spoken_and_older_ones_refused() {
    let authority = Authority::new();
    let server = authority.server().await;
    let ask = |more: &[&str]| s_client(server.address, &authority, more, b"");
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for protocol in ["h2", "http/1.1"] {
            let Some(answer) = ask(&[flag, "-alpn", protocol]) else { return };
            let said = text(&answer.stdout);
            assert!(answer.status.success(), "{version}: {answer:?}");
            assert!(said.contains(&format!("New, {version}, Cipher is")), "{said}");
            assert!(said.contains(&format!("ALPN protocol: {protocol}")), "{said}");
            assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        }
    }
    for flag in ["-tls1", "-tls1_1"] {
        // Without this the client would refuse it by itself.
        let answer = ask(&[flag, "-cipher", "ALL@SECLEVEL=0"]).unwrap();
        let said = text(&answer.stderr);
        assert!(!answer.status.success() && said.contains("SSL alert number"), "the server refuses {flag}: {said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_answered_inside_tls_and_plain_text_gets_no_answer() {
    let authority = Authority::new();
    let server = authority.server().await;
    let host = server.address.to_string();
    let request = http1::request("GET", "/healthz", &[("host", &host)], b"");
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, &request).await.unwrap();
    let answer = http1::answer(&mut plain).await;
    assert!(answer.is_none(), "{answer:?}");
    let prior = Endpoint::from_shared(format!("http://{host}")).unwrap().connect().await;
    if let Ok(channel) = prior {
        // The client believes to be connected before the server has said a word.
        assert!(Client::over(channel).collections().list(ListCollectionsRequest {}).await.is_err());
    }
    let Some(answer) = s_client(server.address, &authority, &["-quiet"], &request) else { return };
    let said = text(&answer.stdout);
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("alive\n"), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_tls_to_servers_that_it_can_know() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| authority.file(name));
    let [certificate, key, ca] = [&certificate, &key, &ca].map(|path| path.to_str().unwrap());
    let words = [
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "data",
        "--log",
        "error",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ];
    let server = Program::listening(&mut command(SERVER, folder.path(), &words));
    assert!(server.line.contains(" listening on https://127.0.0.1:"), "{}", server.line);
    for host in ["127.0.0.1", "localhost"] {
        let name = host.replace('.', "-");
        let url = format!("https://{host}:{}", server.address.port());
        let made = cli(&url, &["--ca", ca, "collections", "create", &name, "--dimension", "2", "--metric", "l2"]);
        assert!(made.status.success(), "{made:?}");
        let health = cli(&url, &["--ca", ca, "health"]);
        assert_eq!((health.status.code(), text(&health.stdout)), (Some(0), "serving\n"), "{health:?}");
        let unknown = cli(&url, &["stats"]);
        assert_eq!(unknown.status.code(), Some(1), "the system knows no such authority: {unknown:?}");
        let wrong = other.file("ca.pem");
        let wrong = cli(&url, &["--ca", wrong.to_str().unwrap(), "stats"]);
        assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
        assert!(text(&wrong.stderr).contains("certificate"), "{wrong:?}");
    }
    let plain = format!("http://{}", server.address);
    assert_eq!(cli(&plain, &["stats"]).status.code(), Some(1));
    for (url, ca, named) in [
        (plain.as_str(), ca, "plain text"),
        ("https://127.0.0.1:1", "/no/such.pem", "/no/such.pem"),
        ("https://127.0.0.1:1", key, "no PEM file of certificates"),
    ] {
        let refused = cli(url, &["--ca", ca, "stats"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains(named), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_follows_over_tls_a_leader_that_it_can_know() {
    let (authority, other) = (Authority::new(), Authority::new());
    let leader = authority.server().await;
    let client = authority.client(leader.address).await;
    let (_, key) = client.create_key(admin_key()).await;
    let client = client.key(&key);
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..7), &[0.5; 14])).await;
    let url = format!("https://{}", leader.address);
    let following = |ca: Option<PathBuf>| {
        let (url, key) = (url.clone(), key.clone());
        move |settings: &mut Settings| {
            settings.role = Role::Follower;
            settings.leader = Some(url);
            settings.leader_api_key = Secret::new(&key);
            settings.leader_ca = ca;
        }
    };
    let follower = Running::with(following(Some(authority.file("ca.pem")))).await;
    let copy = follower.client().await.key(&key);
    let has_all = async || {
        let listed = copy.collections().list(ListCollectionsRequest {}).await;
        listed.is_ok_and(|listed| !listed.into_inner().collections.is_empty()) && copy.count("c", "").await == 7
    };
    until("the follower has all", has_all).await;
    follower.stop().await;

    let stranger = Running::with(following(Some(other.file("ca.pem")))).await;
    let copy = stranger.client().await;
    let mut trouble = String::new();
    until("it says what is wrong", async || {
        trouble = copy.stats().await.replication.unwrap().trouble;
        !trouble.is_empty()
    })
    .await;
    assert!(trouble.contains("certificate"), "{trouble}");
    stranger.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_reach_a_server_only_with_keys_and_tls() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let mut open = settings(&folder.path().join("data"));
    open.listen = "0.0.0.0:0".parse().unwrap();
    assert_eq!(open.check().unwrap_err().kind(), ErrorKind::InvalidArgument);
    authority.serve(&mut open);
    open.check().unwrap();
    let refused = Server::open(open.clone()).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.message().contains("without keys"), "{refused}");
    let insecure = Settings { insecure: true, ..open.clone() };
    Server::open(insecure).await.unwrap().serve(async {}).await.unwrap();
    open.admin_api_key = Secret::new(&"k".repeat(40));
    Server::open(open).await.unwrap().serve(async {}).await.unwrap();
}
