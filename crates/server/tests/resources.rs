//! Resources: created, changed, listed, deleted, and there again after a restart.

use expect_test::expect;
use serde_json::{Value, json};

use crate::common::{Api, FOREVER, PASS, ROLE, arn, text};

/// Everything that is created here is there after a crash and a new start.
#[tokio::test]
async fn what_was_acknowledged_survives() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let members = json!({
        "name": "sky", "definition": PASS, "roleArn": ROLE, "type": "EXPRESS", "publish": true,
        "versionDescription": "the first", "tags": [{ "key": "team", "value": "survey" }],
        "tracingConfiguration": { "enabled": true },
        "loggingConfiguration": { "level": "ALL", "includeExecutionData": true, "destinations": [
            { "cloudWatchLogsLogGroup": { "logGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:sky:*" } }] },
    });
    let created = api.call("CreateStateMachine", members).await;
    let (machine, version) = (text(&created["stateMachineArn"]), text(&created["stateMachineVersionArn"]));
    let alias = json!({
        "name": "live", "routingConfiguration": [{ "stateMachineVersionArn": version, "weight": 100 }],
    });
    let alias = text(&api.call("CreateStateMachineAlias", alias).await["stateMachineAliasArn"]);
    let activity = text(&api.call("CreateActivity", json!({ "name": "classify" })).await["activityArn"]);
    let update = json!({ "stateMachineArn": machine, "definition": FOREVER });
    api.call("UpdateStateMachine", update).await;

    let questions = [
        ("DescribeStateMachine", json!({ "stateMachineArn": machine })),
        ("DescribeStateMachine", json!({ "stateMachineArn": version })),
        ("DescribeStateMachineAlias", json!({ "stateMachineAliasArn": alias })),
        ("DescribeActivity", json!({ "activityArn": activity })),
        ("ListStateMachines", json!({})),
        ("ListStateMachineVersions", json!({ "stateMachineArn": machine })),
        ("ListStateMachineAliases", json!({ "stateMachineArn": machine })),
        ("ListActivities", json!({})),
        ("ListTagsForResource", json!({ "resourceArn": machine })),
    ];
    let mut before = Vec::new();
    for (action, members) in &questions {
        before.push(api.call(action, members.clone()).await);
    }
    // No goodbye: the engine's thread is simply left behind, as by a kill.
    drop(api);
    let api = Api::open(folder.path());
    for ((action, members), before) in questions.iter().zip(before) {
        assert_eq!(api.call(action, members.clone()).await, before, "{action} {members}");
    }
    // Numbers of versions go on where they were.
    let published = api.call("PublishStateMachineVersion", json!({ "stateMachineArn": machine })).await;
    assert_eq!(published["stateMachineVersionArn"], format!("{machine}:2"));
    api.close().await;
}

#[tokio::test]
async fn an_update_does_not_change_what_runs_or_ran() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let machine = api.machine("sky", PASS).await;
    let first = api.run(&machine, "first").await;
    let changed = PASS.replace("\"P\"", "\"Q\"");
    let update = json!({ "stateMachineArn": machine, "definition": changed, "roleArn": format!("{ROLE}-2") });
    let updated = api.call("UpdateStateMachine", update.clone()).await;
    let second = api.run(&machine, "second").await;

    let of = async |execution: &str| {
        let described = api.call("DescribeStateMachineForExecution", json!({ "executionArn": execution })).await;
        (text(&described["definition"]), text(&described["roleArn"]), described.get("revisionId").cloned())
    };
    assert_eq!(of(&first).await, (PASS.to_owned(), ROLE.to_owned(), None));
    let revision = Some(updated["revisionId"].clone());
    assert_eq!(of(&second).await, (changed.clone(), format!("{ROLE}-2"), revision.clone()));
    // The same again is no new revision.
    assert_eq!(api.call("UpdateStateMachine", update).await.get("revisionId"), revision.as_ref());

    api.call("DeleteStateMachine", json!({ "stateMachineArn": machine })).await;
    assert_eq!(of(&first).await.0, PASS, "an execution outlives its state machine");
    let refused = api.refused("StartExecution", json!({ "stateMachineArn": machine })).await;
    assert_eq!(refused, format!("StateMachineDoesNotExist: State Machine Does Not Exist: '{machine}'"));
    api.close().await;
}

