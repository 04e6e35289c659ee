//! The way out against real sockets: what is refused, bounded and told.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers every connection with the same bytes, piece by piece, and keeps what it was sent.
struct Receiver {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(answer: &[&'static str], pause: Duration) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&seen), answer.to_vec());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), answer.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 64 << 10];
                    let length = stream.read(&mut request).await.unwrap_or_default();
                    kept.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
                    for piece in answer {
                        if stream.write_all(piece.as_bytes()).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        Receiver { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const OK: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"];

fn settings() -> Settings {
    Settings {
        allow: vec!["127.0.0.0/8".into()],
        allow_http: true,
        deadline: Duration::from_millis(500),
        ..Settings::default()
    }
}

fn to(text: &str) -> ReplyTo {
    ReplyTo::read(text).unwrap()
}

async fn send(outbound: &Outbound, to: &ReplyTo) -> Sent {
    let body = Some(Body { content_type: "application/json".into(), bytes: Bytes::from_static(b"{}") });
    outbound
        .reply(Reply { to, id: "d1", timestamp: 7, body, headers: vec![("haulier-job-id", "1".into())] })
        .await
}

async fn call(outbound: &Outbound, endpoint: &str) -> Result<Answer, CallError> {
    let endpoint = Endpoint::read(endpoint).unwrap();
    let time = Duration::from_millis(500);
    outbound
        .call(Call {
            target: "t",
            endpoint: &endpoint,
            body: None,
            headers: Vec::new(),
            time,
            answer_bytes_max: 1_000,
        })
        .await
}

fn with_target(url: &str) -> Settings {
    let target = TargetSettings {
        url: url.into(),
        protocol: Protocol::Http,
        allowed: vec!["*".into()],
        auth: String::new(),
        retry: None,
        ca_file: None,
        descriptor_set: None,
    };
    Settings { targets: [("t".to_owned(), target)].into(), ..settings() }
}

#[tokio::test]
async fn a_reply_carries_its_headers_and_is_taken() {
    let receiver = Receiver::start(OK, Duration::ZERO).await;
    let outbound = Outbound::new(settings()).unwrap();
    let sent = send(&outbound, &to(&format!("PUT u:p@{}/x", receiver.url()))).await;
    assert_eq!(sent, Sent::Taken { status: 200 });
    let request = receiver.seen().remove(0);
    for part in [
        "PUT /x ",
        "webhook-id: d1",
        "webhook-timestamp: 7",
        "authorization: Basic dTpw",
        "haulier-job-id: 1",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert!(request.ends_with("\r\n\r\n{}"));
}

#[tokio::test]
async fn a_private_address_is_never_connected_to() {
    let receiver = Receiver::start(OK, Duration::ZERO).await;
    let outbound = Outbound::new(Settings { allow: Vec::new(), ..settings() }).unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let to = to(&format!("http://{host}:{}/", receiver.port));
        let Sent::Refused { status: 0, error, is_final: true, .. } = send(&outbound, &to).await else {
            panic!("{host}")
        };
        assert!(error.contains("[outbound] allow"), "{error}");
        if host != "localhost" {
            assert!(
                outbound.check_reply_to(&format!("http://{host}/")).is_err(),
                "{host} is refused at once"
            );
        }
    }
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn plain_http_needs_to_be_allowed() {
    let outbound = Outbound::new(Settings { allow_http: false, ..settings() }).unwrap();
    assert!(outbound.check_reply_to("http://a.example/").unwrap_err().contains("allow_http"));
    assert!(outbound.check_reply_to("https://a.example/").is_ok());
    let sent = send(&outbound, &to("http://127.0.0.1:1/")).await;
    assert!(matches!(sent, Sent::Refused { is_final: true, .. }), "{sent:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let last = Receiver::start(OK, Duration::ZERO).await;
    let location = format!("HTTP/1.1 307 Go\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", last.url());
    let first = Receiver::start(&[&*location.leak()], Duration::ZERO).await;
    let outbound = Outbound::new(with_target(&first.url())).unwrap();
    let Sent::Refused { status: 307, error, .. } = send(&outbound, &to(&first.url())).await else { panic!() };
    assert!(error.contains("not followed"), "{error}");
    let error = call(&outbound, "POST /x").await.unwrap_err();
    assert_eq!((error.code.as_str(), outbound.retries("t", &error)), ("HTTP_307", false));
    assert_eq!((first.seen().len(), last.seen().len()), (2, 0));
}

#[tokio::test]
async fn one_deadline_covers_all_phases() {
    // Each piece comes in time, the whole does not.
    let pieces =
        ["HTTP/1.1 200 OK\r\n", "content-length: 100\r\n\r\n", "a", "b", "c", "d", "e", "f", "g", "h"];
    let receiver = Receiver::start(&pieces, Duration::from_millis(200)).await;
    let outbound = Outbound::new(with_target(&receiver.url())).unwrap();
    let Sent::Refused { status: 0, error, is_final: false, .. } = send(&outbound, &to(&receiver.url())).await
    else {
        panic!()
    };
    assert!(error.contains("500ms"), "{error}");
    let error = call(&outbound, "GET /x").await.unwrap_err();
    assert_eq!((error.kind, outbound.retries("t", &error)), (Trouble::Late, true));
}

#[tokio::test]
async fn an_answer_is_bounded_before_it_is_read() {
    let told =
        Receiver::start(&["HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"], Duration::ZERO).await;
    let untold =
        Receiver::start(&["HTTP/1.1 200 OK\r\n\r\n", "x".repeat(2_000).leak()], Duration::ZERO).await;
    for receiver in [told, untold] {
        let outbound = Outbound::new(with_target(&receiver.url())).unwrap();
        let error = call(&outbound, "GET /x").await.unwrap_err();
        assert_eq!((error.kind, outbound.retries("t", &error)), (Trouble::TooLarge, false), "{error:?}");
    }
    let refused =
        Receiver::start(&["HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"], Duration::ZERO).await;
    let outbound = Outbound::new(settings()).unwrap();
    assert_eq!(send(&outbound, &to(&refused.url())).await, Sent::Taken { status: 200 }, "taken all the same");
}

#[tokio::test]
async fn an_error_tells_what_the_api_said_and_when_to_come_back() {
    let answer = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nfull";
    let receiver = Receiver::start(&[answer], Duration::ZERO).await;
    let outbound = Outbound::new(with_target(&receiver.url())).unwrap();
    let error = call(&outbound, "POST /x").await.unwrap_err();
    assert_eq!((error.code.as_str(), error.retry_after), ("HTTP_503", Some(Duration::from_secs(7))));
    assert!(error.message.ends_with("HTTP 503: full") && outbound.retries("t", &error), "{error:?}");
    let closed = Outbound::new(with_target("http://127.0.0.1:1")).unwrap();
    let error = call(&closed, "POST /x").await.unwrap_err();
    assert_eq!((error.code.as_str(), closed.retries("t", &error)), ("NO_ANSWER", true));
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_is_not_tried_again() {
    let receiver = Receiver::start(&["HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"], Duration::ZERO).await;
    let outbound = Outbound::new(settings()).unwrap();
    let sent = send(&outbound, &to(&receiver.url())).await;
    assert!(matches!(sent, Sent::Refused { status: 410, is_final: true, .. }), "{sent:?}");
}

#[test]
fn an_answer_is_kept_as_json_only_if_it_is() {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let read = |kind: &str, text| read_answer(kind.into(), bytes(text));
    assert_eq!(read("application/json; charset=utf-8", "{\"a\": 1}"), Answer::Json(bytes("{\"a\": 1}")));
    assert_eq!(read("application/problem+json", "7"), Answer::Json(bytes("7")));
    assert_eq!(read("application/json", ""), Answer::Nothing);
    for (kind, text) in [("application/json", "{"), ("text/html", "1")] {
        assert_eq!(read(kind, text), Answer::Data(Body { content_type: kind.into(), bytes: bytes(text) }));
    }
}

#[test]
fn a_mistake_in_the_settings_names_its_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = Some(file.path().to_owned());
    let key = || Source::Value("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
    let target = |change: &dyn Fn(&mut TargetSettings)| {
        let mut settings = with_target("https://a.example");
        settings.targets.values_mut().for_each(change);
        settings
    };
    for (settings, key) in [
        (Settings { allow: vec!["10.0.0.0/33".into()], ..settings() }, "outbound.allow"),
        (Settings { ca_file: path.clone(), ..settings() }, "outbound.ca_file"),
        (Settings { signing_keys: vec![Source::Value("x".into())], ..settings() }, "outbound.signing_keys"),
        (Settings { signing_keys: vec![key(), key(), key()], ..settings() }, "outbound.signing_keys"),
        (target(&|target| target.url = "x".into()), "targets.t.url"),
        (target(&|target| target.ca_file = Some("/nowhere".into())), "targets.t.ca_file"),
        (target(&|target| target.descriptor_set = path.clone()), "targets.t.descriptor_set"),
    ] {
        assert_eq!(Outbound::new(settings).unwrap_err().key, key);
    }
    assert!(Outbound::new(Settings { allow: vec!["127.0.0.1".into()], ..settings() }).is_ok());
}

#[test]
fn what_cannot_be_called_is_told_at_once() {
    let outbound = Outbound::new(with_target("https://a.example")).unwrap();
    let read = |text| Endpoint::read(text).unwrap();
    let body = Body { content_type: "application/json".into(), bytes: Bytes::from_static(b"1") };
    let Err(NoWay::Target(why)) = outbound.check_call("u", &read("GET /"), None) else { panic!() };
    assert!(why.contains("it has t") && why.contains("[targets.NAME]"), "{why}");
    assert!(matches!(outbound.check_call("t", &read("a.B/C"), None), Err(NoWay::Endpoint(_))));
    assert!(matches!(outbound.check_call("t", &read("GET /"), Some(&body)), Err(NoWay::Request(_))));
    assert_eq!(outbound.check_call("t", &read("POST /"), Some(&body)), Ok(()));
}
