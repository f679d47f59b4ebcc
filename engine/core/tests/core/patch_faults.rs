//! What a policy may not patch, told when it is loaded.

use crate::faults::check;

#[test]
fn what_may_not_be_patched_is_refused() {
    check(
        "{restart: {}}",
        "{patch: {merge: {spec: {template: {spec: {volumes: [{hostPath: {path: /}}]}}}}}}",
        "8:11 a policy may not patch `/spec/template/spec/volumes` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {strategic: {spec: {template: {spec: {serviceAccountName: root}}}}}}",
        "8:11 a policy may not patch `/spec/template/spec/serviceAccountName` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {strategic: {spec: {template: {spec: {containers: [{name: a, securityContext: {privileged: true}}]}}}}}}",
        "8:11 a policy may not patch `/spec/template/spec/containers/*/securityContext/privileged` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {merge: {spec: {replicas: 9}}}}",
        "8:11 a policy may not patch `/spec/replicas` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {merge: {metadata: {annotations: null}}}}",
        "8:11 a policy may not patch `/metadata/annotations` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {json: [{op: remove, path: /metadata/annotations/flyball.dev~1paused}]}}",
        "8:11 a policy may not patch `/metadata/annotations/flyball.dev/paused` | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {json: [{op: add, path: /spec/template/spec/tolerations/-, value: {}}]}}",
        "8:11 `/spec/template/spec/tolerations/-` appends: doing it twice would add two | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {json: [{op: move, from: /a, path: /spec/minReadySeconds}]}}",
        "8:11 operation `move` is none of add, replace, remove, test | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {strategic: {spec: {template: {spec: {containers: [{name: a, env: [{name: X, $patch: delete}]}]}}}}}}",
        "8:11 the directive `$patch` is not supported | these may be patched: …",
    );
    check(
        "{restart: {}}",
        "{patch: {json: [{op: test, path: /spec/replicas, value: 1}]}}",
        "8:11 the patch changes nothing | these may be patched: …",
    );
    check("{restart: {}}", "{patch: {merge: [1]}}", "8:11 the patch is no mapping | these may be patched: …");
    check("{restart: {}}", "{patch: merge}", "8:19 a mapping is expected here");
    check(
        "{restart: {}}",
        "{patch: {merge: {}, json: []}}",
        "8:11 a patch has one form | write one of `strategic`, `merge` and `json`",
    );
}

/// A key with a slash is one key, and no way past the list.
#[test]
fn a_key_with_a_slash_is_no_path() {
    for patch in [
        r#"{patch: {merge: {"spec/minReadySeconds": 5}}}"#,
        "{patch: {json: [{op: add, path: /spec~1minReadySeconds, value: 5}]}}",
    ] {
        check("{restart: {}}", patch, "8:11 a policy may not patch `/spec/minReadySeconds` | these may be patched: …");
    }
}

/// Containers are merged by name; no other list is taken for theirs, and none is sent that nobody has looked into.
#[test]
fn only_the_list_of_containers_is_one_of_containers() {
    for (list, path) in [
        ("{template: {spec: {ephemeralContainers: [{name: x}]}}}", "/spec/template/spec/ephemeralContainers"),
        ("{template: {spec: {initContainers: [{name: a, image: b}]}}}", "/spec/template/spec/initContainers"),
        ("{template: {spec: {initContainers: []}}}", "/spec/template/spec/initContainers"),
        ("{template: {spec: {containers: []}}}", "/spec/template/spec/containers"),
        ("{ontainers: []}", "/spec/ontainers"),
    ] {
        check(
            "{restart: {}}",
            &format!("{{patch: {{strategic: {{spec: {}}}}}}}", list.replacen('{', "{minReadySeconds: 9, ", 1)),
            &format!("8:11 a policy may not patch `{path}` | these may be patched: …"),
        );
    }
}