#[tokio::test]
async fn a_deleted_state_machine_is_there_while_something_of_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let activity = text(&api.call("CreateActivity", json!({ "name": "look" })).await["activityArn"]);
    let definition = json!({ "StartAt": "Look", "States": {
        "Look": { "Type": "Task", "Resource": activity, "Next": "Then" },
        "Then": { "Type": "Pass", "End": true },
    } });
    let machine = api.machine("sky", &definition.to_string()).await;
    let of = json!({ "stateMachineArn": machine });
    api.call("PublishStateMachineVersion", of.clone()).await;
    let execution = text(&api.call("StartExecution", of.clone()).await["executionArn"]);
    for _ in 0..2 {
        assert_eq!(api.call("DeleteStateMachine", of.clone()).await, json!({}), "again is the same");
    }
    api.close().await;

    // A crash in between changes nothing.
    let api = Api::open(folder.path());
    api.engine.recover().await.unwrap();
    assert_eq!(api.call("DescribeStateMachine", of.clone()).await["status"], "DELETING");
    let create = json!({ "name": "sky", "definition": PASS, "roleArn": ROLE });
    for (action, members) in [
        ("StartExecution", of.clone()),
        ("StartExecution", json!({ "stateMachineArn": format!("{machine}:1") })),
        ("UpdateStateMachine", json!({ "stateMachineArn": machine, "roleArn": format!("{ROLE}-2") })),
        ("PublishStateMachineVersion", of.clone()),
        ("CreateStateMachine", create.clone()),
    ] {
        let refused = api.refused(action, members).await;
        assert_eq!(refused, format!("StateMachineDeleting: State Machine is being deleted: '{machine}'"), "{action}");
    }

    // The task may end, but no other state is entered.
    let task = api.call("GetActivityTask", json!({ "activityArn": activity })).await;
    api.call("SendTaskSuccess", json!({ "taskToken": task["taskToken"], "output": "{}" })).await;
    let described = api.call("DescribeExecution", json!({ "executionArn": execution })).await;
    assert_eq!(described["status"], "ABORTED");
    let refused = api.refused("DescribeStateMachine", of.clone()).await;
    assert_eq!(refused, format!("StateMachineDoesNotExist: State Machine Does Not Exist: '{machine}'"));
    let versions = api.call("ListStateMachineVersions", of.clone()).await;
    assert_eq!(versions["stateMachineVersions"], json!([]));
    assert_eq!(api.call("CreateStateMachine", create).await["stateMachineArn"], machine.as_str());
    assert_eq!(api.call("DescribeStateMachine", of).await["status"], "ACTIVE");
    api.run(&machine, "anew").await;
    api.close().await;
}

#[tokio::test]
async fn aliases_lead_to_versions() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let machine = api.machine("sky", PASS).await;
    api.call("PublishStateMachineVersion", json!({ "stateMachineArn": machine })).await;
    let (one, two) = (format!("{machine}:1"), format!("{machine}:2"));
    let update = json!({ "stateMachineArn": machine, "definition": PASS.replace("P", "Pass2"), "publish": true });
    // Not a definition any more: "Type" has a P, too. Nothing changes.
    assert!(api.refused("UpdateStateMachine", update).await.starts_with("InvalidDefinition: "));
    let update = json!({ "stateMachineArn": machine, "roleArn": format!("{ROLE}-2"), "publish": true });
    assert_eq!(api.call("UpdateStateMachine", update).await["stateMachineVersionArn"], two.as_str());

    let route = |arn: &str, weight: u32| json!({ "stateMachineVersionArn": arn, "weight": weight });
    let create = |name: &str, routes: Value| json!({ "name": name, "routingConfiguration": routes });
    let alias = api.call("CreateStateMachineAlias", create("live", json!([route(&two, 100)]))).await;
    let alias = text(&alias["stateMachineAliasArn"]);
    let execution = api.run(&alias, "by-alias").await;
    let described = api.call("DescribeExecution", json!({ "executionArn": execution })).await;
    assert_eq!(described["stateMachineVersionArn"], two.as_str());
    assert_eq!(described["stateMachineAliasArn"], alias.as_str());
    for (arn, count) in [(&machine, 1), (&one, 0), (&two, 1), (&alias, 1)] {
        let listed = api.call("ListExecutions", json!({ "stateMachineArn": arn })).await;
        assert_eq!(listed["executions"].as_array().map(Vec::len), Some(count), "{arn}");
    }
    let history = api.call("GetExecutionHistory", json!({ "executionArn": execution })).await;
    let started = &history["events"][0]["executionStartedEventDetails"];
    assert_eq!((&started["stateMachineAliasArn"], &started["roleArn"]), (&json!(alias), &json!(format!("{ROLE}-2"))));

    // Both versions get their share.
    let update = json!({ "stateMachineAliasArn": alias, "routingConfiguration": [route(&one, 50), route(&two, 50)] });
    api.call("UpdateStateMachineAlias", update).await;
    for number in 0..40 {
        api.run(&alias, &format!("drawn-{number}")).await;
    }
    let by_one = api.call("ListExecutions", json!({ "stateMachineArn": one })).await;
    let by_one = by_one["executions"].as_array().map_or(0, Vec::len);
    assert!((1..40).contains(&by_one), "{by_one} of 40 by a route of weight 50");

    let refused = async |routes: Value| api.refused("CreateStateMachineAlias", create("other", routes)).await;
    expect!["ValidationException: Sum of routing configuration weights must equal 100. Received: [60, 41]"]
        .assert_eq(&refused(json!([route(&one, 60), route(&two, 41)])).await);
    expect!["ResourceNotFound: Resource not found: 'arn:aws:states:us-east-1:000000000000:stateMachine:sky:9'"]
        .assert_eq(&refused(json!([route(&format!("{machine}:9"), 100)])).await);
    let refused = api.refused("DeleteStateMachineVersion", json!({ "stateMachineVersionArn": one })).await;
    assert!(refused.ends_with("Current list of aliases referencing this version: [live]"), "{refused}");
    let name = api.refused("CreateStateMachineAlias", create("7", json!([route(&one, 100)]))).await;
    assert!(name.contains("at 'name' failed to satisfy constraint: Member must satisfy regular"), "{name}");
    api.close().await;
}

