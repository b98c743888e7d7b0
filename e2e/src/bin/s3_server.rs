//! An S3 server over a folder, for tests: `s3_server --root DIR --bucket NAME [--port PORT]`.
//!
//! It listens on 127.0.0.1, prints `listening on PORT` once it answers, and knows one key pair. Addresses are path
//! style.
//!
//! Four things that S3 promises and this file system does not are added: of two conditional puts one wins, a folder is
//! no object, what differs from its SHA-256 is not stored, and a list costs what it lists and not what else is in the
//! bucket. One is not: it keeps an object's metadata
//! in a file named after its key, so keys end at about 150 bytes.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// The one key pair; `scripts/services.sh` exports the same.
const ACCESS_KEY: &str = "hyperfarm-test";
const SECRET_KEY: &str = "hyperfarm-test-secret";

struct Options {
    root: PathBuf,
    bucket: String,
    port: u16,
}

fn options() -> anyhow::Result<Options> {
    let (mut root, mut bucket, mut port) = (None, None, 0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--root" => root = Some(PathBuf::from(value)),
            "--bucket" => bucket = Some(value),
            "--port" => port = value.parse().context("--port")?,
            _ => anyhow::bail!("{word} is not one of --root, --bucket, --port"),
        }
    }
    Ok(Options { root: root.context("--root is missing")?, bucket: bucket.context("--bucket is missing")?, port })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = options()?;
    // A bucket is a folder below the root.
    std::fs::create_dir_all(options.root.join(&options.bucket)).context("the bucket's folder")?;
    let files = FileSystem::new(&options.root).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut builder = S3ServiceBuilder::new(Store { files, root: options.root.clone() });
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let s3 = builder.build();

    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", listener.local_addr()?.port())?;
    out.flush()?;

    let conditional = Arc::new(Mutex::new(()));
    let root = Arc::new(options.root);
    loop {
        let (socket, _) = listener.accept().await?;
        let (s3, conditional, root) = (s3.clone(), Arc::clone(&conditional), Arc::clone(&root));
        let service = service_fn(move |request: Request<Incoming>| {
            let (s3, conditional, root) = (s3.clone(), Arc::clone(&conditional), Arc::clone(&root));
            async move {
                if asks_for_a_folder(&root, &request) {
                    let mut none = Response::new(s3s::Body::empty());
                    *none.status_mut() = StatusCode::NOT_FOUND;
                    return Ok(none);
                }
                let is_conditional = request.headers().contains_key(IF_NONE_MATCH) && request.method() == Method::PUT;
                let _turn = if is_conditional { Some(conditional.lock().await) } else { None };
                Service::call(&s3, request).await
            }
        });
        tokio::spawn(async move {
            // A client that goes away in the middle of a request is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// The file system, whose lists look only into the folder of their prefix.
struct Store {
    files: FileSystem,
    root: PathBuf,
}

impl Store {
    /// Stores an object, after its bytes were compared with the checksum that came with them.
    async fn put(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        if let Some(expected) = request.input.checksum_sha256.clone()
            && let Some(mut body) = request.input.body.take()
        {
            let mut bytes = Vec::new();
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece.map_err(|error| s3_error!(IncompleteBody, "{error}"))?);
            }
            if STANDARD.encode(Sha256::digest(&bytes)) != expected {
                return Err(s3_error!(BadDigest, "the bytes do not have the SHA-256 that came with them"));
            }
            request.input.body = Some(StreamingBlob::from(s3s::Body::from(bytes)));
        }
        self.files.put_object(request).await
    }

    async fn list(&self, mut request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input.clone();
        let prefix = input.prefix.clone().unwrap_or_default();
        let Some((folder, rest)) = prefix.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) else {
            return self.files.list_objects_v2(request).await;
        };
        let path = self.root.join(&input.bucket).join(folder);
        let (Some(above), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return self.files.list_objects_v2(request).await;
        };
        let is_plain = folder.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_plain || !self.root.join(&input.bucket).is_dir() {
            return self.files.list_objects_v2(request).await;
        }
        if !path.is_dir() {
            let none = ListObjectsV2Output {
                name: Some(input.bucket),
                prefix: input.prefix,
                key_count: Some(0),
                is_truncated: Some(false),
                ..Default::default()
            };
            return Ok(S3Response::new(none));
        }
        // The folder above is the root of another file system, in which this one is a bucket.
        let files = FileSystem::new(above).map_err(|error| s3_error!(InternalError, "{error:?}"))?;
        let within = |key: String| key.strip_prefix(&format!("{folder}/")).map_or(key.clone(), str::to_owned);
        name.clone_into(&mut request.input.bucket);
        request.input.prefix = Some(rest.to_owned());
        request.input.continuation_token = input.continuation_token.clone().map(within);
        request.input.start_after = input.start_after.clone().map(within);
        let mut response = files.list_objects_v2(request).await?;
        let output = &mut response.output;
        let whole = |key: &mut Option<String>| *key = key.take().map(|key| format!("{folder}/{key}"));
        output.contents.iter_mut().flatten().for_each(|object| whole(&mut object.key));
        output.common_prefixes.iter_mut().flatten().for_each(|common| whole(&mut common.prefix));
        whole(&mut output.next_continuation_token);
        output.name = Some(input.bucket);
        output.prefix = input.prefix;
        output.continuation_token = input.continuation_token;
        output.start_after = input.start_after;
        Ok(response)
    }
}

/// The operations that are those of the file system.
macro_rules! operations {
    ($($operation:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(async fn $operation(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$operation(request).await
            })*

            async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
                self.put(request).await
            }

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                self.list(request).await
            }
        }
    };
}

operations! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
}

/// Whether an object is asked for where the file system has a folder. A bucket is asked for by its name alone.
fn asks_for_a_folder(root: &Path, request: &Request<Incoming>) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().trim_matches('/');
    is_read && path.contains('/') && root.join(PathBuf::from(std::ffi::OsString::from_vec(decoded(path)))).is_dir()
}

fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}
