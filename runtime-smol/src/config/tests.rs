use std::ffi::OsString;
use std::path::PathBuf;

use super::load::*;
use super::*;

fn sources(env: &[(&str, &str)]) -> Sources {
    let pair = |(n, v): &(&str, &str)| (OsString::from(n), OsString::from(v));
    Sources {
        data_dir: None,
        env_file: None,
        profile: Profile::Serve,
        environment: env.iter().map(pair).collect(),
    }
}

fn faults(env: &[(&str, &str)]) -> Vec<Fault> {
    load(&sources(env)).expect_err("there are faults").0
}

#[test]
fn every_default_parses_and_a_config_is_built() {
    let loaded = load(&sources(&[])).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.effective.len(), VARIABLES.len());
    assert!(loaded.effective.iter().all(|e| e.source == Source::Default));
    let config = loaded.config;
    assert_eq!(config.ports.smtp_transfer, Some(25));
    assert_eq!(config.ports.managesieve, None);
    assert_eq!(config.database.url, "surrealkv://data/db");
    assert!(!config.server.hostname.is_empty());
    assert!(config.s3.is_none());
}

#[test]
fn default_paths_lie_under_the_data_directory() {
    let mut sources = sources(&[("INBOX_DATA_DIR", "/srv/one")]);
    let config = load(&sources).unwrap().config;
    assert_eq!(config.database.url, "surrealkv:///srv/one/db");
    assert_eq!(config.objects.master_key_file, PathBuf::from("/srv/one/master.key"));
    assert_eq!(config.admin_socket(), PathBuf::from("/srv/one/inbox.sock"));
    sources.data_dir = Some("/srv/two".into());
    let config = load(&sources).unwrap().config;
    assert_eq!(config.objects.incoming_dir, PathBuf::from("/srv/two/incoming"));
}

