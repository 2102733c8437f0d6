//! The headers of every answer: nothing is loaded, framed, stored or told to others.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::PageBody;

/// A number used once: the content security policy lets the style and the script that have it be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonce(String);

impl Nonce {
    /// Draws one.
    pub(super) fn draw() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// As the attribute has it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The page itself.
pub(super) fn page(html: String, nonce: &Nonce) -> Response<PageBody> {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        nonce = nonce.as_str()
    );
    answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        &policy,
        PageBody::whole(html),
    )
}

/// A line of text, for requests that get no page.
pub(super) fn text(status: StatusCode, text: &str) -> Response<PageBody> {
    let media_type = "text/plain; charset=utf-8";
    answer(status, media_type, BARE, PageBody::whole(text.to_owned()))
}

/// A stream of server-sent events.
pub(super) fn events(body: PageBody) -> Response<PageBody> {
    answer(StatusCode::OK, "text/event-stream", BARE, body)
}

fn answer(
    status: StatusCode,
    media_type: &'static str,
    content_security_policy: &str,
    body: PageBody,
) -> Response<PageBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let policy = HeaderValue::from_str(content_security_policy);
    // A nonce is hexadecimal: the fallback, which is stricter, is never taken.
    let policy = policy.unwrap_or(HeaderValue::from_static(BARE));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    harden(headers);
    response
}

fn harden(headers: &mut HeaderMap) {
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RESOURCE_POLICY, same_origin.clone());
    headers.insert(OPENER_POLICY, same_origin);
}

/// The content security policy of what is no page.
const BARE: &str = "default-src 'none'; frame-ancestors 'none'";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
