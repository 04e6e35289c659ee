use super::*;

pub(super) const BOUNDS: Bounds = Bounds {
    payload_bytes_max: 3 << 20,
    timeout_max: Duration::from_secs(30 * 86_400),
    retry_limit_max: 1_000,
    batch_jobs_max: 10_000,
    run_wait_max: Duration::from_secs(60),
    crash_limit_max: 2,
    retry_delay_max: Duration::from_secs(30 * 86_400),
    retry_factor_max: 100.0,
    give_up_max: Duration::from_secs(365 * 86_400),
    retry_profiles_max: 100,
};

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn load(text: &str, settings: Settings) -> Result<Config, ConfigError> {
    let file = file(text);
    Config::load(Flags { config: Some(file.path().to_owned()), settings }, |_| None)
}

#[test]
fn without_any_setting_a_server_listens_on_this_machine_only() {
    let config = Config::load(Flags::default(), |_| None).unwrap();
    assert_eq!(config, Config::default());
    assert!(config.validate(&BOUNDS).is_ok());
    assert!(!config.is_exposed());
}

#[test]
fn the_command_line_wins_over_the_file() {
    let settings = Settings { listen: Some("127.0.0.1:1".into()), ..Settings::default() };
    let config = load("listen = \"127.0.0.1:2\"\ntimeout = \"5m\"\nlog_format = \"json\"", settings).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn a_key_that_is_no_setting_is_told_with_its_line_and_without_secrets() {
    let text = "database_url = \"mysql://a:secret@b/c\"\nlisen = \"127.0.0.1:1\"";
    let error = load(text, Settings::default()).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("lisen"), "{error}");
    assert!(!error.contains("a:secret"), "{error}");
}

#[test]
fn database_url_of_the_environment_counts_when_nothing_else_says_which() {
    let variable = |name: &str| (name == "DATABASE_URL").then(|| "mysql://root@h/d".to_owned());
    let url = |flags| Config::load(flags, variable).unwrap().database_url.0;
    assert_eq!(url(Flags::default()), "mysql://root@h/d");
    let settings = Settings { database_url: Some("sqlite:x.db".into()), ..Settings::default() };
    assert_eq!(url(Flags { config: None, settings }), "sqlite:x.db");
}

#[test]
fn a_database_url_may_come_from_a_file() {
    let secret = file("mysql://a:b@c/d\n");
    let settings = Settings { database_url_file: Some(secret.path().to_owned()), ..Settings::default() };
    let config = load("database_url = \"sqlite:other.db\"", settings.clone()).unwrap();
    assert_eq!(config.database_url.0, "mysql://a:b@c/d");
    let both = Settings { database_url: Some("sqlite:x".into()), ..settings };
    assert!(load("", both).unwrap_err().to_string().contains("set one of them"));
}

#[test]
fn a_database_that_is_not_spoken_is_told_by_name() {
    let settings = Settings { database_url: Some("postgres://u:p@h/d".into()), ..Settings::default() };
    let error = load("", settings).unwrap_err().to_string();
    assert!(
        error.contains("database_url") && error.contains("mysql://") && !error.contains("u:p"),
        "{error}"
    );
}

#[test]
fn a_database_url_is_shown_without_its_password() {
    let url = DatabaseUrl("mysql://root:p@ss@db:3306/jobs?password=x".into());
    assert_eq!(format!("{url} {url:?}"), "mysql://root@db:3306/jobs mysql://root@db:3306/jobs");
    assert_eq!(DatabaseUrl("sqlite:a.db".into()).to_string(), "sqlite:a.db");
}

#[test]
fn an_address_that_others_reach_needs_insecure() {
    for address in ["0.0.0.0:4285", "192.168.1.1:1", "[::]:4285", "[::ffff:10.0.0.1]:1"] {
        let config = Config { listen: address.parse().unwrap(), ..Config::default() };
        let error = config.validate(&BOUNDS).unwrap_err().to_string();
        assert!(error.contains("listen") && error.contains("--insecure"), "{error}");
        assert!(Config { insecure: true, ..config }.validate(&BOUNDS).is_ok());
    }
    for address in ["127.0.0.1:0", "127.1.2.3:1", "[::1]:4285", "[::ffff:127.0.0.1]:1"] {
        let config = Config { listen: address.parse().unwrap(), ..Config::default() };
        assert!(config.validate(&BOUNDS).is_ok(), "{address}");
    }
}

