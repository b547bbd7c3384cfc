//! Requests whose shape two readers may read differently. What of it is visible behind the HTTP
//! library is refused, and the connection is closed: whatever follows on it is not to be trusted.
//! The library itself closes after a length beside `chunked`, and [`super::head`] after bare line
//! feeds.

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// The answer to a request that is not to be processed.
pub fn refused<B>(request: &Request<B>) -> Option<Response> {
    let (status, what) = doubt(request)?;
    let mut answer = Problem::new(status, "bad-shape", "The request is ambiguous").detail(what);
    answer.help = Some("send one `Host`, and no transfer coding but `chunked`".to_owned());
    let mut answer = answer.into_response();
    if request.version() < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Some(answer)
}

fn doubt<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    let bad = |what| Some((StatusCode::BAD_REQUEST, what));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority();
    if second.is_some() {
        return bad("more than one `Host`");
    }
    // RFC 9112, 3.2; RFC 9113, 8.3.1.
    match (host, authority) {
        (None, None) if request.version() == Version::HTTP_11 => return bad("no `Host`"),
        (Some(host), Some(authority))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            return bad("`Host` is not the authority of the target");
        }
        _ => {}
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        _ => Some((StatusCode::NOT_IMPLEMENTED, "a transfer coding that is not `chunked`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = headers
            .iter()
            .fold(Request::builder().uri(uri), |r, (name, value)| r.header(*name, *value));
        let answer = refused(&request.body(()).unwrap())?;
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        Some(answer.status().as_u16())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let host = ("host", "a.example");
        assert_eq!(status("/", &[host]), None);
        assert_eq!(status("/", &[host, ("transfer-encoding", "Chunked")]), None);
        assert_eq!(status("/", &[]), Some(400));
        assert_eq!(status("/", &[host, host]), Some(400));
        assert_eq!(status("https://b.example/", &[host]), Some(400));
        assert_eq!(status("https://A.example/", &[host]), None);
        for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
            assert_eq!(status("/", &[host, ("transfer-encoding", coding)]), Some(501), "{coding}");
        }
        let twice = ("transfer-encoding", "chunked");
        assert_eq!(status("/", &[host, twice, twice]), Some(501));
    }
}
