//! Plain HTTP: whether the server lives, its figures, and the files of the demo.

use std::collections::BTreeMap;
use std::fs;

use hyperspace_server::proto::Metric;

use crate::support::client::{batch, nearest, numbers};
use crate::support::http1::{exchange, request};
use crate::support::server::Running;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_says_so() {
    let server = Running::new().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 200, "{path}");
        assert_eq!(answer.text().lines().count(), 1, "{path}");
    }
    server.stop().await;
}

/// The samples of a Prometheus text, with their labels; checks its form on the way.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut described: BTreeMap<&str, &str> = BTreeMap::new();
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    for line in body.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&what), "{line}");
            assert!(!rest.is_empty(), "{line}");
            if what == "TYPE" {
                assert_eq!(described.insert(name, rest), None, "{name} is described twice");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let bare = name.split('{').next().unwrap();
        assert!(bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let family = described.iter().rev().find(|(family, _)| bare.starts_with(**family));
        let (family, kind) = family.unwrap_or_else(|| panic!("nobody says what {bare} is"));
        let endings: &[&str] = match *kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            kind => panic!("{family} is a {kind}"),
        };
        assert!(endings.contains(&&bare[family.len()..]), "{bare} is no sample of the {kind} {family}");
        assert_eq!(samples.insert(name.to_owned(), value), None, "{name} is there twice");
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_a_prometheus_text_that_agrees_with_the_stream() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..10), &[0.5; 20])).await;
    client.delete("c", numbers(0..4)).await;
    for _ in 0..5 {
        client.search(nearest("c", &[0.0; 2], 1)).await;
    }
    let answer = server.get("/metrics").await;
    assert_eq!(answer.code, 200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let samples = samples(answer.text());
    let stats = client.stats().await;
    let expected = [
        ("hyperspace_points_written_total", 10.0),
        ("hyperspace_points_deleted_total", 4.0),
        ("hyperspace_log_syncs_total", stats.log_syncs as f64),
        ("hyperspace_log_records_total", stats.log_records as f64),
        ("hyperspace_disk_bytes", stats.disk_bytes as f64),
        ("hyperspace_log_bytes", stats.log_bytes as f64),
        ("hyperspace_writable", 1.0),
        ("hyperspace_search_seconds_count", 5.0),
        ("hyperspace_search_seconds_bucket{le=\"+Inf\"}", 5.0),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name}: {samples:?}");
    }
    let build = format!("hyperspace_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(samples.get(&build), Some(&1.0));
    assert!(samples["hyperspace_resident_bytes"] > 0.0 || !cfg!(target_os = "linux"));
    assert!(samples["hyperspace_search_seconds_sum"] > 0.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_a_folder_of_files_and_nothing_beside_it() {
    let server = Running::new().await;
    let root = server.data.parent().unwrap().to_owned();
    let missing = server.get("/").await;
    assert_eq!(missing.code, 404);
    assert!(missing.text().contains("npm run build"), "{missing:?}");

    let demo = root.join("demo");
    fs::create_dir_all(demo.join("assets/.git")).unwrap();
    let files = [
        ("demo/index.html", "<!doctype html>"),
        ("demo/assets/app.js", "export {}"),
        ("demo/assets/db.wasm", "wasm"),
        ("demo/assets/model.onnx", "onnx"),
        ("demo/.env", "secret"),
        ("demo/assets/.git/config", "secret"),
        ("secret.txt", "secret"),
    ];
    files.iter().for_each(|(path, text)| fs::write(root.join(path), text).unwrap());
    std::os::unix::fs::symlink(root.join("secret.txt"), demo.join("assets/link.txt")).unwrap();

    let there = [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/index.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("/assets/app.js", "text/javascript; charset=utf-8", "export {}"),
        ("/assets/db.wasm?v=1", "application/wasm", "wasm"),
        ("/assets/model.onnx", "application/octet-stream", "onnx"),
    ];
    for (path, kind, text) in there {
        let answer = server.get(path).await;
        assert_eq!((answer.code, answer.header("content-type"), answer.text()), (200, kind, text), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
    let not_there = [
        "/..%2fsecret.txt",
        "/..%2f..%2fCargo.toml",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/assets/../../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/assets/%252e%252e/secret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/etc/passwd",
        "/.env",
        "/%2eenv",
        "/assets/.git/config",
        "/assets/link.txt",
        "/assets/",
        "/assets",
        "/data/catalog",
        "/index.html%00.js",
        "/index.html/",
        "/assets/app.ts",
    ];
    for path in not_there {
        let answer = server.get(path).await;
        assert!([400, 404].contains(&answer.code), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{path}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_refused_and_change_nothing() {
    let server = Running::new().await;
    let own = server.address.to_string();
    fs::create_dir(server.data.with_file_name("demo")).unwrap();
    fs::write(server.data.with_file_name("demo").join("index.html"), "page").unwrap();
    for path in ["/", "/index.html", "/healthz", "/livez", "/readyz", "/metrics"] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"] {
            let answer = exchange(server.address, &request(method, path, &[("host", &own)], b"")).await;
            assert_eq!(answer.code, 405, "{method} {path}");
        }
        let head = exchange(server.address, &request("HEAD", path, &[("host", &own)], b"")).await;
        assert_eq!((head.code, head.body.len()), (200, 0), "HEAD {path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_ends_its_connection_and_nothing_else() {
    let server = Running::new().await;
    let own = server.address.to_string();
    let long = format!("/{}", "a".repeat(100_000));
    let odd = [
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client that begins with TLS".to_vec(),
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: localhost\r\n bad: folding\r\n\r\n".to_vec(),
        request("GET", "/", &[("host", &own), ("content-length", "-1")], b""),
        request(
            "POST",
            "/",
            &[("host", &own), ("content-length", "5"), ("transfer-encoding", "chunked")],
            b"0\r\n\r\n",
        ),
        request("GET", &long, &[("host", &own)], b""),
        request("GET", "/", &[("host", &own), ("x", &"b".repeat(1 << 20))], b""),
    ];
    for bytes in odd {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        if let Some(answer) = crate::support::http1::answer(&mut stream).await {
            assert!((400..=505).contains(&answer.code), "{shown}: {answer:?}");
        }
        assert_eq!(server.get("/healthz").await.code, 200, "after {shown}");
    }
    server.stop().await;
}
