//! Sign-in by OAuth 2.0 on the real router: consent with an API key, tokens that stand for it.

use crate::common::client::{Answer, RENDERS, ask};
use crate::common::{Farm, quick};
use axum::Router;
use axum::http::Method;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use serde_json::{Value, json};
use url::form_urlencoded;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn post(router: &Router, uri: &str, fields: &[(&str, &str)]) -> Answer {
    let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    ask(router, Method::POST, uri, &[FORM], &body).await
}

async fn with_token(router: &Router, token: &str, uri: &str) -> Answer {
    ask(router, Method::GET, uri, &[("authorization", &format!("Bearer {token}"))], "").await
}

fn page(answer: &Answer) -> String {
    for (name, value) in [("cache-control", "no-store"), ("x-frame-options", "DENY")] {
        assert_eq!(answer.header(name), value);
    }
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    String::from_utf8(answer.bytes.clone()).unwrap()
}

struct SignIn {
    farm: Farm,
    router: Router,
    keys: KeyStore,
    key: String,
}

async fn sign_in() -> SignIn {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() });
    let keys = KeyStore::new(farm.backplane.objects.clone());
    let key = keys.create(KeyRecord::new("ana", "team".parse().unwrap())).await.unwrap().0;
    SignIn { farm, router, keys, key }
}

impl SignIn {
    async fn device(&self) -> Value {
        post(&self.router, "/v1/oauth/device_authorization", &[("client_id", "cli"), ("scope", "openid")]).await.json()
    }

    async fn poll(&self, device: &Value) -> Answer {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device["device_code"].as_str().unwrap()),
            ("client_id", "cli"),
        ];
        post(&self.router, "/v1/oauth/token", &fields).await
    }

    async fn decide(&self, device: &Value, key: &str, decision: &str) -> Answer {
        let code = device["user_code"].as_str().unwrap();
        post(&self.router, "/oauth/device", &[("user_code", code), ("key", key), ("decision", decision)]).await
    }
}

fn refused(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(answer.status.as_u16(), 400, "{body}");
    assert!(body["error_description"].as_str().unwrap().len() > 5, "{body}");
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_does_what_its_key_does_until_the_key_is_revoked() {
    let flow = sign_in().await;
    let SignIn { farm, router, keys, key } = &flow;
    let device = flow.device().await;
    assert_eq!((&device["interval"], &device["expires_in"]), (&json!(5), &json!(600)), "{device}");
    assert_eq!(device["verification_uri"], "http://localhost:8080/oauth/device");
    assert_eq!(refused(&flow.poll(&device).await), "authorization_pending");
    let complete = device["verification_uri_complete"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    let asked = page(&ask(router, Method::GET, complete, &[], "").await);
    assert!(asked.contains("<code>cli</code>") && asked.contains(device["user_code"].as_str().unwrap()), "{asked}");

    // Without a key of the farm's nobody consents.
    for wrong in ["", "hf_wrong", "hfo_wrong"] {
        let refusal = flow.decide(&device, wrong, "allow").await;
        assert_eq!(refusal.status.as_u16(), 400);
        assert!(page(&refusal).contains("role=\"alert\""), "{wrong}");
    }
    assert!(page(&flow.decide(&device, key, "allow").await).contains("is signed in"));
    let tokens = flow.poll(&device).await;
    assert_eq!(tokens.header("cache-control"), "no-store");
    let tokens = tokens.json();
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3600)), "{tokens}");
    assert_eq!(refused(&flow.poll(&device).await), "invalid_grant");

    // The same person, space and scopes as with the key.
    let access = tokens["access_token"].as_str().unwrap();
    let me = with_token(router, access, "/v3/users/me").await.json()["data"].clone();
    assert_eq!(
        (&me["username"], &me["space"], &me["scopes"]),
        (&json!("ana"), &json!("team"), &json!(["read", "render"]))
    );
    let own = with_token(router, key, "/v3/users/me").await.json()["data"]["key_id"].clone();
    assert_eq!(me["key_id"], own, "what it uses is counted for the key");
    assert_eq!(with_token(router, access, "/metrics").await.status.as_u16(), 403);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(with_token(router, refresh, RENDERS).await.status.as_u16(), 401);
    let mut admin = KeyRecord::new("root", "default".parse().unwrap());
    admin.rights.scopes = vec![Scope::Admin];
    let admin = keys.create(admin).await.unwrap().0;
    let log = with_token(router, &admin, "/v3/hyperframes/audit").await.json();
    let allowed = log["data"].as_array().unwrap().iter().find(|act| act["action"] == "oauth.allow").unwrap();
    assert_eq!((&allowed["target"], &allowed["key_name"]), (&json!("cli"), &json!("ana")), "{allowed}");

    keys.revoke("ana").await.unwrap();
    let fresh = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() });
    assert_eq!(with_token(&fresh, access, RENDERS).await.status.as_u16(), 401, "the key is revoked");
}