#[test]
fn a_setting_at_its_limit_passes_and_one_above_is_named() {
    let base = Config::default;
    let cases: [(&str, Config, Config); 6] = [
        (
            "run_wait",
            Config { run_wait: Some(BOUNDS.run_wait_max), ..base() },
            Config { run_wait: Some(BOUNDS.run_wait_max + Duration::from_millis(1)), ..base() },
        ),
        (
            "payload_limit",
            Config { payload_bytes_max: Some(3 << 20), ..base() },
            Config { payload_bytes_max: Some((3 << 20) + 1), ..base() },
        ),
        (
            "timeout",
            Config { timeout: Some(BOUNDS.timeout_max), ..base() },
            Config { timeout: Some(BOUNDS.timeout_max + Duration::from_millis(1)), ..base() },
        ),
        (
            "retry_limit",
            Config { retry_limit: Some(1_000), ..base() },
            Config { retry_limit: Some(1_001), ..base() },
        ),
        (
            "batch_limit",
            Config { batch_jobs_max: Some(10_000), ..base() },
            Config { batch_jobs_max: Some(10_001), ..base() },
        ),
        (
            "table_prefix",
            Config { table_prefix: "x".repeat(32), ..base() },
            Config { table_prefix: "x".repeat(33), ..base() },
        ),
    ];
    for (key, at, above) in cases {
        assert!(at.validate(&BOUNDS).is_ok(), "{key}");
        assert!(above.validate(&BOUNDS).unwrap_err().to_string().starts_with(key), "{key}");
    }
}

#[test]
fn targets_secrets_the_way_out_and_the_pool_stand_in_tables_of_the_file() {
    let text = r#"
        [pool]
        slots = 4

        [outbound]
        allow = ["10.0.0.0/8"]
        deadline = "5s"
        delivery_retries = ["1s", "1h"]
        signing_keys = [{ env = "KEY" }, { file = "/run/old" }]

        [secrets.BILLING]
        value = "hunter2"
        hosts = ["billing.example.org"]

        [targets.billing]
        url = "https://billing.example.org"
        protocol = "http"
        allowed = ["POST /v1/invoices"]
        auth = "$BILLING"
    "#;
    let file = file(text);
    let variable = |name: &str| (name == "KEY").then(|| "whsec_x".to_owned());
    let flags = |settings| Flags { config: Some(file.path().to_owned()), settings };
    let config = Config::load(flags(Settings::default()), variable).unwrap();
    assert!(config.validate(&BOUNDS).is_ok());
    assert_eq!(config.pool, Pool { enabled: true, slots: 4, delivery_slots: 16 });
    assert_eq!(config.outbound.delivery_retries, [Duration::from_secs(1), Duration::from_secs(3_600)]);
    let keys = [SecretSource::Value("whsec_x".into()), SecretSource::File("/run/old".into())];
    assert_eq!(config.outbound.signing_keys, keys);
    assert_eq!(config.targets["billing"].protocol, Protocol::Http);
    assert!(!format!("{config:?}").contains("hunter2"));
    let off = Settings { no_pool: Some(true), pool_slots: Some(9), ..Settings::default() };
    let pool = Config::load(flags(off), variable).unwrap().pool;
    assert_eq!((pool.enabled, pool.slots), (false, 9));
    let day: Duration = Config::default().outbound.delivery_retries.iter().sum();
    assert!((Duration::from_secs(20 * 3_600)..Duration::from_secs(28 * 3_600)).contains(&day), "{day:?}");
}

#[test]
fn a_wrong_table_names_its_key_and_the_mend() {
    let target = "[targets.a]\nurl = \"https://a\"\nprotocol = \"http\"\nallowed = [\"*\"]\n";
    for (text, part) in [
        ("[pool]\nslots = 0", "pool.slots: must be 1 to 1000"),
        ("[outbound]\ndeadline = \"1h\"", "outbound.deadline: must be"),
        ("[outbound]\ndelivery_retries = [\"0s\"]", "outbound.delivery_retries: has a wait"),
        (
            "[outbound]\ndelivery_retries = [\"soon\"]",
            "outbound.delivery_retries: \"soon\" is not a duration",
        ),
        ("[outbound]\nsigning_keys = [{}]", "outbound.signing_keys: needs exactly one"),
        ("[secrets.A]\nhosts = [\"a\"]", "secrets.A: needs exactly one of `value`, `file` and `env`"),
        ("[secrets.A]\nenv = \"NOT_THERE\"\nhosts = [\"a\"]", "secrets.A: the variable NOT_THERE is not"),
        ("[secrets.A]\nvalue = \"x\"", "secrets.A.hosts: is empty"),
        ("[secrets.\"A-B\"]\nvalue = \"x\"\nhosts = [\"a\"]", "the name must be"),
        (&target.replace("targets.a", "targets.\"a b\""), "the name must be"),
        (&target.replace("\"http\"", "\"soap\""), "line 3"),
        (&format!("{target}alowed = []"), "line 5"),
    ] {
        let loaded = load(text, Settings::default()).and_then(|config| config.validate(&BOUNDS));
        let error = loaded.expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
