//! The systems that the published documents describe, and which of them this farm has.
//!
//! The reference lists them, and a request for one that the farm has not is refused by its name.

/// What the farm has of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// All of it that the documents describe, but for what the row says.
    Works,
    /// It works once an engine of the operator's is configured.
    WithEngine,
    /// None of it.
    Refused,
}

/// A system of the published documents.
#[derive(Debug)]
pub struct System {
    /// What it is called in messages, after "this farm has no".
    pub name: &'static str,
    /// Paths of its routes, without what follows.
    pub paths: &'static [&'static str],
    /// What the farm has of it.
    pub support: Support,
    /// What differs, or what is needed.
    pub remark: &'static str,
    /// The file and the function of its test.
    pub test: (&'static str, &'static str),
}

/// The test of every system that is refused.
const REFUSALS: (&str, &str) = ("coordinator/tests/http.rs", "systems_that_the_farm_has_not_are_refused_by_name");

impl System {
    const fn refused(name: &'static str, paths: &'static [&'static str], remark: &'static str) -> Self {
        Self { name, paths, support: Support::Refused, remark, test: REFUSALS }
    }
}

/// Every system of the published documents.
pub const SYSTEMS: &[System] = &[
    System {
        name: "HyperFrames renders",
        paths: &["/v3/hyperframes/renders"],
        support: Support::Works,
        remark: "with extensions",
        test: ("e2e/tests/documented.rs", "published_curl_and_python_examples_run_as_they_stand"),
    },
    System {
        name: "the published command line, `hyperframes cloud`",
        paths: &["/v3/hyperframes/renders", "/v3/assets", "/v3/users/me"],
        support: Support::Works,
        remark: "unmodified, by `HEYGEN_API_URL`",
        test: ("e2e/tests/api.rs", "the_published_cli_works_with_a_cluster"),
    },
    System {
        name: "assets and direct uploads",
        paths: &["/v3/assets"],
        support: Support::Works,
        remark: "",
        test: ("e2e/tests/documented.rs", "published_curl_and_python_examples_run_as_they_stand"),
    },
    System {
        name: "webhooks",
        paths: &["/v3/webhooks"],
        support: Support::Works,
        remark: "events of systems that are refused are never fired",
        test: ("e2e/tests/documented.rs", "published_recipes_verify_a_real_delivery_and_refuse_a_forged_one"),
    },
    System {
        name: "accounts and usage",
        paths: &["/v3/users/me", "/v1/user/me"],
        support: Support::Works,
        remark: "usage-based; no wallet, no subscription",
        test: ("coordinator/tests/api.rs", "scopes_pools_caps_and_quotas_hold"),
    },
    System {
        name: "tools for agents (MCP)",
        paths: &["/mcp"],
        support: Support::Works,
        remark: "with an API key; no OAuth",
        test: ("e2e/tests/clients.rs", "the_client_of_the_model_context_protocol_renders_a_page"),
    },
    System {
        name: "voices, designed voices and text to speech",
        paths: &["/v3/voices", "/v3/voices/speech"],
        support: Support::WithEngine,
        remark: "espeak-ng, Piper or an OpenAI-compatible service",
        test: ("coordinator/tests/voices.rs", "without_an_engine_the_settings_are_named"),
    },
    System::refused("cloning of voices", &["/v3/voices/clone"], ""),
    System {
        name: "avatars",
        paths: &["/v3/avatars"],
        support: Support::Works,
        remark: "of photos; `digital_twin` and `prompt` are refused by name",
        test: ("coordinator/tests/videos.rs", "a_look_is_made_of_a_photo_once_its_face_is_found"),
    },
    System {
        name: "presenter videos",
        paths: &["/v3/videos"],
        support: Support::WithEngine,
        remark: "`avatar` of a photo and `image`, [as described](presenters.md); a voice for scripts, none for sounds; `cinematic` and \
                 `motion_prompt` are refused by name",
        test: ("coordinator/tests/videos.rs", "a_video_is_made_of_a_look_and_a_script"),
    },
    System {
        name: "lip-sync of existing videos",
        paths: &["/v3/lipsyncs"],
        support: Support::WithEngine,
        remark: "the mode `speed` (the new sound, and the picture as long as it) needs none, [as described](lipsync.md); \
                 `precision` needs an engine that moves mouths",
        test: ("coordinator/tests/lipsyncs.rs", "a_video_gets_a_new_sound"),
    },
    System {
        name: "translation of videos",
        paths: &["/v3/video-translations"],
        support: Support::WithEngine,
        remark: "proofread sessions too, [as described](translation.md): speech recognition, a translator and a voice; words or a \
                 sound of the client's take the place of the first two",
        test: ("coordinator/tests/translations.rs", "a_video_is_heard_translated_and_spoken"),
    },
    System {
        name: "video agent",
        paths: &["/v3/video-agents"],
        support: Support::WithEngine,
        remark: "a language model behind an OpenAI-compatible service, [as described](agent.md); no avatars",
        test: ("coordinator/tests/agents.rs", "a_session_goes_from_a_prompt_over_a_review_to_a_video"),
    },
    System {
        name: "sign-in by OAuth",
        paths: &["/v1/oauth", "/oauth"],
        support: Support::Works,
        remark: "device codes and PKCE, by `HYPERFRAMES_OAUTH_*_URL`; consent is given with an API key",
        test: ("e2e/tests/api.rs", "the_published_cli_signs_in_by_device_and_by_browser_refreshes_and_signs_out"),
    },
    System::refused(
        "pages of published projects",
        &["/v1/hyperframes/projects"],
        "`hyperframes publish` says so; upload the project as an asset, or render it",
    ),
    System::refused(
        "API of an earlier version (v1, v2)",
        &["/v1", "/v2"],
        "v3 is the version of the HyperFrames documents",
    ),
    System {
        name: "renders by inference.sh's SDKs",
        paths: &["/apps/run", "/tasks", "/files"],
        support: Support::Works,
        remark: "unmodified, by `base_url`; the one app is `infsh/hyperframes-render`; no sessions, no schedules",
        test: ("e2e/tests/clients.rs", "the_sdks_of_inference_sh_render_follow_upload_and_cancel"),
    },
    System::refused(
        "apps, lists, agents, chats, flows, sessions and sockets of inference.sh",
        &["/apps", "/tasks/list", "/agents", "/chats", "/flows", "/knowledge", "/sessions", "/sockets"],
        "",
    ),
];

/// The system that the farm has not, whose routes `path` is among.
pub(super) fn refused(path: &str) -> Option<&'static System> {
    let is_below =
        |start: &&str| path.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SYSTEMS.iter().find(|system| system.support == Support::Refused && system.paths.iter().any(is_below))
}

/// The table of systems, in Markdown.
pub(super) fn markdown() -> String {
    let mut text = String::from("| system | paths | here | remark | test |\n| --- | --- | --- | --- | --- |\n");
    for System { name, paths, support, remark, test: (file, function) } in SYSTEMS {
        let support = match support {
            Support::Works => "works",
            Support::WithEngine => "works with an engine",
            Support::Refused => "refused by name",
        };
        let paths = paths.join("`, `");
        text.push_str(&format!("| {name} | `{paths}` | {support} | {remark} | `{function}` in `{file}` |\n"));
    }
    text
}
