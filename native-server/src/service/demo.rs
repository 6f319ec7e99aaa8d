//! The demo page: files of one folder, and nothing else. No listings, no hidden files, no way out of the folder (not by
//! a link either), and no page in place of a file that is missing: a .wasm answered by index.html is a bug hard to see.
//!
//! Browsers insist on the types of modules and wasm, and are told not to guess; they ask again each time, and are hardly
//! ever sent a file again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::work::block;

/// Types by ending; anything else is `application/octet-stream`.
const TYPES: [(&str, &str); 13] = [
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("woff2", "font/woff2"),
];

/// Serves a folder, which need not be there.
pub(super) fn files(folder: &Path) -> Router {
    let page = |State(folder): State<Arc<PathBuf>>, request: Request| async move {
        if !folder.join("index.html").is_file() {
            let how = format!("the demo is not built: npm run build makes {}\n", folder.display());
            return (StatusCode::NOT_FOUND, how).into_response();
        }
        serve(&folder, "index.html", request).await
    };
    let file = |State(folder): State<Arc<PathBuf>>, UrlPath(path): UrlPath<String>, request: Request| async move {
        serve(&folder, &path, request).await
    };
    let routes = Router::new().route("/", any(page)).route("/{*path}", any(file));
    routes.with_state(Arc::new(folder.to_owned()))
}

async fn serve(folder: &Path, path: &str, request: Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "only GET and HEAD\n").into_response();
    }
    let (folder, path) = (folder.to_owned(), path.to_owned());
    let found = block(move || Ok(find(&folder, &path))).await;
    let Ok(Some(file)) = found else { return (StatusCode::NOT_FOUND, "not found\n").into_response() };
    let Ok(served) = ServeFile::new(&file).oneshot(request).await;
    let mut response = served.map(Body::new);
    let headers = response.headers_mut();
    if headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(type_of(&file)));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The file that a decoded path of a URL means, if it is one of the folder.
fn find(folder: &Path, path: &str) -> Option<PathBuf> {
    let is_refused = |part: &str| part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0']);
    if path.split('/').any(is_refused) {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let file = folder.join(path).canonicalize().ok()?;
    (file.starts_with(&folder) && file.is_file()).then_some(file)
}

fn type_of(file: &Path) -> &'static str {
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let known = TYPES.iter().find(|(known, _)| *known == ending);
    known.map_or("application/octet-stream", |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::header::{ETAG, IF_NONE_MATCH};
    use http_body_util::BodyExt as _;

    /// A folder `dist` beside a secret.
    fn demo() -> (tempfile::TempDir, Router) {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("dist");
        std::fs::create_dir_all(folder.join("assets")).unwrap();
        std::fs::write(folder.join("index.html"), "<title>page</title>").unwrap();
        std::fs::write(folder.join("assets/engine.wasm"), "\0asm").unwrap();
        std::fs::write(folder.join("assets/worker.mjs"), "export {};").unwrap();
        std::fs::write(folder.join("assets/a name.onnx"), "model").unwrap();
        std::fs::write(folder.join(".env"), "hidden").unwrap();
        std::fs::write(base.path().join("secret.txt"), "secret").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(base.path().join("secret.txt"), folder.join("link.txt")).unwrap();
        let router = files(&folder);
        (base, router)
    }

    async fn get(router: &Router, method: &str, path: &str, known: Option<&HeaderValue>) -> (Response<()>, String) {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(etag) = known {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn files_come_with_the_type_that_browsers_insist_on() {
        let (_base, router) = demo();
        let types = [
            ("/", "text/html; charset=utf-8"),
            ("/index.html?x=1", "text/html; charset=utf-8"),
            ("/assets/engine.wasm", "application/wasm"),
            ("/assets/worker.mjs", "text/javascript; charset=utf-8"),
            ("/assets/a%20name.onnx", "application/octet-stream"),
        ];
        for (path, kind) in types {
            let (response, body) = get(&router, "GET", path, None).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], kind, "{path}");
            assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(response.headers()["content-length"], body.len().to_string());
        }
    }

    #[tokio::test]
    async fn what_is_missing_hidden_or_outside_is_not_found() {
        let (_base, router) = demo();
        let paths = [
            "/no.wasm",
            "/assets",
            "/assets/",
            "/index.html/x",
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/assets/..%2f..%2fsecret.txt",
            "/assets/../../secret.txt",
            "/..%5csecret.txt",
            "//secret.txt",
            "/%2fetc/passwd",
            "/link.txt",
            "/.env",
            "/%00",
            "/%zz",
        ];
        for path in paths {
            let (response, body) = get(&router, "GET", path, None).await;
            assert_eq!((response.status().as_u16(), body.as_str()), (404, "not found\n"), "{path}");
        }
        assert_eq!(find(Path::new("/"), "/etc/passwd"), None, "an absolute path does not replace the folder");
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_already_is_not_sent_again_until_it_changes() {
        let (base, router) = demo();
        let (first, _) = get(&router, "GET", "/", None).await;
        let etag = &first.headers()[ETAG];
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let (again, body) = get(&router, "GET", "/", Some(etag)).await;
        assert_eq!((again.status().as_u16(), body.as_str()), (304, ""));
        std::fs::write(base.path().join("dist/index.html"), "<title>another page</title>").unwrap();
        let (changed, body) = get(&router, "GET", "/", Some(etag)).await;
        assert_eq!((changed.status().as_u16(), body.as_str()), (200, "<title>another page</title>"));
    }

    #[tokio::test]
    async fn head_has_the_headers_alone_and_other_methods_are_refused() {
        let (_base, router) = demo();
        let (head, body) = get(&router, "HEAD", "/assets/engine.wasm", None).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-length"], body.as_str()),
            (200, &HeaderValue::from_static("4"), "")
        );
        let (post, _) = get(&router, "POST", "/", None).await;
        assert_eq!((post.status().as_u16(), &post.headers()[ALLOW]), (405, &HeaderValue::from_static("GET, HEAD")));
    }

    #[tokio::test]
    async fn a_demo_that_is_not_built_says_how_to_build_it() {
        let (response, body) = get(&files(Path::new("/no/such/folder")), "GET", "/", None).await;
        assert_eq!(response.status(), 404);
        assert!(body.contains("npm run build") && body.lines().count() == 1, "{body}");
    }
}