#[test]
fn all_faults_are_reported_together_with_secrets_masked() {
    let found = faults(&[
        ("SMTP_TRANSFER_PORT", "65536"),
        ("SMTP_OUTBOUND_TLS_MODE", "maybe"),
        ("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8", "hunter2!"),
        ("SERVER_BIND_ADDR", "localhost"),
        ("SMTP_OUTBOUND_TTL_SECS", ""),
    ]);
    let names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "SERVER_BIND_ADDR",
            "SMTP_TRANSFER_PORT",
            "SMTP_OUTBOUND_TLS_MODE",
            "SMTP_OUTBOUND_TTL_SECS",
            "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8",
            "SMTP_DKIM_DOMAIN"
        ]
    );
    let text = Faults(found).to_string();
    assert!(text.contains("SMTP_TRANSFER_PORT=65536"), "{text}");
    assert!(text.contains("required or opportunistic or disabled"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn combinations_that_cannot_be() {
    for (env, name) in [
        (&[("S3_ENDPOINT", "https://s3.example"), ("S3_ACCESS_KEY_ID", "k")][..], "S3_SECRET_ACCESS_KEY"),
        (
            &[("SMTP_OUTBOUND_TLS_MODE", "disabled"), ("SMTP_OUTBOUND_REQUIRE_STARTTLS", "true")],
            "SMTP_OUTBOUND_TLS_MODE",
        ),
        (
            &[("SMTP_OUTBOUND_TLS_MODE", "disabled"), ("SMTP_OUTBOUND_DANE_MODE", "require")],
            "SMTP_OUTBOUND_TLS_MODE",
        ),
        (
            &[
                ("S3_ENDPOINT", "http://s3.example"),
                ("S3_ACCESS_KEY_ID", "k"),
                ("S3_SECRET_ACCESS_KEY", "s"),
                ("S3_ENCRYPTION", "sse-c"),
            ],
            "S3_ENCRYPTION",
        ),
        (&[("TLS_CERT_PATH", "/dev/null")], "TLS_KEY_PATH"),
        (&[("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", "3601")], "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS"),
        (&[("HTTP_PORT", "25")], "HTTP_PORT"),
        (&[("DATABASE_USERNAME", "root")], "DATABASE_PASSWORD"),
        (
            &[("SMTP_OUTBOUND_RELAY_USERNAME", "u"), ("SMTP_OUTBOUND_RELAY_PASSWORD", "p")],
            "SMTP_OUTBOUND_RELAY_HOST",
        ),
    ] {
        let found = faults(env);
        assert_eq!(found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), [name]);
    }
    let all =
        [("S3_ENDPOINT", "https://s3.example"), ("S3_ACCESS_KEY_ID", "k"), ("S3_SECRET_ACCESS_KEY", "s")];
    assert!(load(&sources(&all)).unwrap().config.s3.is_some());
    assert!(load(&sources(&[("HTTP_PORT", "0"), ("HTTPS_PORT", "0")])).is_ok());
}

#[test]
fn unknown_names_and_features_that_are_not_there_are_warned_about() {
    let loaded = load(&sources(&[
        ("SMTP_TRANSFER_PROT", "2525"),
        ("HTTP_PROXY", "http://proxy"),
        ("PATH", "/bin"),
        ("MANAGESIEVE_PORT", "4190"),
        ("OTEL_ENABLED", "true"),
        ("SMTP_OUTBOUND_DANE_MODE", "require"),
        ("SMTP_REQUIRE_SPF_PASS", "false"),
    ]))
    .unwrap();
    let about = |text: &str| loaded.warnings.iter().filter(|w| w.contains(text)).count();
    assert_eq!(about("SMTP_TRANSFER_PORT"), 1);
    assert_eq!(about("HTTP_PROXY"), 0);
    assert_eq!(about("MANAGESIEVE_PORT=4190 has no effect: ManageSieve is not part of this version"), 1);
    assert_eq!(about("OTEL_ENABLED"), 0);
    assert_eq!(about("SMTP_OUTBOUND_DANE_MODE"), 0);
    assert_eq!(about("SMTP_REQUIRE_SPF_PASS"), 0);
    assert_eq!(about("SMTP_RATE_LIMIT_ENABLED"), 0);
}

#[test]
fn settings_that_give_up_protection_are_warned_about() {
    let about = |env: &[(&str, &str)], text: &str| {
        load(&sources(env)).unwrap().warnings.iter().filter(|w| w.contains(text)).count()
    };
    let (unproved, disabled) = ("SMTP_OUTBOUND_DNSSEC_VALIDATE", "SMTP_OUTBOUND_TLS_MODE");
    assert_eq!(about(&[], unproved) + about(&[], disabled), 0);
    assert_eq!(about(&[(unproved, "false")], "SMTP_OUTBOUND_DNSSEC_VALIDATE=false: TLSA records"), 1);
    assert_eq!(about(&[(unproved, "false"), ("SMTP_OUTBOUND_DANE_MODE", "off")], unproved), 0);
    assert_eq!(about(&[(disabled, "disabled")], "SMTP_OUTBOUND_TLS_MODE=disabled"), 1);
    assert_eq!(about(&[(disabled, "disabled"), (unproved, "false")], unproved), 0);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_profile() {
    let dir = std::env::temp_dir().join(format!("inbox-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("env");
    let text = "# comment\nexport HTTP_PORT=8081\nIMAP_PORT = \"1143\"\nSERVER_HOSTNAME='MX.Example.COM.'\n";
    std::fs::write(&file, text).unwrap();
    let mut sources = sources(&[("HTTP_PORT", "8082")]);
    sources.profile = Profile::Quickstart { deliver: false };
    sources.env_file = Some(file.clone());
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.ports.http, Some(8082));
    assert_eq!(loaded.config.ports.imap, Some(1143));
    assert_eq!(loaded.config.ports.imaps, Some(2993));
    assert_eq!(loaded.config.server.hostname, "mx.example.com");
    assert!(!loaded.config.outbound.queue.enabled);
    let source = |name: &str| loaded.effective.iter().find(|e| e.variable.name == name).unwrap().source;
    assert_eq!(
        [source("HTTP_PORT"), source("IMAP_PORT"), source("IMAPS_PORT"), source("S3_REGION")],
        [Source::Environment, Source::File, Source::Quickstart, Source::Default]
    );
    sources.profile = Profile::Quickstart { deliver: true };
    assert!(load(&sources).unwrap().config.outbound.queue.enabled);

    std::fs::write(&file, "SMTP_OUTBOUND_PORT 25\nIMAP_PORT='143\n").unwrap();
    let found = load(&sources).unwrap_err().0;
    assert_eq!(found.len(), 2);
    assert!(found[0].value.ends_with(":1") && found[1].value.ends_with(":2"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_printed_masks_secrets_and_names_sources() {
    let loaded = load(&sources(&[
        ("DATABASE_USERNAME", "root"),
        ("DATABASE_PASSWORD", "hunter2"),
        ("HTTP_PORT", "18080"),
        ("OTEL_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
    ]))
    .unwrap();
    for text in [text(&loaded), json(&loaded).to_string(), format!("{:?}", loaded.config)] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let shown = text(&loaded);
    assert!(shown.lines().any(|l| l.starts_with("HTTP_PORT=18080 ") && l.contains("# environment")));
    assert!(shown.contains("the last of 10 attempts is about 3 h 4 min after acceptance"));
}

#[test]
fn the_full_name_of_the_machine() {
    let hosts = "127.0.0.1 localhost\n# 10.0.0.1 no.example mx\n10.0.0.9 mx mx.example.org # local\n";
    assert_eq!(full_name("mx.example.com", "").as_deref(), Some("mx.example.com"));
    assert_eq!(full_name("mx", hosts).as_deref(), Some("mx.example.org"));
    assert_eq!(full_name("other", hosts), None);
    assert_eq!(full_name("10.0.0.9", ""), None);
}

fn otel(env: &[(&str, &str)]) -> Option<Otel> {
    let all: Vec<_> = [("OTEL_ENABLED", "true")].iter().chain(env).copied().collect();
    load(&sources(&all)).unwrap().config.otel
}

#[test]
fn traces_go_where_the_variables_say() {
    assert!(load(&sources(&[])).unwrap().config.otel.is_none());
    assert!(otel(&[("OTEL_SDK_DISABLED", "true")]).is_none());
    let endpoint = |env: &[(&str, &str)]| otel(env).unwrap().endpoint;
    assert_eq!(endpoint(&[]), "http://localhost:4318/v1/traces");
    for (given, used) in [
        ("https://c.example", "https://c.example/v1/traces"),
        ("https://c.example/", "https://c.example/v1/traces"),
        ("https://c.example:4318/otlp", "https://c.example:4318/otlp"),
    ] {
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", given)]), used);
    }
    assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t.example/")]), "http://t.example/");
    let general = otel(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ]);
    let general = general.unwrap();
    assert_eq!(general.headers, [("a".to_owned(), "b c".to_owned())]);
    assert_eq!((general.json, general.timeout), (true, Duration::from_millis(250)));
    assert_eq!(general.attributes[0].1, "test");
    let own = otel(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=d"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "9"),
    ]);
    let own = own.unwrap();
    assert_eq!((own.json, own.timeout), (false, Duration::from_millis(9)));
    assert_eq!(own.headers, [("c".to_owned(), "d".to_owned())]);
}

#[test]
fn the_share_of_traces_that_is_kept() {
    let kept = |env: &[(&str, &str)]| otel(env).map(|otel| (otel.parent_based, otel.sample_ratio)).unwrap();
    let sampler = |name| [("OTEL_TRACES_SAMPLER", name), ("OTEL_SAMPLE_RATIO", "0.5")];
    assert_eq!(kept(&[]), (true, 1.0));
    assert_eq!(kept(&[("OTEL_SAMPLE_RATIO", "0.25")]), (true, 0.25));
    assert_eq!(kept(&[("OTEL_SAMPLE_RATIO", "0.25"), ("OTEL_TRACES_SAMPLER_ARG", "0.1")]), (true, 0.1));
    assert_eq!(kept(&sampler("always_on")), (false, 1.0));
    assert_eq!(kept(&sampler("always_off")), (false, 0.0));
    assert_eq!(kept(&sampler("traceidratio")), (false, 0.5));
    assert_eq!(kept(&sampler("parentbased_always_off")), (true, 0.0));
    let wrong = load(&sources(&[("OTEL_TRACES_SAMPLER_ARG", "2")])).unwrap_err();
    assert_eq!(wrong.0[0].name, "OTEL_TRACES_SAMPLER_ARG");
}
