//! The examples in S3's documentation, and what S3 refuses.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>, `sigv4-query-string-auth.html`,
//! `sigv4-streaming.html` and `sigv4-streaming-trailers.html` there, read 2026-11.

use starmap_sigv4::{Credentials, Error, Family, Payload, Request, Signing, Time, parse, presign, sha256_hex, sign};

const HOST: (&str, &[u8]) = ("host", b"examplebucket.s3.amazonaws.com");

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: None,
    }
}

fn at() -> Time {
    Time::parse("20130524T000000Z").unwrap()
}

fn signing(credentials: &Credentials) -> Signing<'_> {
    Signing { credentials, region: "us-east-1", service: "s3", at: at() }
}

#[test]
fn a_get_with_a_range() {
    let headers = [HOST, ("range", &b"bytes=0-9"[..])];
    let request = Request { method: "GET", path: "/test.txt", query: "", headers: &headers };
    let signed = sign(&request, Payload::Bytes(b""), &signing(&credentials()));
    assert_eq!(signed.signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

#[test]
fn a_put_whose_key_is_encoded() {
    let headers =
        [HOST, ("date", &b"Fri, 24 May 2013 00:00:00 GMT"[..]), ("x-amz-storage-class", b"REDUCED_REDUNDANCY")];
    let request = Request { method: "PUT", path: "/test%24file.text", query: "", headers: &headers };
    let signed = sign(&request, Payload::Bytes(b"Welcome to Amazon S3."), &signing(&credentials()));
    assert_eq!(signed.signature, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

#[test]
fn names_without_a_value_in_the_query() {
    let request = Request { method: "GET", path: "/", query: "lifecycle", headers: &[HOST] };
    let signed = sign(&request, Payload::Bytes(b""), &signing(&credentials()));
    assert_eq!(signed.signature, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

#[test]
fn a_presigned_get_holds_until_it_expires() {
    let request = Request { method: "GET", path: "/test.txt", query: "", headers: &[HOST] };
    let query = presign(&request, Payload::Unsigned, 86400, &signing(&credentials()));
    assert!(query.ends_with("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"), "{query}");

    let request = Request { query: &query, ..request };
    let claim = parse(&request).unwrap();
    let check = |now| claim.check(&request, Family::S3, &["us-east-1"], "s3", now);
    let secret = credentials().secret_access_key;
    claim.verify(&request, &Payload::Unsigned.text(), &secret).unwrap();
    assert_eq!(check(at().plus(86400)), Ok(()));
    let error = check(at().plus(86401)).unwrap_err().refusal(Family::S3);
    assert_eq!((error.code, error.status, error.message.as_str()), ("AccessDenied", 403, "Request has expired"));
    assert_eq!(
        error.details,
        [
            ("X-Amz-Expires", "86400".to_owned()),
            ("Expires", "2013-05-25T00:00:00Z".to_owned()),
            ("ServerTime", "2013-05-25T00:00:01Z".to_owned())
        ]
    );
    assert!(matches!(check(at().plus(-901)), Err(Error::TooNew { .. })));

    for expires in ["0", "-1", "604801"] {
        let query = query.replace("X-Amz-Expires=86400", &format!("X-Amz-Expires={expires}"));
        assert!(matches!(parse(&Request { query: &query, ..request }), Err(Error::Expires { .. })), "{expires}");
    }
    let query = query.replace("X-Amz-Expires=86400&", "");
    assert_eq!(parse(&Request { query: &query, ..request }), Err(Error::Query { parameter: "X-Amz-Expires" }));
}

#[test]
fn chunks_are_signed_one_after_the_other() {
    let headers: [(&str, &[u8]); 5] = [
        ("host", b"s3.amazonaws.com"),
        ("x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        ("content-encoding", b"aws-chunked"),
        ("x-amz-decoded-content-length", b"66560"),
        ("content-length", b"66824"),
    ];
    let request = Request { method: "PUT", path: "/examplebucket/chunkObject.txt", query: "", headers: &headers };
    let signed = sign(&request, Payload::Chunks, &signing(&credentials()));
    assert_eq!(signed.signature, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
    let (first, second) = (vec![b'a'; 65536], vec![b'a'; 1024]);
    let expected = [
        (&first[..], "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (&second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (&[], "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    let (mut signer, mut verifier) = (signed.chunks(), signed.chunks());
    for (chunk, signature) in expected {
        assert_eq!(signer.sign(chunk), signature);
        // A wrong one leaves the chain where it is.
        assert!(!verifier.verify(b"another", signature));
        assert!(verifier.verify(chunk, signature));
    }
    // Not twice.
    assert!(!verifier.verify(&[], expected[2].1));
}

#[test]
fn trailers_are_signed_after_the_last_chunk() {
    let headers: [(&str, &[u8]); 5] = [
        ("host", b"s3.amazonaws.com"),
        ("x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        ("content-encoding", b"aws-chunked"),
        ("x-amz-decoded-content-length", b"66560"),
        ("x-amz-trailer", b"x-amz-checksum-crc32c"),
    ];
    let request = Request { method: "PUT", path: "/examplebucket/chunkObject.txt", query: "", headers: &headers };
    let signed = sign(&request, Payload::ChunksAndTrailers, &signing(&credentials()));
    assert_eq!(signed.signature, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
    let mut chunks = signed.chunks();
    let (first, second) = (vec![b'a'; 65536], vec![b'a'; 1024]);
    assert!(chunks.verify(&first, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"));
    assert!(chunks.verify(&second, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"));
    assert!(chunks.verify(b"", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"));
    let mut signer = chunks.clone();
    let trailer = b"x-amz-checksum-crc32c:sOO8/Q==\n";
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    assert_eq!(signer.sign_trailers(trailer), signature);
    assert!(chunks.verify_trailers(trailer, signature));
}

#[test]
fn headers_of_s3_have_to_be_signed() {
    let request = Request { method: "GET", path: "/test.txt", query: "", headers: &[HOST] };
    let signed = sign(&request, Payload::Bytes(b""), &signing(&credentials()));
    let mut headers: Vec<(&str, &[u8])> = vec![HOST, ("x-amz-acl", b"public-read")];
    headers.extend(signed.headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let request = Request { headers: &headers, ..request };
    let claim = parse(&request).unwrap();
    assert_eq!(claim.verify(&request, &sha256_hex(b""), &credentials().secret_access_key).map(|_| ()), Ok(()));
    let error = claim.check(&request, Family::S3, &["us-east-1"], "s3", at()).unwrap_err().refusal(Family::S3);
    assert_eq!(error.message, "There were headers present in the request which were not signed");
    assert_eq!(error.details, [("HeadersNotSigned", "x-amz-acl".to_owned())]);
}