#[tokio::test]
async fn a_browser_is_sent_back_to_the_users_own_machine_only_with_a_code_for_the_verifier() {
    let SignIn { router, key, .. } = &sign_in().await;
    // The example of RFC 7636.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let asked = [
        ("response_type", "code"),
        ("client_id", "<cli>"),
        ("redirect_uri", "http://127.0.0.1:9/oauth/callback"),
        ("state", "a&b"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    let query = |fields: &[(&str, &str)]| {
        form_urlencoded::Serializer::new("/oauth/authorize?".to_owned()).extend_pairs(fields).finish()
    };
    let form = page(&ask(router, Method::GET, &query(&asked), &[], "").await);
    assert!(form.contains("&lt;cli&gt;") && !form.contains("<cli>") && form.contains("value=\"a&amp;b\""), "{form}");
    for (field, value) in [
        ("response_type", "token"),
        ("client_id", ""),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1.evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:9/#fragment"),
        ("redirect_uri", "javascript:alert(1)"),
        ("code_challenge", "short"),
        ("code_challenge_method", "plain"),
    ] {
        let fields = asked.map(|(name, asked)| (name, if name == field { value } else { asked }));
        assert_eq!(ask(router, Method::GET, &query(&fields), &[], "").await.status.as_u16(), 400, "{field} {value}");
        let allowed = [&fields[..], &[("key", key.as_str()), ("decision", "allow")]].concat();
        let answer = post(router, "/oauth/authorize", &allowed).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""), "{field} {value}");
    }
    let decided = async |key: &str, decision: &str| {
        post(router, "/oauth/authorize", &[&asked[..], &[("key", key), ("decision", decision)]].concat()).await
    };
    assert_eq!(decided("hf_wrong", "allow").await.status.as_u16(), 400);
    let denied = decided("", "deny").await;
    assert_eq!(denied.header("location"), "http://127.0.0.1:9/oauth/callback?error=access_denied&state=a%26b");
    let allowed = decided(key, "allow").await;
    assert_eq!(allowed.status.as_u16(), 303);
    let location = allowed.header("location");
    let code = location.strip_prefix("http://127.0.0.1:9/oauth/callback?code=").unwrap();
    let code = code.strip_suffix("&state=a%26b").unwrap();
    let redeem = async |verifier: &str| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "<cli>"),
            ("code", code),
            ("redirect_uri", "http://127.0.0.1:9/oauth/callback"),
            ("code_verifier", verifier),
        ];
        post(router, "/v1/oauth/token", &fields).await
    };
    assert_eq!(refused(&redeem("guessed").await), "invalid_grant");
    let tokens = redeem(verifier).await.json();
    assert_eq!(refused(&redeem(verifier).await), "invalid_grant");

    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(with_token(router, access, RENDERS).await.status.as_u16(), 200);
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", "<cli>"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let new = post(router, "/v1/oauth/token", &refresh).await.json();
    assert_eq!(with_token(router, access, RENDERS).await.status.as_u16(), 401, "a refreshed token ends");
    let access = new["access_token"].as_str().unwrap();
    assert_eq!(with_token(router, access, RENDERS).await.status.as_u16(), 200);
    for token in ["unknown", access, access] {
        assert_eq!(post(router, "/v1/oauth/revoke", &[("token", token)]).await.json(), json!({}));
    }
    assert_eq!(with_token(router, access, RENDERS).await.status.as_u16(), 401, "the token is revoked");
    for (fields, code) in [
        (&[("grant_type", "password"), ("client_id", "cli")][..], "unsupported_grant_type"),
        (&[("grant_type", "refresh_token"), ("client_id", "cli"), ("refresh_token", "hfo_x")][..], "invalid_grant"),
        (&[("client_id", "cli")][..], "invalid_request"),
        (&[][..], "invalid_request"),
    ] {
        assert_eq!(refused(&post(router, "/v1/oauth/token", fields).await), code, "{fields:?}");
    }
}

#[tokio::test]
async fn a_device_that_is_denied_gets_nothing() {
    let flow = sign_in().await;
    let device = flow.device().await;
    assert!(page(&flow.decide(&device, "", "deny").await).contains("is not signed in"));
    assert_eq!(refused(&flow.poll(&device).await), "access_denied");
    let again = flow.decide(&device, &flow.key, "allow").await;
    assert!(page(&again).contains("no program waits"), "what was answered is answered");
}
