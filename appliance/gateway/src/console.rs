//! The console's files, which are inside the program, and the addresses of its pages.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Response, StatusCode};
use rust_embed::RustEmbed;

use crate::answers::text;

/// Files that `npm run build` made.
#[derive(RustEmbed)]
#[folder = "../console/dist"]
struct Files;

/// Addresses that the page itself knows; each of them is answered with `index.html`.
pub const CLIENT_ROUTES: [&str; 6] = ["/", "/chat", "/models", "/status", "/setup", "/signin"];

/// Folder of files whose names carry a digest of their content.
const HASHED: &str = "assets/";
const INDEX: &str = "index.html";

/// Answers a `GET` for a path that is no route of the table; `None` when there is nothing to show.
#[must_use]
pub fn file(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    if CLIENT_ROUTES.contains(&path) {
        return index(StatusCode::OK);
    }
    let name = path.strip_prefix('/')?;
    if let Some(file) = Files::get(name).filter(|_| name != INDEX) {
        let mut answer = text(StatusCode::OK, media_type(name), file.data.into_owned());
        let caching = if name.starts_with(HASHED) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        answer
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        return Some(answer);
    }
    // A person who mistyped an address gets a page that says so; a program gets JSON.
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepts.contains("text/html") {
        index(StatusCode::NOT_FOUND)
    } else {
        None
    }
}

fn index(status: StatusCode) -> Option<Response<Body>> {
    Some(text(
        status,
        "text/html; charset=utf-8",
        Files::get(INDEX)?.data.into_owned(),
    ))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_routes_give_the_page_and_it_is_not_kept() {
        for path in CLIENT_ROUTES {
            let answer = file(path, &HeaderMap::new()).unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert!(
                !answer.headers().contains_key(header::CACHE_CONTROL),
                "the default, no-store, holds"
            );
        }
        assert!(
            file("/index.html", &HeaderMap::new()).is_none(),
            "one address for one page"
        );
    }

    #[test]
    fn hashed_files_are_kept_for_ever_and_have_their_type() {
        let mut hashed = Files::iter().filter(|name| name.starts_with(HASHED)).peekable();
        assert!(hashed.peek().is_some(), "the console was built");
        for name in hashed {
            let answer = file(&format!("/{name}"), &HeaderMap::new()).unwrap();
            assert!(
                answer.headers()[header::CACHE_CONTROL]
                    .to_str()
                    .unwrap()
                    .contains("immutable")
            );
            assert_ne!(
                answer.headers()[header::CONTENT_TYPE],
                "application/octet-stream",
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_addresses_are_a_page_for_people_only() {
        let mut headers = HeaderMap::new();
        assert!(file("/nothing", &headers).is_none());
        assert!(file("/../Cargo.toml", &headers).is_none());
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,*/*"));
        assert_eq!(
            file("/nothing", &headers).unwrap().status(),
            StatusCode::NOT_FOUND
        );
    }
}