#[tokio::test]
async fn creating_the_same_again_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let create = |definition: &str, role: &str| json!({ "name": "sky", "definition": definition, "roleArn": role });
    let first = api.call("CreateStateMachine", create(PASS, ROLE)).await;
    let again = api.call("CreateStateMachine", create(PASS, "arn:aws:iam::000000000000:role/other")).await;
    assert_eq!(first, again, "roles are not compared");
    expect!["StateMachineAlreadyExists: State Machine Already Exists: 'arn:aws:states:us-east-1:000000000000:stateMachine:sky'"]
        .assert_eq(&api.refused("CreateStateMachine", create(FOREVER, ROLE)).await);
    let published = json!({ "name": "sky", "definition": PASS, "roleArn": ROLE, "publish": true });
    assert!(api.refused("CreateStateMachine", published).await.starts_with("StateMachineAlreadyExists"));
    api.close().await;
}

#[tokio::test]
async fn requests_are_checked_as_aws_does() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let machine = api.machine("sky", PASS).await;
    let check = async |action: &str, members: Value, expected: expect_test::Expect| {
        expected.assert_eq(&api.refused(action, members).await);
    };
    check("CreateStateMachine", json!({ "name": "" }), expect![
        "ValidationException: 3 validation errors detected: Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1; Value null at 'definition' failed to satisfy constraint: Member must not be null; Value null at 'roleArn' failed to satisfy constraint: Member must not be null"
    ]).await;
    check("CreateActivity", json!({ "name": "a b" }), expect!["InvalidName: Invalid Name: 'a b'"]).await;
    check(
        "StartExecution",
        json!({ "stateMachineArn": machine, "name": "a/b" }),
        expect!["InvalidName: Invalid Name: 'a/b'"],
    )
    .await;
    check(
        "StartExecution",
        json!({ "stateMachineArn": "sky" }),
        expect!["InvalidArn: Invalid Arn: 'Invalid ARN prefix: sky'"],
    )
    .await;
    check(
        "DescribeExecution",
        json!({ "executionArn": machine }),
        expect!["InvalidArn: Invalid Arn: 'Resource type not valid in this context: stateMachine'"],
    )
    .await;
    check(
        "StartExecution",
        json!({ "stateMachineArn": machine, "input": "" }),
        expect!["InvalidExecutionInput: Invalid State Machine Execution Input: 'Invalid execution input.'"],
    )
    .await;
    let long = format!("\"{}\"", "x".repeat(262_143));
    check("StartExecution", json!({ "stateMachineArn": machine, "input": long }), expect![
        "ValidationException: 1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length less than or equal to 262144"
    ]).await;
    check("ListExecutions", json!({ "stateMachineArn": machine, "statusFilter": "DONE" }), expect![
        "ValidationException: 1 validation error detected: Value 'DONE' at 'statusFilter' failed to satisfy constraint: Member must satisfy enum value set: [SUCCEEDED, TIMED_OUT, PENDING_REDRIVE, ABORTED, FAILED, RUNNING]"
    ]).await;
    check("UpdateStateMachine", json!({ "stateMachineArn": machine }), expect![
        "MissingRequiredParameter: Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified"
    ]).await;
    check(
        "TagResource",
        json!({ "resourceArn": arn("activity:none"), "tags": [] }),
        expect!["ResourceNotFound: Resource not found: 'arn:aws:states:us-east-1:000000000000:activity:none'"],
    )
    .await;
    check(
        "SendTaskSuccess",
        json!({ "taskToken": "none", "output": "{}" }),
        expect!["InvalidToken: Invalid Token: 'Invalid token'"],
    )
    .await;
    let tags: Vec<_> = (0..51).map(|number| json!({ "key": number.to_string(), "value": "" })).collect();
    check(
        "TagResource",
        json!({ "resourceArn": machine, "tags": tags }),
        expect!["TooManyTags: Too many tags: a resource can have at most 50"],
    )
    .await;
    api.close().await;
}
