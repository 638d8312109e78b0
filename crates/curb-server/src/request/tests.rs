use proptest::prelude::*;

use super::*;

fn parse(json: &str) -> Result<Submission, BadRequest> {
    Submission::parse(json.as_bytes(), true)
}

#[test]
fn what_rays_own_client_sends_is_understood() {
    let s = parse(
        r#"{"entrypoint":"python main.py 'a b'","runtime_env":{"working_dir":"gcs://_ray_pkg_1.zip"},
        "metadata":{"user":"mallory","job_submission_id":"victim","curb.gpu":"H100:2","curb.duration":"1h","curb.resources":"ssd=1.5"},
        "entrypoint_num_cpus":1.0,"entrypoint_memory":1073741824,"entrypoint_resources":{"x":0.25}}"#,
    )
    .expect("fine");
    assert_eq!(s.spec.packages, ["_ray_pkg_1.zip"]);
    assert!(!s.spec.metadata.contains_key("job_submission_id"));
    assert_eq!(s.spec.metadata["user"], "mallory");
    assert_eq!(
        s.spec.entrypoint_resources.get(&Resource::Cpu),
        Amount(1000)
    );
    assert_eq!(s.declared[&Resource::GpuModel("H100".into())], Amount(2000));
    assert_eq!(s.declared[&Resource::Custom("ssd".into())], Amount(1500));
    assert_eq!(s.duration, Some(Millis::HOUR));
    assert_eq!(s.id, None);
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    for (json, key) in [
        (r#"{"entrypoint":""}"#, "entrypoint"),
        (r"{}", "entrypoint"),
        (r#"{"entrypoint":"x\u0000y"}"#, "entrypoint"),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":-1}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":NaN}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_gpus":Infinity}"#,
            "entrypoint_num_gpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":1e400}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":99999999999999999999}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_num_cpus":"2"}"#,
            "entrypoint_num_cpus",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_memory":-5}"#,
            "entrypoint_memory",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_resources":{"a":-1}}"#,
            "entrypoint_resources `a`",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_resources":{"CPU":1}}"#,
            "entrypoint_resources `CPU`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"NaN"}}"#,
            "metadata `curb.cpu`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"-1"}}"#,
            "metadata `curb.cpu`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.memory":"lots"}}"#,
            "metadata `curb.memory`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.gpu":"H100:"}}"#,
            "metadata `curb.gpu`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpus":"1"}}"#,
            "metadata `curb.cpus`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.duration":"soon"}}"#,
            "metadata `curb.duration`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.priority":"high"}}"#,
            "metadata `curb.priority`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.resources":"a"}}"#,
            "metadata `curb.resources`",
        ),
        (r#"{"entrypoint":"x","metadata":{"a":1}}"#, "metadata `a`"),
        (
            r#"{"entrypoint":"x","submission_id":"a/b"}"#,
            "submission_id",
        ),
        (
            r#"{"entrypoint":"x","submission_id":"a.attempt-2"}"#,
            "submission_id",
        ),
        (
            r#"{"entrypoint":"x","submission_id":"a","job_id":"b"}"#,
            "job_id",
        ),
        (
            r#"{"entrypoint":"x","submission_id":"03000000"}"#,
            "submission_id",
        ),
        (
            r#"{"entrypoint":"x","submission_id":"DEADbeef"}"#,
            "submission_id",
        ),
        (r#"{"entrypoint":"x","job_id":"0a000000"}"#, "job_id"),
        (
            r#"{"entrypoint":"x","submission_id":"raysubmit_k0123456789abcdef0123456789abcdef"}"#,
            "submission_id",
        ),
        (r#"{"entrypoint":"x","retry_policy":{}}"#, "retry_policy"),
        (
            r#"{"entrypoint":"x","runtime_env":{"shell":"x"}}"#,
            "runtime_env `shell`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"working_dir":"gcs://../x"}}"#,
            "runtime_env `working_dir`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"working_dir":"GCS://x.zip"}}"#,
            "runtime_env `working_dir`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"pip":["gcs://x.zip"]}}"#,
            "runtime_env `pip`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"py_modules":[{"a":"gcs://x.zip"}]}}"#,
            "runtime_env `nested`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"working_dir":"g\tcs://_ray_pkg_1.zip"}}"#,
            "runtime_env `working_dir`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"working_dir":"https://a/b\u007f.zip"}}"#,
            "runtime_env `working_dir`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"py_modules":["s3://a/b.zip","\u0000gcs://x.zip"]}}"#,
            "runtime_env `py_modules`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"container":{"image":"a\nb"}}}"#,
            "runtime_env `container`",
        ),
        (
            r#"{"entrypoint":"x","runtime_env":{"pip":["g\ncs://x.zip"]}}"#,
            "runtime_env `pip`",
        ),
        ("[1]", "body"),
        ("", "body"),
        (r#"{"entrypoint":5}"#, "entrypoint"),
    ] {
        let error = parse(json).expect_err(json);
        assert_eq!(error.key, key, "{json}: {error}");
    }
}

#[test]
fn what_is_said_twice_is_refused_since_nobody_can_say_which_was_meant() {
    for (json, key) in [
        (r#"{"entrypoint":"x","entrypoint":"y"}"#, "entrypoint"),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"8","curb.cpu":"1"}}"#,
            "curb.cpu",
        ),
        (r#"{"entrypoint":"x","metadata":{"a":"b","a":"b"}}"#, "a"),
        (
            r#"{"entrypoint":"x","entrypoint_resources":{"x":1,"x":0}}"#,
            "x",
        ),
        (
            r#"{"entrypoint":"x","entrypoint_label_selector":{"x":"1","x":"2"}}"#,
            "x",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.resources":"{\"x\":1,\"x\":0}"}}"#,
            "metadata `curb.resources`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.resources":"x=1,x=0"}}"#,
            "metadata `curb.resources`",
        ),
        (
            r#"{"entrypoint":"x","metadata":{"curb.cpu":"8","curb.resources":"cpu=1"}}"#,
            "metadata `curb.resources`",
        ),
    ] {
        let error = parse(json).expect_err(json);
        assert_eq!(error.key, key, "{json}: {error}");
        let told = error.to_string();
        let said = ["is given twice", "says anew", "duplicate field"];
        assert!(said.iter().any(|s| told.contains(s)), "{json}: {told}");
    }
    // A model beside the plain count is no contradiction.
    parse(r#"{"entrypoint":"x","metadata":{"curb.gpu":"2","curb.resources":"gpu:H100=1"}}"#)
        .expect("two resources");
}

#[test]
fn a_list_is_no_submission_whatever_stands_in_it() {
    for json in [
        r#"["true"]"#,
        r#" ["true","run-1",null,null,{}]"#,
        "null",
        "5",
        r#""true""#,
    ] {
        let error = parse(json).expect_err(json);
        assert_eq!(error.key, "body", "{json}: {error}");
        assert!(error.message.contains("an object such as"), "{error}");
    }
}

#[test]
fn a_job_names_a_bounded_number_of_resources_labels_and_metadata() {
    let many = |n: usize, value: Value| -> Value {
        (0..n).map(|i| (format!("x{i}"), value.clone())).collect()
    };
    let list = |n: usize| {
        let all: Vec<String> = (0..n).map(|i| format!("y{i}=1")).collect();
        all.join(",")
    };
    for (field, value, bound) in [
        ("entrypoint_resources", Value::from(1), MAX_RESOURCES),
        // Nothing of each counts as well: it has to be read.
        ("entrypoint_resources", Value::from(0), MAX_RESOURCES),
        ("entrypoint_label_selector", Value::from("a"), MAX_LABELS),
        ("metadata", Value::from("a"), MAX_METADATA),
    ] {
        let body =
            |n| serde_json::json!({"entrypoint": "x", field: many(n, value.clone())}).to_string();
        parse(&body(bound)).expect(field);
        assert_eq!(parse(&body(bound + 1)).expect_err(field).key, field);
    }
    let both = |n| {
        serde_json::json!({"entrypoint": "x", "entrypoint_resources": many(32, Value::from(1)),
            "metadata": {"curb.resources": list(n)}})
        .to_string()
    };
    parse(&both(32)).expect("64 together");
    let error = parse(&both(33)).expect_err("65 together");
    assert_eq!(error.key, "metadata `curb.resources`");
}

#[test]
fn lines_of_a_requirements_file_and_the_jobs_own_variables_may_have_tabs() {
    parse(r#"{"entrypoint":"x","runtime_env":{"pip":["numpy\t# for sums\r"],"env_vars":{"A":"b\nc"}}}"#)
        .expect("fine");
}

#[test]
fn gpus_are_counted_as_the_model_that_the_job_steers_itself_to() {
    let model = |json: &str, name: &str| {
        let s = parse(json).expect(json);
        s.declared.get(&Resource::GpuModel(name.into())).copied()
    };
    let label =
        r#""entrypoint":"x","entrypoint_label_selector":{"ray.io/accelerator-type":"H100"}"#;
    let resource = r#""entrypoint":"x","entrypoint_resources":{"accelerator_type:H100":0.001}"#;
    for steered in [label, resource] {
        let with = |more: &str| model(&format!("{{{steered}{more}}}"), "H100");
        assert_eq!(with(r#","entrypoint_num_gpus":2"#), Some(Amount(2000)));
        assert_eq!(
            with(r#","metadata":{"curb.gpu":"4"},"entrypoint_num_gpus":2"#),
            Some(Amount(4000))
        );
        // Naming a cheaper one does not help.
        assert_eq!(
            with(r#","metadata":{"curb.gpu":"K80:2"}"#),
            Some(Amount(2000))
        );
        assert_eq!(
            with(r#","metadata":{"curb.gpu":"H100:8"},"entrypoint_num_gpus":1"#),
            Some(Amount(8000))
        );
        // Without GPUs it only stands beside them.
        assert_eq!(with(r#","entrypoint_num_cpus":1"#), None);
    }
    let body = |wanted: &str| {
        format!(
            r#"{{"entrypoint":"x","entrypoint_num_gpus":1,"entrypoint_label_selector":{{"ray.io/accelerator-type":"{wanted}"}}}}"#
        )
    };
    assert_eq!(model(&body("!H100"), "H100"), None);
    let error = parse(&body("in(H100,A100)")).expect_err("two");
    assert_eq!(
        error.key,
        "entrypoint_label_selector `ray.io/accelerator-type`"
    );
}

#[test]
fn an_id_that_only_resembles_a_drivers_or_a_derived_one_may_be_chosen() {
    for id in [
        "3000000",
        "030000000",
        "0300000g",
        "raysubmit_k123456789abcdefX",
        "raysubmit_kABCDEFGHJKLMNPQ",
    ] {
        let json = format!(r#"{{"entrypoint":"x","submission_id":"{id}"}}"#);
        let chosen = parse(&json).expect(id).id.expect("an id");
        assert_eq!(chosen.as_str(), id);
    }
}

#[test]
fn a_message_is_bounded_whatever_was_sent() {
    let long = "x".repeat(100_000);
    for json in [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"entrypoint":"x","metadata":{{"curb.priority":"{long}"}}}}"#),
        format!(r#"{{"entrypoint":"x","runtime_env":{{"{long}":1}}}}"#),
    ] {
        assert!(parse(&json).expect_err("refused").to_string().len() < 2_000);
    }
}

proptest! {
    #[test]
    fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Submission::parse(&body, true);
    }

    #[test]
    fn reading_text_never_panics(text in "\\PC{0,80}", key in "[a-z._]{0,12}") {
        let json = serde_json::json!({"entrypoint": text, "metadata": {format!("curb.{key}"): text}});
        let _ = Submission::parse(json.to_string().as_bytes(), true);
        let _ = Submission::parse(text.as_bytes(), false);
    }
}
